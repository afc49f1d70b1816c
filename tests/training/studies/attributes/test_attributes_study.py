"""The study of attributes on a made shop: the controls against loops, who is asked, and one measurement from end to end."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from worlds import build

from llmrec import OuterSettings, Recommender, Settings, TrainSettings
from llmrec.data.attributes import encode, learn_encoding
from llmrec.data.splits import ColdUsers
from llmrec.encoder.weights import Weights
from llmrec.index.candidates import Sources
from llmrec.ranking.ranker import RankerSettings
from studies.attributes import study
from studies.attributes.controls import SMOOTHING, every_group, fit_group_popularity
from studies.attributes.shops import Shop

ITEMS, USERS = 12, 80
TINY = Settings(
    train=TrainSettings(max_steps=4, batch_size=8, max_slots=12, horizon=1, known=(1, 4)),
    outer=OuterSettings(episodes=1),
    counts_ranker=RankerSettings(hidden=2, max_steps=100),
    blend=RankerSettings(hidden=2, max_steps=10),
    ranking_tasks=40,
    sources=Sources(text_k=3, knn_k=2, popular_k=6),
)


@pytest.fixture(scope="module")
def shop() -> Shop:
    """Users of the north take items 0 to 5, those of the south 6 to 11; the last ten are not in the table."""
    rng = np.random.default_rng(0)
    whole = build([[[int(item)] for item in 6 * (user % 2) + rng.permutation(6)[:5]] for user in range(USERS)], ITEMS)
    people = {
        "user_id": whole.users.values[:70],
        "country": ["north", "south"] * 35,
        "plan": ["free", "free", "paid", "paid", "free"] * 14,
    }
    split = ColdUsers(np.arange(0, 50), np.arange(50, 60), np.arange(60, 80))
    return Shop("made", whole, split, pa.table(people), 2, 2)


def test_only_users_of_the_table_are_asked_and_nothing_of_them_is_known(shop):
    for part, users in (("validation", range(50, 60)), ("test", range(60, 70))):
        tasks = shop.asked(part)
        assert tasks.user.tolist() == list(users) and (tasks.start == tasks.split).all()
    train, table = shop.train()
    assert train.users.values == table.column("user_id").to_pylist() == [f"u{user}" for user in range(50)]


def test_popularity_by_group_against_a_loop(shop):
    train, table = shop.train()
    given = encode(learn_encoding(table, "users")[0], table, "users")[0]
    for columns in ((), ("country",), ("country", "plan")):
        for first in (None, 2):
            control = fit_group_popularity(train, given, columns, first, 10.0)
            for user, row in enumerate(control.scores(given)):
                wanted = np.zeros(ITEMS)
                mine = [table.column(name)[user] for name in columns]
                group = [other for other in range(50) if [table.column(name)[other] for name in columns] == mine]
                for other in group if columns else range(50):
                    events = slice(train.start[other], train.start[other] + (first or 99))
                    wanted[np.unique(train.item[: train.start[other + 1]][events])] += 1
                size = len(group) if columns else 50
                wanted = (wanted + 10 * control.overall) / (size + 10) if columns else wanted / 50
                assert np.allclose(row, wanted)
    missing = control.scores(given.hide(np.ones((50, 2), bool)))
    assert np.array_equal(missing[0], control.overall)


def test_every_attribute_and_pair_is_tried():
    assert len(list(every_group(("a", "b", "c")))) == 6 * len(SMOOTHING)


def test_attributes_of_another_user_are_never_ones_own():
    for n in (2, 5, 31):
        other = study._another(n, np.random.default_rng(n))
        assert sorted(other) == list(range(n)) and (other != np.arange(n)).all()


@pytest.mark.slow
def test_a_planted_group_beats_popularity_and_swapped_attributes_lose(shop, tiny_folders, monkeypatch, tmp_path):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    dataset, users = shop.train()
    fitted = Recommender(Weights.folder(tiny_folders["bert"]), TINY).fit(dataset, users=users, verbose=False)
    rows, chosen = study.measure(shop, fitted, "test", 0)
    value = {row.method: row.value for row in rows if not row.versus}
    assert value[study.OURS] > max(value[study.POPULARITY], value[study.SWAPPED])
    assert value[study.GROUP] > value[study.POPULARITY] and "country" in chosen[study.GROUP]
    assert {row.versus for row in rows if row.versus} == set(value) - {study.OURS} and len(rows) == 2 * len(value) - 1
    alone = fitted.recommend(users=shop.of(["u60"]), k=4)
    assert all(int(str(item)[1:]) < 6 for item in alone.column("item_id").to_pylist())
