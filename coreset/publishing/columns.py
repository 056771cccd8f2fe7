"""The columns of a coreset: unit and meaning, told once for every card and description."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

POINTS: dict[str, tuple[str, str]] = {
    "snapshot": ("", "name of the snapshot"),
    "index": ("", "grid index in C order: (i·ny + j)·nz + k"),
    "x": ("Bohr", "Cartesian position"),
    "y": ("Bohr", "Cartesian position"),
    "z": ("Bohr", "Cartesian position"),
    "density": ("e/Bohr³", "valence electrons of the pseudopotential"),
    "score": ("", "importance score; null where the method ranks nothing"),
    "stratum": ("", "stratum of the score; null where the method has none"),
    "weight": ("", "inverse inclusion probability within the stratum; 1 where there is none"),
    "descriptor": ("Bohr", "neighbours x₁ y₁ z₁ … x_M y_M z_M, their atomic numbers, then distances if there are any"),
}

SNAPSHOTS: dict[str, tuple[str, str]] = {
    "name": ("", "name of the snapshot"),
    "digest": ("", "SHA-256 of atoms, cell and density"),
    "group": ("", "trajectory; snapshots of one group are not independent"),
    "species": ("", "atomic numbers"),
    "positions": ("Bohr", "Cartesian, one per atom"),
    "cell": ("Bohr", "lattice vectors as rows"),
    "grid": ("", "points along each lattice vector"),
    "electrons": ("", "valence electrons of the cell"),
    "energy": ("Ha", "total free energy of the cell, or null"),
    "temperature": ("K", "or null"),
    "composition": ("", "formula"),
    "source": ("", "SHA-256 of each file that was read, by its name"),
}


def describe_column(name: str, known: dict[str, tuple[str, str]]) -> str:
    """Meaning and unit of a column, as one phrase; its name, where it is one of the user's own."""
    unit, meaning = known.get(name, ("", f"column {name!r} of the original table"))
    return f"{meaning}, {unit}" if unit else meaning


def markdown_table(names: Iterable[str], known: dict[str, tuple[str, str]]) -> str:
    """Columns, units and meanings as Markdown."""
    rows = [f"| `{name}` | {known.get(name, ('', ''))[0] or '–'} | {_meaning(name, known)} |" for name in names]
    return "\n".join(["| column | unit | meaning |", "|---|---|---|", *rows])


def _meaning(name: str, known: dict[str, tuple[str, str]]) -> str:
    return known[name][1] if name in known else "of the original table"


def hub_features(schema: pa.Schema) -> list[dict[str, object]]:
    """The columns as `datasets` states them in the front matter of a card."""
    return [{"name": field.name, **_hub_type(field.type)} for field in schema]


def _hub_type(kind: pa.DataType) -> dict[str, object]:
    if pa.types.is_struct(kind):
        return {"struct": [{"name": field.name, **_hub_type(field.type)} for field in kind]}
    if pa.types.is_fixed_size_list(kind):
        return {"list": _hub_item(kind.value_type), "length": kind.list_size}
    if pa.types.is_list(kind):
        return {"list": _hub_item(kind.value_type)}
    return {"dtype": {"float": "float32", "double": "float64"}.get(str(kind), str(kind))}


def _hub_item(kind: pa.DataType) -> object:
    item = _hub_type(kind)
    if set(item) == {"dtype"}:
        return item["dtype"]
    return item["struct"] if set(item) == {"struct"} else item
