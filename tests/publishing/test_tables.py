"""A published table: what programs of others read in it, what its card says, and that damage to it is found."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zarr
from click.testing import CliRunner

import coreset
from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import checksum
from coreset.auditing.opening import open_points
from coreset.cli import main
from coreset.corpus.parquet import renamed
from coreset.errors import DataError
from coreset.publication import publish
from coreset.publishing.tables import TableDataset
from coreset.publishing.verify import verify
from coreset.report.quantity import ERROR_RATE
from coreset.stages.importing import import_index

Picture = Callable[[Path], dict[str, bytes | None]]
PART = "data/part-00000.parquet"


@pytest.fixture(params=["classes", "values"])
def public(request: pytest.FixtureRequest) -> Path:
    """A table whose target is a class, and one of two targets."""
    return Path(request.getfixturevalue("published_table" if request.param == "classes" else "values"))


@pytest.fixture(scope="module")
def values(build_table: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("values")
    publish(build_table(place, ("score", "γ")), str(place / "public"), None, zarr=True)
    return place / "public"


@pytest.fixture
def copy(published_table: Path, tmp_path: Path) -> Path:
    shutil.copytree(published_table, tmp_path / "copy")
    return tmp_path / "copy"


def rows_of(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(file) for file in sorted((folder / "data").iterdir()))


def source_of(table: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Every row of the table by its file and number."""
    return {
        (file.name, number): row
        for file in sorted(table.iterdir())
        for number, row in enumerate(pq.read_table(file).to_pylist())
    }


def front_matter(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    return found


def test_every_row_is_the_row_that_it_says_it_was(public: Path, table: Path) -> None:
    source, rows = source_of(table), rows_of(public).to_pylist()
    assert len({(row["file"], row["row"]) for row in rows}) == len(rows) > 60
    for row in rows:
        original = source[row["file"], row["row"]]
        own = {"score_": "score", "group": "batch"}
        for name in set(row) - {"file", "row", "score", "stratum", "weight"}:
            assert row[name] == (str if name == "group" else lambda value: value)(original[own.get(name, name)])


def test_the_rows_are_the_files_of_the_run_byte_for_byte(table_run: Path, published_table: Path) -> None:
    ours = sorted((table_run / "coreset").glob("part-*.parquet"))
    assert [file.name for file in ours] == [file.name for file in sorted((published_table / "data").iterdir())]
    for file in ours:
        assert (published_table / "data" / file.name).read_bytes() == file.read_bytes()


def test_the_index_names_the_rows_without_their_data(public: Path) -> None:
    index, rows = pq.read_table(public / "index.parquet"), rows_of(public)
    types = [pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.float32()]
    assert index.column_names == ["file", "row", "stratum", "weight", "score"]
    assert index.schema.types == types
    assert index.replace_schema_metadata().to_pylist() == rows.select(index.column_names).to_pylist()


def test_the_index_and_the_ingested_table_give_the_same_rows_again(
    table_run: Path, published_table: Path, tmp_path: Path
) -> None:
    place = str(table_run.parent / "corpus.zarr")
    assert import_index(published_table / "index.parquet", place, tmp_path / "again", SerialExecutor())
    assert coreset.open(tmp_path / "again").to_arrow().equals(coreset.open(published_table).to_arrow())
    one, other = (json.loads((each / "manifest.json").read_bytes()) for each in (tmp_path / "again", published_table))
    assert [one[key] for key in ("name", "select", "layout", "points")] == [
        other[key] for key in ("name", "select", "layout", "points")
    ]
    assert publish(tmp_path / "again", str(tmp_path / "public"), None).rows == one["rows"]


def test_the_package_opens_it_as_it_opens_the_run(table_run: Path, published_table: Path) -> None:
    one, other = coreset.open(table_run), coreset.open(published_table)
    assert isinstance(other, TableDataset)
    assert one.to_arrow().equals(other.to_arrow())
    assert one.to_pandas().equals(other.to_pandas())
    for ours, theirs in zip(one.to_torch()[:], other.to_torch()[:], strict=True):
        assert (ours == theirs).all()


def test_an_audit_reads_the_rows_that_are_published(public: Path) -> None:
    points = open_points(str(public), "CORPUS")
    rows = rows_of(public)
    names = [f"{name}_" if name == "score" else name for name in coreset.open(public).layout.features]
    assert points.columns == names and sum(member.points for member in points.members) == len(rows)
    found = points.read(0, np.arange(len(rows)))
    np.testing.assert_array_equal(found, np.stack([rows.column(name).to_numpy() for name in names], axis=1))


def test_names_of_ours_stay_apart_however_many_underscores_they_have() -> None:
    given = ["score", "score_", "score__", "row", "scores", "_score", "a_"]
    found = renamed(given)
    assert found == ["score_", "score__", "score___", "row_", "scores", "_score", "a_"]


def test_datasets_duckdb_polars_and_pandas_read_it(public: Path, caches: None) -> None:
    import datasets
    import duckdb
    import pandas
    import polars

    expected = rows_of(public).to_pylist()
    loaded = datasets.load_dataset(str(public))
    assert list(loaded) == ["train"]
    assert loaded["train"].to_list() == expected
    names = list(expected[0])
    found = duckdb.sql(f"select * from '{public}/data/*.parquet'").fetchall()
    assert [dict(zip(names, row, strict=True)) for row in found] == expected
    assert polars.read_parquet(public / "data/*.parquet").to_dicts() == expected
    assert pandas.read_parquet(public / "data").to_dict("records") == expected


def test_croissant_is_valid_and_gives_the_records(public: Path) -> None:
    import mlcroissant

    described = mlcroissant.Dataset(jsonld=public / "croissant.json")
    assert not described.metadata.ctx.issues.errors
    (records,) = described.metadata.record_sets
    columns = {field.id: field.source.extract.column for field in records.fields}
    expected = rows_of(public)
    assert list(columns.values()) == expected.column_names
    found = [
        {columns[name]: value.decode() if isinstance(value, bytes) else value for name, value in record.items()}
        for record in described.records("rows")
    ]
    assert found == expected.to_pylist()
    stated = {each.id: each.sha256 for each in described.metadata.distribution if getattr(each, "sha256", None)}
    assert stated == {PART: hashlib.sha256((public / PART).read_bytes()).hexdigest()}


def test_columns_that_differ_in_what_no_uri_holds_stay_apart(values: Path) -> None:
    described = json.loads((values / "croissant.json").read_bytes())
    ids = [field["@id"] for field in described["recordSet"][0]["field"]]
    assert len(set(ids)) == len(ids) == rows_of(values).num_columns
    assert all(re.fullmatch(r"rows/[\w.-]+", each) for each in ids)


def test_the_front_matter_tells_sizes_task_and_terms(public: Path, published_table: Path) -> None:
    head, rows = front_matter(public), rows_of(public)
    task = "classification" if public == published_table else "regression"
    assert head["task_categories"] == [f"tabular-{task}"]
    assert {f"tabular-{task}", "coreset"} <= set(head["tags"])
    assert not {"electron-density", "density-functional-theory"} & set(head["tags"])
    assert head["license"] == ("cc-by-4.0" if public == published_table else "unknown")
    assert head["size_categories"] == ["n<1K"]
    (config,), (info,) = head["configs"], head["dataset_info"]
    assert config["data_files"] == [{"split": "train", "path": "data/part-*.parquet"}]
    assert info["splits"][0]["num_examples"] == len(rows)
    assert [each["name"] for each in info["features"]] == rows.column_names
    assert info["download_size"] == (public / PART).stat().st_size


def test_the_card_shows_the_figures_of_the_summary_and_its_pictures(table_run: Path, published_table: Path) -> None:
    card = (published_table / "README.md").read_text()
    summary = json.loads((table_run / "summary.json").read_bytes())
    assert json.loads((published_table / "summary.json").read_bytes()) == summary
    for evaluated in summary["evaluation"]["held-out"].values():
        assert f"{100 * evaluated['figures']['nrmse']['value']:.3f}" in card
        assert ERROR_RATE.text(evaluated["figures"]["error_rate"]) in card
    for covered in summary["coverage"].values():
        assert f"{covered['auc']:.4f}" in card
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", card)
    assert pictures == ["figures/error-held-out.svg", "figures/coverage.svg"]
    for name in pictures:
        ElementTree.fromstring((published_table / name).read_text())
    for part in ("Ada Lovelace", "CC-BY-4.0", "Journal of Densities", "Made of random numbers.", "`coreset verify"):
        assert part in card
    for word in ("snapshot", "trajector", "Bohr", "densit", "grid point"):
        text = card.replace("Journal of Densities", "").replace("The Density Group", "")
        assert word not in text.lower(), word


def test_every_column_is_described_once_and_ends_no_cell(public: Path) -> None:
    card = (public / "README.md").read_text()
    listed = re.search(r"## Columns\n\n.*\n\n((?:\|.*\n)+)", card)
    assert listed
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in listed[1].splitlines()[2:]]
    assert all(len(each) == 3 for each in cells)
    names = [each[0].strip().strip("`").replace("\\|", "|") for each in cells]
    assert names == [name.replace("`", "'") for name in rows_of(public).column_names]


def test_the_arrays_are_the_columns(public: Path, published_table: Path) -> None:
    rows = rows_of(public)
    group = zarr.open_group(public / "rows.zarr", mode="r")
    assert sorted(group) == ["features", "file", "group", "row", "score", "stratum", "targets", "weight"]
    for name in ("row", "score", "stratum", "weight"):
        assert np.asarray(group[name][...]).tolist() == rows.column(name).to_pylist()
    for name in ("file", "group"):
        texts = group[name].attrs["texts"]
        assert [texts[number] for number in np.asarray(group[name][...]).tolist()] == rows.column(name).to_pylist()
    of_classes = public == published_table
    for name in ("features", "targets"):
        own = {"score": "score_"}
        columns = [own.get(each, each) for each in group[name].attrs["columns"]]
        found = np.asarray(group[name][...])
        if name == "targets" and of_classes:
            assert [group[name].attrs["texts"][number] for number in found.tolist()] == rows.column(
                *columns
            ).to_pylist()
        else:
            expected = np.stack([rows.column(each).to_numpy() for each in columns], axis=1)
            np.testing.assert_array_equal(found, expected)
    for name in group:
        assert "crc32c" in json.dumps(group[name].metadata.to_dict(), default=str)


def test_the_citation_the_crate_and_the_job_are_what_their_readers_expect(public: Path) -> None:
    from coreset.job_file import load_job

    assert {"message", "title", "authors"} <= set(yaml.safe_load((public / "CITATION.cff").read_text()))
    crate = {each["@id"]: each for each in json.loads((public / "ro-crate-metadata.json").read_bytes())["@graph"]}
    parts = {each["@id"] for each in crate["./"]["hasPart"]}
    assert {PART, "index.parquet", "README.md", "rows.zarr/"} <= parts <= set(crate)
    assert not any(name.endswith("snapshots.parquet") for name in parts)
    if public.name == "kinds":
        assert load_job(public / "job.yaml").select.prune == 0.8
    listed = dict(reversed(line.split("  ")) for line in (public / "SHA256SUMS").read_text().splitlines())
    files = {path.relative_to(public).as_posix() for path in public.rglob("*") if path.is_file()}
    assert set(listed) == files - {"SHA256SUMS", "manifest.json"}


@pytest.mark.parametrize("target", ["kind", "γ"])
def test_files_without_rows_and_a_method_without_scores_are_no_obstacle(
    target: str, build_table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caches: None
) -> None:
    import datasets
    import mlcroissant
    import polars

    monkeypatch.setattr("coreset.corpus.kept.BATCH", 2)
    made = build_table(tmp_path, (target,), "random-snapshots")
    public = tmp_path / "public"
    publish(made, str(public), None, zarr=True)
    counts = [pq.read_metadata(file).num_rows for file in sorted((public / "data").iterdir())]
    assert 0 in counts and sum(counts) > 100
    expected = rows_of(public).to_pylist()
    assert {row["score"] for row in expected} == {row["stratum"] for row in expected} == {None}
    assert datasets.load_dataset(str(public), split="train").to_list() == expected
    assert polars.read_parquet(public / "data/*.parquet").to_dicts() == expected
    records = mlcroissant.Dataset(jsonld=public / "croissant.json").records("rows")
    assert [record["rows/row"] for record in records] == [row["row"] for row in expected]
    group = zarr.open_group(public / "rows.zarr", mode="r")
    assert np.isnan(group["score"][...]).all() and (np.asarray(group["stratum"][...]) == -1).all()
    assert len(list(verify(public))) > 8


def test_of_many_columns_the_card_lists_the_first_and_the_last() -> None:
    from coreset.corpus.table_corpus import Layout
    from coreset.publishing.columns import markdown_table, row_columns

    layout = Layout(tuple(f"pixel {i}" for i in range(64)), ("y",), "regression", (1.0,))
    known = row_columns(layout)
    table = markdown_table(list(known), known)
    assert "| `pixel 0` … `pixel 63` (64 columns) | – | feature |" in table
    assert len(table.splitlines()) == 2 + 8


def test_it_is_the_same_bytes_in_another_place_and_left_where_it_stands(
    table_run: Path, published_table: Path, picture: Picture, tmp_path: Path
) -> None:
    metadata = published_table.parent / "metadata.yaml"
    publish(table_run / "coreset", str(tmp_path / "again"), metadata, zarr=True)
    assert picture(tmp_path / "again") == picture(published_table)
    assert publish(table_run, str(published_table), metadata, zarr=True).stood


@pytest.mark.parametrize("name", [PART, "index.parquet", "README.md", "SHA256SUMS", "rows.zarr/features/zarr.json"])
def test_verify_finds_a_change_in_any_file(name: str, copy: Path) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    result = CliRunner().invoke(main, ["verify", str(copy)])
    assert result.exit_code == 1
    assert name in result.stderr


def replaced(table: pa.Table, name: str, change: Callable[[list[Any]], None]) -> pa.Table:
    values = table.column(name).to_pylist()
    change(values)
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))


def restate(folder: Path) -> None:
    """The manifest of whoever changed a file: true checksums, and the counts of before."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for shard in manifest["shards"]:
        for name, stated in shard["files"].items():
            content = (folder / name).read_bytes()
            stated |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "checksum": checksum(manifest)}))


def other_row(values: list[Any]) -> None:
    values[5] += 100_000


def twice(values: list[Any]) -> None:
    values[1] = values[0]


def negative(values: list[Any]) -> None:
    values[0] = -1


def nothing(values: list[Any]) -> None:
    pass


@pytest.mark.parametrize(
    ("name", "column", "change", "expected"),
    [
        ("index.parquet", "row", other_row, "expected the dataset's rows from row 0 on"),
        ("index.parquet", "score", other_row, "expected the dataset's rows from row 0 on"),
        (PART, "row", other_row, r"index\.parquet: expected the dataset's rows"),
        (PART, "row", twice, "expected every row of the table once"),
        (PART, "row", negative, "expected numbers of rows from 0 on, found -1"),
    ],
)
def test_broken_promises_are_found_behind_true_checksums(
    name: str, column: str, change: Callable[[list[Any]], None], expected: str, copy: Path
) -> None:
    table = pq.read_table(copy / name)
    same = table.column("file").to_pylist()
    assert same[0] == same[1]
    pq.write_table(replaced(table, column, nothing), copy / name)
    restate(copy)
    assert len(list(verify(copy))) > 8
    pq.write_table(replaced(table, column, change), copy / name)
    restate(copy)
    with pytest.raises(DataError, match=expected):
        list(verify(copy))


def test_a_row_that_stands_in_two_files_is_found(copy: Path) -> None:
    rows = pq.read_table(copy / PART)
    other = PART.replace("00000", "99999")
    assert other != PART
    pq.write_table(rows.slice(3, 1), copy / other)
    manifest = json.loads((copy / "manifest.json").read_bytes())
    stated = next(shard for shard in manifest["shards"] if shard["name"] == PART)
    added = {**stated, "name": other, "files": {other: {}}, "figures": {**stated["figures"], "rows": 1}}
    manifest["shards"].insert(manifest["shards"].index(stated) + 1, added)
    manifest["rows"] += 1
    (copy / "manifest.json").write_text(json.dumps(manifest))
    restate(copy)
    row, file = rows.column("row")[3].as_py(), rows.column("file")[3].as_py()
    with pytest.raises(DataError, match=rf"expected every row of the table once, found row {row} of {file} twice"):
        list(verify(copy))


def test_a_row_that_was_dropped_is_found(copy: Path) -> None:
    pq.write_table(pq.read_table(copy / PART).slice(1), copy / PART)
    restate(copy)
    with pytest.raises(DataError, match="expected the number of rows that"):
        list(verify(copy))


def test_it_names_neither_this_machine_nor_its_folders(table: Path, table_run: Path, published_table: Path) -> None:
    for path in published_table.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for told in (str(table.parent), str(table_run.parent), str(Path.home())):
                assert told.encode() not in content, path
