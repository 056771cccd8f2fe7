"""Verbs that make something of the user's own files: ingest, init, select."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Literal

import click

from coreset.cli import command
from coreset.cli.command import (
    err_console,
    json_option,
    main,
    reports_errors,
    shown,
)
from coreset.errors import RequestError


@main.command()
@click.argument("source")
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
@click.option("--electron-tolerance", default=1e-3, show_default=True, help="Largest relative |∫ρ dV − N|.")
@click.option(
    "--density-floor",
    type=float,
    help="Smallest density allowed, e/Bohr³.  [default: 0 for SPARC, −1% of the largest for others]",
)
@click.option("--wrap", is_flag=True, help="SPARC: move atoms that lie outside the cell into it.")
@click.option(
    "--group",
    help="Regular expression on a name; its group is the trajectory. Of a table: a column.  [default: name without "
    "frame; of a table, each row by itself]",
)
@click.option(
    "--temperature", help="Regular expression on a name; its group is the temperature in K.  [default: _T300]"
)
@click.option("--slab", type=click.IntRange(min=1), help="Points per inner chunk of the corpus.")
@click.option("--target", "targets", multiple=True, help="Of a table: column to be learnt; several may be named.")
@click.option("--features", multiple=True, help="Of a table: glob on columns.  [default: all other numbers]")
@click.option(
    "--task", type=click.Choice(["regression", "classification"]), help="Of a table.  [default: by the target]"
)
@click.option("--split", help="Of a table: column whose values (train, test, …) say what a row is for.")
@click.option(
    "--test",
    type=click.FloatRange(0, 1),
    help="Of a table without --split: share of the groups that test.  [default: 0.1]",
)
@click.option(
    "--key",
    help="Of a table: column of ids, another for each row, by which random draws know it.  [default: the row's number]",
)
@reports_errors
def ingest(
    source: str,
    destination: Path,
    electron_tolerance: float,
    density_floor: float | None,
    wrap: bool,
    group: str | None,
    temperature: str | None,
    slab: int | None,
    targets: tuple[str, ...],
    features: tuple[str, ...],
    task: Literal["regression", "classification"] | None,
    split: str | None,
    test: float | None,
    key: str | None,
) -> None:
    """Raw files, a table, or a corpus to be re-sharded, into a corpus. Run again to resume."""
    from coreset.corpus.checks import Checks
    from coreset.corpus.naming import GROUP, TEMPERATURE, Naming
    from coreset.corpus.store import SLAB_POINTS, Corpus
    from coreset.corpus.tables import expect_no_table, open_table
    from coreset.session import absolute_output
    from coreset.stages.ingestion import ingest as write_corpus
    from coreset.stages.ingestion import open_source

    remote = "://" in source
    destination = absolute_output(destination, "DEST")
    if targets or features or split or task or key or test is not None:
        from coreset.stages.table_ingestion import ingest_table
        from coreset.stages.table_request import Request

        if not targets:
            raise RequestError("--target: expected the column of a table that is to be learnt, found none; name it.")
        # A worker may stand in another folder; a link keeps its name, which the corpus tells.
        table = open_table(source if remote else os.path.abspath(source))
        if table.others:
            left = ", ".join(f"{name} ({kind})" for name, kind in table.others.items())
            note = f"coreset: {table.path}: left out, for columns of these types are not read: {left}"
            err_console.print(note, style="yellow", highlight=False, soft_wrap=True)
        request = Request(targets, features, group, split, 0.1 if test is None else test, task, key)
        with command.executor(None) as executor:
            digest, layout, shards = ingest_table(table, request, destination, executor)
        learnt = f"{len(layout.classes)} classes" if layout.classes else f"{len(layout.targets)} targets"
        held = f"{table.rows:,} rows in {shards} shards, {layout.length} features, {learnt}"
        click.echo(f"{shown(destination)}: {held}, digest {digest}")
        return
    if source.rstrip("/").endswith((".parquet", ".npy")):
        expect_no_table(source)
    if remote:
        raise RequestError(
            f"{source}: expected raw files or a corpus in a folder, found a URL, where a table alone may lie (with "
            "--target COLUMN); copy it here first."
        )
    checks = Checks(electron_tolerance, density_floor, wrap)
    naming = Naming(group or GROUP, temperature or TEMPERATURE)
    opened = open_source(Path(source), checks, naming, fresh=bool(group or temperature or wrap))
    with command.executor(None) as executor:
        digest = write_corpus(opened, destination, executor, inner=slab or SLAB_POINTS)
    points = sum(snapshot.points for snapshot in Corpus.open(destination).snapshots)
    click.echo(f"{shown(destination)}: {len(opened.items)} snapshots, {points:,} points, digest {digest}")


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The job file.  [default: <name>.yaml]")
@click.option("--name", help="Of the job.  [default: the corpus's]")
@reports_errors
def init(source: Path, out: Path | None, name: str | None) -> None:
    """Writes a commented job file for a corpus, guessed by looking at it, and says what it guessed."""
    from coreset.atomic import write_bytes
    from coreset.job_file import load_job
    from coreset.proposal import propose
    from coreset.session import absolute_output

    name = name or re.sub(r"[^A-Za-z0-9._-]", "-", source.stem)
    destination = absolute_output(out or Path(f"{name}.yaml"), "--out")
    if destination.exists():
        raise RequestError(f"--out {destination}: expected a new file, found one; name another.")
    text, guesses = propose(source, destination, name)
    write_bytes(destination, text.encode())
    load_job(destination)
    for guess in guesses:
        click.echo(f"- {guess}")
    click.echo(f"{shown(destination)}: read it, then `coreset plan {shown(destination)}`.")


@main.command()
@click.argument("scores", type=click.Path(path_type=Path))
@click.option("--method", default="ccs", show_default=True)
@click.option("--prune", help="Share of the rows that is removed.  [default: 0.9]")
@click.option("--cutoff", type=float, help="β, the share of the hardest rows that is cut first.  [default: 0]")
@click.option("--strata", type=int, help="Strata of equal width.  [default: 100]")
@click.option("--seed", default=0, show_default=True)
@click.option("--no-redistribute", is_flag=True, help="CCS: leave budget unused that small strata cannot take.")
@click.option("--out", "destination", required=True, type=click.Path(path_type=Path), help="Parquet: index, stratum.")
@json_option
@reports_errors
def select(
    scores: Path,
    method: str,
    prune: str | None,
    cutoff: float | None,
    strata: int | None,
    seed: int,
    no_redistribute: bool,
    destination: Path,
    as_json: bool,
) -> None:
    """Selects rows by anyone's scores (.npy, .parquet, .zarr; higher = harder)."""
    from coreset.session import absolute_output
    from coreset.stages.rows import select_file

    destination = absolute_output(destination, "--out")
    given: dict[str, Any] = {
        "prune": prune,
        "cutoff": cutoff,
        "strata": strata,
        "redistribute": False if no_redistribute else None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    figures = select_file(scores, destination, method=method, seed=seed, **given)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
    else:
        click.echo(f"{shown(destination)}: {figures['kept']:,} of {figures['total']:,} rows, method {method}")
