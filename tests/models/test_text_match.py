"""TF-IDF, BM25 and attribute kNN against plain Python, and as controls: support only, batch by batch, on known worlds."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, first_baskets
from llmrec.errors import DataError, SchemaError
from llmrec.models import text_match
from llmrec.models.text_match import fit_attribute_knn, fit_bm25, fit_tfidf, words

TEXTS = ["Red mug, red", "red LAMP", "blue lamp lamp large", "blue mug", "tent", "", "Large red tent"]
N = len(TEXTS)


@pytest.fixture
def dataset(world) -> Dataset:
    """Baskets of 1 to 3 items, so that the decay has something to weigh; the last users' supports differ in length."""
    rng = np.random.default_rng(0)
    made = world([[rng.choice(N, rng.integers(1, 4), replace=False).tolist() for _ in range(4)] for _ in range(12)], N)
    columns = {"title": TEXTS, "kind": ["a", "a", "b", "b", "c", None, "c"], "tags": ["x|y", "x", "y", "", None, "z", "x | y"]}
    return replace(made, catalogue=replace(made.catalogue, table=pa.table(columns | {"size": [1, 2, 1, 2, 1, None, 2]})))


@pytest.fixture
def tasks(dataset) -> Tasks:
    return first_baskets(dataset, np.arange(12), known=3, horizon=1)


FITS = {
    "tfidf": lambda dataset, **more: fit_tfidf(dataset, TEXTS, **more),
    "tfidf log": lambda dataset, **more: fit_tfidf(dataset, TEXTS, log=True, **more),
    "bm25": lambda dataset, **more: fit_bm25(dataset, TEXTS, **more),
    "attributes": lambda dataset, **more: fit_attribute_knn(dataset, ["kind", "tags", "size"], "|", **more),
}


@pytest.fixture(params=FITS)
def fit(request):
    return FITS[request.param]


# ---------------------------------------------------------------------------------------- the definitions, without numpy


def cosine(a: dict[str, float], b: dict[str, float]) -> float:
    norm = math.sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))
    return sum(weight * b.get(word, 0.0) for word, weight in a.items()) / norm if norm else 0.0


def tfidf(log: bool) -> np.ndarray:
    bags = [words(text) for text in TEXTS]
    held = lambda word: sum(word in bag for bag in bags)  # noqa: E731
    count = lambda bag, word: math.log(1 + bag.count(word)) if log else bag.count(word)  # noqa: E731
    weights = [{word: count(bag, word) * math.log(N / held(word)) for word in bag} for bag in bags]
    return np.array([[cosine(a, b) for b in weights] for a in weights])


def bm25(k1: float, b: float) -> np.ndarray:
    bags = [words(text) for text in TEXTS]
    mean = sum(map(len, bags)) / N
    result = np.zeros((N, N))
    for i, asked in enumerate(bags):
        for j, bag in enumerate(bags):
            for word in set(asked) & set(bag):
                n, f = sum(word in other for other in bags), bag.count(word)
                rarity = math.log(1 + (N - n + 0.5) / (n + 0.5))
                result[i, j] += rarity * f * (k1 + 1) / (f + k1 * (1 - b + b * len(bag) / mean))
    return result


def attributes() -> np.ndarray:
    kind, size = ["a", "a", "b", "b", "c", "", "c"], ["1", "2", "1", "2", "1", "", "2"]
    tags = ["xy", "x", "y", "", "", "z", "xy"]
    named = zip(kind, size, tags, strict=True)
    sets = [{*(f"kind {x}" for x in k), *(f"size {x}" for x in s), *(f"tag {x}" for x in t)} for k, s, t in named]
    return np.array([[len(a & b) / math.sqrt(len(a) * len(b)) for b in sets] for a in sets])


EXPECTED = {"tfidf": tfidf(False), "tfidf log": tfidf(True), "bm25": bm25(1.2, 0.75), "attributes": attributes()}


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("more", [{}, {"include_self": True}, {"decay": 0.5}, {"decay": 0.5, "last": 2, "include_self": True}])
def test_a_score_is_the_sum_over_the_support(dataset, tasks, name, more):
    similar = EXPECTED[name].copy()
    if not more.get("include_self"):
        np.fill_diagonal(similar, 0)
    found = FITS[name](dataset, **more).scores(tasks)
    assert found.dtype == np.float32
    for t in range(len(tasks)):
        expected = np.zeros(N)
        for event in range(tasks.start[t], tasks.split[t]):
            back = dataset.basket[tasks.split[t] - 1] - dataset.basket[event]
            if back < more.get("last", 99):
                expected += more.get("decay", 1.0) ** back * similar[dataset.item[event]]
        np.testing.assert_allclose(found[t], expected, rtol=1e-5, atol=1e-7)


def test_bm25_reads_its_parameters(dataset, tasks):
    for k1, b in ((0.0, 0.0), (2.0, 0.0), (2.0, 1.0)):
        control = fit_bm25(dataset, TEXTS, k1, b, include_self=True)
        np.testing.assert_allclose((control.query @ control.document.T).toarray(), bm25(k1, b), atol=1e-12)


def test_the_only_item_of_a_support_is_not_above_those_that_match_nothing(world):
    """What rounding leaves of x - x must not become a rank."""
    rng = np.random.default_rng(0)
    letters = [" ".join(rng.choice(list("abcdefghijklmnop"), 12)) for _ in range(40)]
    dataset = world([[[item], [0]] for item in range(40)], 40)
    tasks = first_baskets(dataset, np.arange(40), known=1, horizon=1)
    for control in (fit_tfidf(dataset, letters, decay=0.3), fit_bm25(dataset, letters, decay=0.3)):
        assert (control.scores(tasks)[np.arange(40), np.arange(40)] == 0).all()


# ---------------------------------------------------------------------------------------- the contract of a control


def test_a_new_item_is_found_by_its_words(world):
    dataset = world([[[0], [1]]], 3)
    tasks = first_baskets(dataset, np.arange(1), known=1, horizon=1)
    for fit in (fit_tfidf, fit_bm25):
        scores = fit(dataset, ["green tea", "black coffee", "tea, GREEN!"]).scores(tasks)[0]
        assert scores[2] > scores[1] == scores[0] == 0


def test_the_query_is_not_read(dataset, tasks, fit):
    item = dataset.item.copy()
    for row in range(len(tasks)):
        item[tasks.query(row)] = N - 1 - item[tasks.query(row)]
    other = Tasks(replace(dataset, item=item), tasks.start, tasks.split, tasks.stop)
    control = fit(dataset)
    np.testing.assert_array_equal(control.scores(other), control.scores(tasks))


def test_no_history_is_needed_to_fit(dataset, tasks, fit):
    empty = dataset.take(np.array([], np.int64))
    np.testing.assert_array_equal(fit(empty).scores(tasks), fit(dataset).scores(tasks))


def test_a_batch_is_its_tasks_one_by_one(dataset, tasks, fit, monkeypatch):
    control = fit(dataset, decay=0.7)
    whole = control.scores(tasks)
    alone = [control.scores(tasks.take(np.array([row]))) for row in range(len(tasks))]
    np.testing.assert_array_equal(np.concatenate(alone), whole)
    monkeypatch.setattr(text_match, "_CELLS", 5 * N)
    np.testing.assert_array_equal(control.scores(tasks), whole)


def test_empty_supports_score_nothing_and_no_tasks_are_no_rows(dataset, tasks, fit):
    control = fit(dataset)
    assert (control.scores(Tasks(dataset, tasks.start, tasks.start, tasks.stop)) == 0).all()
    assert control.scores(tasks.take(np.array([], np.int64))).shape == (0, N)


def test_another_catalogue_is_refused_and_the_value_is_frozen(world, dataset, fit):
    other = first_baskets(world([[[0], [1]]], N + 1), np.arange(1), known=1, horizon=1)
    with pytest.raises(DataError, match=f"expected a catalogue of {N} items, got {N + 1}"):
        fit(dataset).scores(other)
    with pytest.raises(FrozenInstanceError):
        fit(dataset).decay = 0.5


def test_texts_without_a_word_score_nothing(dataset, tasks):
    for fit in (fit_tfidf, fit_bm25):
        assert (fit(dataset, ["", "!", "..."] + [""] * (N - 3)).scores(tasks) == 0).all()


def test_words():
    assert words("Café-au-lait, 2 x 250ML!") == ["café", "au", "lait", "2", "x", "250ml"]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda d: fit_tfidf(d, TEXTS[:3]), DataError, f"texts: expected {N} texts .*got 3"),
        (lambda d: fit_tfidf(d, "x" * N), DataError, "got one text"),
        (lambda d: fit_bm25(d, [*TEXTS[:-1], None]), DataError, r"texts\[6\]: expected text, got None"),
        (lambda d: fit_bm25(d, TEXTS, k1=-1), DataError, "k1"),
        (lambda d: fit_bm25(d, TEXTS, b=1.5), DataError, "b=1.5"),
        (lambda d: fit_tfidf(d, TEXTS, decay=0), DataError, "decay"),
        (lambda d: fit_bm25(d, TEXTS, last=0), DataError, "last"),
        (lambda d: fit_attribute_knn(d, []), DataError, "columns"),
        (lambda d: fit_attribute_knn(d, "kind"), DataError, "columns"),
        (lambda d: fit_attribute_knn(d, ["brand"]), SchemaError, "no column 'brand'; it has title, kind"),
    ],
)
def test_what_cannot_be_fitted_is_refused(dataset, call, error, says):
    with pytest.raises(error, match=says):
        call(dataset)
