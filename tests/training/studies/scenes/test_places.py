"""Who asks has no other part, and nothing of a season is known before it."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.encoder.weights import Weights
from studies.scenes import places

DAY = np.timedelta64(1, "D")


@pytest.fixture
def year():
    """40 shoppers who come every week of 2011; in November they begin to buy the last items."""
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": [], "basket_id": []}
    rng = np.random.default_rng(0)
    for user in range(40):
        for week in range(52):
            when = np.datetime64("2011-01-01") + 7 * week * DAY
            late = when >= np.datetime64("2011-11-01")
            rows["user_id"].append(user)
            rows["item_id"].append(f"i{rng.integers(12, 16) if late else rng.integers(0, 12):02d}")
            rows["timestamp"].append(when.astype("datetime64[s]").astype(float).item())
            rows["basket_id"].append(f"{user}-{week}")
    items = {"item_id": [f"i{item:02d}" for item in range(16)], "title": [f"red mug {item}" for item in range(16)]}
    return build(rows, items)[0]


@pytest.fixture(autouse=True)
def tiny(tiny_folders, monkeypatch, exact):
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))


def test_a_season_ends_before_the_next_and_its_query_lies_in_it(year, monkeypatch):
    monkeypatch.setattr(places, "load_retail", lambda folder: year)
    found = places.seasons("nowhere", None)
    assert list(found) == list(places.SEASONS) and list(found)[-1] == places.CHRISTMAS
    for name, one in found.items():
        begin = np.datetime64(f"2011-{places.SEASONS[name]:02d}").astype("datetime64[s]").astype(float)
        end = (np.datetime64(f"2011-{places.SEASONS[name]:02d}") + 2).astype("datetime64[s]").astype(float)
        assert one.world.dataset.time.max() < end
        assert (one.asked.dataset.time[one.asked.split] >= begin).all()
        assert not set(one.asked.user) & set(one.world.users) and len(one.asked) == 14 and len(one.world.users) == 12
    new = np.array([int(str(item)[1:]) >= 12 for item in year.catalogue.ids.values])
    assert new[found[places.CHRISTMAS].target].all()
    assert not any(new[one.world.dataset.item].any() for name, one in found.items() if name != places.CHRISTMAS)


def test_validation_and_test_share_nobody(year, monkeypatch):
    monkeypatch.setattr(places, "load_retail", lambda folder: year)
    test, tried = (places.seasons("nowhere", None, part)[places.CHRISTMAS] for part in (False, True))
    assert not set(test.asked.user) & set(tried.asked.user)
    assert set(test.world.users) == set(tried.world.users)
    again = places.seasons("nowhere", None)[places.CHRISTMAS]
    assert again.asked.user.tolist() == test.asked.user.tolist() and again.target.tolist() == test.target.tolist()


def test_a_category_ranks_its_own_items_alone(monkeypatch):
    items = [f"i{item:02d}" for item in range(50)]
    kind = ["fruit"] * 22 + ["meat"] * 20 + ["rest"] * 8
    rng = np.random.default_rng(0)
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(60):
        for event in range(8):
            rows["user_id"].append(user)
            rows["item_id"].append(items[rng.integers(50)])
            rows["timestamp"].append(1.3e9 + 1e5 * event + user)
    table = {"item_id": items, "title": [f"soap {item}" for item in items], "category": kind}
    monkeypatch.setattr(places, "load_journey", lambda buyers: (rows, table))
    found = places.categories(None)
    assert sorted(found) == ["fruit", "meat"]  # the rest has too few items
    for name, one in found.items():
        labels = np.array(one.world.dataset.catalogue.column("category"))
        assert set(labels[one.world.shelf.among]) == {name} and set(labels[one.target]) == {name}
        assert one.world.again and not set(one.asked.user) & set(one.world.users)
