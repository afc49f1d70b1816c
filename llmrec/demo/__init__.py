"""The main job on real data, in one command, with its controls beside it."""
