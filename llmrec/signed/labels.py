"""Signed labels: which events say that a user likes or dislikes an item, and how much.

Axis convention: `E` events, `L` labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.numbers import check_number
from llmrec.errors import DataError


@dataclass(frozen=True)
class Labels:
    """Ratings, or likes and dislikes as numbers, as columns. user: int64 (L,). item: int64 (L,). value: float64 (L,). time:
    float64 (L,), seconds, ascending for each user; None where their order says nothing."""

    user: np.ndarray
    item: np.ndarray
    value: np.ndarray
    time: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.user)

    def take(self, chosen: np.ndarray | slice) -> Labels:
        """Some of the labels, by mask, index or slice."""
        time = None if self.time is None else self.time[chosen]
        return Labels(self.user[chosen], self.item[chosen], self.value[chosen], time)


@dataclass(frozen=True)
class SignedFeedback:
    """Which events are labels, likes or dislikes: those with a rating, and those of the event types named here.

    positive, negative: event types of likes, such as ("like", "purchase"), and of dislikes, such as
        ("dislike", "return", "skip"). If an event has a rating, its type is ignored. Negative types have sample weight 0 in
        training and in counts, unless `event_weights` names them; a `Dataset` has its own weights, see `build`. They
        may have cancelled basket ids and negative quantities, which are read without their sign.
    liked_from: the lowest rating that is a like; None: ratings above the mean of all ratings in `fit` are likes.
    """

    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    liked_from: float | None = None


@dataclass(frozen=True)
class Scale:
    """How labels are read as numbers: `SignedFeedback` with what was found in the data.

    rated: whether there were ratings. liked_from: the least number that is a like. high, low: what an event of a positive and
    of a negative type counts as: the means of the ratings that are likes and of the others; 1 and 0 without ratings.
    """

    positive: tuple[str, ...]
    negative: tuple[str, ...]
    rated: bool
    liked_from: float
    high: float
    low: float


WIDEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Range:
    """Which labels there were: numbers from `least` to `most`; two: these two alone."""

    least: float = -WIDEST
    most: float = WIDEST
    two: bool = False

    def clip(self, value: np.ndarray) -> np.ndarray:
        """The nearest numbers that are in the range."""
        return np.clip(value, self.least, self.most)


def check_feedback(feedback: SignedFeedback) -> None:
    """Raises DataError for types that are no tuple of texts, for one that is positive and negative at once, and for a
    `liked_from` that is no number."""
    for name, types in (("positive", feedback.positive), ("negative", feedback.negative)):
        if not isinstance(types, (tuple, list)) or not all(isinstance(one, str) for one in types):
            raise DataError(f'SignedFeedback.{name} is {types!r}; expected a tuple of event types, such as ("like",)')
    if both := sorted(set(feedback.positive) & set(feedback.negative)):
        raise DataError(f"SignedFeedback: {both[0]!r} is in positive and in negative; expected it in one of them")
    if feedback.liked_from is not None:
        check_number("SignedFeedback.liked_from", feedback.liked_from, -np.inf)


def scale_of(dataset: Dataset, feedback: SignedFeedback) -> Scale | str:
    """How the labels of a dataset are read, or in words what is missing.

    Raises DataError for a type that the events do not have, where they have types.
    """
    check_feedback(feedback)
    for name in (*feedback.positive, *feedback.negative):
        if dataset.event_types and name not in dataset.event_types:
            there = ", ".join(map(repr, dataset.event_types))
            kept = ""
            if name in feedback.negative:
                kept = f"; a Dataset of cancelled orders and negative quantities needs build(..., negative=({name!r},))"
            raise DataError(f"SignedFeedback: event type {name!r} is not in the events; event_type holds {there}{kept}")
    rating = dataset.attributes.get("rating")
    known = np.zeros(0) if rating is None else rating[np.isfinite(rating)].astype(np.float64)
    named = feedback.positive, feedback.negative
    if len(known):
        least = float(known.mean()) if feedback.liked_from is None else float(np.float32(feedback.liked_from))  # as ratings are
        liked = known > least if feedback.liked_from is None else known >= least
        least = float(known[liked].min()) if liked.any() else least
        if liked.any() and not liked.all():
            return Scale(*named, True, least, float(known[liked].mean()), float(known[~liked].mean()))
        if not (feedback.negative if liked.all() else feedback.positive):
            side = "a like" if liked.all() else "below a like"
            return f"every rating is {side} (liked_from {least:g}), and no other event type is a like or dislike"
        one = float(known.mean())
        return Scale(*named, True, least, one if liked.all() else least, least - 1.0 if liked.all() else one)
    if not dataset.event_types and (feedback.positive or feedback.negative):
        return "the events have no ratings and no column event_type, and event types were named"
    if not feedback.negative:
        return "the events have no ratings, and no event type was named as negative"
    if not feedback.positive:
        return "the events have no ratings, and no event type was named as positive"
    return Scale(*named, False, 0.5, 1.0, 0.0)


def signed_rows(dataset: Dataset, scale: Scale, rows: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """Which of some events are labels, int64 (L,) rows of the dataset ascending, and their values float64 (L,). Of several
    labels of one user for one item the last one counts."""
    item, user = dataset.item[rows].astype(np.int64), dataset.user[rows].astype(np.int64)
    value = np.full(len(item), np.nan)
    if (kind := dataset.attributes.get("event_type")) is not None:
        says = [
            {**dict.fromkeys(scale.positive, scale.high), **dict.fromkeys(scale.negative, scale.low)}.get(name, np.nan)
            for name in dataset.event_types
        ]
        code = np.nan_to_num(kind[rows], nan=len(says)).astype(np.int64)
        value = np.array([*says, np.nan])[code]
    if scale.rated and (rating := dataset.attributes.get("rating")) is not None:
        value = np.where(np.isfinite(rating[rows]), rating[rows], value)
    there = np.flatnonzero(np.isfinite(value))
    key = user[there] * dataset.n_items + item[there]
    last = len(there) - 1 - np.unique(key[::-1], return_index=True)[1]
    there = there[np.sort(last)]
    return there + (rows.start or 0), value[there].astype(np.float64)


def labels_of(dataset: Dataset, scale: Scale) -> Labels:
    """All labels of a dataset; users and items are its indices."""
    rows, value = signed_rows(dataset, scale)
    return Labels(dataset.user[rows].astype(np.int64), dataset.item[rows].astype(np.int64), value, dataset.time[rows])


def as_likes(labels: Labels, scale: Scale) -> Labels:
    """The same labels with 1 for a like and 0 for a dislike."""
    return replace(labels, value=(labels.value >= scale.liked_from).astype(np.float64))
