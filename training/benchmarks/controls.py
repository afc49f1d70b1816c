"""The counting controls of a benchmark, each with the constants that are best on validation, setting by setting.

A family is a control and all that may be varied in it. A fit is what costs time; it gives variants by label, which share its
arrays. Every variant is measured by the primary metric on the validation tasks of every setting (a fixed 3,000 of them where
there are more), and the best of each setting is what is compared with there. Nothing here reads a test task.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy import sparse

from benchmarks.carried import carried
from benchmarks.contemporaries import fit_contemporaries
from benchmarks.measure import measure
from benchmarks.protocol import Benchmark, Method, Setting
from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.models.counts import basket_of_events, same_catalogue, support_counts
from llmrec.models.item_item import Markov, fit_ease, fit_item_knn, fit_markov
from llmrec.models.popularity import Baseline, fit_most_frequent, fit_popularity
from llmrec.models.text_match import fit_bm25, fit_tfidf
from llmrec.progress import bar
from llmrec.ranking.cold_items import alike

SAMPLE, SAMPLE_SEED = 3000, 0
DAYS = (1, 3, 7, 14, 30, 90, 180, 365, 730)
DECAYS = (0.4, 0.6, 0.8, 1.0)
NEAR = (125, 250, 500, 1000)  # users who count as contemporaries
LARGE = 8_000  # items from which a fit takes tens of seconds, and the grid has fewer of them

ALIKE = (1, 5, 20, 50)  # warm items that a cold one is scored by

Texts = Callable[[Catalogue], np.ndarray]
"""A catalogue's texts as float32 (N, d), centred, of length 1."""
Variants = Mapping[str, Baseline]
Fit = Callable[[Dataset, np.ndarray], Variants]


@dataclass(frozen=True)
class Family:
    """A control and its grid. fits: each takes a dataset and its training users and gives variants by label.

    repeats_only: it makes sense only where items of the support are ranked too.
    """

    name: str
    fits: tuple[Fit, ...]
    repeats_only: bool = False


@dataclass(frozen=True)
class OwnRepeats:
    """A control that adds `weight` for each (decayed) time that the item itself is in the support: where people buy again.

    For EASE that is the weight's diagonal, which its fit leaves at zero.
    """

    control: Baseline
    weight: float
    decay: float

    @property
    def name(self) -> str:
        return self.control.name

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N)."""
        own = support_counts(tasks, self.decay)
        found = self.control.scores(tasks)
        row = np.repeat(np.arange(len(tasks)), np.diff(own.indptr))
        found[row, own.indices] += (self.weight * own.data).astype(np.float32)  # each pair is there once
        return found


@dataclass(frozen=True)
class FrozenText:
    """The frozen encoder: cosine of an item's text to the decayed mean of the support's last texts. vectors: float32 (N, d),
    centred, of length 1."""

    vectors: np.ndarray
    decay: float
    last: int | None
    name: str = "frozen text"

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N); all zero for an empty support."""
        same_catalogue(tasks, len(self.vectors))
        return (support_counts(tasks, self.decay, self.last).astype(np.float32) @ self.vectors) @ self.vectors.T


def tune(benchmark: Benchmark, family: Family, final: bool) -> Method | None:
    """The family with its best constants for each setting, fitted on `benchmark.train`, or with `final` on what
    `benchmark.final()` trains on. None where it makes no sense in any setting.

    `Method.seconds` is the time of the fits that were chosen, not of the search.
    """
    settings = [setting for setting in benchmark.settings if setting.rank == "all" or not family.repeats_only]
    if not settings:
        return None
    metric, samples = benchmark.primary[1], {setting.name: sample(setting) for setting in settings}
    best: dict[str, tuple[float, int, str, Baseline]] = {}
    seconds = np.zeros(len(family.fits))
    for index, fit in enumerate(bar(family.fits, desc=f"{family.name}: fits tried", unit="fit")):
        began = time.perf_counter()
        variants = fit(benchmark.train, benchmark.users)
        seconds[index] = time.perf_counter() - began
        for label, control in variants.items():
            for setting in settings:
                values = measure(control, setting, samples[setting.name], (metric,))[metric]
                if np.isnan(values).all():
                    raise DataError(f"{benchmark.name}, {setting.name}: no validation task has anything to find")
                mean = float(np.nanmean(values))
                if setting.name not in best or mean > best[setting.name][0]:
                    best[setting.name] = (mean, index, label, control)
    last = benchmark.final()
    if final and last is not benchmark:
        chosen = sorted({index for _, index, _, _ in best.values()})
        again: dict[int, Variants] = {}
        for index in chosen:
            began = time.perf_counter()
            again[index] = family.fits[index](last.train, last.users)
            seconds[index] = time.perf_counter() - began
        best = {name: (mean, index, label, again[index][label]) for name, (mean, index, label, _) in best.items()}
    spent = float(sum(seconds[index] for index in {index for _, index, _, _ in best.values()}))
    said = {name: f"{label or 'none'} (validation {mean:.4f})" for name, (mean, _, label, _) in best.items()}
    return Method(family.name, "control", {name: control for name, (*_, control) in best.items()}, spent, said)


def sample(setting: Setting) -> Tasks:
    """The validation tasks that constants are chosen on, or what stands for them (`Setting.learn`): all, or a
    fixed 3,000 of them in their order."""
    tasks = setting.validation if setting.learn is None else setting.learn
    if len(tasks) <= SAMPLE:
        return tasks
    return tasks.take(np.sort(np.random.default_rng(SAMPLE_SEED).choice(len(tasks), SAMPLE, replace=False)))


def families(benchmark: Benchmark, vectors: Texts | None = None) -> tuple[Family, ...]:
    """Every counting control and its grid for a benchmark.

    vectors: gives a catalogue's centred text vectors, for the frozen encoder; None leaves that out.
    """
    if benchmark.by_text_alone:
        return _for_items_known_by_text(benchmark, vectors)
    large = benchmark.train.n_items >= LARGE
    again = any(setting.rank == "all" for setting in benchmark.settings)
    own = (0.0, 0.3, 1.0, 3.0) if again else (0.0,)
    logs = (False, True) if again else (False,)
    found = [
        Family("popularity", (_popularity,)),
        Family("recent popularity", (_recent,)),
        Family("most frequent", (lambda data, users: {"": fit_most_frequent(data, users)},), repeats_only=True),
        Family("item kNN", tuple(_knn(*grid, own) for grid in product(_neighbours(large), (0.0, 10.0, 50.0, 200.0), logs))),
        Family("EASE", tuple(_ease(r, log, own) for r, log in product(_ridges(large), logs[-1:] if large else logs))),
        Family("windowed Markov", tuple(_markov(last, horizon, _shrinks(large)) for last, horizon in _windows(benchmark))),
        *_text_families(again, vectors),
    ]
    places = sorted({place for setting in benchmark.settings if (place := position(setting.validation)) is not None})
    if places:
        found.insert(2, Family("popularity by position", (_by_position(places),)))
        found.insert(3, Family("popularity by position, lately", (_lately(places),)))
    return tuple(found)


def _for_items_known_by_text(benchmark: Benchmark, vectors: Texts | None) -> tuple[Family, ...]:
    """What can tell items apart that nobody had: their texts, and with training users what such texts go with."""
    texts = _text_families(again=False, vectors=vectors)
    if not len(benchmark.users):
        return texts
    sources: dict[str, Callable[[Dataset], np.ndarray | sparse.csr_array]] = {"words": _words}
    if vectors is not None:
        sources["frozen text"] = lambda dataset: vectors(dataset.catalogue)
    knn = Family("attribute kNN", tuple(_carried(*one, itself) for one in sources.items() for itself in (False, True)))
    return (Family("popularity", (_popularity,)), *texts, knn)


def _text_families(again: bool, vectors: Texts | None) -> tuple[Family, ...]:
    found = (
        Family("TF-IDF", (_tfidf(again),)),
        Family("BM25", tuple(_bm25(k1, b, again) for k1, b in ((1.2, 0.75), (2.0, 0.75), (1.2, 0.3)))),
    )
    return found if vectors is None else (*found, Family("frozen text", (_frozen(vectors),)))


def position(tasks: Tasks) -> tuple[int, int] | None:
    """Ordinals of the query's baskets, first and one past the last, where all tasks begin at the same one; else None."""
    if not len(tasks):
        return None
    basket = tasks.dataset.basket
    first = basket[tasks.split]
    if (first != first[0]).any():
        return None
    whole = basket_of_events(tasks.dataset)
    return int(first[0]), int(first[0] + (whole[tasks.stop - 1] - whole[tasks.split]).max() + 1)


def reshrunk(markov: Markov, fitted: float, wanted: float) -> Markov:
    """What `fit_markov` would give with the shrinkage `wanted` instead of the one it was fitted with, above zero: counting is
    the dear part."""
    whole = fitted / markov.exit_rate
    cuts = np.round(whole - fitted)
    other = np.maximum(cuts + wanted, np.finfo(float).tiny)
    taken = np.where(cuts + wanted > 0, wanted / other, 1.0)
    return replace(markov, follows=(sparse.diags_array(whole / other) @ markov.follows).tocsr(), exit_rate=taken)


def _popularity(dataset: Dataset, users: np.ndarray) -> Variants:
    return {"": fit_popularity(dataset, users)}


def _recent(dataset: Dataset, users: np.ndarray) -> Variants:
    return {f"last {days} days": fit_popularity(dataset, users, recent=days * 86_400.0) for days in DAYS}


def _by_position(places: Sequence[tuple[int, int]]) -> Fit:
    def fit(dataset: Dataset, users: np.ndarray) -> Variants:
        return {
            f"baskets {first} to {stop - 1}": replace(
                fit_popularity(dataset, users, position=(first, stop)), name="popularity by position"
            )
            for first, stop in places
        }

    return fit


def _lately(places: Sequence[tuple[int, int]]) -> Fit:
    def fit(dataset: Dataset, users: np.ndarray) -> Variants:
        return {
            f"baskets {place[0]} to {place[1] - 1}, {near} users": fit_contemporaries(dataset, users, place, near)
            for place in places
            for near in NEAR
        }

    return fit


def _knn(neighbours: int, shrink: float, log: bool, own: Sequence[float]) -> Fit:
    def fit(dataset: Dataset, users: np.ndarray) -> Variants:
        whole = fit_item_knn(dataset, users, neighbours, shrink, log)
        label = f"neighbours {neighbours}, shrink {shrink:g}, log {log}"
        return _repeated(label, {decay: replace(whole, decay=decay) for decay in DECAYS}, own)

    return fit


def _ease(ridge: float, log: bool, own: Sequence[float]) -> Fit:
    def fit(dataset: Dataset, users: np.ndarray) -> Variants:
        whole = fit_ease(dataset, users, ridge, log)
        return _repeated(f"ridge {ridge:g}, log {log}", {decay: replace(whole, decay=decay) for decay in DECAYS}, own)

    return fit


def _repeated(label: str, by_decay: Mapping[float, Baseline], own: Sequence[float]) -> Variants:
    return {
        f"{label}, decay {decay:g}" + (f", own {weight:g}" if weight else ""): OwnRepeats(control, weight, decay)
        if weight
        else control
        for decay, control in by_decay.items()
        for weight in own
    }


def _markov(last: int, horizon: int, shrinks: Sequence[float]) -> Fit:
    def fit(dataset: Dataset, users: np.ndarray) -> Variants:
        whole = fit_markov(dataset, users, last, horizon, shrink=1.0)
        return {
            f"last {last}, horizon {horizon}, shrink {shrink:g}, decay {decay:g}": replace(shrunk, decay=decay)
            for shrink in shrinks
            for shrunk in [reshrunk(whole, 1.0, shrink)]
            for decay in (DECAYS if last > 1 else (1.0,))
        }

    return fit


def _tfidf(again: bool) -> Fit:
    def fit(dataset: Dataset, users: np.ndarray) -> Variants:
        found: dict[str, Baseline] = {}
        texts = texts_of(dataset.catalogue)
        for log, itself in product((False, True), (False, True) if again else (False,)):
            whole = fit_tfidf(dataset, texts, log, include_self=itself)
            label = f"log {log}" + (", own text" if itself else "")
            found |= {f"{label}, decay {decay:g}": replace(whole, decay=decay) for decay in DECAYS}
        return found

    return fit


def _bm25(k1: float, b: float, again: bool) -> Fit:
    def fit(dataset: Dataset, users: np.ndarray) -> Variants:
        found: dict[str, Baseline] = {}
        texts = texts_of(dataset.catalogue)
        for itself in (False, True) if again else (False,):
            whole = fit_bm25(dataset, texts, k1, b, include_self=itself)
            label = f"k1 {k1:g}, b {b:g}" + (", own text" if itself else "")
            found |= {f"{label}, decay {decay:g}": replace(whole, decay=decay) for decay in DECAYS}
        return found

    return fit


def _frozen(vectors: Texts) -> Fit:
    def fit(dataset: Dataset, users: np.ndarray) -> Variants:
        made = vectors(dataset.catalogue)
        return {
            f"last {last}, decay {decay:g}": FrozenText(made, decay, last) for last, decay in product((10, 50), (*DECAYS, 0.9))
        }

    return fit


def _carried(kind: str, source: Callable[[Dataset], np.ndarray | sparse.csr_array], itself: bool) -> Fit:
    """itself: an item of the history counts as its own neighbour, so that what is worded like it gets its likeness too."""

    def fit(dataset: Dataset, users: np.ndarray) -> Variants:
        whole = fit_item_knn(dataset, users, neighbours=200, shrink=10.0, include_self=itself)
        warm = np.unique(dataset.take(users).item)
        found = alike(dataset, users, source(dataset), min(max(ALIKE), len(warm)))
        return {
            f"{kind}, nearest {k}, power {power:g}, decay {decay:g}" + (", itself" if itself else ""): carried(
                replace(whole, decay=decay), found, k, power
            )
            for k, power, decay in product(ALIKE, (1.0, 3.0), (0.6, 0.8, 1.0))
        }

    return fit


def _words(dataset: Dataset) -> sparse.csr_array:
    """TF-IDF of the items' texts, rows of length 1."""
    return fit_tfidf(dataset, texts_of(dataset.catalogue), log=True).document


def _ridges(large: bool) -> tuple[float, ...]:
    return (30.0, 100.0, 300.0) if large else (30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0)


def _neighbours(large: bool) -> tuple[int, ...]:
    return (200, 1000) if large else (50, 200, 1000, 4000)


def _shrinks(large: bool) -> tuple[float, ...]:
    return (3.0, 30.0, 100.0) if large else (0.0, 3.0, 10.0, 30.0, 100.0, 300.0)


def _windows(benchmark: Benchmark) -> tuple[tuple[int, int], ...]:
    """(last, horizon) of the Markov control: about the number of baskets that the query has, and one."""
    tasks = benchmark.setting(benchmark.primary[0]).validation
    whole = basket_of_events(tasks.dataset)
    asked = int((whole[tasks.stop - 1] - whole[tasks.split]).max(initial=0)) + 1
    horizons = sorted({1, 3, asked if asked > 1 else 10})
    whole_trips = benchmark.train.n_events > 2 * (len(benchmark.train.basket_start) - 1)
    return tuple(product((1, 3) if whole_trips else (1, 2, 5, 10, 20), horizons))


def texts_of(catalogue: Catalogue) -> list[str]:
    """Title, category and text of every item, as far as there are."""
    columns = [catalogue.column(name) for name in ("title", "category", "text") if name in catalogue.table.column_names]
    return [" ".join(value for value in values if value) for values in zip(*columns, strict=True)]
