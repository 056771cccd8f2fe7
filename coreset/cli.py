"""The command line: one command per verb."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
from rich.console import Console

from coreset.errors import CoresetError, RequestError

if TYPE_CHECKING:
    from coreset.artifacts.remote import Location
    from coreset.config import Job
    from coreset.distributed.executor import RayExecutor

F = TypeVar("F", bound=Callable[..., Any])

_out = Console(width=None if sys.stdout.isatty() else 100)
_err = Console(stderr=True)

INTERRUPTED = 130


def job_options(command: F) -> F:
    """JOB.yaml, --out, --store, --set and --allow-code."""
    decorators = [
        click.argument("job", type=click.Path(path_type=Path)),
        click.option("--out", type=click.Path(path_type=Path), help="Folder of the run. [default: runs/<name>]"),
        click.option(
            "--store",
            metavar="PATH",
            help="Folder of the artifacts, or a URL such as s3://bucket/prefix. [default: OUT/artifacts]",
        ),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Overrides a key of the job file."
        ),
        click.option("--allow-code", is_flag=True, help="Run the class that the job file names as its network."),
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


class _IntegerOrAuto(click.ParamType):
    name = "integer|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        return None if value == "auto" else click.IntRange(min=2).convert(value, param, ctx)


json_option = click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="coreset-ray", prog_name="coreset")
def main() -> None:
    """Finds the smallest part of a corpus that trains as good a model as the whole of it, and proves it."""


def reports_errors(command: F) -> F:
    """Turns errors into one paragraph on stderr and the exit status of the contracts."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @wraps(command)
    def run(*args: Any, debug: bool, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except CoresetError as error:
            if debug:
                traceback.print_exc()
            _err.print(f"coreset: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
            sys.exit(error.status)
        except OSError as error:
            # A full disk, a missing permission, a damaged file: what was finished is kept all the same.
            if debug:
                traceback.print_exc()
            _err.print(f"coreset: {error}; mend that and run again.", style="red", markup=False, soft_wrap=True)
            sys.exit(1)
        except KeyboardInterrupt:
            _err.print(
                "coreset: interrupted; what was finished is kept, run the same command to go on.", soft_wrap=True
            )
            sys.stderr.flush()
            # Not sys.exit: Ray's threads would hold the interpreter for long, and all that matters is written.
            os._exit(INTERRUPTED)

    return run  # type: ignore[return-value]


@main.command()
@job_options
@json_option
@reports_errors
def run(
    job: Path, out: Path | None, store: str | None, overrides: tuple[str, ...], allow_code: bool, as_json: bool
) -> None:
    """Everything, in order: train, score, select, measure, extract. Run again to resume."""
    from coreset.atomic import write_json
    from coreset.checks import check_energies_of_run
    from coreset.report.table import print_summary
    from coreset.session import open_session, package
    from coreset.summary import summarise

    session = open_session(job, out, store, overrides, allow_code)
    check_energies_of_run(session.job, str(job))
    with _executor(session.job) as executor, session.recorded(executor) as pipeline:
        products = pipeline.run()
        package(session, products)
        summary = summarise(pipeline, products)
        write_json(session.folder.summary, summary)
    if as_json:
        click.echo(json.dumps(summary, indent=1))
        return
    print_summary(summary, _out)
    _out.print(
        f"Coreset: {_shown(session.folder.coreset)}  ({summary['rows']:,} points)", highlight=False, soft_wrap=True
    )
    _out.print(f"Figures: {_shown(session.folder.summary)}", highlight=False, soft_wrap=True)


@main.command()
@job_options
@json_option
@reports_errors
def sweep(
    job: Path, out: Path | None, store: str | None, overrides: tuple[str, ...], allow_code: bool, as_json: bool
) -> None:
    """Methods × pruning rates × seeds, and studies of single settings. Run again to resume."""
    from coreset.atomic import write_json
    from coreset.checks import check_sweep
    from coreset.job_file import sweep_command
    from coreset.report.table import print_sweep
    from coreset.session import open_session, package
    from coreset.summary import summarise
    from coreset.sweep import Sweep
    from coreset.sweep_summary import summarise_sweep

    session = open_session(job, out, store, overrides, allow_code)
    check_sweep(Sweep(session.pipeline(lambda stages: [])), str(job))
    with _executor(session.job) as executor, session.recorded(executor) as pipeline:
        swept = Sweep(pipeline)
        products = swept.run()
        own = pipeline.run()
        package(session, own)
        write_json(session.folder.summary, summarise(pipeline, own))
        figures = summarise_sweep(swept, products, session.folder.path, sweep_command(job, out, store, overrides))
        write_json(session.folder.sweep, figures)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    print_sweep(figures, _out)
    _out.print(f"Figures: {_shown(session.folder.sweep)}", highlight=False, soft_wrap=True)
    _out.print(f"Report:  coreset report {_shown(session.folder.path)}", highlight=False, soft_wrap=True)


@main.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The page.  [default: DIR/report.html]")
@reports_errors
def report(directory: Path, out: Path | None) -> None:
    """One self-contained HTML page: what was kept, what it costs, what it saves, and the evidence."""
    from coreset.atomic import write_bytes
    from coreset.report.evidence import read_evidence
    from coreset.report.page import build_page
    from coreset.session import absolute_output

    evidence = read_evidence(directory)
    page = build_page(evidence)
    destination = absolute_output(out or directory / "report.html", "--out")
    write_bytes(destination, page.encode())
    if evidence.note:
        _err.print(f"coreset: {evidence.note}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    click.echo(f"{_shown(destination)}: {destination.stat().st_size / 1e6:.1f} MB")


@main.command()
@job_options
@json_option
@reports_errors
def score(
    job: Path, out: Path | None, store: str | None, overrides: tuple[str, ...], allow_code: bool, as_json: bool
) -> None:
    """Importance scores alone."""
    from coreset.session import open_session

    session = open_session(job, out, store, overrides, allow_code)
    with _executor(session.job) as executor, session.recorded(executor) as pipeline:
        _, scores = pipeline.score()
    if as_json:
        click.echo(json.dumps({"artifact": str(scores.folder), **scores.figures}, indent=1))
        return
    figures = scores.figures
    correlation = figures["rank_correlation"]
    click.echo(f"Scores of {figures['points']:,} points: {_shown(scores.folder)}")
    click.echo(f"zero-gradient points per run: {', '.join(f'{zero:,}' for zero in figures['zero'])}")
    if correlation is not None:
        click.echo(f"rank correlation between runs: {correlation:.3f}")


@main.command()
@job_options
@click.option("--calibrate", is_flag=True, help="Measure this machine first, and remember it.")
@click.option("--sweep", "swept", is_flag=True, help="Plan `coreset sweep` instead of `coreset run`.")
@json_option
@reports_errors
def plan(
    job: Path,
    out: Path | None,
    store: str | None,
    overrides: tuple[str, ...],
    allow_code: bool,
    calibrate: bool,
    swept: bool,
    as_json: bool,
) -> None:
    """Points, bytes, floating-point work, stages done and to do, estimated time and memory; starts nothing."""
    from coreset import plan as planning
    from coreset.calibration import calibrate as measure
    from coreset.calibration import stored_rates
    from coreset.checks import check_energies_of_run, check_sweep
    from coreset.report.plan import print_plan
    from coreset.session import open_session
    from coreset.sweep import Sweep
    from coreset.workflow import Pipeline

    session = open_session(job, out, store, overrides, allow_code)
    session.folder.expect_free_for(session.job.name)
    ledger = planning.Ledger(session.store, session.split.train.points)
    pipeline = Pipeline(
        session.job, session.split, ledger.materialize, session.engine, planning.known_cutoff, session.code
    )
    if swept:
        check_sweep(Sweep(pipeline), str(job))
    else:
        check_energies_of_run(session.job, str(job))
    workers = session.job.cluster.workers or os.cpu_count() or 1
    rates = stored_rates()
    if calibrate:
        # Of this machine, whatever cluster the job names.
        here = session.job.cluster.model_copy(update={"address": "local"})
        with _executor(session.job.model_copy(update={"cluster": here})) as executor:
            rates = measure(session.job, session.split, executor, workers)
    figures = planning.plan(pipeline, ledger, rates, workers, swept)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
    else:
        print_plan(figures, _out)


@main.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@json_option
@reports_errors
def status(directory: Path, as_json: bool) -> None:
    """What is done, what failed and why."""
    from coreset.folder import RunFolder
    from coreset.report.status import print_status, stage_states
    from coreset.run_log import last_event

    folder = RunFolder(directory)
    record = folder.read()
    try:
        if record["state"] == "running" and not folder.in_use():
            record["state"] = "interrupted"  # by what leaves no time to say so
        stages = stage_states(record)
        told = {key: record[key] for key in ("name", "state", "error", "where", "log")}
    except KeyError as error:
        raise RequestError(
            f"{directory}: expected the record of a run, found one without {error}; run again."
        ) from None
    if as_json:
        click.echo(json.dumps({**told, "stages": stages}, indent=1))
    else:
        print_status(told, stages, last_event(folder.log), _out)


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
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
@reports_errors
def ingest(
    source: Path,
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
) -> None:
    """Raw files, a table, or a corpus to be re-sharded, into a corpus. Run again to resume."""
    from coreset.corpus.checks import Checks
    from coreset.corpus.naming import GROUP, TEMPERATURE, Naming
    from coreset.corpus.store import SLAB_POINTS, Corpus
    from coreset.corpus.tables import expect_no_table, open_table
    from coreset.session import absolute_output
    from coreset.stages.ingestion import ingest as write_corpus
    from coreset.stages.ingestion import open_source

    destination = absolute_output(destination, "DEST")
    if targets or features or split or task or test is not None:
        from coreset.stages.table_ingestion import Request, ingest_table

        if not targets:
            raise RequestError("--target: expected the column of a table that is to be learnt, found none; name it.")
        table = open_table(str(source))
        request = Request(targets, features, group, split, 0.1 if test is None else test, task)
        with _executor(None) as executor:
            digest, layout, shards = ingest_table(table, request, destination, executor)
        learnt = f"{len(layout.classes)} classes" if layout.classes else f"{len(layout.targets)} targets"
        held = f"{table.rows:,} rows in {shards} shards, {layout.length} features, {learnt}"
        click.echo(f"{_shown(destination)}: {held}, digest {digest}")
        return
    if source.suffix in (".parquet", ".npy"):
        expect_no_table(str(source))
    checks = Checks(electron_tolerance, density_floor, wrap)
    naming = Naming(group or GROUP, temperature or TEMPERATURE)
    opened = open_source(source, checks, naming, fresh=bool(group or temperature or wrap))
    with _executor(None) as executor:
        digest = write_corpus(opened, destination, executor, inner=slab or SLAB_POINTS)
    points = sum(snapshot.points for snapshot in Corpus.open(destination).snapshots)
    click.echo(f"{_shown(destination)}: {len(opened.items)} snapshots, {points:,} points, digest {digest}")


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
    click.echo(f"{_shown(destination)}: read it, then `coreset plan {_shown(destination)}`.")


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
        click.echo(f"{_shown(destination)}: {figures['kept']:,} of {figures['total']:,} rows, method {method}")


@main.command()
@click.argument("corpus")
@click.option("--against", metavar="REFERENCE", help="What is to be covered.  [default: the corpus itself]")
@click.option("--snapshots", metavar="GLOB", help="Of a corpus of grids: those with such names.")
@click.option("--against-snapshots", metavar="GLOB", help="Likewise of REFERENCE.")
@click.option("--queries", type=_IntegerOrAuto(), default="auto", show_default=True, help="Points of REFERENCE asked.")
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
    with _executor(None, workers) as executor:
        figures = write_audit(asked, names, destination, executor, _typed("out", "workers", "as_json", "debug"))
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    _out.print(summary_of(figures), highlight=False, soft_wrap=True)
    click.echo(f"Figures: {_shown(destination / 'audit.json')}")
    click.echo(f"Page:    {_shown(destination / 'audit.html')}")


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
    with _executor(None, workers) as executor:
        figures = extend_folder(asked, destination, store, executor)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
    else:
        click.echo(
            f"{_shown(destination)}: {figures['rows']:,} rows; {figures['added']:,} of {figures['points']:,} new "
            f"points, of {figures['snapshots']} snapshots, are farther than {figures['radius']:.4g} from what is kept"
        )


@main.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("snapshots", metavar="SNAPSHOT...", nargs=-1, required=True)
@click.option("--method", help="Of the networks that the run compared.  [default: the job's]")
@click.option("--seed", "run_number", default=0, show_default=True, help="Number of the evaluation run.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the cubes.  [default: DIR/predictions]")
@json_option
@reports_errors
def predict(
    directory: Path, snapshots: tuple[str, ...], method: str | None, run_number: int, out: Path | None, as_json: bool
) -> None:
    """Density and error fields of snapshots (names in the corpus, or SPARC folders) as cube files."""
    from coreset.prediction import predict_snapshots

    figures = predict_snapshots(directory, snapshots, method, run_number, out)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    for figure in figures:
        click.echo(
            f"{figure['snapshot']}: NRMSE {figure['nrmse']:.4%}, {', '.join(map(_shown, map(Path, figure['files'])))}"
        )


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


@main.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("destination", metavar="DEST")
@click.option("--metadata", type=click.Path(path_type=Path), help="YAML: title, authors, license, citation, …")
@click.option("--zarr", is_flag=True, help="The points as Zarr arrays, too.")
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
        _err.print(
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
    """The coreset that an index file names, from the original corpus."""
    from coreset.session import absolute_output
    from coreset.stages.importing import import_index

    destination = absolute_output(out, "OUT")
    source = corpus if "://" in corpus else Path(corpus).absolute()
    with _executor(None) as executor:
        rows = import_index(index.absolute(), source, destination, executor)
    click.echo(f"{_shown(destination)}: {rows:,} rows")


@contextmanager
def _executor(job: Job | None, workers: int | None = None) -> Iterator[RayExecutor]:
    """Ray as the job says, or local with so many workers; what it prints itself goes to stderr, for it is no result."""
    from coreset.distributed.executor import RayExecutor
    from coreset.progress import progress_on

    cluster = (job.cluster.address, job.cluster.device, job.cluster.workers) if job else ("auto", "auto", workers)
    with redirect_stdout(sys.stderr), RayExecutor(*cluster, progress_on(_err)) as executor:
        yield executor


def _typed(*without: str) -> str:
    """The command as it was typed, without some of its options."""
    context = click.get_current_context()
    words = ["coreset", context.info_name or ""]
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in without or context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        for each in value if isinstance(value, tuple) else (value,):
            words += [str(each)] if isinstance(parameter, click.Argument) else [parameter.opts[0], str(each)]
    return shlex.join(words)


def _shown(path: Location) -> str:
    """Relative to where the user stands, if it lies below."""
    if not isinstance(path, Path):
        return str(path)
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
