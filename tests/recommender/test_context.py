"""The context of a request, in a planted shop: the hour decides what everybody takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from llmrec import Recommender, TrainSettings
from llmrec.data.build import events_for
from llmrec.data.tasks import first_baskets
from llmrec.errors import DataError, IgnoredInputWarning
from llmrec.recommender.evaluate import scores_by_attributes

ITEMS = 20


def shop(prefix: str, count: int, seed: int) -> pd.DataFrame:
    """Events at 8 or at 20 hours, by the toss of a coin: in the morning of items 0 to 9, in the evening of items 10 to 19."""
    rng, rows = np.random.default_rng(seed), []
    for user in range(count):
        for day in range(8):
            evening = rng.random() < 0.5
            item = int(rng.integers(10)) + 10 * evening
            rows.append(
                (f"{prefix}{user:03}", f"i{item:03}", 1_600_041_600.0 + 86_400.0 * day + 3600.0 * (20 if evening else 8) + user)
            )
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


@pytest.fixture(scope="module")
def told(fitting: Any, world: Any, tiny_settings: Any) -> Recommender:
    ids = [f"i{number:03}" for number in range(ITEMS)]
    train = TrainSettings(60, 32, known=(1, 6), horizon=1, max_slots=8, learning_rate=3e-3, dropout=0.0, ema_decay=0.0)
    return fitting(shop("u", 100, 0), world.items(ids), replace(tiny_settings, train=train), context=["hour"])


def evening(answer: pd.DataFrame) -> float:
    """Share of evening items among the first five of all users."""
    return float((answer[answer["rank"] <= 5].item_id.str[1:].astype(int) >= 10).mean())


@pytest.mark.slow
def test_the_hour_of_the_request_decides(told, tmp_path):
    clicks = shop("x", 12, 3)
    morning, night = (told.recommend(histories=clicks, k=8, context={"hour": hour}, filter_viewed=False) for hour in (8, 20))
    assert evening(night) > 0.6 > 0.4 > evening(morning)
    with pytest.warns(IgnoredInputWarning, match="context: hour is 3, which was rare or absent in fit"):
        unknown = told.recommend(histories=clicks, k=8, context={"hour": 3}, filter_viewed=False)
    bare = told.recommend(histories=clicks, k=8, filter_viewed=False)
    pd.testing.assert_frame_equal(unknown, bare)  # an hour that was never met is missing
    one = told.recommend(histories=clicks[clicks.user_id == "x003"], k=8, context={"hour": 20}, filter_viewed=False)
    both = night[night.user_id == "x003"].reset_index(drop=True)
    assert one.item_id.tolist() == both.item_id.tolist() and np.allclose(one.score, both.score, atol=1e-4)
    told.save_pretrained(tmp_path / "saved", histories=True)
    loaded = Recommender.from_pretrained(tmp_path / "saved")
    for users in ({"histories": clicks}, {"users": ["u000", "u001"]}):
        again = loaded.recommend(**users, k=8, context={"hour": 20})
        pd.testing.assert_frame_equal(again, told.recommend(**users, k=8, context={"hour": 20}))
    loaded.observe(clicks)
    seen = loaded.recommend(["x003"], k=8, context={"hour": 20}, filter_viewed=False)
    assert np.allclose(seen.score, one.score, atol=1e-4)


def test_context_that_was_not_fitted_is_refused(told, fitted):
    with pytest.raises(DataError, match="context: 'page' was not fitted, expected one of 'hour'"):
        told.recommend(["u000"], context={"page": "home"})
    with pytest.raises(DataError, match="this model was fitted without"):
        fitted.recommend(["u000"], context={"hour": 8})


def test_a_value_that_was_not_learned_is_named_at_the_line_of_the_call(told):
    with pytest.warns(IgnoredInputWarning, match="context: hour is 25, .*; expected '20', '8'") as seen:
        told.recommend(["u000"], context={"hour": 25})
    assert [warning.filename for warning in seen] == [__file__]


def test_evaluation_of_users_without_events_reads_the_context_as_recommend_does(fitting, world, tiny_settings):
    ids, events = [f"i{number:03}" for number in range(ITEMS)], shop("u", 40, 0)
    people = pd.DataFrame({"user_id": sorted(set(events.user_id)), "country": ["north", "south"] * 20})
    both = fitting(events, world.items(ids), replace(tiny_settings, blend_features=()), users=people, context=["hour"])
    known = both.state.known.first
    held = events_for(both.state.catalogue, shop("u", 40, 0), context=known.context)[0]
    tasks = first_baskets(replace(held, user_attributes=both.state.people.of(held.users)), np.arange(6), 0, 3)
    found, bare = scores_by_attributes(both.state, tasks), scores_by_attributes(both.state, replace(tasks, context=None))
    assert not np.allclose(found, bare)
    for user in range(6):
        hour = int(held.time[held.start[user]] // 3600 % 24)
        asked = people.assign(user_id="new-" + people.user_id).iloc[[user]]
        answer = both.recommend(users=asked, k=5, context={"hour": hour})
        order = [both.state.catalogue.ids[item] for item in np.argsort(-found[user], kind="stable")[:5]]
        assert answer.item_id.tolist() == order
