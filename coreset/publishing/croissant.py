"""Croissant 1.0 (MLCommons): what is in a published folder, for programs. `mlcroissant` reads the rows by it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from coreset.publishing.columns import describe_column
from coreset.publishing.metadata import Metadata
from coreset.publishing.subject import Listing

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification prescribes."""
PARQUET = "application/x-parquet"


def croissant(
    metadata: Metadata,
    told: Mapping[str, str],
    files: Mapping[str, Mapping[str, Any]],
    listings: Mapping[str, Listing],
    schemas: Mapping[str, pa.Schema],
) -> dict[str, Any]:
    """The JSON-LD.

    told: `name`, `title`, `description`, `date` and `citation`. files: size and SHA-256 of the Parquet files by name.
    schemas: of the listings. Columns of nested lists are left out: no reader of Croissant 1.0 has them.
    """
    described: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": told["name"],
        "alternateName": told["title"],
        "description": told["description"],
        "datePublished": told["date"],
        "version": "1.0.0",
        "citeAs": told["citation"],
        "creator": [_creator(author) for author in metadata.authors] or None,
        "license": metadata.licence_url,
        "url": metadata.url,
        "keywords": list(metadata.keywords) or None,
        "distribution": [
            *(_file(name, stated) for name, stated in files.items()),
            *map(_file_set, listings.values()),
        ],
        "recordSet": [_records(name, listing, schemas[name]) for name, listing in listings.items()],
    }
    return {key: value for key, value in described.items() if value is not None}


def _file_set(listing: Listing) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": listing.file_set,
        "name": listing.file_set,
        "description": f"{listing.title}, {listing.lead}",
        "encodingFormat": PARQUET,
        "includes": listing.pattern,
    }


def _creator(author: Any) -> dict[str, Any]:
    made = {"@type": "sc:Organization" if author.name else "sc:Person", "name": author.full}
    return made | ({"url": f"https://orcid.org/{author.orcid}"} if author.orcid else {})


def _file(name: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{stated['bytes']} B",
        "encodingFormat": PARQUET,
        "sha256": stated["sha256"],
    }


def _records(name: str, listing: Listing, schema: pa.Schema) -> dict[str, Any]:
    ids = _ids(name, schema.names)
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "key": [{"@id": ids[column]} for column in listing.key],
        "field": [_field(ids[each.name], listing, each) for each in schema if _type_of(each.type)],
    }


def _ids(record_set: str, columns: Sequence[str]) -> dict[str, str]:
    """The identifier of each column, which may not have a space, or anything else that a URI has not."""
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for column in columns:
        plain = record_set + "/" + re.sub(r"[^\w.-]", "_", column)
        while plain in taken:
            plain += "_"
        ids[column] = plain
        taken.add(plain)
    return ids


def _field(identifier: str, listing: Listing, column: pa.Field) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": identifier,
        "name": identifier,
        "description": describe_column(column.name, listing.columns),
        "dataType": _type_of(column.type),
        **({"repeated": True} if _is_list(column.type) else {}),
        "source": {"fileSet": {"@id": listing.file_set}, "extract": {"column": column.name}},
    }


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def _type_of(kind: pa.DataType) -> str:
    """The type of a number, a text, or a list of these; empty for anything else."""
    item = kind.value_type if _is_list(kind) or pa.types.is_dictionary(kind) else kind
    if pa.types.is_integer(item):
        return "sc:Integer"
    if pa.types.is_floating(item):
        return "sc:Float"
    if pa.types.is_boolean(item):
        return "sc:Boolean"
    return "sc:Text" if pa.types.is_string(item) or pa.types.is_large_string(item) else ""
