"""The made shops of `tests/shops.py`."""

from shops import aimless, fitted, known, newcomer, scenes, shop, tables

__all__ = ["aimless", "fitted", "known", "newcomer", "scenes", "shop", "tables"]
