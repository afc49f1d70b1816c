"""The acts on made data: what is asked of whom, what is printed, and verdicts on planted numbers."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from llmrec import Recommender
from llmrec.data.build import build
from llmrec.data.tasks import Tasks
from llmrec.demo import act_department, act_films, act_steps, act_trips, likes
from llmrec.demo.act import LINE, Act, cut, show, wrapped
from llmrec.demo.films import read_films
from llmrec.demo.measuring import all_events, listed_scores, results
from llmrec.evaluation.plot import Curve, Panel, plot
from llmrec.evaluation.summary import curves, sentence, table_text
from llmrec.metrics.bootstrap import Interval
from llmrec.metrics.report import Result
from llmrec.screen import Screen

RNG = np.random.default_rng(0)


def test_an_act_is_printed_whole_with_an_empty_line_behind_it(capsys):
    act = Act("films", "Films", ("one", "two"))
    assert show(0, act) is act
    assert capsys.readouterr().out == "Act 0. Films\none\ntwo\n\n"


def test_lines_and_titles_are_cut_to_what_fits():
    assert all(len(line) <= LINE for line in wrapped(["many words " * 40]))
    assert cut("The Godfather (1972)", 14) == "The Godfather…"
    assert cut("Fargo (1996)", 14) == "Fargo (1996)"


# ---------------------------------------------------------------------------------------- act 0


@pytest.mark.slow
def test_films_tell_one_person_and_measure_everybody(films_files, tiny_plan):
    act = act_films.play(*read_films(*films_files), tiny_plan, seed=0)
    assert len(act.lines) <= 16 and max(map(len, act.lines)) <= LINE
    assert act.told["milliseconds"] > 0 and len(act.told["clicked"]) == 3
    likes = "Red" if act.told["clicked"][0].startswith("The Red") else "Blue"  # everybody likes one colour, and rates all
    for clicks in act_films.CLICKS:
        shown = act.told[f"after_{clicks}"]
        assert len(shown) == act_films.SHOWN
        assert all(not one["hit"] or likes in one["item"] for one in shown)
    assert [(curve.name, curve.x) for curve in act.panel.curves] == [
        ("llmrec", (0, 1, 3)),
        ("popularity", (0, 1, 3)),
        ("item kNN", (1, 3)),
    ]
    value = {(row.method, row.setting): row.value for row in act.rows if not row.versus}
    assert value["llmrec", "clicks=0"] == pytest.approx(value["popularity", "clicks=0"], abs=0.05)  # the fallback
    assert value["item kNN", "clicks=3"] > value["popularity", "clicks=3"] + 0.03  # tastes are there to be found


def test_everybody_is_asked_about_the_same_films_however_many_are_known(random_shop):
    held = random_shop.take(np.flatnonzero(np.diff(random_shop.start) >= 13))
    tasks = {clicks: act_films.first_clicks(held, clicks) for clicks in act_films.CLICKS}
    assert len(held.users) and all((one.stop == tasks[3].stop).all() for one in tasks.values())
    assert [(one.split - one.start).tolist() for one in tasks.values()] == [[n] * held.n_users for n in (0, 1, 3)]
    assert (tasks[3].stop - tasks[3].split == act_films.LATER).all()


def test_the_person_shown_has_clicks_that_some_know_but_not_many(shop):
    held = shop([[[0], [1], [2]], [[3], [4], [5]], [[6], [7], [8]]], 9)
    tasks = replace(act_films.first_clicks(held, 3), stop=held.start[1:])
    assert act_films.somebody(tasks, np.array([90, 90, 90, 30, 40, 30, 1, 1, 1])) == 1
    assert act_films.liked_both(held, 3, 4) == (1, 1) and act_films.liked_both(held, 3, 0) == (0, 1)


def test_no_history_is_timed_twice(random_shop):
    class Answers:
        def __init__(self) -> None:
            self.asked: list[str] = []

        def recommend(self, histories: pa.Table, k: int) -> None:
            self.asked += set(histories.column("user_id").to_pylist())

    answers, held = Answers(), random_shop.take(np.flatnonzero(np.diff(random_shop.start) >= 13))
    tasks = act_films.first_clicks(held, 3)
    assert act_films.milliseconds(answers, tasks) > 0  # the second time the reading of a history is remembered
    assert answers.asked == held.users.values


# ---------------------------------------------------------------------------------------- act 1


def trips(*gaps: tuple[str, str, float]) -> list[Result]:
    """Rows of settings with planted means, all within .001."""
    rows = []
    for setting, method, gap in gaps:
        numbers = gap, gap - 0.001, gap + 0.001, method, 400, 0, None
        rows.append(Result("journey-cold", "llmrec", "ours", setting, "ndcg@10", *numbers))
        role = "ours" if method == "zero_steps" else "control"
        rows.append(Result("journey-cold", method, role, setting, "ndcg@10", 0.3 - gap, 0.2, 0.4, "", 400, 0, None))
    for setting in dict.fromkeys(setting for setting, _, _ in gaps):
        rows.append(Result("journey-cold", "llmrec", "ours", setting, "ndcg@10", 0.3, 0.2, 0.4, "", 400, 0, None))
    return rows


def test_the_verdict_on_trips_is_that_of_the_numbers():
    ahead, level, behind = 0.02, 0.0, -0.02
    rows = trips(
        ("known=1,all", "ease", ahead), ("known=1,all", "popularity", ahead), ("known=1,all", "zero_steps", level),
        ("known=3,all", "ease", level), ("known=3,all", "popularity", behind), ("known=3,all", "zero_steps", level),
        ("known=3,new", "ease", behind),
    )  # fmt: skip
    assert sentence(rows, "trip") == (
        "After 1 trip llmrec is ahead of EASE and popularity. After 3 trips llmrec is level with EASE, and behind popularity."
    )
    lines = table_text(rows, "trip").split("\n")
    assert lines[0].split() == ["after", "1", "trip", "after", "3", "trips"]
    assert [line.split("  ")[0] for line in lines[1:]] == ["llmrec", "llmrec, zero steps", "popularity", "EASE"]
    narrow = table_text(rows, "trip", screen=Screen(60))
    assert max(map(len, narrow.split("\n"))) <= 60 and sorted(narrow.split()) == sorted(" ".join(lines).split())
    assert "0.280 ▼ [-0.021, -0.019]" in lines[-1] and "0.320 ▲ [+0.019, +0.021]" in lines[-2]
    assert [curve.name for curve in curves(rows)] == ["EASE", "popularity", "llmrec"]
    assert list(act_trips.steps_gain(rows)) == ["known=1,all", "known=3,all"]


# ---------------------------------------------------------------------------------------- act 2


def test_the_last_trip_to_the_department_is_asked_about_and_what_came_before_is_known(shop):
    among = np.array([True, True, False, False])
    dataset = shop([[[0, 2], [1, 3], [2], [0]], [[2], [3]], [[0]], [[2], [0, 1], [3]]], 4)
    asked = act_department.asked(dataset, among)
    tasks = asked.tasks
    assert tasks.user.tolist() == [0, 3]  # user 1 never went there, user 2 has nothing before it
    assert [dataset.item[tasks.support(i)].tolist() for i in (0, 1)] == [[0, 2, 1, 3, 2], [2]]
    assert [items.tolist() for items in asked.relevant] == [[0], [0, 1]]
    first = act_department.asked(act_department.without(dataset, among), among)
    known = [first.tasks.dataset.item[first.tasks.support(i)].tolist() for i in (0, 1)]
    assert known == [[2, 3, 2], [2]]
    assert [items.tolist() for items in first.relevant] == [[0], [0, 1]]


def test_the_verdict_on_a_department_is_that_of_the_numbers(normal):
    values = {
        "llmrec": {0: normal(0.3), 16: normal(0.3), 64: normal(0.4)},
        "popularity": {16: normal(0.2), 64: normal(0.3)},
        "counts": {0: normal(0.35), 16: normal(0.2), 64: normal(0.4)},
    }
    values["counts"][64] = values["llmrec"][64].copy()
    said = act_department.sentence(values, RNG)
    assert said.startswith(
        "llmrec is with 0 behind counts; with 16 ahead of popularity and counts; with 64 ahead of popularity, and level with "
        "counts. 64 customers change its NDCG@10 by +0.1"
    )
    said = act_department.first_trips(values, RNG)
    assert re.search(r"0\.\d+, 0\.\d+ and 0\.\d+: with 0 behind a random order; with 16 ahead of popularity and counts;", said)
    lines = act_department.table(values, RNG)
    assert len(lines) == 4 and max(map(len, lines)) <= LINE
    assert lines[2].split()[1:4] == ["nothing", "to", "count"]


# ---------------------------------------------------------------------------------------- act 3


def long_values(normal, zero: float, steps: float, other: float) -> dict:
    return {
        act_steps.ZERO: {100: normal(zero)},
        act_steps.STEPS: {100: normal(steps)},
        act_steps.OTHER: {100: normal(other)},
    }


def test_the_verdict_on_steps_is_that_of_the_numbers(normal):
    gains, loses = long_values(normal, 0.1, 0.2, 0.1), long_values(normal, 0.2, 0.1, 0.1)
    same = long_values(normal, 0.1, 0.1, 0.1)
    same[act_steps.STEPS] = same[act_steps.ZERO]
    said = act_steps.sentence(gains, same, RNG)
    assert said.startswith(
        "Here steps pay: they improve the transformer's own scores. Own events are worth more than another's, +"
    )
    assert said.endswith("The whole recommendation is level with and without them.")
    assert act_steps.sentence(gains, gains, RNG).startswith("Here steps pay: they improve both.")
    assert act_steps.sentence(same, same, RNG) == "Here steps gain nothing beyond noise."
    assert act_steps.sentence(same, loses, RNG).endswith("They harm the whole recommendation.")
    assert max(map(len, act_steps.table(gains, loses, RNG))) <= LINE
    counted = {act_steps.STEPS: {100: normal(0.1)}, act_steps.EASE: {100: normal(0.2)}}
    assert act_steps.beside_counts(counted, RNG).startswith("EASE over the same 100 events reaches 0.2")
    assert "the whole recommendation is behind it, -0.1" in act_steps.beside_counts(counted, RNG)


@pytest.mark.parametrize(
    ("gaps", "words"),
    [
        ([(0.02, 0.01, 0.03)], "they pay too: +0.0200 to +0.0200"),
        ([(0.02, 0.01, 0.03), (0.0, -0.1, 0.1)], "they add in some settings, not in all: +0.0000 to +0.0200"),
        ([(0.001, -0.1, 0.1)], "they do not pay: +0.0010 to +0.0010"),
        ([(0.0, 0.0, 0.0)], "they do not pay: a gate, learned on others, takes none."),
        ([(-0.02, -0.03, -0.01), (0.02, 0.01, 0.03)], "they cost something: -0.0200 to +0.0200"),
    ],
)
def test_the_verdict_on_steps_elsewhere_is_that_of_act_1(gaps, words):
    found = {str(place): Interval(*gap, 9) for place, gap in enumerate(gaps)}
    assert words in act_steps.elsewhere_sentence(found)


def test_a_shuffled_order_keeps_everybodys_events_one_a_basket(random_shop):
    mixed = act_steps.shuffled(random_shop, seed=0)
    for user in range(random_shop.n_users):
        own = slice(random_shop.start[user], random_shop.start[user + 1])
        assert sorted(mixed.item[own]) == sorted(random_shop.item[own])
        assert mixed.basket[own].tolist() == list(range(own.stop - own.start))
        pairs = [
            sorted(zip(one.item[own].tolist(), np.nan_to_num(one.attributes["price"][own], nan=-1).tolist(), strict=True))
            for one in (random_shop, mixed)
        ]
        assert pairs[0] == pairs[1]
    assert (mixed.item != random_shop.item).any()


def test_the_ridge_is_chosen_on_people_who_are_trained_on_and_fitted_on_others(shop, monkeypatch):
    rng, fitted = np.random.default_rng(0), []
    dataset = shop([[rng.permutation(140)[:count].tolist()] for count in [act_steps.LEAST] * 12 + [9] * 8], 140)
    train = np.setdiff1d(np.arange(20), [0, 1, 2, 3])

    class Planted:
        """Knows what is asked for where the ridge is 100."""

        def __init__(self, dataset: object, users: np.ndarray, ridge: float, log: bool) -> None:
            self.ridge = ridge
            fitted.append(users.tolist())

        def scores(self, tasks: Tasks) -> np.ndarray:
            assert not set(tasks.user) & set(fitted[-1]) and set(tasks.user) <= set(train)
            found = np.zeros((len(tasks), 140))
            for task, items in enumerate(tasks.relevant()):
                found[task, items] = self.ridge == 100
            return found

    monkeypatch.setattr(act_steps, "fit_ease", Planted)
    assert act_steps.chosen_ridge(dataset, train) == 100
    assert fitted == [list(range(12, 20))] * len(act_steps.RIDGES)
    assert act_steps.chosen_ridge(dataset, train[:8]) == act_steps.RIDGES[0]  # nobody else to fit on


def test_too_few_long_histories_leave_the_act_out(random_shop):
    assert act_steps.people(random_shop, seed=0) is None


@pytest.mark.slow
def test_steps_are_asked_of_people_who_were_not_trained_on(films_files, tiny_plan):
    ratings, items = read_films(*films_files)
    dataset = act_steps.shuffled(build(ratings.drop_columns(["rating"]), items)[0], seed=0)
    people = act_steps.people(dataset, seed=0)
    assert len(people.asked) == 24 and not set(people.asked) & set(people.train) and len(people.train) == 24
    act = act_steps.play(dataset, people, tiny_plan, 0, "films-steps", {"known=1,all": Interval(0.0, 0.0, 0.0, 9)})
    assert act.told == {"people": 24, "steps": tiny_plan.steps.core.steps, "adapter": "core"}
    assert len(act.lines) <= 12 and max(map(len, act.lines)) <= LINE
    assert len(act.panel.curves) == 5 and all(curve.x == act_steps.KNOWN for curve in act.panel.curves)
    assert [curve.name for curve in act.panel.curves if curve.role == "ours"] == [
        "transformer, own events",
        "whole, own events",
    ]
    value = {(row.method, row.setting): row.value for row in act.rows if not row.versus}
    at = f"{act_steps.ALONE}, known="
    assert value[act_steps.ZERO, f"{at}10"] == value[act_steps.ZERO, f"{at}100"]  # the prompt is the same
    assert value[act_steps.STEPS, f"{at}100"] != value[act_steps.OTHER, f"{at}100"] != value[act_steps.ZERO, f"{at}100"]


# ---------------------------------------------------------------------------------------- measuring and the figure


def test_events_and_answers_go_through_the_tables_of_the_public_calls(random_shop):
    table = all_events(random_shop)
    again, _ = build(
        table, pa.table({"item_id": random_shop.catalogue.ids.values, "title": random_shop.catalogue.column("title")})
    )
    assert sorted(zip(again.users.values, np.diff(again.start), strict=True))[0][1] > 0
    assert len(table) == random_shop.n_events
    users, items = random_shop.users.take([3, 5]), random_shop.catalogue.ids
    answer = pa.table({"user_id": [users[1], users[1]], "item_id": [items[4], items[2]], "rank": [1, 2]})
    scores = listed_scores(answer, users, items)
    assert np.argsort(-scores[1], kind="stable")[:2].tolist() == [4, 2] and len(set(scores[0])) == 1


def test_rows_are_means_and_the_differences_of_ours(normal):
    values = {"llmrec": normal(0.3), "popularity": normal(0.2)}
    rows = results("b", "s", "llmrec", values, {"llmrec": "ours"}, 0, RNG)
    assert [(row.method, row.versus, row.role) for row in rows] == [
        ("llmrec", "popularity", "ours"), ("llmrec", "", "ours"), ("popularity", "", "control"),
    ]  # fmt: skip
    assert rows[0].value == pytest.approx(rows[1].value - rows[2].value)


@pytest.mark.slow  # matplotlib
def test_the_figure_has_a_panel_an_act(tmp_path):
    one = Curve("llmrec", "ours", (1, 3), (Interval(0.3, 0.2, 0.4, 9), Interval(0.4, 0.3, 0.5, 9)))
    other = Curve("EASE", "control", (3,), (Interval(0.2, 0.1, 0.3, 9),))
    for panels in (1, 3):
        plot([Panel("a title", "trips known", (one, other))] * panels, tmp_path / f"{panels}.png")
        assert (tmp_path / f"{panels}.png").read_bytes()[:4] == b"\x89PNG"
    assert len((tmp_path / "3.png").read_bytes()) > len((tmp_path / "1.png").read_bytes())


@pytest.mark.parametrize("own", [False, True])
def test_ratings_tell_what_a_person_likes_and_those_of_another_taste_the_contrary(films_files, tiny_plan, own):
    """Of the two tastes each likes what the other does not. own: whole numbers as ids, ratings from 1 to 3, some missing."""
    ratings, films = (table.to_pandas() for table in read_films(*films_files))
    if own:
        ratings = ratings.assign(user_id=ratings.user_id.astype(int), item_id=ratings.item_id.astype(int))
        films = films.assign(item_id=films.item_id.astype(int))
        ratings["rating"] = np.where(ratings.index % 9 == 0, np.nan, np.where(ratings.rating > 3, 3.0, 1.0))
    dataset = act_steps.shuffled(build(ratings, films)[0], 0)
    people = act_steps.people(dataset, 0)
    known = Recommender(settings=tiny_plan.steps, seed=0).fit(dataset.take(people.train), verbose=False)
    tasks = {count: act_steps.last_known(dataset, people.asked, count) for count in (10, 100)}
    found = likes.measured(known, tasks)
    assert len(found[likes.OWN][100]) == len(people.asked)  # all of them have likes and others among 20
    taste = np.array([int(dataset.users[user]) % 2 for user in people.asked])
    same = taste == np.roll(taste, -1)
    assert same.any() and not same.all()
    assert found[likes.OWN][100].min() > 0.9 and found[likes.OTHER][100][same].min() > 0.9
    assert found[likes.OTHER][100][~same].max() < 0.1
    assert (found[likes.NONE][10] == found[likes.NONE][100]).all()
    part = likes.play(known, tasks, 0, "films-likes")
    head, own, other = part.lines
    assert head.startswith("Ratings tell more.") and own.startswith("own 10 / 100") and other.startswith("another's  ")
    assert own.count("▲") == 2 and max(map(len, part.lines)) <= LINE
    (gap,) = [row for row in part.rows if row.setting == "known=100" and row.versus == likes.OTHER]
    assert (gap.metric, gap.benchmark, gap.method) == ("auc", "films-likes", likes.OWN)
    assert gap.value == pytest.approx((found[likes.OWN][100] - found[likes.OTHER][100]).mean())
    alone = {count: replace(part, stop=part.split + 1) for count, part in tasks.items()}  # nobody has likes and others
    assert likes.play(known, alone, 0, "films-likes") == likes.Likes((), ())
