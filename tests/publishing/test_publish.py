"""A published folder: what programs of others read in it, that it is whole, and that it tells nothing it should not."""

import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zarr
from click.testing import CliRunner

import coreset
from coreset.artifacts.manifest import checksum
from coreset.cli import main
from coreset.errors import DataError, RequestError
from coreset.publication import publish
from coreset.publishing.verify import verify

Picture = Callable[[Path], dict[str, bytes | None]]
KEPT = 192
"""20% of 8 training snapshots of 120 points."""


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    shutil.copytree(published, tmp_path / "copy")
    return tmp_path / "copy"


def rows_of(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(file) for file in sorted(folder.glob("part-*.parquet")))


def front_matter(folder: Path) -> dict[str, Any]:
    text = (folder / "README.md").read_text()
    assert text.startswith("---\n")
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_the_points_are_the_files_of_the_run_byte_for_byte(whole_run: Path, published: Path) -> None:
    ours = sorted((whole_run / "run/coreset").glob("part-*.parquet"))
    assert ours and len(pq.read_table(published / "data")) == KEPT
    for file in ours:
        assert (published / "data" / file.name).read_bytes() == file.read_bytes()


def test_the_package_reads_it_as_the_run(whole_run: Path, published: Path) -> None:
    one, other = coreset.open(whole_run / "run"), coreset.open(published)
    assert one.to_arrow().equals(other.to_arrow())
    assert [dict(each) for each in one.snapshots.column("source").to_pylist()] == [
        {entry["file"]: entry["sha256"] for entry in each} for each in other.snapshots.column("source").to_pylist()
    ]


def test_the_checksums_are_those_of_the_files(published: Path) -> None:
    listed = dict(reversed(line.split("  ")) for line in (published / "SHA256SUMS").read_text().splitlines())
    files = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert set(listed) == files - {"SHA256SUMS", "manifest.json"}
    for name, stated in listed.items():
        assert hashlib.sha256((published / name).read_bytes()).hexdigest() == stated


def test_datasets_loads_it(published: Path, caches: None) -> None:
    import datasets

    points = datasets.load_dataset(str(published))
    assert list(points) == ["train"]
    assert points["train"].to_list() == pq.read_table(published / "data").to_pylist()
    atoms = datasets.load_dataset(str(published), "snapshots", split="train")
    assert atoms.to_list() == pq.read_table(published / "snapshots.parquet").to_pylist()


def test_croissant_is_valid_and_gives_the_records(published: Path) -> None:
    import mlcroissant

    described = mlcroissant.Dataset(jsonld=published / "croissant.json")
    assert not described.metadata.ctx.issues.errors
    assert not described.metadata.ctx.issues.warnings
    expected = pq.read_table(published / "data").to_pylist()
    records = list(described.records("points"))
    assert len(records) == KEPT
    for record, row in zip(records, expected, strict=True):
        for name, value in row.items():
            found = record[f"points/{name}"]
            found = found.decode() if isinstance(found, bytes) else found
            assert found == value or (value is None and found is None), name
    atoms = list(described.records("snapshots"))
    assert [atom["snapshots/species"] for atom in atoms] == [
        row["species"] for row in pq.read_table(published / "snapshots.parquet").to_pylist()
    ]
    stated = {each.id: each.sha256 for each in described.metadata.distribution if getattr(each, "sha256", None)}
    for name, digest in stated.items():
        assert hashlib.sha256((published / name).read_bytes()).hexdigest() == digest
    assert set(stated) == {"data/part-00000.parquet", "snapshots.parquet"}


def test_sql_and_polars_read_it(published: Path) -> None:
    import duckdb
    import polars

    expected = pq.read_table(published / "data")
    ((count, total),) = duckdb.sql(f"select count(*), sum(density) from '{published}/data/*.parquet'").fetchall()
    assert count == KEPT
    assert total == pytest.approx(sum(expected.column("density").to_pylist()), rel=1e-6)
    frame = polars.read_parquet(published / "data/*.parquet")
    assert frame.to_dicts() == expected.to_pylist()
    assert polars.read_parquet(published / "snapshots.parquet").height == 8
    assert coreset.open(published).to_polars(descriptor=False).equals(frame)


def test_the_front_matter_tells_sizes_splits_and_terms(published: Path) -> None:
    head = front_matter(published)
    assert head["license"] == "cc-by-4.0"
    assert head["pretty_name"] == "A small coreset"
    assert head["size_categories"] == ["n<1K"]
    points, atoms = head["dataset_info"]
    assert points["splits"][0]["num_examples"] == KEPT
    assert atoms["splits"][0]["num_examples"] == 8
    assert [each["name"] for each in points["features"]] == pq.read_table(published / "data").column_names
    assert points["download_size"] == sum(file.stat().st_size for file in (published / "data").iterdir())
    assert [(each["config_name"], each.get("default")) for each in head["configs"]] == [
        ("points", True),
        ("snapshots", None),
    ]


def test_the_card_shows_the_figures_of_the_summary_and_its_pictures(whole_run: Path, published: Path) -> None:
    card = (published / "README.md").read_text()
    summary = json.loads((whole_run / "run/summary.json").read_bytes())
    assert json.loads((published / "summary.json").read_bytes()) == summary
    for figures in summary["evaluation"]["bulk"].values():
        assert f"{100 * figures['nrmse']:.3f}" in card
    for method, figures in summary["coverage"].items():
        assert f"{figures['auc']:.4f}" in card, method
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", card)
    assert pictures == ["figures/error-bulk.svg", "figures/coverage.svg"]
    for name in pictures:
        assert (published / name).read_text().startswith("<svg ")
    for part in ("Ada Lovelace (Analytical Engines)", "CC-BY-4.0", "Journal of Densities", "Made of random numbers."):
        assert part in card


def test_what_is_not_stated_is_said(whole_run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["publish", str(whole_run / "run"), str(tmp_path / "plain")])
    assert result.exit_code == 0, result.output
    assert "not stated: title, authors, license, citation" in result.stderr
    card = (tmp_path / "plain/README.md").read_text()
    assert "- Authors: not stated" in card and "- Licence: not stated" in card
    assert front_matter(tmp_path / "plain")["license"] == "unknown"
    assert "license" not in yaml.safe_load((tmp_path / "plain/CITATION.cff").read_text())
    assert not (tmp_path / "plain/points.zarr").exists()
    assert CliRunner().invoke(main, ["verify", str(tmp_path / "plain")]).exit_code == 0


def test_the_citation_file_has_what_its_format_requires(published: Path) -> None:
    found = yaml.safe_load((published / "CITATION.cff").read_text())
    assert found["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(found)
    assert found["type"] == "dataset"
    assert found["authors"] == [
        {
            "family-names": "Lovelace",
            "given-names": "Ada",
            "affiliation": "Analytical Engines",
            "orcid": "https://orcid.org/0000-0002-1825-0097",
        },
        {"name": "The Density Group"},
    ]
    assert str(found["date-released"]) == "2026-11-26"
    assert (found["license"], found["doi"]) == ("CC-BY-4.0", "10.5281/zenodo.1234")


def test_every_term_of_the_crate_is_defined(published: Path) -> None:
    """By the context of RO-Crate 1.1, of which these are some of the terms, or by the crate itself: else it is void."""
    known = {"about", "affiliation", "author", "conformsTo", "contentSize", "datePublished", "description", "url"}
    known |= {"encodingFormat", "familyName", "givenName", "hasPart", "identifier", "instrument", "keywords", "license"}
    known |= {"mentions", "name", "result", "softwareVersion", "version"}
    crate = json.loads((published / "ro-crate-metadata.json").read_bytes())
    address, others = crate["@context"]
    assert address == "https://w3id.org/ro/crate/1.1/context"
    assert {key for each in crate["@graph"] for key in each} <= known | set(others) | {"@id", "@type"}


def test_every_reference_of_the_crate_leads_somewhere(published: Path) -> None:
    crate = json.loads((published / "ro-crate-metadata.json").read_bytes())
    entities = {each["@id"]: each for each in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    assert entities["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert entities["ro-crate-metadata.json"]["conformsTo"]["@id"].startswith("https://w3id.org/ro/crate/1.1")
    root = entities["./"]
    assert {"name", "description", "datePublished", "license"} <= set(root)

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [value["@id"]] if set(value) == {"@id"} else [r for each in value.values() for r in references(each)]
        return [r for each in value for r in references(each)] if isinstance(value, list) else []

    for entity in entities.values():
        for target in references({key: value for key, value in entity.items() if key != "conformsTo"}):
            assert target in entities, target
    parts = [each["@id"] for each in root["hasPart"]]
    for name in parts:
        path = published / name
        assert path.exists()
        if path.is_file():
            assert entities[name]["contentSize"] == str(path.stat().st_size)
            assert entities[name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {"data/part-00000.parquet", "index.parquet", "README.md", "CITATION.cff", "points.zarr/"} <= set(parts)


def test_the_job_file_is_one(published: Path) -> None:
    from coreset.job_file import load_job

    job = load_job(published / "job.yaml")
    assert (job.name, job.select.prune, job.corpus.source) == ("small", 0.8, "corpus.zarr")


def test_the_arrays_are_the_columns(published: Path) -> None:
    table = pq.read_table(published / "data")
    group = zarr.open_group(published / "points.zarr", mode="r")
    assert sorted(group) == sorted(table.column_names)
    names = pq.read_table(published / "snapshots.parquet").column("name").to_pylist()
    for name in table.column_names:
        array = group[name]
        assert array.metadata.zarr_format == 3
        assert "crc32c" in json.dumps(array.metadata.to_dict(), default=str)
        expected = table.column(name).to_pylist()
        found = np.asarray(array[...]).tolist()
        assert ([names[row] for row in found] if name == "snapshot" else found) == expected


@pytest.mark.parametrize("method", ["random", "ccs"])
def test_arrays_of_many_chunks_and_of_nulls(
    method: str, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coreset.publishing.arrays._CHUNK", 56)
    monkeypatch.setattr("coreset.publishing.arrays._SHARD", 3)
    monkeypatch.setattr("coreset.corpus.kept.BATCH", 3)
    made = build(tmp_path, method, stored=True)
    publish(made.path, str(tmp_path / "public"), None, zarr=True)
    table = pa.concat_tables(pq.read_table(file) for file in sorted((tmp_path / "public/data").iterdir()))
    group = zarr.open_group(tmp_path / "public/points.zarr", mode="r")
    for name in ("index", "density", "weight", "score", "stratum"):
        column = table.column(name)
        values = [(-1 if name == "stratum" else np.nan) if each is None else each for each in column.to_pylist()]
        np.testing.assert_array_equal(np.asarray(group[name][...]), np.array(values, group[name].dtype))
    np.testing.assert_array_equal(np.asarray(group["descriptor"][...]), table.column("descriptor").to_pylist())


def test_a_damaged_chunk_of_the_arrays_is_found_on_reading(copy: Path) -> None:
    (file,) = (path for path in (copy / "points.zarr/density/c").rglob("*") if path.is_file())
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.write_bytes(content)
    with pytest.raises((ValueError, RuntimeError)):
        zarr.open_group(copy / "points.zarr", mode="r")["density"][...]


def test_it_names_neither_this_machine_nor_its_folders_nor_a_secret(
    whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "s3cret-77aa")
    publish(whole_run / "run", str(tmp_path / "public"), None)
    for path in (tmp_path / "public").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for told in (str(whole_run), str(tmp_path), socket.gethostname(), "s3cret-77aa", os.path.expanduser("~/")):
                assert told.encode() not in content, path


def test_the_same_publication_is_left_as_it_is(whole_run: Path, published: Path, picture: Picture) -> None:
    before = {path: path.stat().st_mtime_ns for path in published.rglob("*")}
    done = publish(whole_run / "run", str(published), published.parent / "metadata.yaml", zarr=True)
    assert done.stood
    assert {path: path.stat().st_mtime_ns for path in published.rglob("*")} == before


def test_it_is_the_same_bytes_in_another_place(
    whole_run: Path, published: Path, picture: Picture, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    publish(whole_run / "run/coreset", str(tmp_path / "empty"), published.parent / "metadata.yaml", zarr=True)
    assert picture(tmp_path / "empty") == picture(published)


@pytest.mark.parametrize("held", ["file", "notes", "run", "other"])
def test_what_stands_there_is_never_replaced(
    held: str, whole_run: Path, published: Path, picture: Picture, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    if held == "file":
        place.write_text("x")
    elif held == "notes":
        place.mkdir()
        (place / "notes.txt").write_text("x")
    else:
        shutil.copytree(whole_run / "run/coreset" if held == "run" else published, place)
    before = picture(tmp_path)
    with pytest.raises(RequestError, match="expected a new folder, or one that holds this coreset"):
        publish(whole_run / "run", str(place), None)
    assert picture(tmp_path) == before


def test_a_damaged_publication_is_told_not_left(whole_run: Path, published: Path, copy: Path) -> None:
    (copy / "README.md").write_text("another card")
    with pytest.raises(DataError, match=r"README\.md"):
        publish(whole_run / "run", str(copy), published.parent / "metadata.yaml", zarr=True)


class Crash(BaseException):
    pass


def test_a_crash_at_any_call_leaves_all_or_nothing(
    whole_run: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
    after = picture(published)
    for at in range(1, 400, 7):
        place, calls = tmp_path / str(at) / "small", []
        with monkeypatch.context() as patched:
            for name in ("fsync", "replace"):
                real = getattr(os, name)

                def call(*args: Any, real: Any = real, at: int = at, calls: list[int] = calls) -> Any:
                    calls.append(1)
                    if len(calls) == at:
                        raise Crash
                    return real(*args)

                patched.setattr(os, name, call)
            try:
                publish(whole_run / "run", str(place), published.parent / "metadata.yaml", zarr=True)
            except Crash:
                assert not place.exists()
            else:
                assert picture(place) == after
                break
    assert at > 7


def test_a_damaged_run_is_not_published(whole_run: Path, tmp_path: Path) -> None:
    shutil.copytree(whole_run / "run", tmp_path / "run")
    file = tmp_path / "run/coreset/part-00000.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="part-00000"):
        publish(tmp_path / "run", str(tmp_path / "public"), None)
    assert not (tmp_path / "public").exists()


def test_figures_of_another_coreset_are_not_published(whole_run: Path, tmp_path: Path) -> None:
    shutil.copytree(whole_run / "run", tmp_path / "run")
    summary = json.loads((tmp_path / "run/summary.json").read_bytes())
    (tmp_path / "run/summary.json").write_text(json.dumps({**summary, "rows": 7}))
    with pytest.raises(RequestError, match="expected the figures of the coreset beside it"):
        publish(tmp_path / "run", str(tmp_path / "public"), None)


def test_figures_older_than_the_last_command_are_not_published(whole_run: Path, tmp_path: Path) -> None:
    shutil.copytree(whole_run / "run", tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_bytes())
    (tmp_path / "run/run.json").write_text(json.dumps({**record, "state": "interrupted"}))
    with pytest.raises(RequestError, match="has not finished"):
        publish(tmp_path / "run", str(tmp_path / "public"), None)


def test_a_coreset_without_a_run_is_published_without_evidence(build: Any, tmp_path: Path) -> None:
    made = build(tmp_path, "random")
    publish(made.path, str(tmp_path / "public"), None)
    card = (tmp_path / "public/README.md").read_text()
    assert "## Evidence" not in card and "figures/" not in card
    assert coreset.open(tmp_path / "public").to_arrow(descriptor=False).column("score").null_count == 240
    assert len(list(verify(tmp_path / "public"))) > 8


def test_what_is_published_already_is_not_published_again(published: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="published already"):
        publish(published, str(tmp_path / "again"), None)


@pytest.mark.parametrize("name", ["index.parquet", "README.md", "SHA256SUMS", "points.zarr/density/zarr.json"])
def test_verify_finds_a_change_in_any_file(name: str, copy: Path) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(name)):
        list(verify(copy))


@pytest.mark.parametrize("name", ["notes.txt", "data/part-00009.parquet", "points.zarr/density/c/9", "figures/more"])
def test_verify_finds_what_lies_beside(name: str, copy: Path) -> None:
    (copy / name).write_bytes(b"x")
    with pytest.raises(DataError, match=f"found {name} beside them"):
        list(verify(copy))


def test_verify_takes_what_the_client_of_a_hub_leaves(copy: Path) -> None:
    (copy / ".gitattributes").write_text("*.parquet filter=lfs\n")
    (copy / ".cache/huggingface").mkdir(parents=True)
    assert len(list(verify(copy))) > 8


@pytest.mark.parametrize("change", ["index", "score", "drop", "add"])
def test_verify_finds_an_index_of_other_points_behind_true_checksums(change: str, copy: Path) -> None:
    table = pq.read_table(copy / "index.parquet")
    if change in ("index", "score"):
        values = table.column(change).to_numpy().copy()
        values[5] += 1
        at = table.schema.get_field_index(change)
        table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    else:
        table = table.slice(0, KEPT - 1) if change == "drop" else pa.concat_tables([table, table.slice(0, 1)])
    pq.write_table(table, copy / "index.parquet")
    manifest = json.loads((copy / "manifest.json").read_bytes())
    content = (copy / "index.parquet").read_bytes()
    for shard in manifest["shards"]:
        if "index.parquet" in shard["files"]:
            shard["files"]["index.parquet"] = {
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
    (copy / "manifest.json").write_text(json.dumps({**manifest, "checksum": checksum(manifest)}))
    with pytest.raises(DataError, match=r"index\.parquet"):
        list(verify(copy))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("titel: x", "titel: unknown key; did you mean 'title'?"),
        ("license: CC-BY", "license: expected an SPDX identifier, found 'CC-BY'; did you mean 'CC-BY-4.0'"),
        ("authors: [{name: A, family: B}]", "authors.0: expected family"),
        ("authors: [{family: B, orchid: x}]", "authors.0.orchid: unknown key; did you mean 'orcid'?"),
        ("authors: [{family: B, orcid: 0000-0002-1825-0098}]", "last digit does not check"),
        ("doi: zenodo.1", "doi: expected a DOI"),
        ("homepage: 'ftp://x'", "homepage: expected a URL"),
        ("homepage: 'https://user:secret@x.org'", "without a password"),
        ("date: yesterday", "expected a date such as 2026-11-26"),
        ("title: [1]", "title: expected a valid string"),
        ("title: !!python/object:os.system x", "expected YAML"),
        ("- a", "metadata.yaml: "),
    ],
)
def test_metadata_that_are_wrong_are_told_by_their_key(
    text: str, expected: str, whole_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "metadata.yaml").write_text(text)
    place = ["publish", str(whole_run / "run"), str(tmp_path / "public"), "--metadata", str(tmp_path / "metadata.yaml")]
    result = CliRunner().invoke(main, place)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert "secret" not in result.stderr
    assert not (tmp_path / "public").exists()


def test_files_without_rows_are_no_obstacle(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caches: None
) -> None:
    import datasets
    import duckdb
    import mlcroissant
    import polars

    # Two snapshots to a file, and only 2 of 10 snapshots kept: most files have no row.
    monkeypatch.setattr("coreset.corpus.kept.BATCH", 2)
    made = build(tmp_path, "random-snapshots")
    public = tmp_path / "public"
    publish(made.path, str(public), None, zarr=True)
    assert len(list((public / "data").iterdir())) == 5
    expected = rows_of(public / "data").to_pylist()
    assert len(expected) == 240
    assert datasets.load_dataset(str(public), split="train").to_list() == expected
    assert polars.read_parquet(public / "data/*.parquet").to_dicts() == expected
    assert duckdb.sql(f"select count(*) from '{public}/data/*.parquet'").fetchall() == [(240,)]
    records = mlcroissant.Dataset(jsonld=public / "croissant.json").records("points")
    assert [record["points/index"] for record in records] == [row["index"] for row in expected]
    assert len(list(verify(public))) > 8
    assert sum(1 for _ in coreset.open(public).to_torch_stream()) == 240
