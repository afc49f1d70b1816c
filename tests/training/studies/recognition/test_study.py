"""The study of recognition in worlds where it is known beforehand who is new, who is not, and how far apart they are."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.data.features import slot_attributes
from llmrec.drift.windows import Windows
from studies.recognition.cases import Case, Fold
from studies.recognition.scores import OURS
from studies.recognition.study import ACTIONS, ask, aurocs, known_p, measure, median
from studies.recognition.windows import Laid

SCENES = ("home", "past", "new", "double")


def world(apart: float) -> tuple[Case, np.ndarray]:
    """Users of four scenes over one catalogue of 40 items: outside `home` and its `double` a share `apart` of what is bought is
    from the last ten items."""
    rng = np.random.default_rng(0)
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": [], "basket_id": [], "scene": []}
    for user in range(320):
        scene = SCENES[user % 4]
        for visit in range(6):
            for _ in range(4):
                special = scene in ("past", "new") and rng.random() < apart
                rows["item_id"].append(f"i{rng.integers(30, 40) if special else rng.integers(0, 40):02d}")
                rows["user_id"].append(user)
                rows["timestamp"].append(1.3e9 + 1e5 * visit + 1e-3 * len(rows["user_id"]))
                rows["basket_id"].append(f"{user}-{visit}")
                rows["scene"].append(scene)
    dataset = build(rows)[0]
    label = np.array([SCENES.index(name) for name in dataset.scenes])[dataset.scene]
    text = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)
    text[30:, 0] += 4
    fold = Fold(("home", "past"), "new", "home")
    return Case("made", dataset, label, SCENES, True, 5, (Fold(("home", "past"), "double", "home"),), (fold,)), text


def auroc(row_list, method=OURS):
    return next(row for row in row_list if row.method == method and row.metric == "auroc" and not row.versus)


def test_a_scene_that_differs_is_recognised_and_a_double_of_home_is_not():
    case, text = world(0.5)
    new, beside = measure(case, text, (24,), (0, 1))
    double, _ = measure(case, text, (24,), (0, 1), tried=True)
    assert auroc(new).value > 0.95 and auroc(new).low > 0.9
    assert auroc(double).low < 0.5 < auroc(double).high
    assert auroc(new, "random").low < 0.5 < auroc(new, "random").high
    cell = beside["made, 24 events"]
    assert cell["new"] == ["new"] and cell["users of new scenes"] == 80 and cell["exploratory"]
    # 16 groups of 5 users with 24 events each; a third of home's 16 groups is asked about
    assert cell["windows of new scenes a fold"] == 80 and cell["windows of known scenes a fold"] == 25


def test_rows_say_how_streams_went_and_what_was_decided():
    case, text = world(0.5)
    rows, _ = measure(case, text, (24,), (0,))
    found = {(row.method, row.metric): row for row in rows if not row.versus}
    watched = f"{OURS}, betting"
    assert found[watched, "noticed"].value == 1
    assert 24 <= found[watched, "events until noticed"].value <= 24 * 10
    assert found[watched, "false alarms, shuffled"].value <= 20
    for side in ("known", "new"):
        shares = [found[OURS, f"verdict: {action}, {side} windows"].value for action in ACTIONS]
        assert sum(shares) == pytest.approx(1)
    quiet, loud = (found[OURS, f"verdict: nothing, {side} windows"].value for side in ("known", "new"))
    assert quiet > 0.7 and loud < 0.2
    assert [row.versus for row in rows if row.versus] != [OURS]


def test_the_same_seed_gives_the_same_answers():
    case, text = world(0.2)
    events = slot_attributes(case.dataset)
    first, again, other = (ask(case, case.tested[0], 24, seed, text, events) for seed in (0, 0, 1))
    assert all(np.array_equal(first.strange[name], again.strange[name]) for name in first.strange)
    assert np.array_equal(first.watched["betting"].delay, again.watched["betting"].delay)
    assert not np.array_equal(first.laid.unit, other.laid.unit)


def laid(scene, unit) -> Laid:
    empty = Windows(np.zeros((len(scene), 1), int), np.zeros(len(scene), int), np.zeros(len(scene)))
    return Laid(empty, np.array(scene), np.full(len(scene), 2), np.array(unit), Fold(("a",), "b"))


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    scene, unit = [0] * 5 + [1] * 4, [0, 0, 1, 2, 3, 4, 4, 5, 6]
    strange = np.array([0.1, 0.4, 0.4, 0.7, 0.2, 0.4, 0.9, 0.1, 0.8])
    pairs = [1.0 if n > k else 0.5 if n == k else 0.0 for n in strange[5:] for k in strange[:5]]
    both = {"it": strange, "perfect": np.array(scene, float)}
    found = aurocs([laid(scene, unit)] * 2, [both] * 2, rng, 200)
    assert found["it"][0] == pytest.approx(np.mean(pairs))
    assert (found["perfect"] == 1).all()
    assert len(found["it"]) == 201 and found["it"][1:].std() > 0.02
    assert found["it"][1:].mean() == pytest.approx(found["it"][0], abs=0.03)


def test_the_bootstrap_takes_groups_and_not_windows():
    """Forty windows of each side in two groups alone: it is uncertain as two are, not as forty."""
    rng = np.random.default_rng(1)
    scene = [0] * 40 + [1] * 40
    strange = np.concatenate([np.repeat([0.2, 0.6], 20), np.repeat([0.5, 0.9], 20)])
    by_group = aurocs([laid(scene, np.repeat([0, 1, 2, 3], 20))], [{"it": strange}], rng, 400)["it"]
    by_window = aurocs([laid(scene, np.arange(80))], [{"it": strange}], rng, 400)["it"]
    assert by_group[0] == by_window[0] == 0.75
    assert by_group[1:].std() > 3 * by_window[1:].std()


def test_home_alone_counts_where_there_is_one():
    p = np.array([[0.1, 0.9], [0.5, 0.2]])
    assert known_p(p, Fold(("a", "b"), "c", "a")).tolist() == [0.1, 0.5]
    assert known_p(p, Fold(("a", "b"), "c")).tolist() == [0.9, 0.5]


def test_a_median_that_is_never_reached_is_no_number():
    rng = np.random.default_rng(0)
    assert median(np.array([100.0, np.inf, np.inf]), rng) is None
    found = median(np.array([100.0] * 30 + [300.0] * 20 + [np.inf]), rng)
    assert found is not None and (found.value, found.n) == (100.0, 51) and found.low <= 100 <= found.high
