"""Escalated documents: their queue in a database, the LLM and the people that judge them, and the outcomes."""
