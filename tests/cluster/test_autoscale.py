"""What asks an autoscaler for CPUs, with Ray's own autoscaler: its workers are processes of one host."""

import json
import secrets
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_FAKE_CLUSTER": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}
CLUSTER = {
    "cluster_name": "one-machine",
    "max_workers": 2,
    "idle_timeout_minutes": 0.05,
    "upscaling_speed": 10.0,
    "provider": {"type": "fake_multinode", "gcs_address": "192.0.2.1:6379"},
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
}
COUNT = "import ray; ray.init(); print('FOUND', ray.cluster_resources().get('CPU', 0))"
UNTIL_NONE = """
import time
import ray
ray.init()
while ray.cluster_resources().get("CPU", 0):
    time.sleep(0.5)
"""


def test_the_cpus_are_there_for_the_command_and_go_after_it(make_hosts: Any, wait_for: Any, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(json.dumps(CLUSTER))
    (tmp_path / "count.py").write_text(COUNT)
    (tmp_path / "until_none.py").write_text(UNTIL_NONE)
    (tmp_path / "autoscale.py").write_bytes((ROOT / "cluster/autoscale.py").read_bytes())
    with make_hosts(1) as (host,):
        options = [f"--node-ip-address={host.address}", "--num-cpus=0", "--object-store-memory=200000000", "--block"]
        options += [f"--temp-dir={host.disk}/ray", f"--autoscaling-config={tmp_path}/cluster.yaml"]
        log = tmp_path / "ray.log"
        host.start(BIN / "ray", "start", "--head", *options, log=log, env=SETTINGS)
        wait_for(lambda: "Ray runtime started" in log.read_text(), "Ray")

        def submitted(*words: str) -> str:
            said = tmp_path / "job.log"
            said.write_text("")
            submit = [BIN / "ray", "job", "submit", "--address=http://127.0.0.1:8265", "--working-dir", tmp_path, "--"]
            job = host.start(*submit, sys.executable, *words, log=said, env=SETTINGS)
            job.wait()
            return said.read_text()

        said = submitted("autoscale.py", "2", sys.executable, "count.py")
        assert "FOUND 2.0" in said, said
        # With the wish still standing they would stay.
        said = submitted("until_none.py")
        assert "succeeded" in said, said
        said = submitted("autoscale.py", "0", sys.executable, "-c", "raise SystemExit(3)")
        assert "exit code 3" in said, said
