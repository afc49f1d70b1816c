"""Time the answer to one new user, 5 events in and 10 items out, over real titles, as training/results/answers.json.

python training/speed/answers.py --data ../shared/data --items 12000 --items 1000000 --output training/results/answers.json

Nothing is fitted: item vectors are those of the five Amazon sets' titles, repeated with noise up to the size of the catalogue;
counts are taken over random events; transformer, adapters and rankers are random, of the default sizes. What an answer costs
depends on sizes alone, but for the index: there the user vectors of a random transformer have to be searched for.
"""

from __future__ import annotations

import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pyarrow as pa

from llmrec import Recommender, Settings
from llmrec.data.build import build, read_catalogue
from llmrec.data.dataset import Dataset
from llmrec.data.known import KnownUsers
from llmrec.data.tasks import full_histories
from llmrec.encoder.backbone import load_text, small_body
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError
from llmrec.index.faiss_index import Index, search, threads
from llmrec.index.tuning import DEPTH
from llmrec.meta.gate import Bin, Choice, Gate
from llmrec.meta.user_core import start_core
from llmrec.progress import Stages
from llmrec.ranking.features import FEATURES
from llmrec.ranking.ranker import Ranker, RankerSettings, Ranking, fit_ranker
from llmrec.ranking.statistics import fit_statistics, read_texts
from llmrec.ranking.two_stage import Rankers, search_queries
from llmrec.recommender.auto import facts, resolve
from llmrec.recommender.fit import SMALL_BLOCKS, SMALL_HEADS, SMALL_WIDTH
from llmrec.recommender.pipeline import (
    frozen_items,
    new_model,
    new_retrieval,
    reader,
    start_adapter,
    text_vectors,
    tuning_users,
)
from llmrec.recommender.state import State
from llmrec.store import cache_folder, whole_file

TITLES = "amazon2014-*.items.parquet"
SOURCE = "https://github.com/Tiny-Snow/SeqRecBenchmark-Datasets"
USERS, EVENTS = 5000, 10  # whose random events are counted, and how many each has
ASKED, KNOWN, K = 200, 5, 10  # requests that are timed; events in, and items out
WARM_UP = 20
NOISE = 0.3  # length of the noise on a repeated vector, which has length 1
TEMPERATURE = 1.0  # at 0.1, where training begins, the popularity of an item would drown what the user vector says
CHOICES = {"0 steps": Choice(), "3 steps": Choice(3), "2 steps of the core": Choice(2, adapter="core")}


@dataclass(frozen=True)
class Titles:
    """Item texts and their vectors. title: n texts. vectors: float32 (n, d)."""

    title: list[str]
    vectors: np.ndarray

    def repeated(self, count: int, rng: np.random.Generator) -> Titles:
        """`count` of them: from the second round on with noise on the vectors."""
        rounds = [np.arange(first, min(first + len(self.title), count)) for first in range(0, count, len(self.title))]
        vectors = np.empty((count, self.vectors.shape[1]), np.float32)
        for number, place in enumerate(rounds):
            part = self.vectors[: len(place)]
            noise = rng.standard_normal(part.shape, np.float32) * np.float32(NOISE / part.shape[1] ** 0.5) if number else 0
            vectors[place] = (part + noise) / np.maximum(np.linalg.norm(part + noise, axis=1, keepdims=True), 1e-6)
        return Titles((self.title * len(rounds))[:count], vectors)


def read_titles(folder: Path, count: int) -> Titles:
    """Titles of the Amazon sets of a folder and their vectors by the packaged transformer: those of as many sets as it takes to
    have `count`, or of all. Raises DataError where there is no such file."""
    files = sorted(folder.glob(TITLES))
    if not files:
        raise DataError(f"{folder}: no file {TITLES}; expected Parquet tables with item_id and title. The original: {SOURCE}")
    model = load_text(Weights.packaged())
    title: list[str] = []
    vectors: list[np.ndarray] = []
    for file in files:
        if len(title) < count:
            catalogue, _ = read_catalogue(file)
            title += catalogue.column("title")
            vectors.append(text_vectors(model, catalogue, Settings(), cache_folder())[0])
    return Titles(title, np.concatenate(vectors))


def random_events(users: int, each: int, items: int, rng: np.random.Generator) -> pa.Table:
    """Events of items that are taken ever less often: the tenth a fifth and the hundredth a tenth as often as the first."""
    chance = 1 / (np.arange(items) + 10.0)
    item = rng.choice(rng.permutation(items), users * each, p=chance / chance.sum())
    moment = np.datetime64("2024-01-01T00:00:00", "s") + rng.integers(0, 63_000_000, users * each)
    return pa.table({"user_id": np.repeat(np.arange(users), each), "item_id": item, "timestamp": moment})


def random_state(titles: Titles, settings: Settings, rng: np.random.Generator, stages: Stages) -> State:
    """A state over these titles, of the default sizes, in which nothing is learned."""
    count = len(titles.title)
    with stages("tables"):
        items = pa.table({"item_id": np.arange(count), "title": titles.title})
        dataset, _ = build(random_events(USERS, EVENTS, count, rng), items)
        users = np.arange(dataset.n_users)
        settings = resolve(settings, facts(dataset, USERS // 10))
    with stages("model"):
        body = small_body(SMALL_WIDTH, SMALL_BLOCKS, SMALL_HEADS, seed=0)
        text_model = load_text(Weights.packaged())
        model = new_model(body, text_model, titles.vectors, dataset, users, settings, seed=0)
        model.requires_grad_(False)
        model.temperature.fill_(TEMPERATURE)
    with stages("count"):
        counts = fit_statistics(dataset, users, settings.train.horizon, read_texts(dataset), rng)
    with stages("index") as say:
        item_side = frozen_items(model)
        asked = tuning_users(dataset, users, reader(model, item_side, settings, None), settings, rng)
        retrieval = new_retrieval(model, item_side, counts, settings, users=asked)
        say("" if retrieval.index.tuned is None else str(retrieval.index.tuned))
    counted = random_ranker(len(FEATURES), settings.counts_ranker, rng)
    rankers = Rankers(
        counted, random_ranker(2 + len(settings.blend_features), settings.blend, rng), tuple(settings.blend_features)
    )
    init = start_adapter(model, settings, 0, settings.lora.b_std)
    core, known = start_core(item_side, settings.core.size, settings.core.spread), KnownUsers((dataset,))
    return State(settings, model, item_side, init, retrieval, rankers, rankers, dataset.catalogue, known, core=core)


def random_ranker(width: int, settings: RankerSettings, rng: np.random.Generator) -> Ranker:
    """A ranker over `width` numbers that was fitted to nothing."""
    inputs = rng.standard_normal((8, 16, width)).astype(np.float32)
    ranking = Ranking(inputs, np.ones((8, 16), bool), np.zeros(8, np.int64), np.arange(8))
    return fit_ranker(ranking, replace(settings, max_steps=5), 0)


def requests(count: int, items: int, rng: np.random.Generator) -> list[pd.DataFrame]:
    """Tables of KNOWN events, each of a user of its own who is not known."""
    every = random_events(count, KNOWN, items, rng).to_pandas()
    every["user_id"] += 10**9
    return [part.reset_index(drop=True) for _, part in every.groupby("user_id")]


def milliseconds(call: Callable[[Any], object], arguments: list[Any], warm: list[Any] | None = None) -> dict[str, float]:
    """p50, p90 and p99 of single calls, after a warm-up with the arguments `warm` (the first of the others where None); and
    of the processor time alone the p50, which other processes on the machine lengthen less."""
    for argument in arguments[:WARM_UP] if warm is None else warm:
        call(argument)
    took, computed = np.empty(len(arguments)), np.empty(len(arguments))
    for place, argument in enumerate(arguments):
        began, before = time.perf_counter(), time.process_time()
        call(argument)
        took[place], computed[place] = time.perf_counter() - began, time.process_time() - before
    found = {f"p{share}": round(1e3 * float(np.percentile(took, share)), 2) for share in (50, 90, 99)}
    return found | {"processor, p50": round(1e3 * float(np.median(computed)), 2)}


def peak_megabytes(call: Callable[[Any], object], arguments: list[Any]) -> dict[str, float | None]:
    """The most memory that calls take above what is held between them: what Python and NumPy allocate, as `tracemalloc` sees
    it, and the resident set, tensors of torch and arrays of faiss included, which only Linux tells. Each is told by half of the
    calls."""
    half = len(arguments) // 2
    tracemalloc.start()
    call(arguments[0])
    traced = 0
    for argument in arguments[1:half]:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call(argument)
        traced = max(traced, tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    resident = _reset_resident()
    for argument in arguments[half:]:
        call(argument)
    highest = _resident("VmHWM")
    more = None if resident is None or highest is None else round((highest - resident) / 1e6, 1)
    return {"tracemalloc": round(traced / 1e6, 1), "resident": more}


def _reset_resident() -> float | None:
    """Bytes resident now, from which on the highest value is told; None where this system does not say."""
    if sys.platform != "linux":
        return None
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _resident("VmRSS")


def _resident(name: str) -> float | None:
    if sys.platform != "linux":
        return None
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)


def gated(state: State, choice: Choice) -> Recommender:
    """A recommender whose gate makes the same choice for every support."""
    gate = Gate((Choice(), choice), (Bin(1, 1, 1, 0.0, 0.0, 0.0, 1),))
    recommender = Recommender(settings=state.settings)
    recommender._state = replace(state, gate=gate)  # what `fit` would leave there
    return recommender


def searched(state: State, asked: Dataset) -> dict[str, object]:
    """How the index alone answers the user vectors of `asked`."""
    index, k = state.retrieval.index, min(state.settings.sources.text_k, len(state.catalogue))
    tasks = full_histories(asked, np.arange(asked.n_users))
    vectors = search_queries(reader(state.model, state.items, state.settings, state.init, 0)(tasks).vectors)
    found: dict[str, object] = {"milliseconds": milliseconds(lambda one: search(index, one, k), list(vectors[:, None]))}
    if index.tuned is not None:
        found |= {"lists": index.tuned.lists, "looked into": index.tuned.probes, "recall, tuned": index.tuned.recall}
        found[f"recall@{DEPTH}, user vectors"] = recall(index, vectors)
    return found


def recall(index: Index, queries: np.ndarray) -> float:
    """The share of the best DEPTH of each query that the index finds, counted by score."""
    hits = []
    for query in queries:
        exact = np.sort(index.vectors @ query)[-DEPTH:]
        scores, _ = search(index, query[None], DEPTH)
        hits.append(np.mean(scores[0] >= exact[0] - 1e-4 * abs(exact[0])))
    return round(float(np.mean(hits)), 4)


def measure(titles: Titles, count: int, settings: Settings, asked: int, seed: int, stages: Stages) -> dict[str, object]:
    """Milliseconds and memory of an answer in a catalogue of `count` items."""
    rng = np.random.default_rng(seed)
    began = time.perf_counter()
    state = random_state(titles.repeated(count, rng), settings, rng, stages)
    built = time.perf_counter() - began
    every = requests(asked + 3 * WARM_UP, count, rng)
    first, second, tables = every[:WARM_UP], every[WARM_UP : 3 * WARM_UP], every[3 * WARM_UP :]
    found: dict[str, object] = {"items": count, "build seconds": round(built, 1)}
    for name, choice in CHOICES.items():
        with stages(f"{asked} answers after {name}") as say:
            recommender = gated(state, choice)

            def call(table: pd.DataFrame, recommender: Recommender = recommender) -> object:
                return recommender.recommend(histories=table, k=K)

            # Each history is asked for once: the second time its reading is remembered.
            took, peak = milliseconds(call, tables, first), peak_megabytes(call, second)
            again = milliseconds(call, tables[-min(asked, 100) :], [])
            found[name] = {"milliseconds": took, "asked again, milliseconds": again, "peak megabytes": peak}
            say(f"p50 {took['p50']} ms, p99 {took['p99']} ms")
    with stages("search alone"):
        histories, _ = build(pd.concat(tables), state.catalogue.table)
        found["search"] = searched(state, histories)
    return found


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default="../shared/data", help=f"Folder with {TITLES}.")
@click.option("--items", type=click.IntRange(min=100), multiple=True, default=(12_000,), help="Size of the catalogue; several.")
@click.option("--asked", type=click.IntRange(min=1), default=ASKED, help="Requests that are timed.")
@click.option("--seed", type=int, default=0, help="Of events, noise and requests.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file.")
def main(data: Path, items: tuple[int, ...], asked: int, seed: int, output: Path | None) -> None:
    """Time the answer to one new user: milliseconds, peak memory, and the search alone."""
    import torch

    titles, stages = read_titles(data, max(items)), Stages()
    text = json.dumps(
        {
            "request": f"a new user, {KNOWN} events in a pandas frame, {K} items",
            "requests": asked,
            "titles": len(titles.title),
            "cores": os.cpu_count(),
            "threads": {"torch": torch.get_num_threads(), "faiss": threads()},
            "catalogues": [measure(titles, count, Settings(), asked, seed, stages) for count in items],
        },
        indent=1,
    )
    click.echo(text)
    if output is not None:
        with whole_file(output) as fresh:
            fresh.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
