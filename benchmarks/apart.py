"""The process behind `harness.apart`: calls one function and prints what it returned, how long it took and its peak."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module

from benchmarks.harness import peak_memory

if __name__ == "__main__":
    module, function = sys.argv[1].split(":")
    called = getattr(import_module(module), function)
    begin = time.perf_counter()
    result = called(**json.loads(sys.argv[2]))
    seconds = time.perf_counter() - begin
    print(json.dumps({"result": result, "seconds": seconds, "peak": peak_memory()}))
