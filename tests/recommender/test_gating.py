"""The gate of a recommender: learned on others, followed by every answer, and saved with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec import Recommender
from llmrec.adapters.lora import lora_hook
from llmrec.data.tasks import sample_windows
from llmrec.encoder.slots import query_readouts
from llmrec.encoder.users import states
from llmrec.errors import DataError
from llmrec.meta.gate import Bin, Choice, Gate
from llmrec.meta.losses import softmax
from llmrec.recommender import gating
from llmrec.recommender.adapting import Adapting
from llmrec.recommender.gating import EDGES, describe, learn_gate
from llmrec.recommender.given import events_of


def gate_of(*steps: tuple[int, int]) -> Gate:
    """A gate of bins (least, steps) over zero, one and two steps."""
    return Gate((Choice(), Choice(1), Choice(2)), tuple(Bin(least, s, max(s, 1), 0.1, 0.0, 0.2, 50) for least, s in steps))


@pytest.fixture
def gated(fitted):
    """The fitted recommender with a gate of one's own."""

    def make(gate: Gate | None) -> Recommender:
        other = Recommender(settings=fitted.settings)
        other._state, other._frame = replace(fitted.state, gate=gate), fitted._frame
        return other

    return make


def test_worth_is_minus_the_query_loss_after_each_number_of_steps(fitted):
    state = fitted.state
    adapting, items, model = state.adapting, state.items, state.model
    tasks = sample_windows(state.histories, np.arange(12), (2, 4), 2, 9, np.random.default_rng(0))
    found = adapting.query_log_likelihood(tasks)
    assert found.shape == (9, state.init.steps + 1) and found.dtype == np.float64
    for steps in range(state.init.steps + 1):
        adapter, made = adapting.lora.adapted(tasks, [Choice(steps)] * 9)[0], adapting.base.prompts(tasks)
        asked = query_readouts(tasks, made.batch)
        with torch.no_grad():
            scores = model.scores(states(model, made, lora_hook(adapter)), items, made.batch, asked.task, asked.slot)
            loss = softmax(scores, torch.from_numpy(asked.target), torch.from_numpy(asked.owner), None)
        np.testing.assert_allclose(found[:, steps], -loss.numpy(), rtol=1e-4)
    assert np.abs(np.diff(found, axis=1)).max() > 1e-6


def test_steps_are_taken_at_the_sizes_where_they_helped_and_a_user_counts_once(fitted, shop, monkeypatch):
    """Two steps help supports of 10 events and more, and hurt smaller ones."""
    state, seen, rows = fitted.state, [], []
    data = shop([[[item % 30] for item in range(user, user + 40)] for user in range(150)], 30)

    def planted(adapting, tasks):
        gain = np.where(tasks.split - tasks.start >= 10, 0.5, -0.5)
        seen.append(tasks)
        return np.stack([0 * gain, 0 * gain - 1, gain + 0.1 * np.random.default_rng(0).normal(size=len(gain))], 1)

    fit = gating.fit_gate
    monkeypatch.setattr(Adapting, "query_log_likelihood", planted)
    monkeypatch.setattr(gating, "fit_gate", lambda c, sizes, *rest, **how: rows.append(sizes) or fit(c, sizes, *rest, **how))
    settings = replace(state.settings, train=replace(state.settings.train, known=(1, 30), horizon=1))
    gate = learn_gate(state.adapting, data, np.arange(150), settings, np.random.default_rng(0))
    assert [c.steps for c in gate.choices] == [0, 1, 2]
    assert {b.least: gate.choices[b.chosen].steps for b in gate.bins} == {1: 0, 4: 0, 10: 2, 25: 2, 60: 0}  # none has 60
    assert describe(gate) == ", ".join(
        f"{steps} from {least} events on" for least, steps in zip(EDGES, (0, 0, 2, 2, 0), strict=True)
    )
    place = np.searchsorted(EDGES, seen[0].split - seen[0].start, side="right")
    assert len(rows[0]) == len(set(zip(seen[0].user.tolist(), place.tolist(), strict=True))) < len(seen[0])


def test_every_answer_follows_the_gate_and_says_how_many_steps_it_took(gated, fitted, world):
    trips = world.events(["new", "newer"], world.ids, seed=5)
    some = {name: values[:2] + values[-12:] for name, values in trips.items()}  # two events of one, twelve of the other
    known = events_of(fitted.state, some, None)[0]
    sizes = dict(zip((str(u) for u in known.users.values), np.diff(known.start).tolist(), strict=True))
    assert sizes["new"] < 4 <= sizes["newer"]
    plain = fitted.recommend(histories=some, k=20)
    still = fitted.recommend(histories=some, k=20, steps=0)
    found = gated(gate_of((1, 0), (4, 2))).recommend(histories=some, k=20)
    steps = dict(zip(found["user_id"], found["steps"], strict=True))
    assert steps == {"new": 0, "newer": 2}
    assert set(plain["steps"]) == {fitted.state.init.steps} and set(still["steps"]) == {0}
    for user, like in (("new", still), ("newer", plain)):
        mine, expected = (np.asarray(t["score"])[np.asarray(t["user_id"]) == user] for t in (found, like))
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5)
    for forced in (0, 1, 2):  # whatever the gate says
        same = fitted.recommend(histories=some, k=20, steps=forced)
        mine = gated(gate_of((1, 0), (4, 2))).recommend(histories=some, k=20, steps=forced)
        assert set(mine["steps"]) == {forced} and all(list(mine[name]) == list(same[name]) for name in mine)
    for wrong in (-1, 1.5, "yes", True, None):
        with pytest.raises(DataError, match=f'steps is {wrong!r}; expected "auto" or a whole number'):
            fitted.recommend(histories=some, steps=wrong)
    nobody = gated(gate_of((1, 2))).recommend(["stranger"], k=3)
    assert set(nobody["steps"]) == {0}


def test_a_gate_is_saved_and_loaded(gated, tmp_path):
    gate = gate_of((1, 0), (4, 2))
    gated(gate).save_pretrained(tmp_path / "shop")
    assert Recommender.from_pretrained(tmp_path / "shop").state.gate == gate
    gated(None).save_pretrained(tmp_path / "other")
    assert Recommender.from_pretrained(tmp_path / "other").state.gate is None


def test_without_other_users_there_is_no_gate(fitted):
    """Two dozen users teach everything themselves: what steps are worth on them says nothing of strangers."""
    assert fitted.state.gate is None


def test_without_inner_steps_there_is_nothing_to_choose(fitting, tiny_settings, world, capsys):
    """Also where users are enough for a gate."""
    still = replace(tiny_settings, lora=replace(tiny_settings.lora, inner_steps=0), meta_fraction=0.3, blend_fraction=0.3)
    users = [f"u{number:03}" for number in range(80)]
    found = fitting(world.events(users, world.ids), world.items(world.ids), settings=still)
    assert found.state.gate is None and "blend: learned on 24 other users" in capsys.readouterr().err
    assert set(found.recommend(users[:2], k=3)["steps"]) == {0}
