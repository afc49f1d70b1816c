"""Learning the weights of first buyers of cold items: training is replayed from a moment on, with the items that were new then,
as if they had been added and their events observed.

Two steps, as for the rankers. Weights of buyers, sales and words among cold items are learned from the purchases of all users,
since the base is not part of these inputs: a softmax over the items that were new in the last quarter of the events. The sum
joins the score of the rankers by weights that are learned from users whom the base was not trained on, with the newest items as
cold items beside all others. One set of weights serves items with few and with many buyers: weights for each number of buyers
would leak that of the purchased item.

Axis convention: `T` tasks, `C` candidates of all tasks as a flat list, `F` inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize

from llmrec.data.dataset import Dataset
from llmrec.data.splits import by_time, cold_items
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.index.candidates import Candidates
from llmrec.ranking.features import FEATURES, features
from llmrec.ranking.first_buyers import (
    INPUTS,
    ColdWeights,
    FirstBuyers,
    inputs,
    nobody_yet,
    weighted,
    with_events,
    with_skips,
)
from llmrec.ranking.rankers import EVERY_INPUT, TransformerRanker, already_read, every_input
from llmrec.ranking.statistics import ItemStatistics, with_baskets
from llmrec.ranking.two_stage import Rankers, Retrieval, retrieve
from llmrec.recommender.adapting import Adapting
from llmrec.recommender.cold_items import newest_items
from llmrec.recommender.settings import Settings

KNOWN = 0.75  # share of the events before the moment from which purchases of cold items are read
MOMENTS = 20  # at which the counts are brought up to date while training is replayed
MOST_TASKS, MOST_ITEMS = 3000, 300  # purchases that are learned from, and cold items that each is compared with
LEAST_TARGETS = 30  # purchases of cold items that either step needs to learn all its weights
LEAST_FOR_CONSTANT = 8  # that the second step needs to learn a constant alone, to within a third of a nat
RIDGE = 1e-3
Bounds = Sequence[tuple[float | None, float | None]]


@dataclass(frozen=True)
class Choices:
    """Candidates of T tasks of which one is right at least. offset: float64 (C,), known part of the scores. inputs: float64
    (C, F). start: int64 (T,), where each task begins. right: bool (C,)."""

    offset: np.ndarray
    inputs: np.ndarray
    start: np.ndarray
    right: np.ndarray


def learn_first_buyers(
    dataset: Dataset,
    users: np.ndarray,
    learned: Adapting,
    retrieval: Retrieval,
    pairs: tuple[Rankers, Rankers],
    settings: Settings,
    rng: np.random.Generator,
    skips: bool = True,
) -> tuple[tuple[Rankers, Rankers], str]:
    """Both pairs of rankers with weights of first buyers, and a line about them; as they are where too few purchases
    of cold items are there to learn from.

    users: int64, those whom the base was not trained on. learned, retrieval: with the newest items as cold items, see
    `newest_as_cold`. pairs: of all items, and of those that the history does not hold. skips: as in `learn_among`.
    """
    among = learn_among(dataset, retrieval.counts, rng, skips)
    newest = newest_items(dataset, users)
    if among is None or newest is None:
        return pairs, "too few bought newer items to learn from"
    some = np.sort(rng.permutation(len(newest.later))[: settings.ranking_tasks])
    found: list[Rankers] = []
    told = ""
    for rankers, repeats in zip(pairs, (settings.sources.repeats, False), strict=True):
        if found and rankers is pairs[0]:
            found.append(found[0])
            continue
        here = replace(retrieval, sources=replace(retrieval.sources, repeats=repeats))
        cold, targets = join(dataset, newest.later.take(some), newest.new, learned, here, rankers, among)
        found.append(replace(rankers, cold=cold))
        told = f"{targets:,} purchases of cold items by {len(users):,} other users"
        few = targets < LEAST_TARGETS
        told += ": too few to learn from" if cold is None else ": few, so a constant alone is learned" if few else ""
        told += "" if cold is None or few else f"; {cold.keep:.2f} of the score is kept"
    return (found[0], found[1]), told


def to_be_observed(dataset: Dataset, counts: ItemStatistics) -> ItemStatistics:
    """The statistics, ready to count first buyers of cold items from the end of `dataset` on; who skipped one there counts."""
    nobody = nobody_yet(counts.popularity == 0, float(dataset.time.max(initial=0.0)))
    return replace(counts, buyers=with_skips(nobody, dataset.take(np.zeros(0, np.int64)), dataset))


def replayed(dataset: Dataset, cold: np.ndarray, edges: np.ndarray) -> Iterator[FirstBuyers]:
    """What is known at each of the moments `edges`, float64 ascending, seconds: events before it, of those after the first.

    cold: bool (N,), items without counted events before the first moment.
    """
    earlier = dataset.keep(dataset.time < edges[0])
    known = with_skips(nobody_yet(cold, float(edges[0])), earlier.take(np.zeros(0, np.int64)), earlier)
    yield known
    for begin, end in pairwise(edges.tolist()):
        some = dataset.take(np.unique(dataset.user[(dataset.time >= begin) & (dataset.time < end)]))
        some = some.keep(some.time < end)
        later = some.time >= begin
        known = with_events(known, some.keep(~later), some, some.keep(later))
        yield known


def learn_among(dataset: Dataset, counts: ItemStatistics, rng: np.random.Generator, skips: bool = True) -> np.ndarray | None:
    """float64 (8,), weights of INPUTS, by which cold items are ranked among themselves, from the purchases of those that were
    new in the last quarter of the events; None of fewer than LEAST_TARGETS. counts: only its words are read. skips: False gives
    the inputs of who skipped no weight, for an ablation."""
    try:
        cut = by_time(dataset, KNOWN).time
    except DataError:  # all events at one time
        return None
    data, cold = dataset.counted, cold_items(dataset, cut)
    event = np.flatnonzero(cold[data.item] & (np.arange(data.n_events) > data.start[data.user]))
    event = np.sort(rng.permutation(event)[:MOST_TASKS])
    tasks = _before(dataset, event)
    before = data.keep(data.time < cut)
    counts = replace(counts, popularity=with_baskets(np.zeros(data.n_items), before).astype(np.float32))
    parts = []
    for known, part in _by_moment(dataset, cold, cut, tasks):
        found, right = _compared(part, np.flatnonzero(cold), rng)
        text = features(part, found, counts)[:, FEATURES.index("tfidf")]
        told = inputs(known, counts.popularity, part, found, text)
        parts.append(_choices(found, np.zeros(len(right)), told[:, 1:], right))
    whole = _joined(parts)
    if whole is None or len(whole.start) < LEAST_TARGETS:
        return None
    last = len(INPUTS) - 1 if skips else INPUTS.index("skipped") - 1
    some = np.flatnonzero(whole.inputs[:, :last].any(axis=0))
    used = int(some.max(initial=-1)) + 1  # without the inputs of skips where nobody skipped anything
    weights = softmax_weights(replace(whole, inputs=np.ascontiguousarray(whole.inputs[:, :used])), np.zeros(used))
    return np.concatenate([[0.0], weights, np.zeros(len(INPUTS) - 1 - used)])


def join(
    dataset: Dataset,
    tasks: Tasks,
    cold: np.ndarray,
    learned: Adapting,
    retrieval: Retrieval,
    rankers: Rankers,
    among: np.ndarray,
) -> tuple[ColdWeights | None, int]:
    """How the score of cold items among themselves joins that of the rankers, and how many right items were cold: what of the
    rankers' score is kept, a factor of the other one and a constant, by a softmax over all candidates. Where fewer than
    LEAST_TARGETS were cold, the constant alone is learned: the other score is a log-likelihood already, and takes the place of
    the rankers'. None where fewer than LEAST_FOR_CONSTANT were.

    tasks: T tasks of users whom the base was not trained on. cold: bool (N,). among: float64 (8,), see `learn_among`.
    """
    parts, targets = [], 0
    cut = float(dataset.time[cold[dataset.item]].min())
    for known, part in _by_moment(dataset, cold, cut, tasks):
        here = replace(retrieval, counts=replace(retrieval.counts, buyers=known))
        reading = learned.reader()(part)
        found = retrieve(here, part, reading.vectors, here.sources, None)
        over = replace(rankers, cold=None).over(here.counts, already_read(part, reading))
        every = every_input(here.counts, TransformerRanker(already_read(part, reading)), part, found)
        score, told = over.score_of(every).astype(np.float64), every[:, -len(INPUTS) :]
        new = told[:, EVERY_INPUT[-len(INPUTS) :].index("cold")].astype(np.float64)
        n = part.dataset.n_items
        wanted = np.concatenate([t * n + items.astype(np.int64) for t, items in enumerate(part.relevant())])
        right = np.isin(found.task.astype(np.int64) * n + found.item, wanted)
        targets += int((right & (new > 0)).sum())
        parts.append(_choices(found, score * (1 - new), np.stack([score * new, weighted(told, among), new], 1), right))
    whole = _joined(parts)
    if whole is None or targets < LEAST_FOR_CONSTANT:
        return None, targets
    keep, factor, constant = join_weights(whole, targets)
    weights = factor * among
    weights[INPUTS.index("cold")] += constant
    return ColdWeights(keep, weights), targets


def join_weights(choices: Choices, targets: int) -> tuple[float, float, float]:
    """What of the rankers' score is kept, the factor of the score among cold items, and the constant of cold items.

    choices: inputs (C, 3), both scores and 1, of cold items. targets: how many right items were cold.
    """
    if targets >= LEAST_TARGETS:
        bounds = [(0.0, None), (None, None), (None, None)]  # never the inverse of the rankers' order
        keep, factor, constant = softmax_weights(choices, np.array([1.0, 0.0, 0.0]), bounds).tolist()
        return keep, factor, constant
    rest = replace(choices, offset=choices.offset + choices.inputs[:, 1], inputs=choices.inputs[:, 2:])
    return 0.0, 1.0, float(softmax_weights(rest, np.zeros(1))[0])


def softmax_weights(choices: Choices, beforehand: np.ndarray, bounds: Bounds | None = None) -> np.ndarray:
    """float64 (F,): weights of a conditional softmax over the candidates of each task, by likelihood penalised by RIDGE times
    the squared distance from `beforehand`, (F,), with inputs at unit spread. McFadden (1974).

    bounds: the least and the largest value of each weight; None for no bound. An end is 0 or None."""
    spread = choices.inputs.std(0) + 1e-9
    given, first, right = choices.inputs / spread, choices.start, choices.right
    tasks, size = len(first), np.diff(np.append(first, len(right)))
    owner, centre = np.repeat(np.arange(tasks), size), beforehand * spread

    def log_sum(score: np.ndarray) -> np.ndarray:
        highest = np.maximum.reduceat(score, first)
        return highest + np.log(np.add.reduceat(np.exp(score - highest[owner]), first))

    def loss(weight: np.ndarray) -> tuple[float, np.ndarray]:
        score = choices.offset + given @ weight
        taken = np.where(right, score, -np.inf)
        every, mine = log_sum(score), log_sum(taken)
        pull = np.exp(score - every[owner]) - np.exp(taken - mine[owner])
        away = weight - centre
        value = float((every - mine).mean() + RIDGE * away @ away)
        return value, pull @ given / tasks + 2 * RIDGE * away

    return minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200}).x / spread


def _by_moment(dataset: Dataset, cold: np.ndarray, cut: float, tasks: Tasks) -> Iterator[tuple[FirstBuyers, Tasks]]:
    """What is known at each of MOMENTS moments from `cut` on, with as many counted events between them, and the tasks whose
    query begins after it and before the next."""
    later = dataset.counted.time
    later = later[later >= cut]
    edges = np.unique(np.append(cut, np.quantile(later, np.arange(1, MOMENTS) / MOMENTS)))
    place = np.searchsorted(edges, tasks.dataset.time[tasks.split], side="right") - 1
    for number, known in enumerate(replayed(dataset, cold, edges)):
        part = tasks.take(np.flatnonzero(place == number))
        if len(part):
            yield known, part


def _before(dataset: Dataset, events: np.ndarray) -> Tasks:
    """A task for each of `events`, int64 ascending, rows of `Dataset.counted`: all that its user did before is known."""
    rows = events if dataset.counting is None else np.flatnonzero(dataset.counting)[events]
    return Tasks(dataset, dataset.start[dataset.user[rows]], rows, rows + 1)


def _compared(tasks: Tasks, cold: np.ndarray, rng: np.random.Generator) -> tuple[Candidates, np.ndarray]:
    """For each task its query's item and MOST_ITEMS others of `cold`, int64, drawn at random, none of the support; and bool
    (C,), which is the query's. A task whose support holds the query's item has none."""
    data, parts = tasks.dataset, []
    for task in range(len(tasks)):
        target, had = data.item[tasks.split[task]], data.item[tasks.support(task)]
        drawn = cold if len(cold) <= MOST_ITEMS else cold[rng.integers(len(cold), size=MOST_ITEMS)]
        items = np.setdiff1d(np.append(drawn, target), had)
        parts.append(items if target in items else items[:0])
    start = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    found = Candidates(start, np.concatenate(parts).astype(np.int32), np.zeros(start[-1], np.uint8))
    return found, found.item == data.item[tasks.split][found.task]


def _choices(found: Candidates, offset: np.ndarray, given: np.ndarray, right: np.ndarray) -> Choices:
    """Of the tasks that have a right candidate."""
    some = np.bincount(found.task[right], minlength=len(found)) > 0
    rows = some[found.task]
    size = np.diff(found.start)[some]
    return Choices(offset[rows], given[rows].astype(np.float64), np.cumsum(size) - size, right[rows])


def _joined(parts: list[Choices]) -> Choices | None:
    """One after the other; None without a task."""
    some = [part for part in parts if len(part.start)]
    if not some:
        return None
    before = np.cumsum([0, *(len(part.right) for part in some[:-1])])
    start = np.concatenate([part.start + first for part, first in zip(some, before, strict=True)])
    columns = (np.concatenate([getattr(part, name) for part in some]) for name in ("offset", "inputs", "right"))
    offset, given, right = columns
    return Choices(offset, given, start, right)
