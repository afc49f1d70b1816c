"""TALLRec's rows as tasks and as choices: the prompt has what was known, no label is in it, and scores are the ranker's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from language_models import tiny

from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.meta.title_choices import choice_scores
from llmrec.metrics.report import read_rows, write_report
from llmrec.progress import Stages
from llmrec.prompts import Template, load_template
from llmrec.ranking.llm_ranker import LLMRanker
from studies.tallrec import study
from studies.tallrec.rows import Rows, among, load, tasks_of, with_other
from tables import benchmark

WORDS = ("red", "blue", "green", "small", "mug", "lamp", "rope", "tent")
FILMS = pa.table({"item_id": np.arange(60), "title": [f"{WORDS[n % 8]} {WORDS[n // 8]}" for n in range(60)]})
LIKE = Template(load_template("like").text.replace('"Yes"', "red").replace('"No"', "blue"))


@pytest.fixture(scope="module")
def ranker(tiny_folders, tmp_path_factory):
    return LLMRanker(tiny("llama", tiny_folders["llama"], tmp_path_factory.mktemp("llama")), LIKE)


@pytest.fixture(scope="module")
def rows() -> Rows:
    rng = np.random.default_rng(0)
    films = np.stack([rng.permutation(60)[:11] for _ in range(40)])
    liked = rng.random((40, 11)) < 0.5
    liked[0, :10], liked[0, 10], liked[1] = False, True, True
    return Rows(np.arange(40) // 5, films[:, :10], liked[:, :10], films[:, 10], liked[:, 10])


def test_the_prompt_has_likes_dislikes_and_the_film_that_is_asked_about(ranker, rows):
    alone = study.choices_of(ranker, rows, FILMS)
    titles, model = FILMS.column("title").to_pylist(), ranker.language_model
    assert len(alone) == len(rows) and alone.owner.tolist() == list(range(40))
    for row in range(0, 40, 7):
        past = {
            name: [titles[film] for film, liked in zip(rows.history[row], rows.liked[row], strict=True) if liked == want]
            for name, want in (("liked", True), ("disliked", False))
        }
        whole = LIKE.render({**past, "item": titles[rows.item[row]]})
        assert [*alone.rows[row].prefix, *alone.rows[row].segments[0]] == model.start(whole)
    flipped = study.choices_of(ranker, replace(rows, label=~rows.label), FILMS)
    assert flipped.rows == alone.rows  # no label is read


def test_scores_of_rows_are_those_of_the_ranker_and_are_read_once(ranker, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "KEPT_TOGETHER", 15)
    start = LanguageAdapter(start_lora(ranker.language_model, 2, 1.0, 2, None, 0.3))
    found = study.scores(ranker, {"a": start, "b": start}, rows, FILMS, Stages(verbose=False), tmp_path)
    tasks = tasks_of(rows, FILMS)
    wanted = replace(ranker, adapter=start).score(tasks, among(tasks, rows.item[:, None]))
    for each in found.values():
        np.testing.assert_allclose(each, wanted, rtol=1e-4, atol=1e-4)
    assert np.ptp(wanted) > 0.01
    monkeypatch.delattr(study, "scores_of_each")
    again = study.scores(ranker, {"a": start, "b": start}, rows, FILMS, Stages(verbose=False), tmp_path)
    assert all(np.array_equal(again[name], found[name]) for name in found)


def test_a_choice_within_a_history_is_between_a_liked_film_and_another_one_which_it_does_not_show(ranker, rows):
    pairs, items = with_other(rows)
    assert np.bincount(pairs.user).tolist() == [4, *[5] * 7]  # row 1 has likes alone
    choices = study.choices_of(ranker, pairs, FILMS, items)
    tasks = tasks_of(pairs, FILMS)
    found = among(tasks, items)
    ids = tasks.dataset.catalogue.ids
    kept = np.delete(np.arange(len(rows)), 1)
    for row, (taken, source) in enumerate(zip(choices.taken, kept, strict=True)):
        labels = dict(zip([*rows.history[source], rows.item[source]], [*rows.liked[source], rows.label[source]], strict=True))
        mine = ids.take(found.of(row)).values
        assert [labels[film] for film in mine] == taken.tolist() and taken.sum() == 1
        assert rows.item[source] in mine and not set(mine) & set(pairs.history[row])
        opposite = [film for film in rows.history[source] if labels[film] != rows.label[source]]
        assert set(mine) == {rows.item[source], opposite[-1]}


def test_a_choice_between_rows_has_the_score_that_each_row_has_alone(ranker, rows):
    alone = study.choices_of(ranker, rows, FILMS)
    pairs = study.between(alone, rows.label, np.random.default_rng(0))
    start = LanguageAdapter(start_lora(ranker.language_model, 2, 1.0, 2, None, 0.3))
    single = np.concatenate(choice_scores(ranker.language_model, alone, start))
    known = {(*row.prefix, *row.segments[0]): place for place, row in enumerate(alone.rows)}
    seen = set()
    for row, scores in zip(pairs.rows, choice_scores(ranker.language_model, pairs, start), strict=True):
        places = [known[(*row.prefix, *segment)] for segment in row.segments]
        np.testing.assert_allclose(scores, single[places], rtol=1e-4, atol=1e-4)
        assert rows.label[places].tolist() == [True, False]
        seen.update(places)
    assert seen == set(range(len(rows)))


def test_controls_count_likes_and_training_rows_alone(rows):
    found = study.controls(rows, rows)
    order = np.argsort(rows.liked.mean(1), kind="stable")
    assert (np.diff(found[study.SHARE][order]) >= 0).all()
    mean, film = rows.label.mean(), rows.item[3]
    mine = rows.item == film
    share = (rows.label[mine].sum() + 5 * mean) / (mine.sum() + 5)
    own = (rows.liked[3].sum() + 1) / 12
    assert found[study.WITH_FILM][3] == pytest.approx(np.log(own / (1 - own)) + np.log(share / (1 - share)))
    nobody = replace(rows, item=np.full(len(rows), 99))
    assert (np.diff(study.controls(rows, nobody)[study.WITH_FILM][order]) >= -1e-9).all()


def test_every_arm_is_measured_and_reported(ranker, rows, tmp_path):
    stages, plan = Stages(verbose=False), study.Plan(sizes=(16, 256), r=2, n_blocks=2, steps=2, batch_size=2)
    adapters, losses = study.learned(ranker, rows, FILMS, plan, 0, stages, tmp_path)
    values = study.controls(rows, rows) | study.scores(ranker, adapters, rows, FILMS, stages, tmp_path / "test")
    arms = [f"{name}, {size} rows" for size in plan.sizes for name in (study.WITHIN, study.BETWEEN)]
    assert list(values) == [study.SHARE, study.WITH_FILM, study.ZERO_SHOT, *arms] and list(losses) == arms
    assert all(not np.allclose(values[arm], values[study.ZERO_SHOT]) for arm in arms)
    found = study.rows_of(values, rows, "test", 0)
    assert {row.versus for row in found if row.method == study.PRIMARY} == {"", *values} - {study.PRIMARY}
    assert {row.metric for row in found} == {"auc", "user auc"} and {row.n for row in found} == {8, 7}  # one user liked all
    write_report(tmp_path / "tallrec.json", found, study.extra(plan, losses, "test", 0, study.ours_of(values)))
    assert len(read_rows(tmp_path / "tallrec.json")) == len(found)
    assert study.PRIMARY in benchmark(tmp_path / "tallrec.json")


def test_the_file_is_read_by_its_parts(tmp_path):
    table = {
        "split": ["train", "test", "train"],
        "user_id": [1, 2, 1],
        "history": [[1, 2], [3, 4], [2, 5]],
        "liked": [[0, 1], [1, 1], [1, 0]],
        "item_id": [5, 6, 7],
        "label": [1, 0, 0],
    }
    pa.parquet.write_table(pa.table(table), tmp_path / "tallrec-movie.parquet")
    parts = load(tmp_path)
    assert {name: len(part) for name, part in parts.items()} == {"train": 2, "valid": 0, "test": 1}
    assert parts["train"].liked.tolist() == [[False, True], [True, False]] and parts["train"].label.tolist() == [True, False]
