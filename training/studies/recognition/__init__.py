"""Whether a new scene is recognised in windows of behaviour."""
