"""A shelf knows texts and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.errors import DataError
from llmrec.scenes.shelf import evened, part_of, shelve


@pytest.fixture
def dataset():
    return build({"user_id": [1] * 6, "item_id": list("abcdef"), "timestamp": list(range(6))})[0]


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_evening_out_takes_nothing_or_all_of_how_far_directions_spread():
    rows = unit(np.random.default_rng(0).normal(size=(500, 4)) * [5, 1, 1, 1])
    np.testing.assert_allclose(evened(rows, 0.0), rows, atol=1e-5)
    size = [np.linalg.eigvalsh(found.T @ found / 500) for found in (rows, evened(rows, 0.3), evened(rows, 1.0))]
    ratio = [values[-1] / values[0] for values in size]
    assert ratio[0] > ratio[1] > ratio[2]
    np.testing.assert_allclose(np.linalg.norm(evened(rows), axis=1), 1, atol=1e-5)


def test_directions_stay_where_they_are():
    """Else a map learned in one catalogue would mean nothing in another."""
    rows = unit(np.random.default_rng(0).normal(size=(500, 4)) * [5, 1, 1, 1])
    assert (np.abs(np.corrcoef(rows.T, evened(rows, 1.0).T)[:4, 4:]).argmax(1) == np.arange(4)).all()


def test_a_crowd_is_where_many_of_the_scene_are_alike(dataset):
    text = np.eye(6, dtype=np.float32)
    text[:3] = text[0]
    shelf = shelve(dataset, text, list("abcdef"))
    assert (shelf.crowd[:3].min() > shelf.crowd[3:].max()).all()
    alone = part_of(shelf, np.array([True, False, False, True, True, True]))
    assert alone.crowd[0] == pytest.approx(alone.crowd[3], abs=0.5)
    assert alone.items.tolist() == [0, 3, 4, 5]
    assert shelf.among.all()  # the whole shelf is as it was


def test_what_does_not_fit_is_refused(dataset):
    shelf = shelve(dataset, np.eye(6, dtype=np.float32), list("abcdef"))
    with pytest.raises(DataError, match="expected 6 vectors"):
        shelve(dataset, np.eye(5, dtype=np.float32), list("abcdef"))
    with pytest.raises(DataError, match="at least one item"):
        part_of(shelf, np.zeros(6, bool))
