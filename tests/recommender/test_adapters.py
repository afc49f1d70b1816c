"""A recommender with a core: fitted, answered by, saved and loaded; and which adapter answers when both are there."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from ranker_contract import RankerContract, asked, some_candidates

from llmrec import Recommender, Settings
from llmrec.data.tasks import full_histories
from llmrec.encoder.threads import PER_THREAD
from llmrec.errors import DataError
from llmrec.layouts import Saved, migrated
from llmrec.meta.gate import Bin, Choice, Gate
from llmrec.recommender import saving
from llmrec.recommender.budget import equal_steps
from llmrec.recommender.gating import EDGES, describe, edges
from llmrec.recommender.settings import CoreSettings, check_ranges

CORE = Choice(2, adapter="core")
SMALL = CoreSettings(size=4, episodes=3, meta_batch_size=8)


@pytest.fixture(scope="module")
def with_core(fitting, world, tiny_settings) -> Recommender:
    """Fitted with the core alone; a prompt of four, so that every history has older events."""
    settings = replace(tiny_settings, adapter="core", core=SMALL, train=replace(tiny_settings.train, max_slots=4))
    return fitting(world.events(world.users, world.ids), world.items(world.ids), settings)


@pytest.fixture(scope="module")
def with_both(with_core, fitted) -> Recommender:
    """The core over the base of `with_core`, beside a LoRA initialisation of the same shapes."""
    both = Recommender(settings=replace(with_core.settings, adapter="auto"))
    both._state = replace(with_core.state, init=fitted.state.init, settings=both.settings)
    both._frame = with_core._frame
    return both


class TestRankerAfterTheCore(RankerContract):
    """The ranker of answers, whose histories are read after two steps of the core."""

    @pytest.fixture
    def given(self, with_core):
        state, tasks = with_core.state, asked(with_core.state.histories)
        ranker = state.rankers_for(True).over(state.retrieval.counts, state.adapting.reader(2))
        still = state.rankers_for(True).over(state.retrieval.counts, state.adapting.reader(0))
        found = some_candidates(len(tasks), state.histories.n_items)
        assert (ranker.score(tasks, found) != still.score(tasks, found)).any()
        return ranker, tasks, found


def gated(recommender: Recommender, *bins: tuple[int, Choice]) -> Recommender:
    """The same with a gate of these bins (least, choice)."""
    choices = (Choice(), *dict.fromkeys(choice for _, choice in bins if choice.steps))
    made = tuple(Bin(least, choices.index(choice), 1, 0.1, 0.0, 0.2, 50) for least, choice in bins)
    other = Recommender(settings=recommender.settings)
    other._state, other._frame = replace(recommender.state, gate=Gate(choices, made)), recommender._frame
    return other


def test_steps_of_lora_that_was_fitted_without_inner_steps_are_refused(fitted, clicks):
    state = fitted.state
    still = copy.copy(fitted)
    still._state = replace(state, init=replace(state.init, log_rate=state.init.log_rate[:0]), gate=None)
    pd.testing.assert_frame_equal(still.recommend(histories=clicks, k=4), still.recommend(histories=clicks, k=4, steps=0))
    with pytest.raises(DataError, match="steps is 2, but LoRA was fitted without inner steps; .*inner_steps=3"):
        still.recommend(histories=clicks, k=4, steps=2)


def test_a_core_needs_no_lora_and_every_answer_says_how_many_steps_it_took(with_core, world):
    state = with_core.state
    assert state.init is None and state.adapting.lora is None and state.gate is None
    assert state.core.z.shape == (1, 4) and not torch.equal(state.core.log_spread, torch.full((1, 4), 0.5).log())
    answers = {steps: with_core.recommend(world.users[:5], k=6, steps=steps) for steps in ("auto", 0, 1, 2)}
    assert [set(answer["steps"]) for answer in answers.values()] == [{2}, {0}, {1}, {2}]
    assert list(answers["auto"]["score"]) == list(answers[2]["score"])
    scores = [list(answers[steps]["score"]) for steps in (0, 1, 2)]
    assert scores[0] != scores[1] != scores[2]


def test_a_history_moves_its_own_answer_alone(with_core):
    tasks = full_histories(with_core.state.histories, np.arange(12))
    way = with_core.state.adapting
    whole = way.read(tasks, [CORE] * 12)
    for row in (0, 5, 11):
        alone = way.read(tasks.take(np.array([row])), [CORE])
        np.testing.assert_allclose(whole.vectors[row], alone.vectors[0], atol=1e-4)


@pytest.mark.parametrize("which", ["with_core", "with_both"])
def test_saved_and_loaded_it_answers_to_the_bit(which, world, tmp_path, request):
    recommender = gated(request.getfixturevalue(which), (1, Choice()), (12, CORE))
    recommender.save_pretrained(tmp_path / "shop", histories=True)
    assert (tmp_path / "shop" / "adapter").exists() == (which == "with_both")
    loaded = Recommender.from_pretrained(tmp_path / "shop")
    assert loaded.settings == recommender.settings and loaded.state.gate == recommender.state.gate
    for one, other in zip(loaded.state.core.leaves(), recommender.state.core.leaves(), strict=True):
        assert torch.equal(one, other)
    for steps in ("auto", 0, 1):
        found = [r.recommend(world.users, k=6, steps=steps) for r in (loaded, recommender)]
        pd.testing.assert_frame_equal(*(pd.DataFrame(answer) for answer in found))


def test_the_gate_chooses_between_both_by_the_size_of_a_history(with_both):
    """In one batch each history is read as if all had its choice; zero steps of both are LoRA's initialisation."""
    state = gated(with_both, (1, Choice()), (8, Choice(1)), (14, CORE)).state
    way, tasks = state.adapting, full_histories(state.histories, np.arange(state.histories.n_users))
    how = way.choices(tasks)
    assert {(choice.adapter, choice.steps) for choice in how} == {("lora", 0), ("lora", 1), ("core", 2)}
    mixed = way.read(tasks, how)
    for choice in set(how):
        rows = np.array([row for row, mine in enumerate(how) if mine == choice])
        same = way.read(tasks, [choice] * len(tasks))
        np.testing.assert_allclose(mixed.vectors[rows], same.vectors[rows], atol=1e-4)
        np.testing.assert_allclose(mixed.table()[rows], same.table()[rows], atol=1e-4)
    zero = [way.read(tasks, [Choice(adapter=name)] * len(tasks)).vectors for name in ("lora", "core")]
    np.testing.assert_allclose(*zero, atol=1e-6)


def test_a_number_of_steps_is_of_lora_unless_the_gate_chose_the_core_alone(with_core, with_both):
    lora = Choice(2)
    for recommender, forced in (
        (with_both, "lora"),
        (gated(with_both, (1, lora), (9, CORE)), "lora"),
        (gated(with_both, (1, Choice())), "lora"),
        (gated(with_both, (1, Choice()), (9, CORE)), "core"),
        (with_core, "core"),
    ):
        way = recommender.state.adapting
        tasks = full_histories(recommender.state.histories, np.arange(2))
        assert {choice.adapter for choice in way.choices(tasks, 3)} == {way.forced} == {forced}
    assert {(c.adapter, c.steps) for c in with_both.state.adapting.choices(tasks)} == {("lora", 2)}  # no gate: as ever


def test_what_a_gate_chooses_from(fitted, with_core, with_both):
    lora, core, both = (recommender.state.adapting for recommender in (fitted, with_core, with_both))
    assert lora.every == [Choice(), Choice(1), Choice(2)]
    assert core.every == [Choice(adapter="core"), Choice(1, adapter="core"), CORE]
    assert both.every == [*lora.every, *core.every[1:]]
    tasks = full_histories(with_core.state.histories, np.arange(3))
    tasks = replace(tasks, split=tasks.start + 4)
    assert both.query_log_likelihood(tasks).shape == (3, 5)
    assert edges(lora) == EDGES and edges(core) == (1, 5, 20)
    assert describe(gated(with_both, (1, Choice(1)), (9, CORE)).state.gate) == (
        "1 from 1 events on, 2 of the core from 9 events on"
    )


def test_one_answer_by_the_core_takes_one_thread(with_core):
    way = with_core.state.adapting
    tasks = full_histories(with_core.state.histories, np.zeros(1, np.int64))
    assert 0 < way.largest_product(tasks, [Choice(adapter="core")]) <= way.largest_product(tasks, [CORE]) < PER_THREAD


@pytest.mark.parametrize("wrong", ["LoRA", "both", "", None, 1])
def test_an_unknown_adapter_is_refused(wrong):
    with pytest.raises(DataError, match="Settings.adapter is .*; expected lora, core or auto"):
        check_ranges(Settings(adapter=wrong))


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", 0), ("steps", -1), ("episodes", 1.5), ("spread", 0.0), ("learning_rate", -1.0), ("meta_batch_size", 0)],
)
def test_a_core_of_impossible_numbers_is_refused(field, value):
    with pytest.raises(DataError, match=f"CoreSettings.{field} is "):
        check_ranges(Settings(core=CoreSettings(**{field: value})))


def test_settings_of_the_core_go_by_way_of_a_file(tmp_path):
    settings = Settings(adapter="auto", core=CoreSettings(size=16, episodes=7))
    (tmp_path / "s.yaml").write_text(settings.to_yaml(), encoding="ascii")
    assert Settings.from_yaml(tmp_path / "s.yaml") == settings
    (tmp_path / "wrong.yaml").write_text("adapter: head", encoding="ascii")
    with pytest.raises(DataError, match="wrong.yaml: Settings.adapter is 'head'"):
        Settings.from_yaml(tmp_path / "wrong.yaml")


def test_the_budget_counts_what_is_learned():
    lora, core, both = (equal_steps(Settings(adapter=name), 2) for name in ("lora", "core", "auto"))
    assert 0 < core < lora and both == pytest.approx(lora + core)


def test_a_folder_of_layout_2_is_of_lora():
    old = Saved({"layout": 2, "tuned": {"lists": 100, "probes": 7, "recall": 0.99}}, {}, {"layers": 3})
    found = migrated(old, 3, saving.MIGRATIONS)
    assert found.settings == {"layers": 3, "adapter": "lora"}
    assert found.meta["tuned"] is None  # the lists of its approximate index had other centres
