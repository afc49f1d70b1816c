"""Controls of young items: EASE by columns against the whole inverse, and nothing read of what comes later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from worlds import build

from llmrec.models.item_item import ease_weights
from studies.new_items import refitted
from studies.new_items.replay import World, replay


def test_columns_of_ease_are_those_of_the_whole_inverse():
    matrix = sparse.csr_array((np.random.default_rng(0).random((60, 25)) < 0.2).astype(np.float64))
    items = np.array([3, 11, 24])
    whole = ease_weights(matrix, 5.0, exact=True)[:, items]
    whole[items, np.arange(3)] = 0.0
    found = refitted.ease_weights(refitted.inverse_columns(matrix, items, 5.0), items)
    np.testing.assert_allclose(found, whole, atol=1e-4)
    begin = np.random.default_rng(1).normal(size=(25, 3))
    again = refitted.ease_weights(refitted.inverse_columns(matrix, items, 5.0, begin), items)
    np.testing.assert_allclose(again, whole, atol=1e-4)


@pytest.fixture
def shop() -> World:
    """30 users with 8 baskets of an old item; items 6 to 8 are sold from the fifth on, item 6 to users of item 0."""
    rng = np.random.default_rng(3)

    def history(user: int) -> list[list[int]]:
        old = [[0 if user % 2 else int(rng.integers(1, 6))] for _ in range(4)]
        return old + [[6 if user % 2 else int(rng.integers(7, 9))] for _ in range(4)]

    whole = build([history(user) for user in range(30)], 9)
    return World(whole, whole.keep(whole.time < 400), 400.0)


def test_ease_knows_first_buyers_from_the_next_moment_on_and_nothing_later(shop, monkeypatch):
    monkeypatch.setattr(refitted, "RIDGE", 5.0)
    found = replay(shop)
    scores = refitted.ease(shop, found)
    first = found.day == 400
    assert first.any() and not scores[first].any()  # nobody has any of the young items yet
    odd = (found.day >= 600) & (found.user % 2 == 1)
    assert (scores[odd].argmax(1) == 0).mean() == 1.0  # those of item 0 take item 6
    shuffled = shop.whole.item.copy()
    late = shop.whole.time >= 700
    shuffled[late] = 8
    other = World(replace(shop.whole, item=shuffled), shop.train, shop.cut)
    known = replay(other)
    early, same = found.day < 700, known.day < 700
    np.testing.assert_array_equal(refitted.ease(other, known)[same], scores[early])


def test_attribute_knn_carries_what_goes_with_items_of_alike_words(shop):
    titles = ["red mug", "blue lamp", "green rope", "grey tent", "white sofa", "black chair", "red mug large", "lamp", "rope"]
    table = shop.whole.catalogue.table.drop_columns(["title"]).append_column("title", [titles])
    catalogue = replace(shop.whole.catalogue, table=table)
    whole, train = replace(shop.whole, catalogue=catalogue), replace(shop.train, catalogue=catalogue)
    refitted_shop = World(whole, train, shop.cut)
    found = replay(refitted_shop)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refitted, "NEAREST", 1)
        scores = refitted.attribute_knn(refitted_shop, found, refitted.words_of(refitted_shop))
    odd = found.user % 2 == 1
    assert (scores[odd].argmax(1) == 0).all() and scores.shape == found.known.shape
