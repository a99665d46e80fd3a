"""Outcomes: what was settled, published as Parquet, as training data, and exchanged with Label Studio."""
