"""People: who they are, how they log in, and the session that follows."""
