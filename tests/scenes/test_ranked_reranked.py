"""A ranker of one's own in scenes that a recommender reads, in the planted departments of `test_reranked`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from departments import EVENTS, FEW, ITEMS, LATER, QUICK, TITLES, USERS, Noise, Truth, ndcg, same, with_ranker
from language_models import write_tiny

from llmrec import OuterSettings, Recommender, SceneRecommender, Scenes
from llmrec.adapters.language_adapter import LanguageAdapter
from llmrec.adapters.linear_head import LinearHead
from llmrec.errors import WeightsError
from llmrec.index.candidates import Sources
from llmrec.language import model as language
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.reranker import TOP, Reranker
from llmrec.recommender import saved_reranker
from llmrec.recommender.reranking import ASKED
from llmrec.scenes.reranked import answered
from llmrec.scenes.worlds import last_steps

pytestmark = pytest.mark.slow  # a recommender is fitted, and scenes are learned

OTHERS = EVENTS[~EVENTS["user_id"].isin(FEW["user_id"])]  # all that they had, in the other departments too
ASKED_FOR = {"histories": LATER[LATER["user_id"] < 40]}


@pytest.fixture(scope="module")
def rec(scenes, tiny_settings) -> Recommender:
    """Fitted on the whole catalogue, of whose new department nobody has bought anything."""
    train = replace(tiny_settings.train, known=(1, 4), horizon=1, max_slots=16, max_steps=2)
    blind = replace(tiny_settings.counts_ranker, hidden=1, max_steps=0)  # it would tell kinds
    more = {"sources": Sources(text_k=30, knn_k=0, popular_k=0), "counts_ranker": blind, "ranking_tasks": 100}
    settings = replace(tiny_settings, train=train, outer=OuterSettings(episodes=1), **more)
    old = EVENTS[~EVENTS["item_id"].str.startswith("new ")]
    return Recommender(scenes().weights, settings).fit(old, TITLES, verbose=False)


@pytest.fixture(scope="module")
def learned(rec) -> Callable[..., Scenes]:
    def fit(ranker, recommender=rec):
        known = Scenes(settings=QUICK, recommender=recommender, ranker=ranker)
        return known.fit(EVENTS, TITLES, scene="aisle", holdout=["new"], verbose=False)

    return fit


@pytest.fixture(scope="module")
def plain(learned) -> Scenes:
    return learned(None)


@pytest.fixture(scope="module")
def knowing(learned) -> Scenes:
    return learned(Truth())


def test_a_ranker_that_knows_the_titles_is_trusted_and_helps_in_a_new_scene(plain, knowing):
    ranker = knowing.known.ranker
    assert min(knowing.known.learned.ranker_weights) > 0 and ranker.longest <= TOP and ranker.asked <= 2 * ASKED + 16
    for adapted in (False, True):
        with_it, without = (known.open(scene="new") for known in (knowing, plain))
        if adapted:
            with_it, without = (replace(one, scene=replace(one.adapt(FEW).scene, design=1)) for one in (with_it, without))
        gain = ndcg(with_it, OTHERS) - ndcg(without, OTHERS)
        assert gain.mean() > 3 * gain.std() / len(gain) ** 0.5


def test_a_ranker_of_noise_is_left_out_and_nothing_changes(learned, plain):
    noisy = learned(Noise())
    assert noisy.known.learned.ranker_weights == (0.0, 0.0) and noisy.known.ranker is None
    same(noisy.open(scene="new").recommend(**ASKED_FOR), plain.open(scene="new").recommend(**ASKED_FOR))


@pytest.mark.parametrize("adapted", [False, True])
def test_what_is_outside_the_first_items_never_passes_those_inside(plain, adapted):
    lists = []
    for known in (plain, with_ranker(plain, Noise(), (9.0, 9.0))):
        shop = known.open(scene="new")
        shop = replace(shop, scene=replace(shop.adapt(FEW).scene, design=1)) if adapted else shop
        lists.append(shop.recommend(k=ITEMS - 6, **ASKED_FOR).groupby("user_id")["item_id"].apply(list))
    changed = 0
    for before, after in zip(*lists, strict=True):
        assert set(before[:TOP]) == set(after[:TOP]) and before[TOP:] == after[TOP:]
        changed += before != after
    assert changed > 20


@pytest.mark.parametrize("adapted", [False, True])
def test_the_comparison_measures_what_is_answered(plain, adapted):
    shop = with_ranker(plain, Truth(), (5.0, 5.0)).open(scene="new")
    shop = replace(shop, scene=replace(shop.adapt(FEW).scene, design=1)) if adapted else shop
    dataset, users = shop._first_customers(LATER, None)
    tasks = last_steps(dataset, users, shop.scene.shelf.among)
    table = answered(shop.scene, tasks, True)
    last = LATER.sort_values(["user_id", "timestamp"]).groupby("user_id").tail(1)
    answer = shop.recommend(histories=LATER.drop(last.index), k=10)
    assert answer["user_id"].nunique() == len(tasks) == USERS - 16
    for task, (_, rows) in enumerate(answer.groupby("user_id", sort=False)):
        value = table[task, shop.catalogue.ids.find(rows["item_id"])]
        np.testing.assert_allclose(value, rows["score"], rtol=1e-4, atol=1e-4)


def test_scenes_go_on_with_the_ranker_of_the_recommender_by_weights_of_their_own(rec, learned, plain, knowing):
    """Its weight there is of items that people have bought; what is learned of all else is the same with it and without."""
    ranker, other = Truth(), copy.copy(rec)
    other._state = replace(rec.state, reranker=Reranker(ranker, 9.0, 9.0))
    known = learned(None, other)
    assert known.known.ranker is ranker and ranker.asked <= 2 * ASKED + 16
    assert known.known.learned.ranker_weights == knowing.known.learned.ranker_weights
    np.testing.assert_array_equal(known.known.learned.gain, plain.known.learned.gain)
    shop = known.open(scene="new")
    assert shop.scene.shelf.state.reranker is None
    same(shop.recommend(**ASKED_FOR), knowing.open(scene="new").recommend(**ASKED_FOR))
    mine = learned(Noise(), other)  # one that is given stands in its place
    assert mine.known.ranker is None
    same(mine.open(scene="new").recommend(**ASKED_FOR), plain.open(scene="new").recommend(**ASKED_FOR))


@pytest.mark.parametrize("adapted", [False, True])
def test_saved_with_its_recommender_the_language_model_is_read_once(rec, plain, tiny_folders, tmp_path, monkeypatch, adapted):
    """Also where the scenes' ranker has an adapter of its own."""
    (tmp_path / "here").mkdir()
    place, read = write_tiny("llama", tiny_folders["llama"], tmp_path / "here"), []
    ranker, other = LLMRanker(language.load_language_model(place), max_history=3), copy.copy(rec)
    other._state = replace(rec.state, reranker=Reranker(ranker, 0.5, 0.5))
    head = LinearHead(torch.linspace(-1, 1, ranker.language_model.width)[None])
    own = ranker.with_adapter(LanguageAdapter(head=head)) if adapted else ranker
    known = with_ranker(plain, own)
    known.recommender = other
    known.save_pretrained(tmp_path / "shop", recommender=True)

    def load(*given):
        read.append(given)
        return language.load_language_model(*given)

    monkeypatch.setattr(saved_reranker, "load_language_model", load)
    again = Scenes.from_pretrained(tmp_path / "shop")
    theirs = again.recommender.state.own_ranker
    assert len(read) == 1 and (again.known.ranker is theirs) == (not adapted) and theirs.adapter is None
    assert again.known.ranker.language_model is theirs.language_model
    shop, asked = again.open(scene="new"), {**ASKED_FOR, "titles": True}
    same(shop.recommend(**asked), known.open(scene="new").recommend(**asked))
    shop.save_pretrained(tmp_path / "scene")
    same(SceneRecommender.from_pretrained(tmp_path / "scene").recommend(**asked), shop.recommend(**asked))
    place.rename(tmp_path / "there")
    with pytest.raises(WeightsError, match="ranker: expected the language model .*here"):
        Scenes.from_pretrained(tmp_path / "shop")
    read.clear()
    moved = Scenes.from_pretrained(tmp_path / "shop", ranker=tmp_path / "there")
    assert len(read) == 1
    same(moved.open(scene="new").recommend(**asked), known.open(scene="new").recommend(**asked))
