"""A ranker of one's own in scenes that are read by their texts, in planted departments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from departments import FEW, ITEMS, KINDS, KNOWN, LATER, QUICK, SHOPS, USERS, Noise, Truth, kind_of, ndcg, same, with_ranker
from language_models import write_tiny

from llmrec import SceneRecommender, Scenes
from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.errors import ArtefactError, DataError, IgnoredInputWarning, WeightsError
from llmrec.language.model import load_language_model
from llmrec.metrics import ranking as metrics
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.reranker import TOP
from llmrec.recommender.reranking import ASKED
from llmrec.rules import Rules
from llmrec.scenes import visits
from llmrec.scenes.learning import learn, learn_with_left_out
from llmrec.scenes.opening import zero_shot
from llmrec.scenes.reranked import answered, first_items
from llmrec.scenes.worlds import ground, last_steps, moments


@pytest.fixture(scope="module")
def weights(scenes):
    return scenes().weights


@pytest.fixture(scope="module")
def by_texts(weights) -> Callable[..., Scenes]:
    return lambda ranker: Scenes(weights, QUICK, ranker=ranker).fit(KNOWN, verbose=False)


@pytest.fixture(scope="module")
def plain(by_texts):
    return by_texts(None)


@pytest.fixture(scope="module")
def knowing(by_texts):
    return by_texts(Truth())


# ---------------------------------------------------------------------------------------- by texts alone


def test_a_ranker_that_knows_the_titles_is_trusted_and_helps_in_a_new_scene(plain, knowing):
    assert knowing.known.learned.ranker_weights[0] > 0 and 0 < knowing.known.ranker.asked <= 2 * ASKED + 16
    assert knowing.known.ranker.longest <= TOP
    with_it, without = (known.open(SHOPS["new"][1]) for known in (knowing, plain))
    gain = ndcg(with_it, LATER) - ndcg(without, LATER)
    assert gain.mean() > 4 * gain.std() / len(gain) ** 0.5


@pytest.mark.slow
def test_a_ranker_of_noise_is_left_out_and_nothing_changes(by_texts, plain):
    ranker = Noise()
    noisy = by_texts(ranker)
    assert noisy.known.learned.ranker_weights == (0.0, 0.0) and noisy.known.ranker is None and ranker.asked > 0
    ranker.asked = 0
    for known in (noisy.open(SHOPS["new"][1]), noisy.open(SHOPS["new"][1]).adapt(FEW)):
        other = plain.open(SHOPS["new"][1])
        other = other.adapt(FEW) if known.customers else other
        pd.testing.assert_frame_equal(known.recommend(histories=LATER), other.recommend(histories=LATER))
    assert ranker.asked == 0


def test_what_is_learned_of_all_else_is_the_same_with_a_ranker(plain, knowing):
    for name in ("gain", "spread"):
        np.testing.assert_array_equal(getattr(knowing.known.learned, name), getattr(plain.known.learned, name))
    np.testing.assert_array_equal(knowing.known.learned.later.zero.line, plain.known.learned.later.zero.line)


@pytest.mark.parametrize("alike", [False, True])
def test_what_is_outside_the_first_items_never_passes_those_inside(plain, alike):
    shops = [known.open(SHOPS["new"][1]) for known in (plain, with_ranker(plain, Noise(), (9.0, 9.0)))]
    before, after = (shop.recommend(histories=LATER, k=ITEMS - 6) for shop in (map(flat, shops) if alike else shops))
    changed = 0
    for (_, one), (_, other) in zip(before.groupby("user_id"), after.groupby("user_id"), strict=True):
        one, other = one["item_id"].tolist(), other["item_id"].tolist()
        assert set(one[:TOP]) == set(other[:TOP]) and one[TOP:] == other[TOP:]
        changed += one != other
    assert changed > USERS // 2


def flat(shop: SceneRecommender) -> SceneRecommender:
    """Under a mix by which all items have the same score."""
    zero = shop.scene.learned.later.zero
    nothing = replace(zero, line=np.zeros_like(zero.line), out=np.zeros_like(zero.out))
    learned = replace(shop.scene.learned, later=replace(shop.scene.learned.later, zero=nothing))
    return replace(shop, scene=replace(shop.scene, learned=learned))


def test_scores_of_a_table_are_moved_where_there_is_a_history(knowing):
    shop = knowing.open(SHOPS["new"][1])
    assert shop.scene.reranker.unseen_weight == knowing.known.learned.ranker_weights[0]
    nobody = shop.recommend(["nobody"], k=ITEMS)
    asked = knowing.known.ranker.asked
    same(nobody, replace(shop, scene=replace(shop.scene, ranker=None)).recommend(["nobody"], k=ITEMS))
    assert knowing.known.ranker.asked == asked
    score = np.array([[3.0, -np.inf, 5.0, 5.0, 1.0], [-np.inf] * 4 + [2.0]], np.float32)
    first, value = first_items(score, 2)
    assert first.item.tolist() == [2, 3, 4] and first.start.tolist() == [0, 2, 3] and value.tolist() == [5.0, 5.0, 2.0]


def test_weights_are_for_scenes_without_and_with_first_customers(plain):
    shop = with_ranker(plain, Noise()).open(SHOPS["new"][1])
    assert shop.scene.reranker.weight == 0.7 and plain.open(SHOPS["new"][1]).scene.reranker is None
    adapted = replace(shop, scene=replace(shop.adapt(FEW).scene, design=0))
    assert adapted.scene.reranker.weight == 0.4 and adapted.reset().scene.reranker.weight == 0.7
    assert with_ranker(plain, Noise(), (0.0, 0.4)).open(SHOPS["new"][1]).scene.reranker is None


@pytest.mark.slow
def test_the_comparison_measures_what_is_answered(plain):
    """Zero steps among the first customers, by the answers themselves."""
    shop = with_ranker(plain, Truth(), (5.0, 5.0)).open(SHOPS["new"][1])
    dataset, users = shop._first_customers(LATER, None)
    tasks = last_steps(dataset, users, shop.scene.shelf.among)
    table = answered(shop.scene, tasks, True)
    last = LATER.sort_values(["user_id", "timestamp"]).groupby("user_id").tail(1)
    answer = shop.recommend(histories=LATER.drop(last.index), k=10)
    for task, (_, rows) in enumerate(answer.groupby("user_id")):
        best = np.argsort(-table[task], kind="stable")[:10]
        assert [shop.catalogue.ids[item] for item in best] == rows["item_id"].tolist()
    found = shop.compare(LATER).set_index("method").loc["zero steps", "ndcg@10"]
    allowed = np.array([~np.isin(np.arange(ITEMS), dataset.item[tasks.support(task)]) for task in range(len(tasks))])
    assert found == pytest.approx(metrics.ndcg(table, tasks.relevant(), 10, allowed).mean(), abs=1e-6)
    assert found > ndcg(plain.open(SHOPS["new"][1]), LATER).mean() + 0.05


def test_rules_hold_after_a_ranker(knowing):
    shop = knowing.open(SHOPS["new"][1])
    found = shop.recommend(histories=LATER, k=5, rules=Rules(filters=["title != 'red mug'"], at_most={"title": 1}), titles=True)
    assert "red mug" not in set(found["title"]) and found.groupby(["user_id", "title"]).size().max() == 1
    kinds = found["title"].map(kind_of).groupby(found["user_id"]).first()
    plainly = replace(shop, scene=replace(shop.scene, ranker=None)).recommend(histories=LATER, k=1, titles=True)
    others = plainly.set_index("user_id")["title"].map(kind_of)
    assert (kinds == kinds.index % KINDS).mean() > (others == others.index % KINDS).mean()


def test_weights_are_learned_on_what_the_other_scenes_taught(by_texts, monkeypatch):
    ranked = []

    def recorded(learned, shelf, ranker=None):
        ranked.append((learned, shelf))
        return zero_shot(learned, shelf, ranker)

    monkeypatch.setattr(visits, "zero_shot", recorded)
    whole = by_texts(Truth()).known.learned
    assert len({id(shelf) for _, shelf in ranked}) == len(KNOWN)
    for learned, shelf in ranked:  # the ground is one of the others' moments: it is another for every scene
        same = {id(other) for one, other in ranked if np.array_equal(one.ground.map, learned.ground.map)}
        assert same == {id(shelf)} and not np.array_equal(learned.ground.map, whole.ground.map)


@pytest.mark.slow
def test_what_the_other_scenes_teach_is_without_the_scene(shop):
    worlds = [shop(seed, True) for seed in range(3)]
    settings = replace(QUICK, queries=30)
    learned, left_out = learn_with_left_out(worlds, np.random.default_rng(0), settings)
    alone = learn(worlds, np.random.default_rng(0), settings)
    np.testing.assert_array_equal(learned.gain, alone.gain)
    np.testing.assert_array_equal(learned.later.zero.line, alone.later.zero.line)
    for place, one in enumerate(left_out):
        others = ground([moments(world) for other, world in enumerate(worlds) if other != place])
        np.testing.assert_array_equal(one.ground.map, others.map)
        assert not np.array_equal(one.later.zero.line, learned.later.zero.line)
        assert one.first is None and one.sizes == learned.sizes


# ---------------------------------------------------------------------------------------- saved


def test_a_ranker_of_ones_own_is_passed_again_after_loading(knowing, weights, tmp_path):
    expected = knowing.open(SHOPS["new"][1]).recommend(histories=LATER)
    with pytest.warns(IgnoredInputWarning, match=r"the ranker Truth is not saved.*pass from_pretrained\(folder, ranker=Truth"):
        knowing.save_pretrained(tmp_path / "known")
    with pytest.raises(ArtefactError, match="fitted with a ranker Truth, .* got none; pass"):
        Scenes.from_pretrained(tmp_path / "known", weights)
    loaded = Scenes.from_pretrained(tmp_path / "known", weights, ranker=Truth())
    same(loaded.open(SHOPS["new"][1]).recommend(histories=LATER), expected)
    with pytest.warns(IgnoredInputWarning, match="the ranker Truth is not saved"):
        loaded.open(SHOPS["new"][1]).save_pretrained(tmp_path / "scene")
    with pytest.raises(ArtefactError, match="fitted with a ranker Truth, .* got a Noise; pass"):
        SceneRecommender.from_pretrained(tmp_path / "scene", ranker=Noise())
    same(SceneRecommender.from_pretrained(tmp_path / "scene", ranker=Truth()).recommend(histories=LATER), expected)


@pytest.mark.slow
@pytest.mark.parametrize("adapted_model", [False, True])
def test_of_a_language_model_place_hash_and_adapter_are_saved(plain, weights, tiny_folders, tmp_path, adapted_model):
    (tmp_path / "here").mkdir()
    place = write_tiny("llama", tiny_folders["llama"], tmp_path / "here")
    model = load_language_model(place)
    lora = start_lora(model, 2, 2.0, 2, torch.Generator().manual_seed(0), 0.5)
    speaking = with_ranker(plain, LLMRanker(model, max_history=3, adapter=LanguageAdapter(lora) if adapted_model else None))
    asked, shop = {"histories": LATER[LATER["user_id"] < 20], "titles": True}, speaking.open(SHOPS["new"][1])
    before, after = (known.open(SHOPS["new"][1]).recommend(**asked)["title"].tolist() for known in (plain, speaking))
    assert before != after
    adapted = replace(shop, scene=replace(shop.adapt(FEW).scene, design=0))
    speaking.save_pretrained(tmp_path / "known")
    adapted.save_pretrained(tmp_path / "scene")
    known = Scenes.from_pretrained(tmp_path / "known", weights)
    same(known.open(SHOPS["new"][1]).recommend(**asked), shop.recommend(**asked))
    loaded = SceneRecommender.from_pretrained(tmp_path / "scene")
    assert (loaded.scene.ranker.adapter is not None) == adapted_model
    same(loaded.recommend(**asked), adapted.recommend(**asked))
    same(loaded.reset().recommend(**asked), shop.recommend(**asked))
    place.rename(tmp_path / "there")
    for load, folder in ((Scenes.from_pretrained, "known"), (SceneRecommender.from_pretrained, "scene")):
        with pytest.raises(WeightsError, match=rf"{folder}: ranker: expected the language model .*here.*ranker=PATH"):
            load(tmp_path / folder)
        load(tmp_path / folder, ranker=tmp_path / "there")
    (tmp_path / "other").mkdir()
    other = write_tiny("qwen3", tiny_folders["llama"], tmp_path / "other")
    with pytest.raises(WeightsError, match="expected weights with SHA-256"):
        SceneRecommender.from_pretrained(tmp_path / "scene", ranker=other)


def test_what_is_no_ranker_is_refused():
    for wrong in (Truth, 3, "smollm2"):
        with pytest.raises(DataError, match=r"expected an object with score\(tasks, candidates\)"):
            Scenes(ranker=wrong)
