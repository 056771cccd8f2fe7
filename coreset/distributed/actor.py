"""What runs in a task or an actor: one process, one thread of computation, the function that the executor was given."""

from __future__ import annotations

from coreset.artifacts.executor import Work
from coreset.artifacts.stage import Part
from coreset.distributed.executor import RemoteContext


class PartActor:
    """Produces parts; what a stage loads once, such as K networks, lives as long as the actor does."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def produce(self, digest: str, part: Part) -> None:
        """Produces the shard of one part."""
        self._work(digest, part, RemoteContext())
