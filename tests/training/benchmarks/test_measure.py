"""Laws of measuring: chunks do not matter, every comparison is paired, and aims are judged by the rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from benchmarks.measure import METRICS, measure, ours_of, report_extra, report_rows, run, value
from benchmarks.protocol import Aim, Benchmark, ByPart, Method, Setting, everywhere, first_known
from benchmarks.runs import Run
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.metrics import ranking as metrics
from llmrec.metrics.bootstrap import paired_bootstrap
from llmrec.metrics.ranking import rank_targets

OURS = "Recommender, default"


@dataclass(frozen=True)
class ByHash:
    """Scores that depend on the support only, with ties."""

    name: str = "hash"

    def scores(self, tasks: Tasks) -> np.ndarray:
        rows = [
            int(tasks.dataset.item[tasks.support(i)].sum()) * 7 + np.arange(tasks.dataset.n_items) * 3
            for i in range(len(tasks))
        ]
        return (np.array(rows) % 5).astype(np.float32)


@pytest.fixture
def benchmark(random_shop) -> Benchmark:
    validation, test = (first_known(random_shop, users, 2, 3, 1) for users in (np.arange(10), np.arange(10, 20)))
    settings = tuple(Setting(rank, validation, test, rank) for rank in ("all", "unseen"))
    return Benchmark("made", random_shop, np.arange(3), settings, ("all", "ndcg@10"))


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize("rank", ["all", "unseen"])
def test_it_is_the_metric_of_all_tasks_at_once(benchmark, rank, chunk):
    setting = benchmark.setting(rank)
    tasks = setting.test
    scores, relevant, allowed = ByHash().scores(tasks), setting.relevant(tasks), setting.allowed(tasks)
    found = measure(ByHash(), setting, tasks, chunk=chunk)
    wanted = {
        "ndcg@10": metrics.ndcg(scores, relevant, 10, allowed),
        "recall@10": metrics.recall(scores, relevant, 10, allowed),
        "hit@10": metrics.hit_rate(scores, relevant, 10, allowed),
        "map@10": metrics.mean_average_precision(scores, relevant, 10, allowed),
        "mrr": metrics.mrr(scores, relevant, allowed),
        "auc": metrics.auc(scores, relevant, allowed),
        "recall@5%": metrics.recall(scores, relevant, 1, allowed),  # 5% of 10 items, at least one
    }
    assert set(found) == set(METRICS) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, err_msg=name)


def test_a_share_is_of_the_catalogue():
    places = rank_targets(-np.arange(200.0)[None], [np.array([0, 9, 10])])
    np.testing.assert_allclose(value(places, "recall@5%", 200), 2 / 3)
    np.testing.assert_allclose(value(places, "recall@11", 200), 1)
    for wrong in ("recall", "auc@10", "precision@10", "ndcg@x"):
        with pytest.raises(DataError, match="expected ndcg@k"):
            value(places, wrong, 200)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_part_is_measured_among_its_own_items(benchmark, part):
    among = ByPart(np.arange(10) < 6, np.arange(10) >= 3)
    setting = replace(benchmark.setting("unseen"), name="few", among=among)
    tasks, only = setting.asked(part), among.of(part)
    scores, relevant = ByHash().scores(tasks), tasks.relevant(new_only=True)
    allowed = np.tile(only, (len(tasks), 1)) & benchmark.setting("unseen").allowed(tasks)
    found = run(replace(benchmark, settings=(setting,)), Method("hash", "control", {"few": ByHash()}, 0.0), None, part)
    np.testing.assert_allclose(found.values["few"]["ndcg@10"], metrics.ndcg(scores, relevant, 10, allowed))
    np.testing.assert_allclose(found.values["few"]["mrr"], metrics.mrr(scores, relevant, allowed))


def test_a_run_has_the_values_of_the_part_that_is_asked(benchmark):
    method = everywhere(benchmark, ByHash(), "control", 2.0)
    for part in ("validation", "test"):
        one = run(benchmark, method, None, part)
        for setting in benchmark.settings:
            np.testing.assert_array_equal(
                one.values[setting.name]["auc"], measure(ByHash(), setting, setting.asked(part))["auc"]
            )
            assert one.keys[setting.name] == setting.key(part)
            assert one.seconds[setting.name] >= 2
    only = Method("hash", "control", {"all": ByHash()}, 0.0)
    assert set(run(benchmark, only, None, "test").values) == {"all"}


@pytest.mark.parametrize("other", ["", "Recommender, quick"])
def test_an_aim_may_be_held_against_the_recommenders_own_reference_which_is_no_control(benchmark, other):
    aims = (Aim("all", "ndcg@10", 0.6, ", trained there"), Aim("all", "ndcg@10", 1.0, "best control"))
    there = runs({("weak", None): np.full(30, 0.4), (OURS, 0): np.full(30, 0.5)})
    there += runs({(f"{OURS}, trained there", 0): np.full(30, 0.8)}, role="reference")
    there += runs({(f"{other}, trained there", 0): np.full(30, 0.9)}, role="reference") if other else []
    judged = replace(benchmark, aims=aims)
    extra = report_extra(judged, there, report_rows(judged, there, np.random.default_rng(5)))
    assert [aim["wanted"] for aim in extra["aims"]] == pytest.approx([0.48, 0.4])
    assert [aim["reached"] for aim in extra["aims"]] == [True, True]


def runs(values: dict[tuple[str, int | None], np.ndarray], setting: str = "all", role: str = "control") -> list[Run]:
    found = []
    for (name, seed), of in values.items():
        metrics_of = {metric: np.asarray(of, float) for metric in METRICS}
        mine = "ours" if name == OURS else role
        found.append(Run("made", name, mine, seed, "test", {setting: metrics_of}, {}, {setting: 3.0}, {setting: "c"}))
    return found


def test_rows_are_means_and_paired_differences_of_ours(benchmark):
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 30))
    rows = report_rows(benchmark, runs({("EASE", None): b, (OURS, 0): a}), np.random.default_rng(5))
    by = {(row.metric, row.method, row.versus): row for row in rows}
    assert set(by) == {(m, *pair) for m in METRICS for pair in (("EASE", ""), (OURS, ""), (OURS, "EASE"))}
    assert by["mrr", "EASE", ""].value == pytest.approx(b.mean())
    gap, alone = by["ndcg@10", OURS, "EASE"], paired_bootstrap(a, b, np.random.default_rng(5))
    np.testing.assert_allclose([gap.value, gap.low, gap.high], [alone.value, alone.low, alone.high])
    assert (gap.role, gap.n, gap.seed, gap.seconds) == ("ours", 30, 0, 3.0)
    assert by["ndcg@10", "EASE", ""].seed is None


def test_differences_and_aims_are_of_the_first_recommender(benchmark):
    benchmark = replace(benchmark, aims=(Aim("all", "ndcg@10", 0.9),))
    names = (
        "EASE",
        "Recommender, best, trained there",
        "Recommender, quick",
        "Recommender, quick, no ratings",
        "Scenes, opened",
    )
    roles = ("control", "reference", "ours", "ours", "ours")
    runs = [
        run(benchmark, everywhere(benchmark, ByHash(name), role, 1.0), 0, "test")
        for name, role in zip(names, roles, strict=True)
    ]
    assert ours_of(runs) == "Recommender, quick"
    rows = report_rows(benchmark, runs, np.random.default_rng(0))
    mine = {(row.method, row.versus) for row in rows if row.versus}
    assert mine == {("Recommender, quick", name) for name in names if name != "Recommender, quick"}
    extra = report_extra(benchmark, runs, rows)
    assert extra["ours"] == "Recommender, quick" and extra["aims"][0]["value"] is not None
    alone = runs[:1]
    rows = report_rows(benchmark, alone, np.random.default_rng(0))
    assert ours_of(alone) == "" and not any(row.versus for row in rows)
    assert report_extra(benchmark, alone, rows)["aims"][0]["value"] is None


def test_a_constant_advantage_has_no_width_and_users_without_relevance_no_part(benchmark):
    b = np.random.default_rng(0).random(30)
    b[3] = np.nan
    rows = report_rows(benchmark, runs({("EASE", None): b, (OURS, 0): b + 0.1}), np.random.default_rng(5))
    gap = next(row for row in rows if row.versus)
    np.testing.assert_allclose([gap.value, gap.low, gap.high], 0.1)
    assert gap.n == 29


def test_several_seeds_are_one_row_over_all_of_them(benchmark):
    table = np.random.default_rng(0).random((3, 30))
    values = {(OURS, seed): table[seed] for seed in range(3)} | {("EASE", None): table[0]}
    rows = report_rows(benchmark, runs(values), np.random.default_rng(5))
    (mine,) = [row for row in rows if (row.metric, row.method, row.versus) == ("auc", OURS, "")]
    assert mine.value == pytest.approx(table.mean())
    assert mine.seed is None
    (gap,) = [row for row in rows if row.metric == "auc" and row.versus == "EASE"]
    assert gap.value == pytest.approx(table.mean() - table[0].mean())


def test_a_method_with_half_of_its_seeds_in_a_setting_is_refused(benchmark):
    first, second = runs({(OURS, 0): np.ones(3), (OURS, 1): np.ones(3)})
    more = replace(first, values=dict(first.values) | {"unseen": first.values["all"]}, seconds={"all": 1.0, "unseen": 1.0})
    with pytest.raises(DataError, match="Recommender, default: unseen has 1 of 2 seeds"):
        report_rows(benchmark, [more, second], np.random.default_rng(5))


def test_aims_are_judged_by_the_rows_and_small_cells_are_exploratory(benchmark):
    aims = (
        Aim("all", "ndcg@10", 0.5),
        Aim("all", "ndcg@10", 1.2, "best control"),
        Aim("all", "ndcg@10", 1.2, "weak"),
        Aim("all", "ndcg@10", 1.2, "absent"),
        Aim("unseen", "ndcg@10", 0.5),
    )
    there = runs({("weak", None): np.full(600, 0.3), ("strong", None): np.full(600, 0.5), (OURS, 0): np.full(600, 0.55)})
    judged = replace(benchmark, aims=aims)
    rows = report_rows(judged, there, np.random.default_rng(5))
    extra = report_extra(judged, there, rows)
    assert [aim["reached"] for aim in extra["aims"]] == [True, False, True, None, None]
    assert [aim["wanted"] for aim in extra["aims"]] == pytest.approx([0.5, 0.6, 0.36, None, 0.5])
    assert extra["exploratory"] == {}
    assert extra["primary"] == {"setting": "all", "metric": "ndcg@10"}
    assert extra["seeds"] == {"weak": [None], "strong": [None], OURS: [0]}
    few = runs({(OURS, 0): np.full(499, 0.55)})
    assert report_extra(judged, few, report_rows(judged, few, np.random.default_rng(5)))["exploratory"] == {
        "all": "exploratory"
    }
