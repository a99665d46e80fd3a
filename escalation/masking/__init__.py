"""Masking of personal data in text that leaves the machine."""
