"""Streams of windows: false alarms while nothing changes, and events until a change is noticed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.drift.conformal import stream_p_values
from llmrec.drift.stream import alarms
from studies.recognition.river_gate import drift

STREAMS = 20  # of each kind, a fold and seed
CALM, CHANGED = 100, 100  # windows before the change and after it, where there are as many
SHUFFLED = 200


@dataclass(frozen=True)
class Watched:
    """One float64 (STREAMS,) each. shuffled: alarms per 1,000 windows of known scenes in an accidental order. in_time: the same
    before a change, in the order of time. delay: events from the change until an alarm, infinite where none came."""

    shuffled: np.ndarray
    in_time: np.ndarray
    delay: np.ndarray


def watch(
    calibration: np.ndarray,
    scores: np.ndarray,
    new: np.ndarray,
    time: np.ndarray,
    size: int,
    rng: np.random.Generator,
    river: bool,
) -> dict[str, Watched]:
    """Way of watching -> what came of it. calibration: scores (M,); scores, new, time: of the windows (W,) asked about, which
    of them are new, and when they were; size: events a window.

    Each stream with a change is a stretch of known windows in the order of time, then a stretch of new ones in theirs.
    river: its detectors as well.
    """
    by_time = np.argsort(time, kind="stable")
    known, other = by_time[~new[by_time]], by_time[new[by_time]]
    found: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(STREAMS):
        mixed = scores[rng.permutation(known)[:SHUFFLED]]
        calm = _stretch(known, CALM, rng)
        changing = scores[np.concatenate([calm, _stretch(other, CHANGED, rng)])]
        raised = {
            "betting": (
                alarms(stream_p_values(calibration, mixed, rng)),
                alarms(stream_p_values(calibration, changing, rng)),
            )
        }
        if river:
            raised["ADWIN"] = drift(mixed), drift(changing)
            raised["Page-Hinkley"] = drift(mixed, "page_hinkley"), drift(changing, "page_hinkley")
        for name, (when_calm, when_changing) in raised.items():
            after = when_changing[when_changing >= len(calm)]
            delay = float((after[0] - len(calm) + 1) * size) if len(after) else np.inf
            before = len(when_changing) - len(after)
            found.setdefault(name, []).append((1000 * len(when_calm) / len(mixed), 1000 * before / len(calm), delay))
    return {name: Watched(*np.array(values).T) for name, values in found.items()}


def _stretch(places: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most `most` in a row, from a place at random."""
    first = rng.integers(0, max(len(places) - most, 0) + 1)
    return places[first : first + most]
