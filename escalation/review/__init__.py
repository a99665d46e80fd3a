"""The work: what waits for whom, who holds it, what they say of it, and what follows from that."""
