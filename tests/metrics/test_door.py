"""The door to the metrics: it shows what it names, and says how each is defined."""

from __future__ import annotations

import numpy as np

from llmrec import metrics


def test_every_name_is_there_and_defined():
    for name in metrics.__all__:
        assert getattr(metrics, name).__doc__, name
        assert f"`{name}`" in metrics.__doc__, name


def test_they_are_the_functions_that_the_reports_use():
    from llmrec.metrics.ranking import rank_targets

    assert metrics.rank_targets is rank_targets
    assert metrics.ndcg(np.array([[1.0, 2.0]]), [np.array([1])], 1).tolist() == [1.0]
