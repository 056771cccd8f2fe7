"""All figures of an audit, as DIR/audit.json holds them and the page shows them."""

from __future__ import annotations

from typing import Any

from coreset.artifacts.manifest import software
from coreset.auditing.coverage import against_size, chosen_against_drawn, contributions, coverage, dropped, random_peer
from coreset.auditing.gaps import uncovered
from coreset.auditing.redundancy import dimensions, duplicates
from coreset.auditing.request import Audited
from coreset.corpus.point_set import PointSet

FORMAT = "coreset-audit-1"


def figures(found: Audited, names: tuple[str, str], command: str) -> dict[str, Any]:
    """Everything, as JSON; the same for the same points, whatever the number of workers.

    names: what the corpus and its reference are called.
    """
    audit = found.audit
    plain = audit.space.network is None and audit.scaling == "none"
    return {
        "format": FORMAT,
        "name": names[0],
        "command": command,
        "corpus": _told(audit.corpus, names[0], plain),
        "reference": None if audit.reference is None else _told(audit.reference, names[1], plain),
        "left_out": audit.left_out,
        "space": {**audit.space.parameters(), **_descriptor(audit.corpus)},
        "scaling": audit.scaling,
        "seed": audit.seed,
        "coverage": coverage(found),
        "random": random_peer(found),
        "size": against_size(found),
        "chosen": chosen_against_drawn(found),
        "duplicates": duplicates(found),
        "dimension": dimensions(found),
        "uncovered": uncovered(found),
        "contribution": contributions(found),
        "dropped": dropped(found),
        "software": software(),
    }


def _told(points: PointSet, name: str, plain: bool) -> dict[str, Any]:
    return {
        "name": name,
        "kind": points.kind,
        "member_kind": points.member_kind,
        "group_kind": points.group_kind,
        "digest": points.digest,
        "points": points.points,
        "members": len(points.members),
        "groups": None if points.groups is None else len(points.groups),
        "features": len(points.columns),
        "unit": points.unit if plain else "",
    }


def _descriptor(points: PointSet) -> dict[str, Any]:
    descriptor = points.parameters().get("descriptor")
    return {} if descriptor is None else {"descriptor": descriptor}
