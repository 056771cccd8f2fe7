"""Random pruning of whole snapshots: not the paper's random pruning (IV.2.1), but what a smaller DFT run would be."""

from coreset.errors import RequestError
from coreset.methods import budget
from coreset.methods.rule import Rule, snapshot_key
from coreset.numerics.draw import Draw
from coreset.numerics.scans import Scan, ScoreShard


def rule(scan: Scan, *, prune: budget.Rate, seed: int) -> Rule:
    """Keep max(1, round-half-even((1 − rate)·S)) of S snapshots, those with the smallest keys (purpose SNAPSHOTS).

    Of a table, groups take the place of snapshots.

    The one method that holds an entry per snapshot while it is made (its number of points, some 100 bytes).

    Raises:
        RequestError: there are fewer than 2 snapshots, or `prune` is not in [0, 1).
    """
    rate = budget.check_rate(prune)
    sizes = scan(_sizes, _merge)
    if len(sizes) < 2:
        raise RequestError(
            f"method: random-snapshots needs at least 2 snapshots, found {len(sizes)}; take random, which draws points."
        )
    count = budget.keep(len(sizes), rate, "snapshots") if (1 - rate) * len(sizes) > 1 else 1
    order = sorted((snapshot_key(seed, identity), identity) for identity in sizes)
    total = sum(sizes.values())
    return Rule(
        "random-snapshots",
        total,
        keep=budget.keep(total, rate),
        kept=sum(sizes[identity] for _, identity in order[:count]),
        draws=(Draw(total, total),),
        seed=seed,
        snapshots=Draw(len(sizes), count, order[count - 1]),
    )


def _sizes(shard: ScoreShard) -> dict[bytes, int]:
    return {shard.whole or shard.identity: int(shard.scores.size)}


def _merge(a: dict[bytes, int], b: dict[bytes, int]) -> dict[bytes, int]:
    return a | {identity: a.get(identity, 0) + size for identity, size in b.items()}
