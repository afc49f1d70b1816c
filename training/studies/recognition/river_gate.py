"""The one place that imports river: drift detectors over a stream of scores, for comparison."""

from __future__ import annotations

from typing import Literal

import numpy as np

from llmrec.errors import MissingExtraError


def drift(scores: np.ndarray, detector: Literal["adwin", "page_hinkley"] = "adwin") -> np.ndarray:
    """int64: windows at which river's detector, as it comes, says that the scores (W,) have changed.

    ADWIN: Bifet and Gavalda (2007). Page-Hinkley: Page (1954). Raises MissingExtraError without river.
    """
    try:
        from river import drift as detectors  # here: scenes are recognised without it
    except ImportError as error:
        raise MissingExtraError("river is not installed: pip install llmrec[streams]") from error
    watch = detectors.ADWIN() if detector == "adwin" else detectors.PageHinkley(mode="up")
    found = []
    for place, score in enumerate(np.asarray(scores, np.float64).tolist()):
        watch.update(score)
        if watch.drift_detected:
            found.append(place)
    return np.array(found, np.int64)
