"""Returns as shops book them, in cancelled baskets of negative quantity, say what returns that are booked as purchases say."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from llmrec import Recommender, build
from llmrec.errors import DataError
from llmrec.signed import SignedFeedback

SIGNED = SignedFeedback(positive=("purchase",), negative=("return",))
LATER = 1.7e9


def returned(user: str, item: str) -> bool:
    """What is planted: everybody returns two items of each half."""
    return int(item[1:]) % 15 in (3, 4)


def booked(table: dict[str, list[Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Purchases and, a day after them, returns: in plain form, and in that of a shop."""
    bought = pd.DataFrame(table).assign(event_type="purchase", quantity=2.0)
    back = bought[[returned(*pair) for pair in zip(bought.user_id, bought.item_id, strict=True)]]
    back = back.assign(event_type="return", timestamp=back.timestamp + 86_400.0, basket_id="9" + back.basket_id)
    return pd.concat([bought, back]), pd.concat([bought, back.assign(quantity=-2.0, basket_id="C" + back.basket_id)])


@pytest.fixture(scope="module")
def shop(fitting, world, tiny_settings) -> Recommender:
    natural = booked(world.events(world.users, world.ids))[1]
    return fitting(natural, world.items(world.ids), replace(tiny_settings, signed=SIGNED))


def test_the_report_of_fit_counts_returns_and_nothing_is_lost(shop, world):
    plain, natural = booked(world.events(world.users, world.ids))
    steps = {step.name: step for step in shop.report.steps if step.table == "events"}
    back = int((plain.event_type == "return").sum())
    assert steps["cancelled orders"].rows_dropped == steps["impossible values"].rows_dropped == 0
    assert steps["returns"].rows_changed == back and f"'return' kept, without the sign of quantity: {back}" in str(shop.report)
    assert shop.state.signed is not None and shop.state.histories.n_events == len(natural)


def test_both_forms_make_the_same_dataset(world):
    first, second = (build(one, negative=SIGNED.negative)[0] for one in booked(world.events(world.users, world.ids)))
    for name in ("start", "item", "time", "basket"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for name, values in first.attributes.items():
        np.testing.assert_array_equal(values, second.attributes[name])


def test_both_forms_are_answered_alike_in_histories_and_once_they_are_observed(shop, world):
    plain, natural = booked(world.events(["new0", "new1"], world.ids, seed=5))
    for ask in (
        lambda rec, table: rec.predict(histories=table, items=world.ids),
        lambda rec, table: rec.recommend(histories=table, k=5, avoid_disliked=True),
    ):
        pd.testing.assert_frame_equal(ask(shop, natural), ask(shop, plain))
    assert (
        shop.predict(histories=natural, items=world.ids[:1]).labels[0] == natural[natural.user_id == "new0"].item_id.nunique()
    )
    told, observed = [], []
    for table in (plain, natural):
        rec = copy.copy(shop)
        assert sum(step.rows_dropped for step in rec.observe(table).steps) == 0
        observed.append(rec.predict(["new0", "new1"], world.ids))
        told.append(rec.recommend(["new0", "new1"], k=5))
    pd.testing.assert_frame_equal(*observed)
    pd.testing.assert_frame_equal(*told)


def test_an_item_that_comes_back_at_once_is_not_offered_again(shop):
    rec = copy.copy(shop)
    first = rec.recommend(["u003"], k=1).item_id[0]
    back = {"user_id": ["u003"], "item_id": [first], "timestamp": [LATER], "event_type": ["return"]}
    rec.observe({**back, "quantity": [-1.0], "basket_id": ["C77"]})
    assert first not in set(rec.recommend(["u003"], k=10).item_id)


def test_without_signed_feedback_they_are_cancelled_orders(fitting, world, tiny_settings):
    natural = booked(world.events(world.users, world.ids))[1]
    dataset, report = build(natural)
    back = int((natural.event_type == "return").sum())
    assert [step.rows_dropped for step in report.steps if step.name == "cancelled orders"] == [back]
    assert dataset.event_types == ("purchase",) and "returns" not in {step.name for step in report.steps}
    with pytest.raises(DataError, match=r"event type 'return' is not in .*needs build\(\.\.\., negative=\('return',\)\)"):
        fitting(dataset, None, replace(tiny_settings, signed=SIGNED))
