"""Choices and results kept on disk: reading the titles behind an empty history takes minutes, and measuring an hour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from llmrec.language.rows import Row
from llmrec.meta.title_choices import TitleChoices
from llmrec.store import load_arrays, save_arrays


def kept(path: Path, make: Callable[[], list[TitleChoices]]) -> list[TitleChoices]:
    """What `make` gives, or what it gave before. Delete the file to make it anew."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(path, _arrays(make()))
    return _choices(load_arrays(path))


def kept_arrays(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The same for named arrays."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(path, make())
    return load_arrays(path)


def _arrays(parts: Sequence[TitleChoices]) -> dict[str, np.ndarray]:
    rows = [row for part in parts for row in part.rows]
    pieces = [piece for row in rows for piece in (row.prefix, *row.segments)]
    return {
        "ids": np.array([token for piece in pieces for token in piece], np.int32),
        "piece": np.array([len(piece) for piece in pieces], np.int64),
        "segments": np.array([len(row.segments) for row in rows], np.int64),
        "taken": np.concatenate([one for part in parts for one in part.taken]),
        "offset": np.concatenate([one for part in parts for one in part.offset]),
        "owner": np.concatenate([part.owner for part in parts]),
        "part": np.array([len(part) for part in parts], np.int64),
        "answers": np.array(parts[0].answers, np.int64),
    }


def _choices(arrays: dict[str, np.ndarray]) -> list[TitleChoices]:
    pieces = [one.tolist() for one in np.split(arrays["ids"], np.cumsum(arrays["piece"])[:-1])]
    rows, at = [], 0
    for count in arrays["segments"].tolist():
        rows.append(Row(pieces[at], pieces[at + 1 : at + 1 + count]))
        at += 1 + count
    ends = np.cumsum(arrays["segments"])[:-1]
    taken, offset = np.split(arrays["taken"], ends), np.split(arrays["offset"], ends)
    answers = tuple(arrays["answers"].tolist())
    whole = TitleChoices(tuple(rows), tuple(taken), tuple(offset), arrays["owner"], answers)
    stops = np.cumsum(arrays["part"])
    return [whole.take(np.arange(stop - size, stop)) for stop, size in zip(stops, arrays["part"], strict=True)]
