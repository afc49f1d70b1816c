"""The study of new items: the posterior of one item in a planted world, and the replay and its metric against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from worlds import build

from llmrec import Settings, TrainSettings, Weights
from llmrec.data.dataset import Dataset
from llmrec.encoder.model import Items
from llmrec.errors import ArtefactError
from llmrec.metrics.report import Result
from studies.new_items import moving, study
from studies.new_items.moving import Moving, moved
from studies.new_items.posterior import ItemPrior, learned_axes, posterior_mode
from studies.new_items.replay import DECAY, HALF_LIFE, Replay, World, ndcg, replay

TASTES = np.eye(4)  # users of four kinds, by their vectors
PRIOR = ItemPrior(3.0 * np.eye(4), 1.5, np.tile(TASTES, (25, 1)), np.full(100, np.log(200.0)))
TEXT = np.array([2.0, 0.0, 0.0, 0.0])  # says that users of the first kind take it


def favourite(buyers: np.ndarray) -> int:
    """Which kind of users scores the item of TEXT highest after these buyers, (k, 4)."""
    delta, _ = posterior_mode(PRIOR, buyers.sum(0), len(buyers), 100.0, TEXT, 0.0, 1.0)
    return int((TASTES @ (TEXT + delta)).argmax())


def test_three_buyers_outweigh_a_text_that_misleads():
    assert favourite(TASTES[[2, 2, 2]]) == 2
    assert favourite(TASTES[[1, 1, 1]]) == 1  # what another item's buyers make of it
    assert favourite(TASTES[:0]) == 0


def test_without_buyers_nothing_moves():
    delta, beta = posterior_mode(PRIOR, np.zeros(4), 0, 100.0, TEXT, 0.0, 1.0)
    assert (delta == 0).all() and beta == 0


def test_the_mode_is_what_scipy_finds():
    rng = np.random.default_rng(0)
    axes, users, buyers = rng.normal(size=(4, 2)), rng.normal(size=(30, 4)), rng.normal(size=(3, 4))
    prior = ItemPrior(axes, 0.7, users, rng.normal(3, 1, 30))
    delta, beta = posterior_mode(prior, buyers.sum(0), 3, 50.0, TEXT, -1.0, 0.5)

    def loss(z: np.ndarray) -> float:
        vector, bias = TEXT + axes @ z[:-1], -1.0 + 0.7 * z[-1]
        taken = sum(0.5 * buyer @ vector + bias for buyer in buyers)
        missed = np.mean([np.exp(0.5 * user @ vector + bias - of) for user, of in zip(users, prior.log_partition, strict=True)])
        return float(50.0 * missed - taken + z @ z / 2)

    best = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-4}).x
    np.testing.assert_allclose(delta, axes @ best[:-1], atol=1e-3)
    assert beta == pytest.approx(0.7 * best[-1], abs=1e-3)


def test_axes_are_the_root_of_the_second_moment():
    deltas = np.random.default_rng(1).normal(size=(50, 3))
    axes = learned_axes(deltas, 3)
    np.testing.assert_allclose(axes @ axes.T, deltas.T @ deltas / 50)
    assert (np.diff(np.linalg.norm(axes, axis=0)) < 0).all()


@pytest.fixture(scope="module")
def shop() -> World:
    """25 users with 6 baskets; the items 8 to 11 are sold from the fourth on."""
    rng = np.random.default_rng(7)
    history = [[rng.choice(8 if day < 3 else 12, 2).tolist() for day in range(6)] for _ in range(25)]
    whole = build(history, 12)
    return World(whole, whole.keep(whole.time < 300), 300.0)


def test_the_base_of_a_study_goes_on_from_its_own_checkpoints_alone(shop, tiny_folders, tmp_path, monkeypatch):
    plan = TrainSettings(
        max_steps=2, batch_size=8, known=(1, 2), horizon=1, max_slots=12, learning_rate=1e-2, dropout=0.0, ema_decay=0.0
    )
    monkeypatch.setattr(moving, "SETTINGS", Settings(cold_items=True, train=plan, blend_features=()))
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    (first, _), (again, _) = (moving.trained(shop, 0, tmp_path / "base") for _ in range(2))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())
    there = np.bincount(shop.train.item, minlength=12) > 0
    assert first.trained.tolist() == there.tolist() and not first.training  # cold items are known by text alone
    with pytest.raises(ArtefactError, match="seed"):
        moving.trained(shop, 1, tmp_path / "base")


def _earlier(whole: Dataset, item: int, day: float) -> np.ndarray:
    return np.flatnonzero((whole.item == item) & (whole.time < day))


def test_what_is_known_before_a_purchase_against_a_loop(shop: World):
    whole, found = shop.whole, replay(shop)
    assert len(found.purchase) and (found.k > 0).any() and found.seen.any()
    for row, event in enumerate(found.purchase.tolist()):
        day, user = whole.time[event], whole.user[event]
        history = whole.item[whole.start[user] : event]
        assert found.young[found.target[row]] == whole.item[event]
        for place, item in enumerate(found.young.tolist()):
            mine = _earlier(whole, item, day)  # buyers of the same day are not known
            assert found.known[row, place] == len(mine)
            fresh = (0.5 ** ((day - whole.time[mine]) / HALF_LIFE)).sum()
            assert found.recent[row, place] == pytest.approx(fresh, rel=1e-5)
            assert found.seen[row, place] == (item in history)
        assert found.asked[row] == (whole.item[event] not in history)


def test_an_item_moves_only_after_the_day_of_its_buyers(shop: World):
    whole, found = shop.whole, replay(shop)
    vectors = np.random.default_rng(3).normal(size=(whole.n_events, 4)).astype(np.float32)
    place = np.where(np.arange(whole.n_events) > whole.start[whole.user], np.arange(whole.n_events), -1)
    items = Items(torch.from_numpy(vectors[: whole.n_items]), torch.zeros(whole.n_items), torch.zeros(whole.n_items))
    base = Moving(vectors, place, items, vectors[: whole.n_items], 0.5, PRIOR)
    other = np.roll(np.arange(len(found.young)), 1)
    more, lift = moved(shop, found, base)
    swapped, _ = moved(shop, found, base, other)
    days = np.sort(whole.time[whole.time >= shop.cut])
    assert (more[found.known == 0] == 0).all() and (lift[found.known == 0] == 0).all() and (found.known == 0).any()
    checked = 0
    for row, place_of in np.argwhere(found.known > 0).tolist():
        item, own = found.young[place_of], found.buyers[place_of]
        n = int(found.known[row, place_of])
        last = whole.time[own[n - 1]]
        if n > 40:  # an item is left as it is
            continue
        events = max(np.searchsorted(days, last, "right") - np.searchsorted(days, whole.time[own[0]]), 50.0)
        user = 0.5 * vectors[found.purchase[row]]
        for given, result in ((own[:n], more), (np.resize(found.buyers[other[place_of]], len(own))[:n], swapped)):
            total = vectors[given].sum(0)
            delta, _ = posterior_mode(PRIOR, total, n, events, vectors[item], 0.0, 0.5)
            assert result[row, place_of] == pytest.approx(user @ delta, abs=1e-4)
            checked += 1
    assert checked > 100


def test_item_knn_counts_common_buyers():
    whole = build([[[0], [], [2]], [[0, 1], [], [2]], [[1], [], [], [2]], [[0], [], [], [1]]], 3)
    found = replay(World(whole, whole.keep(whole.time < 200), 200.0))
    last = np.flatnonzero(found.k == 2)  # of the third user, who had item 1 as one of two earlier buyers had
    had = np.bincount(whole.item[whole.time < 200], minlength=3)
    assert found.knn[last, 0] == pytest.approx(DECAY**0 / np.sqrt(had[1]) * 1 / np.sqrt(3))


def test_ties_share_their_ranks_and_what_was_had_is_not_ranked():
    none = np.zeros((2, 3), np.float32)
    seen = np.array([[False, False, True], [True, False, False]])
    asked = np.array([True, False])
    zeros = np.zeros(2, np.int64)
    found = Replay(np.arange(3), zeros, zeros, zeros, np.zeros(2), [], none, none, none, seen, asked)
    value = ndcg(found, np.array([[1.0, 1.0, 9.0], [0.0, 1.0, 2.0]]))
    assert value[0] == pytest.approx(1 / np.log2(2.5)) and np.isnan(value[1])


def test_weights_find_what_purchases_follow():
    rng = np.random.default_rng(2)
    table, n = rng.normal(size=(400, 6, 2)), np.arange(400)
    target = (3 * table[:, :, 0] + rng.gumbel(size=(400, 6))).argmax(1)
    none = np.zeros((400, 6), np.float32)
    found = Replay(np.arange(6), n, target, n, n * 1.0, [], none, none, none, none > 0, n >= 0)
    weight = study.weights(found, table, n[:300])
    assert weight[0] > 2 and abs(weight[1]) < 0.5
    assert study.interval(np.ones(4), np.array([0, 0, 1, 2]), rng) == (1.0, 1.0)


def test_an_input_is_left_out_of_a_blend_under_the_weights_that_it_was_learned_with(shop: World):
    found, rng = replay(shop), np.random.default_rng(0)
    names = ("known", "recent", "knn", "text", "zero", "moved", "swapped", "lora", "lora swapped", "lora alone")
    given = {name: rng.normal(size=found.known.shape).astype(np.float32) for name in names}
    chosen = {
        blend: {one: rng.normal(size=len(inputs)).tolist() for one in study.LEARNED} for blend, inputs in study.BLENDS.items()
    }
    result = study.values(found, given, chosen)
    for blend, out in ((study.BLEND_MOVED, study.MOVED_OUT), (study.BLEND_LORA, study.LORA_OUT)):
        for one in study.LEARNED:
            there = study.of_bin(found, one)
            table = np.stack([given[name] for name in study.BLENDS[blend][:-1]], 2) @ np.array(chosen[blend][one][:-1])
            np.testing.assert_allclose(result[out][there], ndcg(found, table)[there])
        assert np.nan_to_num(result[out] - result[blend]).any()


def test_an_aim_is_judged_with_all_controls_and_without_those_that_were_added():
    def row(method: str, role: str, value: float) -> Result:
        return Result("shop", method, role, "k = 1-3", "ndcg@10", value, value, value, "", 9, 0, None)

    rows = [row("ours", "ours", 0.24), row("blend", "control", 0.2), row("blend and recent sales", "control", 0.23)]
    added = ("recent sales", ["blend and recent sales"])
    told = study.extra("shop", "ours", {"k = 1-3": 1.1}, rows, 0, added)
    assert [(aim["setting"], round(aim["wanted"], 3), aim["reached"]) for aim in told["aims"]] == [
        ("k = 1-3", 0.253, False),
        ("k = 1-3, controls without recent sales", 0.22, True),
    ]
    assert len(study.extra("shop", "ours", {"k = 1-3": 1.1}, rows, 0)["aims"]) == 1
