"""The neural control of a benchmark: SASRec with its constants and its number of epochs chosen on validation tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.controls import sample
from benchmarks.measure import measure
from benchmarks.protocol import Benchmark, Method, everywhere
from llmrec.models.popularity import Baseline
from llmrec.models.sasrec import Sasrec, SasrecSettings, fit_sasrec
from llmrec.progress import bar


def grid(benchmark: Benchmark) -> tuple[SasrecSettings, ...]:
    """What is tried. New users' first events are read from the first window on, and several next events count where several
    are asked for; elsewhere the last window and the next event."""
    asked = max(int((setting.validation.stop - setting.validation.split).max()) for setting in benchmark.settings)
    if asked > 1:
        base = SasrecSettings(max_length=110, windows="first", dropout=0.3, batch_size=64, epochs=40)
        return tuple(replace(base, width=128, horizon=horizon) for horizon in (1, min(asked, 10)))
    return tuple(SasrecSettings(width=64, dropout=dropout, epochs=60) for dropout in (0.3, 0.5))


def tuned_sasrec(benchmark: Benchmark, seed: int, final: bool) -> Method:
    """The best of the grid by the primary metric, mean over the settings, on validation tasks; with `final` fitted anew, for as
    many epochs, on what `benchmark.final()` trains on."""
    best: tuple[float, int, SasrecSettings, Sasrec, float] | None = None
    for settings in grid(benchmark):
        values: list[float] = []
        began = time.perf_counter()
        with bar(total=settings.epochs, desc=f"SASRec, width {settings.width}, horizon {settings.horizon}") as progress:
            watch = partial(_watch, values, progress.update)
            figure = partial(quality, benchmark=benchmark)
            found = fit_sasrec(benchmark.train, benchmark.users, settings, seed, figure, watch)
        if best is None or max(values) > best[0]:
            best = max(values), int(np.argmax(values)) + 1, settings, found, time.perf_counter() - began
    assert best is not None
    value, epochs, settings, found, seconds = best
    last = benchmark.final()
    if final and last is not benchmark:
        began = time.perf_counter()
        found = fit_sasrec(last.train, last.users, replace(settings, epochs=epochs), seed)
        seconds = time.perf_counter() - began
    said = f"width {settings.width}, dropout {settings.dropout}, horizon {settings.horizon}, {epochs} epochs"
    method = everywhere(benchmark, found, "control", seconds)
    return replace(method, constants={setting.name: f"{said} (validation {value:.4f})" for setting in benchmark.settings})


def _watch(values: list[float], tick: Callable[[], object], _: int, __: float, value: float | None) -> None:
    values.append(-np.inf if value is None else value)
    tick()


def quality(control: Baseline, benchmark: Benchmark) -> float:
    """Mean of the primary metric over the settings' validation tasks."""
    metric = benchmark.primary[1]
    values = [np.nanmean(measure(control, setting, sample(setting), (metric,))[metric]) for setting in benchmark.settings]
    return float(np.mean(values))
