"""Which Ray: a local one of our own, or the cluster that is meant."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from coreset.errors import RequestError

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
_OBJECT_STORE = 2 * 1024**3
_LOOK = 10.0
"""Seconds between two looks at whether the hosts can still hold what is waited for."""

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Silences a notice on a default that will change; the value is the future one.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # How often Ray Train looks whether its workers are done; its default, 2 s, is waited for at the end of every group.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    # One process less to start per group; it would save checkpoints in time, and a run without any starts again anyway.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Milliseconds after which a local Ray ends idle workers: by default one second, so that each stage starts its own.
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    # Processes that a local Ray starts at a time; its default, one per CPU, is also what its warning of many counts by.
    "RAY_worker_maximum_startup_concurrency": "64",
}
"""Of the environment, unless the user has set them."""


def import_libraries() -> None:
    """What every worker does before its first task.

    Ray Data cancels the reads that nobody waits for any longer. One that is cancelled while it imports leaves half an
    import of NumPy or pandas behind, neither of which can be imported again: all later tasks of that worker would fail.
    """
    import coreset.distributed.data  # noqa: F401


def start(address: str = "auto", workers: int | None = None) -> None:
    """Starts a local Ray, or attaches to the cluster that is meant; never to one that merely happens to run here.

    `auto` means the cluster of RAY_ADDRESS, which a Ray job has, else a local one. Raises RequestError if none answers.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {
            "env_vars": _ONE_THREAD,
            "worker_process_setup_hook": f"{__name__}.{import_libraries.__name__}",
        },
    }
    if address == "local" or (address == "auto" and "RAY_ADDRESS" not in os.environ):
        local = {"address": "local", "include_dashboard": False, "object_store_memory": _OBJECT_STORE}
        options |= {**local, "num_cpus": workers}
    elif address != "auto":
        options["address"] = address
    try:
        ray.init(**options)
    except ConnectionError as error:
        raise RequestError(
            f"cluster.address: expected a running Ray cluster at {address!r}, found none ({error})."
        ) from None


class Reservation:
    """Equal bundles of resources; no process takes part in it. Fewer where the hosts cannot hold as many."""

    def __init__(self, bundles: Sequence[Mapping[str, float]]) -> None:
        self._bundles = [dict(bundle) for bundle in bundles]
        self._place()

    def wait(self) -> None:
        """Until it is held. A host may be lost after it was counted: then for what the others can hold."""
        while not self._group.wait(_LOOK):
            if _places(self._bundles[0]) < len(self._bundles):
                self._renew()

    def renew_if_lost(self) -> None:
        """Lets go of what a lost host held: as long as that is wanted back, Ray places no other group."""
        from ray.util import placement_group_table

        if placement_group_table(self._group)["state"] == "RESCHEDULING":
            self._renew()

    def release(self) -> None:
        """Ends it."""
        from ray.util import remove_placement_group

        remove_placement_group(self._group)

    def _renew(self) -> None:
        self.release()
        self._bundles = self._bundles[: max(1, _places(self._bundles[0]))]
        self._place()

    def _place(self) -> None:
        from ray.util import placement_group

        self._group = placement_group(self._bundles)


@contextmanager
def reserved(bundles: Sequence[Mapping[str, float]]) -> Iterator[Reservation | None]:
    """Waits for these resources, equal bundles if any, and holds them."""
    if not bundles:
        yield None
        return
    held = Reservation(bundles)
    try:
        held.wait()
        yield held
    finally:
        held.release()


def _places(bundle: Mapping[str, float]) -> int:
    """How many such bundles the hosts hold where nothing else uses them."""
    import ray

    hosts = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(host.get(name, 0.0) // amount) for name, amount in bundle.items()) for host in hosts)
