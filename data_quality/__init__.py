"""Data contracts: Great Expectations suites built from the table definitions."""
