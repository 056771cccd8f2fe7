"""The same job through `ray job submit` on a cluster of its own, and proof of where its parts ran."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.ray

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
"""Strangers on the same machine cannot submit to the head."""
RAY = str(Path(sys.executable).with_name("ray"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def processes_of(session: Path) -> list[psutil.Process]:
    """The processes whose command line names the head's own folder: nobody else's."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(str(session) in word for word in process.cmdline()):
                found.append(process)
    return found


@pytest.fixture(scope="module")
def head() -> Iterator[tuple[str, str]]:
    """A Ray head on loopback and free ports, with a short folder of its own; ended by process id."""
    session = Path(tempfile.mkdtemp(prefix="head-", dir="/tmp"))
    port, dashboard = free_port(), free_port()
    ports = {
        "--port": port,
        "--dashboard-port": dashboard,
        "--dashboard-agent-listen-port": free_port(),
        "--dashboard-agent-grpc-port": free_port(),
        "--ray-client-server-port": free_port(),
        "--min-worker-port": 0,
        "--max-worker-port": 0,
    }
    options = [str(word) for pair in ports.items() for word in pair]
    command = [RAY, "start", "--head", "--node-ip-address=127.0.0.1", "--include-dashboard=true", *options]
    command += ["--num-cpus=2", f"--temp-dir={session}", "--object-store-memory=500000000", "--disable-usage-stats"]
    try:
        subprocess.run(command, env={**os.environ, **TOKEN}, check=True, capture_output=True, timeout=120)
        yield f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}"
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            running = processes_of(session)
            for process in running:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(sign)
            psutil.wait_procs(running, timeout=10)
        shutil.rmtree(session, ignore_errors=True)


def submit(place: Any, dashboard: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [RAY, "job", "submit", "--address", dashboard, "--working-dir", str(place.path), "--"]
    python = str(Path(sys.executable).with_name("coreset"))
    environment = {**{key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}, **TOKEN}
    return subprocess.run(
        [*command, python, *arguments], env=environment, cwd=place.path, capture_output=True, text=True, timeout=400
    )


def test_a_submitted_job_gives_the_same_bytes(place: Any, head: tuple[str, str], serial: Path, tmp_path: Path) -> None:
    _, dashboard = head
    out = tmp_path / "submitted"
    done = submit(place, dashboard, "run", "small.yaml", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / "coreset/manifest.json").read_bytes() == (serial / "coreset/manifest.json").read_bytes()
    assert "CCS" in done.stdout


LISTING = """
import json, sys
from ray.util.state import list_actors, list_tasks
actors = {actor.class_name for actor in list_actors(address=sys.argv[1], limit=1000)}
tasks = {task.name for task in list_tasks(address=sys.argv[1], limit=9000, raise_on_missing_output=False)}
print(json.dumps({"actors": sorted(actors), "tasks": sorted(tasks)}))
"""


def test_training_ran_in_ray_train_scoring_in_actors_reading_in_ray_data(head: tuple[str, str]) -> None:
    """After the job of the test before: Ray's own record of what ran."""
    command = [sys.executable, "-c", LISTING, head[1]]
    listed = subprocess.run(
        command, env={**os.environ, **TOKEN}, capture_output=True, text=True, check=True, timeout=60
    )
    ran = json.loads(listed.stdout)
    assert {"RayTrainWorker", "PartActor"} <= set(ran["actors"])
    assert any("ReadRequests" in task for task in ran["tasks"]), ran["tasks"]
    assert any(task.endswith("PartActor.produce") for task in ran["tasks"])


def test_a_relative_output_inside_a_job_is_refused(place: Any, head: tuple[str, str]) -> None:
    _, dashboard = head
    done = submit(place, dashboard, "run", "small.yaml", "--out", "results")
    assert done.returncode == 1  # `ray job submit` turns every failure into 1; the status of coreset is in its message
    said = done.stdout + done.stderr
    assert "--out: expected an absolute path inside a Ray job, found 'results'" in said
    assert "exit code 2" in said or "exited with code 2" in said or "code 2" in said
