"""A language model that `fit` adapts to the shop, by others than the users on whom its weight is learned."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from language_models import tiny

from llmrec import Recommender, Scenes, Weights
from llmrec.adapters.language_folder import adapter_hash
from llmrec.errors import AdapterError, DataError
from llmrec.ranking.adapter_plan import AdapterPlan
from llmrec.ranking.learn_adapter import learn_adapter
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.reranker import Reranker
from llmrec.recommender import adapted_ranker
from llmrec.recommender import fit as fitting_module

PLAN = AdapterPlan(r=2, n_blocks=1, users=30, negatives=3, max_steps=3, batch_size=4, learning_rate=0.05)


@pytest.fixture(scope="module")
def model(tiny_folders, tmp_path_factory):
    return tiny("llama", tiny_folders["llama"], tmp_path_factory.mktemp("llama"))


@pytest.fixture
def fit(fitting, world, tiny_settings, tiny_folders, monkeypatch):
    """`fit(ranker, output_dir, **settings)` -> what there was to see: the recommender; taught and asked, users of the adapter
    and of the weight. The ranker has weight 0.5, whatever it is worth."""
    seen = SimpleNamespace(taught=[], asked=[])

    def learn(ranker, tasks, *rest):
        seen.taught = tasks.user.tolist()
        return learn_adapter(ranker, tasks, *rest)

    def weigh(ranker, tasks, *_):
        seen.asked = tasks.user.tolist()
        return Reranker(ranker, 0.5, 0.5)

    monkeypatch.setattr(adapted_ranker, "learn_adapter", learn)
    monkeypatch.setattr(fitting_module, "learn_reranker", weigh)

    def run(ranker, output_dir=None, **settings):
        tables, weights = (world.events(world.users, world.ids), world.items(world.ids)), Weights.folder(tiny_folders["bert"])
        seen.recommender = Recommender(weights, replace(tiny_settings, **settings), 0, ranker)
        seen.recommender.fit(*tables, output_dir=output_dir, verbose=False)
        return seen

    return run


@pytest.mark.parametrize("small", [True, False])
def test_the_users_who_teach_the_adapter_are_not_those_of_the_weight(fit, model, small):
    shares = {} if small else {"blend_fraction": 0.3, "meta_fraction": 0.3}
    found = fit(LLMRanker(model, plan=PLAN), **shares)
    ranker = found.recommender.state.reranker.ranker
    assert len(ranker.adapter) == 1 and ranker.plan is None and ranker.adapter.lora.rank == 2
    assert found.taught and found.asked and not set(found.taught) & set(found.asked)
    assert len(found.taught) == PLAN.users


def test_without_a_plan_nothing_is_adapted_and_all_are_asked(fit, model):
    found = fit(LLMRanker(model))
    assert found.recommender.state.reranker.ranker.adapter is None and not found.taught
    assert len(set(found.asked)) > len(set(fit(LLMRanker(model, plan=PLAN)).asked))


def test_answers_are_those_of_the_adapted_model_and_are_saved(fit, model, world, tmp_path):
    found = fit(LLMRanker(model, plan=PLAN)).recommender
    answer = found.recommend(world.users[:4], k=6)
    plain = fit(LLMRanker(model)).recommender.recommend(world.users[:4], k=6)
    assert not np.allclose(answer["score"], plain["score"])
    found.save_pretrained(tmp_path / "shop", histories=True)
    loaded = Recommender.from_pretrained(tmp_path / "shop", ranker=found.state.reranker.ranker)
    assert loaded.recommend(world.users[:4], k=6)["score"].tolist() == answer["score"].tolist()


def test_a_fit_that_is_called_again_goes_on_with_the_adapter_that_it_had(fit, model, tmp_path, monkeypatch):
    first = fit(LLMRanker(model, plan=PLAN), tmp_path / "run").recommender.state.reranker.ranker.adapter
    assert (tmp_path / "run" / "llm" / "checkpoint").is_dir()
    monkeypatch.setattr("llmrec.meta.resumable.train_step", None)  # no step is left to be taken
    again = fit(LLMRanker(model, plan=PLAN), tmp_path / "run").recommender.state.reranker.ranker.adapter
    assert adapter_hash(again) == adapter_hash(first)


@pytest.mark.parametrize(
    ("plan", "lora", "prompt"),
    [(PLAN, True, False), (replace(PLAN, r=0, n_tokens=2), False, True), (replace(PLAN, n_tokens=2), True, True)],
)
def test_lora_a_soft_prompt_and_both(fit, model, plan, lora, prompt):
    adapter = fit(LLMRanker(model, plan=plan)).recommender.state.reranker.ranker.adapter
    assert (adapter.lora is not None, adapter.prompt is not None) == (lora, prompt)


def test_a_plan_of_nothing_and_one_beside_an_adapter_are_refused(fit, model):
    with pytest.raises(DataError, match=r"expected LoRA \(r and n_blocks\), a soft prompt \(n_tokens\) or both"):
        AdapterPlan(r=0)
    with pytest.raises(DataError, match=r"AdapterPlan\.users"):
        AdapterPlan(users=0)
    adapter = fit(LLMRanker(model, plan=PLAN)).recommender.state.reranker.ranker.adapter
    with pytest.raises(AdapterError, match="adapter, plan: expected one of them, got both"):
        LLMRanker(model, adapter=adapter, plan=PLAN)
    with pytest.raises(DataError, match=r"Scenes learns no adapter of a language model; give the plan to Recommender"):
        Scenes(ranker=LLMRanker(model, plan=PLAN))
