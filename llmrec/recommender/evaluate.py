"""Evaluate a state on held-out users, against popularity and each user's most frequent items."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, first_baskets, without_history
from llmrec.encoder.users import Read, batches
from llmrec.errors import DataError
from llmrec.metrics.bootstrap import bootstrap_mean, paired_bootstrap
from llmrec.metrics.ranking import rank_targets
from llmrec.metrics.report import Result
from llmrec.recommender.answer import scored_by_attributes
from llmrec.recommender.dense import ranked, ranked_scores
from llmrec.recommender.state import State

OURS = "llmrec"


def evaluate(state: State, held: Dataset, known: int, rng: np.random.Generator) -> list[Result]:
    """Rows for one setting: the first `known` baskets of each user known, the items of the next `horizon` ones relevant.

    Differences (`versus`) are those of the adapted model to each other method. With `known` 0 users are asked for of whom
    attributes are known, and popularity alone is compared with. Raises DataError when no history is long enough, and where
    `known` is 0 and no attribute is known.
    """
    if known < 1 and state.by_attributes is None:
        raise DataError(
            f"known is {known}; expected at least 1 basket: without user attributes, see fit(..., users=table), "
            "users without events get popular items"
        )
    horizon = state.settings.train.horizon
    tasks = first_baskets(held, np.arange(held.n_users), known, horizon)
    if not len(tasks):
        raise DataError(f"events: no user has {known} + {horizon} baskets; bring longer histories or set a smaller `known`")
    if not known and tasks.user_attributes is not None:
        some = tasks.user_attributes.some
        if not some.any():
            raise DataError(f"known is 0, but none of {len(tasks):,} users has attributes; pass users=table")
        tasks = tasks.take(some)
    counts = state.retrieval.counts.popularity
    times, counted = np.zeros((len(tasks), held.n_items), np.float32), tasks.counted
    for i in range(len(tasks)):
        np.add.at(times[i], counted.dataset.item[counted.support(i)], 1.0)
    share = counts / (counts.max(initial=0.0) + 1.0)
    ways = {
        OURS: lambda: chain_scores(state, tasks, None),
        "zero_steps": lambda: chain_scores(state, tasks, 0),
        "popularity": lambda: np.tile(share, (len(tasks), 1)),
        "most_frequent": lambda: times + share,
    }
    if not known:  # there is nothing to adapt to, and nothing that was frequent
        ways = {OURS: lambda: scores_by_attributes(state, tasks), "popularity": ways["popularity"]}
    relevant, found, seconds = tasks.relevant(), {}, {}
    ranked_items = None if state.offered is None else np.tile(state.offered, (len(tasks), 1))
    for method, way in ways.items():
        began = time.perf_counter()
        places = rank_targets(way(), relevant, ranked_items)
        found[method] = {"ndcg@10": places.ndcg(10), "recall@10": places.recall(10), "auc": places.auc()}
        seconds[method] = time.perf_counter() - began
    rows, setting = [], f"known={known},all"
    for method, metrics in found.items():
        role = "ours" if method in (OURS, "zero_steps") else "control"
        for metric, values in metrics.items():
            one, took = bootstrap_mean(values, rng), seconds[method]
            rows.append(Result("evaluate", method, role, setting, metric, one.value, one.low, one.high, "", one.n, None, took))
            if method != OURS:
                gap = paired_bootstrap(found[OURS][metric], values, rng)
                rows.append(
                    Result("evaluate", OURS, "ours", setting, metric, gap.value, gap.low, gap.high, method, gap.n, None, None)
                )
    return rows


def chain_scores(
    state: State,
    tasks: Tasks,
    steps: int | None,
    filter_viewed: bool = False,
    allowed: np.ndarray | None = None,
    read: Read | None = None,
) -> np.ndarray:
    """Scores float32 (T, N) of the whole chain, as `recommend` ranks: adapters, candidates, rankers, reranker.

    steps: inner steps for everybody; None for as many as the gate says. filter_viewed: items of the history are no candidates;
        they still have a score, which the caller must mask. allowed: bool (N,), items that may be candidates; None for all.
    read: a way to read in place of that of the state, such as one that remembers; `steps` is then not read.
    """
    retrieval = replace(state.retrieval, sources=replace(state.retrieval.sources, repeats=not filter_viewed))
    over, may = state.rankers_for(filter_viewed).over, state.allowing(allowed)
    rerank = None if state.reranker is None else partial(state.reranker.rerank, filter_viewed=filter_viewed)
    return ranked_scores(read or state.adapting.reader(steps), retrieval, over, tasks, may, rerank)


def scores_by_attributes(state: State, tasks: Tasks, allowed: np.ndarray | None = None) -> np.ndarray:
    """Scores float32 (T, N) of users of whom attributes are known and no event, as `recommend` ranks; supports are not read.

    Raises DataError for tasks without attributes, and for a model that was fitted without.
    """
    if tasks.user_attributes is None:
        raise DataError("tasks: expected attributes of the users, got none; without them the answer is popular items")
    found = []
    for part in batches(replace(without_history(tasks.dataset, tasks.user_attributes), context=tasks.context)):
        reading, chosen, value = scored_by_attributes(state, part, state.allowing(allowed))
        found.append(ranked(chosen, value, reading.table()))
    return np.concatenate(found)
