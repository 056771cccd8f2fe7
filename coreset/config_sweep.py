"""The part of a job file that `coreset sweep` reads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from coreset.config_keys import Cutoff, MethodName, PruningMethod, Rate, Section, Seeds


class EpochsSection(Section):
    """Protocol `epochs`: every network sees its own coreset equally often, so a small one trains for fewer steps."""

    epochs: int = Field(20, ge=1)
    rates: tuple[Rate, ...] = Field((0.8, 0.9, 0.95, 0.99), strict=False)
    methods: tuple[PruningMethod, ...] = Field(("random", "grand", "ccs"), strict=False)


class StudiesSection(Section):
    """One setting of CCS at a time is changed, all others as the job has them. An empty list leaves a study out."""

    rates: tuple[Rate, ...] = Field((0.9, 0.99), strict=False)
    seeds: Seeds = 5
    cutoffs: tuple[Cutoff, ...] = Field((), strict=False, description="β.")
    strata: tuple[Annotated[int, Field(ge=1)], ...] = Field((), strict=False)
    score_epochs: tuple[Annotated[int, Field(ge=1)], ...] = Field((), strict=False)
    score_runs: tuple[Seeds, ...] = Field((), strict=False)


class RecipeSection(Section):
    """Another way to train, as far as it differs from `training`."""

    schedule: Literal["constant", "cosine"] | None = None
    average: float | None = Field(None, ge=0, lt=1)
    keep: Literal["last", "best"] | None = None


class NoiseSection(Section):
    """How much one training differs from the next: the same coresets, trained in several ways."""

    rate: Rate = 0.99
    method: MethodName = "ccs"
    seeds: int = Field(8, ge=2, le=1_000)
    recipes: dict[str, RecipeSection] = Field({}, description="A name and what differs from `training`, each.")


class SweepSection(Section):
    """What `coreset sweep` trains: methods × rates × seeds, and studies of single settings."""

    rates: tuple[Rate, ...] = Field((0.5, 0.8, 0.9, 0.95, 0.99), min_length=1, strict=False)
    methods: tuple[PruningMethod, ...] = Field(
        ("random", "random-snapshots", "grand", "ccs", "cut-random", "loss"), min_length=1, strict=False
    )
    seeds: Seeds = Field(5, description="Networks per method and rate; each redraws selection and initialisation.")
    redraw_scores: bool = Field(
        True,
        description="Whether each seed also has scores of its own. Without, all seeds share the first scores, which "
        "costs less, and no interval knows how much scores vary.",
    )
    protocols: tuple[Literal["steps", "epochs"], ...] = Field(
        ("steps",),
        min_length=1,
        strict=False,
        description="`steps`: all networks train for `evaluation.steps`. `epochs`: as the section of that name says.",
    )
    epochs: EpochsSection = EpochsSection()
    studies: StudiesSection = StudiesSection()
    noise: NoiseSection = NoiseSection()
