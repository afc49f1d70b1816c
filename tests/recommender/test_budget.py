"""Training fits the minutes that are given, and says so when it had to be shortened."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec import OuterSettings, Recommender, Settings, TrainSettings, Weights
from llmrec.errors import DataError
from llmrec.recommender import budget
from llmrec.recommender.budget import LEAST_EPISODES, LEAST_STEPS, within


def settings(max_steps: int, episodes: int = 200) -> Settings:
    train = TrainSettings(
        max_steps, batch_size=4, known=(1, 2), horizon=1, max_slots=8, learning_rate=3e-4, dropout=0.0, ema_decay=0.0
    )
    return Settings(layers=2, adapter="lora", train=train, outer=OuterSettings(episodes=episodes))


def test_plenty_of_time_changes_nothing(random_shop, slot_model):
    plan = settings(8)
    same, said = within(1e6, plan, slot_model, random_shop, np.arange(random_shop.n_users))
    assert same == plan
    assert "as planned" in said


def test_too_little_time_shortens_training_and_says_so(random_shop, slot_model):
    plan = settings(10_000)
    less, said = within(1e-3, plan, slot_model, random_shop, np.arange(random_shop.n_users))
    assert LEAST_STEPS <= less.train.max_steps < 10_000 and LEAST_EPISODES <= less.outer.episodes < 200
    assert settings(less.train.max_steps, less.outer.episodes) == less  # nothing else is changed
    assert said.startswith("SHORTENED") and f"{less.train.max_steps} steps instead of 10000" in said


def test_episodes_of_the_core_are_shortened_where_it_is_learned(random_shop, slot_model):
    plan = replace(settings(10_000), adapter="core")
    less, said = within(1e-3, plan, slot_model, random_shop, np.arange(random_shop.n_users))
    assert LEAST_EPISODES <= less.core.episodes < plan.core.episodes
    assert f"{less.core.episodes} episodes of the core instead of {plan.core.episodes}. Expect" in said


def test_fit_shortens_to_the_minutes_given_and_says_so(
    tiny_folders, tiny_settings, fitted, world, capsys, monkeypatch, tmp_path
):
    """Enough minutes change nothing, although steps were taken to time them."""
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    tables = world.events(world.users, world.ids), world.items(world.ids)
    recommender = Recommender(Weights.folder(tiny_folders["bert"]), tiny_settings)
    recommender.fit(*tables, minutes=1e-5)
    state = recommender.state
    assert (state.settings.train.max_steps, state.settings.outer.episodes) == (LEAST_STEPS, LEAST_EPISODES)
    assert recommender.settings == tiny_settings
    assert "\nestimate: SHORTENED: a training step takes" in capsys.readouterr().err
    state = recommender.fit(*tables, minutes=1e6).state
    assert state.settings == tiny_settings
    for (name, one), other in zip(state.model.state_dict().items(), fitted.state.model.state_dict().values(), strict=True):
        assert np.array_equal(one.numpy(), other.numpy()), name
    assert "as planned" in capsys.readouterr().err


@pytest.mark.parametrize("minutes", [0, -1.0, float("nan")])
def test_no_minutes_are_an_error(world, minutes):
    with pytest.raises(DataError, match="minutes is "):
        Recommender().fit(world.events(world.users, world.ids), world.items(world.ids), minutes=minutes)


def test_nothing_is_made_longer():
    asked = ((4, 1e-9), (0, 1e-9), (100, 1e-9), (100, 0.5))
    assert [budget._shorter(count, share, 8) for count, share in asked] == [4, 0, 8, 50]
