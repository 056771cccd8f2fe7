"""What all verbs share: their options, their errors and exit status, and Ray."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console

from coreset.errors import CoresetError
from coreset.urls import expect_no_secret

if TYPE_CHECKING:
    from coreset.artifacts.remote import Location
    from coreset.config import Job
    from coreset.distributed.executor import RayExecutor

F = TypeVar("F", bound=Callable[..., Any])

# Names of users, paths and messages are printed as they are: "[/bold]" in one is no markup, ":ship:" no picture.
out_console = Console(width=None if sys.stdout.isatty() else 100, markup=False, emoji=False)
err_console = Console(stderr=True, markup=False, emoji=False)

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


class IntegerOrAuto(click.ParamType):
    """An integer of at least 2, or `auto`, which is None."""

    name = "integer|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """The value of a word."""
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
            _expect_no_secrets()
            command(*args, **kwargs)
        except CoresetError as error:
            if debug:
                traceback.print_exc()
            err_console.print(f"coreset: {error}", style="red", highlight=False, soft_wrap=True)
            sys.exit(error.status)
        except OSError as error:
            # A full disk, a missing permission, a damaged file: what was finished is kept all the same.
            if debug:
                traceback.print_exc()
            where = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
            err_console.print(f"coreset: {error}{where}; mend that and run again.", style="red", soft_wrap=True)
            sys.exit(1)
        except KeyboardInterrupt:
            err_console.print(
                "coreset: interrupted; what was finished is kept, run the same command to go on.", soft_wrap=True
            )
            sys.stderr.flush()
            # Not sys.exit: Ray's threads would hold the interpreter for long, and all that matters is written.
            os._exit(INTERRUPTED)

    return run  # type: ignore[return-value]


def _expect_no_secrets() -> None:
    """Raises RequestError where a word of the command is a URL with a secret, which reports would repeat."""
    context = click.get_current_context()
    for parameter in context.command.params:
        place = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
        value = context.params.get(parameter.name or "")
        for word in value if isinstance(value, tuple) else (value,):
            if isinstance(word, str | Path):
                expect_no_secret(str(word), place)


@contextmanager
def executor(job: Job | None, workers: int | None = None) -> Iterator[RayExecutor]:
    """Ray as the job says, or local with so many workers; what it prints itself goes to stderr, for it is no result."""
    from coreset.distributed.executor import RayExecutor
    from coreset.progress import progress_on

    cluster = (job.cluster.address, job.cluster.device, job.cluster.workers) if job else ("auto", "auto", workers)
    with redirect_stdout(sys.stderr), RayExecutor(*cluster, progress_on(err_console)) as executor:
        yield executor


def typed(*without: str) -> str:
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


def shown(path: Location) -> str:
    """Relative to where the user stands, if it lies below."""
    if not isinstance(path, Path):
        return str(path)
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
