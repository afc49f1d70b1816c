"""Item ids of events found in a catalogue, also where one table holds text and the other numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from llmrec.data.ids import Ids
from llmrec.data.report import counted


def find_across(known: Ids, wanted: list[Any], untyped: bool) -> tuple[np.ndarray, str]:
    """int64 positions in `known` of distinct ids, -1 where there is none, and a sentence on ids that were matched otherwise.

    untyped: one of the two comes from a CSV file, so that text may meet whole numbers: "12" is 12, and "0012" is 12 where
    nothing else can be meant on either side.
    """
    place = known.find(wanted)
    if not untyped or not len(known) or not wanted or {type(known[0]), type(wanted[0])} != {int, str}:
        return place, ""
    names = [str(value) for value in wanted]
    position = {str(value): index for index, value in known.there()}
    place = np.fromiter((position.get(name, -1) for name in names), np.int64, len(names))
    bare_known, bare_wanted = [_bare(name) for name in position], [_bare(name) for name in names]
    once_known, once_wanted = Counter(bare_known), Counter(bare_wanted)
    by_bare = {
        bare: index
        for index, bare in zip(position.values(), bare_known, strict=True)
        if bare is not None and once_known[bare] == 1
    }
    met = []
    for index in np.flatnonzero(place < 0).tolist():
        bare = bare_wanted[index]
        if bare in by_bare and once_wanted[bare] == 1:
            place[index] = by_bare[bare]
            met.append(index)
    if not met:
        return place, ""
    example = f"{wanted[met[0]]!r} is {known[int(place[met[0]])]!r}"
    return place, f"{counted(len(met), 'id')} matched without leading zeros, such as {example}"


def look_alike(known: Ids, lost: list[Any]) -> str:
    """A sentence on an id that is lost and differs from a known one only in case, type, leading zeros or a final ".0"."""
    for value in lost[:1000]:
        other = known.alike(value)
        if other is not None:
            return f"{value!r} is not the catalogue's {other!r}, but looks like it"
    return ""


def _bare(name: str) -> str | None:
    return (name.lstrip("0") or "0") if name.isascii() and name.isdigit() else None
