"""The verbs of the walk: each file one step, its work a pure function on tables, wired for Beam."""
