"""Users who rate a young film badly: what their ratings say to others, as events of weight 0, on MovieLens-1M.

Users of MovieLens-1M come once and rate all their films in a session, so its times tell nothing of films that are new. Here
the ratings of each user keep their order and are spread evenly over one year, which is made up. Some films come at the cut,
and some at moments of training; what was rated of a film before it came is dropped. A rating of 4 or 5 is a like, which
counts 1, and any other is a dislike, which counts 0. Arms are one fit with three sets of weights of first buyers: learned anew
with the inputs of who skipped, learned anew without them from the same draws, and none; and where no recommender is fitted,
the first with another film's skips.

Axis convention: `Q` likes of young films that are asked for, `N` films.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.movielens import dataset
from benchmarks.protocol import Part
from benchmarks.signals import LIKED
from llmrec import Recommender
from llmrec.data.dataset import Catalogue, Dataset, EventWeights
from llmrec.encoder.train import TrainSettings
from llmrec.errors import DataError
from llmrec.index.candidates import Candidates
from llmrec.meta.outer import OuterSettings
from llmrec.metrics.report import Result
from llmrec.ranking.features import FEATURES, features
from llmrec.ranking.first_buyers import INPUTS, inputs, nobody_yet, with_events
from llmrec.ranking.statistics import ItemStatistics, fit_statistics, read_texts, with_baskets
from llmrec.recommender.cold_items import newest_as_cold, newest_items, texts_of
from llmrec.recommender.evaluate import chain_scores
from llmrec.recommender.first_buyers import learn_among, learn_first_buyers
from llmrec.recommender.settings import CoreSettings, Settings
from llmrec.recommender.splitting import split_users, training_dataset
from llmrec.recommender.state import State
from studies.new_items import study
from studies.new_items.observing import by_arm, ndcg_of, over, remembering, tasks_before, without_buyers

YEAR, KNOWN = 365 * 86_400.0, 0.75  # seconds, and the share of the year before the cut
YOUNG, GROWING = 0.2, 0.2  # shares of the films that come at the cut, and in the second half of training
BLOCK, FEW = 500, 60  # events that are observed at once, and users whose counts are not read
MOST = 10  # earlier likers of a film that is asked for, at most
TYPES = ("like", "dislike")
SKIPS, LIKES, UNREAD = "first buyers and skips", "first buyers alone", "first buyers unread"
SWAPPED = "first buyers and another film's skips"
AMONG_YOUNG, AMONG_ALL = "among the young", "among all"
_SKIPS = [INPUTS.index("skipped"), INPUTS.index("skipped_knn")]
BINS: Mapping[str, tuple[int, int]] = {"1-3": (1, 3), "4-6": (4, 6), "7-10": (7, 10)}
PRIMARY = f"k = 1-3, {AMONG_YOUNG}"
SETTINGS = Settings(
    cold_items=True,
    train=TrainSettings(max_steps=200, max_slots=48, known=(1, 32), text_only_rate=0.5),
    outer=OuterSettings(episodes=10),
    core=CoreSettings(episodes=10),
    ranking_tasks=1500,
    blend_fraction=0.3,
)


@dataclass(frozen=True, eq=False)
class Shop:
    """All events and the moment of the cut, seconds; young: bool (N,), films that come at the cut."""

    whole: Dataset
    cut: float
    young: np.ndarray


@dataclass(frozen=True, eq=False)
class Answered:
    """k: int64 (Q,), earlier likers. user: int (Q,). values: among whom -> arm -> NDCG@10, float64 (Q,)."""

    k: np.ndarray
    user: np.ndarray
    values: Mapping[str, Mapping[str, np.ndarray]]


def shop(data: str | Path, part: Part, seed: int) -> Shop:
    """Half of the users, one for validation and one for test; both draw films of their own."""
    every = dataset(data)
    half = np.random.default_rng(seed).permutation(every.n_users) % 2 == (part == "test")
    rng, cut = np.random.default_rng([seed, part == "test"]), KNOWN * YEAR
    whole = retimed(every.take(np.flatnonzero(half)), rng)
    order, n = rng.permutation(whole.n_items), whole.n_items
    young, growing = np.split(order, [round(YOUNG * n), round((YOUNG + GROWING) * n)])[:2]
    came = np.zeros(n)
    came[young] = cut
    came[growing] = cut * rng.uniform(0.5, 1.0, len(growing))
    kind = (whole.attributes["rating"] < LIKED).astype(np.float32)
    weights = EventWeights((1.0, 0.0))
    typed = replace(whole, attributes={"event_type": kind}, event_types=TYPES, event_weights=weights)
    return Shop(_some(typed, whole.time >= came[whole.item]), cut, np.isin(np.arange(n), young))


def retimed(whole: Dataset, rng: np.random.Generator) -> Dataset:
    """The same events, of which the i-th of a user's n comes at (i + u) / n of the year, with one u in [0, 1) a user."""
    size = np.diff(whole.start)
    place = np.arange(whole.n_events) - np.repeat(whole.start[:-1], size)
    return replace(whole, time=YEAR * (place + rng.random(whole.n_users)[whole.user]) / size[whole.user])


def fitted(here: Shop, seed: int) -> tuple[dict[str, Recommender], np.ndarray, dict[str, object]]:
    """The arms over the events before the cut, to which the young films were added; int64 (N,), where they have each film; and
    what was learned."""
    catalogue, train = here.whole.catalogue, _some(here.whole, here.whole.time < here.cut)
    known, new = np.flatnonzero(~here.young), np.flatnonzero(here.young)
    place = np.empty(len(catalogue), np.int64)
    place[known], place[new] = np.arange(len(known)), len(known) + np.arange(len(new))
    some = Catalogue(catalogue.ids.take(known), catalogue.table.take(pa.array(known)))
    train = replace(train, catalogue=some, item=place[train.item].astype(np.int32))
    recommender = Recommender(settings=SETTINGS, seed=seed).fit(train)
    arms: dict[str, Recommender] = {}
    told: dict[str, object] = {}
    for arm, state in refitted(recommender.state, train, seed).items():
        arms[arm] = copy.copy(recommender)
        arms[arm]._state = state
        cold = state.unseen_rankers.cold
        told[arm] = None if cold is None else {"keep": round(cold.keep, 4), "weights": cold.weights.round(4).tolist()}
    table = catalogue.table.take(pa.array(new))
    described = table.select([name for name in table.column_names if name != "item_id"])
    for one in arms.values():
        one.add_items(described.append_column("item_id", pa.array(catalogue.ids.take(new).values)))
    return arms | {UNREAD: without_buyers(arms[SKIPS])}, place, told


def refitted(state: State, train: Dataset, seed: int) -> dict[str, State]:
    """Arm -> the state with weights of first buyers that are learned anew, as in `fit`, from the same draws for all arms."""
    rng, settings = np.random.default_rng(seed), state.settings
    split = split_users(train, np.arange(train.n_users), settings, rng)
    texts = texts_of(train, state.model, settings, rng)
    counts = fit_statistics(training_dataset(train, split, settings), split.base, settings.train.horizon, texts, rng)
    retrieval, newest = replace(state.retrieval, counts=counts, observed=None), newest_items(train, split.blend)
    conditions = newest_as_cold(train, split.base, state.adapting, retrieval, newest, texts, settings, rng)
    bare = replace(state.rankers, cold=None), replace(state.unseen_rankers, cold=None)
    given = np.union1d(split.meta, split.blend), replace(conditions.learned, gate=state.gate), conditions.retrieval
    found = {}
    for arm, skips in ((SKIPS, True), (LIKES, False)):
        pair, _ = learn_first_buyers(train, *given, bare, settings, copy.deepcopy(rng), skips)
        found[arm] = replace(state, rankers=pair[0], unseen_rankers=pair[1])
    return found


def questions(here: Shop, seed: int, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of all events after the cut in blocks that are observed at once, int64; and for each row whether it is asked for,
    and how many liked its film in the blocks before. Asked are likes of young films by a share of the users, who have a
    history, with 1 to MOST earlier likers."""
    whole = here.whole
    liked = np.ones(whole.n_events, bool) if whole.counting is None else whole.counting
    order = np.argsort(whole.time, kind="stable")
    order = order[whole.time[order] >= here.cut]
    known, likers = np.zeros(whole.n_items, np.int64), np.zeros(len(order), np.int64)
    for first in range(0, len(order), BLOCK):
        rows = order[first : first + BLOCK]
        likers[first : first + BLOCK] = known[whole.item[rows]]
        np.add.at(known, whole.item[rows[liked[rows]]], 1)
    mine = np.random.default_rng(seed).random(whole.n_users) < share
    asked = here.young[whole.item[order]] & liked[order] & (order > whole.start[whole.user[order]])
    return order, asked & mine[whole.user[order]] & (likers >= 1) & (likers <= MOST), likers


def answered(here: Shop, arms: Mapping[str, Recommender], place: np.ndarray, seed: int, share: float) -> Answered:
    """Block by block: each question before the block, then the block is observed."""
    whole, (order, asked, likers) = here.whole, questions(here, seed, share)
    values = {among: {arm: np.full(len(order), np.nan) for arm in arms} for among in (AMONG_YOUNG, AMONG_ALL)}
    young = np.zeros(len(place), bool)
    young[place[here.young]] = True
    observing, last = copy.copy(arms[SKIPS]), int(np.flatnonzero(asked).max(initial=0))
    for first in range(0, last + 1, BLOCK):
        rows = np.arange(first, min(first + BLOCK, len(order)))
        mine = rows[asked[rows]]
        if len(mine):
            mine = mine[np.argsort(order[mine])]
            tasks = tasks_before(over(whole, observing.state, place), order[mine])
            once = remembering(observing.state)
            for arm, one in arms.items():
                state = _with_weights(observing, one)
                read = by_arm(once, state)
                for among, allowed in ((AMONG_YOUNG, young), (AMONG_ALL, None)):
                    values[among][arm][mine] = ndcg_of(chain_scores(state, tasks, None, True, allowed, read), tasks, allowed)
        observing.observe(_table(whole, order[rows]))
    found = {among: {arm: value[asked] for arm, value in arms.items()} for among, arms in values.items()}
    return Answered(likers[asked], whole.user[order[asked]], found)


def learned_alone(here: Shop, seed: int) -> dict[str, np.ndarray]:
    """Arm -> weights of the score of cold items among themselves, float64 (8,), without a fitted recommender. Raises DataError
    for fewer purchases of newer films than `learn_among` needs."""
    train, found = _some(here.whole, here.whole.time < here.cut), {}
    for arm, skips in ((SKIPS, True), (LIKES, False)):
        weights = learn_among(train, _words(train), np.random.default_rng(seed), skips)
        if weights is None:
            raise DataError("ratings before the cut: expected more likes of newer films; take more users")
        found[arm] = weights
    return found


def answered_alone(here: Shop, weights: Mapping[str, np.ndarray], seed: int, share: float) -> Answered:
    """As `answered` among the young films, by the score of cold items among themselves. The recommender ranks so where it keeps
    nothing of its rankers' score."""
    whole, (order, asked, likers) = here.whole, questions(here, seed, share)
    train, young = _some(whole, whole.time < here.cut), np.flatnonzero(here.young)
    counts = replace(_words(train), popularity=with_baskets(np.zeros(train.n_items), train).astype(np.float32))
    known = nobody_yet(here.young, here.cut)
    values = {arm: np.full(len(order), np.nan) for arm in (*weights, *([SWAPPED] if SKIPS in weights else []))}
    turn, other = np.random.default_rng(seed).permutation(len(young)), np.empty(len(young), np.int64)
    other[turn] = np.roll(turn, 1)
    for first in range(0, int(np.flatnonzero(asked).max(initial=0)) + 1, BLOCK):
        rows = np.arange(first, min(first + BLOCK, len(order)))
        mine = rows[asked[rows]]
        if len(mine):
            mine = mine[np.argsort(order[mine])]
            tasks, start = tasks_before(whole, order[mine]), np.arange(len(mine) + 1) * len(young)
            found = Candidates(start, np.tile(young.astype(np.int32), len(mine)), np.zeros(start[-1], np.uint8))
            told = inputs(known, counts.popularity, tasks, found, features(tasks, found, counts)[:, FEATURES.index("tfidf")])
            for arm, given, weight in _asked_alone(told, weights, other):
                scores = np.full((len(mine), whole.n_items), -np.inf)
                scores[:, young] = (given @ weight).reshape(len(mine), len(young))
                values[arm][mine] = ndcg_of(scores, tasks, here.young)
        time = whole.time[order[rows]]
        some = whole.take(np.unique(whole.user[order[rows]]))
        some = some.keep(some.time <= time.max())
        later = some.time >= time.min()
        known = with_events(known, some.keep(~later), some, some.keep(later))
    return Answered(likers[asked], whole.user[order[asked]], {AMONG_YOUNG: {arm: one[asked] for arm, one in values.items()}})


def _asked_alone(
    told: np.ndarray, weights: Mapping[str, np.ndarray], other: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Arm, inputs and weights. told: float32 (C, 8), inputs of all Y young films for each question. other: int64 (Y,), another
    young film for each, whose skips stand in its place in the arm SWAPPED."""
    for arm, weight in weights.items():
        yield arm, told, weight
    if SKIPS in weights:
        swapped = told.reshape(-1, len(other), len(INPUTS)).copy()
        swapped[:, :, _SKIPS] = swapped[:, other][:, :, _SKIPS]
        yield SWAPPED, swapped.reshape(told.shape), weights[SKIPS]


def rows(name: str, found: Answered, seed: int) -> list[Result]:
    """Means by the number of earlier likers, and paired differences; users are drawn with all their questions."""
    made = []
    for label, (least, most) in BINS.items():
        there = (found.k >= least) & (found.k <= most)
        of_user = np.unique(found.user[there], return_inverse=True)[1]
        for among, arms in found.values.items():
            wanted = [(arm, "", value) for arm, value in arms.items()]
            wanted += [(SKIPS, arm, arms[SKIPS] - arms[arm]) for arm in arms if arm != SKIPS]
            for arm, versus, value in wanted:
                low, high = study.interval(value[there], of_user, np.random.default_rng(seed))
                role, setting = "ours" if arm == SKIPS else "control", f"k = {label}, {among}"
                mean = float(value[there].mean())
                made.append(
                    Result(name, arm, role, setting, study.METRIC, mean, low, high, versus, int(there.sum()), seed, None)
                )
    return made


def _words(train: Dataset) -> ItemStatistics:
    """Statistics of which the words alone are used: all else is counted over few users."""
    few = train.take(np.arange(FEW))
    return fit_statistics(few, np.arange(FEW), 1, read_texts(few), np.random.default_rng(0))


def _with_weights(observing: Recommender, arm: Recommender) -> State:
    """What was observed, ranked by the weights of an arm."""
    if arm.state.retrieval.counts.buyers is None:
        return without_buyers(observing).state
    return replace(observing.state, rankers=arm.state.rankers, unseen_rankers=arm.state.unseen_rankers)


def _table(whole: Dataset, events: np.ndarray) -> pa.Table:
    """Events as `observe` reads them."""
    return pa.table(
        {
            "user_id": pa.array([whole.users[user] for user in whole.user[events].tolist()]),
            "item_id": pa.array([whole.catalogue.ids[item] for item in whole.item[events].tolist()]),
            "timestamp": whole.time[events],
            "event_type": [TYPES[int(kind)] for kind in whole.attributes["event_type"][events].tolist()],
        }
    )


def _some(data: Dataset, mask: np.ndarray) -> Dataset:
    """The events of a mask, and the users who have any."""
    kept = data.keep(mask)
    return kept.take(np.flatnonzero(np.diff(kept.start)))
