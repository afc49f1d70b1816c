"""When training fails because too few events are left, the error says what cleaning dropped."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from llmrec import Recommender, Settings, TrainSettings
from llmrec.errors import DataError, DataLossWarning

SETTINGS = Settings(train=TrainSettings(horizon=3))  # one basket known and three to predict: four are needed


def tables(items: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "user_id": [f"u{k % 20}" for k in range(160)],
            "item_id": [f"i{k}" for k in rng.integers(0, 30, 160)],
            "timestamp": 1.7e9 + np.arange(160),
        }
    )
    return events, pd.DataFrame({"item_id": [f"i{k}" for k in range(items)], "title": [f"thing {k}" for k in range(items)]})


@pytest.mark.parametrize("fault", ["items", "dates", "ids"])
def test_the_error_names_what_was_left_out_and_the_report_is_there(fault):
    events, items = tables(1 if fault == "items" else 30)
    wrong = np.arange(len(events)) >= 8
    if fault == "dates":
        events["timestamp"] = np.where(wrong, "soon", "2024-01-01")
    if fault == "ids":
        events["user_id"] = events.user_id.where(~wrong)
    recommender = Recommender(settings=SETTINGS)
    said = {"items": "'not in the catalogue' (29 items", "dates": "'timestamps'", "ids": "'missing values' (user_id: 152)"}[
        fault
    ]
    with pytest.warns(DataLossWarning), pytest.raises(DataError, match="no user has") as caught:
        recommender.fit(events, items)
    assert said in str(caught.value) and "of 160 rows of events" in str(caught.value)
    assert recommender.report is not None and recommender.report.steps[0].rows_in == 160
    assert "not in the catalogue" in str(recommender.report)


def test_short_histories_without_a_loss_are_an_error_without_one():
    events, items = tables(30)
    recommender = Recommender(settings=SETTINGS)
    with pytest.raises(DataError, match="no user has 4 baskets") as caught:
        recommender.fit(events.head(40), items)
    assert "left out" not in str(caught.value) and recommender.report is not None
