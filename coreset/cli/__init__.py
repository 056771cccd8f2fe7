"""The command line: one command per verb."""

from coreset.cli import corpora, published, runs, sets
from coreset.cli.command import main

__all__ = ["corpora", "main", "published", "runs", "sets"]
