"""Recommend to all users of a saved recommender: users per second, peak memory, and against other ways to ask.

python training/speed/everybody.py --folder ml1m/ --output training/results/everybody.json
python training/speed/everybody.py --made 1000000 --output training/results/everybody.json

The first is `llmrec recommend FOLDER --all --out lists.parquet` in a process of its own, whose memory and processor time the
system reports; memory includes Python, torch and the model. `--made` first saves a made shop of so many known users with 3 to
7 events each and ITEMS items, some of which a group of users buys more often. Its recommender is fitted as briefly as can be,
on the events of FITTED users: one block, 30 candidates a source, no gradient steps for a user. Measured is memory above all:
time grows with blocks, candidates and steps.

Then SAMPLE users are asked for in turn in three ways: one by one, BATCH at a time with `recommend`, and by `recommend_all`. A
ratio is the median over rounds of processor time, over that of `recommend_all`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch

from llmrec import LoraSettings, Recommender, Settings
from llmrec.data.known import KnownUsers
from llmrec.index.candidates import Sources
from llmrec.meta.gate import Bin, Choice, Gate
from llmrec.recommender.given import events_of
from llmrec.store import whole_file

ITEMS, GROUPS, FITTED = 2000, 20, 2000
SAMPLE, BATCH, K = 256, 128, 10
WORDS = ("red", "blue", "green", "small", "large", "mug", "lamp", "rope", "tent", "soap")
COMMAND = "from llmrec.cli import main; main()"


def made_events(users: int, rng: np.random.Generator) -> pa.Table:
    """3 to 7 events of each user; four in five are of items of the user's group."""
    user = np.repeat(np.arange(users), rng.integers(3, 8, users))
    chance = 1 / (np.arange(ITEMS // GROUPS) + 5.0)
    own = rng.choice(ITEMS // GROUPS, len(user), p=chance / chance.sum()) * GROUPS + user % GROUPS
    item = np.where(rng.random(len(user)) < 0.8, own, rng.integers(0, ITEMS, len(user)))
    moment = np.datetime64("2024-01-01T00:00:00", "s") + rng.integers(0, 60_000_000, len(user))
    names = pa.array(np.char.add("u", user.astype(str)))
    return pa.table({"user_id": names, "item_id": item, "timestamp": moment})


def save_made_shop(folder: Path, users: int) -> None:
    """A recommender that knows so many users of a made shop."""
    rng = np.random.default_rng(0)
    title = [f"{WORDS[i % GROUPS % 10]} {WORDS[i // GROUPS % 10]} {i % GROUPS}" for i in range(ITEMS)]
    quick = replace(Settings.quick(), layers=1, sources=Sources(30, 30, 30), lora=LoraSettings(inner_steps=1))
    recommender = Recommender(settings=quick)
    recommender.fit(made_events(FITTED, rng), pa.table({"item_id": np.arange(ITEMS), "title": title}))
    everybody = events_of(recommender.state, made_events(users, rng), None)[0]
    gate = Gate((Choice(), Choice(1)), (Bin(1, 0, 1, 0.0, 0.0, 0.0, 1),))  # no steps for anybody
    recommender._state = replace(recommender.state, known=KnownUsers((everybody,)), trained=0, gate=gate)
    recommender.save_pretrained(folder, histories=True)


def run_command(folder: Path) -> dict[str, object]:
    """What the command takes for everybody, in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        out, began = Path(place) / "lists.parquet", time.perf_counter()
        words = ["recommend", str(folder), "--all", "--out", str(out), "--k", str(K), "--quiet"]
        running = subprocess.Popen([sys.executable, "-c", COMMAND, *words])
        _, code, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(code)
        if running.returncode:
            raise click.ClickException(f"the command ended with exit code {running.returncode}")
        seconds, lists = time.perf_counter() - began, pyarrow.parquet.ParquetFile(out)
        users = len(set(lists.read(["user_id"]).column(0).to_pylist()))
        processor, megabytes = used.ru_utime + used.ru_stime, used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
        return {
            "users": users,
            "rows": lists.metadata.num_rows,
            "file, MB": round(out.stat().st_size / 1e6, 1),
            "peak memory, MB": round(megabytes),
            "seconds": round(seconds, 1),
            "users per second": round(users / seconds, 1),
            "processor seconds": round(processor, 1),
            "users per processor second": round(users / processor, 1),
        }


def ways(recommender: Recommender, folder: Path) -> dict[str, Callable[[], object]]:
    """Three ways to ask for a list for each of SAMPLE known users."""
    state = recommender.state
    some = state.histories.take(np.linspace(0, state.histories.n_users - 1, SAMPLE).astype(np.int64))
    recommender._state, users = replace(state, known=KnownUsers((some,))), some.users.values

    def one_by_one() -> None:
        recommender._state = replace(recommender.state)  # which remembers no reading of an earlier round
        for user in users:
            recommender.recommend([user], K)

    return {
        "recommend_all": lambda: recommender.recommend_all(folder / "sample.parquet", K, verbose=False),
        "in batches": lambda: [recommender.recommend(users[at : at + BATCH], K) for at in range(0, len(users), BATCH)],
        "one by one": one_by_one,
    }


def compare(folder: Path, rounds: int) -> dict[str, object]:
    """Processor milliseconds a user of each way, medians over rounds in turn, and ratios over `recommend_all`."""
    took = np.empty((rounds, 3))
    with tempfile.TemporaryDirectory() as place:
        calls = list(ways(Recommender.from_pretrained(folder), Path(place)).values())
        calls[0]()  # the first call of a process probes and allocates
        for row in range(rounds):
            for column, call in enumerate(calls):
                began = time.process_time()
                call()
                took[row, column] = time.process_time() - began
    names, middle = ("recommend_all", "in batches", "one by one"), np.median(took, axis=0)
    each = {name: round(float(value) / SAMPLE * 1e3, 3) for name, value in zip(names, middle, strict=True)}
    ratio = np.median(took / took[:, :1], axis=0)
    ratios = {name: round(float(value), 2) for name, value in zip(names[1:], ratio[1:], strict=True)}
    return {"sample": SAMPLE, "batch": BATCH, "rounds": rounds, "processor ms a user": each, "times recommend_all": ratios}


@click.command()
@click.option("--folder", type=click.Path(exists=True, path_type=Path), help="A recommender saved with histories.")
@click.option("--made", type=click.IntRange(min=SAMPLE), help="Make and save a shop with so many users instead.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often the three ways are timed.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file that the figures are added to.")
def main(folder: Path | None, made: int | None, rounds: int, output: Path | None) -> None:
    """Time recommending to all users, and take its peak memory."""
    if (folder is None) == (made is None):
        raise click.UsageError("give either --folder or --made")
    with tempfile.TemporaryDirectory() as place:
        shop = Path(place) / "shop" if folder is None else folder
        if made is not None:
            save_made_shop(shop, made)
        found = {"threads": torch.get_num_threads(), "k": K, "command": run_command(shop), "ways": compare(shop, rounds)}
    name = shop.name if made is None else f"made, {made:,} users"
    click.echo(json.dumps({name: found}, indent=1))
    if output is not None:
        told = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
        with whole_file(output) as fresh:
            fresh.write_text(json.dumps({**told, name: found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
