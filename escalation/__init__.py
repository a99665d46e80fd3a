"""Escalated documents: their queue in a database, the LLM and the people that are asked about them, and the outcomes."""
