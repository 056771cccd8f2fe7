"""What a corpus is made of, in the words of its field: one vocabulary for all that people look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from coreset.report.quantity import (
    AUC,
    DISTANCE,
    ENERGY,
    ERROR_RATE,
    LOG_LOSS,
    NMAE,
    NORM,
    NRMSE,
    SEMINORM,
    Quantity,
)

METHOD_NAMES = {
    "full": "full corpus",
    "random": "random points",
    "random-snapshots": "random snapshots",
    "grand": "GraNd",
    "ccs": "CCS",
    "cut-random": "cut-random",
    "loss": "loss",
}


@dataclass(frozen=True)
class Noun:
    """One and many of something, and the key under which files count it."""

    one: str
    many: str
    key: str

    def count(self, sizes: Mapping[str, int]) -> str:
        """`1 group`, `1,297 rows`."""
        number = sizes[self.key]
        return f"{number:,} {self.one if number == 1 else self.many}"


@dataclass(frozen=True)
class Curve:
    """Figures of the error against the pruning rate that may be switched."""

    name: str
    title: str
    quantities: tuple[Quantity, ...]
    meaning: str
    """Of the first of them, as a sentence without its full stop."""
    what: str = ""
    """What is missing where no network has it; empty where all have."""
    way: str = ""
    """The way to it."""


@dataclass(frozen=True)
class Tests:
    """How the chapter on further test sets speaks of them."""

    title: str
    lead: str
    what: str
    way: str
    caption: str


@dataclass(frozen=True)
class Wording:
    """How the parts of a corpus, its errors and its distances are called."""

    point: Noun
    member: Noun
    """What holds points: a snapshot, or a shard of a table."""
    group: Noun
    """Members that are not independent of each other."""
    sized: tuple[Noun, ...]
    """What the size of a test set is told in."""
    divided: Noun
    """What the training points come from."""
    methods: Mapping[str, str]
    space: str
    """Where distances are measured."""
    auc: Quantity
    distance: Quantity
    error: str
    """What NRMSE is the size of."""
    share: str
    """What the error on validation groups is a share of."""
    quantities: tuple[Quantity, ...]
    """All that may be chosen from where errors are compared."""
    beside: tuple[Quantity, ...]
    """Figures that stand beside NRMSE wherever the whole is summed up."""
    curves: tuple[Curve, ...]
    tests: Tests
    papers: Mapping[str, int]
    """Points that 1% of the paper's corpora of this kind hold."""
    in_space: bool
    """Whether points lie in space, around atoms, so that fields can be looked at."""
    score: str
    """What a score is, after `A row's score is`."""
    claims: str = ""
    """What is to be said of the paper's claims, which are of densities."""
    unused: tuple[str, ...] = ()
    """Sections of a job file that say nothing of such a corpus."""

    @property
    def points(self) -> str:
        """Many of them."""
        return self.point.many

    @property
    def members(self) -> str:
        """Many of them."""
        return self.member.many

    @property
    def groups(self) -> str:
        """Many of them."""
        return self.group.many

    def method(self, name: str) -> str:
        """What a method is called."""
        return self.methods.get(name, name)


_GRAND = (
    "the norm of the gradient of its loss, a mean over several networks (GraNd): a high score is a {one} that the "
    "networks still learn from. A few {many} have scores far above all others."
)
_GIVEN = "what a file of the user's says of it: a higher one means harder."
_POINT = Noun("point", "points", "points")
_SNAPSHOT = Noun("snapshot", "snapshots", "snapshots")
_TRAJECTORY = Noun("trajectory", "trajectories", "groups")

DENSITIES = Wording(
    point=_POINT,
    member=_SNAPSHOT,
    group=_TRAJECTORY,
    sized=(_SNAPSHOT, _TRAJECTORY),
    divided=_SNAPSHOT,
    methods=METHOD_NAMES,
    space="the space of descriptors",
    auc=AUC,
    distance=DISTANCE,
    error="density error",
    share="as a share of the range of their density",
    quantities=(NRMSE, SEMINORM, NORM, NMAE, ENERGY),
    beside=(),
    curves=(
        Curve(
            "pruning-nrmse",
            "Density error against pruning",
            (NRMSE, NMAE),
            "NRMSE is the root mean square error over the grid, divided by the range of the reference density (Eq. 3)",
        ),
        Curve(
            "pruning-h1",
            "Error of the density's gradient against pruning",
            (SEMINORM, NORM),
            "The H¹ semi-norm is the size of the gradient of the error: it weighs every wave by its number |G|",
        ),
        Curve(
            "pruning-energy",
            "Energy error against pruning",
            (ENERGY,),
            "How far apart are the Harris–Foulkes energies of the predicted and the reference "
            "density, both by one diagonalisation with the same settings, per atom",
            "energies of the predicted densities",
            "add --set energy.pseudopotentials=DIR to the same command, with ABINIT installed",
        ),
    ),
    tests=Tests(
        "Defects and other systems",
        "Whether pruned data still teach what lies beyond the training set: cells with vacancies, larger cells, other "
        "temperatures and compositions.",
        "a second test set, such as cells with vacancies",
        "name it under corpus.test and sweep again",
        "The networks were trained on the same points as above, and never saw any of these systems. Compare "
        "methods within a test set: a cell of another size has an error floor of its own, for its k-points differ.",
    ),
    papers={"aluminium": 432_000, "water": 511_000},
    in_space=True,
    score=_GRAND.format(one="point", many="points"),
)

_ROW = Noun("row", "rows", "points")
_GROUP = Noun("group", "groups", "groups")

VALUES = Wording(
    point=_ROW,
    member=Noun("shard", "shards", "snapshots"),
    group=_GROUP,
    sized=(_ROW, _GROUP),
    divided=_GROUP,
    methods=METHOD_NAMES | {"random": "random rows", "random-snapshots": "random groups"},
    space="the space of features as they are",
    auc=replace(AUC, unit=""),
    distance=replace(DISTANCE, unit=""),
    error="error",
    share="as a share of the range of the targets",
    quantities=(NRMSE, NMAE),
    beside=(),
    curves=(
        Curve(
            "pruning-nrmse",
            "Error against pruning",
            (NRMSE, NMAE),
            "NRMSE is the root mean square error over rows and targets, each target's divided by its range in the "
            "whole table",
        ),
    ),
    tests=Tests(
        "Other test sets",
        "Whether pruned data still teach what lies beyond the training set.",
        "a second test set",
        "ingest the table with --split COLUMN, whose values say what each row is for, and name them under corpus.test",
        "The networks were trained on the same rows as above, and never saw any of these. Compare methods within a "
        "test set.",
    ),
    papers={},
    in_space=False,
    score=_GRAND.format(one="row", many="rows"),
    claims=" The paper's are of data of another kind: here they are conjectures.",
    unused=("descriptor", "energy"),
)
"""Of a table whose targets are values to be met."""

CLASSES = replace(
    VALUES,
    error="error of the probabilities",
    share="as the share of the rows that are classified wrongly",
    quantities=(ERROR_RATE, LOG_LOSS, NRMSE, NMAE),
    beside=(ERROR_RATE, LOG_LOSS),
    curves=(
        Curve(
            "pruning-classes",
            "Wrong classes against pruning",
            (ERROR_RATE, LOG_LOSS),
            "The error rate is the share of the test rows whose most probable class is wrong; the log loss is the mean "
            "of −log p, where p is the probability that a network gives to the right class",
        ),
        Curve(
            "pruning-nrmse",
            "Error of the probabilities against pruning",
            (NRMSE, NMAE),
            "NRMSE is the root mean square difference between the probability of each class and 1, where it is the "
            "right one, or 0",
        ),
    ),
)
"""Of a table whose target is a class."""

_SPACES = {"none": VALUES.space, "standard": "the space of features, each divided by its standard deviation"}


def wording_of(figures: Mapping[str, Any]) -> Wording:
    """The words for the figures of a run, a sweep or a plan, which say whether they are of a table."""
    table = figures.get("table")
    words = DENSITIES
    if table is not None:
        words = CLASSES if table["task"] == "classification" else VALUES
        words = replace(words, space=_SPACES[table["scaling"]])
    if "given" not in figures.get("scores", {}):
        return words
    return replace(words, score=_GIVEN, methods={**words.methods, "grand": "highest scores"})


def told_of_rows(table: Mapping[str, Any]) -> str:
    """What the rows of a table hold: `Each row has 64 features, and “digit” is to be learnt: one of 10 classes.`"""
    targets = [f"“{name}”" for name in table["targets"]]
    listed = " and ".join([", ".join(targets[:-1]), targets[-1]] if len(targets) > 1 else targets)
    classes = f": one of {table['classes']} classes" if table["classes"] else ""
    features = f"{table['features']:,} feature{'' if table['features'] == 1 else 's'}"
    return f"Each row has {features}, and {listed} {'is' if len(targets) == 1 else 'are'} to be learnt{classes}."
