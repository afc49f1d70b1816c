"""Attributes of items from `fit` to an answer, in a planted shop: brands decide what a user takes, titles say nothing."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from llmrec import Recommender
from llmrec.data.build import build, read_catalogue
from llmrec.errors import ArtefactError, DataError, SchemaError
from llmrec.evaluation.card import model_card
from llmrec.evaluation.report import fit_facts
from llmrec.pretraining.checkpoint import identity
from llmrec.recommender.catalogues import over_catalogue
from llmrec.store import load_arrays, save_arrays

NEW = {"item_id": ["n0", "n1"], "title": ["red tent", "red tent"], "brand": ["acme", "zeta"]}
USERS, WARM, PAIRS = 60, 28, 6
WORDS = ("red", "blue", "green", "small", "large", "mug", "lamp", "rope", "tent", "soap")
BRANDS = ("acme", "zeta")
WARM_IDS = [f"i{number:02}" for number in range(WARM)]
COLD_IDS = [f"{brand}{number}" for number in range(PAIRS) for brand in BRANDS]  # nobody takes these


def items() -> pd.DataFrame:
    """Titles of two words at random. Brands take turns. Cold items stand in pairs that differ in nothing but the brand."""
    rng = np.random.default_rng(0)
    titles = [" ".join(rng.choice(WORDS, 2, replace=False)) for _ in range(WARM + PAIRS)]
    price = rng.uniform(1, 9, WARM + PAIRS)
    of = [*range(WARM), *np.repeat(np.arange(WARM, WARM + PAIRS), 2)]
    return pd.DataFrame(
        {
            "item_id": [*WARM_IDS, *COLD_IDS],
            "title": [titles[row] for row in of],
            "brand": [BRANDS[row % 2] for row in range(WARM + 2 * PAIRS)],
            "price": price[of],
        }
    )


def shuffled(table: pd.DataFrame) -> pd.DataFrame:
    """The brands of the warm items in another order."""
    brands = table.brand.to_numpy().copy()
    brands[:WARM] = np.random.default_rng(5).permutation(brands[:WARM])
    return table.assign(brand=brands)


def events(prefix: str, count: int, seed: int) -> pd.DataFrame:
    """Even users take the even items, which are those of acme, odd users the others."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(count):
        for day, item in enumerate(rng.choice(np.arange(number % 2, WARM, 2), 8, replace=False)):
            rows.append((f"{prefix}{number:03}", WARM_IDS[item], 1.6e9 + 86_400.0 * day + number))
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def right(recommender: Recommender, cold: list[str] = COLD_IDS) -> float:
    """Over pairs of cold items and new users: how often the item of the brand that the user takes is ranked above the other."""
    answer = recommender.recommend(histories=events("x", 20, 7), k=len(cold), items_to_recommend=cold)
    rank = answer.pivot(index="user_id", columns="item_id", values="rank")
    acme_first = np.stack([rank[one] < rank[other] for one, other in zip(cold[::2], cold[1::2], strict=True)], 1)
    wanted = rank.index.str[1:].astype(int).to_numpy() % 2 == 0
    return float((acme_first == wanted[:, None]).mean())


@pytest.fixture(scope="module")
def plan(tiny_settings: Any) -> Any:
    train = replace(tiny_settings.train, max_steps=45, learning_rate=1e-2, text_only_rate=0.2, horizon=2, max_slots=12)
    return replace(tiny_settings, train=train, ranking_tasks=30)


@pytest.fixture(scope="module")
def told(fitting: Any, plan: Any) -> Recommender:
    return fitting(events("u", USERS, 1), items(), plan, item_attributes=["brand", "price"])


@pytest.fixture
def mine(told: Recommender) -> Recommender:
    return copy.copy(told)


def test_a_cold_item_of_the_brand_that_a_user_takes_is_ranked_above_another(told):
    assert right(told) > 0.9


@pytest.mark.slow
def test_brands_in_another_order_and_none_say_nothing(fitting, plan):
    """Without attributes the items of a pair are alike to the last bit."""
    other = fitting(events("u", USERS, 1), shuffled(items()), plan, item_attributes=["brand", "price"])
    assert 0.3 < right(other) < 0.7
    bare = fitting(events("u", USERS, 1), items(), plan)
    cold = bare.state.items.vectors[WARM:]
    assert torch.equal(cold[::2], cold[1::2])


def test_an_added_item_is_read_by_its_attributes_and_moves_when_they_change(mine, monkeypatch):
    assert any("brand 'gira' was in too few rows" in note for note in mine.add_items({**NEW, "brand": ["acme", "gira"]}).notes)
    first, second = mine.state.items.vectors[-2:]
    assert not torch.equal(first, second)
    monkeypatch.delattr("llmrec.recommender.catalogues.load_text")  # no text changes, so none is encoded
    mine.update_items({"item_id": ["n1"], "brand": ["zeta"]})
    assert right(mine, NEW["item_id"]) > 0.9
    mine.update_items({"item_id": NEW["item_id"], "brand": NEW["brand"][::-1]})
    assert right(mine, NEW["item_id"]) < 0.1
    assert mine.state.catalogue.column("brand")[-2:] == ["zeta", "acme"]
    mine.update_items({"item_id": ["n0"], "price": [2.5]})
    assert right(mine, NEW["item_id"]) < 0.1


def vectors_of(groups: list[int], seed: int) -> list[list[float]]:
    """One vector for each group, 0 or 1, with noise: two of six directions tell the groups."""
    sides = np.array([[1.0, 0.0, 2.0, 0.0, 0.0, 0.0], [0.0, 1.0, -2.0, 0.0, 0.0, 0.0]])
    return (sides[groups] + np.random.default_rng(seed).normal(0, 0.3, (len(groups), 6))).tolist()


@pytest.mark.slow
def test_an_added_item_is_read_by_its_vector(fitting, plan):
    """Such as the states of a language model. Titles and prices say nothing; new items of a pair have the same title."""
    warm = items().iloc[:WARM].drop(columns=["brand", "price"])
    warm["states"] = vectors_of([row % 2 for row in range(WARM)], 2)
    learned = fitting(events("u", USERS, 1), warm, plan, item_attributes=["states"])
    cold, groups = items().iloc[WARM:], [0, 1] * PAIRS
    new = {"item_id": cold.item_id.tolist(), "title": cold.title.tolist(), "states": vectors_of(groups, 3)}
    learned.add_items(new)
    assert right(learned) > 0.9
    learned.update_items({"item_id": new["item_id"], "states": vectors_of([1 - group for group in groups], 4)})
    assert right(learned) < 0.1
    learned.update_items({"item_id": new["item_id"], "states": vectors_of(groups[::2] * 2, 5)})
    assert 0.3 < right(learned) < 0.7  # one group for all


def test_an_added_item_stands_where_a_cold_item_like_it_stands(mine):
    row = items().iloc[WARM]
    mine.add_items({"item_id": ["twin"], "title": [row.title], "brand": [row.brand], "price": [row.price]})
    vectors = mine.state.items.vectors
    assert torch.allclose(vectors[WARM], vectors[-1], atol=1e-4)
    mine.remove_items(["twin"])
    mine.add_items({"item_id": ["bare"], "title": [row.title]})  # a table without the columns
    assert not mine.state.catalogue.attributes.some[-1] and mine.state.catalogue.attributes.some[:-1].all()


def test_over_another_catalogue_known_items_stay_and_new_ones_are_read(told):
    table = pd.concat([items().iloc[[30, 3]], pd.DataFrame(NEW)])
    there = over_catalogue(told.state, read_catalogue(table)[0], told.weights, None)
    assert torch.equal(there.items.vectors[:2], told.state.items.vectors[[30, 3]])
    assert not torch.allclose(there.items.vectors[2], there.items.vectors[3], atol=1e-3)


def test_what_is_saved_answers_with_the_very_same_scores_and_can_grow(told, tmp_path):
    told.save_pretrained(tmp_path / "shop")
    loaded = Recommender.from_pretrained(tmp_path / "shop")
    clicks = events("x", 4, 7)
    pd.testing.assert_frame_equal(loaded.recommend(histories=clicks), told.recommend(histories=clicks))
    loaded.weights = told.weights
    loaded.add_items(NEW)
    assert right(loaded, NEW["item_id"]) > 0.9
    loaded.save_pretrained(tmp_path / "shop")
    again = Recommender.from_pretrained(tmp_path / "shop")
    assert torch.allclose(again.state.items.vectors, loaded.state.items.vectors, atol=1e-6)
    arrays = load_arrays(tmp_path / "shop" / "arrays.safetensors")
    arrays["item_attributes"][0, 0] = 1 - arrays["item_attributes"][0, 0]
    save_arrays(tmp_path / "shop" / "arrays.safetensors", arrays)
    with pytest.raises(ArtefactError, match="arrays.safetensors"):
        Recommender.from_pretrained(tmp_path / "shop")


def test_a_recommender_without_attributes_is_saved_as_before(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "shop")
    names = {*load_arrays(tmp_path / "shop" / "arrays.safetensors"), *json.loads((tmp_path / "shop/manifest.json").read_text())}
    assert not [name for name in names if "item_attributes" in name or "item_blocks" in name]


def test_other_attributes_are_another_run(told):
    state, data = told.state, told.state.histories
    other = replace(data, catalogue=replace(data.catalogue, attributes=None))
    first, second = (identity(state.model, one, np.arange(3), state.settings.train, 0) for one in (data, other))
    assert {name for name in first if first[name] != second[name]} == {"data"}


def test_the_report_names_them(told):
    facts = fit_facts(told, None)
    assert facts["data"]["item_attributes"] == ["brand", "price"]
    assert "Beside their texts it reads brand and price of items" in model_card({**facts, "results": []}, "shop", False)


def test_columns_that_cannot_be_read_are_named_before_training(fitting, world):
    table, rows = world.events(world.users, world.ids), {**world.items(world.ids), "sku": world.ids}
    for names, error, message in (
        (["colour"], SchemaError, "items have no column 'colour', expected one of 'title', 'sku'"),
        ("sku", DataError, r"say \['sku'\]"),
        (["item_id"], DataError, "'item_id' is the id"),
        (["sku"], DataError, "no column can be read. items: 30 values of 'sku' with fewer than 5 rows"),
    ):
        with pytest.raises(error, match=message):
            fitting(table, rows, item_attributes=names)
    with pytest.raises(DataError, match="item_attributes: expected with a table of events, got a Dataset"):
        fitting(build(table, rows)[0], item_attributes=["sku"])
