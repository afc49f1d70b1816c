"""The fitted rankers keep the contract, and the contract tells those that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ranker_contract import (
    RankerContract,
    check_batch,
    check_numbers,
    check_order,
    check_other_candidates,
    check_other_supports,
)
from scipy import sparse

from llmrec import LoraSettings, Settings, TrainSettings
from llmrec.encoder.slots import slots
from llmrec.encoder.users import PromptReading
from llmrec.errors import DataError
from llmrec.ranking.features import FEATURES, features
from llmrec.ranking.first_buyers import INPUTS, ColdWeights, nobody_yet, with_events
from llmrec.ranking.ranker import RankerSettings, fit_ranker
from llmrec.ranking.rankers import (
    BlendRanker,
    CountsRanker,
    TransformerRanker,
    already_read,
    blend_inputs,
    checked_scores,
)
from llmrec.ranking.statistics import fit_statistics, read_texts
from llmrec.ranking.two_stage import ranking
from llmrec.recommender.pipeline import frozen_items, reader, start_adapter

SETTINGS = Settings(
    train=TrainSettings(known=(1, 4), horizon=2, max_slots=12),
    lora=LoraSettings(r=2, lora_alpha=4.0, inner_steps=2, inner_lr=1.0, b_std=0.5),
)
QUICK = RankerSettings(hidden=4, max_steps=20)


@pytest.fixture
def counts_ranker(random_shop, tasks, found) -> CountsRanker:
    rng = np.random.default_rng(0)
    carry = sparse.csr_array(rng.random((10, 10)).astype(np.float32))
    counts = replace(fit_statistics(random_shop, np.arange(20), 2, read_texts(random_shop), rng), text_knn=carry)
    return CountsRanker(fit_ranker(ranking(tasks, found, features(tasks, found, counts)), QUICK, 0), counts)


@pytest.fixture
def transformer_ranker(slot_model) -> TransformerRanker:
    """With two inner steps for each task."""
    init = start_adapter(slot_model, SETTINGS, 0, SETTINGS.lora.b_std)
    return TransformerRanker(reader(slot_model, frozen_items(slot_model), SETTINGS, init))


@pytest.fixture
def blend_ranker(counts_ranker, transformer_ranker, tasks, found) -> BlendRanker:
    names = "text_knn", "n_baskets", "recency"
    inputs = blend_inputs(counts_ranker, transformer_ranker, names, tasks, found)
    return BlendRanker(fit_ranker(ranking(tasks, found, inputs), QUICK, 0), counts_ranker, transformer_ranker, names)


class TestCounts(RankerContract):
    @pytest.fixture
    def ranker(self, counts_ranker):
        return counts_ranker


class TestTransformer(RankerContract):
    @pytest.fixture
    def ranker(self, slot_model):
        return TransformerRanker(reader(slot_model, frozen_items(slot_model), SETTINGS, None))


class TestTransformerWithAdapters(RankerContract):
    @pytest.fixture
    def ranker(self, transformer_ranker):
        return transformer_ranker


class TestBlend(RankerContract):
    @pytest.fixture
    def ranker(self, blend_ranker):
        return blend_ranker


class TestBlendWithFirstBuyers(RankerContract):
    """Items 6 to 9 are cold, and all events were observed."""

    @pytest.fixture
    def ranker(self, blend_ranker, random_shop):
        nobody = nobody_yet(np.arange(10) > 5, float(random_shop.time.min()))
        nothing = random_shop.take(np.zeros(0, np.int64))
        buyers = with_events(nobody, nothing, random_shop, random_shop)
        counts = replace(blend_ranker.counts, counts=replace(blend_ranker.counts.counts, buyers=buyers))
        return replace(blend_ranker, counts=counts, cold=ColdWeights(0.5, np.arange(1.0, 1 + len(INPUTS))))

    def test_first_buyers_move_the_scores(self, given, blend_ranker):
        ranker, tasks, found = given
        moved = ranker.score(tasks, found) != blend_ranker.score(tasks, found)
        assert moved[found.item > 5].all() and not moved[found.item < 6].any()


class Wrong:
    """Scores by the item, and by something that the contract forbids."""

    def __init__(self, what: str):
        self.what = what

    def score(self, tasks, candidates):
        scores = candidates.item.astype(np.float32)
        if self.what == "type":
            return scores.astype(np.float64)
        if self.what == "finite":
            return np.where(candidates.item == 3, np.nan, scores)
        if self.what == "order":
            return scores + np.arange(len(scores), dtype=np.float32) - candidates.start[candidates.task]
        if self.what == "rank":  # within the task
            return np.array([(candidates.of(t) < i).sum() for t, i in zip(candidates.task, candidates.item, strict=True)], "f4")
        if self.what == "batch":
            return scores - np.float32(scores.mean())
        if self.what == "neighbour":
            return scores + np.roll(tasks.split - tasks.start, 1)[candidates.task].astype(np.float32)
        return scores + (tasks.stop - tasks.split)[candidates.task].astype(np.float32)


@pytest.mark.parametrize(
    ("what", "law"),
    [
        ("type", check_numbers),
        ("finite", check_numbers),
        ("order", check_order),
        ("rank", check_other_candidates),
        ("batch", check_batch),
        ("neighbour", check_other_supports),
        ("query", check_other_supports),
    ],
)
def test_the_contract_tells_a_ranker_that_breaks_it(what, law, tasks, found):
    with pytest.raises(AssertionError):
        law(Wrong(what), tasks, found)


def test_the_blend_sees_what_both_rankers_score(counts_ranker, transformer_ranker, tasks, found):
    inputs = blend_inputs(counts_ranker, transformer_ranker, ("popularity",), tasks, found)
    np.testing.assert_array_equal(inputs[:, 0], counts_ranker.score(tasks, found))
    np.testing.assert_array_equal(inputs[:, 1], transformer_ranker.score(tasks, found))
    seen = features(tasks, found, counts_ranker.counts)
    np.testing.assert_array_equal(inputs[:, 2], seen[:, FEATURES.index("popularity")])


def test_scores_of_pairs_are_those_of_the_whole_table_whatever_is_gathered_at_a_time(transformer_ranker, tasks, monkeypatch):
    reading, rng = transformer_ranker.read(tasks), np.random.default_rng(0)
    assert isinstance(reading, PromptReading)
    task, item = rng.integers(0, len(tasks), 300), rng.integers(0, 10, 300).astype(np.int32)
    found = reading.scores(task, item)
    np.testing.assert_allclose(found, reading.table()[task, item], rtol=1e-5, atol=1e-5)
    for pairs in (1, 100, 1000):  # of 32 numbers each: one, three and thirty-one at a time
        monkeypatch.setattr("llmrec.encoder.users.PAIRS", pairs)
        np.testing.assert_array_equal(reading.scores(task, item), found)


def test_equal_items_score_alike_to_the_last_bit(slot_model, tasks):
    """Two items with the same text and no purchases must tie, whatever their place in the catalogue."""
    items = frozen_items(slot_model)
    vectors, bias = items.vectors.clone(), items.bias.clone()
    vectors[7], bias[7] = vectors[9], bias[9]
    reading = reader(slot_model, replace(items, vectors=vectors, bias=bias), SETTINGS, None)(tasks)
    prompt = slots(tasks, SETTINGS.train.max_slots)
    task = np.array([t for t in range(len(tasks)) if not np.isin(prompt.item[t][prompt.filled[t]], (7, 9)).any()])
    assert len(task)
    np.testing.assert_array_equal(reading.scores(task, np.full(len(task), 7)), reading.scores(task, np.full(len(task), 9)))


def test_what_was_read_is_given_for_those_tasks_alone(transformer_ranker, tasks):
    reading = transformer_ranker.read(tasks)
    read = already_read(tasks, reading)
    assert read(tasks) is reading
    with pytest.raises(DataError, match="expected the 9 that were read, got 2 other ones"):
        read(tasks.take(np.arange(2)))


class Gives:
    """Gives what it was made with."""

    def __init__(self, scores):
        self.scores = scores

    def score(self, tasks, candidates):
        return self.scores


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.zeros(3), r"ranker Gives: expected float32 \(\d+,\), a score for each candidate, got float64 \(3,\)"),
        (np.zeros((1, 1)), r"got float64 \(1, 1\)"),
        (None, r"got object \(\)"),
        ("nan", "ranker Gives: expected finite scores, got nan for 1 of"),
        ("large", "ranker Gives: expected finite scores, got inf for 1 of"),
        ("words", "a score for each candidate, got <U1"),
        ("bool", "a score for each candidate, got bool"),
    ],
)
def test_scores_that_cannot_be_ranked_by_are_refused_by_the_name_of_the_ranker(scores, said, tasks, found):
    if isinstance(scores, str):
        n = len(found.item)
        some = np.zeros(n)
        some[4] = {"nan": np.nan, "large": 1e300}.get(scores, 0)
        scores = {"words": np.full(n, "a"), "bool": np.ones(n, bool)}.get(scores, some)
    with pytest.raises(DataError, match=said):
        checked_scores(Gives(scores), tasks, found)


def test_numbers_of_other_types_are_taken_and_nobody_is_asked_about_nothing(tasks, found):
    scores = checked_scores(Gives(list(range(len(found.item)))), tasks, found)
    assert scores.dtype == np.float32 and scores.tolist() == list(range(len(found.item)))
    none = replace(found, start=np.zeros_like(found.start), item=found.item[:0], source=found.source[:0])
    assert checked_scores(Gives(None), tasks, none).shape == (0,)
