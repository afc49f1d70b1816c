"""Laws of probabilities where nearly all labels are likes: worlds in which the best answer is known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from llmrec.signed.beliefs import Prediction, described, posterior, predict, prior_weights
from llmrec.signed.chances import Foretold, range_of, trusted
from llmrec.signed.labels import Labels, Range, Scale
from llmrec.signed.learning import _episodes, _noise, learn
from llmrec.signed.serial import DAY

SCALE = Scale(("purchase",), ("return",), False, 0.5, 1.0, 0.0)
USERS, NEW, ITEMS, EACH = 800, 300, 60, 24
KNOWN = EACH // 2


def items_of(rng, users: int) -> np.ndarray:
    """int64 (users, EACH): different items, in the order in which each user has them."""
    return rng.permuted(np.tile(np.arange(ITEMS), (users, 1)), axis=1)[:, :EACH]


def by_chance(rng, item):
    """One of fifty is a dislike, whoever and whatever it is; a label a day."""
    return (rng.random(item.shape) > 0.02) * 1.0, np.tile(DAY * np.arange(EACH), (len(item), 1))


def by_parcel(rng, item):
    """Four labels at a time, a week apart. One parcel of twenty is sent back as a whole, whoever and whatever it is."""
    parcel = np.arange(EACH) // 4
    back = rng.random((len(item), EACH // 4)) < 0.05
    return 1.0 - back[:, parcel], np.tile(7 * DAY * parcel, (len(item), 1))


def by_item(rng, item):
    """Three items of sixty are disliked by most, the others by one of a hundred."""
    return (rng.random(item.shape) > np.where(item < 3, 0.8, 0.01)) * 1.0, np.tile(DAY * np.arange(EACH), (len(item), 1))


@cache
def in_world(world, seed: int = 0):
    """Predictions for the later half of the labels of new users, those labels, and the share of likes in training."""
    rng = np.random.default_rng(seed)
    item = items_of(rng, USERS + NEW)
    value, time = world(rng, item)
    user = np.repeat(np.arange(USERS), EACH)
    labels = Labels(user, *(part[:USERS].ravel() for part in (item, value, time)))
    beliefs, found = learn(labels, SCALE, rng.normal(size=(ITEMS, 2))), []
    for one in range(USERS, USERS + NEW):
        known, later = described(beliefs, item[one, :KNOWN]), described(beliefs, item[one, KNOWN:])
        weights = posterior(beliefs, known, value[one, :KNOWN], time[one, :KNOWN], time[one, KNOWN])
        found.append(predict(beliefs, weights, later))
    return found, value[USERS:, KNOWN:], labels.value.mean()


def loss(likely, value) -> float:
    return float(-np.log(np.where(value > 0.5, likely, 1 - likely)).mean())


@pytest.mark.parametrize("world", [by_chance, by_parcel])
def test_where_nothing_foretells_dislikes_the_answer_is_the_share_of_likes(world):
    found, value, base = in_world(world)
    likely = np.stack([one.probability for one in found])
    assert loss(likely, value) <= loss(base, value) + 1e-3
    assert np.abs(likely - base).mean() < 0.005 and likely.min() > 0.5
    assert len(np.unique(likely)) > ITEMS  # what little is believed still orders the items


def test_where_an_item_foretells_dislikes_the_answer_is_far_better_than_the_share_of_likes():
    found, value, base = in_world(by_item)
    assert loss(np.stack([one.probability for one in found]), value) < 0.8 * loss(base, value)


@pytest.mark.parametrize("world", [by_chance, by_parcel, by_item])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_of_two_labels_the_expected_one_is_the_probability_and_no_interval_leaves_them(world, level):
    found, value, _ = in_world(world)
    inside = []
    for one, labels in zip(found, value, strict=True):
        low, high = one.interval(level)
        np.testing.assert_allclose(one.expected, one.probability)
        np.testing.assert_allclose(one.deviation**2, one.probability * (1 - one.probability))
        assert ((low >= 0) & (low <= one.expected) & (one.expected <= high) & (high <= 1)).all()
        inside.append((low <= labels) & (labels <= high))
    assert np.mean(inside) >= level


@pytest.mark.parametrize(("likely", "low", "high"), [(0.02, 0, 0.02), (0.2, 0, 1), (0.94, 0, 1), (0.96, 0.96, 1)])
def test_the_interval_of_two_labels_holds_one_or_both(likely, low, high):
    of_one = np.array([likely])
    found = Prediction(of_one, np.sqrt(of_one * (1 - of_one)), of_one, Range(0, 1, True)).interval(0.9)
    assert [one[0] for one in found] == [low, high]


def test_ratings_stay_within_those_that_there_were(beliefs, world):
    assert beliefs.seen == Range(world.labels.value.min(), world.labels.value.max())
    narrow = replace(beliefs, seen=Range(3.0, 4.0))
    asked = described(narrow, np.arange(ITEMS))
    wide, found = (predict(one, prior_weights(one), asked) for one in (beliefs, narrow))
    np.testing.assert_array_equal(found.expected, np.clip(wide.expected, 3, 4))
    for ends, all_ends in zip(found.interval(0.9), wide.interval(0.9), strict=True):
        np.testing.assert_array_equal(ends, np.clip(all_ends, 3, 4))
    np.testing.assert_array_equal(found.probability, wide.probability)


def test_a_label_beyond_those_that_there_were_counts_as_the_nearest(beliefs):
    items = described(beliefs, np.arange(3))
    far, near = (posterior(beliefs, items, np.array(value)) for value in ([100.0, -7.0, 3.0], [*ends(beliefs.seen), 3.0]))
    np.testing.assert_array_equal(far.mean, near.mean)


def ends(seen: Range) -> tuple[float, float]:
    return seen.most, seen.least


def test_the_trust_is_the_share_of_labels_that_the_curve_tells_and_never_all_nor_none(beliefs):
    """Planted: three of four labels come from the curve, the others by the base rate."""
    rng, n = np.random.default_rng(0), 200_000
    plain = replace(beliefs, threshold=0.0, slope=1.0, base=0.9)
    middle = rng.choice([-1.5, 1.5], n)
    curve, coin = rng.normal(size=n) < middle, rng.random(n) < 0.9
    found = Foretold(middle, np.ones(n), np.where(rng.random(n) < 0.75, curve, coin))
    assert trusted(plain, found).trust == pytest.approx(0.75, abs=0.02)
    sure = Foretold(np.full(98, 1.5), np.full(98, 1e-3), np.ones(98, bool))
    assert trusted(plain, sure).trust == pytest.approx(99 / 100)
    assert trusted(plain, replace(sure, liked=np.zeros(98, bool))).trust == pytest.approx(1 / 100)
    few = Foretold(*(part[:8] for part in (sure.middle, sure.deviation, sure.liked)))
    assert trusted(plain, few).trust == pytest.approx(1 / 10)  # eight likes where nine of ten are liked prove nothing


def test_a_range_says_whether_there_are_two_labels_alone():
    assert range_of(np.array([0.0, 1.0, 1.0])) == Range(0, 1, True)
    assert range_of(np.array([1.0, 3.0, 5.0])) == Range(1, 5)


def test_the_noise_of_labels_is_found_however_little_of_it_the_factors_see(beliefs, world):
    user, item = np.indices(world.whole.shape)
    new = Labels(user.ravel(), item.ravel(), world.whole.ravel())
    episodes = list(_episodes(new, np.random.default_rng(0)))
    for share in (1e-3, 1e-2, 1.0):
        found = _noise(replace(beliefs, noise=share * beliefs.noise), episodes)
        assert found * beliefs.spread**2 == pytest.approx(0.5**2, rel=0.3)
