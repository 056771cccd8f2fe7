"""Finds the smallest part of a corpus that trains as good a model as the whole of it, and proves it.

The functions here are the numerics alone; `coreset run` on the command line is the whole of it::

    coreset.open(path)                          a pruned dataset: .to_torch() .to_ray() .to_arrow() .to_pandas() …
    coreset.gradient_norms(network, x, y)       ‖∇_w Σ_o (f_o(x) − y_o)²‖₂, one per row
    coreset.select(scores, method="ccs", …)     ascending indices of what is kept
    coreset.coverage(points, queries)           .auc .interval .p .r
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coreset.methods.select import select
    from coreset.numerics.coverage import coverage
    from coreset.numerics.gradient_norms import gradient_norms
    from coreset.publishing.dataset import open_dataset as open

__all__ = ["coverage", "gradient_norms", "open", "select"]

_HOMES = {
    "coverage": ("coreset.numerics.coverage", "coverage"),
    "gradient_norms": ("coreset.numerics.gradient_norms", "gradient_norms"),
    "open": ("coreset.publishing.dataset", "open_dataset"),
    "select": ("coreset.methods.select", "select"),
}


def __getattr__(name: str) -> Any:
    # On demand, so that `import coreset` and the command line start without torch.
    if name in _HOMES:
        module, attribute = _HOMES[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'coreset' has no attribute {name!r}; it offers {', '.join(__all__)}")
