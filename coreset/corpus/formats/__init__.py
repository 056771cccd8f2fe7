"""The files that programs leave behind, read as snapshots: one module per format, recognised by content."""
