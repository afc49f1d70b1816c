"""Controls of the study of observed items that rank all items: each scores the whole catalogue before a purchase.

They are those of the young items: text, item kNN, popularity and recent sales keep up every day, EASE is refitted at ten
moments, attribute kNN is of before the cut. Weights of the blends are learned on purchases of any item in the validation
period: a shop does not know whether a young item is bought next, so a blend must not either.

Nothing is retrieved here: a control ranks all that the user did not have. The recommender ranks its candidates, and where the
right item is none of them the answer counts 0.

With validation alone the weights are learned on some of the purchases that are asked about, which favours the blends.

Axis convention: `T` purchases that are asked for, `N` items, `F` inputs of a blend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from scipy import sparse

from benchmarks.controls import texts_of
from llmrec.data.splits import cold_items
from llmrec.data.tasks import Tasks
from llmrec.models.text_match import fit_tfidf
from studies.new_items import observing, refitted, study
from studies.new_items.observing import ATTRIBUTE_KNN, EASE, Scores, ndcg_of
from studies.new_items.replay import HALF_LIFE, SHRINK, TEXT_DECAY, World, before

NEW = "young or not"
BLENDS: Mapping[str, tuple[str, ...]] = {
    **observing.BLENDS,
    "blend of text, buyers, popularity, recent sales, young or not": (
        *(study.TEXT, study.KNN, study.POPULARITY, study.RECENT),
        NEW,
    ),
}
INPUTS = (study.TEXT, study.KNN, study.POPULARITY, study.RECENT, NEW)
LEARNED_FROM = 1000  # purchases of any item that the weights are learned from
BLOCK = 50  # questions whose table of inputs is read at once


def answered(here: World, events: np.ndarray, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Control -> NDCG@10 among all items that the user did not have, float64 (T,), before each of the events.

    events: int64 (T,), at or after the cut. weights: from `learned`.
    """
    arms = (*INPUTS[:-1], ATTRIBUTE_KNN, EASE, *BLENDS)
    result = {arm: np.full(len(events), np.nan) for arm in arms}
    of_texts, carried = Inputs(here), refitted.attribute_control(here, refitted.words_of(here))
    for held, ease in refitted.ease_of_all(here, events):
        for some in by_day(here, events, held):
            tasks = before(here, events[some])
            given = of_texts.scores(tasks)
            blends = {name: blended(given, names, weights[name]) for name, names in BLENDS.items()}
            given |= blends | {ATTRIBUTE_KNN: carried.scores(tasks), EASE: ease(tasks)}
            for arm in arms:
                result[arm][some] = ndcg_of(given[arm], tasks)
    return result


def learned(earlier: World, seed: int) -> dict[str, np.ndarray]:
    """Blend -> weights of its inputs, float64 (F,), on purchases of any item after an earlier cut."""
    events = observing.purchases(earlier, np.random.default_rng(seed), LEARNED_FROM)
    table = np.empty((len(events), earlier.whole.n_items, len(INPUTS)), np.float32)
    of_texts = Inputs(earlier)
    for some in by_day(earlier, events, np.arange(len(events))):
        given = of_texts.scores(before(earlier, events[some]))
        for place, name in enumerate(INPUTS):
            table[some, :, place] = given[name]
    spread = np.array([table[:, :, place].std(dtype=np.float64) for place in range(len(INPUTS))]) + 1e-9
    table /= spread.astype(np.float32)
    tasks = before(earlier, events)
    target, seen = tasks.dataset.item[tasks.split], sparse.csr_array(refitted.histories(tasks) > 0)

    def weights(names: tuple[str, ...]) -> np.ndarray:
        columns = [INPUTS.index(name) for name in names]

        def blocks() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
            for first in range(0, len(target), BLOCK):
                part = slice(first, first + BLOCK)
                yield table[part][:, :, columns].astype(np.float64), target[part], seen[part].toarray()

        return study.fitted_choice(blocks, len(names), len(target)) / spread[columns]

    return {name: weights(names) for name, names in BLENDS.items()}


class Inputs:
    """Inputs of the blends for all items: fitted words, and what was bought until the day that is asked about."""

    def __init__(self, here: World) -> None:
        whole = here.whole
        self.whole, self.young = whole, cold_items(whole, here.cut)
        self.text = fit_tfidf(whole, texts_of(whole.catalogue), log=True, decay=TEXT_DECAY)

    def scores(self, tasks: Tasks) -> Scores:
        """Input -> float32 (T, N). Tasks of one day, of which nothing is read but the histories."""
        whole, day = self.whole, self.whole.time[tasks.split[0]]
        past = whole.time < day
        item, time = whole.item[past], whole.time[past]
        count = np.bincount(item, minlength=whole.n_items)
        recent = np.bincount(item, 0.5 ** ((day - time) / HALF_LIFE), minlength=whole.n_items)
        bought, held = refitted.bought(whole, past), refitted.histories(tasks)
        alike = held.multiply(1 / np.sqrt(np.maximum(count, 1))).tocsr() @ bought.T @ bought
        knn = alike.toarray() / np.sqrt(count + SHRINK)
        shape = len(tasks), whole.n_items
        given = {
            study.TEXT: np.log1p(10 * self.text.scores(tasks)),
            study.KNN: np.log1p(10 * knn),
            study.POPULARITY: np.broadcast_to(np.log1p(count), shape),
            study.RECENT: np.broadcast_to(np.log(recent + 0.3), shape),
            NEW: np.broadcast_to(self.young, shape),
        }
        return {name: value.astype(np.float32) for name, value in given.items()}


def by_day(here: World, events: np.ndarray, some: np.ndarray) -> Iterator[np.ndarray]:
    """Places in `events`, (T,), those of one day together. some: int64, the places that are wanted."""
    days = here.whole.time[events[some]]
    for day in np.unique(days):
        yield some[days == day]


def blended(given: Mapping[str, np.ndarray], names: tuple[str, ...], weights: np.ndarray) -> np.ndarray:
    """float32 (T, N)."""
    return np.add.reduce([np.float32(weight) * given[name] for name, weight in zip(names, weights, strict=True)])
