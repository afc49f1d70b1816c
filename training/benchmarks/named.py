"""The benchmarks by the names that a person types."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import amazon, item_cold, journey, movielens, new_products, transfer
from benchmarks.protocol import Benchmark

_ON_FILES: dict[str, Callable[[str | Path], Benchmark]] = {
    "beauty": amazon.beauty,
    "beauty-published": amazon.beauty_published,
    "beauty-time": amazon.beauty_time,
    **{name: partial(amazon.category_last_out, category=name) for name in ("clothing", "health", "electronic", "book")},
    **{f"item-cold-{name}": partial(item_cold.item_cold, category=name) for name in item_cold.CATEGORIES},
    transfer.NAME: transfer.transfer,
    "ml1m-cold": movielens.ml1m_cold,
    "ml1m-taste": movielens.ml1m_taste,
    "ml1m-liked": movielens.ml1m_liked,
}
_PACKAGED = {
    "journey-cold": journey.journey_types,
    "journey-cold-products": journey.journey_products,
    new_products.NAME: new_products.new_products,
}
NAMES = (*_ON_FILES, *_PACKAGED)


def load(name: str, data: str | Path) -> Benchmark:
    """The benchmark called `name`, one of `NAMES`, out of the folder `data` (the journey ones come in a package and read
    nothing there). Raises DataError where a file is not there, MissingExtraError where the package is not."""
    return _PACKAGED[name]() if name in _PACKAGED else _ON_FILES[name](data)
