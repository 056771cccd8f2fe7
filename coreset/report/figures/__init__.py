"""One file per chapter of the page: what it shows and how it is told."""
