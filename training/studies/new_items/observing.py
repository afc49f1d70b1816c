"""Young items in the product: `fit` before the cut, `add_items`, then day by day a question before each purchase and `observe`.

Arms are the recommender as it is, and the same one with first buyers unread, as before `observe` counted them.

Axis convention: `Q` purchases of young items, `P` other purchases, `Y` young items, `N` items.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from llmrec import Recommender, Settings
from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.tasks import Tasks
from llmrec.encoder.users import PromptReading, Read
from llmrec.metrics.report import Result
from llmrec.recommender.evaluate import chain_scores
from llmrec.recommender.state import State
from studies.new_items import study
from studies.new_items.refitted import MOMENTS, attribute_knn, ease, words_of
from studies.new_items.replay import Replay, World, ndcg, text

MOST = 10  # earlier buyers of a purchase that is asked for, at most
OTHERS = 2000  # purchases of any item that are asked for, drawn at random
OBSERVING, BEFORE = "llmrec", "llmrec, first buyers unread"
SWAPPED = "llmrec, another item's buyers"
BLENDS: Mapping[str, tuple[str, ...]] = {  # with one set of weights for all numbers of earlier buyers
    "blend of text, buyers, popularity": (study.TEXT, study.KNN, study.POPULARITY),
    "blend of text, buyers, popularity, recent sales": (study.TEXT, study.KNN, study.POPULARITY, study.RECENT),
}
ADDED = (study.RECENT, (study.RECENT, "blend of text, buyers, popularity, recent sales"))  # beside the controls of the aims
ATTRIBUTE_KNN, EASE = "attribute kNN, before the cut", f"EASE, refitted {MOMENTS} times"
YOUNG, EVERY, ANY = "among the young", "among all", "any purchase, among all"
Scores = dict[str, np.ndarray]
AIMS = {f"{label}, {YOUNG}": least for label, least in study.AIMS.items()}  # the first is the primary cell


@dataclass(frozen=True, eq=False)
class Answered:
    """What came of the questions after one cut in time, or after several.

    k: float32 (Q,), earlier buyers of each purchase of a young item; user: int (Q,).
    others: int (P,), users of other purchases.
    values: setting -> arm -> NDCG@10 of each question, float64 (Q,) or (P,).
    """

    k: np.ndarray
    user: np.ndarray
    others: np.ndarray
    values: Mapping[str, Mapping[str, np.ndarray]]


def pooled(parts: Sequence[Answered]) -> Answered:
    """Questions after several cuts, the same arms in all; users are numbered alike in all parts."""

    def joined(among: str, arm: str) -> np.ndarray:
        return np.concatenate([part.values[among][arm] for part in parts])

    values = {among: {arm: joined(among, arm) for arm in arms} for among, arms in parts[0].values.items()}
    k, user, others = (np.concatenate([getattr(part, name) for part in parts]) for name in ("k", "user", "others"))
    return Answered(k, user, others, values)


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked. rows: int64 (Q,), of `Replay.purchase`. others: int64 (P,), events of any item."""

    rows: np.ndarray
    others: np.ndarray


def questions(here: World, found: Replay, seed: int, share: float) -> Asked:
    """Purchases with at most MOST earlier buyers, by a share of the users, and some of all purchases after the cut."""
    whole, rng = here.whole, np.random.default_rng(seed)
    mine = rng.random(whole.n_users) < share
    rows = np.flatnonzero(found.asked & (found.k <= MOST) & mine[found.user])
    return Asked(rows, purchases(here, rng, int(OTHERS * share)))


def purchases(here: World, rng: np.random.Generator, most: int) -> np.ndarray:
    """int64, ascending: events after the cut by users with a history, of an item that the user did not have."""
    whole = here.whole
    later = np.flatnonzero((whole.time >= here.cut) & (np.arange(whole.n_events) > whole.start[whole.user]))
    fresh = [event for event in rng.permutation(later).tolist() if not _had(whole, event)][:most]
    return np.sort(np.array(fresh, np.int64))


def fitted(here: World, settings: Settings, seed: int, folder: Path) -> tuple[Recommender, np.ndarray]:
    """A recommender over the items and events before the cut, to which the young items were added; and int64 (N,), where it has
    each item."""
    train, catalogue = here.train, here.train.catalogue
    young = np.bincount(train.item, minlength=train.n_items) == 0
    known, new = np.flatnonzero(~young), np.flatnonzero(young)
    place = np.empty(len(young), np.int64)
    place[known], place[new] = np.arange(len(known)), len(known) + np.arange(len(new))
    some = Catalogue(catalogue.ids.take(known), catalogue.table.take(pa.array(known)))
    recommender = Recommender(settings=settings, seed=seed)
    recommender.fit(replace(train, catalogue=some, item=place[train.item].astype(np.int32)), output_dir=folder)
    titles = catalogue.table.take(pa.array(new)).select(["title"])
    recommender.add_items(titles.append_column("item_id", pa.array(catalogue.ids.take(new).values)))
    return recommender, place


def without_buyers(recommender: Recommender) -> Recommender:
    """The same without what first buyers say of cold items."""
    found, state = copy.copy(recommender), recommender.state
    bare = replace(state.retrieval, counts=replace(state.retrieval.counts, buyers=None))
    pair = (replace(one, cold=None) for one in (state.rankers, state.unseen_rankers))
    every, unseen = pair
    found._state = replace(state, retrieval=bare, rankers=every, unseen_rankers=unseen)
    return found


def answered(
    here: World, found: Replay, asked: Asked, recommender: Recommender, place: np.ndarray, seed: int
) -> dict[str, dict]:
    """setting -> arm -> NDCG@10 of each question, float64 (Q,) or (P,)."""
    whole = here.whole
    swap = _swapped(whole, found, seed)
    arms = {OBSERVING: recommender, BEFORE: without_buyers(recommender), SWAPPED: copy.copy(recommender)}
    result = {
        YOUNG: {arm: np.full(len(asked.rows), np.nan) for arm in arms},
        EVERY: {arm: np.full(len(asked.rows), np.nan) for arm in arms},
        ANY: {arm: np.full(len(asked.others), np.nan) for arm in arms},
    }
    events = found.purchase[asked.rows]
    for day in np.unique(whole.time[whole.time >= here.cut]):
        mine, others = np.flatnonzero(whole.time[events] == day), np.flatnonzero(whole.time[asked.others] == day)
        once = remembering(recommender.state)
        for arm, one in arms.items():
            state, read = one.state, by_arm(once, one.state)
            data = over(whole, state, place)
            young = np.zeros(data.n_items, bool)
            young[place[found.young]] = True
            if len(mine):
                tasks = tasks_before(data, events[mine])
                result[YOUNG][arm][mine] = ndcg_of(chain_scores(state, tasks, None, True, young, read), tasks, young)
                result[EVERY][arm][mine] = ndcg_of(chain_scores(state, tasks, None, True, None, read), tasks)
            if len(others):
                tasks = tasks_before(data, asked.others[others])
                result[ANY][arm][others] = ndcg_of(chain_scores(state, tasks, None, True, None, read), tasks)
        today = np.flatnonzero(whole.time == day)
        for arm, one in arms.items():
            item = swap[whole.item[today]] if arm == SWAPPED else whole.item[today]
            one.observe(
                pa.table(
                    {
                        "user_id": pa.array([whole.users[user] for user in whole.user[today].tolist()]),
                        "item_id": pa.array([whole.catalogue.ids[one] for one in item.tolist()]),
                        "timestamp": whole.time[today],
                    }
                )
            )
    return result


def inputs(here: World, found: Replay) -> dict[str, np.ndarray]:
    """Control -> scores (Q, Y) of all purchases of young items, the inputs of the blends."""
    return {
        study.TEXT: np.log1p(10 * text(here, found)),
        study.KNN: np.log1p(10 * found.knn),
        study.POPULARITY: np.log1p(found.known),
        study.RECENT: np.log(found.recent + 0.3),
    }


def blend_weights(
    found: Replay, given: Mapping[str, np.ndarray], blends: Mapping[str, tuple[str, ...]] = BLENDS
) -> dict[str, np.ndarray]:
    """Blend -> one set of weights of its inputs, for all numbers of earlier buyers, on validation. blends: name -> inputs.

    Purchases of items with more than MOST buyers are learned from too, as the recommender does. Without them a blend learns
    that the right item has few buyers, which a shop does not know, and ranks popular items lower.
    """
    rows = np.flatnonzero(found.asked)
    return {name: study.weights(found, _stacked(given, names).astype(np.float64), rows) for name, names in blends.items()}


def controls(here: World, found: Replay, given: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]) -> Scores:
    """Control -> scores (Q, Y). given: from `inputs`. weights: from `blend_weights`."""
    blends = {name: _stacked(given, names) @ weights[name] for name, names in BLENDS.items()}
    return {**given, ATTRIBUTE_KNN: attribute_knn(here, found, words_of(here)), EASE: ease(here, found), **blends}


def rows(name: str, found: Answered, seed: int) -> list[Result]:
    """Means by the number of earlier buyers, the differences of the recommender to all others, and what another item's buyers
    gain over first buyers unread; users are drawn with all their purchases."""
    made, k = [], found.k
    bins = {f"k = {label}": (k >= ends[0]) & (k <= ends[1]) for label, ends in study.BINS.items()}
    parts = [(f"{label}, {among}", among, inside, found.user) for label, inside in bins.items() for among in (YOUNG, EVERY)]
    parts.append((ANY, ANY, np.ones(len(found.others), bool), found.others))
    for setting, among, there, users in parts:
        if not there.any():
            continue
        of_user = np.unique(users[there], return_inverse=True)[1]
        arms = found.values[among]
        wanted = [(arm, "", value) for arm, value in arms.items()]
        wanted += [(OBSERVING, arm, arms[OBSERVING] - value) for arm, value in arms.items() if arm != OBSERVING]
        wanted += [(SWAPPED, BEFORE, arms[SWAPPED] - arms[BEFORE])] if {SWAPPED, BEFORE} <= set(arms) else []
        for arm, versus, value in wanted:
            low, high = study.interval(value[there], of_user, np.random.default_rng(seed))
            role = "ours" if arm.startswith("llmrec") else "control"
            mean = float(value[there].mean())
            made.append(Result(name, arm, role, setting, study.METRIC, mean, low, high, versus, int(there.sum()), seed, None))
    return made


def first_buyers(found: Answered) -> dict[str, float]:
    """Arm -> NDCG@10 of the primary cell; {} where it is empty."""
    least, most = study.BINS["1-3"]
    there = (found.k >= least) & (found.k <= most)
    return {arm: round(float(value[there].mean()), 4) for arm, value in found.values[YOUNG].items() if there.any()}


def among_young(found: Replay, asked: Asked, scores: np.ndarray) -> np.ndarray:
    """NDCG@10 of the questions by scores (Q, Y) of all purchases."""
    return ndcg(found, scores)[asked.rows]


def _stacked(given: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    return np.stack([given[name] for name in names], 2)


def _had(whole: Dataset, event: int) -> bool:
    return bool((whole.item[whole.start[whole.user[event]] : event] == whole.item[event]).any())


def _swapped(whole: Dataset, found: Replay, seed: int) -> np.ndarray:
    """int64 (N,): each young item stands for another one, and every other item for itself."""
    swap, order = np.arange(whole.n_items), np.random.default_rng(seed).permutation(found.young)
    swap[order] = np.roll(order, 1)
    return swap


def over(whole: Dataset, state: State, place: np.ndarray) -> Dataset:
    return replace(whole, catalogue=state.catalogue, item=place[whole.item].astype(np.int32))


def tasks_before(data: Dataset, events: np.ndarray) -> Tasks:
    return Tasks(data, data.start[data.user[events]], events, events + 1)


def remembering(state: State) -> Callable[[Tasks], PromptReading]:
    """How histories are read, which no arm changes; no tasks are read twice."""
    read, known = state.adapting.reader(), dict[bytes, PromptReading]()

    def once(tasks: Tasks) -> PromptReading:
        key = np.stack([tasks.start, tasks.split]).tobytes()
        if key not in known:
            known[key] = read(tasks)
        return known[key]

    return once


def by_arm(read: Callable[[Tasks], PromptReading], state: State) -> Read:
    """What is read, with cold items scored where an arm has moved them."""
    return lambda tasks: replace(read(tasks), moved=state.moved_items)


def ndcg_of(scores: np.ndarray, tasks: Tasks, allowed: np.ndarray | None = None) -> np.ndarray:
    """float64 (T,): NDCG@10 of each query's item among the allowed ones that the support does not hold."""
    if allowed is not None:
        scores = np.where(allowed, scores, -np.inf)
    target = tasks.dataset.item[tasks.split]
    own = scores[np.arange(len(tasks)), target][:, None]
    for task in range(len(tasks)):
        scores[task, tasks.dataset.item[tasks.support(task)]] = -np.inf
    ahead = (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
    return np.where(ahead < 10, 1 / np.log2(2 + ahead), 0.0)
