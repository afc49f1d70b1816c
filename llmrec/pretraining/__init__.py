"""Long base training: in several processes, resumable, and tracked."""
