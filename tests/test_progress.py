"""Laws of bars and stages: nothing is lost, nothing floods a log, a failure is said and passed on."""

from __future__ import annotations

import doctest
import io
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
