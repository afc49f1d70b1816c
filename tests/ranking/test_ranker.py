from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.ranking.ranker import RankerSettings, Ranking, fit_ranker, rank

WIDTH = 4


def planted(right: str, tasks: int, seed: int) -> Ranking:
    """Up to 8 candidates a task, of four numbers; the second says "had before" (one candidate has been).

    The right candidate is the one that was had ("repeat"), or the one whose third number is nearest to zero ("near"), which
    no straight line can say.
    """
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(tasks, 8, WIDTH)).astype(np.float32) * [3, 1, 2, 0.1] + [5, 0, 0, -7]
    filled = np.arange(8) < rng.integers(4, 9, tasks)[:, None]
    had = (rng.random(tasks) * filled.sum(1)).astype(np.int64)
    inputs[..., 1] = np.arange(8) == had[:, None]
    nearest = np.where(filled, np.abs(inputs[..., 2]), np.inf).argmin(1)
    inputs[~filled] = 1e6
    target = had if right == "repeat" else nearest
    return Ranking(inputs.astype(np.float32), filled, target, np.arange(tasks))


def hits(ranker, ranking: Ranking) -> float:
    """Share of the tasks whose right candidate comes first."""
    found = []
    for task, target in zip(ranking.owner, ranking.target, strict=True):
        found.append(rank(ranker, ranking.inputs[task][ranking.filled[task]]).argmax() == target)
    return float(np.mean(found))


@pytest.mark.parametrize("right", ["repeat", "near"])
def test_it_learns_a_planted_rule(exact, right):
    train, test = planted(right, 200, 0), planted(right, 200, 1)
    settings = RankerSettings(hidden=16, max_steps=300, learning_rate=3e-2, weight_decay=1e-3)
    before, after = (hits(fit_ranker(train, replace(settings, max_steps=steps), 0), test) for steps in (0, 300))
    assert before < 0.4 and after > 0.9


def test_it_begins_as_the_order_of_the_first_input(exact):
    ranking = planted("repeat", 20, 0)
    ranker = fit_ranker(ranking, RankerSettings(max_steps=0), 0)
    inputs = np.random.default_rng(5).normal(size=(50, WIDTH)).astype(np.float32)
    assert rank(ranker, inputs).argsort().tolist() == inputs[:, 0].argsort().tolist()


def test_a_candidates_score_does_not_depend_on_the_others(exact):
    ranker = fit_ranker(planted("near", 50, 0), RankerSettings(max_steps=20), 0)
    inputs = np.random.default_rng(5).normal(size=(9, WIDTH)).astype(np.float32)
    together = rank(ranker, inputs)
    assert together.dtype == np.float32 and together.shape == (9,)
    for chosen in ([3], [8, 0], [5, 1, 7]):
        np.testing.assert_allclose(rank(ranker, inputs[chosen]), together[chosen], rtol=1e-5, atol=1e-5)
    assert rank(ranker, inputs[:0]).shape == (0,)


def test_places_that_are_not_filled_teach_nothing(exact):
    """Whatever stands there, the ranker is the same."""
    ranking, found = planted("repeat", 30, 0), []
    for junk in (0.0, 1e6):
        inputs = np.where(ranking.filled[..., None], ranking.inputs, np.float32(junk))
        found.append(fit_ranker(replace(ranking, inputs=inputs), RankerSettings(max_steps=20), 0))
    assert np.array_equal(found[0].mean, found[1].mean) and np.array_equal(found[0].spread, found[1].spread)
    for name, values in found[0].weights.items():
        np.testing.assert_allclose(values, found[1].weights[name], rtol=1e-4, atol=1e-5)


def test_tasks_without_a_right_candidate_teach_nothing(exact):
    ranking = planted("repeat", 30, 0)
    none = replace(ranking, target=ranking.target[:0], owner=ranking.owner[:0])
    settings = RankerSettings(max_steps=20, weight_decay=0.0)
    idle, begun = fit_ranker(none, settings, 0), fit_ranker(none, replace(settings, max_steps=0), 0)
    assert all(np.array_equal(idle.weights[name], begun.weights[name]) for name in begun.weights)


def test_inputs_are_normalised_by_what_was_filled(exact):
    ranking = planted("repeat", 30, 0)
    ranker = fit_ranker(ranking, RankerSettings(max_steps=0), 0)
    flat = ranking.inputs[ranking.filled]
    np.testing.assert_allclose(ranker.mean, flat.mean(0))
    np.testing.assert_allclose(ranker.spread, flat.std(0))
    same = replace(ranking, inputs=np.full_like(ranking.inputs, 3.0))
    assert np.isfinite(rank(fit_ranker(same, RankerSettings(max_steps=2), 0), ranking.inputs[0])).all()


def test_the_seed_is_its_own(exact):
    ranking, state = planted("near", 20, 0), torch.random.get_rng_state()
    one, same, other = (fit_ranker(ranking, RankerSettings(max_steps=3), seed) for seed in (0, 0, 1))
    assert all(np.array_equal(values, same.weights[name]) for name, values in one.weights.items())
    assert any(not np.array_equal(values, other.weights[name]) for name, values in one.weights.items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_weights_are_a_value(exact):
    ranker = fit_ranker(planted("near", 20, 0), RankerSettings(max_steps=3), 0)
    inputs = np.ones((2, WIDTH), np.float32)
    before = {name: values.copy() for name, values in ranker.weights.items()}
    rank(ranker, inputs)
    assert all(np.array_equal(values, ranker.weights[name]) for name, values in before.items())
