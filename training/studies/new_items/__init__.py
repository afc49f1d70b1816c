"""Items that nobody had in training learn from their first buyers."""
