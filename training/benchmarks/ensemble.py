"""Several bases at once under one ranker: the upper mark of what our method comes to, at the price of all of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax

from benchmarks.ours import EARLY, FINAL, OURS, Chain, Trained, kind, learn_rankers, train
from benchmarks.protocol import Benchmark, Method
from benchmarks.recipes import Fit, Kind, recipe
from llmrec.data.tasks import Tasks
from llmrec.encoder.users import Read
from llmrec.errors import DataError
from llmrec.progress import Stages


@dataclass(frozen=True)
class Member:
    """A base by its kind of body and its seed; `str` gives the folder that its training has, `small-0`."""

    kind: Kind
    seed: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.seed}"


def members(text: str) -> tuple[Member, ...]:
    """Members of `pretrained-0,small-1`. Raises DataError for another form, for fewer than two and for one named twice."""
    found = []
    for name in text.split(","):
        body, _, seed = name.strip().rpartition("-")
        if not seed.isdecimal():
            raise DataError(f"members: expected a kind of body and a seed such as small-0, got {name.strip()!r}")
        found.append(Member(kind(body), int(seed)))
    if len(set(found)) < max(len(found), 2):
        raise DataError(f"members: expected at least two bases that differ, got {text!r}")
    return tuple(found)


def fit(benchmark: Benchmark, chosen: Sequence[Member], how: Fit, stages: Stages) -> Method:
    """The members' mean under one counts ranker and one blend, which are learned as for one of them, by the first one's recipe.

    how: of all members but for their kind and seed; each has a folder of its own in `how.folder`, and what is there already is
    not trained again.
    Raises DataError where items are known by their text alone: there a base is not read as it is.
    """
    if benchmark.by_text_alone:
        raise DataError(f"{benchmark.name}: expected items that were seen in training, got some known by their text alone")
    began, first = time.perf_counter(), chosen[0]
    rng = np.random.default_rng(first.seed)
    each = [replace(how, kind=one.kind, seed=one.seed, folder=how.folder / str(one)) for one in chosen]

    def together(of: Benchmark, moment: str) -> tuple[Trained, float]:
        bases = [train(of, recipe(of.name, one.kind), one, moment, rng, stages) for one in each]
        return replace(bases[0], read=mean_of([base.read for base in bases])), sum(base.resumed for base in bases)

    trained, resumed = together(benchmark, EARLY)
    rankers = learn_rankers(benchmark, trained, recipe(benchmark.name, first.kind), first.seed, rng, stages)
    last = benchmark.final()
    if how.final and last is not benchmark:
        trained, more = together(last, FINAL)
        resumed += more
    name = f"{OURS}, {len(chosen)} bases at once"
    by_setting = {
        setting.name: Chain(name, trained.repeating(setting.rank == "all"), rankers[setting.name])
        for setting in benchmark.settings
    }
    said = dict.fromkeys(by_setting, " and ".join(map(str, chosen)))
    return Method(name, "ours", by_setting, time.perf_counter() - began + resumed, said)


@dataclass(frozen=True, eq=False)
class TableReading:
    """A reading whose scores of all items are there already. vectors: float32 (T, d). every: float32 (T, N)."""

    vectors: np.ndarray
    every: np.ndarray

    def scores(self, task: np.ndarray, item: np.ndarray) -> np.ndarray:
        """float32 (C,): the scores of pairs."""
        return self.every[task, item]

    def table(self) -> np.ndarray:
        """float32 (T, N): the scores of all items."""
        return self.every


def mean_of(reads: Sequence[Read]) -> Read:
    """A reader with the first one's user vectors, and with scores that are the mean of all readers' log softmax."""

    def read(tasks: Tasks) -> TableReading:
        first = reads[0](tasks)
        whole = log_softmax(first.table(), axis=1)
        for other in reads[1:]:
            whole += log_softmax(other(tasks).table(), axis=1)
        return TableReading(first.vectors, (whole / len(reads)).astype(np.float32))

    return read
