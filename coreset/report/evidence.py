"""What a folder holds as evidence, looked up by method, rate, protocol and study."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from pydantic import BaseModel, ConfigDict

from coreset.atomic import parse_json
from coreset.errors import RequestError, brief
from coreset.report.figure import Choice, marks, percent
from coreset.report.single_run import as_sweep
from coreset.report.staleness import staleness
from coreset.report.wording import METHOD_NAMES, Wording, wording_of


def settled(difference: Mapping[str, Any]) -> bool:
    """Whether a paired difference has a verdict: one network, or one coreset, has none, whatever its interval says."""
    return difference.get("low") is not None and difference.get("seeds", 2) > 1


def uneven(kept: int, usual: int) -> bool:
    """Whether so many points are another budget than the usual one; whole snapshots come in lumps."""
    return abs(kept / usual - 1) > 0.05


class _Cell(BaseModel):
    model_config = ConfigDict(strict=True)

    id: str
    studies: list[str]
    protocol: str
    method: str
    rate: float
    tests: dict[str, dict[str, Any]]


class _Field(BaseModel):
    model_config = ConfigDict(strict=True)

    role: str
    file: str
    arrays: dict[str, str]


class _Figures(BaseModel):
    """What is looked up of every sweep; what else a figure needs, it says itself where it is missing."""

    model_config = ConfigDict(strict=True)

    name: str
    method: str
    test_order: list[str]
    protocol_order: list[str]
    cells: list[_Cell]
    fields: list[_Field] = []


class Evidence:
    """The figures of a sweep, or of a single run seen as a sweep of one rate.

    note: what is to be known before all else, such as that these figures are older than the folder's last command.
    """

    def __init__(self, folder: Path, sweep: dict[str, Any], swept: bool, note: str = "") -> None:
        self.folder = folder
        self.sweep = sweep
        self.swept = swept
        self.note = note
        self.name: str = sweep["name"]
        self.own: str = sweep["method"]
        self.tests: list[str] = sweep["test_order"]
        self.protocols: list[str] = sweep["protocol_order"]
        self.cells: list[dict[str, Any]] = sweep["cells"]
        self.words: Wording = wording_of(sweep)

    @cached_property
    def compared(self) -> dict[tuple[str, str, float], dict[str, Any]]:
        """The cells that compare methods, by protocol, method and rate."""
        chosen = (cell for cell in self.cells if "methods" in cell["studies"])
        return {(cell["protocol"], cell["method"], cell["rate"]): cell for cell in chosen}

    def cell(self, method: str, rate: float, protocol: str | None = None) -> dict[str, Any] | None:
        """A method's cell at a rate; the whole corpus's at any."""
        return self.compared.get((protocol or self.protocols[0], method, 0.0 if method == "full" else rate))

    def methods(self, protocol: str | None = None, whole: bool = True) -> list[str]:
        """The methods compared, in the order of the tables."""
        present = {method for at, method, _ in self.compared if protocol in (None, at)}
        order = [*METHOD_NAMES, *sorted(present - set(METHOD_NAMES))]
        return [method for method in order if method in present and (whole or method != "full")]

    def label(self, method: str) -> str:
        """What the page calls a method."""
        return self.words.method(method)

    def marks(self, method: str, **line: Any) -> dict[str, Any]:
        """Colour, marker, line and label of a method's curve."""
        return marks(method, self.label(method), **line)

    def rates(self, protocol: str | None = None) -> list[float]:
        """The pruning rates compared, ascending, without that of the whole corpus."""
        return sorted({rate for at, method, rate in self.compared if method != "full" and protocol in (None, at)})

    @cached_property
    def rate(self) -> float:
        """The job's own rate, or the nearest to it that was compared."""
        return min(self.rates(), key=lambda rate: abs(rate - self.sweep["prune"]))

    @cached_property
    def main_rates(self) -> list[float]:
        """The job's own rate and the highest."""
        return list(dict.fromkeys((self.rate, max(self.rates()))))

    def by_own_rate(self, rates: list[float]) -> list[float]:
        """The rates, the job's own first, so that it is what a figure shows."""
        return sorted(rates, key=lambda rate: (rate != self.rate, rate))

    def kept(self, rate: float) -> int | None:
        """How many points the job's own method, or else any, keeps at a rate."""
        if rate == 0.0:
            return int(self.sweep["corpus"]["train"]["points"])
        cells = [
            self.cell(method, rate, at) for at in self.protocols for method in (self.own, *self.methods(at, False))
        ]
        return next((cell["kept"][0] for cell in cells if cell is not None), None)

    def other_budget(self, cell: Mapping[str, Any]) -> str:
        """`on 46,656 points` of a cell that keeps another number than the job's own method does; nothing of others."""
        kept, usual = max(cell["kept"]), self.kept(cell["rate"])
        return f"on {kept:,} {self.words.points}" if usual and uneven(kept, usual) else ""

    def rate_label(self, rate: float) -> str:
        """`99% (14,930 points)`: what is left of the rate's points says more than the rate."""
        kept = self.kept(rate)
        return percent(rate) + (f" ({kept:,} {self.words.points})" if kept else "")

    def column(self, rate: float) -> str:
        """The head of a rate's column: `99% pruned (14,930 points)`."""
        return self.rate_label(rate).replace("%", "% pruned", 1)

    def choice_of_rates(self, rates: list[float]) -> Choice:
        """Rates to choose from, each with the points that it leaves."""
        return Choice.of("pruned", [percent(rate) for rate in rates], {percent(r): self.rate_label(r) for r in rates})

    def figure(self, cell: Mapping[str, Any] | None, test: str, key: str) -> dict[str, Any] | None:
        """The estimate of a figure, where the cell has it."""
        return None if cell is None else cell["tests"].get(test, {}).get("figures", {}).get(key)

    def spent(self, cell: Mapping[str, Any] | None, key: str) -> list[float]:
        """What each training of a cell took, by seed; nothing where it is not known of all."""
        values: list[float] = (cell or {}).get("training", {}).get(key, [])
        return [] if None in values else values

    def has(self, key: str) -> bool:
        """Whether any cell has this figure."""
        return any(key in test.get("figures", {}) for cell in self.cells for test in cell["tests"].values())

    def study(self, name: str) -> dict[float, list[dict[str, Any]]]:
        """The cells of a study by rate, in order of the setting; rates with one value alone are left out."""
        found: dict[float, list[dict[str, Any]]] = {}
        for cell in self.cells:
            if name in cell["studies"] and cell[name] is not None:
                found.setdefault(cell["rate"], []).append(cell)
        return {
            rate: sorted(cells, key=lambda cell: cell[name])
            for rate, cells in sorted(found.items())
            if len({cell[name] for cell in cells}) > 1
        }

    def protocol_label(self, protocol: str) -> str:
        """`equal steps (3,000)`."""
        setting = self.sweep.get("protocols", {}).get(protocol, {}).get(protocol)
        return f"equal {protocol}" + (f" ({setting:,})" if setting else "")

    def test_label(self, test: str) -> str:
        """The name of a test set with its size."""
        size = self.sweep["corpus"].get(f"test.{test}")
        if not size:
            return test
        return f"{test} ({', '.join(noun.count(size) for noun in self.words.sized)})"

    def alone(self, test: str) -> str:
        """What is to be said of a test set of one group; nothing of another."""
        size = self.sweep["corpus"].get(f"test.{test}")
        if not size or size["groups"] > 1:
            return ""
        return f"one {self.words.group.one}: the intervals tell of seeds alone"

    @property
    def redrawn(self) -> str:
        """What one seed has of its own, as a sentence without its full stop."""
        if self.sweep.get("job", {}).get("sweep", {}).get("redraw_scores"):
            return "each seed redraws the selection, the scores behind it, and the initial weights"
        text = "each seed redraws the initial weights and the draw; all seeds share one set of scores"
        fixed = [self.label(method) for method in self.methods() if method in ("grand", "loss")]
        keep = f"{' and '.join(fixed)} keep{'s' if len(fixed) == 1 else ''}"
        same = f", so {keep} the same {self.words.points} at every seed"
        return text + (same if fixed else "")

    @property
    def how(self) -> str:
        """The command and the seeds behind the figures that compare methods."""
        return self.made_by(max((cell["seeds"] for cell in self.compared.values()), default=self.cells[0]["seeds"]))

    def behind(self, key: str) -> str:
        """The command and the seeds behind one figure of the error: energies are of fewer networks than the rest."""
        return self.made_by(self.most_seeds(key))

    def most_seeds(self, key: str) -> int:
        """How many seeds one figure of the error is over, where it is over the most."""
        found = (
            self.seeds(cell, test["figures"][key])
            for cell in self.compared.values()
            for test in cell["tests"].values()
            if key in test.get("figures", {})
        )
        return max(found, default=self.cells[0]["seeds"])

    def seeds(self, cell: Mapping[str, Any], estimate: Mapping[str, Any]) -> int:
        """How many seeds an estimate is over: the cell's, unless it says so itself."""
        return int(estimate.get("seeds", cell["seeds"]))

    def made_by(self, seeds: int) -> str:
        """The command, and the first so many seeds."""
        names = self.sweep.get("seed_names", [])
        listed = f": {', '.join(names[:seeds])}" if 0 < seeds <= len(names) else ""
        return f"{self.sweep['command']} · {seeds} seed{'' if seeds == 1 else 's'}{listed}"

    def cell_label(self, identity: str) -> str:
        """What the network of a cell was trained on: `CCS, 90% pruned`."""
        cell = next((cell for cell in self.cells if cell["id"] == identity), None)
        if cell is None:
            return identity
        name = self.label(cell["method"])
        return name if cell["method"] == "full" else f"{name}, {percent(cell['rate'])} pruned"

    def _rank(self, label: str) -> tuple[int, float, str]:
        """DFT, then the whole corpus, the job's own method, and the others, each by its rate."""
        cell = next((cell for cell in self.cells if cell["id"] == label), None)
        if cell is None:
            return -1, 0.0, label
        order = {"full": 0, self.own: 1}
        return order.get(cell["method"], 2), cell["rate"], label

    def fields(self, role: str) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """The snapshots to look at, each with its arrays by label."""
        found = []
        for entry in self.sweep.get("fields", []):
            if entry["role"] != role:
                continue
            path = self._inside(entry["file"])
            if path.is_file():
                labels = sorted(entry["arrays"], key=self._rank)
                found.append((entry, _read_arrays(path, {label: entry["arrays"][label] for label in labels})))
        return found

    def _inside(self, name: str) -> Path:
        path = self.folder / name
        try:
            within = path.resolve().is_relative_to(self.folder.resolve()) and max(map(len, path.parts)) < 256
        except (OSError, RuntimeError, ValueError):  # links in a circle, a zero byte
            within = False
        if not within:
            raise RequestError(
                f"{self.folder / 'sweep.json'}: expected fields within that folder, found {name[:80]!r}; "
                "run coreset sweep again."
            )
        return path


def _read_arrays(path: Path, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Arrays of a file by label, once the checksums of all that it holds are found right."""
    try:
        with ZipFile(path) as file:
            damaged = file.testzip()
        if damaged is not None:
            raise BadZipFile(f"{damaged} is not what its checksum says")
        with np.load(path, allow_pickle=False) as arrays:
            found = {label: arrays[name] for label, name in names.items()}
        if all(isinstance(array, np.ndarray) for array in found.values()):
            return found
        raise ValueError("a member that is no array")
    except (ArithmeticError, EOFError, LookupError, OSError, RuntimeError, ValueError) as error:
        reason: Exception = error
    except (BadZipFile, struct.error, zlib.error) as error:
        reason = error
    raise RequestError(
        f"{path}: expected the arrays that sweep.json names, found a damaged file ({brief(reason)}); "
        "run coreset sweep again."
    )


def read_evidence(folder: Path) -> Evidence:
    """The evidence of a sweep's or a run's folder, noting where its last command asked for something else.

    Raises RequestError where there is neither sweep.json nor summary.json, or where one is damaged.
    """
    for name, swept in (("sweep.json", True), ("summary.json", False)):
        path = folder / name
        if not path.is_file():
            continue
        try:
            found = parse_json(path.read_bytes())
            sweep = found if swept else as_sweep(found)
            _Figures.model_validate(sweep)
            return Evidence(folder, sweep, swept, staleness(folder, sweep))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            told = f"{type(error).__name__}: {brief(error)}"
            raise RequestError(
                f"{path}: expected the figures of a finished run, found a damaged file ({told}); run again."
            ) from None
    raise RequestError(
        f"{folder}: expected the folder of a finished run or sweep, found neither sweep.json nor summary.json in it; "
        "run `coreset sweep JOB.yaml` or `coreset run JOB.yaml` first."
    )
