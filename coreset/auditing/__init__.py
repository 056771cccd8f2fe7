"""`coreset audit`: how much of a point set is redundant, and what it does not cover."""
