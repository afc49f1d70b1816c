"""The closed forms, against loops and against the textbook."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.scenes.few import Ground, count_company, learn_few, regress
from llmrec.scenes.histories import came, means, steps


def test_company_is_counted_once_a_user(shop):
    dataset, users = shop(3, True).dataset, np.array([5, 1, 17])
    bought, together, alike = count_company(dataset, users)
    had = np.zeros((3, dataset.n_items))
    for row, user in enumerate(users):
        had[row, dataset.item[dataset.start[user] : dataset.start[user + 1]]] = 1
    both = had.T @ had
    np.testing.assert_array_equal(bought, had.sum(0))
    np.testing.assert_array_equal(together.toarray(), both - np.diag(np.diag(both)))
    norm = np.sqrt(np.maximum(had.sum(0), 1))
    np.testing.assert_allclose(alike.toarray(), (both - np.diag(np.diag(both))) / np.outer(norm, norm), atol=1e-6)


@pytest.mark.parametrize("pairs", [3, 40])
def test_the_change_is_ridge_regression(pairs):
    rng = np.random.default_rng(0)
    given, left = rng.normal(size=(pairs, 8)), rng.normal(size=(pairs, 8))
    down, up = regress(given.astype(np.float32), left.astype(np.float32), ridge=2.0, rank=8)
    inputs = np.hstack([given, np.full((pairs, 1), 0.5)])
    expected = np.linalg.inv(inputs.T @ inputs + 2.0 * np.eye(9)) @ inputs.T @ left
    np.testing.assert_allclose(down @ up, expected, atol=1e-5)


def test_a_low_rank_is_the_nearest_of_that_rank():
    rng = np.random.default_rng(0)
    given, left = (rng.normal(size=(40, 8)).astype(np.float32) for _ in range(2))
    whole = np.linalg.multi_dot(regress(given, left, rank=8))
    down, up = regress(given, left, rank=2)
    size = np.linalg.svd(whole, compute_uv=False)
    assert down.shape == (9, 2) and up.shape == (2, 8)
    assert np.linalg.norm(whole - down @ up) == pytest.approx(np.sqrt((size[2:] ** 2).sum()), rel=1e-4)


def test_without_pairs_nothing_is_changed():
    down, up = regress(np.zeros((0, 8), np.float32), np.zeros((0, 8), np.float32))
    assert not (down @ up).any() and down.shape[1] == up.shape[0] == 8


def test_what_the_map_foretells_is_not_learned_again(shop):
    """The prior mean: with a map that foretells all, nothing is left; the larger the ridge, the nearer to it."""
    world, users = shop(3, True), np.arange(40)
    vectors, dataset = world.shelf.vectors, world.dataset
    width = vectors.shape[1]
    nothing = Ground(np.zeros((width, width), np.float32), np.zeros(width, np.float32))
    free = [learn_few(nothing, world.shelf, dataset, users, ridge, width) for ridge in (1.0, 100.0, 1e9)]
    size = [np.linalg.norm(few.down @ few.up) for few in free]
    assert size[0] > size[1] > size[2] and size[2] < 1e-4
    asked = steps(dataset, users)
    places, after = came(vectors, world.shelf.among, asked)
    given = means(vectors, asked.take(places))
    inputs = np.append(given, np.full((len(given), 1), 0.5), axis=1)
    best = np.linalg.lstsq(inputs, after - vectors.mean(0), rcond=None)[0][:-1].astype(np.float32)
    taught = learn_few(Ground(best, nothing.lean), world.shelf, dataset, users, 1e-4, width)
    assert np.linalg.norm(taught.down[:-1] @ taught.up) < 1e-3 * np.linalg.norm(best)
    assert taught.users == 40
