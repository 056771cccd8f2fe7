"""The Python in the documentation runs: page by page, in the order of the page, beside a small finished run."""

import re
from pathlib import Path

import pytest

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.numerics.descriptors import Descriptor
from coreset.publication import publish
from coreset.publishing.package import write_package
from coreset.stages.extraction import Extraction
from coreset.stages.selection import Selection

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(page):
    """The page's Python, by the line it begins on."""
    text = page.read_text()
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, match.start(1)) + 1, match[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As after `make run`: jobs/, a coreset of one snapshot in runs/al/coreset, and what is published of it."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "jobs").symlink_to(ROOT / "jobs")
    corpus = Corpus.open(ROOT / "jobs/data/al.zarr")
    train = SnapshotSet(corpus.path, corpus.select("train/al32_T0300_s0_0"))
    store, descriptor = folder / "runs/al/artifacts", Descriptor(neighbours=4)

    def made(stage):
        return materialize(stage, root=store, executor=SerialExecutor())

    selection = made(Selection(train, "random", {"prune": 0.99, "seed": 0}, None))
    extraction = made(Extraction(train, selection, descriptor, False))
    recipe = {"descriptor": {"neighbours": 4}}
    write_package(folder / "runs/al/coreset", extraction, train.snapshots, recipe, "")
    publish(folder / "runs/al", str(folder / "al-coreset"), None)
    return folder


@pytest.fixture(autouse=True)
def _caches(monkeypatch, tmp_path):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.mark.parametrize("page", [page for page in PAGES if list(blocks(page))], ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {}
    for line, block in blocks(page):
        code = compile("\n" * (line - 1) + block, str(page), "exec")
        # Ray would take longer to start than all the rest together.
        if "to_ray" not in block:
            exec(code, names)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_as_found")
def test_the_ray_of_the_page_on_use_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (block,) = [block for _, block in blocks(ROOT / "docs/using.md") if "to_ray" in block]
    names = {}
    exec(compile(block, "using.md", "exec"), names)
    assert names["batch"].num_rows == len(names["coreset"].open("al-coreset"))


def test_the_output_page_names_every_column(folder):
    import coreset

    page = (ROOT / "docs/output.md").read_text()
    points = coreset.open(folder / "runs/al")
    for column in (*points.to_arrow().column_names, *points.snapshots.column_names):
        assert f"`{column}`" in page, column
