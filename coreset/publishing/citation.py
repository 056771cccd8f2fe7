"""How to cite a published coreset: CITATION.cff, BibTeX for the card, and RO-Crate for archives such as Zenodo."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from coreset.publishing.metadata import Author, Metadata

NOT_STATED = "not stated"


def citation_cff(metadata: Metadata, told: Mapping[str, str]) -> str:
    """CITATION.cff 1.2.0; told: `title`, `description` and `date`."""
    content: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": "If you use this dataset, please cite it as below.",
        "type": "dataset",
        "title": told["title"],
        # The format wants at least one author.
        "authors": [_cff_author(author) for author in metadata.authors] or [{"name": f"Authors {NOT_STATED}"}],
        "abstract": told["description"],
        "date-released": told["date"],
        "keywords": list(dict.fromkeys((*metadata.keywords, "coreset"))),
    }
    if metadata.license:
        content["license"] = metadata.license
    if metadata.doi:
        content["doi"] = metadata.doi
    if metadata.homepage:
        content["url"] = metadata.homepage
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _cff_author(author: Author) -> dict[str, str]:
    if author.name:
        return {"name": author.name} | _orcid(author)
    named = {"family-names": author.family or ""}
    named |= {"given-names": author.given} if author.given else {}
    named |= {"affiliation": author.affiliation} if author.affiliation else {}
    return named | _orcid(author)


def _orcid(author: Author) -> dict[str, str]:
    return {"orcid": f"https://orcid.org/{author.orcid}"} if author.orcid else {}


def citation_text(metadata: Metadata, told: Mapping[str, str]) -> str:
    """What the author asks to be cited, else BibTeX of what is stated."""
    if metadata.citation:
        return metadata.citation.strip()
    authors = " and ".join(
        f"{{{author.name}}}" if author.name else f"{author.family}, {author.given or ''}".rstrip(", ")
        for author in metadata.authors
    )
    fields = {"title": told["title"], "author": authors, "year": told["date"][:4]}
    fields |= {"doi": metadata.doi or "", "url": metadata.homepage or ""}
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
    key = re.sub(r"[^A-Za-z0-9]+", "-", told["name"]).strip("-")
    return "@misc{" + key + ",\n" + ",\n".join(lines) + "\n}"


def ro_crate(
    metadata: Metadata,
    told: Mapping[str, str],
    noun: str,
    files: Mapping[str, Mapping[str, Any]],
    software: Mapping[str, str],
) -> dict[str, Any]:
    """RO-Crate 1.1: the folder, its files, the people, and the software that made it; noun: what was selected."""
    people = [_crate_author(number, author) for number, author in enumerate(metadata.authors)]
    programs = [
        {
            "@id": f"#{name}",
            "@type": "SoftwareApplication",
            "name": name,
            "version": version,
            "softwareVersion": version,
        }
        for name, version in software.items()
    ]
    parts = [_crate_file(name, stated) for name, stated in files.items() if not name.startswith(f"{noun}.zarr/")]
    if len(parts) < len(files):
        parts.append({"@id": f"{noun}.zarr/", "@type": "Dataset", "name": f"the {noun} as Zarr v3 arrays"})
    licence = [{"@id": metadata.licence_url, "@type": "CreativeWork", "name": metadata.license}]
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "name": told["title"],
        "description": told["description"],
        "datePublished": told["date"],
        "hasPart": [{"@id": each["@id"]} for each in parts],
        "license": {"@id": metadata.licence_url} if metadata.license else f"The licence is {NOT_STATED}.",
        "creditText": told["citation"],
        "mentions": {"@id": "#made"},
    }
    if people:
        authors = [{"@id": each["@id"]} for each in people]
        root["author"] = authors if len(authors) > 1 else authors[0]
    if metadata.doi:
        root["identifier"] = f"https://doi.org/{metadata.doi}"
    if metadata.homepage:
        root["url"] = metadata.homepage
    if metadata.keywords:
        root["keywords"] = ", ".join(metadata.keywords)
    action = {
        "@id": "#made",
        "@type": "CreateAction",
        "name": f"coreset selects the {noun}",
        "instrument": [{"@id": each["@id"]} for each in programs],
        "result": {"@id": "./"},
    }
    described = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    graph = [described, root, *(licence if metadata.license else []), *people, *programs, action]
    return {"@context": ["https://w3id.org/ro/crate/1.1/context", _OTHER_TERMS], "@graph": [*graph, *parts]}


def _crate_author(number: int, author: Author) -> dict[str, Any]:
    kind = "Organization" if author.name else "Person"
    made: dict[str, Any] = {
        "@id": f"https://orcid.org/{author.orcid}" if author.orcid else f"#author-{number}",
        "@type": kind,
        "name": author.full,
    }
    named = {"familyName": author.family, "givenName": author.given}
    made |= {key: value for key, value in named.items() if value}
    return made | ({"affiliation": author.affiliation} if author.affiliation else {})


_OTHER_TERMS = {"creditText": "https://schema.org/creditText", "sha256": "https://schema.org/sha256"}
"""What a crate says that the context of RO-Crate 1.1 does not name."""

_ENCODINGS = {
    ".parquet": "application/vnd.apache.parquet",
    ".md": "text/markdown",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".svg": "image/svg+xml",
    ".cff": "application/yaml",
    "SHA256SUMS": "text/plain",
}


def _crate_file(name: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    suffix = name[name.rfind(".") :] if "." in name else name
    made = {
        "@id": name,
        "@type": "File",
        "name": name,
        "contentSize": str(stated["bytes"]),
        "sha256": stated["sha256"],
    }
    return made | ({"encodingFormat": _ENCODINGS[suffix]} if suffix in _ENCODINGS else {})
