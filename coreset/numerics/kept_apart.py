"""A greedy cover: of rows that come in some order, each is kept that lies farther than a radius from all kept before.

Those kept are farther than the radius R from each other, and every row lies within R of one of them: they are an
R-packing and an R-cover of all rows at once. Which rows they are depends on the order.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from coreset.errors import RequestError
from coreset.numerics.nearest import PIECE, Centred, lower_to_nearest, pieces_of

TOGETHER = 1024
"""Rows that are compared with those kept before, and then with each other, at a time."""


def farther_than(
    rows: Float32[np.ndarray, "n d"], shards: Iterable[Float32[np.ndarray, "_ d"]], radius: float
) -> Bool[np.ndarray, " n"]:
    """Which rows lie farther than the radius from every point of all shards, by distances in float64."""
    centre = rows.mean(axis=0, dtype=np.float64)
    x = _centred(rows, centre)
    squared = _beyond(len(rows), radius)
    for y in pieces_of(shards, centre, PIECE):
        lower_to_nearest(squared, x, y)
    return squared > radius**2


def kept_apart(batches: Iterable[Float32[np.ndarray, "_ d"]], radius: float) -> Iterator[Int[np.ndarray, " k"]]:
    """Of each batch the positions that are kept, ascending; memory holds what is kept of all.

    Raises `RequestError` for a negative radius.
    """
    if not radius >= 0:
        raise RequestError(f"radius: expected a distance of 0 or more, found {radius}.")
    centre: Float[np.ndarray, " d"] | None = None
    before: list[Centred] = []
    for batch in batches:
        chosen = list[int]()
        for first in range(0, len(batch), TOGETHER):
            rows = batch[first : first + TOGETHER]
            centre = rows.mean(axis=0, dtype=np.float64) if centre is None else centre
            x = _centred(rows, centre)
            squared = _beyond(len(rows), radius)
            for y in before:
                lower_to_nearest(squared, x, y)
            here = _apart(rows, squared > radius**2, radius)
            if len(here):
                before.append(x[here])
                chosen += (first + here).tolist()
            if len(before) > 1 and len(before[-2]) < PIECE:
                before[-2:] = [Centred.joined(before[-2:])]
        yield np.array(chosen, np.int64)


def _apart(rows: Float32[np.ndarray, "n d"], left: Bool[np.ndarray, " n"], radius: float) -> Int[np.ndarray, " k"]:
    """Of the rows that are left those that are kept one after another."""
    exact, chosen = rows.astype(np.float64), list[int]()
    while left.any():
        following = int(left.argmax())
        chosen.append(following)
        left &= np.square(exact - exact[following]).sum(axis=1) > radius**2
        left[following] = False  # also where the radius is 0
    return np.array(chosen, np.int64)


def _beyond(count: int, radius: float) -> Float[np.ndarray, " n"]:
    # Next to the limit, so that a point at the very radius still lowers it.
    return np.full(count, np.nextafter(radius**2, np.inf))


def _centred(rows: Float32[np.ndarray, "n d"], centre: Float[np.ndarray, " d"]) -> Centred:
    return Centred.joined(list(pieces_of([rows], centre, PIECE)))
