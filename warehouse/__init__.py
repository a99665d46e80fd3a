"""The warehouse folder: where things lie, who may replace them, and how they are replaced as a whole."""
