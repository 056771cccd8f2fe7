"""The columns of a coreset: unit and meaning, told once for every card and description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from coreset.corpus.parquet import renamed
from coreset.corpus.table_corpus import Layout

Columns = Mapping[str, tuple[str, str]]
"""Unit and meaning of each column, by its name."""

_IMPORTANCE = {
    "score": ("", "importance score; null where the method ranks nothing"),
    "stratum": ("", "stratum of the score; null where the method has none"),
    "weight": ("", "inverse inclusion probability within the stratum; 1 where there is none"),
}

POINTS: Columns = {
    "snapshot": ("", "name of the snapshot"),
    "index": ("", "grid index in C order: (i·ny + j)·nz + k"),
    "x": ("Bohr", "Cartesian position"),
    "y": ("Bohr", "Cartesian position"),
    "z": ("Bohr", "Cartesian position"),
    "density": ("e/Bohr³", "valence electrons of the pseudopotential"),
    **_IMPORTANCE,
    "descriptor": ("Bohr", "neighbours x₁ y₁ z₁ … x_M y_M z_M, their atomic numbers, then distances if there are any"),
}

SNAPSHOTS: Columns = {
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


_ALIKE = 12
"""Columns of one meaning that a card lists one by one, at most."""


def row_columns(layout: Layout) -> Columns:
    """The columns of a table's rows."""
    target = f"target: one of {len(layout.classes):,} classes, by its name" if layout.classes else "target"
    return {
        "file": ("", "file of the table that the row stood in"),
        "row": ("", "number of the row in that file, from 0"),
        "group": ("", "rows of one group are not independent"),
        **dict.fromkeys(renamed(layout.features), ("", "feature")),
        **dict.fromkeys(renamed(layout.targets), ("", target)),
        **_IMPORTANCE,
    }


def describe_column(name: str, known: Columns) -> str:
    """Meaning and unit of a column, as one phrase."""
    unit, meaning = known[name]
    return f"{meaning}, {unit}" if unit else meaning


def markdown_table(names: Sequence[str], known: Columns) -> str:
    """Columns, units and meanings as Markdown; of many columns in a row that mean the same, the first and the last."""
    rows, first = [], 0
    while first < len(names):
        stop = first + 1
        while stop < len(names) and known[names[stop]] == known[names[first]]:
            stop += 1
        listed = [f"`{_cell(name)}`" for name in names[first:stop]]
        if len(listed) > _ALIKE:
            listed = [f"{listed[0]} … {listed[-1]} ({len(listed):,} columns)"]
        unit, meaning = known[names[first]]
        rows += [f"| {each} | {unit or '–'} | {meaning} |" for each in listed]
        first = stop
    return "\n".join(["| column | unit | meaning |", "|---|---|---|", *rows])


def _cell(name: str) -> str:
    """A name that neither ends the cell of a table nor its code."""
    return " ".join(name.replace("|", "\\|").replace("`", "'").split())


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
    if pa.types.is_dictionary(kind):
        return _hub_type(kind.value_type)
    return {"dtype": {"float": "float32", "double": "float64"}.get(str(kind), str(kind))}


def _hub_item(kind: pa.DataType) -> object:
    item = _hub_type(kind)
    if set(item) == {"dtype"}:
        return item["dtype"]
    return item["struct"] if set(item) == {"struct"} else item
