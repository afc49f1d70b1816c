"""A language model's adapter that learns from a new scene's first customers, in shops each of which has a colour in fashion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from departments import FIRST, ITEMS, QUICK, SECOND, USERS, same
from language_models import tiny

from llmrec import SceneRecommender, Scenes
from llmrec.cli.opening import _told
from llmrec.errors import DataError
from llmrec.meta.title_choices import TitleChoices, scores_of_each
from llmrec.ranking.adapter_plan import AdapterPlan
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.recommender import reranking
from llmrec.scenes import adapter_learning, ranker_steps, ranker_weights, visits
from llmrec.scenes.opening import adapt, zero_steps
from llmrec.scenes.ranker_steps import STEPS, WAYS, with_ranker_steps
from llmrec.scenes.shown import shown_choices
from llmrec.scenes.worlds import World
from llmrec.screen import PLAIN

pytestmark = pytest.mark.slow  # adapters are learned
PLAN = AdapterPlan(r=4, n_blocks=2, users=90, negatives=7, max_steps=4, batch_size=8, learning_rate=0.01)
FEW = 16  # first customers


def shop(name: str, seed: int, colour: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Customers take titles of the colour nine times as often as each other one, or all alike."""
    rng = np.random.default_rng(seed)
    titles = [f"{FIRST[i % 4]} {SECOND[i // 4 % 4]}" for i in range(ITEMS)]
    ids = [f"{name} {i:02}" for i in range(ITEMS)]
    share = np.array([9.0 if colour and title.startswith(colour) else 1.0 for title in titles])
    rows = [
        (user, ids[item], 1.6e9 + 1e5 * visit + user)
        for user in range(USERS)
        for visit, item in enumerate(rng.choice(ITEMS, 6, replace=False, p=share / share.sum()))
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]), pd.DataFrame({"item_id": ids, "title": titles})


COLOURS = {"a": "blue", "b": "green", "c": "small"}
RED, GREEN = shop("new", 9, "red"), shop("new", 10, "green")


def first(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["user_id"] < FEW]


@pytest.fixture(scope="module")
def model(tiny_folders, tmp_path_factory):
    return tiny("llama", tiny_folders["llama"], tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def fit(scenes, model):
    """`fit(colours)` -> Scenes whose ranker has the weights .7 and .4, or with `weights=False` what was learned."""

    def run(colours, settings=QUICK, weights=True) -> Scenes:
        with pytest.MonkeyPatch.context() as patch:
            if weights:
                patch.setattr(ranker_weights, "learn_weights", lambda *_: (0.7, 0.4))
            known = Scenes(scenes().weights, settings, ranker=LLMRanker(model, max_history=3, plan=PLAN))
            return known.fit({name: shop(name, ord(name), colour) for name, colour in colours.items()}, verbose=False)

    return run


@pytest.fixture(scope="module")
def fashion(fit) -> Scenes:
    return fit(COLOURS)


@pytest.fixture(scope="module")
def adapted(fashion) -> SceneRecommender:
    return with_design(fashion.open(RED[1]), RED[0])


def with_design(shop: SceneRecommender, events: pd.DataFrame) -> SceneRecommender:
    """Adapted to the first customers of `events` whatever their own events say, with the steps of its ranker."""
    dataset, users = shop._first_customers(first(events), None)
    scene = adapt(zero_steps(shop.scene), dataset, users, design=0)
    return replace(shop, scene=with_ranker_steps(scene, dataset, users, False, np.random.default_rng(0)))


def chances(shop: SceneRecommender, events: pd.DataFrame) -> tuple[np.ndarray, ...]:
    """How often what later customers took is ahead of another item shown, by the ranker before and after steps."""
    dataset, users = shop._first_customers(events[events["user_id"] >= FEW], None)
    start, moved = shop.scene.ranker, shop.scene.adapted_ranker
    world = World(dataset, shop.scene.shelf, users)
    choices = shown_choices(start, shop.reset().scene, world, users, len(users), 7, np.random.default_rng(1))
    assert isinstance(choices, TitleChoices) and len(choices) == USERS - FEW
    scores = scores_of_each(start.language_model, choices, [start.adapter, moved.adapter])
    return tuple(
        np.array([(one[right] > one[~right]).mean() for one, right in zip(mine, choices.taken, strict=True)]) for mine in scores
    )


def test_steps_on_first_customers_tell_what_later_ones_take(adapted, fashion):
    told = _told(Path("shop"), adapted, None, PLAIN)[0]
    assert f"LLMRanker moves the first 20 items, after {STEPS} steps of its adapter" in told
    assert adapted.ranker_steps == STEPS and adapted.scene.reranker.ranker is adapted.scene.adapted_ranker
    before, after = chances(adapted, RED[0])
    gain = after - before
    assert gain.mean() > 4 * gain.std() / len(gain) ** 0.5
    before, other = chances(with_design(fashion.open(RED[1]), GREEN[0]), RED[0])
    assert other.mean() < before.mean() + 0.02 and other.mean() < after.mean() - 0.05


def test_where_steps_help_in_no_known_scene_none_is_taken(fit):
    known = fit(dict.fromkeys(COLOURS))
    steps = known.known.learned.ranker_steps
    assert [steps.gate.choices[one.chosen] for one in steps.gate.bins] == [WAYS[0]]
    shop = with_design(known.open(RED[1]), RED[0])
    assert shop.ranker_steps == 0 and shop.scene.adapted_ranker is None and shop.scene.reranker.ranker is known.known.ranker


def test_an_adapted_scene_goes_back_and_is_saved_with_its_own_adapter(adapted, fashion, tmp_path):
    later = {"histories": RED[0][RED[0]["user_id"] >= FEW], "titles": True}
    day_one = fashion.open(RED[1])
    same(adapted.reset().recommend(**later), day_one.recommend(**later))
    assert adapted.reset().ranker_steps == 0
    adapted.save_pretrained(tmp_path / "scene")
    loaded = SceneRecommender.from_pretrained(tmp_path / "scene")
    assert loaded.ranker_steps == STEPS
    same(loaded.recommend(**later), adapted.recommend(**later))
    same(loaded.reset().recommend(**later), day_one.recommend(**later))
    fashion.save_pretrained(tmp_path / "known")
    again = Scenes.from_pretrained(tmp_path / "known", weights=fashion.weights)
    same(with_design(again.open(RED[1]), RED[0]).recommend(**later), adapted.recommend(**later))


def test_no_known_scene_is_judged_by_an_adapter_that_has_seen_it_or_its_customers(fit, monkeypatch):
    """Neither in the gate, nor where the weights are learned."""
    learned_of, taught_by, asked = [], [], []

    def draw(ranker, scene, world, users, *rest):
        found = shown_choices(ranker, scene, world, users, *rest)
        taught_by.append((world.shelf, users, {id(row) for row in found.rows}))
        kept.append(found)
        return found

    def learn(ranker, choices, *rest):
        found = learn_from_choices(ranker, choices, *rest)
        learned_of.append((found.ranker.adapter, {id(row) for row in choices.rows}))
        return found

    def about(scene, world, users, *rest):
        asked.append((scene.shelf, users))
        return asked_about(scene, world, users, *rest)

    def weigh(ranker_of, parts, seed):
        order.append([ranker_of(place).adapter for place in range(len(parts))])
        return reranking.weigh(ranker_of, parts, seed)

    kept, order = [], []
    learn_from_choices, asked_about = adapter_learning.learn_from_choices, visits.asked_about
    for module, name, one in (
        (adapter_learning, "shown_choices", draw),
        (adapter_learning, "learn_from_choices", learn),
        (adapter_learning, "asked_about", about),
        (ranker_weights, "asked_about", about),
        (ranker_weights, "weigh", weigh),
        (ranker_steps, "after_steps", lambda ranker, choices, ways: [ranker.adapter for _ in ways]),  # zero steps everywhere
    ):
        monkeypatch.setattr(module, name, one)
    monkeypatch.setattr(adapter_learning, "after_steps", ranker_steps.after_steps)
    fit(COLOURS, weights=False)
    rows = {id(shelf): one for shelf, _, one in taught_by}
    names = {user for _, users, _ in taught_by for user in users.tolist()}
    assert len(rows) == len(COLOURS) and len(learned_of) == 3 and learned_of[0][1] == set().union(*rows.values())
    assert names and all(not names & set(users.tolist()) for _, users in asked)  # ids are alike in all shops
    shelves, sizes = [shelf for shelf, _, _ in taught_by], len(QUICK.sizes)
    for adapters, count in zip(order, (1, sizes), strict=True):
        for shelf, adapter in zip([one for one in shelves for _ in range(count)], adapters, strict=True):
            seen = next(mine for one, mine in learned_of[1:] if one is adapter)
            assert seen and not seen & rows[id(shelf)]


def test_no_more_customers_are_stepped_on_than_in_a_new_scene(fit, monkeypatch):
    counts = []

    def spied(ranker, choices, ways):
        counts.append(len(choices))
        return plain(ranker, choices, ways)

    plain = ranker_steps.after_steps
    monkeypatch.setattr(adapter_learning, "after_steps", spied)
    monkeypatch.setattr(ranker_steps, "CUSTOMERS", 24)
    monkeypatch.setattr(adapter_learning, "CUSTOMERS", 24)
    gate = fit(COLOURS, replace(QUICK, sizes=(40,))).known.learned.ranker_steps.gate
    assert [one.least for one in gate.bins] == [24] and counts and max(counts) <= 24


def test_customers_without_a_choice_leave_the_ranker_as_it_is(fashion):
    """Whoever bought one item again and again took nothing that may be recommended."""
    shop = fashion.open(RED[1])
    again = pd.DataFrame({"user_id": np.repeat(np.arange(FEW), 3), "item_id": "new 05", "timestamp": np.arange(3 * FEW)})
    found = with_design(shop, again)
    assert found.ranker_steps == 0 and found.scene.adapted_ranker is None


def test_shops_without_a_choice_to_learn_from_are_refused(fit, monkeypatch):
    monkeypatch.setattr(adapter_learning, "shown_choices", lambda ranker, *_: nobody(ranker))
    with pytest.raises(DataError, match=r"AdapterPlan: expected in each half .*leave the plan out"):
        fit(COLOURS)


def nobody(ranker):
    return TitleChoices((), (), (), np.zeros(0, np.int64))


def test_a_plan_on_a_ranker_of_ones_own_is_refused(model):
    class Mine(LLMRanker):
        pass

    with pytest.raises(DataError, match=r"expected an LLMRanker itself where it has a plan, got a Mine"):
        Scenes(ranker=Mine(model, plan=PLAN))


def test_sizes_that_do_not_ascend_are_refused_before_anything_is_trained(fit):
    with pytest.raises(DataError, match=r"LearnSettings\.sizes is \(64, 16\); expected ascending"):
        fit(COLOURS, replace(QUICK, sizes=(64, 16)))
