"""A training against PyTorch's own loop over features that lie in memory, standardised and scaled, in one process.

The layers of the loop are PyTorch's own. It is the shortest that trains: a permutation, rows by `index_select`,
forward, backward, a fused AdamW step. It has no schedule, averages nothing and checks nothing; neither does the
training beside it. Without the cache every epoch is read and described anew by Ray Data on one CPU, while the network
trains in the process that measures: two processes of one thread against one. Normalisation is found before, for it is
found once for all seeds.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks.harness import ROOT, Row, alternately, row
from benchmarks.peers import as_pytorch
from coreset.corpus.described import SlabReader
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.distributed.connect import start
from coreset.distributed.data import read
from coreset.learning.feed import Feed
from coreset.learning.network import Architecture, build
from coreset.learning.slabs import slabs_of
from coreset.learning.training import Recipe, train
from coreset.numerics.descriptors import Descriptor

BATCH, RATE = 1024, 2e-3


def rows(quick: bool) -> list[Row]:
    """The aluminium corpus of jobs/al.yaml with its descriptor, its network and a wider one."""
    torch.set_num_threads(1)
    start("local", 1)
    corpus = Corpus.open(str(ROOT / "jobs" / "data" / "al.zarr"))
    points = SnapshotSet(str(corpus.path), tuple(corpus.select("train/*")[: 4 if quick else None]))
    reader = SlabReader(points, Descriptor(20, distances=True, handedness="free"))
    slabs = [slab for each in points.snapshots for slab in slabs_of(each.name, each.digest, each.points)]
    warm = Feed(slabs, lambda wanted: read(reader, wanted), reader.descriptor.length, 262_144, cache=float("inf"))
    normalisation = warm.normalisation
    anew = replace(warm, cache=0.0)
    assert warm.held is not None
    _ = anew.normalisation
    x, y = map(torch.from_numpy, warm.held)
    x, y = (x - normalisation.mean) / normalisation.scale, y / normalisation.target_scale
    recipe = Recipe(RATE, 0.01, "constant", BATCH, warm.window, epochs=1)
    steps = len(warm.sizes(BATCH, "a", 0))
    measured = []
    for hidden in ((96, 96, 96), (256, 256, 256, 256)):
        shape = Architecture(warm.length, hidden, "gelu", "relu")
        network = as_pytorch(build(shape, normalisation, "a").network)[1:]  # the features are standardised
        seconds = alternately(
            lambda network=network: plain(network, x, y, steps),  # type: ignore[misc]
            lambda shape=shape: train(warm, shape, recipe, "a"),  # type: ignore[misc]
            lambda shape=shape: train(anew, shape, recipe, "a"),  # type: ignore[misc]
            rounds=2 if quick else 5,
        )
        loop, cached, streamed = seconds
        stage = f"training, {len(hidden)} × {hidden[0]}, batch {BATCH}"
        note = f"An epoch of {len(y):,} points of {warm.length} features, {steps} steps."
        measured += [
            row(stage, "time from the warm cache, of PyTorch's own loop's", cached / loop, at_most=1.1, note=note),
            row(stage, "time without the cache, of PyTorch's own loop's", streamed / loop, at_most=1.3),
            row(stage, "points per second from the warm cache", len(y) / cached / 1e3, unit="thousand"),
        ]
    return measured


def plain(network: nn.Sequential, x: Tensor, y: Tensor, steps: int) -> None:
    """PyTorch's own loop."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01, fused=True)
    taken = 0
    while True:
        for chosen in torch.randperm(len(y)).split(BATCH):
            output = network(x.index_select(0, chosen)).squeeze(1)
            loss = nn.functional.mse_loss(output, y.index_select(0, chosen))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            taken += 1
            if taken == steps:
                return
