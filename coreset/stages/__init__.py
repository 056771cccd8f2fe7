"""One file per stage: on what the numerics are applied."""
