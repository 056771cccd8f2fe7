"""Figures of coverage: AUC_pr, the p–r curve, coverage against size, and what each part of the corpus adds."""

from __future__ import annotations

from typing import Any

import numpy as np

from coreset.auditing.request import Audited
from coreset.numerics.coverage import mean_over_queries, summarise
from coreset.numerics.dropping import dropping_order
from coreset.numerics.intervals import Estimate, verdict
from coreset.numerics.keys import keys, stream
from coreset.numerics.nested_subsets import of_subsets, to_reach
from coreset.numerics.uncovered import covered_by_first, farthest_first

CURVE = 101
"""Points of the p–r curve that are told."""
SHARES = (0.9, 0.95, 0.99)
CHOSEN, MOST_CHOSEN = 2_000, 1_024
"""Points among which, and as many at most, are chosen farthest first."""
WITHIN = 0.9
"""Share of the queries that are covered within the radius at which it is asked what a part covers alone."""
TOLD = 1_000
"""Labels of one kind that are told: of more, those that add the most and the least."""


def number(value: float) -> float | None:
    """As JSON has it: None for what is not finite."""
    return float(value) if np.isfinite(value) else None


def estimate(found: Estimate) -> dict[str, Any]:
    """A mean with its interval."""
    return {"value": found.value, "low": number(found.low), "high": number(found.high)}


def coverage(found: Audited) -> dict[str, Any]:
    """AUC_pr of the corpus as the queries see it."""
    asked_of = found.audit.asked_of
    known = found.queries.sample(asked_of).value(found.distances[None])
    area = summarise(found.distances, found.queries.groups(asked_of))
    chosen = np.linspace(0, len(area.p) - 1, CURVE).round().astype(int)
    return {
        "auc": area.auc,
        "interval": [number(side) for side in area.interval],
        "queries": len(found.queries),
        "sampling": {"half_width": number(known.half_width), "enough": known.enough},
        "p": area.p[chosen].tolist(),
        "r": area.r[chosen].tolist(),
        "largest": float(area.r[-1]),
        "at_zero": float((found.distances == 0).mean()),
    }


def random_peer(found: Audited) -> dict[str, Any] | None:
    """A random subset: of the reference as large as the corpus, or else a half of the corpus itself.

    With points of the reference it is compared on the queries that neither holds, for a query that is itself among them
    tells nothing of the others.
    """
    if found.random is not None:
        of, (points, distances) = "reference", found.random
        asked = (found.distances > 0) & (distances > 0)
    else:
        of, sizes = "corpus", found.compared.figures["sizes"]
        if len(sizes) < 2:
            return None
        points, distances = sizes[-2], np.sqrt(of_subsets(found.nearby.by_level)[-2])
        asked = np.ones(len(distances), bool)
    if not (asked.any() and np.isfinite(distances).all()):
        return None
    groups = found.queries.groups(found.audit.asked_of)
    groups = None if groups is None else groups[asked]
    difference = mean_over_queries((found.distances - distances)[None, asked], groups)
    return {
        "of": of,
        "points": points,
        "queries": int(asked.sum()),
        "corpus": float(found.distances[asked].mean()),
        **estimate(mean_over_queries(distances[None, asked], groups)),
        "difference": {**estimate(difference), "verdict": verdict(difference)},
    }


def against_size(found: Audited) -> dict[str, Any]:
    """AUC_pr of nested random subsets, and how many points reach a share of the coverage of all."""
    groups = found.queries.groups(found.audit.asked_of)
    rows = list[dict[str, Any]]()
    for points, squared in zip(found.compared.figures["sizes"], of_subsets(found.nearby.by_level), strict=True):
        if np.isfinite(squared).all() and not (rows and rows[-1]["points"] == points):
            rows.append({"points": points, **estimate(mean_over_queries(np.sqrt(squared)[None], groups))})
    whole = rows[-1]["value"]
    for row in rows:
        row["coverage"] = 1.0 if row["value"] == whole else whole / row["value"]
    sizes, areas = [row["points"] for row in rows], [row["value"] for row in rows]
    reach = []
    for share in SHARES:
        points = to_reach(sizes, areas, share)
        fewer = enough_in_smallest(areas, share)
        reach.append({"share": share, "points": points, "of_all": points / sizes[-1], "or_fewer": fewer})
    return {"subsets": rows, "reach": reach}


def enough_in_smallest(areas: list[float], share: float) -> bool:
    """Whether the smallest subset already reaches the share, so that fewer points might."""
    return areas[0] <= areas[-1] / share


def chosen_against_drawn(found: Audited) -> list[dict[str, Any]]:
    """How well points chosen farthest first, and as many drawn, cover a sample of the corpus."""
    rows = found.scaled(found.sample)
    order = np.argsort(keys(stream(found.audit.seed, b"chosen"), 0, len(rows)), kind="stable")
    rows = rows[order[:CHOSEN]]
    sizes = [2**k for k in range(int(np.log2(min(MOST_CHOSEN, len(rows)))) + 1)]
    chosen = covered_by_first(rows, farthest_first(rows, sizes[-1]), sizes)
    drawn = covered_by_first(rows, np.arange(sizes[-1]), sizes)
    return [
        {
            "points": size,
            "of": len(rows),
            "chosen": {"auc": float(chosen[i, 0]), "largest": float(chosen[i, 1])},
            "drawn": {"auc": float(drawn[i, 0]), "largest": float(drawn[i, 1])},
        }
        for i, size in enumerate(sizes)
    ]


def dropped(found: Audited) -> dict[str, Any] | None:
    """In which order parts can be left out whole, greedily, and the coverage of what stays; None where there are none.

    Measured on the deciding queries alone, whose AUC_pr with all parts is `auc`.
    """
    labelling = found.scan.parts_left_out
    if labelling is None:
        return None
    of_each = np.sqrt(np.stack([found.nearby.by_part[part] for part in range(len(labelling.names))]))
    whole = float(of_each.min(axis=0).mean())
    points = np.bincount(labelling.of_member, [member.points for member in found.audit.corpus.members])
    left, rows = found.audit.corpus.points, list[dict[str, Any]]()
    for part, mean in dropping_order(of_each):
        left -= int(points[part])
        reached = 1.0 if mean == whole else whole / mean
        rows.append({"name": labelling.names[part], "points": left, "auc": mean, "coverage": reached})
    reach = [{"share": share, "parts": sum(row["coverage"] >= share for row in rows)} for share in SHARES]
    for row in reach:
        row["points"] = rows[int(row["parts"]) - 1]["points"] if row["parts"] else found.audit.corpus.points
    told = {"kind": labelling.kind, "parts": len(labelling.names), "queries": of_each.shape[1], "auc": whole}
    return {**told, "order": rows, "reach": reach}


def contributions(found: Audited) -> dict[str, list[dict[str, Any]]]:
    """Of each label: the share of the queries whose nearest point bears it, and the rise of AUC_pr without it.

    And the share that it alone covers, within the radius that covers `WITHIN` of all queries.
    """
    told, radius = {}, float(np.quantile(found.distances, WITHIN, method="inverted_cdf"))
    for labelling, nearest in zip(found.scan.labellings, found.nearby.by_label, strict=True):
        count = len(labelling.names)
        points = np.bincount(
            labelling.of_member, [member.points for member in found.audit.corpus.members], minlength=count
        )
        shares, rises, alone = nearest.shares(count), nearest.rises(count), nearest.alone(count, radius)
        order = np.lexsort((np.arange(count), -rises))
        if count > TOLD:
            order = np.concatenate([order[: TOLD // 2], order[-TOLD // 2 :]])
        told[labelling.kind] = [
            {
                "name": labelling.names[i],
                "points": int(points[i]),
                "nearest": float(shares[i]),
                "alone": float(alone[i]),
                "rise": number(rises[i]),
            }
            for i in order.tolist()
        ]
    return told
