"""Act 1: groceries, and what new households buy next once one, three and five trips are known, beside controls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.splits import cold_users
from llmrec.data.tasks import Tasks, first_baskets
from llmrec.demo.act import LINE, Act, wrapped
from llmrec.demo.plan import Plan
from llmrec.demo.story import protagonist, story
from llmrec.errors import DataError
from llmrec.evaluation.comparison import cells, compare
from llmrec.evaluation.controls import fit_controls
from llmrec.evaluation.held_out import recommender_arm
from llmrec.evaluation.plot import Panel
from llmrec.evaluation.summary import OURS, ZERO, curves, gaps_by_setting, sentence, table_text
from llmrec.evaluation.verdict import listed, standing
from llmrec.index.candidates import recall
from llmrec.metrics.bootstrap import Interval
from llmrec.metrics.report import Result
from llmrec.ranking.two_stage import retrieve
from llmrec.recommender.evaluate import chain_scores
from llmrec.recommender.recommender import Recommender
from llmrec.recommender.state import State
from llmrec.screen import Screen

NAME = "trips"
LEAST_USERS = 20  # of whom four are tested on and constants are chosen on two
PRIMARY = "declared before test: cold users, known=1,all, ndcg@10: llmrec against most_frequent, item_knn and ease, paired"


def play(known: Recommender, dataset: Dataset, parts: dict[str, np.ndarray], plan: Plan, seed: int, benchmark: str) -> Act:
    """Compare a recommender that was fitted on the training users with controls, on the test users.

    parts: as of `split`. benchmark: its name in the report.
    """
    validation, test = asked(dataset, parts, plan)
    arms = fit_controls(dataset, parts["train"], validation)
    arms |= {ZERO: recommender_arm(known.state, 0), OURS: recommender_arm(known.state, None)}
    rows = compare(cells(benchmark, test), arms, OURS, (OURS, ZERO), seed, np.random.default_rng(seed))
    first = next(iter(test.values()))
    popularity = known.state.retrieval.counts.popularity
    user = protagonist(first, popularity)
    after = chain_scores(known.state, first.take(np.array([user])), None)[0]
    text, one = story(dataset, first, user, popularity, after)
    shop = "groceries" if benchmark.startswith("journey") else "your data"
    trip = "trip" if benchmark.startswith("journey") else "basket"
    who = "households" if benchmark.startswith("journey") else "users"
    head = (
        f"{len(parts['train']):,} {who} trained on, {len(first):,} others asked, {dataset.n_items:,} items. NDCG@10 on what "
        f"they buy on the next {plan.trips.train.horizon} {trip}s [95% interval of the difference from llmrec], "
        "▼ below llmrec, = level, ▲ above:"
    )
    lines = [*wrapped([head]), *table_text(rows, trip, screen=Screen(LINE)).split("\n"), *wrapped([sentence(rows, trip)])]
    told = {
        "candidate_recall": _recall(known.state, first),
        "milliseconds_per_adapted_user": _latency(known.state, first),
        "story": {"text": text, **one},
    }
    panel = Panel(_seen(rows, trip), f"{trip}s known", curves(rows))
    title = f"{shop.capitalize()}: new {who} after {listed([str(number) for number in test])} {trip}{'s' * (list(test) != [1])}"
    return Act(NAME, title, tuple(lines), panel, tuple(rows), told)


def split(dataset: Dataset, most: int | None) -> dict[str, np.ndarray]:
    """Users by a fixed permutation, first fifth to test, next tenth to choose on: the split that others can repeat.

    most: at most so many users; None for all.
    """
    order = np.random.RandomState(0).permutation(dataset.n_users)[:most]
    parts = cold_users(len(order), order=np.arange(len(order)))
    return {name: np.sort(order[getattr(parts, name)]) for name in ("train", "validation", "test")}


def asked(dataset: Dataset, parts: dict[str, np.ndarray], plan: Plan) -> tuple[dict[int, Tasks], dict[int, Tasks]]:
    """Tasks of the validation users and of the test users, by known baskets; numbers for which there are none are left out.

    Raises DataError where too few users have enough baskets for the smallest number.
    """
    validation, test = (_first(dataset, parts[name], plan) for name in ("validation", "test"))
    least = plan.known[0] + plan.trips.train.horizon
    if len(validation[plan.known[0]]) < 1 or len(test[plan.known[0]]) < 2:
        raise DataError(
            f"events: the demo needs at least {LEAST_USERS} users with {least} baskets each, got {dataset.n_users:,} users, of "
            f"whom {int((dataset.n_baskets >= least).sum()):,} have that many; a fifth of all is for testing, a tenth for "
            "choosing constants. Bring more users, or longer histories; Recommender().fit(...) needs one such user"
        )
    enough = [known for known in plan.known if len(validation[known]) and len(test[known]) > 1]
    return {known: validation[known] for known in enough}, {known: test[known] for known in enough}


def _first(dataset: Dataset, users: np.ndarray, plan: Plan) -> dict[int, Tasks]:
    """Known baskets -> tasks of the users who have enough."""
    return {known: first_baskets(dataset, users, known, plan.trips.train.horizon) for known in plan.known}


def _recall(state: State, tasks: Tasks) -> dict[str, float]:
    """Share of the relevant items that each source, and all together, retrieved."""
    found = retrieve(state.retrieval, tasks, state.adapting.reader()(tasks).vectors, state.retrieval.sources, None)
    return {name: float(np.nanmean(values)) for name, values in recall(found, tasks.relevant()).items()}


def _latency(state: State, tasks: Tasks) -> dict[str, float]:
    """Milliseconds to adapt one user by all learned steps and read the vector: alone (median of ten), in a batch of 64."""
    alone = [_seconds(state, tasks.take(np.array([task]))) for task in range(min(11, len(tasks)))]
    batch = tasks.take(np.arange(min(64, len(tasks))))
    return {"alone": 1000 * float(np.median(alone[1:])), "batched": 1000 * _seconds(state, batch) / len(batch)}


def _seconds(state: State, tasks: Tasks) -> float:
    began = time.perf_counter()
    ungated = replace(state.adapting, gate=None)
    ungated.read(tasks, ungated.choices(tasks))
    return time.perf_counter() - began


# ---------------------------------------------------------------------------------------- what is printed


def steps_gain(rows: Sequence[Result]) -> dict[str, Interval]:
    """Setting -> what the gate's steps add to zero steps."""
    return {setting: part[ZERO] for setting, part in gaps_by_setting(rows).items() if ZERO in part}


def _seen(rows: Sequence[Result], trip: str) -> str:
    gaps = [gap for part in gaps_by_setting(rows).values() for name, gap in part.items() if name != ZERO]
    words = {standing(gap) for gap in gaps}
    what = "ahead of every control" if words == {"ahead of"} else "behind a control" if "behind" in words else "ahead or level"
    return f"New users by {trip}s: {what}"
