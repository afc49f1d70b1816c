"""The scene study in made shops: the metric, the rows, and that all methods are asked the same."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.metrics.ranking import ndcg
from llmrec.models.popularity import Popularity
from llmrec.progress import Stages
from llmrec.scenes.learning import LearnSettings, MixSettings
from studies.scenes import study

SETTINGS = LearnSettings(sizes=(16,), draws=1, queries=60, mix=MixSettings(bends=2, steps=15))


@pytest.mark.parametrize("again", [False, True])
def test_the_metric_is_the_library_s(shop, again):
    one = shop(0, again)
    arm = Popularity("rounded", np.random.default_rng(1).integers(0, 6, one.world.dataset.n_items).astype(float))
    allowed = np.ones((len(one.asked), one.world.dataset.n_items), bool)
    for task in range(len(one.asked)):
        allowed[task, one.world.dataset.item[one.asked.support(task)]] = again
    allowed[np.arange(len(one.asked)), one.target] = True
    expected = ndcg(arm.scores(one.asked), [np.array([item]) for item in one.target], 10, allowed)
    np.testing.assert_allclose(study.asked(arm, one), expected, atol=1e-9)


@pytest.fixture(scope="module")
def found(shop):
    places = {f"shop {seed}": shop(seed) for seed in range(3)}
    left = study.leave_out(places, "shop 1", SETTINGS, 0)
    return left, study.study(left, (16,), range(2), SETTINGS, Stages())


def test_the_place_that_is_left_out_has_taught_nothing(found):
    left, _ = found
    assert left.place.name == "shop 1"
    assert [one.name for one in left.others] == ["shop 0", "shop 2"]
    assert not set(left.place.asked.user) & set(left.place.world.users)


def test_all_methods_are_asked_the_same_and_popularity_is_found(found):
    left, values = found
    lengths = {len(one) for methods in values.values.values() for several in methods.values() for one in several}
    assert lengths == {len(left.place.asked)}
    mean = {name: np.mean(several) for name, several in values.values[16].items()}
    assert mean["target popularity"] > values.values[0]["zero steps"][0].mean()
    assert mean[study.OURS] > values.values[0]["zero steps"][0].mean()
    assert {len(several) for several in values.values[16].values()} == {2}
    assert [line["seed"] for line in values.chosen] == [0, 1]


def test_rows_hold_every_method_and_ours_against_each(found):
    _, values = found
    rows = study.report({"one": values, "two": values}, np.random.default_rng(0), "scenes")
    settings = list(dict.fromkeys(row.setting for row in rows))
    assert settings == [f"{who}, {users}" for users in ("no user", "16 users") for who in ("one", "two", "mean of 2")]
    ours = [row for row in rows if row.setting == "one, 16 users" and row.method == study.OURS]
    plain = {row.method: row.value for row in rows if row.setting == "one, 16 users" and not row.versus}
    assert {row.versus for row in ours} == {"", *plain} - {study.OURS}
    for row in ours:
        if row.versus:
            assert row.value == pytest.approx(plain[study.OURS] - plain[row.versus])
    both = next(row for row in rows if row.setting == "mean of 2, 16 users" and row.method == study.OURS and not row.versus)
    assert both.value == pytest.approx(plain[study.OURS]) and both.n == 2 * ours[0].n
    best = study.best_control(rows, "one, 16 users")
    ours_too = (study.OURS, study.FULL, study.STEPPED, study.ORACLE, study.SWAPPED)
    assert best.value == max(value for name, value in plain.items() if name not in ours_too)


def test_another_s_customers_took_other_items_of_the_scene_and_teach_less(found):
    left, values = found
    world = left.place.world
    other = study.swapped(world, 0)
    within = np.isin(world.dataset.item, world.shelf.items)
    assert (other.item[within] != world.dataset.item[within]).all() and np.isin(other.item[within], world.shelf.items).all()
    assert (other.item[~within] == world.dataset.item[~within]).all()
    counts = [np.sort(np.bincount(one.item, minlength=world.dataset.n_items)) for one in (other, world.dataset)]
    assert (counts[0] == counts[1]).all()
    mean = {name: np.mean(several) for name, several in values.values[16].items()}
    assert mean[study.SWAPPED] < mean[study.OURS]
