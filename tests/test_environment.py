"""A full disk, a disk that became read-only, missing permissions, exhausted memory, a clock that jumps, slow reads,
file systems that lack what a run needs: a run goes through, or says what is wrong in one line and goes on from there
once that is mended.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from click.testing import CliRunner, Result
from fsspec.implementations.local import LocalFileSystem

from coreset.artifacts.executor import SerialExecutor
from coreset.cli import command, main
from coreset.stages.scoring import Scoring

Job = Callable[..., Path]
Compute = Callable[..., dict[str, Any]]

SECTIONS = (
    "score: {seeds: 2, epoch: 1}",
    "select: {prune: 0.8, cutoff: 0.1, strata: 10}",
    "coverage: {queries: 100}",
    "evaluation: {methods: [full, random, ccs], seeds: 2}",
)


@pytest.fixture(autouse=True)
def _serially(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "executor", lambda job: contextlib.nullcontext(SerialExecutor()))


def run(job: Path, out: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["run", str(job), "--out", str(out), *more])


def manifest(out: Path) -> bytes:
    return (out / "coreset" / "manifest.json").read_bytes()


@pytest.fixture
def job(small_job: Job) -> Path:
    return small_job(*SECTIONS)


@pytest.fixture
def undisturbed(job: Path, tmp_path: Path) -> bytes:
    done = run(job, tmp_path / "undisturbed")
    assert done.exit_code == 0, done.output
    return manifest(tmp_path / "undisturbed")


def fails(job: Path, out: Path, told: str, *more: str) -> None:
    """The run ends with status 1 and one line that says so."""
    failed = run(job, out, *more)
    assert failed.exit_code == 1
    assert isinstance(failed.exception, SystemExit), failed.exception
    (line,) = (line for line in failed.stderr.splitlines() if line.startswith("coreset: "))
    assert told in line


def goes_on(job: Path, out: Path, expected: bytes, *more: str) -> None:
    """Run again it ends well, with the same coreset and nothing left over."""
    again = run(job, out, *more)
    assert again.exit_code == 0, again.output
    assert manifest(out) == expected
    assert not [path for path in out.rglob("*") if path.name.startswith((".tmp-", ".records"))]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk in memory with these options, or mounts it again with others."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mounted(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "coreset-test", str(disk)]
        if subprocess.run(command, stderr=subprocess.PIPE).returncode:
            pytest.skip("needs the right to mount a disk in memory")
        return disk

    yield mounted
    subprocess.run(["umount", "--lazy", str(disk)], stderr=subprocess.PIPE)


@pytest.mark.parametrize("size", ["64k", "160k", "320k"])
def test_a_full_disk(size: str, job: Path, undisturbed: bytes, mount: Callable[[str], Path]) -> None:
    out = mount(f"size={size}") / "run"
    fails(job, out, "No space left on device")
    mount("remount,size=64m")
    goes_on(job, out, undisturbed)


def broken_once(break_: Callable[[], object]) -> Compute:
    """What scores its first snapshot after calling this."""
    compute, calls = Scoring.compute, iter(range(10_000))

    def broken(self: Scoring, *given: Any) -> dict[str, Any]:
        if next(calls) == 1:
            break_()
        return compute(self, *given)

    return broken


def test_a_disk_that_becomes_read_only(
    job: Path, undisturbed: bytes, mount: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The store alone: no disk becomes read-only on which a file is open for writing, as the lock of the run is.
    store, out = mount("size=64m") / "store", tmp_path / "run"
    monkeypatch.setattr(Scoring, "compute", broken_once(lambda: mount("remount,ro")))
    fails(job, out, "Read-only file system", "--store", str(store))
    mount("remount,rw")
    goes_on(job, out, undisturbed, "--store", str(store))


def test_an_output_that_cannot_be_written_is_a_wrong_request(job: Path, mount: Callable[[str], Path]) -> None:
    disk = mount("ro,size=1m")
    refused = run(job, disk / "run")
    assert refused.exit_code == 2
    assert f"--out: expected a path below a folder to write in, found {disk}" in refused.stderr


@pytest.fixture
def anybody() -> Iterator[Path]:
    """A folder that the user `nobody` may read, as whom root can act."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to act as somebody who may do less")
    folder = Path(tempfile.mkdtemp(prefix="coreset-anybody-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_permission_that_is_missing(
    anybody: Path, job: Path, small_corpus: Any, undisturbed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_corpus.path, anybody / "small.zarr")
    mine = anybody / "job.yaml"
    mine.write_text(job.read_text().replace(str(small_corpus.path), "small.zarr"))
    out = anybody / "run"
    out.mkdir()
    os.chown(out, 65534, 65534)

    def locked() -> None:
        for folder in (out / "artifacts").iterdir():
            os.chown(folder, 0, 0)

    with monkeypatch.context() as patched:
        # Once by the effective user alone, which root may take on and lay down again.
        patched.setattr(Scoring, "compute", broken_once(lambda: as_root(locked)))
        os.seteuid(65534)
        try:
            fails(mine, out, "Permission denied")
        finally:
            os.seteuid(0)
    goes_on(mine, out, undisturbed)


def as_root(act: Callable[[], None]) -> None:
    os.seteuid(0)
    try:
        act()
    finally:
        os.seteuid(65534)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_exhausted_memory(
    error: Exception, job: Path, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted() -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Scoring, "compute", broken_once(exhausted))
        fails(job, tmp_path / "run", "scoring: there was not enough memory; lower cluster.workers")
    goes_on(job, tmp_path / "run", undisturbed)


def test_a_clock_that_jumps_changes_nothing(
    job: Path, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, jumps = time.time, iter(range(1_000_000))
    monkeypatch.setattr(time, "time", lambda: now() + (-1) ** next(jumps) * 1e5)
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * (now() + (-1) ** next(jumps) * 1e5)))
    goes_on(job, tmp_path / "run", undisturbed)


class Slow(LocalFileSystem):  # type: ignore[misc]
    """Answers every read late."""

    protocol: ClassVar[str] = "slow"
    seconds: ClassVar[float] = 0.0
    reads: ClassVar[int] = 0

    def cat_file(self, *given: Any, **more: Any) -> Any:
        Slow.reads += 1
        time.sleep(Slow.seconds)
        return super().cat_file(*given, **more)


def test_slow_reads_are_waited_for_and_not_asked_for_twice(
    job: Path, small_corpus: Any, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.register_implementation("slow", Slow, clobber=True)
    job.write_text(job.read_text().replace(str(small_corpus.path), f"slow://{small_corpus.path}"))
    counted = []
    for seconds in (0.0, 0.02):
        monkeypatch.setattr(Slow, "seconds", seconds)
        monkeypatch.setattr(Slow, "reads", 0)
        goes_on(job, tmp_path / f"{seconds}", undisturbed)
        counted.append(Slow.reads)
    assert counted[0] == counted[1] > 12


def without_replacing(folder: Path) -> Callable[[Any, Any], None]:
    """`os.replace` of a file system whose renames replace no file, as it is below this folder."""
    replace = os.replace

    def rename(source: Any, target: Any) -> None:
        if Path(target).is_relative_to(folder) and Path(target).is_file():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(source), None, str(target))
        replace(source, target)

    return rename


def test_a_file_system_whose_renames_replace_nothing(
    job: Path, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", without_replacing(out))
        fails(job, out, "run.json: expected a file system on which a rename replaces what stood there, found one on")
    # Before anything was computed that could be lost.
    assert (out / "run.json").is_file() and not (out / "artifacts").exists()
    goes_on(job, out, undisturbed)
    # The store of an undisturbed run has no need of it.
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", without_replacing(tmp_path / "store"))
        goes_on(job, tmp_path / "another", undisturbed, "--store", str(tmp_path / "store"))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_a_wrong_request(
    number: int, job: Path, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(file: Any, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", flock)
        refused = run(job, out)
        assert refused.exit_code == 2
        assert f"{out}: expected a file system with locks (flock), which keep a second run out" in refused.stderr
        assert os.strerror(number) in refused.stderr
        assert not (out / "run.json").exists()
    goes_on(job, out, undisturbed)
