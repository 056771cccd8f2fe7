"""Hosts on this machine, each with an address, a name and a disk of its own, and a tiny job to run on them."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

JOB: dict[str, Any] = {
    "name": "small",
    "corpus": {"source": "small.zarr", "train": "train/*", "validation": 0.2, "test": {"bulk": "test/*"}},
    "descriptor": {"neighbours": 6, "distances": True},
    "network": {"hidden": [32, 32]},
    "training": {"batch": 64, "window": 4096, "epochs": 1, "schedule": "cosine"},
    "score": {"epoch": 12, "seeds": 6},
    "select": {"prune": 0.9, "strata": 20, "cutoff": 0.3},
    "coverage": {"queries": 300},
    "evaluation": {"methods": ["random", "ccs"], "seeds": 2, "steps": 60},
}
SNAPSHOTS = [f"train/s{i // 2}_T{100 + 100 * (i // 4):04d}_{i % 2}" for i in range(10)]
SNAPSHOTS += [f"test/t{i}_T0150" for i in range(2)]

LIMIT = 400
"""Seconds after which a test gives up waiting for what has not happened."""


def _wait_for(happened: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < deadline, f"this never happened: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], Any], str], None]:
    return _wait_for


@dataclass(frozen=True)
class Host:
    """A network namespace, what runs in it, and a folder that only that sees."""

    name: str
    space: str
    address: str
    disk: Path
    started: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def start(
        self, *words: str | Path, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> "subprocess.Popen[bytes]":
        """A process on this host, with those it starts; what it prints goes to the log."""
        enter = 'hostname "$1" && mount -t tmpfs none "$2" && shift 2 && exec "$@"'
        apart = ["nsenter", f"--net=/run/netns/{self.space}", "unshare", "--mount", "--uts"]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*apart, "sh", "-c", enter, "sh", self.name, str(self.disk), *map(str, words)],
                env=_environment(self.disk) | (env or {}),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.started.append(process)
        return process

    def processes(self) -> dict[int, list[str]]:
        """The processes of this host by their ids, with their command lines."""
        listed = subprocess.run(["ip", "netns", "pids", self.space], capture_output=True, text=True, check=True)
        found = {}
        for word in listed.stdout.split():
            with contextlib.suppress(OSError):
                found[int(word)] = Path(f"/proc/{word}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return found

    def unplug(self) -> None:
        """From here on nothing reaches the host and nothing comes from it, not even that its processes have ended."""
        subprocess.run(["ip", "-n", self.space, "link", "set", "eth0", "down"], check=True)

    def end(self) -> None:
        """Ends all that runs on it, at once."""

        def none_left() -> bool:
            for process in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            return not self.processes()

        _wait_for(none_left, f"the end of {self.name}")
        for process in self.started:
            process.wait()


def _environment(disk: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SLURM_"))}
    return kept | {"TMPDIR": str(disk), "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, capture_output=True)


@pytest.fixture(scope="session")
def make_hosts() -> Iterator[Callable[[int], contextlib.AbstractContextManager[list[Host]]]]:
    """Makes so many hosts; the network between them is a bridge in the first one's namespace."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the command ip (iproute2)")
    disk = Path(tempfile.mkdtemp(prefix="host-", dir="/tmp"))

    @contextlib.contextmanager
    def make(count: int) -> Iterator[list[Host]]:
        spaces = [f"coreset-{os.getpid()}-{number}" for number in range(1, count + 1)]
        hosts = [Host(f"node{i}", space, f"192.0.2.{i}", disk) for i, space in enumerate(spaces, 1)]
        try:
            for host in hosts:
                try:
                    _ip(f"netns add {host.space}")
                except subprocess.CalledProcessError as error:
                    pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
                _ip(f"-n {host.space} link set lo up")
            first = hosts[0].space
            _ip(f"-n {first} link add eth0 type bridge")
            for host in hosts:
                if host is not hosts[0]:
                    _ip(f"-n {first} link add {host.name} type veth peer name eth0 netns {host.space}")
                    _ip(f"-n {first} link set {host.name} master eth0 up")
                _ip(f"-n {host.space} addr add {host.address}/24 dev eth0")
                _ip(f"-n {host.space} link set eth0 up")
                # Ray asks for the way to the world to learn the host's own address.
                _ip(f"-n {host.space} route add default dev eth0")
            yield hosts
        finally:
            for host in hosts:
                if Path("/run/netns", host.space).exists():
                    host.end()
                    _ip(f"netns del {host.space}")

    yield make
    disk.rmdir()


@dataclass(frozen=True)
class Work:
    """A folder that all hosts see, with a corpus, a job file, and that job's coreset as one process makes it."""

    folder: Path

    def expected(self) -> bytes:
        return (self.folder / "serial/coreset/manifest.json").read_bytes()


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, write_gaussians: Callable[..., None]) -> Work:
    from coreset.artifacts.executor import SerialExecutor
    from coreset.session import open_session, package

    folder = tmp_path_factory.mktemp("work")
    write_gaussians(folder / "small.zarr", SNAPSHOTS)
    (folder / "small.yaml").write_text(yaml.safe_dump(JOB))
    session = open_session(folder / "small.yaml", folder / "serial", None, ())
    with session.recorded(SerialExecutor()) as pipeline:
        package(session, pipeline.run())
    return Work(folder)
