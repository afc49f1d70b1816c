"""The purchases of young items in the order of time, and the counts of every young item before each of them.

Axis convention: `Q` purchases that are asked for, `Y` young items, `N` items of the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import amazon
from benchmarks.controls import texts_of
from benchmarks.protocol import Part
from llmrec.data.dataset import Dataset
from llmrec.data.splits import by_time, cold_items
from llmrec.data.tasks import Tasks
from llmrec.models.text_match import fit_tfidf

KNOWN = 0.75  # share of the events before the cut
HALF_LIFE = 30 * 86_400.0  # of recent sales, in seconds
DECAY = 0.8  # weight of the history in item kNN, per event back
TEXT_DECAY = 0.9  # the same in the text control
SHRINK = 1.0  # buyers that item kNN adds to an item's
CHUNK = 500


@dataclass(frozen=True, eq=False)
class World:
    """All events, those before the cut, and the moment of the cut in seconds."""

    whole: Dataset
    train: Dataset
    cut: float


@dataclass(frozen=True, eq=False)
class Replay:
    """What is known before each of Q purchases of young items. Buyers of the same day are not known, nor counted.

    young: int64 (Y,), items. purchase: int64 (Q,), rows of the events. target: int64 (Q,), places in `young`. user: (Q,).
    day: float64 (Q,), seconds. buyers: for each young item the rows of its events, in the order of time.
    known: float32 (Q, Y), earlier buyers. recent: the same with a half-life. knn: similarity to the history by common buyers.
    seen: bool (Q, Y), items of the history, which are not ranked. asked: bool (Q,), not of an item that the user had.
    """

    young: np.ndarray
    purchase: np.ndarray
    target: np.ndarray
    user: np.ndarray
    day: np.ndarray
    buyers: list[np.ndarray]
    known: np.ndarray
    recent: np.ndarray
    knn: np.ndarray
    seen: np.ndarray
    asked: np.ndarray

    @property
    def k(self) -> np.ndarray:
        """float32 (Q,): earlier buyers of what was purchased."""
        return self.known[np.arange(len(self.target)), self.target]


def world(data: str | Path, category: str, part: Part, known: float = KNOWN) -> World:
    """Test: a cut at a share `known` of the events of an Amazon category. Validation: a cut at the same share of the events
    before that."""
    whole = amazon.dataset(data, category)
    late = by_time(whole, known)
    if part == "test":
        return World(whole, late.train, late.time)
    early = by_time(late.train, known)
    return World(late.train, early.train, early.time)


def replay(here: World) -> Replay:
    """Young items are those first sold at or after the cut; asked is every purchase of one by a user with a history."""
    whole, cut = here.whole, here.cut
    new = cold_items(whole, cut)
    young = np.flatnonzero(new)
    place = np.full(whole.n_items, -1)
    place[young] = np.arange(len(young))
    begin = whole.start[whole.user]
    purchase = np.flatnonzero(new[whole.item] & (np.arange(whole.n_events) > begin))
    purchase = purchase[np.argsort(whole.time[purchase], kind="stable")]
    later = np.flatnonzero(whole.time >= cut)
    later = later[np.argsort(whole.time[later], kind="stable")]
    shape = len(purchase), len(young)
    known, recent, knn = (np.zeros(shape, np.float32) for _ in range(3))
    seen = np.zeros(shape, bool)
    both = np.zeros((whole.n_items, len(young)), np.float32)  # users who had both
    had = np.bincount(here.train.item, minlength=whole.n_items).astype(np.float64)
    count, fresh, last = np.zeros(len(young)), np.zeros(len(young)), cut
    at, row = 0, 0
    for day in np.unique(whole.time[later]):
        fresh *= 0.5 ** ((day - last) / HALF_LIFE)
        last = day
        while at < len(purchase) and whole.time[purchase[at]] == day:
            history = whole.item[begin[purchase[at]] : purchase[at]]
            weight = DECAY ** np.arange(len(history))[::-1] / np.sqrt(np.maximum(had[history], 1))
            known[at], recent[at], knn[at] = count, fresh, weight @ both[history] / np.sqrt(count + SHRINK)
            mine = place[history]
            seen[at, mine[mine >= 0]] = True
            at += 1
        while row < len(later) and whole.time[later[row]] == day:
            event = later[row]
            item, mine = whole.item[event], place[whole.item[event]]
            others = np.unique(whole.item[begin[event] : event])
            others = others[others != item]
            had[item] += 1
            if mine >= 0:
                both[others, mine] += 1
                count[mine] += 1
                fresh[mine] += 1
            among = place[others]
            both[item, among[among >= 0]] += 1
            row += 1
    target = place[whole.item[purchase]]
    owner = place[whole.item[later]]
    buyers = [later[owner == one] for one in range(len(young))]
    asked = ~seen[np.arange(len(purchase)), target]
    of_user, day = whole.user[purchase], whole.time[purchase]
    return Replay(young, purchase, target, of_user, day, buyers, known, recent, knn, seen, asked)


def before(here: World, events: np.ndarray) -> Tasks:
    """A task for each event: all that its user did before is known."""
    return Tasks(here.whole, here.whole.start[here.whole.user[events]], events, events + 1)


def text(here: World, found: Replay) -> np.ndarray:
    """float32 (Q, Y): cosine of the words of every young item's text to the history's."""
    control = fit_tfidf(here.whole, texts_of(here.whole.catalogue), log=True, decay=TEXT_DECAY)
    parts = [found.purchase[first : first + CHUNK] for first in range(0, len(found.purchase), CHUNK)]
    return np.concatenate([control.scores(before(here, part))[:, found.young] for part in parts])


def ndcg(found: Replay, scores: np.ndarray, depth: int = 10) -> np.ndarray:
    """float64 (Q,): NDCG of each purchase among the young items that the user does not have, (Q, Y); ties share their ranks.
    NaN where nothing is asked."""
    value = np.where(found.seen, -np.inf, scores)
    own = value[np.arange(len(value)), found.target][:, None]
    ahead = (value > own).sum(1) + ((value == own).sum(1) - 1) / 2
    return np.where(found.asked, np.where(ahead < depth, 1 / np.log2(2 + ahead), 0.0), np.nan)
