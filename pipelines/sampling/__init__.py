"""Seeded sample exports to try Docyard on; only `docyard sample` uses them."""
