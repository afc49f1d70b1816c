"""The protocols of rows: what is trained on, what a support holds, and one report on made ratings."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.progress import Stages
from llmrec.signed.labels import Labels
from studies.ratings.melu import Episode
from studies.signed import controls, row_study
from studies.signed.protocol import pooled_auc, swapped
from studies.signed.rows import FIRST, HISTORY, LAST, TRAIN, Parts, each_with_earlier, in_time
from studies.signed.study import OURS, SWAPPED, ZERO

USERS, FILMS, EACH = 60, 90, 50


@pytest.fixture(scope="module")
def made():
    """Ratings in a mixed order, times with ties, and film ids. Half of the users like even films, the others odd ones."""
    rng = np.random.default_rng(0)
    film = np.concatenate([rng.permutation(FILMS)[:EACH] for _ in range(USERS)])
    user = np.repeat(np.arange(USERS), EACH)
    value = np.where(film % 2 == user % 2, 5.0, 2.0) - (rng.random(len(film)) < 0.3)
    time = rng.integers(0, 400, len(film))
    mixed = rng.permutation(len(film))
    return Labels(user, film, value, time.astype(float)).take(mixed), film[mixed]


def test_a_support_is_all_that_the_user_rated_before(made):
    labels, film = made
    rows = in_time(labels, film)
    moment = dict(zip(zip(labels.user.tolist(), labels.item.tolist(), strict=True), labels.time.tolist(), strict=True))
    for row in np.concatenate([rows.train, rows.validation, rows.test]).tolist():
        one = rows.episode(row)
        asked = one.asked.item()
        mine = labels.item[labels.user == one.user].tolist()
        wanted = {other for other in mine if (moment[one.user, other], other) < (moment[one.user, asked], asked)}
        assert set(one.item.tolist()) == wanted and len(one.item) >= FIRST
        assert (np.diff(one.time) >= 0).all() and one.time[-1] <= one.now == moment[one.user, asked]
        assert one.answer == labels.value[(labels.user == one.user) & (labels.item == asked)]


def test_rows_are_cut_by_time(made):
    labels, film = made
    rows = in_time(labels, film)
    moment = dict(zip(zip(labels.user.tolist(), labels.item.tolist(), strict=True), labels.time.tolist(), strict=True))
    when = [
        [moment[int(rows.labels.user[row]), int(rows.labels.item[row])] for row in part]
        for part in (rows.train, rows.validation, rows.test)
    ]
    assert max(when[0]) <= min(when[1]) and max(when[1]) <= min(when[2])
    assert sum(map(len, when)) == USERS * (EACH - FIRST)


def test_training_rows_show_themselves_and_the_last_films_before(made):
    rows = in_time(*made)
    some = np.random.default_rng(1).permutation(rows.train)[:40]
    wanted = set()
    for row in some.tolist():
        one = rows.episode(row)
        wanted |= {(one.user, film) for film in [*one.item[-LAST:].tolist(), one.asked.item()]}
    found = rows.shown(some)
    assert len(found) == len(wanted)
    assert set(zip(found.user.tolist(), found.item.tolist(), strict=True)) == wanted


def test_supports_of_parts_hold_no_row_that_is_asked(made):
    ordered = in_time(*made).labels
    third = np.arange(len(ordered)) % EACH // 17
    parts = Parts(*(ordered.take(third == part) for part in range(3)))
    for known in ([parts.train], [parts.train, parts.validation]):
        for one in parts.episodes(parts.test, known):
            size = sum(int((part.user == one.user).sum()) for part in known)
            assert len(one.item) == size and not np.intersect1d(one.item, one.asked).size
            assert (np.diff(one.time) >= 0).all() and one.time[-1] <= one.now


def test_examples_have_earlier_ratings_as_support(made):
    ordered = in_time(*made).labels.take(np.arange(3 * EACH))
    found = each_with_earlier(ordered)
    assert [len(one.item) for one in found] == [*range(1, EACH)] * 3
    assert all(not np.intersect1d(one.item, one.asked).size for one in found)


def test_a_control_does_not_learn_from_the_label_that_it_foretells(made):
    """Its example has the film's mean and count without the label."""
    labels = made[0]
    one = each_with_earlier(in_time(*made).labels)[7]
    film = one.asked.item()
    fewer = controls.effects(labels.take((labels.user != one.user) | (labels.item != film)), FILMS)
    mean, count = controls.nine_counts(controls.effects(labels, FILMS), one, among=True)[0, -2:]
    assert count == pytest.approx(np.log1p(fewer.count[film]))
    assert mean == pytest.approx(fewer.mean[film], abs=1e-3)  # but for the level of all, which holds the label


def test_a_swapped_support_is_the_next_users_last_one(made):
    rows = in_time(*made)
    asked = [rows.episode(row) for row in np.sort(rows.test)]
    users, last = list(dict.fromkeys(one.user for one in asked)), {one.user: one for one in asked}
    for one, other in zip(asked, swapped(asked), strict=True):
        wanted = last[users[(users.index(one.user) + 1) % len(users)]]
        assert other.user == one.user and other.asked is one.asked and other.now == wanted.now
        assert other.item.tolist() == [film for film in wanted.item.tolist() if film != one.asked.item()]


def test_rows_of_a_user_are_drawn_together():
    """Two users: either both are drawn, or one twice, so the AUC has three values at most."""
    rng, none = np.random.default_rng(0), np.zeros(0)
    asked = [Episode(row % 2, none, none, np.array([row]), np.array([5.0 if row % 3 else 1.0])) for row in range(30)]
    found = pooled_auc({"a": [rng.random(1) for _ in asked]}, asked, 200, 0)["a"]
    assert found.n == 2 and len(np.unique(found.draws.round(9))) == 3


@pytest.mark.slow
def test_the_report_finds_the_planted_taste(made):
    rows = in_time(*made)
    told = np.random.default_rng(1).normal(size=(FILMS, 4))
    found, _ = row_study.rella(rows, told, (900,), (0, 1), "test", Stages(verbose=False))
    cell = {row.method: row.value for row in found if (row.metric, row.versus) == ("auc", "")}
    assert cell[OURS] > 0.9 > cell[ZERO] + 0.2 and cell[SWAPPED] < cell[OURS] - 0.3
    assert {row.metric for row in found} == {"auc", "user auc", "user log loss"}
    assert row_study.aims(found, row_study.RELLA)["primary"] == {"setting": "8,192 rows", "metric": "auc"}


@pytest.mark.slow
def test_parts_are_asked_with_training_rows_and_with_validation_rows_as_well(made):
    ordered = in_time(*made).labels
    third = np.arange(len(ordered)) % EACH // 17
    parts = Parts(*(ordered.take(third == part) for part in range(3)))
    told = np.random.default_rng(1).normal(size=(FILMS, 4))
    found, _ = row_study.collm(parts, told, "test", Stages(verbose=False))
    cell = {(row.setting, row.method): row.value for row in found if (row.metric, row.versus) == ("auc", "")}
    assert cell[HISTORY, OURS] >= cell[TRAIN, OURS] - 0.02 > cell[TRAIN, ZERO] + 0.2
    assert row_study.aims(found, row_study.COLLM)["primary"] == {"setting": TRAIN, "metric": "auc"}
    looked, _ = row_study.collm(parts, told, "validation", Stages(verbose=False))
    assert {row.setting for row in looked} == {TRAIN} and {row.n for row in looked if row.metric == "auc"} == {USERS // 2}
