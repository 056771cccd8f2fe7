"""A small part of `make fuzz`, the same inputs every time: right data, or an error of coreset that names the file."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

INPUTS = 150
READERS = [
    *("cube", "cube-header", "sparc", "sparc-input", "job"),
    *("chgcar", "tar", "plain-cube", "abinit", "espresso", "materials-project", "mala"),
    *("corpus-root", "corpus-array", "corpus-chunks", "kept", "checkpoint"),
    *("package-open", "package-verify", "package-restated", "index", "manifest"),
    *("scores-npy", "scores-parquet", "scores-zarr", "run-record", "calibration", "evidence-sweep", "evidence-run"),
    *("table-parquet", "table-npy", "table-zarr", "table-corpus", "table-index"),
]


@pytest.fixture(scope="module")
def fuzz() -> Iterator[Any]:
    """The modules of `python tests/fuzz`, which finds them beside itself."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(Path(__file__).parent))
        import campaign
        import targets

        yield campaign, targets
        for name in ("campaign", "formats", "mutations", "records", "samples", "stores", "tables", "targets", "texts"):
            sys.modules.pop(name, None)


def test_every_reader_is_listed(fuzz: Any) -> None:
    assert list(fuzz[1].TARGETS) == READERS


@pytest.mark.parametrize("name", READERS)
def test_damage_gives_right_data_or_an_error_that_names_the_file(
    name: str, fuzz: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/nowhere")  # the calibration sets it, and is set back
    campaign, targets = fuzz
    inputs = INPUTS
    tally = campaign.in_process(targets.TARGETS[name], 0, range(inputs))
    assert not tally.failures
    assert sum(tally.outcomes.values()) == inputs
    assert tally.outcomes["refused"] > 10


@pytest.fixture
def reader(fuzz: Any) -> Any:
    """Makes a target of a reader of the text `1 2 3`."""
    campaign, _ = fuzz
    from mutations import TEXT

    def make(read: Any) -> Any:
        return campaign.Target("toy", lambda folder: (folder / "x").write_text("1 2 3"), {"x": TEXT}, read)

    return make


def foreign(folder: Path) -> list[int]:
    return [int(word) for word in (folder / "x").read_text().split()]


def silent(folder: Path) -> list[int]:
    return [len(word) for word in (folder / "x").read_text(errors="replace").split()]


def nameless(folder: Path) -> list[int]:
    from coreset.errors import DataError

    if (folder / "x").read_bytes() != b"1 2 3":
        raise DataError("something is wrong")
    return [1]


def endless(folder: Path) -> list[int]:
    while (folder / "x").read_bytes() != b"1 2 3":
        pass
    return [1]


@pytest.mark.parametrize(
    ("read", "why"),
    [
        (foreign, "ValueError: invalid literal"),
        (silent, "silently different"),
        (nameless, "names no file"),
        (endless, "no end after"),
    ],
)
def test_each_kind_of_failure_is_seen(
    read: Any, why: str, fuzz: Any, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign, _ = fuzz
    monkeypatch.setattr(campaign, "SECONDS", 0.2)
    tally = campaign.in_process(reader(read), 0, range(10))
    assert any(why in told for _, told in tally.failures)


def test_a_reader_that_kills_its_process_or_takes_too_much_memory_is_one_failure(
    fuzz: Any, reader: Any, tmp_path: Path
) -> None:
    import os

    campaign, _ = fuzz

    def fatal(folder: Path) -> list[int]:
        content = (folder / "x").read_bytes()
        if content != b"1 2 3" and len(content) % 2:
            os._exit(9)
        if content != b"1 2 3":
            bytearray(3 << 30)
        return [1]

    tally = campaign.in_workers(reader(fatal), 0, 8, 2, tmp_path)
    assert sum(tally.outcomes.values()) == 8
    told = " ".join(why for _, why in tally.failures)
    assert "the process ended (9)" in told
    assert "MemoryError" in told
    assert {int(path.name.removeprefix("0-")) for path in (tmp_path / "toy").iterdir()} == {
        n for n, _ in tally.failures
    }


def test_an_input_is_a_function_of_seed_and_number(fuzz: Any, tmp_path: Path) -> None:
    campaign, targets = fuzz
    contents = []
    for seed, number in ((0, 3), (0, 3), (0, 4), (1, 3)):
        with campaign.valid(targets.TARGETS["cube"]) as (folder, _):
            campaign.damage(targets.TARGETS["cube"], folder, seed, number)
            contents.append((folder / "x.cube").read_bytes())
    assert contents[0] == contents[1]
    assert len(set(contents)) == 3
