"""Which events are labels, and what they say."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.errors import DataError
from llmrec.signed import SignedFeedback
from llmrec.signed.labels import Scale, labels_of, scale_of

BY_RATING = SignedFeedback()
HISTORY = [[[0], [1], [2]], [[0], [1], [0]]]


def told(shop, feedback=BY_RATING, **more):
    dataset = shop(HISTORY, 3, more)
    scale = scale_of(dataset, feedback)
    assert isinstance(scale, Scale), scale
    found = labels_of(dataset, scale)
    assert (np.diff(found.time)[np.diff(found.user) == 0] > 0).all()
    return [(int(u), int(i), v) for u, i, v in zip(found.user, found.item, found.value, strict=True)], scale


def test_ratings_are_labels_and_the_last_one_of_an_item_counts(shop):
    found, scale = told(shop, rating=[5, 1, None, 4, 2, 3])
    assert found == [(0, 0, 5.0), (0, 1, 1.0), (1, 1, 2.0), (1, 0, 3.0)]
    assert (scale.rated, scale.liked_from) == (True, 4.0)  # above the mean of all


def test_liked_from_is_the_least_rating_that_is_a_like(shop):
    scale = told(shop, SignedFeedback(liked_from=3.0), rating=[5, 1, None, 4, 2, 3])[1]
    assert (scale.liked_from, scale.high, scale.low) == (3.0, 4.0, 1.5)


def test_a_rating_of_liked_from_is_a_like_where_no_float_is_just_that(shop):
    """0.7 as a float32, which ratings are kept in, is below 0.7."""
    scale = told(shop, SignedFeedback(liked_from=0.7), rating=[0.7, 0.1, None, 0.9, 0.2, 0.7])[1]
    assert (scale.liked_from, scale.low) == (float(np.float32(0.7)), pytest.approx(0.15))


def test_event_types_that_are_named_are_labels(shop):
    feedback = SignedFeedback(positive=("like",), negative=("skip",))
    found, scale = told(shop, feedback, event_type=["like", "view", "skip", "skip", "view", "like"])
    assert found == [(0, 0, 1.0), (0, 2, 0.0), (1, 0, 1.0)] and not scale.rated


def test_a_type_beside_ratings_counts_as_the_mean_of_its_side_and_a_rating_of_its_own_goes_first(shop):
    more = {"rating": [5, 1, None, 4, None, 2], "event_type": ["buy", "buy", "return", "return", "buy", "buy"]}
    found, _ = told(shop, SignedFeedback(negative=("return",)), **more)
    assert found == [(0, 0, 5.0), (0, 1, 1.0), (0, 2, 1.5), (1, 0, 2.0)]


@pytest.mark.parametrize(
    ("feedback", "more", "missing"),
    [
        (SignedFeedback(), {}, "no ratings, and no event type was named as negative"),
        (SignedFeedback(positive=("like",), negative=("skip",)), {}, "no column event_type"),
        (SignedFeedback(negative=("skip",)), {"event_type": ["skip"] * 3 + ["like"] * 3}, "was named as positive"),
        (SignedFeedback(), {"rating": [4] * 6}, "every rating is below a like"),
    ],
)
def test_what_is_missing_is_said(shop, feedback, more, missing):
    found = scale_of(shop(HISTORY, 3, more), feedback)
    assert isinstance(found, str) and missing in found


def test_a_setting_that_cannot_be_meant_is_refused(shop):
    dataset = shop(HISTORY, 3, {"event_type": ["skip"] * 3 + ["like"] * 3})
    with pytest.raises(DataError, match=r"'dislike' is not in the events; event_type holds 'like', 'skip'|'skip', 'like'"):
        scale_of(dataset, SignedFeedback(positive=("like",), negative=("dislike",)))
    with pytest.raises(DataError, match="'like' is in positive and in negative"):
        scale_of(dataset, SignedFeedback(positive=("like",), negative=("like",)))
    with pytest.raises(DataError, match=r"SignedFeedback\.negative is 'skip'; expected a tuple of event types"):
        scale_of(dataset, SignedFeedback(positive=("like",), negative="skip"))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"SignedFeedback\.liked_from is 'four'"):
        scale_of(dataset, SignedFeedback(liked_from="four"))  # type: ignore[arg-type]


def test_reading_some_rows_is_reading_all_of_one_user(shop):
    from llmrec.signed.labels import signed_rows

    dataset = shop(HISTORY, 3, {"rating": [5, 1, None, 4, 2, 3]})
    scale = scale_of(dataset, SignedFeedback())
    rows, value = signed_rows(dataset, scale, slice(3, 6))
    np.testing.assert_array_equal(rows, [4, 5])
    np.testing.assert_array_equal(value, [2.0, 3.0])
