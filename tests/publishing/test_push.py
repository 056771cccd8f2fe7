"""A publication in an object store and on a hub: whole or without a manifest, and nobody's token told."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from coreset.cli import main
from coreset.publishing import push
from coreset.publishing.verify import verify

# What huggingface_hub does within itself.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
TOKEN = "hf_s3cret0f1e2d3c"
Picture = Callable[[Path], dict[str, bytes | None]]


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> str:
    """Where to publish to: the memory of this process, and an S3 server in it."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    return f"{request.param}://public"


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    """An S3 server in this process, with a bucket `public`."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    pytest.importorskip("moto.server", reason="moto is not installed")
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patched.setenv(name, "testing")
        patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patched.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="public")
        yield
        client.close()
    server.stop()


@pytest.fixture
def fetch(store: str, tmp_path: Path) -> Callable[[str], Path]:
    def fetched(prefix: str) -> Path:
        import fsspec

        filesystem, root = fsspec.core.url_to_fs(f"{store}/{prefix}")
        filesystem.invalidate_cache()
        shutil.rmtree(tmp_path / "fetched", ignore_errors=True)
        (tmp_path / "fetched").mkdir()
        for name in filesystem.find(root):
            path = tmp_path / "fetched" / name.removeprefix(f"{root}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(filesystem.cat_file(name))
        return tmp_path / "fetched"

    return fetched


@pytest.fixture(params=["densities", "table"])
def made(request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """The folder of a run, and what was published of it."""
    if request.param == "table":
        return request.getfixturevalue("table_run"), request.getfixturevalue("published_table")
    return request.getfixturevalue("whole_run") / "run", request.getfixturevalue("published")


def call(*arguments: Any) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_what_is_fetched_from_a_store_is_the_folder(
    store: str, made: tuple[Path, Path], fetch: Callable[[str], Path], picture: Picture
) -> None:
    run, published = made
    url, metadata = f"{store}/{published.name}", published.parent / "metadata.yaml"
    done = call("publish", run, url, "--metadata", metadata, "--zarr")
    assert done.exit_code == 0, done.output
    assert picture(fetch(published.name)) == picture(published)
    again = call("publish", run, url, "--metadata", metadata, "--zarr")
    assert again.exit_code == 0 and "stood there already" in again.output
    other = call("publish", run, url)
    assert other.exit_code == 2 and "found another manifest.json" in other.stderr
    assert picture(fetch(published.name)) == picture(published)


def test_an_upload_that_breaks_has_no_manifest_and_can_be_run_again(
    store: str, whole_run: Path, fetch: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = push._filesystem

    class Cut:
        """A filesystem whose line is cut after some files."""

        def __init__(self, filesystem: Any, left: int) -> None:
            self.filesystem, self.left = filesystem, left

        def __getattr__(self, name: str) -> Any:
            return getattr(self.filesystem, name)

        def put_file(self, *arguments: Any) -> Any:
            if not self.left:
                raise ConnectionError("the line is cut")
            self.left -= 1
            return self.filesystem.put_file(*arguments)

    for after in (0, 3, 10):

        def cut(url: str, after: int = after) -> tuple[Any, str]:
            filesystem, root = real(url)
            return Cut(filesystem, after), root

        with monkeypatch.context() as patched:
            patched.setattr(push, "_filesystem", cut)
            done = call("publish", whole_run / "run", f"{store}/broken")
        assert done.exit_code == 1 and "the line is cut" in done.stderr
        assert not (fetch("broken") / "manifest.json").exists()
    done = call("publish", whole_run / "run", f"{store}/broken")
    assert done.exit_code == 0, done.output
    assert len(list(verify(fetch("broken")))) > 8


def test_files_of_something_else_are_not_mixed_with(whole_run: Path, store: str) -> None:
    import fsspec

    filesystem, root = fsspec.core.url_to_fs(f"{store}/theirs")
    filesystem.pipe_file(f"{root}/notes.txt", b"x")
    done = call("publish", whole_run / "run", f"{store}/theirs")
    assert done.exit_code == 2
    assert "found notes.txt" in done.stderr


@pytest.mark.parametrize("url", ["s3://key:s3cret@bucket/x", "s3://bucket/x?sig=s3cret"])
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str, whole_run: Path) -> None:
    done = call("publish", whole_run / "run", url)
    assert done.exit_code == 2
    assert "expected a URL without password" in done.stderr
    assert "s3cret" not in done.output


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from hub import Server

    with Server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        import huggingface_hub.constants as constants

        # The environment is read when the client is imported, which another test may have done.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield server
    sys.modules.pop("hub", None)


def test_what_is_pushed_to_a_hub_is_the_folder_in_one_commit(
    hub: Any, made: tuple[Path, Path], tmp_path: Path, picture: Picture
) -> None:
    run, published = made
    pushing = ("--metadata", published.parent / "metadata.yaml", "--zarr", "--push", "hf:ada/small")
    done = call("publish", run, tmp_path / "small", *pushing)
    assert done.exit_code == 0, done.output + done.stderr
    assert f"{hub.url}/datasets/ada/small" in done.output
    assert hub.commits == 1 and hub.private == {"ada/small": True}
    files = {name: content for name, content in hub.repositories["ada/small"].items() if name != ".gitattributes"}
    assert files == {name: content for name, content in picture(published).items() if content is not None}
    assert any(name.endswith(".parquet") for name in files) and hub.objects
    # The token went to the hub, and nowhere else.
    assert f"Bearer {TOKEN}" in hub.tokens
    assert TOKEN not in done.output + done.stderr
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()
    again = call("publish", run, tmp_path / "small", *pushing)
    assert again.exit_code == 0, again.output + again.stderr


def test_a_hub_that_refuses_is_told_without_the_token(
    hub: Any, whole_run: Path, published: Path, tmp_path: Path
) -> None:
    hub.refuse = True
    pushing = ("--metadata", published.parent / "metadata.yaml", "--push", "hf:ada/small")
    done = call("publish", whole_run / "run", tmp_path / "small", *pushing)
    assert done.exit_code == 1
    assert "the Hub did not take it" in done.stderr
    assert TOKEN not in done.output + done.stderr
    assert len(list(verify(tmp_path / "small"))) > 8


def test_a_repository_of_something_else_is_left_alone(
    hub: Any, whole_run: Path, published: Path, tmp_path: Path
) -> None:
    hub.repositories["ada/small"] = {"model.bin": b"x"}
    pushing = ("--metadata", published.parent / "metadata.yaml", "--push", "hf:ada/small")
    done = call("publish", whole_run / "run", tmp_path / "small", *pushing)
    assert done.exit_code == 2
    assert "found model.bin" in done.stderr
    assert hub.repositories["ada/small"] == {"model.bin": b"x"}


def test_terms_are_stated_before_strangers_see_it(whole_run: Path, tmp_path: Path) -> None:
    done = call("publish", whole_run / "run", tmp_path / "small", "--push", "hf:ada/small")
    assert done.exit_code == 2
    assert "expected authors and license" in done.stderr
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("name", ["ada/small", "hf:small", "hf:a/b/c", "hf:../x", "gh:a/b"])
def test_a_place_that_is_none_is_refused(name: str, whole_run: Path, tmp_path: Path) -> None:
    done = call("publish", whole_run / "run", tmp_path / "small", "--push", name)
    assert done.exit_code == 2
    assert "expected hf:USER/NAME" in done.stderr


def test_without_its_client_a_push_says_what_to_install(
    whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(push.RequestError, match=r"coreset-ray\[hub\]"):
        push.check_repository("hf:ada/small")
