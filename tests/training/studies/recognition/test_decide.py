"""Two witnesses, four answers."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.errors import DataError
from studies.recognition.decide import Verdict, decide, loss_p_value


@pytest.mark.parametrize(
    ("shift", "loss", "action"),
    [(0.5, 0.5, "nothing"), (0.01, 0.5, "reweight"), (0.5, 0.01, "adapt"), (0.01, 0.01, "open"), (0.05, 1, "reweight")],
)
def test_the_four_answers(shift, loss, action):
    assert decide(shift, loss) == Verdict(action, shift, loss)


def test_a_stricter_level_does_less():
    assert decide(0.01, 0.01, level=0.001).action == "nothing"


@pytest.mark.parametrize(("shift", "loss", "name"), [(1.2, 0.5, "shift"), (0.5, -0.1, "loss"), (float("nan"), 0.5, "shift")])
def test_what_is_no_p_value_is_named(shift, loss, name):
    with pytest.raises(DataError, match=f"{name}: expected a p-value"):
        decide(shift, loss)


def test_the_loss_of_a_window_is_held_against_usual_means():
    usual = np.array([1.0, 2.0, 3.0, 4.0])
    assert loss_p_value(usual, np.array([9.0, 0.0, 0.0])) == 3 / 5  # its mean is 3, and two of four are at least that
    assert loss_p_value(usual, np.array([9.0])) == 1 / 5
    with pytest.raises(DataError, match=r"losses: expected shape \(events,\)"):
        loss_p_value(usual, np.zeros(0))
