"""Statistics over another catalogue: a known item keeps its features, and a new one was taken by nobody."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.tasks import sample_windows
from llmrec.index.candidates import Candidates
from llmrec.models.text_match import vocabulary
from llmrec.ranking.catalogues import counts_over, with_likeness, words_over
from llmrec.ranking.features import FEATURES, features
from llmrec.ranking.groups import Groups
from llmrec.ranking.statistics import fit_statistics, read_texts, read_words, with_vectors

# another order, without items 2 and 5, and with two new ones
PLACE = np.array([7, 3, -1, 0, 1, 9, -1, 4, 8, 6])


@pytest.fixture
def counts(random_shop):
    """Of all users; somebody took each item."""
    return fit_statistics(random_shop, np.arange(20), 2, read_texts(random_shop), np.random.default_rng(0))


def every_pair(tasks: int, items: np.ndarray) -> Candidates:
    start = np.arange(tasks + 1) * len(items)
    return Candidates(start, np.tile(items, tasks).astype(np.int32), np.ones(start[-1], np.uint8))


def test_features_of_known_items_are_the_same(random_shop, counts):
    texts = read_words(random_shop.catalogue)
    other = [texts[at] if at >= 0 else "a new tent" for at in PLACE]
    moved = counts_over(counts, PLACE, words_over(counts, vocabulary(texts), other, PLACE)[0])
    held = np.isin(random_shop.item, PLACE)  # histories of items that both have
    tasks = sample_windows(random_shop.keep(held), np.arange(20), (1, 3), 1, 30, np.random.default_rng(1))
    there = np.full(10, -1)
    there[PLACE[PLACE >= 0]] = np.flatnonzero(PLACE >= 0)
    shop = replace(tasks.dataset, item=there[tasks.dataset.item].astype(np.int32))
    known = PLACE[PLACE >= 0]
    expected = features(tasks, every_pair(30, known), counts)
    found = features(replace(tasks, dataset=shop), every_pair(30, there[known]), moved)
    for column, name in enumerate(FEATURES):
        np.testing.assert_allclose(found[:, column], expected[:, column], rtol=1e-5, atol=1e-6, err_msg=name)


def test_nobody_took_a_new_item(random_shop, counts):
    texts = read_words(random_shop.catalogue)
    moved = counts_over(counts, PLACE, words_over(counts, vocabulary(texts), ["x"] * 10, PLACE)[0])
    new = PLACE < 0
    assert (moved.popularity[new] == 0).all() and (moved.popularity[~new] == counts.popularity[PLACE[~new]]).all()
    for table in (moved.cooccurrence, moved.ease, moved.markov_short.follows, moved.markov_long.follows):
        assert table.shape == (10, 10) and table[new].nnz == 0 and table[:, new].nnz == 0
    assert (moved.recent_position_popularity[..., new].max(-1) <= counts.recent_position_popularity.min(-1)).all()
    assert (counts.popularity > 0).all() and (counts.cooccurrence.nnz > moved.cooccurrence.nnz)  # what it was made of stays


def test_a_new_item_has_what_an_item_has_that_nobody_took(random_shop):
    shop, texts = random_shop.keep(random_shop.item != 9), read_words(random_shop.catalogue)
    counts = fit_statistics(shop, np.arange(20), 2, read_texts(shop), np.random.default_rng(0))
    place = np.array([9, -1, 3])
    moved = counts_over(counts, place, words_over(counts, vocabulary(texts), [texts[9], texts[9], texts[3]], place)[0])
    for part in (moved, moved.markov_short, moved.markov_long):
        for name, values in vars(part).items():
            if isinstance(values, np.ndarray) and values.shape[-1] == 3:
                np.testing.assert_array_equal(values[..., 0], values[..., 1], err_msg=name)
                assert (values[..., 0] != values[..., 2]).any(), name  # the probe sees


def test_new_words_are_weighed_among_the_known_texts(random_shop, counts):
    """A text that is known has its row again, up to columns of words that only new texts have."""
    texts = read_words(random_shop.catalogue)
    words = words_over(counts, vocabulary(texts), [texts[0], "zebra", texts[4]], np.array([-1, -1, -1]))[0]
    like = (words @ words.T).toarray()
    own = (counts.words @ counts.words.T).toarray()
    np.testing.assert_allclose(like[np.ix_([0, 2], [0, 2])], own[np.ix_([0, 4], [0, 4])])
    assert like[1, 1] == pytest.approx(1) and like[0, 1] == 0


def test_counts_by_group_follow_their_items(random_shop, counts):
    n, new = random_shop.n_items, PLACE < 0
    rng = np.random.default_rng(2)
    tables = [rng.normal(size=shape).astype(np.float32) for shape in ((n,), (n,), (3, n), (3, n))]
    texts = read_words(random_shop.catalogue)
    words = words_over(counts, vocabulary(texts), ["x"] * len(PLACE), PLACE)[0]
    moved = counts_over(replace(counts, groups=Groups(*tables)), PLACE, words).groups
    assert moved is not None and (moved.lift[:, new] == 0).all() and (moved.first_lift[:, new] == 0).all()
    np.testing.assert_array_equal(moved.lift[:, ~new], tables[2][:, PLACE[~new]])
    np.testing.assert_array_equal(moved.first[~new], tables[1][PLACE[~new]])
    assert (moved.popularity[new] == tables[0].min()).all()


def test_a_new_item_with_the_text_of_a_cold_one_is_like_the_same_items(random_shop):
    """By exact likeness of words, where a fit has them on random axes."""
    rng, texts = np.random.default_rng(0), read_words(random_shop.catalogue)
    text = np.linalg.qr(rng.standard_normal((12, 12)))[0][:10].astype(np.float32) + 0.3
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    shop = random_shop.keep(random_shop.item != 9)
    counts = fit_statistics(shop, np.arange(20), 2, with_vectors(read_texts(shop), text, rng), rng)
    place = np.append(np.arange(10), -1)
    words, _ = words_over(counts, vocabulary(texts), [*texts, texts[9]], place)
    grown = counts_over(counts, place, words)
    found = with_likeness(grown, np.concatenate([text, text[9:]]), np.array([10]))
    ours, theirs = found.text_knn[:, [10]].toarray().ravel(), counts.text_knn[:, [9]].toarray().ravel()
    np.testing.assert_allclose(ours[:10], theirs, atol=0.1)
    np.testing.assert_array_equal(found.text_knn[:10, :10].toarray(), counts.text_knn.toarray())
    share = ours[:9] / ours[:9].sum()
    for name in ("ask", "answer"):
        values, before = getattr(found.flow, name), getattr(counts.flow, name)
        np.testing.assert_array_equal(values[:10], before)
        np.testing.assert_allclose(values[10], share @ before[:9], rtol=1e-4, atol=1e-6)
    again = with_likeness(found, np.concatenate([text, text[:1]]), np.array([10]))  # its text changed
    np.testing.assert_array_equal(again.text_knn[:, :10].toarray(), found.text_knn[:, :10].toarray())
    assert again.text_knn[0, 10] > found.text_knn[0, 10] + 0.1
    plain = counts_over(fit_statistics(shop, np.arange(20), 2, read_texts(shop), rng), place, words)
    assert with_likeness(plain, np.concatenate([text, text[9:]]), np.array([10])) is plain
