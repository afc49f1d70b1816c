"""NDCG@10 of users without events: by attributes, by attributes of somebody else, and by popularity in all and in groups."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.protocol import Part
from llmrec import Recommender
from llmrec.data.attributes import Attributes
from llmrec.data.tasks import without_history
from llmrec.data.user_tables import UserTable, read_user_table
from llmrec.errors import DataError
from llmrec.metrics.bootstrap import bootstrap_mean, paired_bootstrap
from llmrec.metrics.ranking import rank_targets
from llmrec.metrics.report import Result
from llmrec.recommender.evaluate import scores_by_attributes
from studies.attributes.controls import GroupPopularity, every_group, fit_group_popularity
from studies.attributes.shops import Shop

NAME, METRIC, DEPTH = "attributes", "ndcg@10", 10
PRIMARY = "llmrec against popularity, 0 events known, in both data sets"
OURS, SWAPPED = "llmrec", "llmrec, attributes of another user"
POPULARITY, GROUP = "popularity", "popularity by group"
FIRST, FIRST_GROUP = "popularity of first baskets", "popularity of first baskets by group"


def measure(shop: Shop, fitted: Recommender, part: Part, seed: int) -> tuple[list[Result], dict[str, str]]:
    """Rows of one data set, each method and its difference from ours, and what was chosen on validation users."""
    tasks = shop.asked(part)
    relevant, given = tasks.relevant(), _given(shop, fitted, [shop.whole.users[user] for user in tasks.user])
    other = given.take(_another(len(given), np.random.default_rng(seed)))
    found = {
        name: rank_targets(_ours(fitted, shop, one), relevant).ndcg(DEPTH) for name, one in ((OURS, given), (SWAPPED, other))
    }
    controls = choose(shop, fitted)
    found |= {name: rank_targets(control.scores(given), relevant).ndcg(DEPTH) for name, control in controls.items()}
    return _rows(shop.name, found, seed), {name: str(control) for name, control in controls.items()}


def choose(shop: Shop, fitted: Recommender) -> dict[str, GroupPopularity]:
    """The controls, the groups and their smoothing chosen by NDCG@10 on validation users."""
    train, _ = shop.train()
    mine, tasks = _given(shop, fitted, train.users.values), shop.asked("validation")
    asked, relevant = _given(shop, fitted, [shop.whole.users[user] for user in tasks.user]), tasks.relevant()
    chosen = {}
    for plain, by_group, first in ((POPULARITY, GROUP, None), (FIRST, FIRST_GROUP, shop.horizon)):
        chosen[plain] = fit_group_popularity(train, mine, (), first, 0.0)
        best = -1.0
        for columns, smoothing in every_group(mine.encoding.names):
            control = fit_group_popularity(train, mine, columns, first, smoothing)
            value = float(np.mean(rank_targets(control.scores(asked), relevant).ndcg(DEPTH)))
            if value > best:
                best, chosen[by_group] = value, control
    return chosen


def _given(shop: Shop, fitted: Recommender, users: list) -> Attributes:
    """The attributes of users, row by row, as the model encodes them; missing for those whom the table lacks."""
    people = fitted.state.people
    if people is None:
        raise DataError("model: expected one that was fitted with attributes of users, got one without; fit it again")
    table: UserTable = read_user_table(people.encoding, shop.table)[0]
    return table.attributes.take(table.users.find(users))


def _ours(fitted: Recommender, shop: Shop, given: Attributes) -> np.ndarray:
    """float32 (T, N) as `recommend(users=table)` ranks."""
    return scores_by_attributes(fitted.state, without_history(shop.whole, given))


def _another(n: int, rng: np.random.Generator) -> np.ndarray:
    """int64 (n,): for each user another one, each of them once."""
    order = rng.permutation(n)
    found = np.empty(n, np.int64)
    found[order] = np.roll(order, 1)
    return found


def _rows(name: str, found: Mapping[str, np.ndarray], seed: int) -> list[Result]:
    rows, rng = [], np.random.default_rng(seed)
    for method, values in found.items():
        role = "ours" if method in (OURS, SWAPPED) else "control"
        one = bootstrap_mean(values, rng)
        rows.append(Result(NAME, method, role, name, METRIC, one.value, one.low, one.high, "", one.n, seed, None))
        if method != OURS:
            gap = paired_bootstrap(found[OURS], values, rng)
            rows.append(Result(NAME, OURS, "ours", name, METRIC, gap.value, gap.low, gap.high, method, gap.n, seed, None))
    return rows
