"""The twin is not told what those who are asked did after the cut, and is told all else."""

from __future__ import annotations

import numpy as np
from worlds import build

from studies.new_items import twin
from studies.new_items.replay import World, replay


def test_the_twin_knows_the_future_of_others_alone():
    rng = np.random.default_rng(3)
    whole = build([[rng.choice(8 if day < 3 else 12, 2).tolist() for day in range(6)] for _ in range(25)], 12)
    here = World(whole, whole.keep(whole.time < 300), 300.0)
    half, train, found = twin.asked_half(here), twin.told(here).train, replay(here)
    known = {whole.users[user]: n for user, n in enumerate(np.bincount(whole.user[whole.time < 300]))}
    every = {whole.users[user]: n for user, n in enumerate(np.bincount(whole.user))}
    told = {train.users[user]: n for user, n in enumerate(np.bincount(train.user))}
    assert told == {name: (known if asked else every)[name] for name, asked in zip(every, half.tolist(), strict=True)}
    assert np.array_equal(twin.of_half(here, found).asked, found.asked & half[found.user])
    assert 0 < half.sum() < len(half)
