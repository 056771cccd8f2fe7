"""An actor with a GPU, which Ray takes on trust, dies at a part; the artifact is whole: `gpu_actor.py FOLDER PART`."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ray.cluster_utils import Cluster

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize
from coreset.artifacts.stage import Context, Part, Place, Stage
from coreset.distributed.executor import RayExecutor

NODE = {"num_cpus": 2, "num_gpus": 1, "node_ip_address": "127.0.0.2", "include_dashboard": False}


@dataclass(frozen=True)
class Scored(Stage):
    """Each part is written by halves; between them of one of them the process dies, once."""

    name: ClassVar[str] = "scored"
    suffix: ClassVar[str] = ".txt"
    place: ClassVar[Place] = "actor"

    fatal: int = -1
    died: str = ""
    """A file that stands once it has died."""

    def parameters(self) -> dict[str, Any]:
        return {}

    def inputs(self) -> dict[str, str]:
        return {}

    def parts(self) -> list[Part]:
        return [Part(f"part-{number}", number) for number in range(6)]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        assert context.device == ("cuda" if self.died else "cpu")
        with path.open("w") as file:
            file.write(part.name)
            file.flush()
            if part.payload == self.fatal and not Path(self.died).exists():
                Path(self.died).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            file.write(part.name)
        return {}


@contextmanager
def cluster_with_a_gpu() -> Iterator[str]:
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "timings.json"
    }


if __name__ == "__main__":
    root, fatal = Path(sys.argv[1]), int(sys.argv[2])
    stage = Scored(fatal, str(root / "died"))
    with cluster_with_a_gpu() as address, RayExecutor(address, "cuda", 1) as executor:
        made = materialize(stage, root=root / "killed", executor=executor)
    alone = materialize(Scored(), root=root / "alone", executor=SerialExecutor())
    if not (root / "died").exists():
        sys.exit("no actor died")
    if contents(made.folder) != contents(alone.folder):
        sys.exit(f"{contents(made.folder)} is not {contents(alone.folder)}")
