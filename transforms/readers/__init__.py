"""Makes documents of bytes: one file per format, each bounded in memory whatever the input holds."""
