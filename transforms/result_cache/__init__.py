"""Earlier answers of bundles, kept in the warehouse by the hash of the text, so that no run pays for one twice."""
