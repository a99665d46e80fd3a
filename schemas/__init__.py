"""What everything else agrees on: tables, reason codes, errors and configuration. Imports nothing of Docyard."""
