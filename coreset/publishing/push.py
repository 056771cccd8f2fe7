"""A published folder to where others find it: an object store, or the Hugging Face Hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coreset.artifacts.manifest import MANIFEST, checksum
from coreset.atomic import files_below, parse_json
from coreset.errors import RequestError, WorkError, brief
from coreset.publishing.dataset import open_dataset

HUB = "hf:"
_LEFT_BY_HUB = frozenset({".gitattributes"})


def check_repository(name: str) -> None:
    """Raises RequestError for what is no `hf:USER/NAME`, or where huggingface_hub is not installed."""
    if not re.fullmatch(rf"{HUB}[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name):
        raise RequestError(f"--push: expected {HUB}USER/NAME, found {name[:80]!r}.")
    try:
        import huggingface_hub  # noqa: F401
    except ImportError:
        raise RequestError(
            "--push: expected huggingface_hub, found none; install it (pip install coreset-ray[hub])."
        ) from None


def remote_stands(url: str, identity: dict[str, Any]) -> bool:
    """Whether the publication with this identity stands at the URL.

    Raises RequestError where another one does, or where the package that reads such URLs is missing.
    """
    filesystem, root = _filesystem(url)
    try:
        manifest = parse_json(filesystem.cat_file(f"{root}/{MANIFEST}"))
        whole = manifest["checksum"] == checksum(manifest) and manifest["published"] == identity
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise RequestError(
            f"{url}: expected nothing, or this coreset as it would be published, found another {MANIFEST}; choose "
            "another DEST, or remove it."
        )
    return True


def upload(folder: Path, url: str) -> None:
    """Copies a published folder to a URL that fsspec knows; its manifest last, so that what has one is whole.

    What an interrupted upload left is written over. Raises RequestError for files there that are none of the folder's.
    """
    filesystem, root = _filesystem(url)
    names = list(_names(folder))
    there = {path.removeprefix(f"{root}/") for path in filesystem.find(root)}
    _expect_ours(there, names, url)
    for name in names:
        filesystem.put_file(os.fspath(folder / name), f"{root}/{name}")


def push(folder: Path, name: str) -> str:
    """Uploads a published folder to the Hub in one commit, and returns its address.

    The repository is made if there is none, private until its owner opens it. The token is that of the environment
    (`HF_TOKEN`) or of `hf auth login`. Raises RequestError for files there that are none of the folder's, WorkError
    where the Hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    repository = name.removeprefix(HUB)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    manifest = open_dataset(folder).manifest
    try:
        made = api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
        there = set(api.list_repo_files(repository, repo_type="dataset"))
        _expect_ours(there - _LEFT_BY_HUB, list(_names(folder)), name)
        api.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=folder,
            commit_message=f"coreset {manifest.get('name', '')} {manifest['checksum'][:16]}",
        )
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError, RuntimeError) as error:
        raise WorkError(f"--push {name}: the Hub did not take it ({brief(error)}); the folder is whole.") from None
    return str(made)


def _names(folder: Path) -> Iterator[str]:
    """The files of a folder, its manifest last."""
    names = [file.relative_to(folder).as_posix() for file in files_below(folder)]
    yield from (name for name in names if name != MANIFEST)
    yield MANIFEST


def _expect_ours(there: set[str], names: list[str], place: str) -> None:
    foreign = sorted(there - set(names))
    if foreign:
        raise RequestError(
            f"{place}: expected nothing, or files of this publication, found {foreign[0][:200]}; choose another "
            "place, or remove it."
        )


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise RequestError(f"{url}: cannot be written to ({brief(error)}).") from None
    # What another process wrote since is not to be missed.
    filesystem.invalidate_cache()
    return filesystem, root.rstrip("/")
