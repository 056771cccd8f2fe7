"""Snapshots, formats, splits: ordered points with stable identities."""
