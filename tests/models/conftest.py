"""The written-down worlds of `tests/worlds.py`."""

from worlds import random_history, world

__all__ = ["random_history", "world"]
