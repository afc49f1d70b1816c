"""Held-out users: nothing is trained on them, and all methods are measured on the same of their baskets."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.tasks import first_baskets
from llmrec.errors import DataError
from llmrec.evaluation import comparison
from llmrec.evaluation.comparison import cells, compare
from llmrec.evaluation.held_out import asked, evaluate_held_out, measurable, recommender_arm, repeat_share
from llmrec.evaluation.summary import losses
from llmrec.metrics.ranking import rank_targets
from llmrec.metrics.report import Result
from llmrec.models.popularity import fit_popularity
from llmrec.pretraining.callbacks import TrainerCallback
from llmrec.recommender.evaluate import chain_scores
from llmrec.recommender.holding_out import FEWEST, hold_out


def without_seconds(rows):
    return [replace(row, seconds=None) for row in rows]


# ---------------------------------------------------------------------------------------- who is held out


def test_everybody_is_trained_on_or_held_out_and_nobody_both(shop, tiny_settings):
    world = shop([[[user % 5]] * 6 for user in range(FEWEST)] + [[[0]] * 3] * 60, 5)
    train, held, said = hold_out(world, "auto", tiny_settings, 0)
    ids = [*train.users.values, *held.users.values]
    assert sorted(ids) == sorted(world.users.values)
    assert held.n_users == 20 and (held.n_baskets >= 4).all()
    assert said == "held out: 20 of 160 users, not trained on"
    again, other = (hold_out(world, "auto", tiny_settings, seed)[1] for seed in (0, 1))
    assert again.users.values == held.users.values != other.users.values


def test_nobody_is_held_out_where_users_are_few(shop, tiny_settings):
    world = shop([[[0]] * 6] * (FEWEST - 1) + [[[0]] * 3] * 60, 5)
    train, held, said = hold_out(world, "auto", tiny_settings, 0)
    assert train is world and held is None and "only 99 users with 1 + 3 baskets, and 100 are needed" in said
    assert hold_out(world, 0, tiny_settings, 0) == (world, None, "")


def test_more_held_out_users_than_there_can_be_are_refused(shop, tiny_settings):
    world = shop([[[0]] * 6] * 5, 5)
    assert hold_out(world, 4, tiny_settings, 0)[1].n_users == 4
    with pytest.raises(DataError, match=r"held_out_users is 5, expected fewer .* 5 users with 1 \+ 3 baskets"):
        hold_out(world, 5, tiny_settings, 0)
    with pytest.raises(DataError, match="held_out_users"):
        hold_out(world, -1, tiny_settings, 0)


class Stages(TrainerCallback):
    """Notes which stages came to their end."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, int]] = []

    def on_train_end(self, state):
        self.ended.append((state.stage, state.global_step))


def test_training_reads_nothing_of_them(fitted, fit_shop):
    """The same bytes as a fit on a dataset that never had them; a callback, which only looks on, changes none."""
    rest = fitted.state.known.first
    assert fitted.state.trained == rest.n_users == 90 and fitted.held_out.n_users == 40
    assert not set(rest.users.values) & set(fitted.held_out.users.values)
    stages = Stages()
    other = fit_shop(rest, callbacks=[stages])
    assert stages.ended == [("base", 3), ("meta", 1)]
    asked_by = fitted.held_out.users.values
    for one, two in zip(fitted.state.model.parameters(), other.state.model.parameters(), strict=True):
        assert one.equal(two)
    some, same = (each.recommend(histories=fitted.held_out, k=3) for each in (fitted, other))
    assert list(some["score"]) == same.column("score").to_pylist()
    assert set(some["user_id"]) == set(asked_by)


def test_observed_they_are_known_and_count_as_popular(fitted):
    recommender = copy.copy(fitted)
    person = fitted.held_out.users[0]
    assert list(recommender.recommend([person], k=1)["source"]) == ["popular (no history)"]
    recommender.observe(fitted.held_out)
    assert list(recommender.recommend([person], k=1)["source"]) != ["popular (no history)"]
    state = recommender.state
    everybody = state.histories
    assert everybody.n_users == 130 and state.trained == 90
    np.testing.assert_allclose(state.retrieval.popularity, fit_popularity(everybody, np.arange(130)).count)
    again = recommender.observe(fitted.held_out)
    assert again.steps[-1].rows_dropped == fitted.held_out.n_events  # observed twice they count once


def test_a_dataset_over_other_items_is_refused(fitted, random_shop):
    with pytest.raises(DataError, match="expected a Dataset with the 24 items that were fitted, got one with 10 other ones"):
        fitted.evaluate(random_shop)


# ---------------------------------------------------------------------------------------- what is measured


def test_every_method_is_measured_in_every_setting_and_ours_against_each(evaluation):
    methods = {"popularity", "most_frequent", "item_knn", "ease", "zero_steps", "llmrec"}
    assert not evaluation.protocol["adapters_take_steps"] or "zero_steps" in evaluation.protocol["methods"]
    methods -= set() if evaluation.protocol["adapters_take_steps"] else {"zero_steps"}
    found = {(row.method, row.versus, row.setting) for row in evaluation.rows if row.metric == "ndcg@10"}
    settings = [f"known={known},{which}" for known in (1, 3) for which in ("all", "new")]
    assert found == {
        *((method, "", setting) for method in methods for setting in settings),
        *(("llmrec", method, setting) for method in methods - {"llmrec"} for setting in settings),
    }
    assert {row.n for row in evaluation.rows if row.setting.endswith("all")} == {40}
    assert evaluation.protocol["left_out"] == [5]  # histories have 7 baskets, and 3 are asked for


def test_popularity_is_that_of_the_trained_users(fitted, evaluation):
    tasks = first_baskets(fitted.held_out, np.arange(40), 3, 3)
    train = fitted.state.known.first
    scores = np.tile(fit_popularity(train, np.arange(train.n_users)).count.astype(np.float32), (40, 1))
    expected = float(np.nanmean(rank_targets(scores, tasks.relevant()).ndcg(10)))
    row = next(
        row for row in evaluation.rows if (row.method, row.setting, row.metric) == ("popularity", "known=3,all", "ndcg@10")
    )
    assert row.value == pytest.approx(expected)


def test_most_frequent_is_ahead_of_popularity_where_people_buy_again(evaluation):
    value = {
        row.method: row.value
        for row in evaluation.rows
        if row.setting == "known=3,all" and not row.versus and row.metric == "ndcg@10"
    }
    assert value["most_frequent"] > value["popularity"] + 0.1
    assert evaluation.kinds == ("all", "new") and evaluation.protocol["repeat_share"] > 0.3


def test_what_was_observed_since_has_no_part(fitted, evaluation):
    recommender = copy.copy(fitted)
    recommender.observe(fitted.held_out)
    assert without_seconds(evaluate_held_out(recommender).rows) == without_seconds(evaluation.rows)


def test_a_table_of_others_is_measured_as_their_dataset_is(fitted, purchases, evaluation):
    held = set(fitted.held_out.users.values)
    keep = [place for place, user in enumerate(purchases["user_id"]) if user in held]
    table = {name: [values[place] for place in keep] for name, values in purchases.items()}
    assert without_seconds(evaluate_held_out(fitted, table).rows) == without_seconds(evaluation.rows)


def test_a_history_is_read_once_for_all_and_new_items(fitted):
    tasks = first_baskets(fitted.held_out, np.arange(40), 1, 3)
    every, new = recommender_arm(fitted.state, None)
    np.testing.assert_array_equal(every(tasks), chain_scores(fitted.state, tasks, None))
    np.testing.assert_array_equal(new(tasks), chain_scores(fitted.state, tasks, None, filter_viewed=True))


def test_scores_of_a_part_of_the_tasks_at_a_time_give_the_same_rows(fitted, monkeypatch):
    tasks = first_baskets(fitted.held_out, np.arange(40), 1, 3)
    frequent = fit_popularity(fitted.state.known.first, np.arange(90))
    arms = {"a": (frequent.scores, frequent.scores), "b": (frequent.scores, lambda part: -frequent.scores(part))}

    def rows():
        return without_seconds(compare(cells("b", {1: tasks}), arms, "a", ("a",), 0, np.random.default_rng(0)))

    whole = rows()
    monkeypatch.setattr(comparison, "CELLS", 7 * tasks.dataset.n_items)
    assert rows() == whole


def test_where_nobody_buys_again_only_new_items_are_ranked(shop):
    never, always = shop([[[0], [1], [2]]] * 3, 3), shop([[[0], [0], [0]]] * 3, 3)
    assert repeat_share(first_baskets(never, np.arange(3), 1, 2)) == 0.0
    assert repeat_share(first_baskets(always, np.arange(3), 1, 2)) == 1.0
    for world, repeats, settings in ((never, False, ["known=1,new"]), (always, True, ["known=1,all"])):
        found = measurable({1: first_baskets(world, np.arange(3), 1, 2)}, repeats)
        assert [cell.setting for cell in found] == settings


def test_without_held_out_users_there_is_an_error_that_says_what_to_do(fitted):
    with pytest.raises(DataError, match=r"at least 20 held-out users, got 0 with 9 \+ 3 baskets; bring more users, longer"):
        asked(fitted.held_out, (9,), 3)


def test_a_recommender_without_histories_has_no_users_to_fit_controls_on(fitted, tmp_path):
    from llmrec import Recommender

    fitted.save_pretrained(tmp_path / "shop")
    loaded = Recommender.from_pretrained(tmp_path / "shop")
    with pytest.raises(DataError, match="no users were held out of fit"):
        evaluate_held_out(loaded)
    with pytest.raises(DataError, match="histories=True"):
        evaluate_held_out(loaded, fitted.held_out)


# ---------------------------------------------------------------------------------------- what is said


def planted(method: str, gap: float, setting: str = "known=3,all") -> list[Result]:
    """Ours at .3, and a method that is `gap` below it, within .001."""
    other = Result("held-out users", method, "control", setting, "ndcg@10", 0.3 - gap, 0.2, 0.4, "", 400, 0, None)
    ours = replace(other, method="llmrec", role="ours", value=0.3)
    return [replace(ours, value=gap, low=gap - 0.001, high=gap + 0.001, versus=method), ours, other]


def test_a_loss_is_said_with_its_size_and_nothing_else_is():
    assert losses([*planted("ease", -0.02), *planted("item_knn", 0.02)[:1], *planted("popularity", 0.0)[:1]], "trip") == [
        "After 3 trips EASE is clearly better than llmrec: 0.320 against 0.300, difference +0.020 [+0.019, +0.021]."
    ]
    assert losses(planted("zero_steps", -0.02), "trip") == []  # no control: it is ours without steps
    assert losses(planted("ease", -0.02), "trip", "new") == []


def test_removed_items_are_ranked_by_no_method(fitted):
    """Of the two items that are left each method finds the one that is asked for, or the other one."""
    rec, ids = copy.copy(fitted), fitted.state.catalogue.ids.values
    rec.remove_items(ids[2:])
    found = evaluate_held_out(rec, known=[3])
    assert found.protocol["items_ranked"] == 2
    for rows in (found.rows, rec.evaluate(rec.held_out, known=3)):
        means = {row.method: row.value for row in rows if not row.versus and row.metric == "ndcg@10"}
        assert min(means.values()) >= 1 / np.log2(3)  # the second place at worst


def test_evaluate_reads_nothing_that_was_observed(fitted):
    """With one popular item as the only candidate that a history does not hold."""
    rec, retrieval = copy.copy(fitted), fitted.state.retrieval
    few = replace(retrieval.sources, popular_k=1, text_k=0, knn_k=0)
    rec._state = replace(fitted.state, retrieval=replace(retrieval, sources=few))
    before, least = rec.evaluate(rec.held_out), fitted.state.catalogue.ids[int(retrieval.popularity_order[-1])]
    later = {"user_id": [f"later-{number}" for number in range(200)], "item_id": [least] * 200, "timestamp": [1.7e9] * 200}
    rec.observe(later)
    assert rec.state.retrieval.popular[0] != retrieval.popular[0]
    assert without_seconds(rec.evaluate(rec.held_out)) == without_seconds(before)


# ---------------------------------------------------------------------------------------- a catalogue that has changed


def test_what_is_hidden_now_has_no_part_in_what_is_measured(fitted, evaluation):
    mine = copy.copy(fitted)
    mine.hide_items([f"i{item:02}" for item in range(20)])
    assert without_seconds(evaluate_held_out(mine).rows) == without_seconds(evaluation.rows)
    assert without_seconds(mine.evaluate(mine.held_out)) == without_seconds(fitted.evaluate(fitted.held_out))
