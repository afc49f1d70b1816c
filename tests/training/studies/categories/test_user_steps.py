"""The study of steps on one user's own choices: a planted taste is learned by its owner alone, and nothing later is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from language_models import tiny

from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.adapters.linear_head import linear_head
from llmrec.data.build import build
from llmrec.meta.inner import initialisation
from llmrec.meta.title_choices import calibrated
from llmrec.ranking.llm_ranker import LLMRanker
from studies.categories import user_rows, user_steps
from studies.categories.controls import FROZEN_TEXT
from studies.categories.learning import JOINT, META, UNTRAINED
from studies.categories.shops import AMONG, NEGATIVES, Category
from studies.categories.study import METRIC
from studies.categories.user_steps import HEAD, OTHER, OWN, SUPPORT, Learned, Plan

WORDS = ("green", "small", "mug", "lamp", "rope", "tent")
FIRST, COUNT = ("red", "blue"), 72  # users take titles with a word of their own, in turn


@pytest.fixture(scope="module")
def here() -> Category:
    rng = np.random.default_rng(0)
    titles = [f"{FIRST[n // COUNT]} {WORDS[n % 6]} {WORDS[n // 6 % 6]} {WORDS[n // 36 % 2]}" for n in range(2 * COUNT)]
    item = np.concatenate([rng.permutation(COUNT)[:12] + COUNT * (user % 2) for user in range(40)])
    events = pa.table({"user_id": np.repeat(np.arange(40), 12), "item_id": item, "timestamp": 86_400.0 * np.arange(480)})
    dataset, _ = build(events, pa.table({"item_id": np.arange(2 * COUNT), "title": titles}))
    users = np.arange(40)
    return Category("pairs", dataset, users[:8], users[8:12], users[12:])


@pytest.fixture(scope="module")
def ranker(tiny_folders, tmp_path_factory):
    return LLMRanker(tiny("llama", tiny_folders["llama"], tmp_path_factory.mktemp("llama")), max_history=2)


def test_nothing_that_comes_later_is_among_what_is_adapted_to(here):
    (support, around), (query, among) = user_steps.asked(here, here.test, 0)
    data = here.dataset
    assert support.user.tolist() == np.repeat(here.test, SUPPORT).tolist() and query.user.tolist() == here.test.tolist()
    for user in range(len(here.test)):
        own = data.item[query.start[user] : query.stop[user]]
        assert len(among.of(user)) == AMONG + 1 and np.intersect1d(among.of(user), own).tolist() == [own[-1]]
        assert query.stop[user] == data.start[here.test[user] + 1] == query.split[user] + 1
        for place, task in enumerate(range(SUPPORT * user, SUPPORT * (user + 1))):
            assert support.stop[task] == support.split[task] + 1 == query.split[user] - SUPPORT + 1 + place
            taken = data.item[support.split[task]]
            assert len(around.of(task)) == NEGATIVES + 1 and np.intersect1d(around.of(task), own).tolist() == [taken]
            assert taken != own[-1] and support.start[task] == query.start[user] < support.split[task]


def test_steps_on_own_choices_foretell_what_is_taken_and_anothers_do_not(here, ranker):
    model = ranker.language_model
    support, query = (ranker.choices(*pair) for pair in user_steps.asked(here, here.test, 0))
    support = support.owned(support.owner // SUPPORT)
    start = LanguageAdapter(start_lora(model, 2, 2.0, 2, torch.Generator().manual_seed(0)))
    temperature = calibrated(model, support, start).temperature
    support, query = user_steps.at_temperature((support, query), temperature)
    lora, head = initialisation(start, 3, 1.0), initialisation(LanguageAdapter(head=linear_head(model)), 3, 1.0)
    learned = Learned(start, {JOINT: lora, META: lora, HEAD: head}, temperature, {}, {})
    found = user_steps.measured(model, learned, (JOINT, META, HEAD), support, query) | {"taken": np.stack(query.taken)}
    found, costs = user_steps.together([found, found])
    taken = found.pop("taken")
    each = {arm: user_rows.log_loss(scores, taken, temperature) for arm, scores in found.items()}
    loss = {arm: values.mean() for arm, values in each.items()}
    assert loss[OWN] == loss[f"{JOINT}, own choices"] < loss[META] - 0.05 and loss[META] + 0.05 < loss[OTHER]
    assert loss[META] == loss[UNTRAINED] != loss[f"{HEAD}, own choices"]
    reads, steps = {"LoRA, read", f"{HEAD}, read", "score"}, {f"{arm}, steps" for arm in (JOINT, META, HEAD)}
    assert costs.keys() == reads | steps and all(one > 0 for one in costs.values())
    few, count = {arm: scores[:6] for arm, scores in found.items()} | {"taken": taken[:6]}, len(taken)
    rows = user_rows.rows({OWN: found[OWN], META: found[META], "taken": taken}, few, {FROZEN_TEXT: list(taken * 1.0)}, 1.0, 0)
    alone = user_rows.rows({OWN: found[OWN], META: found[META], "taken": taken}, user_steps.together([])[0], {}, 1.0, 0)
    assert {row.setting for row in alone} == {user_rows.ALL}
    gains = {(row.setting, row.method): [] for row in rows if not row.versus}
    for row in rows:
        assert row.n == (count if row.setting == user_rows.ALL else 6)
        if row.versus and row.metric == METRIC:
            gains[row.setting, row.method].append(row.versus)
    assert gains[user_rows.ALL, OWN] == gains[user_rows.FEW, OWN] == [META]  # the primary cell
    assert gains[user_rows.FEW, f"{HEAD}, own choices"] == [UNTRAINED] and (user_rows.ALL, JOINT) not in gains


def test_what_was_learned_and_measured_is_found_done(here, ranker, tmp_path, monkeypatch):
    monkeypatch.setattr(user_steps, "TOGETHER", 4)
    monkeypatch.setattr(user_steps, "DRAW", replace(user_steps.DRAW, scenes=2))
    plan = Plan(r=2, n_blocks=1, users=6, joint_steps=2, episodes=2, more_steps=2)
    learned, again = (user_steps.learn(ranker, here, plan, (META, JOINT, HEAD), 0, tmp_path) for _ in range(2))
    assert learned.seconds == again.seconds and learned.seconds.keys() == learned.tokens.keys()
    for arm, init in learned.adapting.items():
        assert all(torch.equal(*pair) for pair in zip(init.adapter.leaves(), again.adapting[arm].adapter.leaves(), strict=True))
    assert not torch.equal(learned.adapting[META].log_rate, learned.adapting[JOINT].log_rate)
    monkeypatch.setattr(user_steps, "losses_by_rate", lambda *_: {"loss": np.array([0.0, 3.0, 2.0, 0.5, 1.0])})
    fast, losses = user_steps.chosen(ranker, here, plan, (META, JOINT, HEAD), 0, tmp_path)
    assert losses.keys() == learned.adapting.keys()
    for arm, init in learned.adapting.items():  # the third of four, whatever zero steps are
        torch.testing.assert_close(fast.adapting[arm].log_rate.exp(), user_steps.TIMES[2] * init.log_rate.exp())
    parts = user_steps.measured_in_parts(ranker, here, here.test[:5], learned, (META,), 0, tmp_path)
    assert [len(part["taken"]) for part in parts] == [4]  # the fifth has nobody beside
    monkeypatch.setattr(user_steps, "measured", None)
    again = user_steps.measured_in_parts(ranker, here, here.test[:5], learned, (META,), 0, tmp_path)
    assert all((part[arm] == other[arm]).all() for part, other in zip(parts, again, strict=True) for arm in part)
