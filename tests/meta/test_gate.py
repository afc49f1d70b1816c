"""The gate as a value: what it chooses, what its choices do to the inner loop, and what may be loaded as one."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.errors import DataError
from llmrec.meta.gate import Bin, Choice, Gate, adapt_by, from_dict
from llmrec.meta.inner import Initialisation, adapt

CHOICES = (Choice(), Choice(1, 0.5, 0.7), Choice(3))


@pytest.fixture
def gate() -> Gate:
    bins = (Bin(5, 0, 1, 0.001, -0.01, 0.012, 40), Bin(20, 1, 1, 0.02, 0.01, 0.03, 90), Bin(50, 2, 2, 0.1, 0.05, 0.15, 30))
    return Gate(CHOICES, bins)


@pytest.fixture
def init(start) -> Initialisation:
    return Initialisation(start, torch.tensor([[0.3, 0.1], [0.2, 0.4], [0.05, 0.6]], dtype=torch.float64).log(), proximal=0.5)


def test_the_choice_goes_by_the_size_of_the_support(gate):
    assert gate.choose(np.array([0, 4, 5, 19, 20, 49, 50, 10_000])).tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert Gate(CHOICES, ()).choose(np.array([3, 100])).tolist() == [0, 0]


def test_each_user_adapts_by_a_choice_of_their_own(init, bowls, numbers):
    """By hand: so many steps at so many times the rates, then so much of the way."""
    world, home = bowls(4, 0), numbers(init.adapter)[0]
    chosen = [CHOICES[1], CHOICES[0], CHOICES[2], Choice(2, 2.0, 0.0)]
    found = numbers(adapt_by(init, world.loss, chosen))
    for user, choice in enumerate(chosen):
        slower = replace(init, log_rate=init.log_rate + np.log(choice.rate))
        alone = numbers(adapt(slower, world.take([user]).loss, 1, choice.steps))[0]
        np.testing.assert_allclose(found[user], home + choice.keep * (alone - home), rtol=1e-9)
    assert np.array_equal(found[1], home)


def test_the_whole_choice_is_the_plain_loop_and_none_is_the_initialisation(init, bowls):
    world = bowls(3, 0)
    for choice, expected in ((Choice(3), adapt(init, world.loss, 3)), (Choice(), init.adapter.expand(3))):
        found = adapt_by(init, world.loss, [choice] * 3)
        assert all(torch.equal(x, y) for x, y in zip(found.leaves(), expected.leaves(), strict=True))


def test_the_initialisation_is_never_changed(init, bowls):
    before = [leaf.clone() for leaf in init.adapter.leaves()]
    for leaf in adapt_by(init, bowls(2, 0).loss, [Choice(), Choice(2, 1.0, 0.5)]).leaves():
        leaf.add_(1.0)
    assert all(torch.equal(x, y) for x, y in zip(init.adapter.leaves(), before, strict=True))


def test_by_way_of_json(gate):
    for one in (gate, Gate(CHOICES, ())):
        assert from_dict(json.loads(json.dumps(one.to_dict(), allow_nan=False))) == one


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("choices",), None, "gate: missing \\['choices'\\]"),
        (("more",), 1, "gate: missing \\[\\], unknown \\['more'\\]"),
        (("choices",), {}, "choices: expected a list, got dict"),
        (("choices", 0, "steps"), 1, "choices: expected the first to be of zero steps"),
        (("choices", 1, "steps"), 1.5, "choices\\[1\\].steps: expected a whole number, got 1.5"),
        (("choices", 1, "steps"), True, "choices\\[1\\].steps: expected a whole number"),
        (("choices", 1, "keep"), 1.5, "choices\\[1\\]: expected steps >= 0"),
        (("choices", 2, "rate"), float("nan"), "choices\\[2\\].rate: expected a finite number"),
        (("bins", 1, "least"), 5, "bins: expected ascending"),
        (("bins", 2, "chosen"), 3, "bins\\[2\\]: expected choices from 0 to 2, got 3"),
        (("bins", 2, "low"), "x", "bins\\[2\\].low: expected a finite number, got 'x'"),
        (("bins", 0), [], "bins\\[0\\]: missing"),
    ],
)
def test_what_is_no_gate(gate, path, value, words):
    saved = json.loads(json.dumps(gate.to_dict()))
    place = saved
    for part in path[:-1]:
        place = place[part]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises(DataError, match=words):
        from_dict(saved)


def test_something_else_altogether():
    for saved in ([], None, "gate"):
        with pytest.raises(DataError, match="gate: missing"):
            from_dict(saved)
