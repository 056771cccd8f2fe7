"""What only the author of a dataset can state: title, authors, licence, citation; all of it may be left out."""

from __future__ import annotations

import datetime
import difflib
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from coreset.errors import RequestError

LICENCES: dict[str, str] = {
    "CC0-1.0": "cc0-1.0",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
    "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0",
    "CC-BY-ND-4.0": "cc-by-nd-4.0",
    "CC-BY-NC-ND-4.0": "cc-by-nc-nd-4.0",
    "CC-BY-3.0": "cc-by-3.0",
    "CC-BY-SA-3.0": "cc-by-sa-3.0",
    "ODbL-1.0": "odbl",
    "ODC-By-1.0": "odc-by",
    "PDDL-1.0": "pddl",
    "CDLA-Permissive-1.0": "cdla-permissive-1.0",
    "CDLA-Permissive-2.0": "cdla-permissive-2.0",
    "CDLA-Sharing-1.0": "cdla-sharing-1.0",
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "BSD-2-Clause": "bsd-2-clause",
    "BSD-3-Clause": "bsd-3-clause",
    "GPL-3.0-only": "gpl-3.0",
    "GPL-3.0-or-later": "gpl-3.0",
    "LGPL-3.0-only": "lgpl-3.0",
    "LGPL-3.0-or-later": "lgpl-3.0",
}
"""SPDX identifiers, and what the Hugging Face Hub calls the same licence."""


def _known(licence: str) -> str:
    if licence not in LICENCES:
        near = difflib.get_close_matches(licence, LICENCES, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(LICENCES)}"
        raise ValueError(f"expected an SPDX identifier, found {licence[:60]!r}{hint}")
    return licence


def _orcid(given: str) -> str:
    """Checks the last digit (ISO 7064, MOD 11-2), so that a slip is found."""
    digits = given.removeprefix("https://orcid.org/")
    if not re.fullmatch(r"(\d{4}-){3}\d{3}[\dX]", digits):
        raise ValueError(f"expected an ORCID such as 0000-0002-1825-0097, found {given[:60]!r}")
    total = 0
    for digit in digits.replace("-", "")[:-1]:
        total = (total + int(digit)) * 2
    check = (12 - total % 11) % 11
    if digits[-1] != ("X" if check == 10 else str(check)):
        raise ValueError(f"expected an ORCID, found {given[:60]!r}, whose last digit does not check; copy it again")
    return digits


def _doi(given: str) -> str:
    doi = re.sub(r"^(https?://(dx\.)?doi\.org/|doi:)", "", given)
    if not re.fullmatch(r"10\.\d{4,9}(\.\d+)?/[A-Za-z0-9._;()/:-]+", doi):
        raise ValueError(f"expected a DOI such as 10.5281/zenodo.1234, found {given[:60]!r}")
    return doi


def _url(given: str) -> str:
    if not re.fullmatch(r"https?://[^\s@]+", given):
        raise ValueError("expected a URL with http or https and without a password")
    return given


def _date(given: Any) -> str:
    try:
        return datetime.date.fromisoformat(str(given)).isoformat()
    except ValueError:
        raise ValueError(f"expected a date such as 2026-11-26, found {str(given)[:60]!r}") from None


Text = Annotated[str, Field(min_length=1, max_length=20_000)]
Line = Annotated[str, Field(min_length=1, max_length=400, pattern=r"^[^\r\n]+$")]


class _Stated(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Author(_Stated):
    """A person by `family` and `given` name, or an organisation by `name`."""

    family: Line | None = None
    given: Line | None = None
    name: Line | None = None
    orcid: Annotated[str, AfterValidator(_orcid)] | None = None
    affiliation: Line | None = None

    @model_validator(mode="after")
    def _person_or_organisation(self) -> Author:
        if (self.family is None) == (self.name is None) or (self.given and not self.family):
            raise ValueError("expected family (and given) of a person, or name of an organisation")
        return self

    @property
    def full(self) -> str:
        """The name as one writes it."""
        return self.name or " ".join(filter(None, (self.given, self.family)))


class Metadata(_Stated):
    """The file of `coreset publish --metadata`."""

    title: Line | None = None
    description: Text | None = None
    authors: tuple[Author, ...] = Field((), strict=False)
    license: Annotated[str, AfterValidator(_known)] | None = None
    citation: Text | None = None
    homepage: Annotated[str, AfterValidator(_url)] | None = None
    doi: Annotated[str, AfterValidator(_doi)] | None = None
    keywords: tuple[Line, ...] = Field((), strict=False)
    limits: Text | None = None
    date: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _dates_are_text(cls, given: Any) -> Any:
        # YAML reads 2026-11-26 as a date.
        return {**given, "date": _date(given["date"])} if isinstance(given, dict) and given.get("date") else given

    @property
    def url(self) -> str | None:
        """Where the dataset is to be found: its DOI, else its page."""
        return f"https://doi.org/{self.doi}" if self.doi else self.homepage

    @property
    def licence_url(self) -> str | None:
        """The text of the licence."""
        return f"https://spdx.org/licenses/{self.license}" if self.license else None

    def unstated(self) -> list[str]:
        """What readers would look for and do not find."""
        wanted = {
            "title": self.title,
            "authors": self.authors,
            "license": self.license,
            "citation": self.citation or self.doi,
        }
        return [name for name, value in wanted.items() if not value]


def check_metadata(given: Any, place: str) -> Metadata:
    """The metadata of a parsed file. Raises RequestError naming the key."""
    try:
        return Metadata.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(map(str, problem["loc"]))[:80]
        where = f"{place}: {key}" if key else place
        if problem["type"] == "extra_forbidden":
            known = Author.model_fields if "authors" in problem["loc"] else Metadata.model_fields
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}."
            raise RequestError(f"{where}: unknown key; {hint}") from None
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        raise RequestError(f"{where}: {message.rstrip('.')}.") from None
