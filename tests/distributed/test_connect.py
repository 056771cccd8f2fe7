"""What a run waits for on a cluster, and what it does where that cannot come."""

import pytest

from coreset.distributed import connect
from coreset.distributed.executor import RayExecutor


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
