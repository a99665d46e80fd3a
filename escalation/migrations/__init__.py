"""The queue's tables, as numbered steps that are never changed once they were released."""
