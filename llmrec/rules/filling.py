"""One answer under rules: places are filled from pools of scored items, best first, within limits and around pinned items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.rules.applied import CatalogueRules

PINNED = "pinned"
Rows = list[tuple[int, int, float, str]]  # rank, item, score, source


@dataclass(frozen=True)
class Pool:
    """Items to fill places from, best first.

    item: int (P,). score: float (P,), what the answer's column `score` says. source: P labels. relevance: float (P,), what
    diversity is traded against, in the scale of a log-likelihood. vectors: float (P, d) of unit length; None without diversity.
    """

    item: np.ndarray
    score: np.ndarray
    source: Sequence[str]
    relevance: np.ndarray
    vectors: np.ndarray | None = None


class Filling:
    """The answer to one user while it is filled; `rows` are (place, item, score, source)."""

    def __init__(self, rules: CatalogueRules, k: int) -> None:
        self.rules, self.k = rules, k
        self.rows: Rows = []
        self.held = [dict[int, int]() for _ in rules.limits]
        self.vectors: list[np.ndarray] = []
        self.free = iter(range(1, k + 1))
        self.next: int | None = next(self.free)

    def pin(self, pool: Pool) -> None:
        """Put the pinned items of a pool in their places, where the limits and k allow it. It comes before `fill`."""
        at = {item: row for row, item in enumerate(pool.item.tolist())}
        for place, item in self.rules.pins:
            if place <= self.k and item in at and self._fits(item):
                self._put(place, at[item], pool, PINNED)
        taken = {row[0] for row in self.rows}
        self.free = (place for place in range(1, self.k + 1) if place not in taken)
        self.next = next(self.free, None)

    def fill(self, pool: Pool) -> None:
        """Fill the free places from a pool, until they or it are used up; an item that would break a limit is passed over."""
        pinned = {row[1] for row in self.rows if row[3] == PINNED}
        order = range(len(pool.item)) if pool.vectors is None else self._diverse(pool, pinned)
        for row in order:
            if self.next is None:
                return
            item = int(pool.item[row])
            if item not in pinned and self._fits(item):
                self._put(self.next, row, pool, pool.source[row])
                self.next = next(self.free, None)

    def open(self, allowed: np.ndarray | None) -> np.ndarray | None:
        """bool (N,): the allowed items that no limit which is used up leaves out; None for all."""
        for limit, held in zip(self.rules.limits, self.held, strict=True):
            full = [code for code, count in held.items() if count >= limit.most]
            if full:
                shut = np.zeros(limit.groups + 1, bool)  # the last one is for items of no group, -1
                shut[full] = True
                allowed = ~shut[limit.code] if allowed is None else allowed & ~shut[limit.code]
        return allowed

    def ranked(self) -> Rows:
        """The rows by place, with ranks from 1 in place of the places: where items are too few, pinned ones move up."""
        return [(rank, *row[1:]) for rank, row in enumerate(sorted(self.rows), 1)]

    def _fits(self, item: int) -> bool:
        for limit, held in zip(self.rules.limits, self.held, strict=True):
            code = int(limit.code[item])
            if code >= 0 and held.get(code, 0) >= limit.most:
                return False
        return True

    def _put(self, place: int, row: int, pool: Pool, source: str) -> None:
        item = int(pool.item[row])
        for limit, held in zip(self.rules.limits, self.held, strict=True):
            if (code := int(limit.code[item])) >= 0:
                held[code] = held.get(code, 0) + 1
        self.rows.append((place, item, float(pool.score[row]), source))
        if pool.vectors is not None:
            self.vectors.append(pool.vectors[row])

    def _diverse(self, pool: Pool, pinned: set[int]) -> Iterator[int]:
        """Rows of the pool by maximal marginal relevance, each against the items that the answer holds when it is asked for;
        Carbonell and Goldstein, SIGIR 1998. Equal ones come as in the pool."""
        assert pool.vectors is not None
        trade, span = self.rules.diversity, float(np.ptp(pool.relevance)) if len(pool.item) else 0.0
        relevance = (pool.relevance - pool.relevance.min()) / span if span else np.zeros(len(pool.item))
        left = ~np.isin(pool.item, [*pinned])
        nearest, compared = np.full(len(pool.item), -np.inf), 0
        while left.any():
            for vector in self.vectors[compared:]:
                nearest = np.maximum(nearest, pool.vectors @ vector)
            compared = len(self.vectors)
            similarity = nearest if compared else np.zeros(len(pool.item))
            row = int(np.argmax(np.where(left, (1 - trade) * relevance - trade * similarity, -np.inf)))
            left[row] = False
            yield row


def flat(answers: Sequence[Rows]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """The rows of A answers as arrays: asker int64 from 0 to A - 1, item int64, score float32, rank int64, source."""
    rows = [row for one in answers for row in one]
    rank, item, score = (np.array([row[column] for row in rows]) for column in range(3))
    asker = np.repeat(np.arange(len(answers)), [len(one) for one in answers])
    return asker, item.astype(np.int64), score.astype(np.float32), rank.astype(np.int64), [row[3] for row in rows]
