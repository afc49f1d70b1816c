"""Laws of what is believed of a user's taste, in a planted world."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from llmrec.signed.beliefs import described, from_parts, posterior, predict, prior_weights, to_parts
from llmrec.signed.labels import Labels, Range, as_likes
from llmrec.signed.learning import learn, too_few
from llmrec.signed.serial import DAY, Serial

SUPPORT, QUERY = np.arange(0, 10), np.arange(20, 60)


def after(beliefs, value, support=SUPPORT):
    return posterior(beliefs, described(beliefs, support), value)


def error(beliefs, world, supports) -> float:
    """Mean squared error of the query of every new user, each adapted to a row of `supports`; None for no support."""
    asked = described(beliefs, QUERY)
    weights = [prior_weights(beliefs) if row is None else after(beliefs, row) for row in supports]
    expected = np.stack([predict(beliefs, one, asked).expected for one in weights])
    return float(((expected - world.whole[:, QUERY]) ** 2).mean())


@pytest.mark.parametrize("later", [None, 0.0, DAY])
def test_the_prediction_is_the_exact_posterior_of_one_large_gaussian(beliefs, world, later):
    """Independent of the code: condition the joint Gaussian of all labels of a user on the first ten. Each item asked about may
    be the next label, so long after the tenth; None: times are not known."""
    serial = Serial(0.3, 0.8)
    beliefs = replace(beliefs, serial=serial)
    both = np.concatenate([SUPPORT, QUERY])
    x = beliefs.features[both].astype(np.float64)
    marks = np.concatenate([[1.0], beliefs.marks[SUPPORT].astype(np.float64).sum(0) / (len(SUPPORT) + beliefs.shrink)])
    mean = beliefs.centre + beliefs.spread * (beliefs.mean[both] + x @ (marks @ beliefs.prior))
    noise = np.diag(beliefs.noise + beliefs.variance[both].astype(np.float64))
    place = np.r_[np.arange(len(SUPPORT)), np.full(len(QUERY), len(SUPPORT))]
    common = serial.variance * np.eye(len(both))
    if later is not None:
        common = serial.variance * serial.correlation ** np.abs(place[:, None] - place)
        common[len(SUPPORT) :, : len(SUPPORT)] *= 0.5 ** (later / DAY)
        common[: len(SUPPORT), len(SUPPORT) :] *= 0.5 ** (later / DAY)
    joint = beliefs.spread**2 * (x @ x.T + noise + common)
    known, asked = slice(0, len(SUPPORT)), slice(len(SUPPORT), None)
    value = world.whole[0, SUPPORT]
    gain = joint[asked, known] @ np.linalg.inv(joint[known, known])
    wanted = mean[asked] + gain @ (value - mean[known])
    variance = joint[asked, asked] - gain @ joint[known, asked]

    time = None if later is None else 7.0 + 1e-6 * np.arange(len(SUPPORT))
    weights = posterior(beliefs, described(beliefs, SUPPORT), value, time, None if later is None else 7.00001 + later)
    found = predict(beliefs, weights, described(beliefs, QUERY))
    np.testing.assert_allclose(found.expected, wanted, atol=1e-6)
    np.testing.assert_allclose(found.deviation, np.sqrt(np.diag(variance)), atol=1e-6)
    at = (wanted - beliefs.centre) / beliefs.spread - beliefs.threshold
    likely = norm.cdf(beliefs.slope * at * beliefs.spread / np.sqrt(np.diag(variance)))
    likely = (1 - beliefs.trust) * beliefs.base + beliefs.trust * likely
    np.testing.assert_allclose(found.probability, likely, atol=1e-6)


def test_no_labels_give_the_prior(beliefs):
    beliefs = replace(beliefs, serial=Serial(0.3, 0.8))
    none = posterior(beliefs, described(beliefs, SUPPORT[:0]), np.zeros(0))
    np.testing.assert_array_equal(none.mean, [*beliefs.prior[0], 0])
    np.testing.assert_array_equal(none.covariance, np.diag([*np.ones(beliefs.prior.shape[1]), 0.3]))


def moody(world, rng, lasts=0.9):
    """Labels of training users one minute apart, each with what a mood adds; and runs of 40 of new users."""
    order = rng.permuted(np.tile(np.arange(70), (200, 1)), axis=1)[:, :40]
    mood = rng.normal(size=order.shape)
    for t in range(1, order.shape[1]):
        mood[:, t] = lasts * mood[:, t - 1] + np.sqrt(1 - lasts**2) * mood[:, t]
    value = np.take_along_axis(world.whole, order, 1) + 0.7 * mood
    user, time = np.repeat(np.arange(200), 40), np.tile(60.0 * np.arange(40), 200)
    return Labels(user, order.ravel(), value.ravel(), time).take(slice(100 * 40)), order[100:], value[100:]


def test_what_neighbouring_labels_have_in_common_is_learned_and_carried_on(world):
    labels, items, values = moody(world, np.random.default_rng(3))
    found = learn(labels, world.scale, world.text)
    same = learn(labels, world.scale, world.text)
    assert (same.serial, same.noise, same.until) == (found.serial, found.noise, labels.time.max())
    assert found.serial.correlation >= 0.8 and found.noise + found.serial.variance == pytest.approx(
        learn(replace(labels, time=None), world.scale, world.text).noise
    )
    time, errors = 60.0 * np.arange(30), {"soon": [], "late": [], "unread": []}
    for item, value in zip(items, values, strict=True):
        known, asked = described(found, item[:30]), described(found, item[30:31])
        for name, when, now in (("soon", time, time[-1] + 60), ("late", time, time[-1] + 1e9), ("unread", None, None)):
            weights = posterior(found, known, value[:30], when, now)
            errors[name].append((predict(found, weights, asked).expected[0] - value[30]) ** 2)
    soon, late, unread = (np.mean(errors[name]) for name in ("soon", "late", "unread"))
    assert soon < 0.9 * late and soon < 0.9 * unread


def test_a_mood_that_ends_over_night_has_a_short_half_life(world):
    """Eight labels a minute apart, then a night; the mood of the next day is another."""
    rng = np.random.default_rng(4)
    order = rng.permuted(np.tile(np.arange(70), (400, 1)), axis=1)[:, :40]
    mood = np.repeat(rng.normal(size=(400, 5)), 8, axis=1)
    value = np.take_along_axis(np.tile(world.whole, (2, 1)), order, 1) + 0.7 * mood
    time = np.repeat(DAY * np.arange(5), 8) + np.tile(60.0 * np.arange(8), 5)
    labels = Labels(np.repeat(np.arange(400), 40), order.ravel(), value.ravel(), np.tile(time, 400))
    found = learn(labels, world.scale, world.text)
    assert found.serial.correlation > 0.9 and found.serial.half_life <= DAY / 4


def test_how_recent_labels_are_is_counted_back_from_now_or_from_the_newest_that_was_learned_from(beliefs, world):
    beliefs = replace(beliefs, serial=Serial(0.3, 0.9), until=10 * DAY)
    items, value, time = described(beliefs, SUPPORT), world.whole[0, SUPPORT], DAY * np.arange(10)

    def shift(later: float, now: float | None = None) -> float:
        return float(posterior(beliefs, items, value, time + later, now).mean[-1])

    assert shift(0.0) == shift(0.0, 10 * DAY) != shift(0.0, 9 * DAY)
    assert shift(30 * DAY) == shift(30 * DAY, 39 * DAY) == pytest.approx(shift(0.0, 9 * DAY))


def test_labels_without_serial_correlation_get_none(world):
    order = np.random.default_rng(0).permutation(len(world.labels))
    timed = replace(world.labels.take(order), time=60.0 * np.arange(len(order)))
    assert learn(timed, world.scale, world.text).serial == Serial()


def test_ones_own_labels_help_and_anothers_harm(beliefs, world):
    own = world.whole[:, SUPPORT]
    mine, zero, swapped = (error(beliefs, world, rows) for rows in (own, [None] * len(own), np.roll(own, 1, 0)))
    assert mine < 0.7 * zero < swapped


def test_more_labels_make_an_answer_surer_and_better(beliefs, world):
    asked, value = described(beliefs, QUERY), world.whole[0]
    few, many = (predict(beliefs, after(beliefs, value[:n], np.arange(n)), asked).deviation for n in (3, 15))
    assert (many < few).all()


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_hold_a_label_as_often_as_they_say(beliefs, world, level):
    asked, inside = described(beliefs, QUERY), []
    for row in world.whole:
        low, high = predict(beliefs, after(beliefs, row[SUPPORT]), asked).interval(level)
        inside.append((low <= row[QUERY]) & (row[QUERY] <= high))
    assert np.mean(inside) == pytest.approx(level, abs=0.03)


def test_probabilities_come_true(beliefs, world):
    asked = described(beliefs, QUERY)
    likely = np.stack([predict(beliefs, after(beliefs, row[SUPPORT]), asked).probability for row in world.whole])
    liked = world.whole[:, QUERY] >= world.scale.liked_from
    for low, high in ((0, 0.3), (0.3, 0.7), (0.7, 1)):
        chosen = (likely >= low) & (likely <= high)
        assert liked[chosen].mean() == pytest.approx(likely[chosen].mean(), abs=0.07)


def test_an_item_without_labels_is_told_by_its_text_and_is_less_sure(beliefs, world):
    new = np.arange(70, 80)
    expected, deviation = [], []
    for row in world.whole:
        found = predict(beliefs, after(beliefs, row[SUPPORT]), described(beliefs, new))
        expected.append(found.expected)
        deviation.append(found.deviation)
    error_here = ((np.stack(expected) - world.whole[:, new]) ** 2).mean()
    assert error_here < 0.6 * world.whole[:, new].var()
    assert (
        np.mean(deviation)
        > predict(beliefs, after(beliefs, world.whole[0, SUPPORT]), described(beliefs, QUERY)).deviation.mean()
    )


def test_an_item_that_came_after_the_fit_is_described_as_one_without_labels(beliefs, world):
    later, known = described(beliefs, np.array([80]), world.text[75:76]), described(beliefs, np.array([75]))
    for name in ("mean", "features", "variance", "marks"):
        np.testing.assert_allclose(getattr(later, name), getattr(known, name), atol=1e-6)


def test_what_was_rated_at_all_moves_the_prior(world):
    """Users rate what they will like: the prior mean sees it before any value is known."""
    rng = np.random.default_rng(1)
    taste = rng.choice([-1.0, 1.0], 400)
    side = np.where(np.arange(80) % 2, 1.0, -1.0)
    user, item = np.nonzero(rng.random((400, 80)) < np.where(taste[:, None] == side, 0.4, 0.1))
    value = 3.5 + 0.8 * taste[user] * side[item] + rng.normal(0, 0.5, len(user))
    found = learn(Labels(user, item, value), world.scale, np.zeros((80, 1)))
    right = found.marks[np.flatnonzero(side > 0)[:10]].astype(np.float64).sum(0) / (10 + found.shrink)
    moved = found.features @ (np.r_[1.0, right] @ found.prior)
    assert moved[side > 0].mean() > moved[side < 0].mean() + 0.3


def test_likes_and_dislikes_are_enough(world):
    likes = as_likes(world.labels, world.scale)
    found = learn(likes, replace(world.scale, rated=False, liked_from=0.5, high=1.0, low=0.0), world.text)
    liked = (world.whole >= world.scale.liked_from) * 1.0
    asked = described(found, QUERY)
    loss = {"own": [], "zero": []}
    for row in liked:
        for name, weights in (("own", after(found, row[SUPPORT])), ("zero", prior_weights(found))):
            likely = predict(found, weights, asked).probability
            loss[name].append(-np.where(row[QUERY] == 1, np.log(likely), np.log(1 - likely)).mean())
    assert np.mean(loss["own"]) < 0.85 * np.mean(loss["zero"])


def test_the_same_labels_and_seed_give_the_same_beliefs_and_parts_give_them_back(beliefs, world):
    again = learn(world.labels, world.scale, world.text)
    beliefs, again = (replace(one, serial=Serial(0.1, 0.9), until=5.0) for one in (beliefs, again))
    loaded = from_parts(*to_parts(beliefs))
    for other in (again, loaded):
        for name in ("mean", "features", "variance", "marks", "prior", "text"):
            np.testing.assert_array_equal(getattr(other, name), getattr(beliefs, name))
        for name in ("threshold", "slope", "scale", "base", "trust", "seen"):
            assert getattr(other, name) == getattr(beliefs, name)
    assert (loaded.serial, loaded.until) == (beliefs.serial, beliefs.until)
    arrays, rest = to_parts(beliefs)
    for name in ("serial", "until", "seen", "base", "trust"):
        del rest[name]  # as earlier versions saved them
    older = from_parts(arrays, rest)
    assert (older.serial, older.seen, older.trust) == (Serial(), Range(), 1.0)
    json.dumps(to_parts(older)[1], allow_nan=False)


def test_what_is_missing_is_said(world):
    labels, scale = world.labels, world.scale
    assert too_few(labels, scale) == ""
    assert too_few(labels.take(labels.user < 7), scale) == "7 users have two labels or more, and 20 are needed"
    assert too_few(replace(labels, value=labels.value * 0), scale).endswith("labels are dislikes")
