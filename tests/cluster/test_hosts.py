"""A whole job over three hosts with addresses of their own, one of which is lost in the middle."""

import secrets
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.ray

BIN = Path(sys.executable).parent
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def actors(host: Any, name: str) -> int:
    """How many actors of this class live on a host."""
    return sum(words[0].startswith(f"ray::{name}") for words in host.processes().values())


def test_a_job_that_loses_a_host_gives_the_same_coreset(
    make_hosts: Any, work: Any, wait_for: Any, tmp_path: Path
) -> None:
    with make_hosts(3) as hosts:
        head, *workers = hosts
        options = ["--num-cpus=1", "--object-store-memory=200000000", "--block", f"--temp-dir={head.disk}/ray"]
        for host in hosts:
            join = ["--head"] if host is head else [f"--address={head.address}:6379"]
            log = tmp_path / f"{host.name}.log"
            host.start(BIN / "ray", "start", *join, f"--node-ip-address={host.address}", *options, log=log, env=TOKEN)
            wait_for(lambda log=log: "Ray runtime started" in log.read_text(), f"Ray on {host.name}")

        out, log = tmp_path / "out", tmp_path / "job.log"
        submit = [BIN / "ray", "job", "submit", "--address=http://127.0.0.1:8265", "--working-dir", work.folder, "--"]
        command = [BIN / "coreset", "run", "small.yaml", "--out", out]
        job = head.start(*submit, *command, log=log, env=TOKEN)

        def training() -> bool:
            assert job.poll() is None, log.read_text()
            return bool(list(out.glob("artifacts/training-*/.records/*")))

        wait_for(training, "the first training's end")
        assert [actors(host, "RayTrainWorker") for host in hosts] == [1, 1, 1]
        # What they take their parts from is where the job itself is, and lost only with it.
        assert [actors(host, "Queue") for host in hosts] == [1, 0, 0]
        assert not (out / "summary.json").exists()
        workers[0].unplug()
        workers[0].end()

        assert job.wait() == 0, log.read_text()
        assert (out / "coreset/manifest.json").read_bytes() == work.expected()
