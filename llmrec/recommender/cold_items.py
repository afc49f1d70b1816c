"""Cold items in a fit: what one is worth, and how far to trust its text, is learned on the newest items as if they were cold.

The newest items are those whose first event lies in the last tenth of all events. The base has met them, so it represents them
by their texts alone, as it does cold items, and the counts are made without their events.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import expit, logsumexp

from llmrec.data.dataset import Dataset
from llmrec.data.splits import by_time, cold_items
from llmrec.data.tasks import Tasks, expand_ranges, with_attributes
from llmrec.encoder.model import SlotModel
from llmrec.encoder.users import Read, batches
from llmrec.errors import DataError, IgnoredInputWarning
from llmrec.progress import Stages
from llmrec.ranking.statistics import Texts, fit_statistics, read_texts, with_vectors
from llmrec.ranking.two_stage import Retrieval
from llmrec.recommender.adapting import Adapting, adapting
from llmrec.recommender.pipeline import frozen_items, new_retrieval, reader
from llmrec.recommender.settings import Settings

KNOWN = 0.9  # share of the events before the cut
LEAST_TASKS, MOST_TASKS = 50, 1000
MOST_SHIFT = 10.0
_CELLS = 1 << 23  # scores held at once


@dataclass(frozen=True)
class Newest:
    """new: bool (N,), the newest items.

    first: tasks of what users took first after the cut, one event. later: of every basket of theirs after the cut. In both, all
    that a user did before is known.
    """

    new: np.ndarray
    first: Tasks
    later: Tasks

    def without(self, dataset: Dataset) -> Dataset:
        """The same users without the events of the newest items."""
        return dataset.keep(~self.new[dataset.item])


def newest_items(dataset: Dataset, users: np.ndarray) -> Newest | None:
    """The newest items of `dataset` and tasks of `users` (int indices); None where there are no such items, or where fewer than
    LEAST_TASKS of the users have events before the cut and after it."""
    try:
        split = by_time(dataset, KNOWN)
    except DataError:  # all events at one time
        return None
    after = split.test.take(np.flatnonzero(np.isin(split.test.user, users)))
    new = cold_items(dataset, split.time)
    if len(after) < LEAST_TASKS or not new.any():
        return None
    first = Tasks(dataset, after.start, after.split, after.split + 1).take(np.arange(min(len(after), MOST_TASKS)))
    basket = np.flatnonzero(np.isin(dataset.basket_start[:-1], _events(after)))
    begin, end = dataset.basket_start[basket], dataset.basket_start[basket + 1]
    later = Tasks(dataset, dataset.start[dataset.user[begin]], begin, end)
    return Newest(new, with_attributes(first), with_attributes(later))


def _events(after: Tasks) -> np.ndarray:
    """Rows of the events of all queries."""
    return expand_ranges(after.split, after.stop)[1]


def keep_likeness(model: SlotModel) -> None:
    """Begin with the projection that keeps most of the inner products of texts: onto their principal directions.

    A random one, which `SlotModel` begins with where the transformer is narrower than the text model, loses what items that are
    known by their texts alone live on.
    """
    width, wide = model.project.weight.shape
    if width < wide:  # otherwise nothing is lost
        _, directions = torch.linalg.eigh((model.text.T @ model.text).double())  # ascending
        with torch.no_grad():
            model.project.weight.copy_(directions[:, -width:].T)


def worth(read: Read, tasks: Tasks, cold: np.ndarray) -> tuple[float, float, float]:
    """What to add to the scores of `cold` items, bool (N,), so that on average over the tasks they get together the chance with
    which they were taken; and that share, and the mean chance before.

    read: gives scores before the addition. tasks: with queries of one event.
    """
    odds, hits = [], cold[tasks.dataset.item[tasks.split]]
    for part in batches(tasks, max(1, _CELLS // tasks.dataset.n_items)):
        scores = read(part).table()
        odds.append(logsumexp(scores[:, cold], axis=1) - logsumexp(scores[:, ~cold], axis=1))
    found, share = np.concatenate(odds), float((hits.sum() + 0.5) / (len(hits) + 1))  # never none and never all
    return shift(found, share), share, float(expit(found).mean())


def shift(odds: np.ndarray, share: float) -> float:
    """What to add to log odds (T,) so that the mean chance is `share`; at most MOST_SHIFT either way."""
    low, high = -MOST_SHIFT, MOST_SHIFT
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(odds + middle).mean() < share else (low, middle)
    return (low + high) / 2


def value_cold_items(model: SlotModel, newest: Newest | None, settings: Settings, stages: Stages) -> None:
    """Raise or lower the bias of cold items, so that together they get the chance with which users took the newest items, when
    these are scored as cold items."""
    cold = ~model.trained.cpu().numpy()
    with stages("cold items", f"{cold.sum():,} without events") as say:
        if newest is None:
            say(f"{cold.sum():,} without events; too few users bought newer items to learn how to score them")
            return
        read = reader(model, frozen_items(model, newest.new), settings, None)
        more, share, before = worth(read, newest.first, cold | newest.new)
        model.cold_bias += more
        say(f"{cold.sum():,} without events; {share:.1%} of what was taken next was new, {before:.1%} expected: {more:+.2f}")


def warn_if_not_learned(settings: Settings, learned: bool, stacklevel: int = 3) -> None:
    """An IgnoredInputWarning, at the line that called the caller, where `cold_items` was asked for and not `learned`."""
    if settings.cold_items and not learned:
        warnings.warn(
            "Settings.cold_items: too few users bought newer items to learn from, so a cold item is ranked by its text alone "
            "and its first buyers do not move it; fit on more events, or leave the setting out",
            IgnoredInputWarning,
            stacklevel=stacklevel,
        )


def texts_of(dataset: Dataset, model: SlotModel, settings: Settings, rng: np.random.Generator) -> Texts:
    """What is read of the catalogue for counts; for cold items also features of its texts."""
    texts = read_texts(dataset)
    return with_vectors(texts, model.text.cpu().numpy(), rng) if settings.cold_items else texts


@dataclass(frozen=True)
class Conditions:
    """What gate and blend are learned over. learned: how histories are read. retrieval: what proposes candidates. tasks: of the
    blend; None for the usual ones."""

    learned: Adapting
    retrieval: Retrieval
    tasks: Tasks | None = None


def newest_as_cold(
    dataset: Dataset,
    users: np.ndarray,
    learned: Adapting,
    retrieval: Retrieval,
    newest: Newest | None,
    texts: Texts,
    settings: Settings,
    rng: np.random.Generator,
) -> Conditions:
    """What gate and blend are learned over: what is given, or if there are newest items, the same with these as cold items,
    counts over `users` without their events, and tasks after the cut, since before it nobody took them."""
    if newest is None:
        return Conditions(learned, retrieval)
    model, lora, core = learned.base.model, learned.lora, learned.core
    base = replace(learned.base, items=frozen_items(model, newest.new))
    start, steps = (None, 1) if core is None else (core.start, core.steps)
    hidden = adapting(base, None if lora is None else lora.init, start, steps)
    counts = fit_statistics(newest.without(dataset), users, settings.train.horizon, texts, rng)
    candidates = new_retrieval(model, base.items, counts, settings, retrieval.index.tuned)
    asked = newest.later.take(np.sort(rng.permutation(len(newest.later))[: settings.ranking_tasks]))
    return Conditions(hidden, candidates, asked)
