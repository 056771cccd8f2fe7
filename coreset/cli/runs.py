"""The verbs of a job: run, sweep, score, plan, status, and what is made of a run: report, predict."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from coreset.cli import command
from coreset.cli.command import (
    err_console,
    job_options,
    json_option,
    main,
    out_console,
    reports_errors,
    shown,
)
from coreset.errors import RequestError


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
    from coreset.report.wording import wording_of
    from coreset.session import open_session, package
    from coreset.summary import summarise

    session = open_session(job, out, store, overrides, allow_code)
    check_energies_of_run(session.job, str(job))
    with command.executor(session.job) as executor, session.recorded(executor) as pipeline:
        products = pipeline.run()
        package(session, products)
        summary = summarise(pipeline, products)
        write_json(session.folder.summary, summary)
    if as_json:
        click.echo(json.dumps(summary, indent=1))
        return
    print_summary(summary, out_console)
    out_console.print(
        f"Coreset: {shown(session.folder.coreset)}  ({summary['rows']:,} {wording_of(summary).points})",
        highlight=False,
        soft_wrap=True,
    )
    out_console.print(f"Figures: {shown(session.folder.summary)}", highlight=False, soft_wrap=True)


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
    with command.executor(session.job) as executor, session.recorded(executor) as pipeline:
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
    print_sweep(figures, out_console)
    out_console.print(f"Figures: {shown(session.folder.sweep)}", highlight=False, soft_wrap=True)
    out_console.print(f"Report:  coreset report {shown(session.folder.path)}", highlight=False, soft_wrap=True)


@main.command()
@job_options
@json_option
@reports_errors
def score(
    job: Path, out: Path | None, store: str | None, overrides: tuple[str, ...], allow_code: bool, as_json: bool
) -> None:
    """Importance scores alone."""
    from coreset.report.wording import wording_of
    from coreset.session import open_session
    from coreset.summary import table_figures

    session = open_session(job, out, store, overrides, allow_code)
    with command.executor(session.job) as executor, session.recorded(executor) as pipeline:
        _, scores = pipeline.score()
        points = wording_of(table_figures(pipeline)).points
    if as_json:
        click.echo(json.dumps({"artifact": str(scores.folder), **scores.figures}, indent=1))
        return
    figures = scores.figures
    correlation = figures["rank_correlation"]
    click.echo(f"Scores of {figures['points']:,} {points}: {shown(scores.folder)}")
    what = f"{points} of score 0" if "given" in figures else f"zero-gradient {points} per run"
    click.echo(f"{what}: {', '.join(f'{zero:,}' for zero in figures['zero'])}")
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
        session.job,
        session.split,
        ledger.materialize,
        session.engine,
        planning.known_cutoff,
        session.code,
        session.given,
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
        with command.executor(session.job.model_copy(update={"cluster": here})) as executor:
            rates = measure(session.job, session.split, executor, workers)
    figures = planning.plan(pipeline, ledger, rates, workers, swept)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
    else:
        print_plan(figures, out_console)


def _ended(last: dict[str, Any] | None) -> dict[str, Any]:
    """What became of a run that its record says goes on, but that holds its folder no longer; by its last event."""
    if last is None or last.get("event") != "run fails":
        return {"state": "interrupted"}  # by what leaves no time to say so
    # There was no room for the record.
    return {"state": "failed", "error": last.get("error"), "where": last.get("where", ""), "log": "log.jsonl"}


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
            record |= _ended(last_event(folder.log))
        stages = stage_states(record)
        told = {key: record[key] for key in ("name", "state", "error", "where", "log")}
    except KeyError as error:
        raise RequestError(
            f"{directory}: expected the record of a run, found one without {error}; run again."
        ) from None
    if as_json:
        click.echo(json.dumps({**told, "stages": stages}, indent=1))
    else:
        print_status(told, stages, last_event(folder.log), out_console)


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
        err_console.print(f"coreset: {evidence.note}", style="yellow", highlight=False, soft_wrap=True)
    click.echo(f"{shown(destination)}: {destination.stat().st_size / 1e6:.1f} MB")


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
            f"{figure['snapshot']}: NRMSE {figure['nrmse']:.4%}, {', '.join(map(shown, map(Path, figure['files'])))}"
        )
