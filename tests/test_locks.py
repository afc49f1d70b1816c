"""Laws of the lock: one holds it at a time, whoever dies gives it back, and where there is none everybody goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llmrec import locks
from llmrec.locks import locked

ROOT = str(Path(locks.__file__).parents[1])


def test_one_holds_it_at_a_time_and_nothing_stays(tmp_path):
    with locked(tmp_path / "a", 0) as alone, locked(tmp_path / "b", 0) as other:
        assert alone and other  # of another path
        with pytest.raises(BlockingIOError), locked(tmp_path / "a", 0.03):
            pass
    with locked(tmp_path / "a", 0) as alone:
        assert alone
    assert not list(tmp_path.iterdir())


def test_threads_take_turns(tmp_path):
    inside, seen = [], []

    def work() -> None:
        for _ in range(10):
            with locked(tmp_path / "a", 60) as alone:
                inside.append(1)
                seen.append((alone, len(inside)))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [(True, 1)] * 40 and not list(tmp_path.iterdir())


def test_without_a_folder_or_locks_of_the_system_there_is_none(tmp_path, monkeypatch):
    with locked(tmp_path / "gone" / "a", 0) as alone:
        assert not alone

    def none(descriptor: int) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(locks, "_take", none)
    with locked(tmp_path / "a", 0) as alone:
        assert not alone and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_killed_process_gives_it_back(tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from llmrec.locks import locked\n"
        "with locked(Path(sys.argv[1]), 0) as alone:\n"
        "    print(alone, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a")], env=os.environ | {"PYTHONPATH": ROOT}, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout.readline() == b"True\n"
            with pytest.raises(BlockingIOError), locked(tmp_path / "a", 0):
                pass
        finally:
            process.kill()
    with locked(tmp_path / "a", 0) as alone:  # the file is still there; it locks nobody out
        assert alone
    assert not list(tmp_path.iterdir())


def test_who_waited_for_a_file_that_its_holder_removed_takes_the_new_one(tmp_path, monkeypatch):
    take, calls = locks._take, []

    def late(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / ".a.lock").unlink()  # as who held it does in the end
        take(descriptor)

    monkeypatch.setattr(locks, "_take", late)
    with locked(tmp_path / "a", 0) as alone:
        assert alone and len(calls) == 2
        with pytest.raises(BlockingIOError), locked(tmp_path / "a", 0):
            pass
