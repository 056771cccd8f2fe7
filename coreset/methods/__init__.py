"""One file per pruning method, one signature: rule(scan, *, prune, seed, …) -> Rule, with the parameters it uses."""

import difflib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from coreset.errors import RequestError
from coreset.methods import ccs, cut_random, full, grand, loss, random, random_snapshots
from coreset.methods.rule import Rule, Selected
from coreset.numerics.scans import Scan, ScoreShard, serial_scan

__all__ = ["METHODS", "Method", "Rule", "Scan", "ScoreShard", "Selected", "method", "serial_scan"]


@dataclass(frozen=True)
class Method:
    """A pruning method: its name, the score that it ranks (None: nothing), and the function that makes its rule."""

    name: str
    field: Literal["grand", "loss"] | None
    rule: Callable[..., Rule]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the method takes."""
        signature = inspect.signature(self.rule).parameters.values()
        return tuple(each.name for each in signature if each.kind is inspect.Parameter.KEYWORD_ONLY)

    def check(self, given: Iterable[str]) -> None:
        """Raise RequestError where a parameter is given that the method does not take."""
        for name in given:
            if name not in self.parameters:
                takes = ", ".join(self.parameters) or "no parameters"
                raise RequestError(f"{name}: method {self.name} takes {takes}, and not {name}; leave it out.")


METHODS: dict[str, Method] = {
    each.name: each
    for each in (
        Method("random", None, random.rule),
        Method("random-snapshots", None, random_snapshots.rule),
        Method("grand", "grand", grand.rule),
        Method("loss", "loss", loss.rule),
        Method("ccs", "grand", ccs.rule),
        Method("cut-random", "grand", cut_random.rule),
        Method("full", None, full.rule),
    )
}


def method(name: str) -> Method:
    """Return the method of this name.

    Raises:
        RequestError: there is none; the nearest name is given.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0)[0]
        raise RequestError(f"method: expected one of {', '.join(METHODS)}, found {name!r}; did you mean {near}?")
    return METHODS[name]
