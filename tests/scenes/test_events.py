"""Scenes by a column of the events: one catalogue, countries that differ in what sells, seasons that share their customers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from shops import SETTINGS, make_tables

from llmrec import SceneRecommender, Scenes
from llmrec.data.build import build
from llmrec.errors import DataError, SchemaError
from llmrec.scenes import worlds
from llmrec.scenes.columns import event_names, is_of_events, with_scene
from llmrec.scenes.tables import parts_by_events

pytestmark = pytest.mark.slow  # scenes are learned

COUNTRIES = ("Italy", "Norway", "Spain", "France")


def together(seeds, same_people: bool, users: int = 260) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Events of shops with the same 60 items, each with habits of its own, as the countries of one table. With `same_people`
    every customer is in every country, at different times."""
    found = []
    for number, seed in enumerate(seeds):
        events = pd.DataFrame(make_tables(seed, True, users)[0])
        if not same_people:
            events["user_id"] += 1000 * number
        events["timestamp"] += 1e7 * number
        found.append(events.assign(country=COUNTRIES[number]))
    return pd.concat(found, ignore_index=True), pd.DataFrame(make_tables(0, True)[1])


@pytest.fixture(scope="module")
def countries():
    return together((20, 21, 22, 23), False)


@pytest.fixture(scope="module")
def abroad(scenes, countries) -> Scenes:
    return scenes().fit(*countries, scene="country", holdout=["France"], verbose=False)


def of(events: pd.DataFrame, country: str, first: int, last: int) -> pd.DataFrame:
    """Events of the customers first:last of a country."""
    here = events[events["country"] == country]
    number = here["user_id"] % 1000
    return here[(number >= first) & (number < last)]


def ndcg(shop: SceneRecommender, events: pd.DataFrame) -> np.ndarray:
    """NDCG@10 of the last event of every user, given those before."""
    events = events.sort_values(["user_id", "timestamp"])
    last = events.groupby("user_id").tail(1)
    answer = shop.recommend(histories=events.drop(last.index), k=10).merge(last[["user_id", "item_id"]])
    rank = last["user_id"].map(answer.set_index("user_id")["rank"])
    return (1 / np.log2(rank + 1)).fillna(0).to_numpy()


# ---------------------------------------------------------------------------------------- which events are of which scene


def test_each_value_is_the_scene_of_its_events_over_the_whole_catalogue(abroad, countries):
    assert abroad.known.names == ("Italy", "Norway", "Spain") and abroad.known.of_events
    shop = abroad.open(scene="France")
    assert shop.scene.shelf.among.all() and len(shop.catalogue) == 60
    dataset = build(*countries, {"country": "scene"})[0]
    made = parts_by_events(dataset, shop.scene.shelf, "country", ["France"], False)
    assert list(made) == ["Italy", "Norway", "Spain"]
    for number, (name, world) in enumerate(made.items()):
        rows = countries[0][countries[0]["country"] == name]
        assert world.dataset.n_events == len(rows) == 260 * 6
        assert {dataset.users[user] for user in world.users} == set(1000 * number + np.arange(260))
        ids = [dataset.catalogue.ids[item] for item in world.dataset.item]
        assert sorted(ids) == sorted(rows["item_id"])


def test_support_and_query_never_hold_the_same_customer(scenes, monkeypatch):
    """Every customer is in every season: in each episode, and in each held-out part of the first customers, others ask."""
    asked, taught = worlds.last_steps, worlds.learn_few
    seen: list[tuple[str, set[int]]] = []

    def ask(dataset, users, among):
        seen.append(("query", set(np.asarray(users).tolist())))
        return asked(dataset, users, among)

    def teach(known, shelf, dataset, users, *more):
        seen.append(("support", set(np.asarray(users).tolist())))
        return taught(known, shelf, dataset, users, *more)

    monkeypatch.setattr("llmrec.scenes.worlds.last_steps", ask)
    monkeypatch.setattr("llmrec.scenes.worlds.learn_few", teach)
    quick = replace(SETTINGS, sizes=(16,), draws=2, queries=60, mix=replace(SETTINGS.mix, steps=2))
    scenes(quick).fit(*together((20, 21, 22), True), scene="country", verbose=False)
    pairs = [
        (one[1], other[1]) for one, other in pairwise(seen) if one[0] == "support" and other[0] == "query" and len(one[1]) == 16
    ]
    assert len(pairs) == 3 * 2  # scenes and draws
    assert all(not support & query for support, query in pairs)


def test_a_new_country_is_helped_by_its_own_first_customers_and_not_by_those_of_another(abroad, countries):
    events = countries[0]
    shop, later = abroad.open(scene="France"), of(events, "France", 64, 260)
    own = shop.adapt(of(events, "France", 0, 64))
    other = shop.adapt(of(events, "Spain", 0, 64).drop(columns="country"))
    assert own.name != "zero steps" and own.customers == 64
    plain = ndcg(shop, later)
    gain, of_other = ndcg(own, later) - plain, ndcg(other, later) - plain
    error = gain.std() / np.sqrt(len(gain))
    assert gain.mean() > 4 * error
    assert of_other.mean() < 2 * of_other.std() / np.sqrt(len(of_other)) and gain.mean() > of_other.mean() + 4 * error


def test_first_customers_are_those_of_the_scene_where_the_table_says_so(abroad, countries):
    events = countries[0]
    shop, mine = abroad.open(scene="France"), of(events, "France", 0, 64)
    both = pd.concat([mine, of(events, "Spain", 0, 200)])
    expected = shop.adapt(mine.drop(columns="country"))
    asked = of(events, "France", 100, 110)
    for table, columns in ((both, None), (both.rename(columns={"country": "land"}), {"land": "scene"})):
        found = shop.adapt(table, columns)
        assert found.customers == 64
        pd.testing.assert_frame_equal(found.recommend(histories=asked), expected.recommend(histories=asked))
    with pytest.raises(DataError, match="events: expected some whose 'country' is 'France', got 6 events of other scenes"):
        shop.adapt(of(events, "Spain", 0, 1))


def test_a_country_without_events_yet_can_be_opened(abroad, countries):
    asked = of(countries[0], "France", 0, 5)
    shop = abroad.open(scene="Portugal")
    pd.testing.assert_frame_equal(shop.recommend(histories=asked), abroad.open(scene="France").recommend(histories=asked))
    with pytest.raises(DataError, match=r"got 'Spain', which was learned from; .* holdout=\['Spain'\]"):
        abroad.open(scene="Spain")


# ---------------------------------------------------------------------------------------- tables


def test_a_dataset_with_scenes_is_the_table_it_was_made_of(scenes, abroad, countries):
    dataset = build(*countries, {"country": "scene"})[0]
    read = scenes().fit(dataset, scene="scene", holdout=["France"], verbose=False)
    np.testing.assert_array_equal(read.known.learned.gain, abroad.known.learned.gain)


def test_a_column_is_of_the_events_or_of_the_items_and_never_of_both(scenes, countries):
    events, items = countries
    for data, table, scene, columns, expected in (
        (events, items, "country", None, True),
        (events.rename(columns={"country": "scene"}), items, "scene", None, True),
        (events.rename(columns={"country": "scene"}), items, "title", None, False),
        (events, items, "country", {"country": "scene"}, True),
        (events.assign(title="a", category="b"), None, "category", None, False),  # the catalogue is made of it
        (build(events, items, {"country": "scene"})[0], None, "scene", None, True),
        (build(events, items)[0], None, "scene", None, False),
    ):
        assert is_of_events(event_names(data, table, columns), table, scene) is expected
    assert with_scene({"who": "user_id"}, "country") == {"who": "user_id", "country": "scene"}
    assert with_scene(None, "scene") == {}
    fresh = scenes()
    for data, table, scene, message in (
        (events, items.assign(country="x"), "country", "got 'country', which both tables have; drop or rename"),
        (events, items, "season", "got 'season'; the items have item_id, title, the events user_id, .*, country"),
        (build(events, items)[0], None, "scene", "got 'scene'; the items have item_id, title, the events no scenes"),
        (events, items, "user_id", "got 'user_id', which every event needs"),
    ):
        with pytest.raises(SchemaError, match=f"scene: expected a column .*{message}"):
            fresh.fit(data, table, scene=scene, verbose=False)
    with pytest.raises(DataError, match="holdout: expected some of .* got 'Frankreich'; name values of the events' 'country'"):
        fresh.fit(events, items, scene="country", holdout=["Frankreich"], verbose=False)


def test_what_was_learned_of_countries_is_saved_and_adapts_as_before(abroad, scenes, countries, tmp_path):
    events, items = countries
    mine, asked = of(events, "France", 0, 64), of(events, "France", 100, 105)
    expected = abroad.open(scene="France").adapt(events).recommend(histories=asked)
    abroad.save_pretrained(tmp_path / "known")
    loaded = Scenes.from_pretrained(tmp_path / "known", scenes().weights)
    shop = loaded.open(items, scene="France")
    assert len(expected) and shop.adapt(mine).customers == 64
    shop.save_pretrained(tmp_path / "france")
    for one in (shop, SceneRecommender.from_pretrained(tmp_path / "france")):
        pd.testing.assert_frame_equal(one.adapt(events).recommend(histories=asked), expected)
