"""The command line: one command per verb."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console

from coreset.errors import CoresetError, RequestError

if TYPE_CHECKING:
    from coreset.config import Job
    from coreset.distributed.executor import RayExecutor

F = TypeVar("F", bound=Callable[..., Any])

_out = Console(width=None if sys.stdout.isatty() else 100)
_err = Console(stderr=True)

INTERRUPTED = 130


def job_options(command: F) -> F:
    """JOB.yaml, --out, --store and --set."""
    decorators = [
        click.argument("job", type=click.Path(path_type=Path)),
        click.option("--out", type=click.Path(path_type=Path), help="Folder of the run. [default: runs/<name>]"),
        click.option(
            "--store", type=click.Path(path_type=Path), help="Folder of the artifacts. [default: OUT/artifacts]"
        ),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Overrides a key of the job file."
        ),
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


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
def run(job: Path, out: Path | None, store: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Everything, in order: train, score, select, measure, extract. Run again to resume."""
    from coreset.atomic import write_json
    from coreset.checks import check_energies_of_run
    from coreset.report.table import print_summary
    from coreset.session import open_session, package
    from coreset.summary import summarise

    session = open_session(job, out, store, overrides)
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
def sweep(job: Path, out: Path | None, store: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Methods × pruning rates × seeds, and studies of single settings. Run again to resume."""
    from coreset.atomic import write_json
    from coreset.checks import check_sweep
    from coreset.job_file import sweep_command
    from coreset.report.table import print_sweep
    from coreset.session import open_session, package
    from coreset.summary import summarise
    from coreset.sweep import Sweep
    from coreset.sweep_summary import summarise_sweep

    session = open_session(job, out, store, overrides)
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
def score(job: Path, out: Path | None, store: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Importance scores alone."""
    from coreset.session import open_session

    session = open_session(job, out, store, overrides)
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
    store: Path | None,
    overrides: tuple[str, ...],
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

    session = open_session(job, out, store, overrides)
    session.folder.expect_free_for(session.job.name)
    ledger = planning.Ledger(session.store, session.split.train.points)
    pipeline = Pipeline(session.job, session.split, ledger.materialize, session.engine, planning.known_cutoff)
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
    "--group", help="Regular expression on a name; its group is the trajectory.  [default: name without frame]"
)
@click.option(
    "--temperature", help="Regular expression on a name; its group is the temperature in K.  [default: _T300]"
)
@click.option("--slab", type=click.IntRange(min=1), help="Points per inner chunk of the corpus.")
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
) -> None:
    """Raw files, or a corpus to be re-sharded, into a corpus. Run again to resume."""
    from coreset.corpus.checks import Checks
    from coreset.corpus.naming import GROUP, TEMPERATURE, Naming
    from coreset.corpus.store import SLAB_POINTS, Corpus
    from coreset.session import absolute_output
    from coreset.stages.ingestion import ingest as write_corpus
    from coreset.stages.ingestion import open_source

    destination = absolute_output(destination, "DEST")
    checks = Checks(electron_tolerance, density_floor, wrap)
    naming = Naming(group or GROUP, temperature or TEMPERATURE)
    opened = open_source(source, checks, naming, fresh=bool(group or temperature or wrap))
    with _executor(None) as executor:
        digest = write_corpus(opened, destination, executor, inner=slab or SLAB_POINTS)
    points = sum(snapshot.points for snapshot in Corpus.open(destination).snapshots)
    click.echo(f"{_shown(destination)}: {len(opened.items)} snapshots, {points:,} points, digest {digest}")


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


def _executor(job: Job | None) -> RayExecutor:
    from coreset.distributed.executor import RayExecutor
    from coreset.progress import progress_on

    progress = progress_on(_err)
    if job is None:
        return RayExecutor(progress=progress)
    return RayExecutor(job.cluster.address, job.cluster.device, job.cluster.workers, progress)


def _shown(path: Path) -> str:
    """Relative to where the user stands, if it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
