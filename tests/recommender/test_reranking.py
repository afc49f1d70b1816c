"""A ranker beside the chain, in a planted shop whose titles tell what the chain does not learn: users take items of one kind,
which both words of a title tell together and neither alone. The ranker over counts stays untrained, for it would tell kinds."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from language_models import tiny, write_tiny

from llmrec import Recommender, Weights
from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.adapters.soft_prompt import soft_prompt
from llmrec.data.tasks import first_baskets
from llmrec.errors import ArtefactError, DataError, IgnoredInputWarning, TemplateError, WeightsError
from llmrec.index.candidates import Candidates, Sources
from llmrec.language.model import load_language_model
from llmrec.metrics import ranking as metrics
from llmrec.prompts import Template, load_template
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.reranker import TOP, Reranker, first_candidates, moved, standardised
from llmrec.recommender.answer import Request
from llmrec.recommender.answer import answer as answer_of
from llmrec.recommender.evaluate import chain_scores
from llmrec.recommender.given import events_of
from llmrec.recommender.reranking import SHARES, choose_weight, ndcg
from llmrec.recommender.saving import KIND
from llmrec.rules.rules import Rules
from llmrec.store import open_folder

FIRST, SECOND = ("red", "blue", "green", "small"), ("mug", "lamp", "rope", "tent")
USERS, ITEMS, KINDS = 120, 120, 4


class Counting:
    """What each subclass says, of how many candidates in all. asked: candidates, for each call."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def score(self, tasks, candidates):
        self.asked.append(int(np.diff(candidates.start).max(initial=0)))
        assert (tasks.stop == tasks.split).all()  # nothing of what comes later
        return self.say(tasks, candidates)


class Truth(Counting):
    """Whether an item is of the kind that the history has most of."""

    def say(self, tasks, candidates):
        words = [title.split() for title in tasks.dataset.catalogue.column("title")]
        kind = np.array([(FIRST.index(one) + SECOND.index(two)) % KINDS for one, two in words])
        most = [np.bincount(kind[tasks.dataset.item[tasks.support(t)]]).argmax() for t in range(len(tasks))]
        return (kind[candidates.item] == np.array(most)[candidates.task]).astype(np.float32)


class Noise(Counting):
    """A number for each item that says nothing."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def say(self, tasks, candidates):
        return np.random.default_rng(self.seed).normal(size=tasks.dataset.n_items)[candidates.item].astype(np.float32)


def events(users: Sequence[str], seed: int) -> dict[str, list[Any]]:
    """User u takes eight different items of kind u % 4."""
    rng, rows = np.random.default_rng(seed), []
    for number, user in enumerate(users):
        mine = np.arange(ITEMS)[sum(spelled(np.arange(ITEMS))) % KINDS == number % KINDS]
        for place, item in enumerate(rng.choice(mine, 8, replace=False)):
            rows.append((user, f"i{item:03}", 1.6e9 + 86_400.0 * place + number, f"{number}-{place}"))
    return {name: [row[i] for row in rows] for i, name in enumerate(("user_id", "item_id", "timestamp", "basket_id"))}


def spelled(item: Any) -> tuple[Any, Any]:
    """Which first and second word items have."""
    return item % 4, item // 4 % 4


def items() -> dict[str, list[Any]]:
    return {
        "item_id": [f"i{i:03}" for i in range(ITEMS)],
        "title": [f"{FIRST[a]} {SECOND[b]}" for a, b in map(spelled, range(ITEMS))],
    }


PEOPLE = [f"u{number:03}" for number in range(USERS)]


@pytest.fixture(scope="module")
def fit(tiny_folders, tiny_settings, tmp_path_factory):
    settings = replace(
        tiny_settings,
        train=replace(tiny_settings.train, max_steps=2, known=(3, 5), horizon=2),
        outer=replace(tiny_settings.outer, episodes=1),
        counts_ranker=replace(tiny_settings.counts_ranker, hidden=1, max_steps=0),
        sources=Sources(text_k=60, knn_k=0, popular_k=0, repeats=False),
        blend_fraction=0.5,
        meta_fraction=0.25,
        ranking_tasks=600,
    )
    shop = events(PEOPLE, 1), items()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield lambda ranker: Recommender(Weights.folder(tiny_folders["bert"]), settings, 0, ranker).fit(*shop)


@pytest.fixture(scope="module")
def plain(fit):
    return fit(None)


@pytest.fixture(scope="module")
def knowing(fit):
    return fit(Truth())


@pytest.fixture(scope="module")
def model(tiny_folders, tmp_path_factory):
    return tiny("llama", tiny_folders["llama"], tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def speaking(plain, model):
    """The plain one with a language model, whatever it is worth."""
    return with_ranker(plain, LLMRanker(model, max_history=3))


def with_ranker(recommender, ranker, weight=0.7, unseen_weight=0.4):
    changed = copy.copy(recommender)
    changed._state = replace(recommender.state, reranker=Reranker(ranker, weight, unseen_weight))
    return changed


LATER = events([f"n{number:03}" for number in range(40)], 2)


def held_out_ndcg(recommender, known: int = 4) -> np.ndarray:
    held = recommender.state.known.joined(*_asked(recommender))[0]
    tasks = first_baskets(held, np.arange(held.n_users), known, 2)
    return metrics.ndcg(chain_scores(recommender.state, tasks, None, filter_viewed=True), tasks.relevant(), 10)


def _asked(recommender):
    later, _, asked = events_of(recommender.state, LATER, None)
    return asked, later


def test_a_ranker_that_knows_the_titles_is_trusted_and_helps_users_of_later(plain, knowing):
    assert knowing.state.reranker.unseen_weight > 0 and knowing.state.reranker.top == TOP
    gain = held_out_ndcg(knowing) - held_out_ndcg(plain)
    assert gain.mean() > 4 * gain.std() / len(gain) ** 0.5


def test_it_is_asked_about_the_first_items_alone(knowing):
    ranker = knowing.ranker
    ranker.asked.clear()
    knowing.recommend(histories=LATER, k=5)
    assert ranker.asked and max(ranker.asked) <= TOP
    ranker.asked.clear()
    assert len(knowing.recommend(["nobody"])["item_id"]) == 10 and ranker.asked == []


@pytest.mark.parametrize("seed", range(3))
def test_a_ranker_of_noise_is_left_out_and_nothing_changes(fit, plain, seed, caplog):
    ranker = Noise(seed)
    with caplog.at_level("INFO", "llmrec"):
        noisy = fit(ranker)
    told = next(line for line in caplog.messages if line.startswith("reranker: ") and "scored" in line)
    assert re.search(r"new items: left out, no weight helps beyond noise \(best NDCG@10 [+-]\.?\d", told)
    assert noisy.state.reranker is None
    ranker.asked.clear()
    for how in ({}, {"filter_viewed": False}):
        ours, theirs = (one.recommend(histories=LATER, **how) for one in (noisy, plain))
        assert list(ours["item_id"]) == list(theirs["item_id"]) and list(ours["score"]) == list(theirs["score"])
    assert ranker.asked == []


def test_what_is_learned_of_all_else_is_the_same_with_a_ranker(plain, knowing):
    ours, theirs = (one.recommend(histories=LATER, ranker=Noise(0)) for one in (plain, knowing))
    assert list(ours["item_id"]) == list(theirs["item_id"])  # `ranker` at a request stands in place of all that was fitted
    a, b = (replace(one.state, reranker=None) for one in (plain, knowing))
    tasks = first_baskets(a.histories, np.arange(9), 4, 2)
    np.testing.assert_array_equal(chain_scores(a, tasks, None), chain_scores(b, tasks, None))


def test_evaluate_measures_what_is_answered(knowing):
    held = knowing.state.known.joined(*_asked(knowing))[0]
    tasks = first_baskets(held, np.arange(held.n_users), 4, 2)
    table = chain_scores(knowing.state, tasks, None, filter_viewed=True)
    answer = answer_of(knowing.state, tasks, Request(10))
    for task in range(len(tasks)):
        assert answer.item[answer.asker == task].tolist() == np.argsort(-table[task], kind="stable")[:10].tolist()


def test_rules_explanations_files_and_dislikes_go_by_the_same_order(speaking, tmp_path):
    people = PEOPLE[:4]
    answer = speaking.recommend(people, k=5)
    told = speaking.explain(people, k=5)
    first = {
        (user, item): score for user, item, score in zip(*(told[name] for name in ("user_id", "item_id", "score")), strict=True)
    }
    assert list(first) == list(zip(answer["user_id"], answer["item_id"], strict=True))
    np.testing.assert_allclose(list(first.values()), answer["score"], atol=1e-5)
    speaking.recommend_all(tmp_path / "all.csv", k=5, verbose=False)
    written = pd.read_csv(tmp_path / "all.csv").set_index("user_id").loc[people]
    assert written["item_id"].tolist() == list(answer["item_id"])
    ruled = speaking.recommend(people, k=5, rules=Rules(filters=["title != 'red mug'"]))
    assert "red mug" not in {items()["title"][int(item[1:])] for item in ruled["item_id"]}
    assert list(speaking.recommend(people, k=5, filter_viewed=False)["item_id"]) != list(answer["item_id"])


def test_after_saving_the_answers_are_the_same_and_weights_are_not_copied(speaking, tmp_path):
    speaking.save_pretrained(tmp_path / "shop", histories=True)
    loaded = Recommender.from_pretrained(tmp_path / "shop")
    assert not [file for file in (tmp_path / "shop").rglob("*") if "llama" in file.as_posix()]
    for how in ({}, {"filter_viewed": False}):
        ours, theirs = (one.recommend(PEOPLE[:5], **how) for one in (speaking, loaded))
        assert list(ours["item_id"]) == list(theirs["item_id"])
        np.testing.assert_allclose(ours["score"], theirs["score"], atol=1e-5)
    given = Recommender.from_pretrained(tmp_path / "shop", ranker=speaking.state.reranker.ranker)
    assert list(given.recommend(PEOPLE[:5])["item_id"]) == list(speaking.recommend(PEOPLE[:5])["item_id"])
    loaded.save_pretrained(tmp_path / "again")
    saved = (open_folder(tmp_path / name, KIND)["reranker"] for name in ("shop", "again"))
    assert next(saved) == next(saved)


def test_weights_that_moved_changed_or_are_gone_are_named(plain, tiny_folders, tmp_path):
    (tmp_path / "here").mkdir()
    language_model = load_language_model(write_tiny("llama", tiny_folders["llama"], tmp_path / "here"))
    with_ranker(plain, LLMRanker(language_model)).save_pretrained(tmp_path / "shop")
    shutil.move(tmp_path / "here", tmp_path / "there")
    with pytest.raises(
        WeightsError, match=r"shop: ranker: expected the language model '.*here' .*from_pretrained\(folder, ranker=PATH"
    ):
        Recommender.from_pretrained(tmp_path / "shop")
    assert Recommender.from_pretrained(tmp_path / "shop", ranker=tmp_path / "there").state.reranker.weight == 0.7
    (tmp_path / "other").mkdir()
    other = write_tiny("qwen3", tiny_folders["llama"], tmp_path / "other")
    with pytest.raises(WeightsError, match=r"expected weights with SHA-256 \w{12}…, .*got \w{12}….* in .*other; pass"):
        Recommender.from_pretrained(tmp_path / "shop", ranker=str(other))
    with pytest.raises(WeightsError, match="in the given ranker"):
        Recommender.from_pretrained(tmp_path / "shop", ranker=LLMRanker(load_language_model(other)))
    with pytest.raises(ArtefactError, match="expected max_history 10, got 3; pass LLMRanker"):
        Recommender.from_pretrained(tmp_path / "shop", ranker=LLMRanker(language_model, max_history=3))
    with pytest.raises(ArtefactError, match="expected an LLMRanker, .* got Noise"):
        Recommender.from_pretrained(tmp_path / "shop", ranker=Noise(0))


@pytest.mark.parametrize("kind", ["lora", "soft_prompt", "both"])
def test_an_adapter_is_saved_with_the_recommender(plain, model, kind, tmp_path):
    lora = start_lora(model, 2, 2.0, 2, torch.Generator().manual_seed(0), 0.5)
    prompt = soft_prompt(model, "red mug", 3)
    adapter = LanguageAdapter(None if kind == "soft_prompt" else lora, None if kind == "lora" else prompt)
    adapted = with_ranker(plain, LLMRanker(model, max_history=3, adapter=adapter))
    adapted.save_pretrained(tmp_path / "shop", histories=True)
    loaded = Recommender.from_pretrained(tmp_path / "shop")
    mine, others = adapted.recommend(PEOPLE), with_ranker(plain, LLMRanker(model, max_history=3)).recommend(PEOPLE)
    assert list(loaded.recommend(PEOPLE)["item_id"]) == list(mine["item_id"])
    assert not np.allclose(mine["score"], others["score"])
    taken = Recommender.from_pretrained(tmp_path / "shop", ranker=LLMRanker(model, max_history=3))
    np.testing.assert_allclose(taken.recommend(PEOPLE)["score"], mine["score"], atol=1e-5)
    other = adapter.map(lambda leaf: leaf + 0.1)
    with pytest.raises(ArtefactError, match="ranker: expected another adapter, as it was fitted with; pass"):
        Recommender.from_pretrained(tmp_path / "shop", ranker=LLMRanker(model, max_history=3, adapter=other))
    with_ranker(plain, LLMRanker(model, max_history=3)).save_pretrained(tmp_path / "bare")
    with pytest.raises(ArtefactError, match="ranker: expected no adapter"):
        Recommender.from_pretrained(tmp_path / "bare", ranker=LLMRanker(model, max_history=3, adapter=other))
    file = next((tmp_path / "shop" / "ranker").rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtefactError, match=re.escape(file.name)):
        Recommender.from_pretrained(tmp_path / "shop")


def test_a_template_of_other_words_is_an_error_that_shows_them(plain, model, tmp_path):
    file = tmp_path / "next.jinja"
    file.write_text(load_template("next").text, encoding="utf-8")
    with_ranker(plain, LLMRanker(model, load_template(file))).save_pretrained(tmp_path / "shop")
    other = Template(load_template("next").text.replace("took", "bought"), "mine")
    with pytest.raises(
        TemplateError, match=r"(?s)ranker_template: expected 'next'.*-Items that a shopper took.*\+Items that a shopper bo"
    ):
        Recommender.from_pretrained(tmp_path / "shop", ranker=LLMRanker(model, other))
    file.write_text(other.text, encoding="utf-8")
    with pytest.raises(TemplateError, match="ranker_template: expected 'next'"):
        Recommender.from_pretrained(tmp_path / "shop")
    file.unlink()  # as on another machine: what was saved stands for it
    assert Recommender.from_pretrained(tmp_path / "shop").ranker.template.text == load_template("next").text


def test_a_template_that_is_no_file_is_that_of_the_saved_folder(plain, model, tmp_path):
    words = Template(load_template("next").text.replace("took", "bought"), "the template of runs/llm/ranker")
    with_ranker(plain, LLMRanker(model, words)).save_pretrained(tmp_path / "shop")
    assert open_folder(tmp_path / "shop", KIND)["reranker"]["template"]["place"] is None
    assert Recommender.from_pretrained(tmp_path / "shop").ranker.template.text == words.text


def test_a_ranker_of_ones_own_is_passed_again_after_loading(knowing, tmp_path):
    with pytest.warns(IgnoredInputWarning, match=r"the ranker Truth is not saved.*from_pretrained\(folder, ranker=Truth"):
        knowing.save_pretrained(tmp_path / "shop", histories=True)
    for given, found in ((None, "none"), (Noise(0), "a Noise"), ("folder", "'folder'")):
        with pytest.raises(ArtefactError, match=f"fitted with a ranker Truth, .* got {found}; pass"):
            Recommender.from_pretrained(tmp_path / "shop", ranker=given)
    loaded = Recommender.from_pretrained(tmp_path / "shop", ranker=Truth())
    assert list(loaded.recommend(PEOPLE)["item_id"]) == list(knowing.recommend(PEOPLE)["item_id"])


def test_with_too_few_users_it_is_left_out_and_says_so(fit, caplog):
    few = copy.copy(fit(None))
    few.ranker = Truth()
    with caplog.at_level("INFO", "llmrec"):
        few.fit(events(PEOPLE[:12], 1), items())
    assert few.state.reranker is None and "users, 20 are needed" in caplog.text


def test_what_is_no_ranker_is_refused(tiny_settings):
    for wrong in (Truth, 3, "smollm2"):
        with pytest.raises(DataError, match=r"expected an object with score\(tasks, candidates\)"):
            Recommender(settings=tiny_settings, ranker=wrong)


def random_candidates(rng: np.random.Generator, tasks: int = 30, n: int = 50) -> Candidates:
    drawn = [np.sort(rng.choice(n, rng.integers(0, 40), replace=False)) for _ in range(tasks)]
    start = np.cumsum([0, *(len(one) for one in drawn)])
    return Candidates(start, np.concatenate(drawn).astype(np.int32), np.ones(start[-1], np.uint8))


def test_the_first_stay_ahead_of_the_rest_and_move_by_weight_and_standard_score():
    rng = np.random.default_rng(0)
    found = random_candidates(rng)
    value = rng.normal(size=len(found.item)).astype(np.float32)
    place, first = first_candidates(found, value, 7)
    scores = rng.normal(size=len(place)) * 100 + 5
    new = moved(value, place, first, standardised(first, scores), 3.0)
    rest = np.setdiff1d(np.arange(len(value)), place)
    np.testing.assert_array_equal(new[rest], value[rest])
    for task in range(len(found)):
        mine, asked = np.flatnonzero(found.task == task), place[found.task[place] == task]
        assert set(asked) == set(mine[np.argsort(-value[mine], kind="stable")[:7]])
        assert min(new[asked], default=9) >= max(value[np.setdiff1d(mine, asked)], default=-9)
        if len(asked) > 1:
            own = scores[first.task == task]
            wanted = value[asked] + 3.0 * (own - own.mean()) / own.std()
            np.testing.assert_allclose(np.diff(new[asked]), np.diff(wanted), atol=1e-4)


def test_scores_that_are_all_alike_move_nothing():
    found = random_candidates(np.random.default_rng(1))
    value = np.random.default_rng(2).normal(size=len(found.item)).astype(np.float32)
    place, first = first_candidates(found, value, 5)
    np.testing.assert_array_equal(moved(value, place, first, standardised(first, np.full(len(place), 7.0)), 4.0), value)


def test_ndcg_is_that_of_the_metrics():
    rng = np.random.default_rng(4)
    found = random_candidates(rng)
    value = rng.normal(size=len(found.item)).astype(np.float32)
    relevant = [np.sort(rng.choice(50, rng.integers(1, 14), replace=False)) for _ in range(30)]
    table = np.full((30, 50), -np.inf, np.float32)
    table[found.task, found.item] = value
    dense = np.where(np.isinf(table), -100.0 - np.arange(50), table)
    for task, wanted in enumerate(relevant):  # what is no candidate comes behind ten others
        others = np.setdiff1d(np.arange(50), np.union1d(found.of(task), wanted))
        dense[task, others] += 60.0
    far = np.diff(found.start) >= 10
    np.testing.assert_allclose(ndcg(found, value, relevant)[far], metrics.ndcg(dense, relevant, 10)[far], atol=1e-6)


def test_a_weight_is_taken_only_where_its_gain_is_beyond_chance():
    rng, taken = np.random.default_rng(5), 0
    for seed in range(60):
        worth = np.concatenate([np.zeros((80, 1)), rng.normal(0.0, 0.3, (80, len(SHARES)))], 1)
        taken += choose_weight(SHARES, worth, seed)[0] > 0
    assert taken <= 9  # 3 are expected at a level of .05
    worth[:, 3] += 0.3
    weight, about = choose_weight(SHARES, worth, 0)
    assert weight == SHARES[2] and about.low > 0 and about.users == 80


def test_an_item_that_falls_to_the_last_place_stays_ahead_of_those_with_the_same_score_outside():
    found = Candidates(np.array([0, 3]), np.arange(3, dtype=np.int32), np.ones(3, np.uint8))
    value = np.array([0.5, 0.5, 0.9], np.float32)
    place, first = first_candidates(found, value, 2)
    assert first.item.tolist() == [0, 2]
    new = moved(value, place, first, np.array([1.0, -1.0]), 3.0)
    assert np.lexsort((found.item, -new)).tolist() == [0, 2, 1]
