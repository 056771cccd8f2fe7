"""URLs with a secret are refused and not repeated; what only looks like one is taken."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreset.errors import RequestError
from coreset.urls import expect_no_secret


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:s3cret@bucket/al.zarr",
        "s3://AKIA:s3/cret@bucket/al.zarr",
        "s3://AKIA:12/s3cret@bucket/al.zarr",
        "s3:/AKIA:s3/cret@bucket/al.zarr",
        "https://me:s3cret@example.org/al.zarr",
        "https://s3cret@example.org/al.zarr",
        "http://s3cret@127.0.0.1:8765/al.zarr",
        "https://example.org/al.zarr?sig=s3cret",
        "abfs://box:s3cret@account.dfs.core.windows.net/al.zarr",
        "simplecache::https://me:s3cret@example.org/al.zarr",
        "zip://al.zarr::https://s3cret@example.org/all.zip",
        "s3://KEY::s3cret@bucket/al.zarr",
    ],
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(RequestError, match=r"^CORPUS: expected a URL without password") as caught:
        expect_no_secret(url, "CORPUS")
    assert "cret" not in str(caught.value) and "example" not in str(caught.value)


@pytest.mark.parametrize(
    "place",
    [
        "s3://bucket/al.zarr",
        "s3://bucket/me@home/al.zarr",
        "s3://bucket/what:ever@home",
        "abfs://box@account.dfs.core.windows.net/al.zarr",
        "sftp://me@host:22/al.zarr",
        "http://h:80/a@b.zarr",
        "memory://al.zarr",
        "zip://al.zarr::https://host/me@home.zip",
        "data/what?.zarr",
        "data/a:b@c",
        "C:/me@home",
    ],
)
def test_other_urls_and_paths_are_taken(place: str) -> None:
    expect_no_secret(place, "CORPUS")


@given(st.text(string.ascii_letters + string.digits + "/+=:", min_size=1), st.sampled_from(["s3", "gs", "gcs", "oss"]))
def test_every_key_of_an_object_store_is_found(secret: str, protocol: str) -> None:
    with pytest.raises(RequestError):
        expect_no_secret(f"{protocol}://KEY:{secret}@bucket/prefix", "--store")
