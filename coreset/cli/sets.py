"""Verbs on sets of points that exist: audit, extend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from coreset.cli import command
from coreset.cli.command import (
    IntegerOrAuto,
    json_option,
    main,
    out_console,
    reports_errors,
    shown,
    typed,
)


@main.command()
@click.argument("corpus")
@click.option("--against", metavar="REFERENCE", help="What is to be covered.  [default: the corpus itself]")
@click.option("--snapshots", metavar="GLOB", help="Of a corpus of grids: those with such names.")
@click.option("--against-snapshots", metavar="GLOB", help="Likewise of REFERENCE.")
@click.option("--queries", type=IntegerOrAuto(), default="auto", show_default=True, help="Points of REFERENCE asked.")
@click.option("--scaling", type=click.Choice(["none", "standard"]), default="none", show_default=True)
@click.option("--neighbours", type=click.IntRange(min=1), help="Of the descriptor.  [default: 40, or a coreset's own]")
@click.option("--network", type=click.Path(path_type=Path), help="Compare what this checkpoint's last layer sees.")
@click.option("--features", multiple=True, metavar="GLOB", help="Of a table: columns that are features.")
@click.option("--ignore", multiple=True, metavar="GLOB", help="Of a table: columns that are not.")
@click.option("--near", type=click.FloatRange(min=0), default=0.1, show_default=True, help="Near, in median spacings.")
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", type=click.IntRange(min=1), help="Processes that compute.  [default: one per CPU]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the audit.  [default: runs/audit-<name>]")
@json_option
@reports_errors
def audit(
    corpus: str,
    against: str | None,
    snapshots: str | None,
    against_snapshots: str | None,
    network: Path | None,
    neighbours: int | None,
    features: tuple[str, ...],
    ignore: tuple[str, ...],
    workers: int | None,
    out: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """How much of a corpus is redundant, and what it does not cover: grids, a coreset or a table. Trains nothing."""
    from coreset.auditing.opening import Columns, described_alike, open_points
    from coreset.auditing.request import Audit
    from coreset.auditing.run import name_of, write_audit
    from coreset.report.audit import summary_of
    from coreset.session import absolute_output
    from coreset.stages.space import Space

    columns = Columns(features, ignore)
    points = open_points(corpus, "CORPUS", snapshots, neighbours, columns)
    other = None if against is None else open_points(against, "--against", against_snapshots, neighbours, columns)
    points, reference = described_alike(points, other, neighbours is not None)
    asked = Audit(points, reference, Space.of(network), **settings)
    destination = absolute_output(out or Path("runs") / f"audit-{name_of(corpus)}", "--out")
    names = name_of(corpus, snapshots), name_of(against or corpus, against_snapshots)
    with command.executor(None, workers) as executor:
        figures = write_audit(asked, names, destination, executor, typed("out", "workers", "as_json", "debug"))
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    out_console.print(summary_of(figures), highlight=False, soft_wrap=True)
    click.echo(f"Figures: {shown(destination / 'audit.json')}")
    click.echo(f"Page:    {shown(destination / 'audit.html')}")


@main.command()
@click.argument("coreset", type=click.Path(path_type=Path))
@click.argument("corpus")
@click.option("--out", "destination", required=True, type=click.Path(path_type=Path), help="Folder of the new coreset.")
@click.option("--snapshots", metavar="GLOB", help="Of CORPUS those with such names.")
@click.option("--radius", type=click.FloatRange(min=0), help="Keep what is farther.  [default: the coreset's spacing]")
@click.option("--seed", default=0, show_default=True, help="Of the order in which new points come.")
@click.option("--store", type=click.Path(path_type=Path), help="Folder of the artifacts.  [default: OUT-artifacts]")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that compute.  [default: one per CPU]")
@json_option
@reports_errors
def extend(
    coreset: Path,
    corpus: str,
    destination: Path,
    snapshots: str | None,
    radius: float | None,
    seed: int,
    store: Path | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Adds to a coreset what is new in the snapshots of another corpus, without the corpus that it came from."""
    from coreset.extending import extend_folder, request_of
    from coreset.session import absolute_output

    asked = request_of(coreset, corpus, snapshots, radius, seed)
    destination = absolute_output(destination, "--out")
    store = absolute_output(store or destination.with_name(f"{destination.name}-artifacts"), "--store")
    with command.executor(None, workers) as executor:
        figures = extend_folder(asked, destination, store, executor)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
    else:
        click.echo(
            f"{shown(destination)}: {figures['rows']:,} rows; {figures['added']:,} of {figures['points']:,} new "
            f"points, of {figures['snapshots']} snapshots, are farther than {figures['radius']:.4g} from what is kept"
        )
