"""`coreset select`: the rows of anyone's score file, the same from every format and from Python."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from click.testing import CliRunner, Result
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore

import coreset
from coreset import session
from coreset.cli import main
from coreset.corpus import score_file

SCORES = np.random.default_rng(0).lognormal(0.0, 1.0, 3000)
Picture = Callable[[Path], dict[str, bytes | None]]


def parquet(path: Path, values: Any, name: str = "score", **options: Any) -> Path:
    pq.write_table(pa.table({"id": np.arange(len(values)), name: values}), path, **options)
    return path


def write(path: Path, scores: np.ndarray) -> Path:
    """Scores under a name that tells the format."""
    if path.suffix == ".npy":
        np.save(path, scores)
    elif path.suffix == ".parquet":
        parquet(path, scores, row_group_size=700)
    elif path.name.startswith("group"):
        zarr.open_group(LocalStore(path), mode="w").create_array("score", data=scores, chunks=(700,))
    else:
        zarr.create_array(LocalStore(path), data=scores, chunks=(700,))
    return path


FORMATS = ["a.npy", "a.parquet", "a.zarr", "group.zarr"]


def select(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["select", *map(str, arguments)])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ([], {}),
        (
            ["--method", "ccs", "--prune", "0.95", "--cutoff", "0.3", "--strata", "20", "--seed", "7"],
            {"prune": 0.95, "cutoff": 0.3, "strata": 20, "seed": 7},
        ),
        (["--strata", "50", "--no-redistribute"], {"strata": 50, "redistribute": False}),
        (["--method", "random", "--prune", "0.5"], {"method": "random", "prune": 0.5}),
        (["--method", "grand"], {"method": "grand"}),
        (["--method", "cut-random", "--cutoff", "0.1"], {"method": "cut-random", "cutoff": 0.1}),
    ],
)
def test_every_format_gives_the_rows_of_python(
    name: str, options: list[str], settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_file, "PIECE", 1000)
    source, out = write(tmp_path / name, SCORES), tmp_path / "out.parquet"
    result = select(source, "--out", out, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    table = pq.read_table(out)
    assert table.schema.equals(pa.schema([("index", pa.int64()), ("stratum", pa.int32())]))
    index = table.column("index").to_numpy()
    assert np.array_equal(index, coreset.select(SCORES, **settings))
    assert (np.diff(index) > 0).all()
    assert f"{len(index):,} of 3,000 rows" in result.output
    if settings.get("method", "ccs") == "ccs":
        # The stratum of a kept row, from its score and the formula of the contracts.
        rest = np.sort(SCORES)[: 3000 - int(settings.get("cutoff", 0.0) * 3000)]
        lo, hi, k = rest[0], rest[-1], settings.get("strata", 100)
        expected = np.minimum(k - 1, np.floor((SCORES[index] - lo) / (hi - lo) * k)).astype(int)
        assert table.column("stratum").to_pylist() == expected.tolist()
    else:
        assert table.column("stratum").null_count == len(index)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", ["float32", "int64", "uint8", "float16"])
def test_other_kinds_of_numbers_are_taken(name: str, kind: str, tmp_path: Path) -> None:
    scores = (SCORES * 10).clip(0, 250).astype(kind)
    result = select(write(tmp_path / name, scores), "--out", tmp_path / "out.parquet", "--strata", "10")
    assert result.exit_code == 0, result.stderr
    expected = coreset.select(scores, strata=10)
    assert pq.read_table(tmp_path / "out.parquet").column("index").to_pylist() == expected.tolist()


def test_the_order_of_bytes_in_a_npy_file_changes_nothing(tmp_path: Path) -> None:
    expected = coreset.select(SCORES).tolist()
    for kind in (">f8", "<f8"):
        source = write(tmp_path / f"{kind[1:]}.npy", SCORES.astype(kind))
        assert select(source, "--out", tmp_path / "out.parquet").exit_code == 0
        assert pq.read_table(tmp_path / "out.parquet").column("index").to_pylist() == expected


def test_a_zarr_field_on_a_grid_is_taken_in_c_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_file, "PIECE", 250)
    field = SCORES.reshape(15, 10, 20)
    zarr.create_array(LocalStore(tmp_path / "grid.zarr"), data=field, chunks=(4, 10, 7))
    assert select(tmp_path / "grid.zarr", "--out", tmp_path / "out.parquet").exit_code == 0
    expected = coreset.select(SCORES)
    assert pq.read_table(tmp_path / "out.parquet").column("index").to_pylist() == expected.tolist()


def test_the_same_request_gives_the_same_bytes_and_replaces_the_old(tmp_path: Path) -> None:
    source = write(tmp_path / "a.npy", SCORES)
    for name in ("one", "two", "two"):
        assert select(source, "--out", tmp_path / name).exit_code == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert select(source, "--seed", 1, "--out", tmp_path / "two").exit_code == 0
    assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()


def test_json_tells_the_figures(tmp_path: Path) -> None:
    result = select(write(tmp_path / "a.npy", SCORES), "--cutoff", "0.1", "--json", "--out", tmp_path / "out")
    figures = json.loads(result.stdout)
    assert (figures["total"], figures["keep"], figures["kept"], figures["cut"]) == (3000, 300, 300, 300)
    assert (figures["lo"], figures["hi"]) == (SCORES.min(), np.sort(SCORES)[2699])
    assert sum(figures["sizes"]) == 2700
    assert sum(figures["budgets"]) == 300


def two_dimensional(folder: Path) -> Path:
    np.save(folder / "a.npy", np.zeros((5, 5)))
    return folder / "a.npy"


def pickled(folder: Path) -> Path:
    np.save(folder / "a.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    return folder / "a.npy"


def empty(folder: Path) -> Path:
    np.save(folder / "a.npy", np.zeros(0))
    return folder / "a.npy"


def named(name: str, content: bytes | None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        if content is not None:
            path.write_bytes(content)
        return path

    return make


def truncated(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write(folder / name, SCORES)
        path.write_bytes(path.read_bytes()[:-100])
        return path

    return make


def plain_folder(folder: Path) -> Path:
    (folder / "a.zarr").mkdir()
    return folder / "a.zarr"


def other_group(folder: Path) -> Path:
    zarr.open_group(LocalStore(folder / "a.zarr"), mode="w").create_array("loss", data=SCORES)
    return folder / "a.zarr"


def nested_group(folder: Path) -> Path:
    zarr.open_group(LocalStore(folder / "a.zarr"), mode="w").create_group("score")
    return folder / "a.zarr"


def folder_named(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).mkdir()
        return folder / name

    return make


REFUSED: list[tuple[Callable[[Path], Path], str]] = [
    (two_dimensional, "one dimension"),
    (pickled, "array of numbers"),
    (empty, "not empty"),
    (truncated("a.npy"), "a.npy"),
    (named("a.npy", b"text"), "array of numbers"),
    (named("a.npy", b""), "array of numbers"),
    (named("a.parquet", b"text"), "expected a Parquet file"),
    (truncated("a.parquet"), "expected a Parquet file"),
    (lambda folder: parquet(folder / "a.parquet", SCORES, "loss"), "column 'score', found 3000 rows, columns id, loss"),
    (lambda folder: parquet(folder / "a.parquet", SCORES[:0]), "found 0 rows"),
    (lambda folder: parquet(folder / "a.parquet", [str(x) for x in SCORES]), "expected"),
    (lambda folder: parquet(folder / "a.parquet", [True, False] * 500), "expected"),
    (lambda folder: parquet(folder / "a.parquet", [[1.0]] * 500), "expected"),
    (plain_folder, "expected a Zarr array"),
    (other_group, "array 'score'"),
    (nested_group, "array 'score'"),
    (folder_named("a.npy"), "a.npy"),
    (folder_named("a.parquet"), "a.parquet"),
    (named("a.zarr", b"text"), "a.zarr"),
    (named("a.csv", b"score\n1\n"), "expected scores in .npy, .parquet or .zarr, found '.csv'"),
    (named("scores", b"1"), "found 'no suffix'"),
    (named("missing.npy", None), "found nothing there"),
    (named("missing.parquet", None), "found nothing there"),
    (named("missing.zarr", None), "found nothing there"),
]


@pytest.mark.parametrize(("make", "expected"), REFUSED, ids=range(len(REFUSED)))
def test_a_file_that_holds_no_scores_is_a_wrong_request(
    make: Callable[[Path], Path], expected: str, tmp_path: Path, picture: Picture
) -> None:
    source = make(tmp_path)
    before = picture(tmp_path)
    result = select(source, "--out", tmp_path / "out" / "rows.parquet")
    assert result.exit_code == 2, result.exception
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
    assert picture(tmp_path) == before


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_bad_data_and_the_row_is_named(
    name: str, bad: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
    monkeypatch.setattr(score_file, "PIECE", 1000)
    scores = SCORES.copy()
    scores[[2345, 2900]] = bad
    source = write(tmp_path / name, scores)
    before = picture(tmp_path)
    result = select(source, "--out", tmp_path / "out.parquet")
    assert result.exit_code == 1
    assert "row 2345" in result.stderr
    assert picture(tmp_path) == before


def test_a_missing_score_is_bad_data_and_the_row_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
    monkeypatch.setattr(score_file, "PIECE", 1000)
    source = parquet(tmp_path / "a.parquet", [None if row in (2345, 2900) else x for row, x in enumerate(SCORES)])
    before = picture(tmp_path)
    result = select(source, "--out", tmp_path / "out.parquet")
    assert result.exit_code == 1
    assert "expected a score in every row, found none in row 2345" in result.stderr
    assert picture(tmp_path) == before


@pytest.mark.parametrize("name", ["a.parquet", "a.zarr"])
def test_a_damaged_page_is_bad_data(name: str, tmp_path: Path) -> None:
    source = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.table({"score": SCORES}), source, compression="zstd", use_dictionary=False)
    else:
        zarr.create_array(LocalStore(source), data=SCORES, chunks=(3000,), compressors=[ZstdCodec(), Crc32cCodec()])
    file = source if source.is_file() else max(source.rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    content = bytearray(file.read_bytes())
    content[100:900] = bytes(800)
    file.write_bytes(content)
    result = select(source, "--out", tmp_path / "out.parquet")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert str(source) in result.stderr
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--prune", "1"], "prune: expected a number of at least 0 and below 1, found '1'"),
        (["--prune", "-0.1"], "prune"),
        (["--prune", "nan"], "prune"),
        (["--prune", "much"], "found 'much'"),
        (["--prune", "0.99999"], "prune: expected to keep at least 1 of 3000"),
        (["--prune", "0.99"], "strata: expected at most the 30 points to be kept of 3000, found 100"),
        (["--strata", "301"], "strata: expected at most the 300"),
        (["--strata", "0"], "strata"),
        (["--cutoff", "1.0"], "cutoff"),
        (["--cutoff", "0.95"], "cutoff: expected at least 300 points left"),
        (["--cutoff", "nan"], "cutoff"),
        (["--method", "ccz"], "did you mean ccs?"),
        (["--method", "random-snapshots"], "rows have none; take random"),
        (["--method", "random", "--cutoff", "0.1"], "cutoff: method random takes"),
        (["--method", "grand", "--strata", "5"], "strata: method grand takes"),
        (["--seed", "9223372036854775808"], "seed: expected an integer of 64 bits"),
    ],
)
def test_parameters_out_of_range_are_wrong_requests(
    options: list[str], expected: str, tmp_path: Path, picture: Picture
) -> None:
    source = write(tmp_path / "a.npy", SCORES)
    before = picture(tmp_path)
    result = select(source, "--out", tmp_path / "out.parquet", *options)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
    assert picture(tmp_path) == before


def test_as_many_rows_as_strata_are_enough(tmp_path: Path) -> None:
    source = write(tmp_path / "a.npy", SCORES)
    assert select(source, "--strata", "300", "--out", tmp_path / "out.parquet").exit_code == 0
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 300


def test_equal_scores_have_no_strata(tmp_path: Path) -> None:
    result = select(write(tmp_path / "a.npy", np.full(2000, 3.0)), "--out", tmp_path / "out.parquet")
    assert result.exit_code == 2
    assert "take cut-random or random" in result.stderr


@pytest.mark.parametrize("out", ["folder", "file/below"])
def test_an_output_that_cannot_be_written_is_a_wrong_request(out: str, tmp_path: Path, picture: Picture) -> None:
    source = write(tmp_path / "a.npy", SCORES)
    (tmp_path / "folder" / "full").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    before = picture(tmp_path)
    result = select(source, "--out", tmp_path / out)
    assert result.exit_code == 2, result.exception
    assert str(tmp_path / "f") in result.stderr
    assert picture(tmp_path) == before


def test_a_relative_output_inside_a_ray_job_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "IN_JOB", True)
    source = write(tmp_path / "a.npy", SCORES)
    result = select(source, "--out", "out.parquet")
    assert result.exit_code == 2
    assert "--out: expected an absolute path inside a Ray job, found 'out.parquet'" in result.stderr
    assert not (tmp_path / "out.parquet").exists()
    assert select(source, "--out", tmp_path / "out.parquet").exit_code == 0


def test_integers_that_floats_cannot_hold_are_refused(tmp_path: Path) -> None:
    for value, fine in ((2**53, True), (2**53 + 1, False), (-(2**53) - 1, False)):
        np.save(tmp_path / "a.npy", np.array([value, 1, 2]))
        result = select(tmp_path / "a.npy", "--method", "grand", "--prune", "0.5", "--out", tmp_path / "out")
        assert (result.exit_code == 0) == fine
        assert fine or "expected integers up to 2**53" in result.stderr


@pytest.mark.parametrize("name", ["a.zarr", "group.zarr"])
def test_a_missing_chunk_is_not_so_many_zeros(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / name, SCORES)
    next(file for file in sorted(source.rglob("*")) if file.name == "2").unlink()
    result = select(source, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "expected 5 chunks, found 4" in result.stderr


def test_a_length_that_a_zarr_array_does_not_have_ends_at_once(tmp_path: Path) -> None:
    source = write(tmp_path / "a.zarr", SCORES)
    text = (source / "zarr.json").read_text()
    (source / "zarr.json").write_text(text.replace("3000", "3000000000000", 1))
    result = select(source, "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "missing ones would count as" in result.stderr


@pytest.mark.parametrize("shape", ["(300,) ", "(3001,)", "(10**9,)", "(-3000,)", "(3000, 1)", "((((", "(\\"])
def test_a_npy_file_has_the_length_that_it_states(shape: str, tmp_path: Path) -> None:
    content = write(tmp_path / "a.npy", SCORES).read_bytes()
    assert b"(3000,)" in content
    (tmp_path / "a.npy").write_bytes(content.replace(b"(3000,)", shape.encode(), 1))
    result = select(tmp_path / "a.npy", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "a.npy: expected" in result.stderr


def test_an_archive_of_arrays_is_no_array(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.savez(file, score=SCORES)
    assert select(tmp_path / "a.npy", "--out", tmp_path / "out").exit_code == 2


def test_a_page_that_is_not_what_its_crc_says_is_bad_data(tmp_path: Path) -> None:
    source = parquet(tmp_path / "a.parquet", SCORES, use_dictionary=False, compression=None, write_page_checksum=True)
    content = source.read_bytes()
    at = content.index(SCORES[1000:1002].tobytes())
    source.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    result = select(source, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "a.parquet: expected scores that can be read" in result.stderr


@pytest.mark.parametrize(
    ("given", "out"),
    [
        ("a.npy", "a.npy"),
        ("a.npy", "folder/../a.npy"),
        ("a.npy", "also.npy"),
        ("link.npy", "a.npy"),
        ("a.parquet", "a.parquet"),
        ("a.zarr", "a.zarr/rows.parquet"),
        ("group.zarr", "group.zarr/score/c/0"),
    ],
)
def test_the_scores_are_never_replaced(given: str, out: str, tmp_path: Path, picture: Picture) -> None:
    for name in FORMATS:
        write(tmp_path / name, SCORES)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.npy").symlink_to("a.npy")
    os.link(tmp_path / "a.npy", tmp_path / "also.npy")
    before = picture(tmp_path)
    result = select(tmp_path / given, "--out", tmp_path / out)
    assert result.exit_code == 2, result.output
    assert "expected another file than the scores" in result.stderr and result.stderr.count("\n") == 1
    assert picture(tmp_path) == before


@pytest.mark.parametrize("kind", ["pipe", "link", "broken link"])
def test_what_is_no_plain_file_is_not_replaced(kind: str, tmp_path: Path) -> None:
    source, out = write(tmp_path / "a.npy", SCORES), tmp_path / "out.parquet"
    (tmp_path / "old").write_text("x")
    if kind == "pipe":
        os.mkfifo(out)
    else:
        out.symlink_to(tmp_path / ("old" if kind == "link" else "missing"))
    before = out.lstat()
    result = select(source, "--out", out)
    assert result.exit_code == 2, result.output
    assert "found a link, a device or a pipe" in result.stderr and result.stderr.count("\n") == 1
    assert (out.lstat().st_ino, stat.S_IFMT(out.lstat().st_mode)) == (before.st_ino, stat.S_IFMT(before.st_mode))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "old", "out.parquet"]
    assert (tmp_path / "old").read_text() == "x"


@pytest.mark.parametrize("name", ["a.npy", "a.parquet", "a.zarr"])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    result = select(tmp_path / name, "--out", tmp_path / "out.parquet")
    assert result.exit_code == 2, result.output
    assert "found a pipe or a device" in result.stderr
    assert not (tmp_path / "out.parquet").exists()
