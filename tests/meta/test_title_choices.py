"""Adapting a language model to choices: the base at first, each owner by its own support, and learned in one loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from language_models import tiny

from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.adapters.linear_head import linear_head
from llmrec.adapters.soft_prompt import soft_prompt
from llmrec.encoder.train import Shard
from llmrec.errors import ArtefactError, DataError
from llmrec.language.model import load_language_model
from llmrec.language.packed import log_likelihoods, read_prefix
from llmrec.language.rows import Row
from llmrec.meta import learn_choices, resumable, title_choices
from llmrec.meta.inner import adapt, initialisation
from llmrec.meta.learn_choices import JointSettings, SceneDraw, choice_episode, fit_adapter, meta_fit_adapter, step_tokens
from llmrec.meta.outer import OuterSettings, query_path
from llmrec.meta.title_choices import TitleChoices, calibrated, choice_loss, choice_scores, joined, scores_of_each
from llmrec.pretraining.processes import Processes

WARM, COLD = ([3], [4, 6]), ([5], [7, 9])  # titles of two kinds


@pytest.fixture(scope="module")
def model(tiny_folders, tmp_path_factory):
    return tiny("llama", tiny_folders["llama"], tmp_path_factory.mktemp("llama"))


def start(model, kind="lora", seed=0, b_std=0.0) -> LanguageAdapter:
    lora = start_lora(model, 2, 2.0, 2, torch.Generator().manual_seed(seed), b_std)
    prompt, head = soft_prompt(model, " red mug", 3), linear_head(model)
    head = head.map(lambda leaf: b_std * torch.randn(leaf.shape, generator=torch.Generator().manual_seed(seed)))
    return {
        "lora": LanguageAdapter(lora),
        "soft": LanguageAdapter(None, prompt),
        "both": LanguageAdapter(lora, prompt),
        "head": LanguageAdapter(head=head),
        "all": LanguageAdapter(lora, prompt, head),
    }[kind]


def scene(warm: bool, count: int, seed: int, owner: int = 0) -> TitleChoices:
    """In a warm scene a title of WARM is taken, whatever came before, in a cold one a title of COLD."""
    rng = np.random.default_rng(seed)
    rows, taken = [], []
    for _ in range(count):
        titles = [WARM[int(rng.integers(2))], COLD[int(rng.integers(2))]]
        flip = int(rng.integers(2))
        rows.append(Row([1, *rng.integers(2, 17, int(rng.integers(1, 5))).tolist()], titles[::-1] if flip else titles))
        taken.append(np.array([warm, not warm])[:: -1 if flip else 1])
    return TitleChoices(tuple(rows), tuple(taken), tuple(np.zeros(2, np.float32) for _ in rows), np.full(count, owner))


def hits(scores: list[np.ndarray], choices: TitleChoices) -> float:
    return float(np.mean([mine[one].max() > mine[~one].max() for mine, one in zip(scores, choices.taken, strict=True)]))


def test_several_adapters_side_by_side_score_as_each_alone(model):
    choices = joined([scene(True, 3, 1), scene(False, 2, 2)])
    values = [start(model, kind, seed=seed, b_std=0.3) for seed, kind in enumerate(("lora", "soft", "both", "head", "all"))]
    for value, together in zip(values, scores_of_each(model, choices, values), strict=True):
        for mine, wanted in zip(together, choice_scores(model, choices, value), strict=True):
            np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["lora", "soft", "both", "head", "all"])
def test_scores_of_a_batch_are_those_of_each_row(model, kind, monkeypatch):
    choices = joined([scene(True, 5, 1, owner=0), scene(False, 4, 2, owner=1)])
    value = start(model, kind, b_std=0.3)
    value = value.with_leaves([torch.cat([leaf, leaf * 0.5 + 0.1]) for leaf in value.leaves()])
    whole = choice_scores(model, choices, value)
    for place in range(len(choices)):
        one, mine = choices.take(np.array([place])), value.take(torch.from_numpy(choices.owner[[place]]))
        np.testing.assert_allclose(choice_scores(model, one, mine)[0], whole[place], rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(title_choices, "TOKENS", 40)
    assert len(title_choices._alike(choices.tokens, 20)) > 2
    for mine, wanted in zip(choice_scores(model, choices, value), whole, strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-4)


def test_an_adapter_that_adds_nothing_is_the_base_less_the_offset(model):
    choices = scene(True, 3, 1)
    choices = replace(choices, offset=tuple(np.array([1.0, 2.0], np.float32) for _ in choices.rows))
    for mine, row in zip(choice_scores(model, choices, start(model)), choices.rows, strict=True):
        with torch.no_grad():
            wanted = log_likelihoods(model, read_prefix(model, row.prefix), row.segments).numpy() - [1, 2]
        np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["lora", "both", "head", "all"])
def test_the_loss_and_its_gradient_are_those_of_the_scores(model, kind, monkeypatch):
    choices = joined([scene(True, 3, 1, owner=1), scene(False, 2, 2, owner=0)])
    value = start(model, kind, b_std=0.3).expand(3)  # the last owns nothing
    leaves = [leaf.detach().clone().requires_grad_() for leaf in value.leaves()]
    value = value.with_leaves(leaves)
    found = choice_loss(model, choices, value.n_blocks(model))(value)
    scores = choice_scores(model, choices, value)
    each = [
        -np.log(np.exp(mine[one] - mine.max()).sum() / np.exp(mine - mine.max()).sum())
        for mine, one in zip(scores, choices.taken, strict=True)
    ]
    wanted = [np.mean([e for e, own in zip(each, choices.owner, strict=True) if own == user] or [0]) for user in range(3)]
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-3, atol=1e-4)
    outer = torch.tensor([1.0, 2.0, 3.0])
    whole = torch.autograd.grad((outer * found).sum(), leaves)
    monkeypatch.setattr(title_choices, "TOKENS", 1)
    parts = torch.autograd.grad((outer * choice_loss(model, choices, value.n_blocks(model))(value)).sum(), leaves)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert not one[2].any()
    place = max(range(len(leaves)), key=lambda i: float(whole[i].abs().max()))
    at = np.unravel_index(int(whole[place].abs().argmax()), whole[place].shape)
    ends = []
    for step in (-1e-2, 1e-2):
        moved = [leaf.detach().clone() for leaf in leaves]
        moved[place][at] += step
        ends.append(float((outer * choice_loss(model, choices, value.n_blocks(model))(value.with_leaves(moved))).sum()))
    assert (ends[1] - ends[0]) / 2e-2 == pytest.approx(float(whole[place][at]), rel=0.05)


def test_a_head_reads_each_prompt_once_and_sends_nothing_back_through_the_model(model, monkeypatch):
    choices, init = scene(True, 6, 3), initialisation(start(model, "head"), 5, 0.3)
    read: list[int] = []
    whole = title_choices.row_states

    def counted(*arguments):
        read.append(1)
        found = whole(*arguments)
        assert not found.requires_grad
        return found

    monkeypatch.setattr(title_choices, "row_states", counted)
    loss = choice_loss(model, choices, init.adapter.n_blocks(model))
    before = len(read)
    value = adapt(init, loss, 1)
    assert len(read) == before == len(title_choices._alike(choices.tokens, title_choices.TOKENS)) and value.leaves()[0].any()


def test_a_head_is_a_logistic_regression_on_the_last_states(model):
    """In nats: what it adds is its weight times the state at the end of a title, at mean square 1."""
    choices, value = scene(True, 4, 3), start(model, "head", b_std=0.5)
    plain = choice_scores(model, choices, start(model, "lora"))
    for row, mine, base in zip(choices.rows, choice_scores(model, choices, value), plain, strict=True):
        for place, title in enumerate(row.segments):
            with torch.no_grad():
                ids = torch.tensor([[*row.prefix, *title]])
                state = model.model.base_model(input_ids=ids).last_hidden_state[0, -1]
            state = state / state.square().mean().sqrt()
            assert mine[place] - base[place] == pytest.approx(float(state @ value.head.weight[0]), abs=1e-3)


def test_the_temperature_is_that_of_the_least_loss_and_leaves_scores_alone(model):
    choices, value = scene(True, 40, 3), start(model)
    warmer = calibrated(model, choices, value)
    losses = {
        t: float(choice_loss(model, replace(choices, temperature=t), 2)(value).detach())
        for t in (1.0, warmer.temperature / 1.5, warmer.temperature, warmer.temperature * 1.5)
    }
    assert warmer.temperature != 1 and min(losses, key=losses.__getitem__) == warmer.temperature
    for one, other in zip(choice_scores(model, warmer, value), choice_scores(model, choices, value), strict=True):
        np.testing.assert_array_equal(one, other)
    some = np.array([3, 8])
    part = calibrated(model, choices, value, some)
    assert len(part) == 40 and part.temperature == calibrated(model, choices.take(some), value).temperature


def test_parts_have_at_most_so_many_tokens_with_padding_or_one_row():
    tokens = np.array([3, 9, 1, 4, 2])
    parts = title_choices._alike(tokens, 6)
    assert sorted(np.concatenate(parts).tolist()) == [0, 1, 2, 3, 4]
    assert all(len(part) * tokens[part].max() <= 6 or len(part) == 1 for part in parts) and len(parts) == 4


def test_in_bfloat16_the_gradient_points_the_same_way(model, tmp_path):
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    choices, found = scene(True, 8, 3), []
    for one in (model, load_language_model(tmp_path, torch.bfloat16)):
        value = start(one, "both", b_std=0.3)
        leaves = [leaf.detach().clone().requires_grad_() for leaf in value.leaves()]
        loss = choice_loss(one, choices, None)(value.with_leaves(leaves))
        found.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss.sum(), leaves)]))
        assert loss.dtype == found[-1].dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(*found, dim=0) > 0.95


@pytest.mark.parametrize("kind", ["lora", "soft", "both", "head"])
def test_a_support_flips_the_ranking_and_another_scenes_does_not(model, kind):
    init, both = initialisation(start(model, kind), 25, 1.0), joined([scene(True, 16, 3, 0), scene(False, 16, 4, 1)])
    value = adapt(init, choice_loss(model, both, init.adapter.n_blocks(model)), 2)
    for owner, truth in enumerate((True, False)):
        query = scene(truth, 30, 9 + owner)
        mine, other = (value.take(torch.tensor([place])) for place in (owner, 1 - owner))
        own, swapped = (hits(choice_scores(model, query, one), query) for one in (mine, other))
        assert own >= (0.6 if kind == "soft" else 0.85) and swapped <= (0.4 if kind == "soft" else 0.15)


@pytest.mark.parametrize("kind", ["lora", "soft", "both", "head", "all"])
def test_zero_steps_is_the_start_and_each_adapts_as_if_alone(model, kind):
    init, parts = initialisation(start(model, kind), 3, 0.3), [scene(True, 5, 3, 0), scene(False, 7, 4, 1)]
    n_blocks = init.adapter.n_blocks(model)
    support = choice_loss(model, joined(parts), n_blocks)
    still, value = adapt(init, support, 2, 0), adapt(init, support, 2)
    assert all(torch.equal(*pair) for pair in zip(still.leaves(), init.adapter.expand(2).leaves(), strict=True))
    for owner, part in enumerate(parts):
        alone = adapt(init, choice_loss(model, part.owned(np.zeros(len(part), np.int64)), n_blocks), 1)
        for one, other, begun in zip(
            alone.leaves(), value.take(torch.tensor([owner])).leaves(), init.adapter.leaves(), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
            assert not torch.equal(one, begun) or kind != "soft"


def test_joint_training_learns_and_goes_on_to_the_bit(model, tmp_path):
    choices, settings = scene(True, 20, 3), JointSettings(max_steps=12, batch_size=4, learning_rate=5e-2)
    whole = fit_adapter(model, choices, start(model), settings, seed=1)
    assert np.mean([loss for (loss,) in whole.losses[-3:]]) < 0.5 * np.mean([loss for (loss,) in whole.losses[:3]])
    query = scene(True, 30, 5)
    assert hits(choice_scores(model, query, whole.init.adapter), query) > 0.9
    fit_adapter_killed(model, choices, settings, tmp_path)
    again = fit_adapter(model, choices, start(model), settings, 1, tmp_path)
    assert 0 < again.resumed < 12 and again.losses == whole.losses
    assert all(torch.equal(*pair) for pair in zip(again.init.adapter.leaves(), whole.init.adapter.leaves(), strict=True))
    with pytest.raises(ArtefactError):
        fit_adapter(model, choices.take(np.arange(19)), start(model), settings, 1, tmp_path)


def test_the_steps_of_one_pass_read_each_token_once():
    choices = scene(True, 20, 3)
    assert choices.tokens.min() > 0
    for turns in (1, 2):
        settings = JointSettings(max_steps=5 * turns, batch_size=4)
        assert sum(step_tokens(choices, settings, 1)) == turns * choices.tokens.sum()


def fit_adapter_killed(model, choices, settings, folder):
    """A fit that ends after its first save."""

    class Killed(Exception):
        pass

    whole = resumable._save

    def then(*arguments):
        whole(*arguments)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resumable, "_save", then)
        with pytest.raises(Killed):
            fit_adapter(model, choices, start(model), settings, 1, folder, save_every=5)


def test_processes_that_share_a_batch_learn_what_one_alone_learns(model):
    """The gradients of two, summed, are those of one."""
    sent: list[torch.Tensor] = []

    def keep(flat: torch.Tensor) -> torch.Tensor:
        sent.append(flat.clone())
        return flat

    choices, settings = scene(True, 10, 3), JointSettings(1, 5, 1e-2)
    whole, *halves = (
        fit_adapter(model, choices, start(model), settings, 1, processes=Processes(Shard(rank, world, keep)))
        for rank, world in ((0, 1), (0, 2), (1, 2))
    )
    torch.testing.assert_close(sent[1] + sent[2], sent[0], rtol=1e-3, atol=1e-5)
    assert len(whole.losses) == len(halves[0].losses) == 1
    with pytest.raises(DataError, match="expected 2 or more of either, got 1"):
        fit_adapter(model, choices, start(model), JointSettings(1, 1), 1, processes=Processes(Shard(0, 2, keep)))


@pytest.mark.slow
def test_meta_learning_makes_a_step_worth_more(model):
    scenes = [scene(place % 2 == 0, 16, 20 + place) for place in range(6)]
    init = initialisation(start(model, b_std=0.02), 2, 0.1, max_grad_norm=3.0)
    settings = OuterSettings(episodes=8, learning_rate=2e-2, inner_lr_learning_rate=0.2, anneal=0.0)
    learned = meta_fit_adapter(model, scenes, init, SceneDraw(2, 4, 4), settings, seed=0)
    held = choice_episode(
        model,
        joined([scene(True, 4, 50, 0), scene(False, 4, 51, 1)]),
        joined([scene(True, 12, 52, 0), scene(False, 12, 53, 1)]),
        2,
        init.adapter.n_blocks(model),
    )
    before, after = ([float(loss.detach().mean()) for loss in query_path(one, held)] for one in (init, learned.init))
    assert before[2] - after[2] > 0.1 and after[2] < after[0]


def test_users_own_the_choices_that_are_meta_learned_from_by_any_number(model):
    """Each has two, one to adapt to and one to be judged by."""
    choices = joined([scene(user % 2 == 0, 2, 30 + user, owner=user) for user in range(4)])
    settings = OuterSettings(episodes=3, learning_rate=2e-2, inner_lr_learning_rate=0.2, anneal=0.0)

    def learned(numbers):
        named = choices.owned(np.asarray(numbers)[choices.owner])
        users = [named.take(np.flatnonzero(named.owner == number)) for number in numbers]
        init = initialisation(start(model, b_std=0.02), 1, 0.3)
        return meta_fit_adapter(model, users, init, SceneDraw(3, 1, 1), settings, seed=0)

    one, other = learned([0, 1, 2, 3]), learned([7, 0, 41, 2])
    assert one.losses == other.losses and one.losses[0][0] != one.losses[0][1]  # the step of an owner is its own
    leaves = (value.leaves() for value in (one.init.adapter, other.init.adapter, start(model, b_std=0.02)))
    for mine, theirs, begun in zip(*leaves, strict=True):
        assert torch.equal(mine, theirs) and not torch.equal(mine, begun)


@pytest.mark.parametrize("in_order", [True, False])
def test_in_order_what_is_adapted_to_comes_first(model, monkeypatch, in_order):
    whole, drawn = scene(True, 9, 4), []

    def kept(language_model, support, query, scenes, n_blocks):
        drawn.append([[whole.rows.index(row) for row in part.rows] for part in (support, query)])
        return choice_episode(language_model, support, query, scenes, n_blocks)

    monkeypatch.setattr(learn_choices, "choice_episode", kept)
    settings, draw = OuterSettings(episodes=4, learning_rate=1e-3), SceneDraw(1, 3, 2, in_order)
    meta_fit_adapter(model, [whole], initialisation(start(model), 1, 0.1), draw, settings, 0)
    assert len(drawn) == 4 and all(len(before) == 3 and len(after) == 2 for before, after in drawn)
    assert all(max(before) < min(after) for before, after in drawn) is in_order
    assert len({tuple(after) for _, after in drawn}) > 1


def test_what_cannot_be_drawn_or_differentiated_is_said(model):
    scenes, init = [scene(True, 5, 1), scene(False, 9, 2)], initialisation(start(model), 1, 0.1)
    with pytest.raises(DataError, match="expected 1 to 1, the scenes with 8 choices, got 2"):
        meta_fit_adapter(model, scenes, init, SceneDraw(2, 4, 4), OuterSettings(episodes=1), 0)
    with pytest.raises(DataError, match="first_order: expected True"):
        meta_fit_adapter(model, scenes, init, SceneDraw(1, 4, 4), OuterSettings(episodes=1, first_order=False), 0)
    with pytest.raises(DataError, match="batch_size, choices: expected 1 or more of either, got 0"):
        fit_adapter(model, scenes[0], start(model), JointSettings(1, 0), 0)
    with pytest.raises(DataError, match="choices: expected at least one"):
        choice_loss(model, scenes[0].take(np.arange(0)), 1)
