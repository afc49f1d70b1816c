"""Progress: a bar for long loops, and a line at the start and the end of each stage.

Stage lines and notes go to the logger `llmrec` at level INFO. Where no handler would receive them they are written to stderr,
so that they are seen without any set-up of logging and never twice. `LLMREC_PROGRESS=0` switches the bars off.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TextIO

from tqdm import tqdm

LOGGER = logging.getLogger("llmrec")
LOG_SECONDS = 30.0  # between two states of a bar that goes to a file: a log must not get thousands of lines


_BARS: ContextVar[bool] = ContextVar("bars", default=True)  # False inside the stages of a call with `verbose=False`


class _Bar(tqdm):
    monitor_interval = 0  # no watching thread (threads and forking do not mix); `miniters=1` makes one unnecessary


def bar(
    iterable: Iterable[Any] | None = None,
    desc: str = "",
    total: int | None = None,
    unit: str = "it",
    stream: TextIO | None = None,
) -> _Bar:
    """A tqdm bar over `iterable`, or one to `update(n)` by hand up to `total`; also a context manager.

    stream: where it is drawn, stderr by default. On a terminal it moves ten times a second and stays when it ends; in a log
    there is one state every 30 seconds. Work that takes less than a second draws nothing, and nothing is drawn where the
    environment has `LLMREC_PROGRESS=0` or inside the stages of a call with `verbose=False`.
    """
    out = sys.stderr if stream is None else stream
    live = out.isatty()
    return _Bar(
        iterable,
        desc=desc or None,
        total=total,
        unit=unit,
        file=out,
        delay=1.0,
        miniters=1,
        mininterval=0.1 if live else LOG_SECONDS,
        ascii=not live,
        dynamic_ncols=live,
        disable=os.environ.get("LLMREC_PROGRESS") == "0" or not _BARS.get(),
    )


class Stage(NamedTuple):
    """One finished stage: its name, how long it took in seconds, and what it worked on or brought, in words."""

    name: str
    seconds: float
    detail: str


class Stages:
    """Named stages of a long command, each with its seconds; `done` is the list for a report.

    stream: where lines are written instead of to the logger. verbose: False leaves them to the logger alone, and draws no bar
        inside a stage.

    >>> stages = Stages(sys.stdout, clock=iter([0.0, 3.2]).__next__)
    >>> with stages("encode", "1,638 item texts"):
    ...     pass
    encode: 1,638 item texts ...
    encode: 1,638 item texts, 3.2 s
    >>> stages.done
    [Stage(name='encode', seconds=3.2, detail='1,638 item texts')]
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.perf_counter, verbose: bool = True):
        self.done: list[Stage] = []
        self.stream = stream
        self.clock = clock
        self.verbose = verbose

    @contextmanager
    def __call__(self, name: str, detail: str = "") -> Iterator[Callable[[str], None]]:
        """Time a `with` block. It receives a function that says what came out, which then replaces `detail`:

        `with stages("read", "events.parquet") as found: ...; found(f"{rows:,} events")`

        A block that raises prints that it failed, and is not in `done`. Stages may nest; the inner one is done first.
        """
        told = [detail]
        self.say(f"{_label(name, detail)} ...")
        began = self.clock()
        bars = _BARS.set(_BARS.get() and self.verbose)
        try:
            yield lambda text: told.append(text)
        except BaseException:
            self.say(f"{_label(name, told[-1])}, failed after {_duration(self.clock() - began)}")
            raise
        finally:
            _BARS.reset(bars)
        seconds = self.clock() - began
        self.done.append(Stage(name, seconds, told[-1]))
        self.say(f"{_label(name, told[-1])}, {_duration(seconds)}")

    @contextmanager
    def counted(
        self, name: str, detail: str, total: int
    ) -> Iterator[tuple[Callable[[str], None], Callable[[int, object], None]]]:
        """A stage of `total` steps with a bar. The block receives the function of a stage, and one to call after each step with
        its number, from 0 on, and its loss, which the bar does not show."""
        with self(name, detail) as say, bar(total=total, stream=self.stream) as drawn:

            def watch(number: int, _: object) -> None:
                drawn.update(number + 1 - drawn.n)

            yield say, watch

    def say(self, line: str) -> None:
        """Pass one line to the logger, or to stderr where no handler receives it; a note, for example."""
        if self.stream is not None:
            print(line, file=self.stream, flush=True)
        elif _received():
            LOGGER.info(line)
        elif self.verbose and not _silenced():
            print(line, file=sys.stderr, flush=True)


def _received() -> bool:
    """Whether a handler of the program takes the logger's INFO records."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return False
    place: logging.Logger | None = LOGGER
    while place is not None:
        if any(handler.level <= logging.INFO for handler in place.handlers):
            return True
        place = place.parent if place.propagate else None
    return False


def _silenced() -> bool:
    """Whether the program has switched the logger off, or set it above INFO."""
    return LOGGER.disabled or LOGGER.level > logging.INFO or LOGGER.manager.disable >= logging.INFO


def _label(name: str, detail: str) -> str:
    return f"{name}: {detail}" if detail else name


def _duration(seconds: float) -> str:
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
