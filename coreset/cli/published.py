"""Verbs of coresets that travel: publish, import, verify."""

from __future__ import annotations

import json
from pathlib import Path

import click

from coreset.cli import command
from coreset.cli.command import (
    err_console,
    json_option,
    main,
    reports_errors,
    shown,
)


@main.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("destination", metavar="DEST")
@click.option("--metadata", type=click.Path(path_type=Path), help="YAML: title, authors, license, citation, …")
@click.option("--zarr", is_flag=True, help="The points, or rows, as Zarr arrays, too.")
@click.option("--push", metavar="hf:USER/NAME", help="Upload DEST to the Hugging Face Hub, too.")
@json_option
@reports_errors
def publish(run: Path, destination: str, metadata: Path | None, zarr: bool, push: str | None, as_json: bool) -> None:
    """A folder, or s3://…, that can be uploaded as it is: data, card, metadata, checksums, index."""
    from coreset.publication import publish as published
    from coreset.session import absolute_output

    place = destination if "://" in destination else str(absolute_output(Path(destination), "DEST"))
    done = published(run, place, metadata, zarr=zarr, push_to=push)
    if as_json:
        click.echo(json.dumps({"rows": done.rows, "not_stated": done.unstated, "pushed": done.pushed}))
        return
    click.echo(f"{destination}: {done.rows:,} rows" + (", which stood there already" if done.stood else ""))
    if done.unstated:
        err_console.print(
            f"coreset: not stated: {', '.join(done.unstated)}; the card says so. State them with --metadata FILE.",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )
    if done.pushed:
        click.echo(f"pushed to {done.pushed}")


@main.command("import")
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("corpus")
@click.argument("out", type=click.Path(path_type=Path))
@reports_errors
def import_(index: Path, corpus: str, out: Path) -> None:
    """The coreset that an index file names, from the original corpus or the ingested table."""
    from coreset.session import absolute_output
    from coreset.stages.importing import import_index

    destination = absolute_output(out, "OUT")
    source = corpus if "://" in corpus else Path(corpus).absolute()
    with command.executor(None) as executor:
        rows = import_index(index.absolute(), source, destination, executor)
    click.echo(f"{shown(destination)}: {rows:,} rows")


@main.command()
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
@json_option
@reports_errors
def verify(destination: Path, as_json: bool) -> None:
    """Checks every checksum and count of a coreset."""
    from coreset.publishing.dataset import open_dataset
    from coreset.publishing.verify import verify as verified

    files = list(verified(destination))
    rows = len(open_dataset(destination))
    if as_json:
        click.echo(json.dumps({"files": len(files), "rows": rows}))
    else:
        click.echo(f"{destination}: {len(files)} files and {rows:,} rows are as the manifest states.")
