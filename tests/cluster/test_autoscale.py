"""What asks an autoscaler for CPUs: the wish that Ray's autoscaler reads, while the command runs and after it."""

import secrets
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.ray

AUTOSCALE = Path(__file__).parents[2] / "cluster/autoscale.py"
BIN = Path(sys.executable).parent
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
WISH = """
import sys
import ray
from ray.autoscaler._private.constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL as channel
from ray.experimental.internal_kv import _internal_kv_get
ray.init()
print("WISH", _internal_kv_get(channel).decode())
sys.exit(int(sys.argv[1]))
"""


def test_the_wish_stands_while_the_command_runs_and_no_longer(make_hosts: Any, wait_for: Any, tmp_path: Path) -> None:
    wish = tmp_path / "wish.py"
    wish.write_text(WISH)
    with make_hosts(1) as (host,):
        options = [f"--node-ip-address={host.address}", "--num-cpus=2", "--object-store-memory=200000000", "--block"]
        log = tmp_path / "ray.log"
        host.start(BIN / "ray", "start", "--head", *options, f"--temp-dir={host.disk}/ray", log=log, env=TOKEN)
        wait_for(lambda: "Ray runtime started" in log.read_text(), "Ray")

        def submitted(name: str, *words: str | Path) -> str:
            said = tmp_path / f"{name}.log"
            submit = [BIN / "ray", "job", "submit", "--address=http://127.0.0.1:8265", "--", sys.executable]
            host.start(*submit, *words, log=said, env=TOKEN).wait()
            return said.read_text()

        during = submitted("during", AUTOSCALE, "2", sys.executable, wish, "3")
        assert 'WISH [{"CPU": 1}, {"CPU": 1}]' in during
        assert "exit code 3" in during
        assert "WISH []" in submitted("after", wish, "0")
