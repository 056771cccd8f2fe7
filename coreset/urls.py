"""URLs are repeated in messages, records, reports and cards, so none that holds a secret is taken."""

from __future__ import annotations

import re

from coreset.errors import RequestError

_NAMED = frozenset({"abfs", "abfss", "adl", "hdfs", "sftp", "ssh", "wasb", "wasbs"})
"""Protocols whose URLs name a container, or a user, before an `@`."""
_PORTED = frozenset({"ftp", "hdfs", "http", "https", "sftp", "smb", "ssh", "webhdfs"})
"""Protocols whose URLs may name a port after a colon."""

_LINK = re.compile(r"(?:^|(?<=::))([a-z][a-z0-9+.-]+):/+((?:(?!::[a-z][a-z0-9+.-]+:/)[^/])*)", re.IGNORECASE)
"""Protocol and host of each URL in one of fsspec's chains, such as `zip://a.zarr::https://host/all.zip`."""


def expect_no_secret(url: str, place: str) -> None:
    """Raises RequestError, naming the place but not the URL, for one that holds a password, a token or a signature.

    A password may itself hold slashes, as those of S3 do: it is one where a colon that begins no port comes before an
    `@`. A URL that was taken for a path, and has lost a slash, is one too; other paths are taken as they are.
    """
    for found in _LINK.finditer(url):
        protocol, host = found[1].lower(), found[2]
        before, at, _ = host.rpartition("@")
        named = protocol in _NAMED and ":" not in before
        port = protocol in _PORTED and host.partition(":")[2].isdecimal()
        split = ":" in host and not port and "@" in url
        if (at and not named) or split or "?" in url:
            raise RequestError(
                f"{place}: expected a URL without password, token or signature, for it is written down, found one "
                "with; leave them to the environment, or to the configuration of fsspec."
            )
