"""External ids and the internal integers that stand for them; the integers never leave the library."""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

# White space, zero bytes, and signs that nobody sees: soft hyphens, byte-order, zero-width and direction marks.
_UNSEEN = "[\\s\\0\ufeff\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069]+"
_AROUND = re.compile(f"^{_UNSEEN}|{_UNSEEN}$")


class Ids:
    """An ordered set of distinct ids: str, int or UUID, one kind per set. Position = internal index.

    gone: positions of ids that were removed. They are found no more, and the same id may stand at a later position again.
    """

    def __init__(self, values: Sequence[Hashable], gone: Iterable[int] = ()):
        self.values: list[Any] = values if isinstance(values, list) else list(values)
        self.gone = frozenset(gone)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Any:
        return self.values[index]

    @cached_property
    def _position(self) -> dict[Any, int]:
        return {value: index for index, value in self.there()}

    @cached_property
    def _by_fold(self) -> dict[str, Any]:
        return {_folded(value): value for _, value in self.there()}

    def there(self) -> Iterator[tuple[int, Any]]:
        """Position and id of all that were not removed, in order."""
        return ((index, value) for index, value in enumerate(self.values) if index not in self.gone)

    def alike(self, wanted: Hashable) -> Any:
        """An id that differs from `wanted` in case, type, width, white space, unseen signs, an apostrophe in front,
        leading zeros or a final ".0" alone, or None."""
        return self._by_fold.get(_folded(wanted))

    def find(self, wanted: Iterable[Hashable]) -> np.ndarray:
        """int64 array of positions; -1 where an id is not in the set, also not as `tidy` writes it."""
        position = self._position

        def place(value: Hashable) -> int:
            found = position.get(plain(value), -1)
            return position.get(tidy(value), -1) if found < 0 and isinstance(value, str) else found

        return np.fromiter((place(value) for value in wanted), np.int64)

    def take(self, index: Iterable[int]) -> Ids:
        """The ids at some positions, in that order."""
        return Ids([self.values[int(i)] for i in index])

    def extended(self, values: Iterable[Hashable]) -> Ids:
        """With more ids behind, none of which is there."""
        return Ids([*self.values, *values], self.gone)

    def without(self, index: Iterable[int]) -> Ids:
        """With the ids at some positions removed; all others keep their positions."""
        return Ids(self.values, self.gone.union(int(i) for i in index))


def tidy(text: str) -> str:
    """A text id without white space, zero bytes and unseen signs around it, in Unicode's form NFC."""
    return _AROUND.sub("", unicodedata.normalize("NFC", text))


def plain(value: Any) -> Any:
    """NumPy scalars as Python's own, so that `np.int64(5)` finds 5; str, int and UUID pass through."""
    if isinstance(value, (str, int, uuid.UUID)):
        return value
    return value.item() if isinstance(value, np.generic) else value


def _folded(value: Any) -> str:
    text = str(value).casefold()
    if not text.isascii():
        text = "".join(sign for sign in unicodedata.normalize("NFKC", text) if unicodedata.category(sign) != "Cf")
    return " ".join(text.split()).removesuffix(".0").lstrip("'0")
