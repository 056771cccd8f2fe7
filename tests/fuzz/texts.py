"""Cube files, SPARC's output and job files, and what their text says when somebody else reads it."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import samples
import yaml
from campaign import EXPLAINED, Target
from mutations import TEXT, YAML

from coreset.config import Job
from coreset.corpus.cube import read_cube, read_header, write_cube
from coreset.corpus.sparc import check_headers, list_snapshots, read_snapshot
from coreset.corpus.sparc_input import parse_cell, parse_grid, parse_positions
from coreset.job_file import load_job

NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def numbers(words: list[str]) -> np.ndarray:
    """Decimal numbers, as every language writes them. Raises ValueError for other words."""
    if not all(NUMBER.fullmatch(word) for word in words):
        raise ValueError(words)
    return np.array([float(word) for word in words])


def cube_says(path: Path, with_values: bool) -> dict[str, Any]:
    lines = path.read_bytes().decode(errors="replace").split("\n")
    atoms = int(numbers(lines[2].split())[0])
    steps = np.array([numbers(line.split()) for line in lines[3:6]])
    rows = np.array([numbers(line.split()) for line in lines[6 : 6 + atoms]])
    said: dict[str, Any] = {
        "comments": (lines[0].strip(), lines[1].strip()),
        "grid": tuple(int(n) for n in steps[:, 0]),
        "steps": steps[:, 1:],
        "numbers": rows[:, 0].astype(np.int64),
        "charges": rows[:, 1],
        "positions": rows[:, 2:],
    }
    if with_values:
        said["values"] = numbers(" ".join(lines[6 + atoms :]).split()).reshape(said["grid"])
    return said


def equal(data: dict[str, Any], said: dict[str, Any]) -> bool:
    return data.keys() == said.keys() and all(
        np.array_equal(data[key], said[key]) if isinstance(data[key], np.ndarray) else data[key] == said[key]
        for key in data
    )


def _header(header: Any) -> dict[str, Any]:
    return {key: getattr(header, key) for key in ("comments", "grid", "steps", "numbers", "charges", "positions")}


def _write_cube(folder: Path) -> None:
    values = np.random.default_rng(0).normal(size=samples.GRID)
    write_cube(folder / "x.cube", samples.CELL, np.array([8, 8, 1]), samples.RELATIVE @ samples.CELL, values, "a\nb")


def _read_cube(folder: Path) -> dict[str, Any]:
    header, values = read_cube(folder / "x.cube")
    return {**_header(header), "values": values}


def _judge_cube(folder: Path, data: dict[str, Any], right: Any) -> str:
    said = cube_says(folder / "x.cube", "values" in data)
    return EXPLAINED if equal(data, said) else f"the text says {said}, the reader {data}"


DENS = "box_T0300_0.dens"


def _read_sparc(folder: Path) -> dict[str, Any]:
    (files,) = list_snapshots(folder)
    check_headers([files])
    snapshot, density = read_snapshot(files)
    fields = snapshot.to_json()
    del fields["source"], fields["digest"]  # of the bytes, which are others
    return {**fields, "density": density}


def _judge_sparc(folder: Path, data: dict[str, Any], right: dict[str, Any]) -> str:
    """What the cube file says, within the tolerances that are declared; the energy as `.out` or `.static` states it."""
    said = cube_says(folder / DENS, True)
    cell, grid = np.array(data["cell"]), np.array(said["grid"])
    shifts = (np.array(data["positions"]) - said["positions"]) @ np.linalg.inv(cell)
    fractions = np.array(data["positions"]) @ np.linalg.inv(cell)
    away = np.abs((shifts - np.round(shifts)) @ cell).max()
    electrons = float(said["charges"].sum())
    integral = said["values"].mean() * abs(np.linalg.det(cell))
    checks = {
        "grid": tuple(data["grid"]) == said["grid"],
        "numbers": data["numbers"] == said["numbers"].tolist(),
        "density": np.array_equal(data["density"], said["values"].astype(np.float32)),
        "cell": np.abs(cell / grid[:, None] - said["steps"]).max() <= 1.001e-6,
        "positions": away <= 1.001e-5 and (fractions > -1e-9).all() and (fractions < 1).all(),
        "electrons": data["electrons"] == electrons and abs(integral - electrons) <= 1.001e-3 * electrons,
        "energy": data["energy"] in _energies(folder),
        "names": all(data[key] == right[key] for key in ("group", "temperature", "wrapped")),
    }
    wrong = [key for key, right in checks.items() if not right]
    return EXPLAINED if not wrong else f"{wrong} of {data}"


def _energies(folder: Path) -> list[float | None]:
    for suffix in (".out", ".static"):
        path = folder / DENS.replace(".dens", suffix)
        lines = path.read_text(errors="replace").split("\n") if path.is_file() else []
        stated = [line.partition(":")[2].split()[0] for line in lines if line.startswith("Total free energy")]
        if stated:
            return [float(numbers(stated[-1:])[0])]
    return [None]


def _read_input(folder: Path) -> dict[str, Any]:
    inpt, ion = folder / "box_T0300_0.inpt", folder / "box_T0300_0.ion"
    text = inpt.read_text(errors="replace")
    atoms = parse_positions(ion.read_text(errors="replace"), samples.CELL, ion)
    return {
        "cell": parse_cell(text, inpt),
        "grid": parse_grid(text, inpt),
        "numbers": np.array([atom.number for atom in atoms]),
        "positions": np.array([atom.position for atom in atoms]),
    }


def _judge_input(folder: Path, data: dict[str, Any], right: Any) -> str:
    """The values behind each keyword, collected word by word."""
    stated = dict(_keywords(folder / "box_T0300_0.inpt"))
    keys = {key: numbers(stated[key]) for key in ("LATVEC", "LATVEC_SCALE", "CELL", "FD_GRID") if key in stated}
    vectors = keys["LATVEC"].reshape(3, 3) if "LATVEC" in keys else np.eye(3)
    lengths = keys.get("LATVEC_SCALE", keys.get("CELL"))
    if "LATVEC_SCALE" not in keys and "CELL" in keys:
        vectors = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    cell = None if lengths is None else lengths[:, None] * vectors
    grid = tuple(keys["FD_GRID"].tolist()) if "FD_GRID" in keys else None
    atoms: list[np.ndarray] = []
    kinds, kind = [], 0
    for key, words in _keywords(folder / "box_T0300_0.ion"):
        if key == "ATOM_TYPE":
            kind = {"O": 8, "H": 1}.get(words[0], 0)
        if key in ("COORD", "COORD_FRAC"):
            rows = numbers(words).reshape(-1, 3)
            atoms += list(rows @ samples.CELL if key == "COORD_FRAC" else rows)
            kinds += [kind] * len(rows)
    same = (cell is None) == (data["cell"] is None) and (cell is None or np.allclose(cell, data["cell"], rtol=1e-12))
    same = same and grid == data["grid"] and np.allclose(np.array(atoms), data["positions"], rtol=1e-12, atol=1e-12)
    same = same and all(kind in (0, number) for kind, number in zip(kinds, data["numbers"].tolist(), strict=True))
    return EXPLAINED if same else f"{data}"


def _keywords(path: Path) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for line in path.read_text(errors="replace").split("\n"):
        for place, word in enumerate(line.split("#")[0].split()):
            if place == 0 and word.endswith(":"):
                found.append((word[:-1], []))
            elif found:
                found[-1][1].append(word)
    return found


JOB = """name: small
corpus: {source: "data/al.zarr", train: "train/*", test: {bulk: "test/*", defects: "defects/al3*"}, validation: 0.2}
descriptor: {neighbours: 20, distances: true, handedness: free, tie_tolerance: 1e-5}
network:
  hidden: [96, 48]
  activation: gelu
training: {learning_rate: 2.0e-3, schedule: cosine, batch: 1024, epochs: 2, window: 262144}
score: {epoch: 2, seeds: 4}
select:
  method: ccs
  prune: 0.9
  cutoff: 0.3
  strata: 100
  seed: 17
evaluation:
  methods: [full, random, ccs]
  seeds: 3
energy: {kpoints: [1, 2, 3], snapshots: 5}
output: {descriptor: true}
"""


def _judge_job(folder: Path, data: dict[str, Any], right: Any) -> str:
    """The values that libyaml finds, and the defaults of what it does not."""
    tree = yaml.load((folder / "job.yaml").read_text(), Loader=yaml.CSafeLoader)
    minimal = {"name": "x", "corpus": {"source": "x", "test": {"x": "x"}}}
    expected = Job.model_validate(minimal).model_dump(mode="json")
    expected["corpus"]["test"] = {}
    _merge(expected, tree)
    return EXPLAINED if expected == data else f"libyaml says {tree}, the reader {data}"


def _merge(into: dict[str, Any], tree: dict[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif (
            isinstance(value, str)
            and NUMBER.fullmatch(value)
            and (key == "cutoff" or not isinstance(into.get(key), str))
        ):
            into[key] = float(value)  # YAML 1.1 takes 1e-5 for text
        else:
            into[key] = value


TARGETS = [
    Target("cube", _write_cube, {"x.cube": TEXT}, _read_cube, _judge_cube),
    Target(
        "cube-header",
        _write_cube,
        {"x.cube": TEXT},
        lambda folder: _header(read_header(folder / "x.cube")),
        _judge_cube,
    ),
    Target(
        "sparc",
        samples.write_sparc,
        {f"box_T0300_0{suffix}": TEXT for suffix in (".dens", ".inpt", ".ion", ".out", ".static")},
        _read_sparc,
        _judge_sparc,
        places=True,
    ),
    Target(
        "sparc-input",
        samples.write_sparc,
        {"box_T0300_0.inpt": TEXT, "box_T0300_0.ion": TEXT},
        _read_input,
        _judge_input,
    ),
    Target(
        "job",
        lambda folder: (folder / "job.yaml").write_text(JOB),
        {"job.yaml": YAML},
        lambda folder: load_job(folder / "job.yaml").model_dump(mode="json"),
        _judge_job,
    ),
]
