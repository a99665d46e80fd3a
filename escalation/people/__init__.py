"""People: their accounts, sessions and log-in, and the rules of who may judge what."""
