"""Outcomes: settled items, published as Parquet, written as training data, and exchanged with Label Studio."""
