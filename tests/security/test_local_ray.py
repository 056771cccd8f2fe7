"""A Ray that a run starts here: no dashboard, no port for other machines, no statistics, no secret in its logs."""

import ipaddress
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.ray

MARK = "s3cret-0f1e2d3c"
PROGRAM = """
import json, os, sys
import psutil
from coreset.distributed.executor import RayExecutor
from coreset.distributed.parts import PartActor

with RayExecutor(address="local", workers=2) as executor:
    total = executor.scan(int, range(40), lambda a, b: a + b)
    import ray
    from ray._common.usage.usage_lib import usage_stats_enabled
    from ray._private.worker import _global_node

    below = psutil.Process().children(recursive=True)
    listening, unseen = [], []
    for process in [psutil.Process(), *below]:
        try:
            here = [each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN]
        except psutil.NoSuchProcess:
            continue
        listening += [(process.name(), ip) for ip in here]
    told = {
        "total": total,
        "address": ray.util.get_node_ip_address(),
        "listening": listening,
        "commands": [" ".join(process.cmdline()) for process in below if process.is_running()],
        "statistics": usage_stats_enabled(),
        "logs": str(_global_node.get_session_dir_path()),
    }
    print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What the processes of a local Ray were seen to do, in an environment that holds a secret."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"AWS_SECRET_ACCESS_KEY": MARK, "HF_TOKEN": MARK}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert MARK not in done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return ((found.version == 6 and found.ipv4_mapped) or found).is_loopback


def test_it_listens_to_this_machine_alone(told: dict[str, Any]) -> None:
    assert told["total"] == sum(range(40))
    assert is_loopback(told["address"])
    assert {"gcs_server", "raylet"} <= {name for name, _ in told["listening"]}
    assert [each for each in told["listening"] if not is_loopback(each[1])] == []


def test_it_has_no_dashboard_and_no_job_server_and_sends_no_statistics(told: dict[str, Any]) -> None:
    # Ray starts the head of its dashboard all the same: without pages, and with the module alone that sends nothing.
    heads = [command for command in told["commands"] if "dashboard/dashboard.py" in command]
    assert heads
    for command in heads:
        assert "--disable-frontend" in command and "--modules-to-load=UsageStatsHead " in f"{command} "
    assert told["statistics"] is False


def test_no_secret_of_the_environment_is_in_its_logs(told: dict[str, Any]) -> None:
    logs = [path for path in Path(told["logs"]).rglob("*") if path.is_file()]
    assert logs
    assert [path for path in logs if MARK.encode() in path.read_bytes()] == []
