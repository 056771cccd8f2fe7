"""From a request on the command line to a pipeline: job file, corpus, run folder, store and executor."""

from __future__ import annotations

import os
import re
import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from coreset.artifacts.executor import Executor
from coreset.artifacts.manifest import Artifact, software
from coreset.artifacts.materialize import is_done, materialize_all
from coreset.artifacts.remote import Location, RemotePath, located
from coreset.artifacts.stage import Stage
from coreset.checks import check, check_atoms
from coreset.config import Job
from coreset.corpus.score_file import ScoreFile
from coreset.corpus.split import Split, outputs_of, split
from coreset.corpus.store import Corpus
from coreset.corpus.table_corpus import TableCorpus, is_table_corpus
from coreset.energies.engine import Engine, Settings
from coreset.errors import CoresetError, RequestError
from coreset.folder import RECORD, RunFolder
from coreset.job_file import job_record, load_job
from coreset.publishing.card import dataset_card
from coreset.publishing.package import write_package
from coreset.publishing.tables import table_card
from coreset.run_log import Logged, RunLog
from coreset.urls import expect_no_secret
from coreset.workflow import Pipeline, Products, energy_points

if TYPE_CHECKING:
    from coreset.learning.code import Code

IN_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
"""Whether this process is the entry point of a Ray job: it works in a temporary copy of the working folder."""


def absolute_output(path: Path, option: str) -> Path:
    """An output path made absolute. Raises RequestError for a relative one inside a Ray job."""
    if IN_JOB and not path.is_absolute():
        raise RequestError(
            f"{option}: expected an absolute path inside a Ray job, found {str(path)!r}, which would lie in the job's "
            f"temporary copy of the working folder; give {option} an absolute path."
        )
    if re.match(r"[a-z][a-z0-9+]*:/", str(path)):
        raise RequestError(
            f"{option}: expected a local path, found {str(path)!r}; only --store may lie in an object store."
        )
    _expect_text(path, option)
    found = next((parent for parent in path.absolute().parents if parent.exists()), path.absolute())
    if not found.is_dir() or not os.access(found, os.W_OK):
        raise RequestError(
            f"{option}: expected a path below a folder to write in, found {found}; use another {option}."
        )
    return path.absolute()


def _expect_text(path: Path, place: str) -> None:
    """Raises RequestError for a path that no JSON can hold: records and manifests name it."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise RequestError(
            f"{place}: expected a path in UTF-8, found {os.fsencode(path.absolute())!r}; rename what is in it, or use "
            "another."
        ) from None


@dataclass(frozen=True)
class Session:
    """A checked request: nothing is started or written yet."""

    job_file: Path
    job: Job
    split: Split
    folder: RunFolder
    store: Location
    engine: Engine | None = None
    """What computes energies; None where the job names no pseudopotentials."""
    code: Code | None = None
    """The user's own network."""
    given: ScoreFile | None = None
    """The user's own scores."""

    def pipeline(self, materialize: Callable[[Sequence[Stage]], list[Artifact]]) -> Pipeline:
        """The pipeline of this job."""
        return Pipeline(self.job, self.split, materialize, self.engine, code=self.code, given=self.given)

    @contextmanager
    def recorded(self, executor: Executor) -> Iterator[Pipeline]:
        """The pipeline in its locked folder; what is done, and what failed and why, is recorded for `status`."""
        self.folder.expect_free_for(self.job.name)
        if isinstance(self.store, RemotePath):
            self.store.expect_writable("--store")
        with self.folder.locked():
            log = RunLog(self.folder.log)
            record = _Record(self, log)
            record.begin()
            executor.progress = Logged(log, executor.progress, executor.at_work)
            try:
                yield self.pipeline(lambda stages: record.materialize(stages, executor))
            except BaseException as error:
                record.fail(error)
                raise
            record.finish()


@dataclass
class _Record:
    """Keeps run.json true while the run goes."""

    session: Session
    log: RunLog
    stages: list[dict[str, Any]] = field(default_factory=list)

    def begin(self) -> None:
        """Marks a new folder as this run's before anything else stands in it."""
        if not (self.session.folder.path / RECORD).exists():
            self._write("running", None)
        host, versions = socket.gethostname(), software()
        self.log.tell("run begins", job=self.session.job.name, process=os.getpid(), host=host, software=versions)

    def materialize(self, stages: Sequence[Stage], executor: Executor) -> list[Artifact]:
        todo = [stage for stage in stages if not is_done(stage, self.session.store)]
        self.stages += [{"title": stage.title, "artifact": stage.folder} for stage in stages]
        if todo:
            self._write("running", None)
        return materialize_all(stages, root=self.session.store, executor=executor)

    def fail(self, error: BaseException) -> None:
        """Ctrl-C, and what Ray makes of SIGTERM, is not a failure but an interruption."""
        again = "run the same command again: what was finished is kept"
        if not isinstance(error, Exception):
            self.log.tell("run is interrupted", next=again)
            self._write("interrupted", None)
            return
        message = str(error) if isinstance(error, CoresetError) else f"{type(error).__name__}: {error}"
        where = "; ".join(getattr(error, "__notes__", ()))
        told = {"error": message, "where": where, "traceback": "".join(traceback.format_exception(error))}
        line = self.log.tell("run fails", **told, next=f"mend what the error names, then {again}")
        # Where the disk is full it stays as it is: what is told is the first error, and the log may have had room.
        with suppress(OSError):
            self._write("failed", message, where, f"{self.session.folder.log.name}, line {line}")

    def finish(self) -> None:
        self.log.tell("run ends")
        self._write("done", None)

    def _write(self, state: str, error: str | None, where: str = "", log: str = "") -> None:
        session, store = self.session, self.session.store
        session.folder.write(
            {
                "name": session.job.name,
                "job_file": str(session.job_file.resolve()),
                "job": session.job.model_dump(mode="json"),
                "store": str(store if isinstance(store, RemotePath) else store.resolve()),
                "state": state,
                "error": error,
                "where": where,
                "log": log,
                "stages": self.stages,
            }
        )


def open_session(
    job_file: Path,
    out: Path | None,
    store: str | Path | None,
    overrides: Sequence[str],
    allow_code: bool = False,
) -> Session:
    """Reads and checks everything that can be checked without computing. Raises RequestError; writes nothing.

    allow_code: whether the class that the job may name as its network is imported, which runs it.
    """
    _expect_text(job_file, "JOB")
    job = load_job(job_file, overrides)
    if job.network.code is not None and not allow_code:
        raise RequestError(
            f"{job_file}: network.code: {job.network.code!r} is code, which would be run with your rights; read it, "
            "and give --allow-code if you trust it."
        )
    corpus = _open_corpus(job_file, job)
    folder = RunFolder(absolute_output(out or Path("runs") / job.name, "--out"))
    session = _session(job_file, job, corpus, folder, store)
    return replace(session, engine=_engine(session), code=_code(session), given=_given(session, corpus))


def reopen_session(folder: RunFolder) -> Session:
    """The session whose run wrote this folder."""
    record = folder.read()
    try:
        job, job_file, store = Job.model_validate(record["job"]), Path(record["job_file"]), record["store"]
    except (KeyError, ValidationError) as error:
        raise RequestError(f"{folder.path / RECORD}: expected the record of a run of this version ({error}).") from None
    return _session(job_file, job, _open_corpus(job_file, job), folder, store)


def _session(
    job_file: Path, job: Job, corpus: Corpus | TableCorpus, folder: RunFolder, store: str | Path | None
) -> Session:
    section = job.corpus
    divided = split(
        corpus,
        str(job_file),
        train=section.train,
        tests=section.test,
        validation=section.validation,
        group=section.group,
        stratify=section.stratify,
    )
    check(job, divided.train, divided.validation, str(job_file))
    check_atoms(divided, str(job_file))
    return Session(job_file, job, divided, folder, _store(store) if store else folder.store)


def _store(place: str | Path) -> Location:
    """Where `--store` says that artifacts lie. Raises RequestError."""
    expect_no_secret(str(place), "--store")
    store = located(place, "--store")
    if isinstance(store, RemotePath):
        return store
    store = absolute_output(store, "--store")
    if store.exists() and not store.is_dir():
        raise RequestError(
            f"--store: expected a folder for the artifacts, found the file {store}; use another --store."
        )
    return store


def _code(session: Session) -> Code | None:
    """The user's own network, made once to see that it is one."""
    section = session.job.network
    if section.code is None:
        return None
    from coreset.learning.code import check_code, code_of

    features = session.split.train.layout or session.job.descriptor.resolve()
    try:
        code = code_of(section.code, section.arguments, session.job_file.parent)
        check_code(code, features.length, outputs_of(features), session.job.score.precision)
    except RequestError as error:
        raise RequestError(f"{session.job_file}: {error}") from None
    return code


def _given(session: Session, corpus: Corpus | TableCorpus) -> ScoreFile | None:
    """The user's own scores. Raises RequestError where they are not one per row or point of the corpus."""
    if session.job.score.path is None:
        return None
    place = f"{session.job_file}: score.path"
    try:
        # Resolved, for a worker may stand in another folder.
        found = ScoreFile.of((session.job_file.parent / session.job.score.path).resolve())
    except RequestError as error:
        raise RequestError(f"{place}: {error}") from None
    ends = list(accumulate((shard.points for shard in corpus.snapshots), initial=0))
    if isinstance(corpus, TableCorpus):
        each, order = "row", "that was ingested, in the order of the files"
    else:
        each, order = "grid point", "of the corpus, its snapshots by name and the points of each in C order"
    if found.rows != ends[-1]:
        raise RequestError(
            f"{place}: expected {ends[-1]:,} scores, one for each {each} {order}, found {found.rows:,}; give each "
            f"{each} a score, those that test and validate too."
        )
    if isinstance(corpus, TableCorpus):
        return found
    return replace(found, firsts={each.name: first for each, first in zip(corpus.snapshots, ends, strict=False)})


def _engine(session: Session) -> Engine | None:
    """What computes this job's energies. Raises RequestError where it, or what it needs, is missing."""
    section = session.job.energy
    if section.pseudopotentials is None and section.engine != "eminus":
        return None
    from coreset.energies import ENGINES

    # Resolved, for a worker may stand in another folder.
    named = section.pseudopotentials
    folder = None if named is None else (session.job_file.parent / named).resolve()
    made = ENGINES[section.engine](Settings(section.cutoff, section.smearing, section.kpoints), folder)
    snapshots = [snapshot for points in energy_points(session.job, session.split).values() for snapshot in points.grids]
    try:
        made.check({int(number) for snapshot in snapshots for number in snapshot.numbers})
        made.require(snapshots)
    except RequestError as error:
        raise RequestError(f"{session.job_file}: {error}") from None
    return made


def _open_corpus(job_file: Path, job: Job) -> Corpus | TableCorpus:
    """The corpus of a job; its path is relative to the job file, a URL is taken as it is."""
    source = job.corpus.source
    expect_no_secret(source, f"{job_file}: corpus.source")
    try:
        path = source if "://" in source else str((job_file.parent / source).resolve())
        return TableCorpus.open(path) if is_table_corpus(path) else Corpus.open(path)
    except RequestError as error:
        raise RequestError(f"{job_file}: corpus.source: {error}") from None


_BESIDE = frozenset({"sweep", "energy", "coverage"})
"""Sections of a job that say what is measured beside its coreset: they leave no trace in it."""


def package(session: Session, products: Products) -> None:
    """Writes `DIR/coreset` from the extracted shards."""
    train = session.split.train
    job = session.job
    chosen_by = [products.scores, *(products.proxies.models if products.proxies else ())]
    recipe = {
        "name": job.name,
        "job": {name: section for name, section in job_record(job).items() if name not in _BESIDE},
        "descriptor": job.descriptor.model_dump(mode="json"),
        "select": job.select.model_dump(mode="json", exclude={"proxy"}),
        "cutoff": products.cutoff,
        "points": train.points,
        **({} if session.given is None else {"scores": {"sha256": session.given.sha256}}),
        # Of the trainings, scores and extraction that this dataset comes from: byte identity holds on this type alone.
        "device": sorted({shard["figures"]["device"] for made in chosen_by for shard in made.shards}),
    }
    rows = products.coreset.figures["rows"]
    if train.layout is not None:
        recipe = {name: value for name, value in recipe.items() if name != "descriptor"}
        recipe["layout"] = asdict(train.layout)
        card = table_card(job.name, rows, train.points, len(train.groups), train.layout, recipe)
        write_package(session.folder.coreset, products.coreset, (), recipe, card)
        return
    card = dataset_card(job.name, rows, train.points, len(train.snapshots), recipe)
    write_package(session.folder.coreset, products.coreset, train.grids, recipe, card)
