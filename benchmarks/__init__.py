"""How fast each stage is, against a limit or a peer measured in the same run: `make bench`."""
