"""The problem of `tests/bowls.py`, which can be worked out by hand."""

from bowls import bowls, numbers, start, walk

__all__ = ["bowls", "numbers", "start", "walk"]
