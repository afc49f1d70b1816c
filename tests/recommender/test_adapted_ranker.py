"""A language model that `fit` adapts to the shop, by others than the users on whom its weight is learned."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from language_models import tiny

from llmrec import Recommender, Weights
from llmrec.adapters.language_folder import adapter_hash
from llmrec.data.build import build
from llmrec.data.tasks import Tasks, full_histories
from llmrec.errors import AdapterError, ArtefactError, DataError
from llmrec.meta.learn_choices import JointSettings
from llmrec.progress import Stages
from llmrec.ranking import learn_adapter as learn_module
from llmrec.ranking.adapter_plan import AdapterPlan
from llmrec.ranking.learn_adapter import learn_adapter, with_others
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.reranker import Reranker
from llmrec.recommender import adapted_ranker
from llmrec.recommender import fit as fitting_module
from llmrec.recommender.adapted_ranker import adapted_to
from llmrec.recommender.run import Run
from llmrec.recommender.splitting import UserSplit

PLAN = AdapterPlan(r=2, n_blocks=1, users=30, negatives=3, max_steps=3, batch_size=4, learning_rate=0.05)


@pytest.fixture(scope="module")
def model(tiny_folders, tmp_path_factory):
    return tiny("llama", tiny_folders["llama"], tmp_path_factory.mktemp("llama"))


@pytest.fixture
def shop(world):
    """60 users, each of whom has 8 of the items."""
    rng, users = np.random.default_rng(0), [f"u{number:02}" for number in range(60)]
    rows = [(user, item, 86_400.0 * day) for user in users for day, item in enumerate(rng.permutation(world.ids)[:8])]
    events = {name: [row[place] for row in rows] for place, name in enumerate(("user_id", "item_id", "timestamp"))}
    return events, world.items(world.ids)


@pytest.fixture
def fit(shop, tiny_settings, tiny_folders, monkeypatch, tmp_path):
    """`fit(ranker, output_dir, **settings)` -> what there was to see: the recommender; taught and asked, users of the adapter
    and of the weight. The ranker has weight 0.5, whatever it is worth."""
    seen = SimpleNamespace(taught=[], asked=[])
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))

    def learn(ranker, tasks, *rest):
        seen.taught = tasks.user.tolist()
        return learn_adapter(ranker, tasks, *rest)

    def weigh(ranker, tasks, *_):
        seen.asked = tasks.user.tolist()
        return Reranker(ranker, 0.5, 0.5)

    monkeypatch.setattr(adapted_ranker, "learn_adapter", learn)
    monkeypatch.setattr(fitting_module, "learn_reranker", weigh)

    def run(ranker, output_dir=None, **settings):
        seen.recommender = Recommender(Weights.folder(tiny_folders["bert"]), replace(tiny_settings, **settings), 0, ranker)
        seen.recommender.fit(*shop, output_dir=output_dir, verbose=False)
        return seen

    return run


def test_the_users_who_teach_the_adapter_are_not_those_of_the_weight(fit, model):
    found = fit(LLMRanker(model, plan=PLAN))
    ranker = found.recommender.state.reranker.ranker
    assert len(ranker.adapter) == 1 and ranker.plan is None and ranker.adapter.lora.rank == 2
    assert len(set(found.taught)) == len(found.taught) == PLAN.users
    assert found.asked and not set(found.taught) & set(found.asked)


def test_without_a_plan_nothing_is_adapted_and_all_are_asked(fit, model):
    found = fit(LLMRanker(model))
    assert found.recommender.state.reranker.ranker.adapter is None and not found.taught
    assert len(set(found.asked)) > len(set(fit(LLMRanker(model, plan=PLAN)).asked))


def test_answers_are_those_of_the_adapted_model_and_are_saved(fit, model, tmp_path):
    given = LLMRanker(model, plan=PLAN)
    found = fit(given).recommender
    answer = found.recommend(["u00", "u01"], k=6)
    plain = fit(LLMRanker(model)).recommender.recommend(["u00", "u01"], k=6)
    assert not np.allclose(answer["score"], plain["score"])
    found.save_pretrained(tmp_path / "shop", histories=True)
    for ranker in (given, found.state.reranker.ranker, LLMRanker(model)):
        loaded = Recommender.from_pretrained(tmp_path / "shop", ranker=ranker)
        assert loaded.state.reranker.ranker.plan is None
        assert loaded.recommend(["u00", "u01"], k=6)["score"].tolist() == answer["score"].tolist()


def test_a_fit_that_is_called_again_goes_on_with_the_adapter_that_it_had(fit, model, tmp_path, monkeypatch):
    first = fit(LLMRanker(model, plan=PLAN), tmp_path / "run").recommender.state.reranker.ranker.adapter
    assert (tmp_path / "run" / "llm" / "checkpoint").is_dir()
    with pytest.raises(ArtefactError, match="batch_size"):
        fit(LLMRanker(model, plan=replace(PLAN, batch_size=5)), tmp_path / "run")
    monkeypatch.setattr("llmrec.meta.resumable.train_step", None)  # no step is left to be taken
    again = fit(LLMRanker(model, plan=PLAN), tmp_path / "run").recommender.state.reranker.ranker.adapter
    assert adapter_hash(again) == adapter_hash(first)


def test_everything_in_the_plan_is_used(model, shop, monkeypatch):
    """What the parts are called with; the popularity counts sample weights."""
    dataset = build(*shop)[0]
    tasks, popularity = full_histories(dataset, np.arange(30)), np.arange(dataset.n_items, dtype=float)
    tasks = Tasks(dataset, tasks.start, tasks.split - 1, tasks.stop)
    told = {}

    def spy(name):
        real = getattr(learn_module, name)

        def call(*args, **more):
            told[name] = args
            return real(*args, **more)

        monkeypatch.setattr(learn_module, name, call)

    for name in ("drawn_candidates", "start_lora", "soft_prompt", "calibrated", "fit_adapter"):
        spy(name)
    plan = replace(PLAN, n_tokens=5)
    found = learn_adapter(LLMRanker(model, plan=plan), tasks, popularity, plan, 7, Stages(verbose=False))
    assert len(found.losses) == plan.max_steps and found.temperature != 1
    assert told["drawn_candidates"][1] is popularity and told["drawn_candidates"][2] == plan.negatives
    assert told["start_lora"][1] == plan.r and told["start_lora"][3] == plan.n_blocks and told["soft_prompt"][2] == 5
    _, choices, _, settings, seed = told["fit_adapter"][:5]
    assert settings == JointSettings(plan.max_steps, plan.batch_size, plan.learning_rate) and seed == 7
    assert choices.temperature == found.temperature and all(len(one.segments) == 1 + plan.negatives for one in choices.rows)
    other = learn_adapter(LLMRanker(model, plan=plan), tasks, popularity, plan, 8, Stages(verbose=False))
    assert adapter_hash(other.ranker.adapter) != adapter_hash(found.ranker.adapter)


def test_users_of_base_training_teach_without_their_left_out_baskets(model, shop, tiny_settings, monkeypatch):
    whole = build(*shop)[0]
    weight = np.where(whole.item == 3, 5.0, 1.0).astype(np.float32)
    whole = replace(whole, attributes=whole.attributes | {"weight": weight})
    training = whole.keep(whole.basket < 7)
    told = {}

    def learn(ranker, tasks, popularity, plan, seed, stages, folder):
        told.update(tasks=tasks, popularity=popularity, seed=seed)
        return SimpleNamespace(ranker=ranker)

    monkeypatch.setattr(adapted_ranker, "learn_adapter", learn)
    split = UserSplit(np.arange(30), np.arange(30, 40), np.arange(40, 60))
    users = adapted_to(LLMRanker(model, plan=PLAN), training, split, tiny_settings, 5, Stages(verbose=False), Run())[1]
    assert set(users) <= set(range(30)) and told["tasks"].dataset is training and told["seed"] == 5
    part = training.take(split.base)
    np.testing.assert_allclose(told["popularity"], np.bincount(part.item, part.sample_weight, part.n_items))


@pytest.mark.parametrize(("people", "taught"), [(15, 0), (20, 0), (25, 5), (60, 30)])
def test_in_a_small_shop_enough_users_are_left_for_the_weight(model, shop, tiny_settings, monkeypatch, people, taught):
    dataset = build(*shop)[0].take(np.arange(people))
    monkeypatch.setattr(adapted_ranker, "learn_adapter", lambda ranker, *_: SimpleNamespace(ranker=ranker))
    everybody = np.arange(people)
    split = UserSplit(everybody, everybody, everybody)
    ranker, users = adapted_to(LLMRanker(model, plan=PLAN), dataset, split, tiny_settings, 0, Stages(verbose=False), Run())
    assert len(users) <= taught and (taught == 0) == (len(users) == 0)
    assert ranker.plan is None or taught


def test_who_had_nearly_everything_is_left_out_and_small_shops_draw_fewer(shop):
    dataset = build(*shop)[0]
    tasks = full_histories(dataset, np.arange(4))
    popularity = np.ones(dataset.n_items)
    assert with_others(tasks, popularity, 3)[1] == 3 and len(with_others(tasks, popularity, 3)[0]) == 4
    popularity[:] = 0
    popularity[np.unique(dataset.item[: dataset.start[1]])] = 1  # the first user had all that is popular
    some, negatives = with_others(tasks, popularity, 100)
    left = [len(np.setdiff1d(np.flatnonzero(popularity), dataset.item[slice(*dataset.start[[u, u + 1]])])) for u in range(4)]
    assert negatives == max(left) and left[0] == 0
    assert some.user.tolist() == [user for user in range(4) if left[user] == max(left)]
    with pytest.raises(DataError, match="expected users who have not had every item, got 1"):
        with_others(tasks.take(np.array([0])), popularity, 3)


def test_users_who_took_nothing_that_counts_teach_nothing(model, shop):
    dataset = build(*shop)[0]
    tasks, popularity = full_histories(dataset, np.arange(4)), np.ones(dataset.n_items)
    with pytest.raises(DataError, match="expected users who took an item with a sample weight above 0, got 4 who took none"):
        learn_adapter(LLMRanker(model, plan=PLAN), tasks, popularity, PLAN, 0, Stages(verbose=False))


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({}, (True, False, False)),
        ({"r": 0, "n_tokens": 2}, (False, True, False)),
        ({"n_tokens": 2}, (True, True, False)),
        ({"r": 0, "head": True}, (False, False, True)),
        ({"n_tokens": 2, "head": True}, (True, True, True)),
    ],
)
def test_lora_a_soft_prompt_and_a_head(fit, model, change, parts):
    adapter = fit(LLMRanker(model, plan=replace(PLAN, **change))).recommender.state.reranker.ranker.adapter
    assert tuple(part is not None for part in (adapter.lora, adapter.prompt, adapter.head)) == parts
    assert adapter.head is None or adapter.head.weight.any()


def test_a_plan_of_nothing_and_one_beside_an_adapter_are_refused(fit, model):
    with pytest.raises(DataError, match=r"expected LoRA \(r and n_blocks\), a soft prompt \(n_tokens\) or a head"):
        AdapterPlan(r=0)
    with pytest.raises(DataError, match=r"AdapterPlan\.head is 1; expected True or False"):
        AdapterPlan(head=1)
    with pytest.raises(DataError, match=r"AdapterPlan\.users"):
        AdapterPlan(users=0)
    adapter = fit(LLMRanker(model, plan=PLAN)).recommender.state.reranker.ranker.adapter
    with pytest.raises(AdapterError, match="adapter, plan: expected one of them, got both"):
        LLMRanker(model, adapter=adapter, plan=PLAN)
    for rate in (0.0, -1.0, float("nan"), "x"):
        with pytest.raises(DataError, match=r"AdapterPlan\.learning_rate"):
            AdapterPlan(learning_rate=rate)
    with pytest.raises(DataError, match=r"LLMRanker\.plan is 'lora'; expected an AdapterPlan"):
        LLMRanker(model, plan="lora")
