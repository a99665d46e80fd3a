"""The review: what waits for whom, who holds it, how they judge it, and what follows from that."""
