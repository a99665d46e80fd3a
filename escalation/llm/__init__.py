"""The LLM: prompts, calls within a budget, answers, votes and batches."""
