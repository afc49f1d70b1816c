"""Count the files and functions of llmrec that one `recommend` passes through, as JSON.

python training/speed/path.py --output training/results/path.json

A small recommender is fitted on made-up events first. The second answer is counted, so that what is kept from the first one is
there. Copied beside an older commit, the same command counts that one's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import click
import numpy as np
import pandas as pd

import llmrec
from llmrec import OuterSettings, Recommender, Settings, TrainSettings
from llmrec.store import whole_file

PACKAGE = str(Path(llmrec.__file__).parent)
USERS, ITEMS, EVENTS = 300, 200, 8
KNOWN, K = 5, 10  # events in, and items out
STEPS = (0, 3)


def passed(call: Callable[[], object]) -> dict[str, Any]:
    """What `call` passes through of llmrec, in this Python thread.

    files, functions: how many different ones. calls: of functions; a generator counts at every value it gives. deepest: how
    many functions of llmrec are inside of one another at most. by file: functions of each file.
    """
    found: set[tuple[str, str]] = set()
    calls, depth, deepest = 0, 0, 0

    def watch(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls, depth, deepest
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE) or event not in ("call", "return"):
            return
        depth += 1 if event == "call" else -1
        if event == "call":
            calls, deepest = calls + 1, max(deepest, depth)
            found.add((Path(code.co_filename).relative_to(PACKAGE).as_posix(), code.co_qualname))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(before)
    files = sorted({file for file, _ in found})
    by_file = {file: sum(other == file for other, _ in found) for file in files}
    return {"files": len(files), "functions": len(found), "calls": calls, "deepest": deepest, "by file": by_file}


def events(users: int, each: int, first_user: int, rng: np.random.Generator) -> pd.DataFrame:
    """Random events of `users` users, numbered from `first_user` on."""
    item = rng.integers(ITEMS, size=users * each)
    moment = np.datetime64("2024-01-01T00:00:00", "s") + rng.integers(0, 10**7, users * each)
    return pd.DataFrame({"user_id": np.repeat(np.arange(users), each) + first_user, "item_id": item, "timestamp": moment})


def small() -> Settings:
    """Every part of the default, trained for moments."""
    return Settings(train=TrainSettings(max_steps=5, batch_size=16), outer=OuterSettings(episodes=1), ranking_tasks=50)


@click.command()
@click.option("--seed", type=int, default=0, help="Of events and the fit.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file.")
def main(seed: int, output: Path | None) -> None:
    """Count the files and functions of llmrec that one `recommend` passes through."""
    rng = np.random.default_rng(seed)
    items = pd.DataFrame({"item_id": np.arange(ITEMS), "title": [f"a thing of kind {item}" for item in range(ITEMS)]})
    recommender = Recommender(settings=small(), seed=seed).fit(events(USERS, EVENTS, 0, rng), items)
    first, new = events(1, KNOWN, 10**9, rng), events(1, KNOWN, 10**9, rng)

    def to_new(events: pd.DataFrame, steps: int) -> object:
        return recommender.recommend(histories=events, k=K, steps=steps)

    found: dict[str, Any] = {"request": f"{KNOWN} events in a pandas frame, {K} items", "items": ITEMS}
    for steps in STEPS:
        to_new(first, steps)  # what only the first answer does; the history that is counted was not read before
        found[f"a new user, {steps} steps"] = passed(partial(to_new, new, steps))
    recommender.recommend([1], k=K)
    found["a known user"] = passed(lambda: recommender.recommend([0], k=K))
    text = json.dumps(found, indent=1)
    click.echo(text)
    if output is not None:
        with whole_file(output) as fresh:
            fresh.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
