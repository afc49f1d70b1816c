"""Time a whole fit on a quiet machine and beside busy processes, as training/results/busy.json.

python training/speed/busy.py --most 8 --output training/results/busy.json
python training/speed/busy.py --settings default

Each fit of the packaged data is a process of its own. Beside it stands the same fit with the waiting that GNU OpenMP has by
itself, which `import llmrec` shortens; every fit is stopped after --most times the quiet time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from llmrec.progress import Stages
from llmrec.store import whole_file

BUSY = "while True: pass"
DEFAULT = {"GOMP_SPINCOUNT": "300000"}  # what libgomp takes where neither this nor OMP_WAIT_POLICY is set


def fit(settings: str) -> dict[str, float]:
    """Seconds of a fit in this process, without imports and the reading of the tables."""
    from llmrec import Recommender, Settings
    from llmrec.data.journey import load_journey

    tables = load_journey()
    began = time.perf_counter()
    Recommender(settings=Settings.quick() if settings == "quick" else Settings()).fit(*tables)
    return {"seconds": time.perf_counter() - began}


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but run, until the `with` block ends."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def timed(settings: str, environment: dict[str, str], limit: float | None) -> float | None:
    """Seconds of a fit in a new process; None where it took longer than `limit`."""
    command = [sys.executable, str(Path(__file__)), "--settings", settings, "--one"]
    without = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    try:
        done = subprocess.run(command, env=without | environment, stdout=subprocess.PIPE, text=True, timeout=limit, check=True)
    except subprocess.TimeoutExpired:
        return None
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def measure(settings: str, processes: int, most: float, stages: Stages) -> dict[str, object]:
    """Seconds of a fit: quiet and busy, each with our waiting and with libgomp's own."""
    with stages("quiet"):
        quiet = timed(settings, {}, None)
    assert quiet is not None
    found: dict[str, float | None] = {"quiet": quiet}
    with stages("quiet, libgomp's own waiting"):
        found["quiet, libgomp's own waiting"] = timed(settings, DEFAULT, most * quiet)
    with busy(processes):
        for name, environment in (("busy", {}), ("busy, libgomp's own waiting", DEFAULT)):
            with stages(name, f"beside {processes} processes, {most * quiet:.0f} s at most"):
                found[name] = timed(settings, environment, most * quiet)
    return {
        "fit": f"Complete Journey, {settings} settings",
        "cores": os.cpu_count(),
        "busy processes": processes,
        "stopped after, times quiet": most,
        "seconds": found,
        "times quiet": {name: None if took is None else took / quiet for name, took in found.items()},
    }


@click.command()
@click.option("--settings", type=click.Choice(["quick", "default"]), default="quick", help="How much is trained.")
@click.option("--processes", type=click.IntRange(min=1), default=2, help="Busy processes beside it.")
@click.option("--most", type=float, default=10.0, help="Times the quiet time after which a fit is stopped.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file.")
@click.option("--one", is_flag=True, help="Only one fit, in this process; its seconds are printed as JSON.")
def main(settings: str, processes: int, most: float, output: Path | None, one: bool) -> None:
    """Time a whole fit, on a quiet machine and beside busy processes."""
    if one:
        click.echo(json.dumps(fit(settings)))
        return
    text = json.dumps(measure(settings, processes, most, Stages()), indent=1) + "\n"
    click.echo(text)
    if output is not None:
        with whole_file(output) as fresh:
            fresh.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
