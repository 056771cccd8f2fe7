"""Dies at every point of two short stages and of the swap of an old coreset for a new one: `every_point.py FOLDER`.

Each time the next process must end with the bytes of one that nobody killed. Prints how many points there were.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from points import Points, lose
from serial import ended, forked, know_software

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize_all
from coreset.artifacts.stage import Context, Part, Stage
from coreset.folder import RunFolder
from coreset.publishing.package import write_package


@dataclass(frozen=True)
class Files(Stage):
    """A shard is a file."""

    name: ClassVar[str] = "files"
    suffix: ClassVar[str] = ".txt"

    def parameters(self) -> dict[str, Any]:
        return {}

    def inputs(self) -> dict[str, str]:
        return {}

    def parts(self) -> list[Part]:
        return [Part("a/0")]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        path.write_text(f"what is in {part.name}")
        return {}

    def figures(self, shared: Any, records: Any, find: Any) -> dict[str, Any]:
        return {"rows": 1}


@dataclass(frozen=True)
class Folders(Files):
    """A shard is a folder."""

    name: ClassVar[str] = "folders"
    suffix: ClassVar[str] = ".zarr"

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        (path / "c").mkdir(parents=True)
        (path / "c" / "0").write_bytes(b"values")
        (path / "zarr.json").write_text("{}")
        return {}


def work(root: Path, card: str = "new") -> None:
    """The end of a run, in small."""
    folder = RunFolder(root)
    with folder.locked():
        files, _ = materialize_all([Files(), Folders()], root=folder.store, executor=SerialExecutor())
        write_package(folder.coreset, files, (), {"card": card}, card)


def picture(root: Path) -> dict[str, bytes | None]:
    """All that may not differ."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if path.name not in (".lock", "timings.json")
    }


def main(folder: Path) -> int:
    """Prints a line for each kind of loss, and what went wrong."""
    log, report, faults = folder / "log", folder / "report.json", []
    know_software()

    def made(root: Path, *card: str) -> None:
        def unharmed() -> None:
            with Points(root, report).watching():
                work(root, *card)

        if ended(forked(log, unharmed)):
            faults.append(f"{root.name}: the next run failed: {log.read_text()}")

    made(folder / "old", "old")
    shutil.rmtree(folder / "old" / "artifacts")
    shutil.copytree(folder / "old", folder / "whole")
    made(folder / "whole")
    whole = picture(folder / "whole")
    status, number = -signal.SIGKILL, 0
    while status == -signal.SIGKILL:
        number += 1
        root = folder / f"killed-{number}"
        shutil.copytree(folder / "old", root)
        points = Points(root, report, "", number)

        def watched(root: Path = root, points: Points = points) -> None:
            with points.watching():
                work(root)

        report.unlink(missing_ok=True)
        status = ended(forked(log, watched))
        if status != -signal.SIGKILL:
            break
        said = json.loads(report.read_bytes())
        for power in ("", "contents", "names"):
            copy = folder / f"copy-{number}-{power}"
            shutil.copytree(root, copy)
            lost = lose(root, said, power, copy)
            made(copy)
            found = picture(copy)
            wrong = {name for name in found | whole if found.get(name, "") != whole.get(name, "")}
            if wrong or lost:
                faults.append(f"{copy.name}, {said['killed']}: {sorted(wrong)} differ, lost {lost}")
            shutil.rmtree(copy)
        shutil.rmtree(root)
    if status:
        faults.append(f"{root.name}: ended with {status}: {log.read_text()}")
    print(f"{number - 1} points, each with nothing, contents and names lost beside the process")
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
