"""Laws of the few numbers under a learned Gaussian prior, in planted worlds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from studies.ratings.films import Kernel
from studies.ratings.melu import Episode, Ratings, World, answers, episodes, measures
from studies.ratings.ours import HISTORY, Belief, fit, histories

N, NEW = 100, 20  # films, of which the last are new


def made(taste: float, seed: int = 0) -> tuple[World, list[Kernel]]:
    """Descriptions of two numbers: the first says how good a film is, the second divides those who like it from the others.
    `taste`: how much it does."""
    rng = np.random.default_rng(seed)
    about = rng.normal(size=(N, 2))

    def ratings(users: np.ndarray, films: np.ndarray) -> Ratings:
        user, item = (part.ravel() for part in np.meshgrid(users, films, indexing="ij"))
        keep = rng.random(len(user)) < 0.85
        user, item = user[keep], item[keep]
        likes = np.random.default_rng(9).choice([-taste, taste], 1000)[user]
        value = 3 + 0.5 * about[item, 0] + likes * about[item, 1] + rng.normal(0, 0.4, len(user))
        return Ratings(user, item, value)

    old, new = np.arange(N - NEW), np.arange(N - NEW, N)
    warm = ratings(np.arange(80), old)
    states = {"user_cold": ratings(np.arange(500, 560), old), "user_and_item_cold": ratings(np.arange(600, 700), new)}
    kernels = [Kernel("good", about[:, :1]), Kernel("divides", about[:, 1:])]
    return World(pa.table({"item_id": list(range(N))}), warm, states), kernels


def errors(belief: Belief, asked: list[Episode], history: dict[int, Ratings] | None = None) -> float:
    older = history or {}
    predicted = np.stack([belief.predict(one, older.get(one.user)) for one in asked])
    return float(measures(predicted, answers(asked))["rmse"].mean())


@pytest.fixture(scope="module")
def tasteful():
    world, kernels = made(taste=0.8)
    return world, fit(world, kernels)


def test_a_prediction_is_the_conditional_of_the_joint_gaussian():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(9, 9))
    belief = Belief(rng.normal(3, 1, 9), root @ root.T, 0.5)
    asked = Episode(1, np.array([4, 0, 2]), rng.normal(3, 1, 3), np.array([7, 1]), np.zeros(2))
    history = Ratings(np.ones(2), np.array([3, 8]), rng.normal(3, 1, 2))
    for older in (None, history):
        item = asked.item if older is None else np.concatenate([older.item, asked.item])
        value = asked.value if older is None else np.concatenate([older.value, asked.value])
        films = np.concatenate([asked.asked, item])
        precision = np.linalg.inv(belief.covariance[np.ix_(films, films)] + 0.5 * np.eye(len(films)))
        wanted = belief.mean[asked.asked] - np.linalg.solve(precision[:2, :2], precision[:2, 2:] @ (value - belief.mean[item]))
        np.testing.assert_allclose(belief.predict(asked, older), wanted)


def test_nothing_known_is_the_prior(tasteful):
    belief = tasteful[1].new
    nothing = Episode(1, np.zeros(0, np.int64), np.zeros(0), np.array([95, 96]), np.zeros(2))
    np.testing.assert_allclose(belief.predict(nothing), belief.mean[[95, 96]])


def test_opposite_supports_turn_the_ranking_of_new_films_round(tasteful):
    _, beliefs = tasteful
    about = made(taste=0.8)[1][1].features[:, 0]
    new = np.arange(N - NEW, N)
    support, asked = new[:15], np.array([new[15:][about[new[15:]].argmax()], new[15:][about[new[15:]].argmin()]])
    base = beliefs.new.mean[support]
    one, other = (Episode(1, support, base + sign * about[support], asked, np.zeros(2)) for sign in (1, -1))
    first, second = beliefs.new.predict(one), beliefs.new.predict(other)
    assert first[0] - first[1] > 0.5
    assert second[0] - second[1] < -0.5


def test_adapting_gains_where_there_is_taste(tasteful):
    world, beliefs = tasteful
    for state, belief in (("user_cold", beliefs.known), ("user_and_item_cold", beliefs.new)):
        asked = episodes(world.states[state], 0)
        nothing = [replace(one, item=one.item[:0], value=one.value[:0]) for one in asked]
        assert errors(belief, asked) < 0.7 * errors(belief, nothing)
        assert errors(belief, asked) < 0.6  # noise alone is .4, of which a few ratings leave a little more


def test_without_taste_the_learned_prior_hardly_adapts():
    """Everybody agrees: what a support says is noise, and a prior that was learned must know it."""
    world, kernels = made(taste=0.0)
    beliefs = fit(world, kernels)
    asked = episodes(world.states["user_and_item_cold"], 0)
    swapped = [replace(a, item=b.item, value=b.value) for a, b in zip(asked, [*asked[1:], asked[0]], strict=True)]
    moved = np.stack([beliefs.new.predict(one) - beliefs.new.mean[one.asked] for one in asked])
    assert np.abs(moved).mean() < 0.15
    assert errors(beliefs.new, asked) == pytest.approx(errors(beliefs.new, swapped), rel=0.05)


def test_a_support_of_another_is_no_use_where_there_is_taste(tasteful):
    world, beliefs = tasteful
    asked = episodes(world.states["user_and_item_cold"], 0)
    swapped = [replace(a, item=b.item, value=b.value) for a, b in zip(asked, [*asked[1:], asked[0]], strict=True)]
    assert errors(beliefs.new, swapped) > 1.3 * errors(beliefs.new, asked)


def test_fitting_reads_the_warm_state_alone(tasteful):
    world, beliefs = tasteful
    bare = replace(world, states={})
    again = fit(bare, made(taste=0.8)[1])
    np.testing.assert_array_equal(again.new.mean, beliefs.new.mean)
    np.testing.assert_array_equal(again.new.covariance, beliefs.new.covariance)


def test_a_history_is_the_users_own_and_no_longer_than_said():
    rng = np.random.default_rng(0)
    user, item = np.repeat([3, 8], [5, 2 * HISTORY]), np.r_[np.arange(5), np.arange(2 * HISTORY)]
    warm = Ratings(user, item, rng.integers(1, 6, len(user)).astype(float))
    found = histories(warm, 0)
    assert {one: len(ratings) for one, ratings in found.items()} == {3: 5, 8: HISTORY}
    assert (found[3].user == 3).all() and sorted(found[3].item.tolist()) == list(range(5))


def test_a_history_helps_with_new_films(tasteful):
    world, beliefs = tasteful
    asked = episodes(world.states["user_and_item_cold"], 0)
    short = [replace(one, item=one.item[:1], value=one.value[:1]) for one in asked]
    rest = {one.user: Ratings(np.full(len(one.item) - 1, one.user), one.item[1:], one.value[1:]) for one in asked}
    np.testing.assert_allclose(errors(beliefs.new, short, rest), errors(beliefs.new, asked))  # read like a support
    assert errors(beliefs.new, short) > errors(beliefs.new, short, rest)
