"""Whether users like items: predictions from signed events, and their part in `recommend`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.frames import to_native
from llmrec.data.ids import Ids
from llmrec.data.numbers import check_number
from llmrec.data.requests import as_ids, find_items, id_column
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.index.candidates import Candidates
from llmrec.progress import Stages
from llmrec.recommender.given import asked_by
from llmrec.recommender.settings import Settings
from llmrec.recommender.state import State
from llmrec.signed.beliefs import Beliefs, Weights, described, posterior, predict
from llmrec.signed.labels import labels_of, scale_of, signed_rows
from llmrec.signed.learning import learn, too_few

LEAST = 1e-4  # probability of a like below which no item falls further


class Predicting:
    """Reads the state and changes nothing."""

    _frame: Any

    @property
    @abstractmethod
    def state(self) -> State:
        """What is known now."""

    def predict(
        self,
        users: Any = None,
        items: Iterable[Any] | None = None,
        histories: Any = None,
        columns: dict[str, str] | None = None,
        level: float = 0.9,
    ) -> Any:
        """Probability that each user likes each of `items`, from the ratings, likes and dislikes in their histories.

        It needs a recommender fitted on labels: events with a `rating`, or of the event types in
        `Settings(signed=SignedFeedback(positive=..., negative=...))`. A user's labels adapt the prediction in closed form, in
        a millisecond; a user without labels gets the average user's prediction. Of several labels for one item the last counts.
        Recent labels weigh more. Their age is counted from the newest known event, so pass all events to `observe`; or from
        the user's own newest event, if later.
        An item without labels is described by its text and its `item_attributes`.

        users: a list of known ids. items: ids of the catalogue; None for all that are not hidden. histories, columns: a table
            of events with a column `rating` or `event_type`, read as in `recommend`. level: of the interval.

        Returns a frame `user_id, item_id, probability, expected, low, high, labels` in the type of `histories`, or of what was
        fitted, one row for each user and item, in the order given. probability: of a like. expected: the label, which is a
        rating where there were ratings, else 1 for a like and 0 for a dislike; it lies between low and high with probability
        `level`. None of the three is beyond the labels in `fit`. labels: number of the user's ratings, likes and dislikes.
        Ratings in `histories` beyond those in `fit` count as the nearest of those, and an IgnoredInputWarning says so.
        Raises DataError for a recommender fitted without labels, and as `recommend`.
        """
        check_number("level", level, 0, 1, above=True)
        state = self.state
        beliefs = beliefs_of(state, "predict")
        if items is None:
            offered = np.arange(len(state.catalogue)) if state.offered is None else np.flatnonzero(state.offered)
        else:
            offered = find_items(state.catalogue, as_ids(items, "items"))
        asked = asked_by(state, users, histories, columns, self._frame, "predict", labels=True)
        return to_native(predictions(state, beliefs, asked.known, asked.users, offered, level), asked.frame)


def beliefs_of(state: State, call: str) -> Beliefs:
    """What was learned of signed events. Raises DataError, which says what is missing, where nothing was."""
    if state.signed is not None:
        return state.signed
    known, why = state.known.first, ""
    if known.n_events:
        found = scale_of(known, state.settings.signed)
        why = f" ({found if isinstance(found, str) else too_few(labels_of(known, found), found) or 'fitted without them'})"
    raise DataError(
        f"{call}: expected a recommender fitted on ratings, likes or dislikes, got one without{why}; give events a column "
        'rating, or name event types: Settings(signed=SignedFeedback(positive=("like",), negative=("dislike",))), and fit again'
    )


def learn_signed(dataset: Dataset, text: np.ndarray, settings: Settings, seed: int, stages: Stages) -> Beliefs | None:
    """Beliefs from the signed events of all users; None where there are too few.

    text: (N, d), vectors of the catalogue's texts; attributes of its items are read beside them. Raises DataError for an event
    type of the settings that no event has.
    """
    scale = scale_of(dataset, settings.signed)
    if isinstance(scale, str):
        if "rating" in dataset.attributes or settings.signed.positive or settings.signed.negative:
            stages.say(f"likes and dislikes: nothing is learned from them: {scale}")
        return None
    labels = labels_of(dataset, scale)
    with stages("likes", f"{len(labels):,} labels") as say:
        if missing := too_few(labels, scale):
            say(f"nothing is learned from them: {missing}")
            return None
        beliefs = learn(labels, scale, descriptions(dataset.catalogue, text), seed)
        liked = (labels.value >= scale.liked_from).mean()
        say(f"{beliefs.labels:,} labels of {beliefs.users:,} users, {liked:.0%} likes (from {scale.liked_from:g})")
        return beliefs


def predictions(state: State, beliefs: Beliefs, known: Dataset, asked: Ids, items: np.ndarray, level: float) -> pa.Table:
    """Rows of `Recommender.predict`. known: histories of some of those asked for. items: int64 (n,)."""
    new, now = new_descriptions(state, beliefs), what_time(state, beliefs)
    about, place = described(beliefs, items, new), known.users.find(asked.values)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("probability", "expected", "low", "high", "labels")}
    for user in place.tolist():
        events = slice(0, 0) if user < 0 else slice(int(known.start[user]), int(known.start[user + 1]))
        weights, n = adapted(beliefs, known, events, new, now)
        found = predict(beliefs, weights, about)
        low, high = found.interval(level)
        rows = found.probability, found.expected, low, high, np.full(len(items), n)
        for column, values in zip(columns.values(), rows, strict=True):
            column.append(values)
    ids = state.catalogue.ids
    return pa.table(
        {
            "user_id": id_column([user for user in asked.values for _ in items], asked),
            "item_id": id_column([ids[item] for item in items.tolist()] * len(asked), ids),
            **{name: np.concatenate(values) if values else np.zeros(0) for name, values in columns.items()},
        }
    )


def what_time(state: State, beliefs: Beliefs) -> float:
    """Seconds: that of the newest event that is known. Other users of a request do not count."""
    return max(beliefs.until, state.known.latest)


def adapted(beliefs: Beliefs, known: Dataset, events: slice, new: np.ndarray, now: float) -> tuple[Weights, int]:
    """Weights of a user after some of the events of a dataset, and how many labels are among them. new: see `described`. now:
    seconds, what time it is."""
    rows, value = signed_rows(known, beliefs.scale, events)
    items = described(beliefs, known.item[rows].astype(np.int64), new)
    return posterior(beliefs, items, value, known.time[rows], now), len(rows)


def log_likes(state: State, tasks: Tasks, found: Candidates) -> np.ndarray:
    """float32 (C,): the log of the probability that each candidate is liked. Added to a score, it multiplies the odds that the
    item is taken next by the probability that it is then liked, so that it needs no weight of its own."""
    beliefs = beliefs_of(state, "avoid_disliked")
    new, now = new_descriptions(state, beliefs), what_time(state, beliefs)
    added = np.zeros(len(found.item), np.float32)
    for task in range(len(tasks)):
        here = slice(int(found.start[task]), int(found.start[task + 1]))
        weights, _ = adapted(beliefs, tasks.dataset, tasks.support(task), new, now)
        likely = predict(beliefs, weights, described(beliefs, found.item[here].astype(np.int64), new)).probability
        added[here] = np.log(np.maximum(likely, LEAST))
    return added


def descriptions(catalogue: Catalogue, text: np.ndarray) -> np.ndarray:
    """float32 (N, d + W): text vectors (N, d) of a catalogue, with the blocks of its attributes beside them if it has any."""
    return text if catalogue.blocks is None else np.hstack([text, catalogue.blocks])


def new_descriptions(state: State, beliefs: Beliefs) -> np.ndarray:
    """float32 (n, d + W): the same of the n items that came after `fit`. Text vectors alone for beliefs that were saved before
    attributes were read."""
    n, text = len(beliefs.mean), state.model.text[len(beliefs.mean) :].cpu().numpy()
    blocks = state.catalogue.blocks
    return text if blocks is None or len(beliefs.text) == 1 + text.shape[1] else np.hstack([text, blocks[n:]])
