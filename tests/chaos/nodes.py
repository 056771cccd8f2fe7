"""A cluster of two nodes on this machine: says its address, loses the second node when told to, ends with its input."""

import json
import os
import signal
import sys

from ray.cluster_utils import Cluster

# Not 127.0.0.1, which Ray takes for "any address of this machine" when a driver connects.
NODE = {"num_cpus": 2, "node_ip_address": "127.0.0.2", "include_dashboard": False, "object_store_memory": 400_000_000}

cluster = Cluster(initialize_head=True, head_node_args=NODE)
other = cluster.add_node(**NODE)
raylet = other.all_processes["raylet"][0].process
print(json.dumps({"address": cluster.address, "raylet": raylet.pid}), flush=True)
for _ in sys.stdin:
    os.kill(raylet.pid, signal.SIGKILL)
    raylet.wait()  # a zombie would keep its workers
    print("lost", flush=True)
cluster.shutdown()
