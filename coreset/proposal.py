"""`coreset init`: a job file for a corpus, guessed by looking at it, with what was guessed and why beside each key."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coreset.corpus.split import Member, SnapshotSet, split
from coreset.corpus.store import Corpus
from coreset.corpus.table_corpus import Layout, TableCorpus, is_table_corpus
from coreset.errors import RequestError
from coreset.methods.budget import keep
from coreset.stages.coverage import equal_share

PRUNE = 0.9
_LARGE = 20_000_000
"""Training points from which on the larger network is proposed."""
_STEPS = 3000


@dataclass(frozen=True)
class Guess:
    """A section of the job file: its text, and why it is so."""

    text: str
    why: str


def propose(source: Path, job_file: Path, name: str) -> tuple[str, list[str]]:
    """The text of a job file on a corpus, and a sentence for each guess. Reads metadata alone.

    Raises RequestError for a source that is no corpus, naming the command that makes one of it, and for a corpus whose
    names do not say what tests.
    """
    corpus = _opened(source)
    layout = corpus.layout if isinstance(corpus, TableCorpus) else None
    train, tests = _roles(source, corpus.snapshots)
    members = SnapshotSet(corpus.path, corpus.select(f"{train}/*"), layout)
    groups = len(members.groups)
    share = max(0.2 if groups >= 5 else 0.0, 1 / groups)
    divided = split(
        corpus, str(source), train=f"{train}/*", tests={test: f"{test}/*" for test in tests}, validation=round(share, 3)
    )
    guesses = [
        _corpus(source, job_file, train, tests, round(share, 3), groups, layout),
        *([] if layout else [_descriptor()]),
        _network(divided.train.points, layout),
        _training(divided.train.points),
        Guess("score: {epoch: 2, seeds: 4}", "four networks, scored after two epochs; the paper takes 10 and epoch 10"),
        _select(divided.train.points),
        _coverage(divided.validation, layout),
        _evaluation(divided.train),
    ]
    kind = "table" if layout else "corpus of densities"
    told = "read it, change it, then `coreset plan` and `coreset run`"
    head = f"# Guessed from the {kind} {source.name} by `coreset init`: {told}.\n"
    body = "\n".join(f"# {guess.why[0].upper()}{guess.why[1:]}.\n{guess.text}\n" for guess in guesses)
    return f"{head}name: {name}\n\n{body}", [guess.why for guess in guesses]


def _opened(source: Path) -> Corpus | TableCorpus:
    try:
        return TableCorpus.open(str(source)) if is_table_corpus(str(source)) else Corpus.open(source)
    except RequestError as error:
        missing = f"{source}: expected a corpus, found {{}}; make one first: coreset ingest {source} {{}}"
        if source.suffix in (".parquet", ".npy") or (source.is_dir() and any(source.glob("*.parquet"))):
            raise RequestError(missing.format("a table", f"{source.stem}.zarr --target COLUMN")) from None
        if source.exists():
            raise RequestError(missing.format("files that are none", f"{source.stem}.zarr")) from None
        raise error


def _roles(source: Path, members: Sequence[Member]) -> tuple[str, list[str]]:
    """The folder that trains, and those that test."""
    folders = sorted({member.name.split("/")[0] for member in members if "/" in member.name})
    train = "train" if "train" in folders else None
    if train is None or len(folders) < 2 or any("/" not in member.name for member in members):
        raise RequestError(
            f"{source}: expected names below train/ and below another folder, which tests, found "
            f"{', '.join(folders) or members[0].name}; put whole trajectories into folders of these names and ingest "
            "again."
        )
    return train, [folder for folder in folders if folder != train]


def _corpus(
    source: Path, job_file: Path, train: str, tests: list[str], share: float, groups: int, layout: Layout | None
) -> Guess:
    place = os.path.relpath(source.resolve(), job_file.absolute().parent)
    listed = ", ".join(f'{_plain(test)}: "{test}/*"' for test in tests)
    text = f'corpus:\n  source: {place}\n  train: "{train}/*"\n  validation: {share}\n  test: {{{listed}}}'
    what = "groups" if layout else "trajectories"
    aside = max(1, round(share * groups))
    return Guess(text, f"{train}/ trains, {', '.join(tests)} test; {aside} of the {groups} {what} of {train}/ validate")


def _plain(name: str) -> str:
    return "".join(character if character.isalnum() or character in "_-" else "-" for character in name)


def _descriptor() -> Guess:
    return Guess(
        "descriptor: {neighbours: 20, distances: true, handedness: free}",
        "20 neighbours and their distances; 40 see further and cost twice as much",
    )


def _network(points: int, layout: Layout | None) -> Guess:
    small = points < _LARGE
    hidden = "[96, 96, 96]" if small else "[256, 256, 256, 256]"
    cores = os.cpu_count() or 1
    why = f"a network that {cores} cores train in minutes on {points:,} points; the paper's has 12 layers of 900"
    output = "linear" if layout else "relu"
    return Guess(f"network: {{hidden: {hidden}, output: {output}}}", why)


def _training(points: int) -> Guess:
    batch = 1024 if points >= 100_000 else 64
    epochs = max(2, math.ceil(_STEPS * batch / points))
    text = f"training: {{learning_rate: 2.0e-3, schedule: cosine, batch: {batch}, epochs: {min(epochs, 60)}}}"
    return Guess(
        text, f"{min(epochs, 60)} epochs of batches of {batch}, as many as make some {_STEPS:,} steps or 60 epochs"
    )


def _select(points: int) -> Guess:
    strata = min(100, max(1, keep(points, PRUNE) // 5))
    text = f"select: {{method: ccs, prune: {PRUNE}, cutoff: auto, strata: {strata}}}"
    return Guess(text, f"nine of ten points are pruned; {strata} strata, of which each is to keep some points")


def _coverage(against: SnapshotSet, layout: Layout | None) -> Guess:
    most = min(4000, equal_share(against))
    scaling = "standard" if layout else "none"
    why = f"{most:,} validation points ask how near the coreset comes, each member the same number"
    if layout:
        why += "; features are divided by their standard deviation"
    return Guess(f"coverage: {{queries: {most}, scaling: {scaling}}}", why)


def _evaluation(train: SnapshotSet) -> Guess:
    methods = [
        "full",
        "random",
        *(["random-snapshots"] if len(train.snapshots) > 10 else []),
        "grand",
        "ccs",
        "cut-random",
    ]
    text = f"evaluation: {{methods: [{', '.join(methods)}], seeds: 3}}"
    return Guess(text, "what the coreset is compared with, three networks each; five or more tell smaller differences")
