"""Scenes that a fitted recommender reads: zero steps are its own answer, and first customers are heard on top of it."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from shutil import copytree, rmtree

import numpy as np
import pandas as pd
import pytest
from meanwhile import saves_meanwhile
from ranker_contract import RankerContract, asked, some_candidates
from shops import SETTINGS, make_tables

from llmrec import OuterSettings, Recommender, SceneRecommender, Scenes, Weights
from llmrec.data.build import build, events_for, read_catalogue
from llmrec.data.dataset import EventWeights
from llmrec.data.known import KnownUsers
from llmrec.data.tasks import full_histories
from llmrec.errors import ArtefactError, DataError, MissingHistoriesWarning, MissingScenesWarning, SchemaError, WeightsError
from llmrec.index.candidates import Sources
from llmrec.recommender.catalogues import as_new, over_catalogue, places
from llmrec.rules import Rules
from llmrec.rules.filling import PINNED
from llmrec.scenes import known_folder
from llmrec.scenes.opening import zero_shot
from llmrec.scenes.ranked import SceneRanker, ranked_shelf
from llmrec.scenes.readers import ByRecommender, check_reader
from llmrec.scenes.saving import load_scene, save_scene
from llmrec.scenes.tables import parts_by, parts_by_events

pytestmark = pytest.mark.slow  # a recommender is fitted, and scenes are learned

QUICK = replace(SETTINGS, sizes=(64,), queries=120)


@pytest.fixture(scope="module")
def departments() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Four shops of 60 items with habits as departments of one; the same 260 people come to each, at different times."""
    events, items = [], []
    for seed, name in enumerate(("bread", "fruit", "soap", "new")):
        bought, sold = (pd.DataFrame(table) for table in make_tables(seed, True))
        events.append(bought.assign(item_id=name + " " + bought["item_id"], timestamp=bought["timestamp"] + 1000 * seed))
        items.append(sold.assign(item_id=name + " " + sold["item_id"], aisle=name))
    return pd.concat(events, ignore_index=True), pd.concat(items, ignore_index=True)


@pytest.fixture(scope="module")
def weights(tiny_folders, scenes) -> Weights:
    return scenes().weights


@pytest.fixture(scope="module")
def rec(departments, weights, tiny_settings) -> Recommender:
    """Fitted on the whole catalogue, of whose new department nobody has bought anything."""
    events, items = departments
    train = replace(tiny_settings.train, known=(1, 4), horizon=1, max_slots=16)
    outer, sources = OuterSettings(episodes=2), Sources(text_k=20, knn_k=10, popular_k=10)
    settings = replace(tiny_settings, train=train, outer=outer, sources=sources, ranking_tasks=100)
    old = events[~events["item_id"].str.startswith("new ")]
    return Recommender(weights, settings).fit(old, items, verbose=False)


@pytest.fixture(scope="module")
def backed(rec, departments) -> Scenes:
    return Scenes(settings=QUICK, recommender=rec).fit(*departments, scene="aisle", holdout=["new"], verbose=False)


def of(events: pd.DataFrame, first: int, last: int) -> pd.DataFrame:
    """Events of the customers first:last, under ids that the recommender does not know."""
    some = events[(events["user_id"] >= first) & (events["user_id"] < last)]
    return some.assign(user_id=some["user_id"] + 10_000)


def ndcg(shop: SceneRecommender, events: pd.DataFrame, prefix: str) -> np.ndarray:
    """NDCG@10 of the last event of the department of every user, given those before."""
    events = events.sort_values(["user_id", "timestamp"])
    last = events[events["item_id"].str.startswith(prefix)].groupby("user_id").tail(1)
    answer = shop.recommend(histories=events.drop(last.index), k=10).merge(last[["user_id", "item_id"]])
    rank = last["user_id"].map(answer.set_index("user_id")["rank"])
    return (1 / np.log2(rank + 1)).fillna(0).to_numpy()


# ---------------------------------------------------------------------------------------- zero steps


def test_zero_steps_are_the_recommender_s_own_answer(backed, rec, departments):
    events, items = departments
    asked, new = of(events, 0, 20), items[items["aisle"] == "new"]["item_id"]
    shop = backed.open(scene="new")
    assert shop.name == "zero steps" and shop.scene.shelf.state is rec.state
    for k, again in ((5, False), (54, False), (60, True)):
        expected = rec.recommend(histories=asked, k=k, items_to_recommend=new, filter_viewed=not again)
        found = shop.recommend(histories=asked, k=k, filter_viewed=not again)
        pd.testing.assert_frame_equal(found.drop(columns="source"), expected.drop(columns=["source", "steps"]))
        assert set(found["source"]) == {"zero steps"}


def test_the_scores_of_a_scene_order_its_items_as_its_answers_do(backed, departments):
    """Where every item of the scene is a candidate, so that both look at the same ones."""
    asked = of(departments[0], 0, 8)
    shop = backed.open(scene="new")
    shelf = shop.scene.shelf
    retrieval = replace(shelf.state.retrieval, sources=Sources(300, 300, 300))
    shop = replace(shop, scene=replace(shop.scene, shelf=replace(shelf, state=replace(shelf.state, retrieval=retrieval))))
    dataset = events_for(shop.catalogue, asked)[0]
    for one in (shop, shop.adapt(of(departments[0], 100, 164))):
        table = one.scene.scores(full_histories(dataset, np.arange(8)))
        answer = one.recommend(histories=asked, k=54)
        for row, (_, rows) in enumerate(answer.groupby("user_id")):
            place = shop.catalogue.ids.find(rows["item_id"])
            assert (np.diff(table[row, place]) <= 1e-5).all()
        if one.customers:
            np.testing.assert_allclose(table[row, place], rows["score"], rtol=1e-4, atol=1e-4)


def test_items_that_both_know_are_ranked_alike_in_a_table_of_their_own(backed, rec, departments):
    """A table of some items that the recommender knows, in another order and with new ones between them. Without steps on
    histories, whose softmax is over the whole catalogue."""
    events, items = departments
    some = items[items["aisle"] == "bread"].sample(frac=1, random_state=0)
    more = pd.DataFrame({"item_id": ["x1", "x2"], "title": ["red mug", "blue lamp"], "aisle": ["bread"] * 2})
    asked = of(events, 0, 6)
    asked = asked[asked["item_id"].str.startswith("bread ")]
    still = replace(rec.state, gate=None, init=replace(rec.state.init, log_rate=rec.state.init.log_rate[:0]))
    expected = rec.recommend(histories=asked, k=10, items_to_recommend=some["item_id"], steps=0)
    known = rec.state.catalogue.ids.find(some["item_id"])
    for table in (some, pd.concat([some[:20], more, some[20:]])):
        catalogue = read_catalogue(table)[0]
        assert (places(rec.state, catalogue) >= 0).sum() == 60
        shelf = ranked_shelf(still, catalogue, backed.recommender.weights, False)
        here = catalogue.ids.find(some["item_id"])
        np.testing.assert_array_equal(shelf.state.items.vectors[here], rec.state.items.vectors[known])
        np.testing.assert_array_equal(shelf.state.items.bias[here], rec.state.items.bias[known])
        shop = SceneRecommender(zero_shot(backed.known.learned, shelf), catalogue)
        found = shop.recommend(histories=asked, k=10, items_to_recommend=some["item_id"])
        assert found["item_id"].tolist() == expected["item_id"].tolist()
        np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-4, atol=1e-4)


def test_a_new_item_has_its_text_alone_and_a_known_scene_is_met_as_a_new_one(rec, departments, weights):
    items = departments[1]
    table = pd.concat([items[:30], pd.DataFrame({"item_id": ["x"], "title": [items["title"][3]], "aisle": ["bread"]})])
    state = over_catalogue(rec.state, read_catalogue(table)[0], weights, None)
    model, place = rec.state.model, rec.state.catalogue.ids.find([items["item_id"][3]])[0]
    expected = model.project(model.text[place])  # the text is that of an item that is known
    np.testing.assert_allclose(state.items.vectors[-1], expected, atol=1e-5)
    assert state.items.bias[-1] == model.cold_bias
    assert state.retrieval.counts.popularity[-1] == 0 and state.retrieval.counts.cooccurrence[[30]].nnz == 0
    bread = np.array([aisle == "bread" for aisle in rec.state.catalogue.column("aisle")])
    met = as_new(rec.state, bread)
    assert not met.model.trained[bread].any() and (met.retrieval.counts.popularity[bread] == 0).all()
    np.testing.assert_array_equal(met.items.vectors[~bread], rec.state.items.vectors[~bread])
    np.testing.assert_array_equal(met.items.vectors[bread], model.project(model.text)[bread])
    counts, fresh = rec.state.retrieval.counts, met.retrieval.counts
    assert fresh.cooccurrence[bread].nnz == 0 and fresh.ease[:, bread].nnz == 0
    rest = np.ix_(~bread, ~bread)
    np.testing.assert_array_equal(fresh.cooccurrence.toarray()[rest], counts.cooccurrence.toarray()[rest])
    assert rec.state.model.trained[bread].any()  # what it was made of stays as it was


def test_texts_by_another_encoder_are_refused(rec, departments, scenes):
    new = pd.DataFrame({"item_id": ["x"], "title": ["red mug"]})
    catalogue = read_catalogue(new)[0]
    with pytest.raises(WeightsError, match="expected the text encoder that the recommender was fitted with"):
        over_catalogue(rec.state, catalogue, scenes(family="llama").weights, None)


def test_catalogues_are_read_by_what_was_learned_with_and_by_nothing_else(backed, rec, fitted):
    """Item vectors are computed from what is saved, and another machine may round them otherwise."""
    rounded = rec.state.items.vectors * (1 + 1e-6)
    same = replace(rec.state, items=replace(rec.state.items, vectors=rounded))
    assert not np.array_equal(rounded, rec.state.items.vectors)
    learned, encoder = backed.known.learned, backed.known.encoder
    check_reader(learned, encoder, ByRecommender(same, rec.weights, False))
    other = as_new(rec.state, np.arange(len(rec.state.catalogue)) == 0)
    with pytest.raises(WeightsError, match="recommender: expected the one that was learned with .* got another .*same"):
        check_reader(learned, encoder, ByRecommender(other, rec.weights, False))
    with pytest.raises(DataError, match="recommender: expected None, because the scenes were learned by texts alone, got one"):
        check_reader(fitted.known.learned, fitted.known.encoder, ByRecommender(rec.state, rec.weights, False))


def test_known_departments_are_met_as_new_ones_and_countries_with_all_that_is_known(rec, departments):
    events, items = departments
    shelf = ranked_shelf(rec.state, rec.state.catalogue, rec.weights, False)
    abroad = build(events.assign(scene=np.array(["a", "b"])[events["user_id"] % 2]), items)[0]
    made = parts_by(abroad, shelf, "aisle", ["new"], False)
    assert list(made) == ["bread", "fruit", "soap"]
    for world in made.values():
        counts, before = world.shelf.state.retrieval.counts.popularity, rec.state.retrieval.counts.popularity
        among = world.shelf.among
        assert before[among].any() and not counts[among].any() and np.array_equal(counts[~among], before[~among])
    for world in parts_by_events(abroad, shelf, "scene", [], False).values():
        assert world.shelf is shelf


# ---------------------------------------------------------------------------------------- first customers


class TestSceneRanker(RankerContract):
    """The ranker of an adapted scene, for twelve users and the items of the scene."""

    @pytest.fixture
    def given(self, backed, departments):
        adapted = backed.open(scene="new").adapt(of(departments[0], 0, 64))
        shelf = adapted.scene.shelf
        tasks = asked(shelf.state.histories.take(np.arange(12)))
        found = some_candidates(len(tasks), len(shelf.items))
        found = replace(found, item=shelf.items[found.item].astype(np.int32))
        ranker = SceneRanker(adapted.scene, shelf, True)
        still = SceneRanker(backed.open(scene="new").scene, shelf, True)
        assert (ranker.score(tasks, found) != still.score(tasks, found)).any()
        return ranker, tasks, found


def test_first_customers_tell_what_the_recommender_cannot_know(backed, departments):
    events = departments[0]
    shop = backed.open(scene="new")
    adapted = shop.adapt(of(events, 0, 64))
    assert adapted.name != "zero steps" and adapted.customers == 64
    gain = ndcg(adapted, of(events, 64, 260), "new ") - ndcg(shop, of(events, 64, 260), "new ")
    assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))
    assert adapted.selection_report["deployed"].sum() == 1
    stranger = adapted.recommend(["anybody"], k=5)
    bought = of(events, 0, 64).drop_duplicates(["user_id", "item_id"])["item_id"].value_counts()
    assert bought[stranger["item_id"]].tolist() == bought[bought.index.str.startswith("new ")][:5].tolist()
    pd.testing.assert_frame_equal(
        adapted.reset().recommend(histories=of(events, 64, 70)), shop.recommend(histories=of(events, 64, 70))
    )


def test_saved_and_loaded_it_answers_and_adapts_as_before(backed, rec, departments, tmp_path):
    events, items = departments
    asked, first = of(events, 100, 106), of(events, 0, 64)
    shop = backed.open(scene="new")
    adapted = shop.adapt(first)
    adapted.save_pretrained(tmp_path / "new")
    loaded = SceneRecommender.from_pretrained(tmp_path / "new")
    pd.testing.assert_frame_equal(loaded.recommend(histories=asked), adapted.recommend(histories=asked))
    pd.testing.assert_frame_equal(loaded.reset().recommend(histories=asked), shop.recommend(histories=asked))
    assert loaded.adapt(first).selection_report.equals(adapted.selection_report)
    save_scene(tmp_path / "scene", adapted.scene)
    alone, tasks = load_scene(tmp_path / "scene"), full_histories(events_for(shop.catalogue, asked)[0], np.arange(6))
    assert np.array_equal(alone.scores(tasks), adapted.scene.scores(tasks)) and not alone.shelf.again
    part = pd.concat([items[180:], pd.DataFrame({"item_id": ["x"], "title": ["red mug"], "aisle": ["new"]})])[20:]
    opened = backed.open(part, scene="new")  # a catalogue of its own, of which the recommender knows all but one
    opened.save_pretrained(tmp_path / "part")
    some = asked[asked["item_id"].isin(part["item_id"])]
    pd.testing.assert_frame_equal(
        SceneRecommender.from_pretrained(tmp_path / "part").recommend(histories=some), opened.recommend(histories=some)
    )
    backed.save_pretrained(tmp_path / "known")
    again = Scenes.from_pretrained(tmp_path / "known", recommender=rec)
    pd.testing.assert_frame_equal(again.open(items, scene="new").recommend(histories=asked), shop.recommend(histories=asked))
    with pytest.raises(DataError, match="recommender: expected the one that the scenes were learned with, got None"):
        Scenes.from_pretrained(tmp_path / "known", rec.weights).open(items, scene="new")
    with pytest.raises(DataError, match="recommender is 3, expected a fitted Recommender"):
        Scenes(recommender=3)
    with pytest.raises(DataError, match="nothing is fitted yet"):
        Scenes(recommender=Recommender(rec.weights)).fit(*departments, scene="aisle", verbose=False)


def test_countries_are_scenes_of_the_whole_catalogue_of_the_recommender(rec, departments):
    """Of the events' column nothing is new to the recommender: a new country is ranked as everybody is."""
    events, items = departments
    abroad = events.assign(country=np.array(["Italy", "Norway", "Spain", "France"])[events["user_id"] % 4])
    quick = replace(QUICK, sizes=(8,), queries=50)
    known = Scenes(settings=quick, recommender=rec).fit(abroad, items, scene="country", holdout=["France"], verbose=False)
    shop, asked = known.open(scene="France"), of(events, 3, 8)
    expected = rec.recommend(histories=asked, k=5)
    found = shop.recommend(histories=asked, k=5)
    pd.testing.assert_frame_equal(found.drop(columns="source"), expected.drop(columns=["source", "steps"]))
    assert shop.adapt(abroad[abroad["user_id"] < 40]).selection_report["known"].notna().all()


def test_event_types_are_read_as_the_recommender_numbers_them(backed, departments):
    shelf = backed.open(scene="new").scene.shelf
    known = replace(shelf.state.known.first, event_types=("buy", "view"), event_weights=EventWeights((1.0, 0.1)))
    shelf = replace(shelf, state=replace(shelf.state, known=KnownUsers((known,))))
    table = {"user_id": [1] * 4, "item_id": ["new i01"] * 4, "timestamp": [1e9, 2e9, 3e9, 4e9]}
    kinds = {"event_type": ["view", "cart", "buy", None]}
    catalogue = shelf.state.catalogue
    dataset = events_for(catalogue, table | kinds, event_types=("buy", "cart", "view"))[0]
    found = shelf.in_its_terms(dataset)
    np.testing.assert_array_equal(found.attributes["event_type"], [1, np.nan, 0, np.nan])
    assert shelf.event_types == found.event_types == ("buy", "view")
    np.testing.assert_allclose(found.sample_weight, [0.1, 1, 1, 1])
    assert shelf.in_its_terms(events_for(catalogue, table)[0]).attributes == {}


def test_scenes_are_counted_by_what_events_count_to_the_recommender(rec, departments, monkeypatch):
    """Before anything is encoded as well as after it."""
    events, items = departments
    dataset = replace(build(events.assign(event_type="view"), items)[0], event_weights=EventWeights((0.0,)))
    assert dataset.counted.n_events == 0  # to a recommender that knows no types they are events as others

    class Reached(Exception):
        pass

    def learn(worlds, *_):
        raise Reached(len(worlds))

    monkeypatch.setattr("llmrec.scenes.api.learn", learn)
    with pytest.raises(Reached, match="4"):
        Scenes(settings=QUICK, recommender=rec).fit(dataset, scene="aisle", verbose=False)


def test_rules_hold_before_and_after_first_customers(backed, departments):
    """By columns of the scene's own table, which the recommender was not fitted with."""
    events, items = departments
    asked, new = (
        of(events, 0, 6),
        items[items["aisle"] == "new"].assign(price=range(60), brand=[f"b{i % 7}" for i in range(60)]),
    )
    shop = backed.open(pd.concat([items[items["aisle"] != "new"], new]), scene="new")
    last = Rules(filters=[f"item_id == '{new['item_id'].iloc[-1]}'"])
    rules = Rules(filters=["price >= 10"], at_most={"brand": 2}, pin={2: new["item_id"].iloc[20]}, diversity=0.2)
    for one in (shop, shop.adapt(of(events, 0, 64))):
        users = [*asked["user_id"].unique().tolist(), 5]
        assert set(one.recommend(users, 1, False, histories=asked, rules=last)["item_id"]) == set(new["item_id"].iloc[-1:])
        found = one.recommend(users, 14, False, histories=asked, rules=rules).merge(new, on="item_id")
        assert found.groupby("user_id").size().tolist() == [14] * 7 and (found["price"] >= 10).all()
        assert found.groupby(["user_id", "brand"]).size().max() == 2
        pinned = found[found["source"] == PINNED]
        assert pinned["rank"].tolist() == [2] * 7 and set(pinned["price"]) == {20}
        with pytest.raises(SchemaError, match="no column 'prize'; did you mean 'price'"):
            one.recommend(users, histories=asked, rules=Rules(filters=["prize < 3"]))


# ---------------------------------------------------------------------------------------- saved with the recommender


def test_saved_with_its_recommender_it_opens_without_being_given_one(backed, rec, departments, tmp_path):
    backed.save_pretrained(tmp_path / "shop", recommender=True, histories=True)
    asked = of(departments[0], 0, 5)
    same_shop = Recommender.from_pretrained(tmp_path / "shop")
    pd.testing.assert_frame_equal(same_shop.recommend(histories=asked), rec.recommend(histories=asked))
    assert same_shop.state.histories.n_events == rec.state.histories.n_events
    again = Scenes.from_pretrained(tmp_path / "shop")
    found, expected = (known.open(scene="new").recommend(histories=asked, k=5) for known in (again, backed))
    pd.testing.assert_frame_equal(found, expected)
    with pytest.warns(MissingHistoriesWarning, match="the older save holds users' events") as caught:
        backed.save_pretrained(tmp_path / "shop", recommender=True)
    assert caught[0].filename == __file__
    rec.save_pretrained(tmp_path / "alone")
    with pytest.raises(ArtefactError, match="expected known scenes, got a recommender that was saved without any"):
        Scenes.from_pretrained(tmp_path / "alone")
    backed.save_pretrained(tmp_path / "scenes")
    with pytest.raises(DataError, match="expected scenes that were learned with one"):
        Scenes.from_pretrained(tmp_path / "scenes").save_pretrained(tmp_path / "x", recommender=True)


def test_saving_the_recommender_again_keeps_the_scenes_that_were_learned_with_it(backed, rec, departments, weights, tmp_path):
    """Also with more events and items; of another recommender they would say nothing."""
    backed.save_pretrained(tmp_path / "shop", recommender=True, histories=True)
    daily = Recommender.from_pretrained(tmp_path / "shop")
    daily.observe(of(departments[0], 0, 5))
    daily.save_pretrained(tmp_path / "shop", histories=True)
    backed.save_pretrained(tmp_path / "scenes")
    again, over = Scenes.from_pretrained(tmp_path / "shop"), Scenes.from_pretrained(tmp_path / "scenes", recommender=daily)
    assert again.recommender.state.version == daily.state.version == rec.state.version + 1
    asked = of(departments[0], 0, 5)
    found, expected = (known.open(scene="new").recommend(histories=asked, k=5) for known in (again, over))
    pd.testing.assert_frame_equal(found, expected)
    (tmp_path / "shop" / "scenes" / "README.md").write_text("ours")  # may stand beside a save, and is no part of one
    (tmp_path / "shop").rename(tmp_path / ".shop.previous")  # as a kill between two renames leaves it
    daily.save_pretrained(tmp_path / "shop", histories=True)
    assert Scenes.from_pretrained(tmp_path / "shop").known.names == backed.known.names
    older = tmp_path / "older"
    for damage, why in ((True, r"they are damaged \(.*arrays.safetensors"), (False, "texts of its items have changed since")):
        copytree(tmp_path / "shop", older)
        changed = Recommender.from_pretrained(older)
        changed.weights = weights
        if damage:
            with (older / "scenes" / "arrays.safetensors").open("ab") as file:
                file.write(b"x")
        else:
            changed.update_items({"item_id": [changed.state.catalogue.ids[0]], "title": ["a title that it never had"]})
        with pytest.warns(MissingScenesWarning, match=f"without them: .*{why}"):
            changed.save_pretrained(older, histories=True)
        assert Recommender.from_pretrained(older).state.version == changed.state.version
        rmtree(older)
    blend = daily.state.rankers.blend
    other = replace(blend, weights={name: values + 1 for name, values in blend.weights.items()})
    daily._state = replace(daily.state, rankers=replace(daily.state.rankers, blend=other))
    with pytest.warns(MissingScenesWarning, match="older save holds known scenes, .* a different recommender") as caught:
        daily.save_pretrained(tmp_path / "shop", histories=True)
    assert caught[0].filename == __file__
    with pytest.raises(ArtefactError, match="expected known scenes, got a recommender that was saved without any"):
        Scenes.from_pretrained(tmp_path / "shop")


def test_scenes_and_their_recommender_are_of_one_save_whatever_another_process_saves_meanwhile(
    backed, departments, tmp_path, monkeypatch
):
    """The other save has the same scenes under other names, and users; it comes between the recommender and the scenes."""
    other = copy.copy(backed)
    other._known = replace(backed.known, names=tuple(name.upper() for name in backed.known.names))
    backed.save_pretrained(tmp_path / "shop", recommender=True)
    save = partial(other.save_pretrained, tmp_path / "shop", recommender=True, histories=True)
    calls = saves_meanwhile(monkeypatch, known_folder, "opened", save)
    found = Scenes.from_pretrained(tmp_path / "shop")
    assert found.known.names == other.known.names != backed.known.names and len(calls) == 2
    assert found.recommender.state.histories.n_users


def test_what_the_recommender_has_hidden_or_removed_is_in_no_scene(backed, rec, departments):
    """Also in scenes opened out of what was kept when they were learned, and in those that are saved. One that is open already
    stays as it is."""
    events, items = departments
    asked, new = of(events, 0, 20), items[items["aisle"] == "new"]
    open_before = backed.open(scene="new")
    first = open_before.recommend(histories=asked, k=3)["item_id"]
    gone = first.value_counts().index[:2].tolist()
    later = copy.copy(rec)
    later.hide_items(gone[:1])
    later.remove_items(gone[1:])
    scenes = copy.copy(backed)
    scenes.recommender = later
    for shop in (scenes.open(scene="new"), scenes.open(new), scenes.open(scene="new").adapt(of(events, 100, 164))):
        answer = shop.recommend(histories=asked, k=58, filter_viewed=False)
        assert answer["item_id"].nunique() == 58 and not set(gone) & set(answer["item_id"])
        assert not set(gone) & set(shop.recommend(["nobody"], k=58)["item_id"])
    assert set(gone) <= set(open_before.recommend(histories=asked, k=3)["item_id"])
    assert scenes.open(scene="new").scene.shelf.state.hidden.sum() == 2 and rec.state.hidden is None
    later.show_items(gone[:1])
    later.add_items({"item_id": ["fresh"], "title": ["a fresh loaf"]})  # which changes nothing that scenes learned
    assert scenes.open({"item_id": ["fresh"], "title": ["a fresh loaf"]}).scene.shelf.state.catalogue.ids.values == ["fresh"]
    assert gone[0] in set(scenes.open(scene="new").recommend(histories=asked, k=59, filter_viewed=False)["item_id"])
