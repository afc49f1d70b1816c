"""A mix is a straight line and bends, item by item."""

from __future__ import annotations

import numpy as np

from llmrec.scenes import mix as module
from llmrec.scenes.mix import CLIP, Mix


def made(bends: int) -> Mix:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=shape).astype(np.float32) for shape in ((2,), (2, bends), (bends,), (bends,))]
    return Mix(("a", "b"), np.array([1, -1], np.float32), np.array([2, 0.5], np.float32), *parts)


def test_it_is_what_it_says(monkeypatch):
    rng = np.random.default_rng(1)
    columns = {name: rng.normal(0, 5, size=(7, 11)).astype(np.float32) for name in "abc"}
    for bends in (0, 3):
        mix = made(bends)
        x = np.stack([(columns["a"] - 1) / 2, (columns["b"] + 1) / 0.5], -1).clip(-CLIP, CLIP)
        expected = x @ mix.line + np.maximum(x @ mix.bend + mix.at, 0) @ mix.out
        whole = mix(columns)
        np.testing.assert_allclose(whole, expected, atol=1e-4)
        monkeypatch.setattr(module, "_CELLS", 5)  # a task at a time
        np.testing.assert_allclose(mix(columns), whole, atol=1e-5)
    assert (np.abs((columns["b"] + 1) / 0.5) > CLIP).any()  # the clip was met
