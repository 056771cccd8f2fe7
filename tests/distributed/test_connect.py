"""What a run waits for on a cluster, and what it does where that cannot come."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from coreset.distributed import connect
from coreset.distributed.executor import RayExecutor
from coreset.errors import WorkError


@pytest.mark.ray
def test_no_more_is_reserved_than_the_hosts_hold(ray_executor: RayExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a host is lost after it was counted: what it should hold would be waited for without end."""
    import ray

    ray_executor.scan(len, ["starts it"], max)
    monkeypatch.setattr(connect, "_LOOK", 0.5)

    def held() -> list[int]:
        groups = [each for each in ray.util.placement_group_table().values() if each["state"] == "CREATED"]
        bundles = [list(group["bundles"].values()) for group in groups]
        return [len(each) for each in bundles if each[0] == {"CPU": 1.0}]

    with connect.reserved([{"CPU": 1.0}] * 5):
        assert held() == [2]
    assert held() == []


def test_a_ray_that_does_not_come_up_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen because …")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with pytest.raises(WorkError, match=r"^Ray did not start \(The current node timed out .* This could .*; run again"):
        connect.start("local")
