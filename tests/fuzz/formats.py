"""Files of other programs than SPARC, and what their bytes say when somebody else reads them."""

import json
import re
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import samples
from campaign import EXPLAINED, Target
from mutations import BYTES, JSON, TEXT

from coreset.corpus.checks import Checks
from coreset.corpus.formats.source import check, find, read
from coreset.corpus.naming import Naming

BOHR = 0.529177210544
NUMBERS = np.array([8, 8, 1])
VALUES = np.random.default_rng(0).uniform(0.5, 1.5, samples.GRID)
VALUES *= 13.0 / (VALUES.mean() * abs(np.linalg.det(samples.CELL)))
VOLUME = abs(np.linalg.det(samples.CELL))


def _read(folder: Path) -> dict[str, Any]:
    (each,) = find(folder)
    check(each)
    snapshot, density = read(Checks(), Naming(), each)
    fields = snapshot.to_json()
    return {**{key: fields[key] for key in ("cell", "numbers", "positions", "grid", "electrons")}, "density": density}


Says = Callable[[Path], tuple[Any, Any, Any, Any]]
"""Cell and positions in Bohr, atomic numbers, and density, e/Bohr³."""


def _judge(says: Says) -> Callable[[Path, Any, Any], str]:
    def judge(folder: Path, data: dict[str, Any], right: Any) -> str:
        cell, numbers, positions, density = says(folder)
        shift = (np.array(data["positions"]) - positions) @ np.linalg.inv(cell)
        inside = np.array(data["positions"]) @ np.linalg.inv(cell)
        integral = density.mean() * abs(np.linalg.det(cell))
        wrong = [
            key
            for key, good in {
                "cell": np.allclose(data["cell"], cell, rtol=1e-9, atol=1e-9),
                "numbers": data["numbers"] == np.asarray(numbers).tolist(),
                "positions": np.abs(shift - np.round(shift)).max() < 1e-6 and (np.abs(inside - 0.5) < 0.5 + 1e-6).all(),
                "grid": tuple(data["grid"]) == density.shape,
                "density": np.allclose(data["density"], density, rtol=1e-6, atol=1e-9 * np.abs(density).max()),
                "electrons": abs(integral - data["electrons"]) <= 1.01e-3 * data["electrons"],
            }.items()
            if not good
        ]
        return EXPLAINED if not wrong else f"{wrong} of {data}, and the file says {cell}, {numbers}, {positions}"

    return judge


def _write_chgcar(folder: Path, name: str = "CHGCAR") -> None:
    rows = ["box", "1.0", *(" ".join(map(repr, vector)) for vector in (samples.CELL * BOHR).tolist()), "O H", "2 1"]
    rows += ["Direct", *(" ".join(map(str, fraction)) for fraction in samples.RELATIVE.tolist()), ""]
    rows += [" ".join(map(str, samples.GRID))]
    words = [f"{value * VOLUME:.11E}" for value in VALUES.ravel(order="F")]
    rows += [" ".join(words[at : at + 5]) for at in range(0, len(words), 5)]
    (folder / name).write_text("\n".join([*rows, "augmentation occupancies 1 2", "0.1 0.2", ""]))


def _chgcar_says(folder: Path) -> tuple[Any, Any, Any, Any]:
    """Word by word; three equal scales, and Cartesian positions, may be what a mutation makes of it."""
    lines = folder.joinpath("CHGCAR").read_bytes().decode(errors="replace").split("\n")
    cell = np.array([[float(word) for word in line.split()] for line in lines[2:5]])
    scale = np.array([float(word) for word in lines[1].split()])
    scale = np.cbrt(-scale / abs(np.linalg.det(cell))) if len(scale) == 1 and scale[0] < 0 else scale
    words = [re.split(r"[_/.]", word)[0] for word in lines[5].split()]
    counts = [int(word) for word in lines[6].split()]
    kinds = [_number(word) for word in words]
    at = 8 if lines[7].strip()[0] in "DdCcKk" else 9
    atoms = np.array([[float(word) for word in line.split()[:3]] for line in lines[at : at + sum(counts)]])
    positions = atoms @ (cell * scale) if lines[at - 1].strip()[0] in "Dd" else atoms * scale
    at += sum(counts)
    at += not lines[at].strip()
    grid = tuple(int(word) for word in lines[at].split())
    text = "\n".join(lines[at + 1 :])
    values = np.array([float(word) for word in text.split()[: int(np.prod(grid))]]).reshape(grid, order="F")
    cell = cell * scale / BOHR
    return cell, np.repeat(kinds, counts), positions / BOHR, values / abs(np.linalg.det(cell))


def _number(label: str) -> int:
    from ase.data import atomic_numbers

    symbol = re.match(r"[A-Z][a-z]?(?![a-z])", label)
    return atomic_numbers[symbol[0]] if symbol else 0


def _write_tar(folder: Path) -> None:
    _write_chgcar(folder)
    with tarfile.open(folder / "runs.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(folder / "CHGCAR", "a/CHGCAR")
    (folder / "CHGCAR").unlink()


def _tar_says(folder: Path) -> tuple[Any, Any, Any, Any]:
    content = (folder / "runs.tar").read_bytes()
    begin = max(content.find(b"\0ustar"), 0)
    begin = 512 * (begin // 512 + 1)
    (folder / "CHGCAR").write_bytes(content[begin:].rstrip(b"\0"))
    said = _chgcar_says(folder)
    (folder / "CHGCAR").unlink()
    return said


def _write_cube(folder: Path) -> None:
    rows = ["box", "of atoms", "3 0.5 -1.0 2.0"]
    rows += [
        f"{n} " + " ".join(map(repr, (row / n).tolist())) for n, row in zip(samples.GRID, samples.CELL, strict=True)
    ]
    origin = np.array([0.5, -1.0, 2.0])
    rows += [
        f"{number} {number}.0 " + " ".join(map(repr, row))
        for number, row in zip(NUMBERS, (samples.RELATIVE @ samples.CELL + origin).tolist(), strict=True)
    ]
    rows += [" ".join(f"{value:.9E}" for value in row) for plane in VALUES for row in plane]
    (folder / "x.cube").write_text("\n".join([*rows, ""]))


def _cube_says(folder: Path) -> tuple[Any, Any, Any, Any]:
    lines = folder.joinpath("x.cube").read_bytes().decode(errors="replace").split("\n")
    atoms, *origin = [float(word) for word in lines[2].split()[:4]]
    axes = np.array([[float(word) for word in line.split()] for line in lines[3:6]])
    rows = np.array([[float(word) for word in line.split()] for line in lines[6 : 6 + int(atoms)]])
    unit = 1 / BOHR if (axes[:, 0] < 0).all() else 1.0
    grid = tuple(int(abs(n)) for n in axes[:, 0])
    values = np.array([float(word) for word in " ".join(lines[6 + int(atoms) :]).split()]).reshape(grid)
    cell = np.abs(axes[:, :1]) * axes[:, 1:] * unit
    return cell, rows[:, 0].astype(int), (rows[:, 2:] - np.array(origin)) * unit, values


def _write_abinit(folder: Path) -> None:
    import netCDF4

    sizes = {f"number_of_grid_points_vector{axis}": n for axis, n in zip("123", samples.GRID, strict=True)}
    sizes |= {"number_of_components": 1, "real_or_complex_density": 1, "three": 3, "number_of_atoms": 3, "species": 2}
    with netCDF4.Dataset(folder / "x_DEN.nc", "w") as file:
        for name, size in sizes.items():
            file.createDimension(name, size)
        axes = [f"number_of_grid_points_vector{axis}" for axis in "321"]
        for name, kind, dimensions, values in (
            ("density", "f8", ("number_of_components", *axes, "real_or_complex_density"), VALUES.T[None, ..., None]),
            ("primitive_vectors", "f8", ("three", "three"), samples.CELL),
            ("reduced_atom_positions", "f8", ("number_of_atoms", "three"), samples.RELATIVE),
            ("atom_species", "i4", ("number_of_atoms",), [1, 1, 2]),
            ("atomic_numbers", "f8", ("species",), [8.0, 1.0]),
            ("nelect", "f8", (), 13.0),
        ):
            file.createVariable(name, kind, dimensions, fletcher32=bool(dimensions))[...] = values


def _write_espresso(folder: Path) -> None:
    grid, cell = samples.GRID, samples.CELL
    spectrum = np.fft.fftn(VALUES) / VALUES.size
    index = np.stack(np.meshgrid(*[np.fft.fftfreq(n, 1 / n) for n in grid], indexing="ij"), -1).reshape(-1, 3)
    values = spectrum.ravel()
    keep = (2 * np.abs(index) < np.array(grid)).all(1)
    index, values = index[keep].astype("<i4"), values[keep].astype("<c16")
    pieces = [struct.pack("<3i", 0, len(index), 1), (2 * np.pi * np.linalg.inv(cell).T).tobytes()]
    pieces += [index.tobytes(), values.tobytes()]
    content = b"".join(struct.pack("<i", len(piece)) + piece + struct.pack("<i", len(piece)) for piece in pieces)
    (folder / "charge-density.dat").write_bytes(content)
    atoms = "\n".join(
        f'<atom name="{label}" index="1">{" ".join(map(repr, row))}</atom>'
        for label, row in zip(("O", "O1", "H"), (samples.RELATIVE @ cell).tolist(), strict=True)
    )
    vectors = "\n".join(f"<a{n}>{' '.join(map(repr, row))}</a{n}>" for n, row in enumerate(cell.tolist(), start=1))
    (folder / "data-file-schema.xml").write_text(
        f'<?xml version="1.0"?>\n<espresso>\n<output>\n<atomic_structure nat="3">\n<atomic_positions>\n{atoms}\n'
        f"</atomic_positions>\n<cell>\n{vectors}\n</cell>\n</atomic_structure>\n<basis_set>\n"
        f'<fft_grid nr1="{grid[0]}" nr2="{grid[1]}" nr3="{grid[2]}"/>\n</basis_set>\n'
        "<total_energy>\n<etot>-15.0</etot>\n</total_energy>\n<band_structure>\n<nelec>13.0</nelec>\n</band_structure>\n"
        "</output>\n</espresso>\n"
    )


def _espresso_says(folder: Path) -> tuple[Any, Any, Any, Any]:
    """The sum over G, point by point; the XML by its tags."""
    text = (folder / "data-file-schema.xml").read_bytes().decode()
    cell = np.array([[float(w) for w in re.search(rf"<a{n}>([^<]*)</a{n}>", text)[1].split()] for n in (1, 2, 3)])
    atoms = re.findall(r'name="([^"]*)"[^>]*>([^<]*)</atom>', text)
    positions = np.array([[float(word) for word in row.split()] for _, row in atoms])
    grid = tuple(int(re.search(rf'nr{n}="([^"]*)"', text)[1]) for n in (1, 2, 3))
    content = (folder / "charge-density.dat").read_bytes()
    gamma, count = struct.unpack("<2i", content[4:12])
    index = np.frombuffer(content, "<i4", 3 * count, 104).reshape(-1, 3)
    values = np.frombuffer(content, "<c16", count, 104 + 12 * count + 8)
    points = np.stack(np.meshgrid(*[np.arange(n) / n for n in grid], indexing="ij"), -1).reshape(-1, 3)
    if gamma:
        zero = (index == 0).all(1)
        density = (np.exp(2j * np.pi * points @ index.T) @ np.where(zero, values, 2 * values)).real
    else:
        last = {tuple(row): at for at, row in enumerate(index.tolist())}  # the same G twice: the last one counts
        chosen = sorted(last.values())
        density = (np.exp(2j * np.pi * points @ index[chosen].T) @ values[chosen]).real
    kinds = [_number(re.split(r"[_\-]", label.capitalize())[0]) for label, _ in atoms]
    return cell, kinds, positions, density.reshape(grid)


def _write_project(folder: Path) -> None:
    sites = [
        {"species": [{"element": element, "occu": 1}], "abc": row}
        for element, row in zip(("O", "O", "H"), samples.RELATIVE.tolist(), strict=True)
    ]
    structure = {"lattice": {"matrix": (samples.CELL * BOHR).tolist()}, "sites": sites}
    total = {"@module": "numpy", "@class": "array", "dtype": "float64", "data": (VALUES * VOLUME).tolist()}
    tree = {"@class": "Chgcar", "poscar": {"structure": structure}, "data": {"total": total}, "data_aug": {}}
    (folder / "mp-1.json").write_text(json.dumps(tree))


def _project_says(folder: Path) -> tuple[Any, Any, Any, Any]:
    text = re.sub(rb"\[{40,}\]{40,}", b"[]", (folder / "mp-1.json").read_bytes())  # too deep for any reader
    tree = json.loads(text)
    tree = tree if "poscar" in tree or "structure" in tree else tree["data"]
    structure = tree["poscar"]["structure"]
    cell = np.array(structure["lattice"]["matrix"], dtype=float) / BOHR
    fractions = np.array([site["abc"] for site in structure["sites"]], dtype=float)
    kinds = [_number(site["species"][0]["element"]) for site in structure["sites"]]
    total = tree["data"]["total"]
    values = np.array(total["data"] if isinstance(total, dict) else total, dtype=float)
    return cell, kinds, fractions @ cell, values / abs(np.linalg.det(cell))


def _write_mala(folder: Path) -> None:
    np.save(folder / "x.dens.npy", VALUES[..., None] / BOHR**3)
    atoms = {
        "numbers": NUMBERS.tolist(),
        "positions": (samples.RELATIVE @ samples.CELL * BOHR).tolist(),
        "cell": (samples.CELL * BOHR).tolist(),
    }
    (folder / "x.info.json").write_text(json.dumps({"number_of_electrons_exact": 13.0, "atoms": atoms}, indent=1))


def _mala_says(folder: Path) -> tuple[Any, Any, Any, Any]:
    atoms = json.loads((folder / "x.info.json").read_bytes())["atoms"]
    values = np.load(folder / "x.dens.npy", allow_pickle=False)
    cell, positions = np.array(atoms["cell"], dtype=float) / BOHR, np.array(atoms["positions"], dtype=float) / BOHR
    return cell, atoms["numbers"], positions, values.reshape(values.shape[:3]).astype(float) * BOHR**3


def _as_written(folder: Path) -> tuple[Any, Any, Any, Any]:
    """Every variable has a checksum but the number of electrons, which is compared with the density as declared."""
    return samples.CELL, NUMBERS, samples.RELATIVE @ samples.CELL, VALUES


TARGETS = [
    Target("chgcar", _write_chgcar, {"CHGCAR": TEXT}, _read, _judge(_chgcar_says), places=True),
    Target("tar", _write_tar, {"runs.tar": BYTES}, _read, _judge(_tar_says)),
    Target("plain-cube", _write_cube, {"x.cube": TEXT}, _read, _judge(_cube_says), places=True),
    Target("abinit", _write_abinit, {"x_DEN.nc": BYTES}, _read, _judge(_as_written), places=True),
    Target(
        "espresso",
        _write_espresso,
        {"charge-density.dat": BYTES, "data-file-schema.xml": TEXT},
        _read,
        _judge(_espresso_says),
        places=True,
    ),
    Target("materials-project", _write_project, {"mp-1.json": JSON}, _read, _judge(_project_says), places=True),
    Target("mala", _write_mala, {"x.dens.npy": BYTES, "x.info.json": JSON}, _read, _judge(_mala_says), places=True),
]
