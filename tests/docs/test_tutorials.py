"""The tutorials run as they stand: Markdown pages whose blocks are executed in order, in one folder.

- ```` ```yaml title="FILE" ```` (or any language with a title) writes the block to FILE.
- ```` ```python ```` runs in the page's own namespace.
- ```` ```console ```` runs each line that begins with `$ `. `coreset` runs in this process and without Ray, anything
  else in a shell. The other lines have to be in what the command before them says; `…` stands for anything.
- Other blocks, such as ```` ```text ````, are for reading alone.

`<!-- after: PAGE -->` on the first line says that PAGE has to run before, in the same folder.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from coreset import cli
from coreset.artifacts.executor import SerialExecutor
from coreset.cli import command

PAGES = sorted((Path(__file__).parents[2] / "docs/tutorials").glob("*.md"))
JOBS = Path(__file__).parents[2] / "jobs"

_BLOCK = re.compile(r"^```(\w+)(?: +title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_AFTER = re.compile(r"<!-- after: (\S+\.md) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block: the line it begins on, its language, its title if any, and its text."""

    line: int
    language: str
    title: str | None
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        yield Block(text.count("\n", 0, match.start(3)) + 1, match[1], match[2], match[3])


def before(page: Path) -> Path | None:
    """The page that has to run before this one."""
    found = _AFTER.match(page.read_text(encoding="utf-8"))
    return page.parent / found[1] if found else None


def run(page: Path, folder: Path) -> int:
    """Runs every block of a page in a folder; returns how many were executed."""
    names: dict[str, Any] = {}
    executed = 0
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(command, "executor", lambda *asked: nullcontext(SerialExecutor()))
        for block in blocks(page):
            if block.title:
                Path(block.title).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
                executed += 1
            elif block.language == "console":
                _console(block, f"{page.name}:{block.line}")
                executed += 1
    return executed


def _console(block: Block, place: str) -> None:
    said = ""
    for line in block.text.splitlines():
        if line.startswith("$ "):
            said = _command(line[2:], place)
        elif line.strip() not in ("", "…"):
            pattern = ".*".join(map(re.escape, line.rstrip().split("…")))
            assert re.search(f"^{pattern}$", said, re.MULTILINE), f"{place}: expected {line!r} in\n{said}"


def _command(line: str, place: str) -> str:
    words = shlex.split(line)
    if words[0] == "coreset":
        result = CliRunner().invoke(cli.main, words[1:])
        assert result.exit_code == 0, f"{place}: {line}\n{result.output}"
        return result.output
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, f"{place}: {line}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[Path]]:
    """A folder with jobs/ in it, as in a clone, and the pages that have run there."""
    folder = tmp_path_factory.mktemp("tutorials")
    (folder / "jobs").symlink_to(JOBS)
    return folder, set()


def run_once(page: Path, folder: Path, done: set[Path]) -> None:
    if page in done:
        return
    earlier = before(page)
    if earlier:
        run_once(earlier, folder, done)
    assert run(page, folder) > 0
    done.add(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs(page: Path, place: tuple[Path, set[Path]]) -> None:
    run_once(page, *place)


@pytest.mark.parametrize(
    "block",
    [
        "```python\nassert 1 == 2\n```",
        "```console\n$ coreset verify nowhere\n```",
        "```console\n$ false\n```",
        "```console\n$ echo one\ntwo\n```",
    ],
)
def test_a_tutorial_that_is_wrong_is_found(block: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(f"# Page\n\n{block}\n")
    with pytest.raises(AssertionError):
        run(tmp_path / "page.md", tmp_path)


def test_files_are_written_and_words_may_be_left_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('```text title="a.txt"\nhello\n```\n\n```console\n$ cat a.txt\nh…o\n```\n')
    assert run(page, tmp_path) == 1
