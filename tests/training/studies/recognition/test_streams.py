"""What watching a stream counts: alarms before a change, and events after it."""

from __future__ import annotations

import numpy as np
import pytest

from studies.recognition.streams import STREAMS, watch


def world(jump: float, calm: int = 150, changed: int = 80):
    rng = np.random.default_rng(0)
    new = np.arange(calm + changed) % 3 == 0
    scores = rng.normal(size=len(new)) + jump * new
    return rng.normal(size=300), scores, new, rng.permutation(len(new)).astype(float)


def test_a_jump_is_noticed_at_once_and_counted_in_events():
    found = watch(*world(50.0), 30, np.random.default_rng(1), river=False)["betting"]
    assert len(found.delay) == len(found.shuffled) == len(found.in_time) == STREAMS
    assert (found.delay >= 30).all() and (found.delay <= 30 * 6).all()
    assert (found.delay % 30 == 0).all()


def test_where_nothing_changes_there_are_few_alarms():
    found = watch(*world(0.0), 30, np.random.default_rng(1), river=False)["betting"]
    assert found.shuffled.mean() < 5 and found.in_time.mean() < 10
    assert np.isinf(found.delay).mean() > 0.5


def test_the_order_of_time_is_kept():
    """Known windows that grow stranger with time: alarms in the order of time, none in an accidental one."""
    rng = np.random.default_rng(2)
    new = np.arange(300) >= 200
    time = rng.permutation(300).astype(float)
    scores = time / 10 + rng.normal(size=300)
    calibration = time[:200] / 10 + rng.normal(size=200)
    found = watch(calibration, scores, new, time, 30, rng, river=False)["betting"]
    assert found.in_time.mean() > found.shuffled.mean() + 5


@pytest.mark.parametrize("name", ["ADWIN", "Page-Hinkley"])
def test_river_watches_too(name):
    pytest.importorskip("river")
    found = watch(*world(50.0), 30, np.random.default_rng(1), river=True)[name]
    assert np.isfinite(found.delay).all()
