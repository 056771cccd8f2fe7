"""The summary of a finished run on a table, made of formulas: values to be met, or classes."""

import re
from typing import Any

FOREIGN = (
    *("densit", "snapshot", "trajector", "bohr", "descriptor", "atom", "electron", "energ", "grid", "dft", "defect"),
    *("temperature", "composition", "spectrum", "isosurface", "hartree", "mha", r"\bspecies", r"\bpoints?\b", "vacanc"),
)
"""What nobody says of a table, as regular expressions."""
HARMLESS = ("percentage points", "Points are means", "arXiv")
"""Points of a percentage, and those of a drawing."""

LEVELS = {"full": 1.0, "random": 1.5, "random-snapshots": 2.5, "grand": 3.0, "ccs": 1.25}
"""How far each method's errors lie above those of the whole table."""
OF_VALUES = {"nrmse": 0.04, "nmae": 0.02}
OF_CLASSES = {"nrmse": 0.08, "nmae": 0.03, "error_rate": 0.06, "log_loss": 0.2}
ROWS, KEPT = 12_000, 2_400


def foreign_words(text: str) -> list[str]:
    """What a text says that nobody says of a table, each with what stands around it."""
    for each in HARMLESS:
        text = text.replace(each, "")
    return [text[max(0, m.start() - 40) : m.end() + 40] for m in re.finditer("|".join(FOREIGN), text, re.IGNORECASE)]


def table_summary(task: str) -> dict[str, Any]:
    """`summary.json` of a run that kept a fifth of 12,000 rows."""
    classes = task == "classification"
    errors = OF_CLASSES if classes else OF_VALUES
    return {
        "name": "wine",
        "table": {
            "task": task,
            "targets": ["cultivar"] if classes else ["alcohol", "acidity"],
            "features": 11,
            "classes": 3 if classes else 0,
            "scaling": "standard",
        },
        "method": "ccs",
        "prune": 0.8,
        "corpus": {
            "train": {"snapshots": 40, "groups": 30, "points": ROWS},
            "validation": {"snapshots": 10, "groups": 8, "points": 3_000},
            "test.held-out": {"snapshots": 6, "groups": 5, "points": 1_500},
            "test.harvest": {"snapshots": 1, "groups": 1, "points": 200},
        },
        "scores": {"rank_correlation": 0.77, "zero_everywhere": 3},
        "cutoff": {
            "value": 0.1,
            "curve": [{"cutoff": beta, "nrmse": 0.1 + beta, "low": 0.09, "high": 0.4} for beta in (0.0, 0.1, 0.3)],
        },
        "methods": {
            name: {"kept": [ROWS if name == "full" else KEPT] * 2, "rate": 0.0 if name == "full" else 0.8}
            for name in LEVELS
        },
        "coverage": {name: _coverage(level) for name, level in LEVELS.items() if name != "full"},
        "steps": 1500,
        "evaluation": {test: {name: _evaluated(errors, name) for name in LEVELS} for test in ("held-out", "harvest")},
        "rows": KEPT,
    }


def _evaluated(errors: dict[str, float], method: str) -> dict[str, Any]:
    level = LEVELS[method]
    figures = {
        name: {"value": level * each, "low": 0.8 * level * each, "high": 1.2 * level * each, "seeds": 2, "groups": 5}
        for name, each in errors.items()
    }
    found: dict[str, Any] = {"nrmse": figures["nrmse"]["value"], "low": None, "high": None, "figures": figures}
    found |= {side: figures["nrmse"][side] for side in ("low", "high")}
    if method != "ccs":
        apart = {name: (level - LEVELS["ccs"]) * each for name, each in errors.items()}
        differences = {name: _difference(each) for name, each in apart.items()}
        found |= {"differences": differences, "difference": {"nrmse": apart["nrmse"], **differences["nrmse"]}}
    return found


def _difference(value: float) -> dict[str, Any]:
    verdict = "lower" if value < 0 else "higher"
    return {"value": value, "low": value - 0.001, "high": value + 0.001, "verdict": verdict, "seeds": 2, "groups": 5}


def _coverage(level: float) -> dict[str, Any]:
    found = {"auc": level, "interval": [0.9 * level, 1.1 * level], "seeds": 1, "groups": 8}
    found |= {"p": [0.0, 0.5, 1.0], "r": [0.0, level, 2 * level]}
    return found | ({"difference": _difference(level - LEVELS["ccs"])} if level != LEVELS["ccs"] else {})
