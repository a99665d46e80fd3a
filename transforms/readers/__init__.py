"""Readers of documents: one file per format, each bounded in memory for any input."""
