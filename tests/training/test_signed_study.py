"""The signed study end to end on made ratings: who is asked what, and one report."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from llmrec.progress import Stages
from llmrec.signed.labels import Labels, Scale
from studies.ratings.melu import Episode
from studies.signed import controls, protocol, study
from studies.signed.protocol import COLD, SIZES, World

FILMS = 120


def people(n: int, rng: np.random.Generator, first: int = 0) -> list[Labels]:
    """Each rates 80 films; half of all users like even films, the others odd ones."""
    found = []
    for user in range(first, first + n):
        item = rng.permutation(FILMS)[:80]
        value = np.where(item % 2 == user % 2, 5.0, 2.0) - (rng.random(80) < 0.3)
        found.append(Labels(np.full(80, user), item, value))
    return found


@pytest.fixture(scope="module")
def world() -> World:
    rng = np.random.default_rng(0)
    train = people(60, rng)
    whole = Labels(*(np.concatenate([getattr(one, name) for one in train]) for name in ("user", "item", "value")))
    cold = np.arange(FILMS) >= FILMS - 12
    return World(whole, people(20, rng, 100), people(24, rng, 200), FILMS, cold, Scale((), (), True, 4.0, 4.7, 1.7))


def test_queries_follow_supports_and_the_same_users_are_asked_at_every_size(world):
    for order in protocol.ORDERS:
        asked = {size: protocol.episodes(world.test, order, size, 3) for size in SIZES}
        assert len({tuple(one.user for one in some) for some in asked.values()}) == 1
        for size, some in asked.items():
            for one, labels in zip(some, world.test, strict=True):
                assert (len(one.item), len(one.asked)) == (size, protocol.QUERY)
                assert not np.intersect1d(one.item, one.asked).size
                if order == "file order":
                    np.testing.assert_array_equal(np.r_[one.item, one.asked], labels.item[: size + protocol.QUERY])
    short = [labels.take(np.arange(protocol.LEAST - 1)) for labels in world.test]
    assert protocol.episodes(short, "shuffled", 8, 0) == []


def test_cold_films_are_in_queries_alone_and_not_trained_on(world):
    assert not world.cold[world.without_cold.train.item].any()
    for one in protocol.cold_episodes(world.test, world.cold, 8, 0):
        assert not world.cold[one.item].any() and world.cold[one.asked].all() and len(one.item) == 8


def test_a_swapped_support_says_nothing_of_the_films_asked_for(world):
    asked = protocol.episodes(world.test, "shuffled", 8, 0)
    for mine, other in zip(protocol.swapped(asked), [*asked[1:], asked[0]], strict=True):
        assert np.isin(mine.item, other.item).all() and not np.intersect1d(mine.item, mine.asked).size


def test_the_pooled_auc_is_that_of_all_labels_together():
    rng = np.random.default_rng(0)
    asked = [Episode(u, np.zeros(0), np.zeros(0), np.arange(n), rng.integers(1, 6, n) * 1.0) for u, n in enumerate((3, 9, 5))]
    scores = [rng.integers(0, 4, len(one.asked)) * 1.0 for one in asked]
    found = protocol.pooled_auc({"a": scores}, asked, 50, 0)["a"]
    flat, liked = np.concatenate(scores), np.concatenate([one.answer for one in asked]) >= protocol.LIKED
    good = liked.sum()
    wanted = (rankdata(flat)[liked].sum() - good * (good + 1) / 2) / (good * (len(flat) - good))
    assert found.value == pytest.approx(wanted) and found.n == 3


def test_logistic_regression_finds_planted_weights():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 2))
    liked = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 + x @ [1.0, -2.0])))
    np.testing.assert_allclose(controls.logistic(x, liked), [0.5, 1.0, -2.0], atol=0.1)


@pytest.mark.slow
def test_the_report_has_every_method_and_finds_the_planted_taste(world):
    text = np.random.default_rng(1).normal(size=(FILMS, 4))
    told = {study.OURS: text, study.TEXT: text}
    rows, _ = study.measure(world, told, (0, 1), "test", Stages(verbose=False), ablations=False)
    cell = {row.method: row.value for row in rows if (row.setting, row.metric, row.versus) == (*protocol.PRIMARY, "")}
    assert cell[study.OURS] > 0.9 > cell["item mean"] + 0.2
    assert cell[study.TEXT] == cell[study.OURS] > cell[study.ZERO] and cell[study.OURS] > cell[study.SWAPPED] + 0.2
    assert {row.setting for row in rows} == {f"{o}, {s}" for o in (*protocol.ORDERS, COLD) for s in SIZES}
    found = study.aims(rows)
    assert found["primary"] == {"setting": "shuffled, 8", "metric": "auc"} and len(found["aims"]) == 2 * 9
