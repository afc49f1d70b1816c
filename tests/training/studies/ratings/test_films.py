"""Laws of what is known of films."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from studies.ratings.films import Kernel, combined, descriptions, film_kernels, hot, people, recollections


@pytest.fixture
def films() -> pa.Table:
    columns = {
        "title": ["One", "One II", "Other", "Bare"],
        "year": ["1990", "1992", "1950", "1990"],
        "mpaa": ["R", "R", "G", None],
        "genres": ["Drama, War", "Drama, War", "Comedy", "N/A"],
        "directors": ["Ann Lee", "Ann Lee", "Bo Ray", None],
        "writers": ["Ann Lee (story by), Cy Doe (novel)", "Cy Doe", "Di Fox", "N/A"],
        "actors": ["E, F, G, H", "E, F", "K", ""],
        "plot": ["A war.", "Another war.", "Jokes.", "N/A"],
    }
    return pa.table({"item_id": [1, 2, 3, 4]} | columns)


def test_every_kernel_is_one(films):
    rng = np.random.default_rng(0)
    memory = {"last": rng.normal(size=(4, 40)), "words": rng.normal(size=(4, 6))}
    kernels = film_kernels(films, {"text": rng.normal(size=(4, 5))}, memory)
    assert [kernel.name for kernel in kernels][-4:] == ["text", "text, near", "last", "words"]
    everything = np.arange(4)
    for kernel in kernels:
        whole = kernel(everything, everything)
        np.testing.assert_allclose(whole, whole.T, atol=1e-9)
        assert np.linalg.eigvalsh(whole).min() > -1e-9
        np.testing.assert_allclose(kernel(np.array([2, 0]), np.array([1])), whole[[2, 0]][:, [1]], atol=1e-9)


def test_films_that_share_are_more_alike(films):
    kernels = {kernel.name: kernel(np.array([0]), np.array([1, 2]))[0] for kernel in film_kernels(films, {})}
    for name in ("genres", "directors", "writers", "actors", "mpaa", "decade", "era"):
        assert kernels[name][0] > kernels[name][1]


def test_a_likeness_by_distance_is_that_of_its_formula():
    features = np.random.default_rng(1).normal(size=(5, 3))
    found = Kernel("near", features, 0.7)(np.arange(5), np.arange(5))
    wanted = [[np.exp(-((a - b) ** 2).sum() / (2 * 0.49)) for b in features] for a in features]
    np.testing.assert_allclose(found, wanted)


def test_many_names_of_which_a_film_has_few():
    features = (np.random.default_rng(2).random((30, 400)) < 0.01).astype(float)
    np.testing.assert_array_equal(Kernel("sparse", features)(np.arange(30), np.arange(9)), features @ features[:9].T)


def test_a_sum_is_that_of_the_kernels_with_a_weight():
    one, two = Kernel("one", np.eye(3)), Kernel("two", np.ones((3, 1)))
    rows = np.arange(3)
    np.testing.assert_array_equal(combined([one, two], {"two": 2.0, "noise": 5.0}, rows, rows), np.full((3, 3), 2.0))
    np.testing.assert_array_equal(combined([one, two], {}, rows, rows[:2]), np.zeros((3, 2)))


def test_names_are_read_without_their_roles(films):
    assert people(films, "writers") == [["Ann Lee", "Cy Doe"], ["Cy Doe"], ["Di Fox"], []]
    assert people(films, "directors")[3] == []
    np.testing.assert_array_equal(hot([["b", "a"], ["a"], ["c"]]), [[1], [1], [0]])
    np.testing.assert_array_equal(hot([["b"], ["a"]], least=1), [[0, 1], [1, 0]])


def test_texts_say_what_is_known_and_nothing_else(films):
    assert descriptions(films)[0] == "One. Drama, War. Ann Lee. A war."
    assert descriptions(films)[3] == "Bare"
    wanted = 'The movie "One" (1990), directed by Ann Lee and starring E, F, is remembered today as'
    assert recollections(films)[0] == wanted
    assert recollections(films)[3] == 'The movie "Bare" (1990), is remembered today as'
