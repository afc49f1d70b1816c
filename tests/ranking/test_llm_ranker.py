"""A language model as a ranker: it keeps the contract, and its scores are what the prompt says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from language_models import FAMILIES, tiny
from ranker_contract import RankerContract, asked, part_of, some_candidates

from llmrec.errors import DataError
from llmrec.language.prompts import NEXT_TITLE, YES_OR_NO, one_line
from llmrec.ranking import llm_ranker
from llmrec.ranking.llm_ranker import LLMRanker

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
LIKED = replace(YES_OR_NO, behind=" history", yes=("red", "mug"), no=("blue",))


@pytest.fixture(scope="module")
def models(tiny_folders, tmp_path_factory):
    return {family: tiny(family, tiny_folders["llama"], tmp_path_factory.mktemp(family)) for family in FAMILIES}


@pytest.fixture
def model(models):
    return models["gemma3_text"]


@pytest.fixture
def tasks(random_shop):
    return asked(random_shop)


@pytest.fixture
def found(tasks, random_shop):
    return some_candidates(len(tasks), random_shop.n_items)


class TestLikelihood(RankerContract):
    @pytest.fixture(params=FAMILIES)
    def ranker(self, models, request):
        return LLMRanker(models[request.param], max_history=3)


class TestVerbaliser(RankerContract):
    @pytest.fixture
    def ranker(self, model):
        return LLMRanker(model, LIKED)


def of_the_prompt(model, before: str, segment: str) -> float:
    """Log-likelihood of the segment by the model itself, from the whole prompt in one piece."""
    first, second = model.start(before), model.words(segment)
    with torch.no_grad():
        log_p = model.model(input_ids=torch.tensor([first + second])).logits[0].log_softmax(1)
    return float(log_p[len(first) - 1 : -1][range(len(second)), second].sum())


def test_the_score_is_what_the_history_adds_to_the_likelihood_of_the_title(model, tasks, found):
    scores, titles = LLMRanker(model, max_history=4).score(tasks, found), tasks.dataset.catalogue.column("title")
    empty, differs = NEXT_TITLE.prefix([]), 0
    for place in range(0, len(scores), 7):
        bought = tasks.dataset.item[tasks.support(found.task[place])]
        before, segment = (
            NEXT_TITLE.prefix([titles[item] for item in bought[-4:]]),
            NEXT_TITLE.segment(titles[found.item[place]]),
        )
        wanted = of_the_prompt(model, before, segment) - of_the_prompt(model, empty, segment)
        assert scores[place] == pytest.approx(wanted, abs=1e-4)
        differs += abs(wanted) > 0.05
    assert differs > 3


def test_without_a_history_likelihoods_add_nothing(model, tasks, found):
    nobody = replace(tasks, split=tasks.start)
    np.testing.assert_allclose(LLMRanker(model).score(nobody, found), 0, atol=1e-4)


def test_the_verbaliser_says_how_likely_yes_is(model, tasks, found):
    some, place = part_of(found, np.array([4]))
    scores, titles = LLMRanker(model, LIKED).score(tasks.take(np.array([4])), some), tasks.dataset.catalogue.column("title")
    before = LIKED.prefix([titles[item] for item in tasks.dataset.item[tasks.support(4)][-10:]])
    for score, item in zip(scores, some.item, strict=True):
        tokens = model.start(before) + model.words(LIKED.segment(titles[item]))
        with torch.no_grad():
            last = model.model(input_ids=torch.tensor([tokens])).logits[0, -1]
        red, blue, mug = (last[model.words(word)[0]] for word in ("red", "blue", "mug"))
        assert score == pytest.approx(float(torch.logaddexp(red, mug) - blue), abs=1e-4)
    assert np.ptp(scores) > 1e-2 and len(place) == len(scores)


def test_words_of_several_tokens_are_no_verbaliser(model, tasks, found):
    with pytest.raises(DataError, match="expected verbaliser words of one token each, got 'red mug' of 2"):
        LLMRanker(model, replace(LIKED, yes=("red mug",))).score(tasks, found)


def test_what_counts_nothing_is_not_in_the_prompt(model, tasks, found, random_shop):
    """A user whose dislikes are left out of the table has the scores of one whose dislikes count 0."""
    kind = random_shop.event_types.index("view")
    weights = replace(random_shop.event_weights, types=tuple(0.0 if code == kind else 1.0 for code in range(2)))
    disliked = replace(tasks, dataset=replace(random_shop, event_weights=weights))
    ranker = LLMRanker(model)
    assert disliked.counted.dataset.n_events < random_shop.n_events
    np.testing.assert_allclose(ranker.score(disliked, found), ranker.score(disliked.counted, found), **CLOSE)
    assert np.abs(ranker.score(disliked, found) - ranker.score(tasks, found)).max() > 1e-2


def test_a_history_is_read_once_and_a_title_without_history_too(model, tasks, found, monkeypatch):
    read = []
    plain = llm_ranker.read_prefix
    monkeypatch.setattr(llm_ranker, "read_prefix", lambda model, tokens: read.append(len(tokens)) or plain(model, tokens))
    some, _ = part_of(found, np.array([3, 4]))
    ranker = LLMRanker(model)
    first = ranker.score(tasks.take(np.array([3, 4])), some)
    assert len(read) == 3  # two histories and the empty one
    np.testing.assert_array_equal(ranker.score(tasks.take(np.array([3, 4])), some), first)
    assert len(read) == 3


def test_titles_are_put_on_one_line_and_cut():
    assert one_line(" red\n- mug ") == "red - mug"
    assert one_line("x" * 500) == "x" * 160
    assert NEXT_TITLE.prefix(["red mug", "blue\nrope"]) == "A shopper bought, in this order:\n- red mug\n- blue rope\n-"
    assert NEXT_TITLE.segment("lamp") == " lamp"
    assert YES_OR_NO.segment("lamp").endswith("lamp\nAnswer:")
