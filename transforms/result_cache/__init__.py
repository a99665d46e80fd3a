"""What bundles answered before, kept in the warehouse by the hash of the text, so that no run pays for it twice."""
