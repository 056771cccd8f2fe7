"""The job file: frozen models that check themselves. An unknown key is an error that names the nearest known one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, model_serializer, model_validator

from coreset.config_keys import (
    CountOrAuto,
    Cutoff,
    CutoffOrAuto,
    Division,
    MethodName,
    Name,
    Pattern,
    Rate,
    Section,
    Seeds,
    TestSets,
    Workers,
)
from coreset.config_sweep import SweepSection
from coreset.methods import METHODS
from coreset.numerics.descriptors import Descriptor


class CorpusSection(Section):
    """Which snapshots train, which validate, which test."""

    source: str = Field(description="The corpus, relative to the job file.")
    train: str = Field("train/*", description="Glob on snapshot names: what is pruned.")
    validation: float = Field(
        0.1, gt=0, lt=1, description="Share of the training groups that is set aside, whole groups at a time."
    )
    group: Pattern | None = Field(
        None,
        description="Regular expression on a snapshot's name; its group names the trajectory. Default: as ingested.",
    )
    stratify: Literal["temperature", "composition"] = Field(
        "temperature", description="The validation groups are spread evenly over this."
    )
    test: TestSets = Field(description="Test sets: a name and a glob each.", min_length=1)


class DescriptorSection(Section):
    """Eq. 1: positions of the nearest atoms in their local PCA frame, and their atomic numbers."""

    neighbours: int = Field(40, ge=1, description="M, the number of nearest periodic images.")
    distances: bool = Field(False, description="Append the M distances.")
    handedness: Literal["right", "free"] = Field(
        "right", description="`right`: e3 = e1 × e2. `free`: three free signs, invariant under reflection too."
    )
    tie_tolerance: float = Field(1e-5, ge=1e-9, le=1e-3, description="Distances closer than this are tied (Bohr).")

    def resolve(self) -> Descriptor:
        """The descriptor that the numerics compute."""
        return Descriptor(self.neighbours, self.distances, self.handedness, self.tie_tolerance)


class NetworkSection(Section):
    """A multilayer perceptron."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (900,) * 12, min_length=1, strict=False, description="Width of each hidden layer."
    )
    activation: Literal["gelu", "relu"] = Field("gelu", description="Activation of the hidden layers.")
    output: Literal["relu", "linear"] = Field(
        "relu", description="`relu` scales the target and never shifts it; `linear` standardises it."
    )
    code: str | None = Field(
        None, description="A network of your own, as package.module:Class or file.py:Class; needs `--allow-code`."
    )
    arguments: dict[str, Any] = Field({}, description="What that class is called with, beside inputs and outputs.")

    @model_validator(mode="after")
    def _one_network(self) -> NetworkSection:
        if self.code is not None and (stated := self.model_fields_set & {"hidden", "activation", "output"}):
            raise ValueError(f"expected either code, a network of your own, or its layers, found also {sorted(stated)}")
        if self.code is None and self.arguments:
            raise ValueError("arguments are those of code, expected network.code beside them, found none")
        return self

    @model_serializer(mode="wrap")
    def _the_plain_one_is_not_said(self, written: Callable[[NetworkSection], dict[str, Any]]) -> dict[str, Any]:
        told = written(self)
        own = ("code", "arguments")
        theirs = ("hidden", "activation", "output")
        return {name: value for name, value in told.items() if name not in (own if self.code is None else theirs)}


class TrainingSection(Section):
    """How every network is trained."""

    optimizer: Literal["adamw"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    schedule: Literal["constant", "cosine"] = Field(
        "constant",
        description="`cosine` lets the rate decay to zero. Scoring runs keep it constant, whatever is said here.",
    )
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Decay per step of averaged weights, such as 0.99; 0 averages nothing. Scoring runs never do.",
    )
    checks: int = Field(0, ge=0, description="How often an evaluation run looks at its validation error; 0 is never.")
    keep: Literal["last", "best"] = Field(
        "last", description="Which weights are kept: the last, or those of the check with the least validation error."
    )
    batch: int = Field(1024, ge=1)
    epochs: int = Field(
        60, ge=1, description="Length of a training on the whole corpus; evaluation takes as many steps."
    )
    window: int = Field(262_144, ge=1, description="Points that are shuffled together.")
    cache: float = Field(
        2.0, ge=0, description="GiB of descriptors that one worker may hold; beyond it they are computed anew."
    )
    workers: Workers = Field(
        1, description="Processes that train one network together, each on its share of every batch."
    )

    @model_validator(mode="after")
    def _best_of_something(self) -> TrainingSection:
        if self.keep == "best" and not self.checks:
            raise ValueError("keep: best chooses among checks, expected training.checks of at least 1, found 0")
        return self

    @model_serializer(mode="wrap")
    def _alone_is_not_said(self, written: Callable[[TrainingSection], dict[str, Any]]) -> dict[str, Any]:
        # One process computes what it did before there could be several: its recipes and records stay the same bytes.
        return {name: value for name, value in written(self).items() if name != "workers" or value != 1}


class ScoreSection(Section):
    """Importance scores: K independently seeded runs, scored after the same epoch; or a file of scores."""

    method: Literal["grand", "file"] = "grand"
    path: str | None = Field(
        None, description="Of `file`: one score per row of a table, or per point of a corpus; relative to the job file."
    )
    epoch: int = Field(10, ge=1, description="Epochs before the gradient norms are taken.")
    seeds: Seeds = Field(10, description="K, the number of runs that the score is averaged over.")
    precision: Literal["float32", "bfloat16", "tf32"] = Field(
        "float32", description="What the matrix products of scoring round to; `tf32` needs `cluster.device: cuda`."
    )

    @model_validator(mode="after")
    def _networks_or_a_file(self) -> ScoreSection:
        if (self.method == "file") != (self.path is not None):
            found = "method: file without one" if self.path is None else f"method: {self.method} with one"
            raise ValueError(f"expected a path with method: file and with no other, found {found}")
        if self.path is not None and (stated := self.model_fields_set & {"epoch", "seeds", "precision"}):
            raise ValueError(f"expected no networks beside a file of scores, found {', '.join(sorted(stated))}")
        return self

    @model_serializer(mode="wrap")
    def _the_other_is_not_said(self, written: Callable[[ScoreSection], dict[str, Any]]) -> dict[str, Any]:
        told = written(self)
        others = ("path",) if self.path is None else ("epoch", "seeds", "precision")
        return {name: value for name, value in told.items() if name not in others}


class ProxySection(Section):
    """How `cutoff: auto` picks β: short trainings on CCS coresets, compared on the validation groups."""

    cutoffs: tuple[Cutoff, ...] = Field((0.0, 0.1, 0.3, 0.5, 0.7), min_length=1, strict=False)
    seeds: Seeds = 2
    steps: int = Field(1000, ge=1)


class SelectSection(Section):
    """Which points are kept."""

    method: MethodName = "ccs"
    prune: float = Field(0.9, ge=0, lt=1, description="Share of the training points that is removed.")
    cutoff: CutoffOrAuto = Field(
        "auto", description="β, the share of the hardest points that is cut before the strata are made."
    )
    strata: int = Field(100, ge=1)
    redistribute: bool = Field(True, description="Budget that small strata cannot use goes to the others.")
    seed: int = Field(0, ge=0, lt=2**63)
    within: Literal["group", "temperature", "composition"] | None = Field(
        None, description="Every method is applied to the points of each of these by themselves, at the same rate."
    )
    proxy: ProxySection = ProxySection()

    @model_serializer(mode="wrap")
    def _the_whole_is_not_said(self, written: Callable[[SelectSection], dict[str, Any]]) -> dict[str, Any]:
        # Records and manifests of jobs without parts stay the same bytes.
        return {name: value for name, value in written(self).items() if name != "within" or value is not None}


class CoverageSection(Section):
    """AUC_pr of each coreset against held-out points."""

    against: Literal["validation"] = "validation"
    queries: CountOrAuto = Field(
        10_000, description="Points drawn from the validation groups, the same for all methods."
    )
    exact_up_to: int = Field(
        100_000_000, ge=0, description="Points of a coreset; a larger one is estimated, with its bias measured."
    )
    scaling: Literal["none", "standard"] = Field(
        "none", description="`none`: Bohr and atomic numbers as they are. `standard`: unit variance over the queries."
    )


class EvaluationSection(Section):
    """One network per method and seed, compared on the test sets after an equal number of steps."""

    methods: tuple[MethodName, ...] = Field(
        ("full", "random", "random-snapshots", "grand", "ccs", "cut-random"), strict=False
    )
    seeds: Seeds = 3
    steps: int | None = Field(None, ge=1, description="Default: `training.epochs` epochs of the whole corpus.")


class EnergySection(Section):
    """Energies of the predicted densities: one diagonalisation and the Harris–Foulkes functional (paper, V.6)."""

    engine: Literal["abinit", "sparc", "eminus"] = Field(
        "abinit", description="The program that diagonalises. `eminus` brings its own pseudopotentials, for tests."
    )
    pseudopotentials: str | None = Field(
        None,
        description="Folder of the files that the densities were computed with, relative to the job file; without it "
        "no energy is computed, and the report says so.",
    )
    cutoff: float = Field(15.0, gt=0, description="Plane-wave cutoff, Ha; a real-space engine has the density's grid.")
    smearing: float = Field(0.002, gt=0, description="kT of the Fermi–Dirac occupations, Ha.")
    kpoints: tuple[Division, Division, Division] = Field((1, 1, 1), strict=False, description="Gamma-centred.")
    tests: tuple[str, ...] | None = Field(None, strict=False, description="Test sets. Default: all of them.")
    snapshots: int = Field(6, ge=1, description="Of each test set, spread evenly over its names.")
    seeds: Seeds = Field(3, description="Networks per method and rate whose densities are taken: the first ones.")
    methods: tuple[MethodName, ...] = Field(("full", "random", "grand", "ccs"), strict=False)
    rates: tuple[Rate, ...] = Field((0.9, 0.99), strict=False, description="Pruning rates of a sweep.")


class OutputSection(Section):
    """What people download."""

    format: Literal["parquet"] = "parquet"
    descriptor: bool = Field(
        False, description="Store the descriptor of each point; without it, it is computed on reading."
    )


class ClusterSection(Section):
    """Where it runs; nothing here changes a result, but the type of the device."""

    address: str = Field(
        "auto", description="`auto`: the cluster of the Ray job this runs in, else a local one. `local`, or host:port."
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Workers | None = Field(
        None, description="Processes that compute at a time. Default: one per core, or per GPU."
    )


class Job(Section):
    """A whole job."""

    name: Name
    corpus: CorpusSection
    descriptor: DescriptorSection = DescriptorSection()
    network: NetworkSection = NetworkSection()
    training: TrainingSection = TrainingSection()
    score: ScoreSection = ScoreSection()
    select: SelectSection = SelectSection()
    coverage: CoverageSection = CoverageSection()
    evaluation: EvaluationSection = EvaluationSection()
    sweep: SweepSection = SweepSection()
    energy: EnergySection = EnergySection()
    output: OutputSection = OutputSection()
    cluster: ClusterSection = ClusterSection()

    @model_validator(mode="after")
    def _tf32_on_a_gpu(self) -> Job:
        if self.score.precision == "tf32" and self.cluster.device != "cuda":
            raise ValueError(
                "score.precision: tf32 is a mode of GPUs and expects cluster.device: cuda, "
                f"found {self.cluster.device}; use bfloat16 or float32"
            )
        return self

    @model_validator(mode="after")
    def _no_residual_in_a_file(self) -> Job:
        if self.score.method == "file" and "loss" in (self.select.method, *self.evaluation.methods):
            raise ValueError(
                "score.method: file holds one score each, which grand ranks by, and no residual, which loss ranks "
                "by; expected no method loss, found it; leave it out of select.method and evaluation.methods"
            )
        return self

    @model_validator(mode="after")
    def _energies_of_known_sets(self) -> Job:
        unknown = sorted(set(self.energy.tests or ()) - set(self.corpus.test))
        if unknown:
            raise ValueError(
                f"energy.tests: expected names of corpus.test, {', '.join(self.corpus.test)}, found {unknown}"
            )
        return self

    @model_validator(mode="after")
    def _cutoff_leaves_enough(self) -> Job:
        # What needs no corpus is said at once; the exact counts are checked when N is known.
        beta, prune = self.select.cutoff, self.select.prune
        takes_cutoff = any(
            "cutoff" in METHODS[name].parameters for name in (self.select.method, *self.evaluation.methods)
        )
        if takes_cutoff and isinstance(beta, float) and beta > prune:
            raise ValueError(
                f"select.cutoff: expected at most select.prune = {prune}, found {beta}: "
                "the cut would leave fewer points than are to be kept; lower the cutoff or prune more"
            )
        return self

    @model_validator(mode="after")
    def _best_of_something_in_recipes(self) -> Job:
        for name, recipe in self.sweep.noise.recipes.items():
            if recipe.keep == "best" and not self.training.checks:
                raise ValueError(
                    f"sweep.noise.recipes.{name}.keep: best chooses among checks, expected training.checks of at least "
                    "1, found 0"
                )
        return self
