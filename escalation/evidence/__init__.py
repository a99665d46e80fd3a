"""Evidence: is the trail whole, what does it say, and what was erased."""
