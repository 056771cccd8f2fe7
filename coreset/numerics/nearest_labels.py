"""The nearest point of each query, by label: whose point it is, and how far the nearest one of any other label is.

Each of many points bears a label, such as its snapshot. A query whose nearest point, at distance d₁, bears the label
l, and whose nearest point of another label lies at d₂ ≥ d₁, loses d₂ − d₁ when all points of l are left out. So the
rise of AUC_pr without l is the mean of d₂ − d₁ over all queries, counted where the label is l:

    AUC_pr(S without l) − AUC_pr(S) = (1/Q) Σ_{q: l₁(q) = l} (d₂(q) − d₁(q))

exactly, for every label at once, with three numbers per query. Of equal distances the smallest label is the nearest, so
neither the order of the points nor how they are divided matters.
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int
from numba import njit


@dataclass(frozen=True)
class NearestLabels:
    """Of each query, shape [q]: squared distance and label of its nearest point, −1 for none; and `second`.

    second: the squared distance of the nearest point of another label; infinite where there is none.
    """

    first: Float[np.ndarray, " q"]
    label: Int[np.ndarray, " q"]
    second: Float[np.ndarray, " q"]

    @classmethod
    def none(cls, queries: int) -> "NearestLabels":
        """Before any point."""
        return cls(np.full(queries, np.inf), np.full(queries, -1, np.int64), np.full(queries, np.inf))

    def lower(self, squared: Float[np.ndarray, " q"], label: int) -> None:
        """Takes in the least squared distance to some points of one label; infinite where there is none."""
        _lower(self.first, self.label, self.second, squared, np.full(len(squared), label, np.int64))

    def bound(self, label: int) -> Float[np.ndarray, " q"]:
        """Above which squared distance a point of this label changes nothing."""
        bound: Float[np.ndarray, " q"] = np.where(self.label == label, self.first, self.second)
        return bound

    def merge(self, other: "NearestLabels") -> "NearestLabels":
        """Of the points of both; in any order the same."""
        merged = NearestLabels(self.first.copy(), self.label.copy(), self.second.copy())
        _lower(merged.first, merged.label, merged.second, other.first, other.label)
        # The other's second is of a label that is not its first: unknown which, but it is not the one that won.
        won = merged.label == other.label
        np.minimum(merged.second, other.second, out=merged.second, where=won)
        return merged

    def shares(self, labels: int) -> Float[np.ndarray, " l"]:
        """The share of the queries whose nearest point bears each label."""
        return np.bincount(self.label[self.label >= 0], minlength=labels) / len(self.label)

    def alone(self, labels: int, radius: float) -> Float[np.ndarray, " l"]:
        """The share of the queries that each label covers within the radius and no other does."""
        only = (self.label >= 0) & (np.sqrt(self.first) <= radius) & (np.sqrt(self.second) > radius)
        return np.bincount(self.label[only], minlength=labels) / len(self.label)

    def rises(self, labels: int) -> Float[np.ndarray, " l"]:
        """By how much AUC_pr rises without each label; infinite for one that no other could stand in for."""
        known = self.label >= 0
        loss = np.sqrt(self.second[known]) - np.sqrt(self.first[known])
        return np.bincount(self.label[known], loss, minlength=labels) / len(self.label)


@njit(cache=True, nogil=True)
@no_type_check
def _lower(first, label, second, squared, labels):
    for i in range(first.size):
        found, its = squared[i], labels[i]
        if found == np.inf:
            continue
        if its == label[i]:
            first[i] = min(first[i], found)
        elif found < first[i] or (found == first[i] and its < label[i]):
            second[i], first[i], label[i] = first[i], found, its
        else:
            second[i] = min(second[i], found)
