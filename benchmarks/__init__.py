"""Docyard against the usual stack, side by side in one run. Needs the `benchmarks` extra."""
