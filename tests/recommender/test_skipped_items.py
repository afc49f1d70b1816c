"""Users who skip a new item say that it is not for users like them: planted, learned in `fit`, and kept by `observe`."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llmrec import Recommender
from llmrec.data.build import build
from llmrec.data.dataset import Dataset
from llmrec.ranking.first_buyers import INPUTS
from llmrec.ranking.statistics import fit_statistics, read_texts
from llmrec.recommender import saving
from llmrec.recommender.first_buyers import learn_among, to_be_observed
from llmrec.store import save_arrays

USERS, OLD, WAVES, EACH, DAY = 180, 40, 3, 10, 86_400.0
NEW, WORDS = ["n0", "n1"], ("red", "blue", "green", "small", "large")
EVENT_WEIGHTS = {"skip": 0.0}
KIND = np.arange(USERS) % 3  # 0 and 1 have tastes of their own, 2 takes anything
Row = tuple[str, str, float, str]


def world(whose: str) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Old items are of two tastes. New items come in three waves. Users of kind 2 take them first, whatever they are, so that
    first buyers are alike; then users of one taste take each of them, and users of the other skip it.

    whose: "taste"; "nobody" for no skips; "anybody" for skips of items that are drawn at random.
    """
    rng, rows, half = np.random.default_rng(0), [], OLD // 2
    for user in range(USERS):
        kind = int(KIND[user])
        old = rng.choice(OLD, 14, replace=False) if kind == 2 else rng.choice(half, 14, replace=False) + kind * half
        rows += [(f"u{user}", f"o{item:02}", DAY * day + user, "buy") for day, item in enumerate(old)]
        for wave in range(WAVES):
            when = DAY * (30 + 5 * wave) + 600 * user + (kind != 2) * DAY
            mine = int(rng.integers(EACH)) if kind == 2 else 2 * int(rng.integers(EACH // 2)) + 1 - kind
            other = int(rng.integers(EACH)) if whose == "anybody" else 2 * int(rng.integers(EACH // 2)) + kind
            if whose != "nobody" and kind != 2 and other != mine:
                rows.append((f"u{user}", f"x{EACH * wave + other:02}", when - 60, "skip"))
            rows.append((f"u{user}", f"x{EACH * wave + mine:02}", when, "buy"))
    ids = [f"o{item:02}" for item in range(OLD)] + [f"x{item:02}" for item in range(WAVES * EACH)]
    return table(rows), {"item_id": ids, "title": [f"{WORDS[place // 2 % 5]} mug" for place in range(len(ids))]}


def table(rows: list[Row]) -> dict[str, list[Any]]:
    names = ("user_id", "item_id", "timestamp", "event_type")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def learned(dataset: Dataset, skips: bool = True) -> np.ndarray | None:
    counts = fit_statistics(dataset, np.arange(dataset.n_users), 1, read_texts(dataset), np.random.default_rng(0))
    return learn_among(dataset, counts, np.random.default_rng(0), skips)


def test_skips_weigh_where_a_taste_skips_and_not_where_anybody_does():
    place = INPUTS.index("skipped_knn")
    found = {whose: learned(build(*world(whose), event_weights=EVENT_WEIGHTS)[0])[place] for whose in ("taste", "anybody")}
    assert found["taste"] < -1.0 < 2 * found["anybody"]


def test_without_skips_their_weights_are_0_and_others_are_those_without_the_inputs():
    events, items = world("nobody")
    plain, typed = (build(one, items, event_weights=weights)[0] for one, weights in ((events, None), (events, {"buy": 1.0})))
    found = learned(plain)
    assert found[-2:].tolist() == [0, 0] and found[2] != 0
    assert found.tolist() == learned(plain, skips=False).tolist() == learned(typed).tolist()


def test_an_ablation_learns_as_if_nobody_had_skipped():
    found = learned(build(*world("taste"), event_weights=EVENT_WEIGHTS)[0], skips=False)
    assert found[-2:].tolist() == [0, 0] and found[2] != 0


@pytest.fixture(scope="module")
def shop(fitting: Any, tiny_settings: Any) -> Recommender:
    """Two new items of one title that the same four users took."""
    settings = replace(tiny_settings, cold_items=True, blend_fraction=0.5, meta_fraction=0.2)
    rec = fitting(*world("taste"), settings=settings, event_weights=EVENT_WEIGHTS)
    rec.add_items({"item_id": NEW, "title": ["red mug"] * 2})
    takers = of_kind(2)[:4]
    rec.observe(table([(user, item, DAY * 50, "buy") for item in NEW for user in takers]))
    return rec


def of_kind(kind: int) -> list[str]:
    return [f"u{user}" for user in range(USERS) if KIND[user] == kind]


def skips(item: str, kind: int) -> list[Row]:
    """Skips of an item by five users of a taste."""
    return [(user, item, DAY * 51, "skip") for user in of_kind(kind)[:5]]


def margins(shop: Recommender, rows: list[Row]) -> dict[int, np.ndarray]:
    """For each of both tastes, the score of n1 less that of n0 for those who skipped nothing, after the events `rows`."""
    rec = copy.copy(shop)
    if rows:
        rec.observe(table(rows))
    found = {}
    for kind in (0, 1):
        answer = rec.recommend(of_kind(kind)[5:], items_to_recommend=NEW, k=2, steps=0)
        score = answer.pivot(index="user_id", columns="item_id", values="score")
        found[kind] = (score["n1"] - score["n0"]).to_numpy()
    return found


def test_who_skips_an_item_turns_it_away_from_those_like_them_alone(shop):
    nobody, one = margins(shop, []), margins(shop, skips("n0", 0))
    own, swapped = (margins(shop, skips("n0", kind) + skips("n1", 1 - kind)) for kind in (0, 1))
    for kind in (0, 1):
        np.testing.assert_allclose(nobody[kind], 0, atol=1e-4)
        sign = 1 - 2 * kind
        assert (sign * own[kind] > 0).mean() > 0.9 < (sign * swapped[kind] < 0).mean()
    assert (one[0] > 0).mean() > 0.9 and one[0].mean() > one[1].mean()


def test_somebody_who_takes_it_in_the_end_has_not_skipped_it(shop):
    found, straight = copy.copy(shop), copy.copy(shop)
    buys = [(user, item, when + 60, "buy") for user, item, when, _ in skips("n0", 0)]
    for rows in (skips("n0", 0), buys):
        found.observe(table(rows))
    straight.observe(table(buys))
    ours, theirs = (rec.state.retrieval.counts.buyers for rec in (found, straight))
    np.testing.assert_array_equal(ours.skipped, theirs.skipped)
    for one, other in zip(ours.skipped_together.entries, theirs.skipped_together.entries, strict=True):
        np.testing.assert_allclose(one, other)


def test_a_forgotten_user_has_skipped_nothing(shop):
    found, before = copy.copy(shop), shop.state.retrieval.counts.buyers
    kinds = (("n0", "skip"), ("o00", "buy"), ("n1", "skip"))
    rows = [(f"a visitor {n}", item, DAY * (51 + n), kind) for n, (item, kind) in enumerate(kinds)]
    found.observe(table([*rows, ("a visitor 0", "o01", DAY * 60, "buy")]))
    assert found.state.retrieval.counts.buyers.skipped.sum() == before.skipped.sum() + 2
    assert len(found.state.retrieval.counts.buyers.skipped_together.entries[0]) == len(before.skipped_together.entries[0]) + 1
    found.forget([f"a visitor {n}" for n in range(3)])
    now = found.state.retrieval.counts.buyers
    np.testing.assert_array_equal(now.skipped, before.skipped)
    for one, other in zip(now.skipped_together.entries, before.skipped_together.entries, strict=True):
        np.testing.assert_allclose(one, other)


def test_an_item_that_was_skipped_in_fit_alone_is_cold_and_was_skipped():
    events, items = world("taste")
    rows = [(*row[:3], "skip") if row[1] == "x29" else row for row in zip(*events.values(), strict=True)]
    dataset = build(table(rows), items, event_weights=EVENT_WEIGHTS)[0]
    counts = fit_statistics(dataset, np.arange(dataset.n_users), 1, read_texts(dataset), np.random.default_rng(0))
    buyers, place = to_be_observed(dataset, counts).buyers, dataset.catalogue.ids.find(["x29"])[0]
    assert buyers.cold.nonzero()[0].tolist() == [place] and not buyers.sold.any()
    assert buyers.skipped[place] == len({row[0] for row in rows if row[1] == "x29"}) == buyers.skipped.sum() > 20


def test_event_types_that_are_negative_skip():
    events, items = world("taste")
    plain, signed = build(events, items, event_weights=EVENT_WEIGHTS)[0], build(events, items, negative=("skip",))[0]
    assert signed.counting is not None and learned(signed).tolist() == learned(plain).tolist()


def test_it_is_saved_and_an_older_folder_has_no_skips(shop, tmp_path, monkeypatch):
    """Layout 3 had six weights of first buyers and no counts of who skipped."""
    found = copy.copy(shop)
    found.observe(table(skips("n0", 0)))
    found.save_pretrained(tmp_path / "new", histories=True)
    loaded, users = Recommender.from_pretrained(tmp_path / "new"), [f"u{user}" for user in range(20, 40)]
    answers = [rec.recommend(users, items_to_recommend=NEW, k=2, steps=0) for rec in (found, loaded)]
    np.testing.assert_allclose(*(answer["score"] for answer in answers), atol=1e-4)

    def write(path: Any, arrays: dict[str, np.ndarray]) -> None:
        kept = {name: values for name, values in arrays.items() if not name.startswith("buyers.skipped")}
        save_arrays(path, {name: values[:7] if name.startswith("cold.") else values for name, values in kept.items()})

    with monkeypatch.context() as patch:
        patch.setattr(saving, "LAYOUT", 3)
        patch.setattr(saving, "save_arrays", write)
        saving.save_state(tmp_path / "old", found.state, histories=True)
    old = Recommender.from_pretrained(tmp_path / "old")
    assert old.state.unseen_rankers.cold.weights.tolist() == [*found.state.unseen_rankers.cold.weights[:6].tolist(), 0, 0]
    old.forget(of_kind(0)[:5])  # whose skips the folder does not count
    assert not old.state.retrieval.counts.buyers.skipped.any()
    score = old.recommend(users, items_to_recommend=NEW, k=2, steps=0).pivot(index="user_id", columns="item_id", values="score")
    np.testing.assert_allclose(score["n0"], score["n1"], atol=1e-4)
