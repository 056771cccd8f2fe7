"""Asks an autoscaling cluster for CPUs while a command runs: `python cluster/autoscale.py 64 coreset run …`.

A run uses the CPUs that it finds and asks for no more, so that a cluster without workers would grow to one. This asks
for those that you name, waits for them for fifteen minutes at most, and takes the wish back when the command ends.
"""

import subprocess
import sys
import time

import ray
from ray.autoscaler.sdk import request_resources

_PATIENCE = 900.0
"""Seconds to wait for CPUs; then the command starts on those that are there."""


def main() -> int:
    """Returns the exit status of the command."""
    cpus, command = int(sys.argv[1]), sys.argv[2:]
    ray.init(logging_level="ERROR")
    request_resources(num_cpus=cpus)
    try:
        deadline = time.monotonic() + _PATIENCE
        while ray.cluster_resources().get("CPU", 0) < cpus and time.monotonic() < deadline:
            time.sleep(1)
        return subprocess.call(command)
    finally:
        request_resources(num_cpus=0)


if __name__ == "__main__":
    sys.exit(main())
