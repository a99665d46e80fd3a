"""How bytes become documents: one file per format, each bounded in memory whatever the input holds."""
