"""Which Ray: a local one of our own, or the cluster that is meant."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from coreset.errors import RequestError, WorkError, brief

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


def start(address: str = "auto", workers: int | None = None) -> str:
    """Starts a local Ray, or attaches to the cluster that is meant; never to one that merely happens to run here.

    `auto` means the cluster of RAY_ADDRESS, which a Ray job has, else a local one, which other machines cannot reach.
    Returns the folder of Ray's own logs on this host. Raises RequestError if no cluster answers, WorkError where a
    local one does not come up.
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
    alone = address == "local" or (address == "auto" and "RAY_ADDRESS" not in os.environ)
    if alone:
        local = {"address": "local", "include_dashboard": False, "object_store_memory": _OBJECT_STORE}
        options |= {**local, "num_cpus": workers}
    elif address != "auto":
        options["address"] = address
    try:
        with _loopback() if alone else nullcontext():
            return str(Path(ray.init(**options).address_info["session_dir"]) / "logs")
    except ConnectionError as error:
        raise RequestError(
            f"cluster.address: expected a running Ray cluster at {address!r}, found none ({error})."
        ) from None
    except Exception as error:  # Ray has no kind of its own for a node that does not come up
        raise WorkError(
            f"Ray did not start ({brief(error)}); run again when the machine has less to do, or name a cluster that "
            "runs in cluster.address."
        ) from error


@contextmanager
def _loopback() -> Iterator[None]:
    """A Ray that starts meanwhile takes 127.0.0.1 for its node, so that its processes listen to this machine alone.

    Ray has no option for that: told 127.0.0.1, it takes an address that others can reach, and listens on all. What it
    asks first is whether the system is one on which it knows no clusters.
    """
    from ray._private import ray_constants

    known = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = known


@contextmanager
def reserved(bundles: Sequence[Mapping[str, float]]) -> Iterator[None]:
    """Waits for equal bundles of resources, if any, and holds them; no process takes part in it.

    They are fewer where the hosts cannot hold as many, for one may be lost after it was counted.
    """
    from ray.util import placement_group, remove_placement_group

    if not bundles:
        yield
        return
    wanted = [dict(bundle) for bundle in bundles]
    held = placement_group(wanted)
    try:
        while not held.wait(_LOOK):
            places = _places(wanted[0])
            if places < len(wanted):
                remove_placement_group(held)
                wanted = wanted[: max(1, places)]
                held = placement_group(wanted)
        yield
    finally:
        remove_placement_group(held)


def _places(bundle: Mapping[str, float]) -> int:
    """How many such bundles the hosts hold where nothing else uses them."""
    import ray

    hosts = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(host.get(name, 0.0) // amount) for name, amount in bundle.items()) for host in hosts)
