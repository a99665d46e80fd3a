"""Facts that all other code agrees on: tables, reason codes, errors and configuration. Imports nothing of Docyard."""
