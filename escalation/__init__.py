"""The fallback queue: escalated documents in a database, the LLM that is asked about them, and what it may cost."""
