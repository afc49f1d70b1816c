"""Counts of pairs of items, kept up to date: adding a few pairs takes time in proportion to these few alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.data.tasks import expand_ranges

_COLUMNS = 1 << 32  # a key is row * _COLUMNS + column, which no larger catalogue changes


@dataclass(frozen=True, eq=False)
class PairCounts:
    """A sparse table of numbers over pairs of items. Adding gives another value, and the two share what they have in common.

    layers: (keys int64 ascending, values float64) each; an entry is the sum over the layers. Every layer has at least twice as
        many entries as the next one, so there are at most log2 of them, and an entry is moved about as often.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    def added(self, row: np.ndarray, column: np.ndarray, value: np.ndarray) -> PairCounts:
        """With numbers float (P,) added at the pairs (row, column), int (P,) each, of which some may be the same."""
        if not len(row):
            return self
        layers = [*self.layers, _summed(row.astype(np.int64) * _COLUMNS + column, value.astype(np.float64))]
        while len(layers) > 1 and len(layers[-2][0]) < 2 * len(layers[-1][0]):
            (old, before), (new, after) = layers[-2:]
            layers[-2:] = [_summed(np.concatenate([old, new]), np.concatenate([before, after]))]
        return PairCounts(tuple(layer for layer in layers if len(layer[0])))

    def of_rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The entries of some rows, int64 (R,): the place in `rows` of each, its column, and a number; an entry may come in
        parts, whose sum it is."""
        parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
        for key, value in self.layers:
            begin, end = (np.searchsorted(key, (rows + more) * _COLUMNS) for more in (0, 1))
            owner, place = expand_ranges(begin, end)
            parts.append((owner, key[place] % _COLUMNS, value[place]))
        owner, column, number = (np.concatenate(part) for part in zip(*parts, strict=True))
        return owner, column, number

    @property
    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, columns and numbers of all entries that are not 0, each pair once, ascending."""
        key = np.concatenate([np.zeros(0, np.int64), *(layer[0] for layer in self.layers)])
        key, value = _summed(key, np.concatenate([np.zeros(0), *(layer[1] for layer in self.layers)]))
        return key // _COLUMNS, key % _COLUMNS, value

    def over(self, place: np.ndarray) -> PairCounts:
        """The same over another catalogue; place: int64 (N,), where each item is there, -1 for one that is not."""
        row, column, value = self.entries
        row, column = place[row], place[column]
        there = (row >= 0) & (column >= 0)
        return PairCounts().added(row[there], column[there], value[there])


def _summed(key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys, ascending, and the sum of the values of each; without those that come to 0."""
    order = np.argsort(key, kind="stable")
    key, value = key[order], value[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    total = np.add.reduceat(value, first) if len(first) else value
    left = np.abs(total) > 1e-9  # of a count, after what was added to it was taken off
    return key[first][left], total[left]
