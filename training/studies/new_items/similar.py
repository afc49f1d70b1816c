"""Similar items of young items: what a page shows beside one, before and after its first buyers are observed.

For each young item its first k buyers are observed, and the list of similar items is held against what later buyers had before
they bought it. Buyers of the same day as the last of the k are neither. Lists hold items that were there before the cut.

Popular items are in most histories and say little about similarity. So a second metric divides the gain of an item by the
square root of its number of users before the cut, an estimated propensity (Steck, KDD 2010).

Axis convention: `I` young items that are asked about, `N` items.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from llmrec import Recommender
from llmrec.metrics.bootstrap import resampled
from llmrec.metrics.report import Result
from llmrec.progress import bar
from studies.new_items import study
from studies.new_items.replay import Replay, World

BUYERS = (1, 3, 6, 10)  # that are observed
LATER = 3  # later buyers that an item needs to be asked about
OURS, SWAPPED, TEXT = "llmrec", "llmrec, another item's buyers", "llmrec, nothing observed"
KNN, POPULARITY = "item kNN of the same buyers", "popularity"
PRIMARY = "3 buyers"
WEIGHED = "ndcg@10, by propensity"
TOP = 10
DRAWS = 2000


@dataclass(frozen=True, eq=False)
class Asked:
    """An item, its first buyers as rows of events, int64 (k,), and what later ones had: float64 (N,), how many had each."""

    item: int
    first: np.ndarray
    had: np.ndarray


def questions(here: World, found: Replay, k: int) -> list[Asked]:
    """One for each young item with k buyers and LATER more on later days who had something before the cut."""
    whole, old = here.whole, np.bincount(here.train.item, minlength=here.whole.n_items) > 0
    asked = []
    for item, events in zip(found.young.tolist(), found.buyers, strict=True):
        buyers = events[np.sort(np.unique(whole.user[events], return_index=True)[1])]
        if len(buyers) <= k:
            continue
        later = buyers[whole.time[buyers] > whole.time[buyers[k - 1]]]
        had, n = np.zeros(whole.n_items), 0
        for event in later.tolist():
            before = np.unique(whole.item[whole.start[whole.user[event]] : event])
            before = before[old[before]]
            had[before] += 1
            n += len(before) > 0
        if n >= LATER:
            asked.append(Asked(item, buyers[:k], had))
    return asked


def answered(here: World, asked: Sequence[Asked], recommender: Recommender, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Metric -> arm -> its value for each question, float64 (I,)."""
    whole, ids = here.whole, here.whole.catalogue.ids
    old = np.bincount(here.train.item, minlength=whole.n_items)
    order = np.argsort(-old, kind="stable")
    other = np.random.default_rng(seed).permutation(len(asked))
    other = np.where(other == np.arange(len(asked)), (other + 1) % len(asked), other)
    lists: dict[str, list[np.ndarray]] = {arm: [] for arm in (OURS, SWAPPED, TEXT, KNN, POPULARITY)}
    back = {ids[item]: item for item in range(whole.n_items)}

    def listed(one: Recommender, item: int) -> np.ndarray:
        near = one.similar_items([ids[item]], k=TOP + int((old == 0).sum()))["similar_item_id"]
        near = np.array([back[name] for name in near.to_pylist()], np.int64)
        return near[old[near] > 0][:TOP]

    for question, swapped in zip(bar(asked, desc="similar items"), other.tolist(), strict=True):
        for arm, buyers in ((OURS, question.first), (SWAPPED, asked[swapped].first), (TEXT, None)):
            one = copy.copy(recommender)
            if buyers is not None:
                one.observe(_purchases(here, buyers, ids[question.item]))
            lists[arm].append(listed(one, question.item))
        theirs = np.zeros(whole.n_items)
        for event in question.first.tolist():
            theirs[np.unique(whole.item[whole.start[whole.user[event]] : event])] += 1
        cosine = np.where(old > 0, theirs / np.sqrt(np.maximum(old, 1)), -1.0)
        lists[KNN].append(order[np.argsort(-cosine[order], kind="stable")][:TOP])
        lists[POPULARITY].append(order[:TOP])
    return {
        metric: {
            arm: np.array([gain(one, question.had * worth) for one, question in zip(each, asked, strict=True)])
            for arm, each in lists.items()
        }
        for metric, worth in ((study.METRIC, np.ones(len(old))), (WEIGHED, 1 / np.sqrt(np.maximum(old, 1))))
    }


def gain(listed: np.ndarray, had: np.ndarray) -> float:
    """NDCG@10 of a list of items, int64, where an item is worth how many had it, float64 (N,)."""
    discount = 1 / np.log2(np.arange(2, TOP + 2))
    best = np.sort(had)[::-1][:TOP]
    return float((had[listed] * discount[: len(listed)]).sum() / (best * discount).sum())


def rows(name: str, k: int, metric: str, result: dict[str, np.ndarray], seed: int) -> list[Result]:
    """Means, and the differences of the recommender to all others, over items."""
    drawn, made = resampled(result, np.random.default_rng(seed), DRAWS), []
    for arm, values in result.items():
        pairs = [("", drawn[arm])] if arm == OURS else [("", drawn[arm]), (OURS, drawn[OURS].minus(drawn[arm]))]
        for versus, one in pairs:
            end = one.interval()
            method, against = (OURS, arm) if versus else (arm, "")
            role = "ours" if method.startswith("llmrec") else "control"
            setting = f"{k} buyer" + "s" * (k > 1)
            made.append(
                Result(name, method, role, setting, metric, end.value, end.low, end.high, against, len(values), seed, None)
            )
    return made


def _purchases(here: World, events: np.ndarray, item: str) -> pa.Table:
    """The purchases `events`, int64 (k,), as if each were of `item`; and what these users bought from the cut until then."""
    whole = here.whole
    rows = [np.arange(whole.start[whole.user[event]], event + 1) for event in events.tolist()]
    rows = [some[whole.time[some] >= here.cut] for some in rows]
    names: list[str] = []
    for some in rows:
        names += [*(whole.catalogue.ids[one] for one in whole.item[some[:-1]].tolist()), item]
    every = np.concatenate(rows)
    users = pa.array([whole.users[user] for user in whole.user[every].tolist()])
    return pa.table({"user_id": users, "item_id": pa.array(names), "timestamp": whole.time[every]})
