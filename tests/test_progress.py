"""Laws of bars and stages: nothing is lost, nothing floods a log, a failure is said and passed on."""

from __future__ import annotations

import doctest
import io
import logging
import threading

import pytest

from llmrec import progress
from llmrec.progress import Stage, Stages, bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_bar_yields_everything_in_order_and_starts_no_thread(stream):
    before = threading.active_count()
    assert list(bar(iter(range(5000)), "count", stream=stream())) == list(range(5000))
    assert threading.active_count() == before


def test_quick_work_draws_nothing():
    out = Terminal()
    list(bar(range(1000), "quick", stream=out))
    assert out.getvalue() == ""


@pytest.mark.parametrize(("stream", "most"), [(io.StringIO, 6), (Terminal, 10_000)])
def test_a_log_gets_a_few_states_where_a_terminal_gets_many(stream, most, monkeypatch):
    """1,000 seconds of work at 1 s a step, on a clock of our own: a log gets a state per LOG_SECONDS and the last one."""
    now = [0.0]
    monkeypatch.setattr(progress, "LOG_SECONDS", 250.0)
    out = stream()
    drawn = bar(None, "train", total=1000, unit="step", stream=out)
    monkeypatch.setattr(drawn, "_time", lambda: now[0])
    drawn.start_t = drawn.last_print_t = 0.0
    for _ in range(1000):
        now[0] += 1.0
        drawn.update(1)
    drawn.close()
    states = [state for state in out.getvalue().replace("\n", "\r").split("\r") if "train" in state]
    assert "1000/1000" in states[-1] and "step" in states[-1]
    assert 4 <= len(states) <= most
    assert (len(states) > 900) == (stream is Terminal)


def test_stages_say_when_they_begin_and_end_and_add_up():
    out, clock = io.StringIO(), iter([0.0, 1.0, 2.5, 125.4])
    stages = Stages(out, clock.__next__)
    with stages("fit") as fit:
        with stages("read", "events.parquet") as read:
            assert out.getvalue() == "fit ...\nread: events.parquet ...\n"
            read("1,234 events")
        fit("done")
    assert stages.done == [Stage("read", 1.5, "1,234 events"), Stage("fit", 125.4, "done")]
    assert out.getvalue().splitlines()[2:] == ["read: 1,234 events, 1.5 s", "fit: done, 2 min 5 s"]


def test_the_bar_of_a_counted_stage_stands_at_the_step_that_is_done(monkeypatch):
    """Also where the first steps were found done, as in training that resumes."""
    bars, real, out = [], progress.bar, io.StringIO()
    monkeypatch.setattr(progress, "bar", lambda **given: bars.append(real(**given)) or bars[-1])
    with Stages(out, iter([0.0, 0.02]).__next__).counted("base", "9 steps", 9) as (say, watch):
        seen = []
        for number in (5, 6, 8):
            watch(number, 0.5)
            seen.append(bars[0].n)
        say("9 steps, loss 0.5")
    assert seen == [6, 7, 9] and bars[0].total == 9
    assert out.getvalue().splitlines() == ["base: 9 steps ...", "base: 9 steps, loss 0.5, 20 ms"]


def test_a_failing_stage_says_so_is_passed_on_and_is_not_done():
    out = io.StringIO()
    stages = Stages(out, iter([0.0, 0.02]).__next__)
    with pytest.raises(ZeroDivisionError), stages("train", "64 users"):
        _ = 1 / 0
    assert out.getvalue().splitlines()[-1] == "train: 64 users, failed after 20 ms"
    assert stages.done == []


def test_without_a_stream_lines_go_to_stderr(capsys):
    with Stages()("read"):
        pass
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("read ...\nread, ")


def test_doctests():
    assert doctest.testmod(progress).attempted > 0
    assert doctest.testmod(progress).failed == 0


# ---------------------------------------------------------------------------------------- the logger


@pytest.fixture
def logger():
    """The library's logger as a program that set nothing up finds it."""
    one = logging.getLogger("llmrec")
    before = one.level, one.handlers[:], one.propagate
    yield one
    one.level, one.handlers[:], one.propagate = before
    one.setLevel(before[0])  # also empties what the logger remembers of levels


def test_lines_go_to_the_logger_once_where_a_handler_takes_them(logger, capsys):
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    stages = Stages()
    with stages("read"):
        stages.say("a note")
    assert out.getvalue().splitlines()[:2] == ["read ...", "a note"] and len(out.getvalue().splitlines()) == 3
    assert capsys.readouterr() == ("", "")
    logger.propagate = False  # pytest listens above
    handler.setLevel(logging.WARNING)  # now nothing of the program takes them
    with Stages()("read"):
        pass
    assert len(out.getvalue().splitlines()) == 3 and capsys.readouterr().err.startswith("read ...")


def test_the_program_may_silence_the_logger(logger, capsys):
    for level in (logging.WARNING, logging.CRITICAL):
        logger.setLevel(level)
        Stages().say("a note")
    logger.setLevel(logging.NOTSET)
    logging.disable(logging.INFO)
    try:
        Stages().say("a note")
    finally:
        logging.disable(logging.NOTSET)
    assert capsys.readouterr() == ("", "")
    Stages().say("a note")
    assert capsys.readouterr() == ("", "a note\n")
    assert logger.handlers == [] and logger.level == logging.NOTSET  # saying something set nothing up


def test_without_verbose_only_the_logger_is_told(logger, capsys):
    with Stages(verbose=False)("read"):
        assert bar(range(3)).disable
    assert not bar(range(3)).disable
    assert capsys.readouterr() == ("", "")
    out = io.StringIO()
    logger.addHandler(logging.StreamHandler(out))
    logger.setLevel(logging.INFO)
    with Stages(verbose=False)("read"):
        pass
    assert out.getvalue().startswith("read ...")


def test_bars_come_back_after_a_stage_that_failed_and_inside_another_stay_away():
    quiet, loud = Stages(io.StringIO(), verbose=False), Stages(io.StringIO())
    with pytest.raises(ZeroDivisionError), quiet("read"):
        _ = 1 / 0
    assert not bar(range(3)).disable
    with quiet("fit"), loud("read"):
        assert bar(range(3)).disable


def test_the_environment_switches_bars_off(monkeypatch):
    monkeypatch.setenv("LLMREC_PROGRESS", "0")
    out = Terminal()
    drawn = bar(range(3), "count", stream=out)
    assert drawn.disable and list(drawn) == [0, 1, 2] and out.getvalue() == ""
    monkeypatch.setenv("LLMREC_PROGRESS", "1")
    assert not bar(range(3), stream=out).disable
