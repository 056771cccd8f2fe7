"""One rank of a team that trains some small networks: `ranks.py RANK SIZE FOLDER`; test_team.py runs it."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.distributed as dist

from coreset.errors import CoresetError
from coreset.learning import training
from coreset.learning.feed import Feed
from coreset.learning.network import Architecture
from coreset.learning.slabs import Slab
from coreset.learning.team import Team
from coreset.learning.training import HeldOut, Recipe, train

build = training.build


def points(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).uniform(-2.0, 2.0, (rows, 2)).astype(np.float32)
    return x, (0.03 + 0.02 * np.sin(1.5 * x[:, 0]) * np.cos(x[:, 1])).astype(np.float32)


def feed_of(team: Team, slab: int = 100, rows: int = 1003, window: int = 250, cache: float = 1e9) -> Feed:
    x, y = points(rows, 0)
    slabs = [Slab("s", "d", first, min(first + slab, rows), min(slab, rows - first)) for first in range(0, rows, slab)]

    def read(requests: Sequence[Slab]) -> Iterator[pa.Table]:
        for each in requests:
            mine = slice(each.start + team.rank, each.stop, team.size)
            features = pa.FixedSizeListArray.from_arrays(pa.array(x[mine].ravel()), 2)
            yield pa.table({"features": features, "density": pa.array(y[mine])})

    return Feed(slabs, read, 2, window, cache, team)


def recipe(**settings: Any) -> Recipe:
    given = {"learning_rate": 3e-3, "weight_decay": 0.01, "schedule": "constant", "batch": 64, "window": 250}
    return Recipe(**{**given, "epochs": 2, **settings})


def first_is_dead(*given: Any) -> Any:
    model = build(*given)
    if given[2] == "seed":
        with torch.no_grad():
            model.network[-2].bias.sub_(1e6)
    return model


class PoisonedOnOne(torch.optim.AdamW):
    """With the stated rate the weights of one rank, the last, become NaN at a step in the middle."""

    last = False
    taken = 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        super().step(closure)
        self.taken += 1
        if self.last and self.taken == 7 and self.param_groups[0]["lr"] == 3e-3:
            self.param_groups[0]["params"][0][0, 0] = float("nan")


def main(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.optim.AdamW = PoisonedOnOne  # type: ignore[misc]
    team = Team()
    if size > 1:
        at = (folder / "meeting").as_uri()
        dist.init_process_group("gloo", init_method=at, rank=rank, world_size=size, timeout=timedelta(minutes=20))
        team = Team(rank, size, dist.group.WORLD)
    relu, linear = (Architecture(2, (24, 24), "gelu", output) for output in ("relu", "linear"))
    chosen = recipe(schedule="cosine", average=0.9, checks=7, keep="best", learning_rate=0.02)
    cases = {
        "plain": (feed_of(team), relu, recipe()),
        "streamed": (feed_of(team, cache=0.0), relu, recipe()),
        "chosen": (feed_of(team), relu, chosen),
        "steps": (feed_of(team), linear, recipe(epochs=None, steps=25)),
        "dead": (feed_of(team), relu, recipe()),
        "slowed": (feed_of(team), relu, recipe()),
        "diverged": (feed_of(team), linear, recipe(learning_rate=1e30)),
        # Slabs of one point each: only the first rank has any.
        "lonely": (feed_of(team, slab=1, rows=90), relu, recipe(batch=7)),
        "lonely and streamed": (feed_of(team, slab=1, rows=90, cache=0.0), relu, recipe(batch=7)),
    }
    held_out = HeldOut(*map(torch.from_numpy, points(300, 1)))
    told = {}
    for name, (feed, shape, how) in cases.items():
        training.build = first_is_dead if name == "dead" else build
        PoisonedOnOne.last = name == "slowed" and rank == size - 1
        try:
            made = train(feed, shape, how, "seed", held_out=held_out)
        except CoresetError as error:
            told[name] = {"error": str(error)}
            continue
        made.model.save(folder / f"{name} {rank}", {})
        told[name] = {
            "loss": made.loss,
            "steps": made.steps,
            "dead": made.dead,
            "redrawn": made.redrawn,
            "slowed_to": made.slowed_to,
            "validation": made.validation,
            "kept_step": made.kept_step,
        }
    (folder / f"told {rank}").write_text(json.dumps(told))
    if size > 1:
        dist.barrier()  # a rank that leaves early takes the other's connections with it
        dist.destroy_process_group()
        os._exit(0)  # all is written; one of gloo's threads may still run, which aborts an orderly end


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
