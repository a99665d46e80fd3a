"""Seeded sample exports to try Docyard on, one module per kind of document; used by `docyard sample` alone."""
