"""Laws of folders that several processes save to and load from at once: each load gives one save as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llmrec import placing, store
from llmrec.errors import ArtefactError
from llmrec.hub import fetched
from llmrec.layouts import saved_kind
from llmrec.locks import locked
from llmrec.store import from_one_save, load_json, open_folder, read_folder, save_json, write_folder

KIND, ROOT = "thing", str(Path(store.__file__).parents[1])
PARTS = ("a.json", "b.json", "c.json")


def write(path: Path, version: int) -> None:
    def writer(folder: Path) -> None:
        for name in PARTS:
            save_json(folder / name, version)

    write_folder(path, writer, KIND, {"version": version})


def whole(folder: Path, meta: dict) -> list[int]:
    return [meta["version"], *(load_json(folder / name) for name in PARTS)]


def load(path: Path) -> int:
    found = read_folder(path, KIND, whole)
    assert len(set(found)) == 1, f"a mixture of saves: {found}"
    return found[0]


def interrupted(path: Path, saves: int, version: int = 2):
    """A loader in the middle of which somebody else saves, the first `saves` times that it is called."""
    calls: list[int] = []

    def read(folder: Path, meta: dict) -> list[int]:
        first = load_json(folder / PARTS[0])
        calls.append(first)
        if len(calls) <= saves:
            write(path, version)
        return [meta["version"], first, *(load_json(folder / name) for name in PARTS[1:])]

    return read, calls


# ---------------------------------------------------------------------------------------- one save for the length of a load


def test_a_save_in_the_middle_of_a_load_gives_the_new_one_as_a_whole(tmp_path):
    write(tmp_path / "a", 1)
    read, calls = interrupted(tmp_path / "a", 1)
    assert read_folder(tmp_path / "a", KIND, read) == [2] * 4 and calls == [1, 2]
    read, calls = interrupted(tmp_path / "a", 1)  # of the very same bytes: it is another save all the same
    assert read_folder(tmp_path / "a", KIND, read) == [2] * 4 and calls == [2, 2]


def test_whatever_fails_because_of_a_save_is_tried_again_and_nothing_else(tmp_path):
    write(tmp_path / "a", 1)
    calls = []

    def read(folder: Path, meta: dict) -> int:
        calls.append(meta["version"])
        if meta["version"] == 1:
            write(tmp_path / "a", 2)
            raise RuntimeError("size mismatch")
        return meta["version"]

    assert read_folder(tmp_path / "a", KIND, read) == 2 and calls == [1, 2]
    with pytest.raises(ZeroDivisionError):
        read_folder(tmp_path / "a", KIND, lambda folder, meta: calls.append(0) or 1 / 0)
    assert calls == [1, 2, 0]


def test_a_save_while_the_files_are_verified_is_no_damage(tmp_path, monkeypatch):
    write(tmp_path / "a", 1)
    check, calls = store.check_files, []

    def slow(target: Path, expected: dict) -> None:
        calls.append(target)
        if len(calls) == 1:
            write(tmp_path / "a", 2)
        check(target, expected)

    monkeypatch.setattr(store, "check_files", slow)
    assert open_folder(tmp_path / "a", KIND) == {"version": 2} and len(calls) == 2


def test_saves_that_never_stop_are_a_typed_error(tmp_path):
    write(tmp_path / "a", 1)
    read, calls = interrupted(tmp_path / "a", 10**6)
    with pytest.raises(ArtefactError, match=f"another process is saving here and did so during each of {store.TRIES} loads"):
        read_folder(tmp_path / "a", KIND, read)
    assert len(calls) == store.TRIES


def test_a_link_that_leads_elsewhere_meanwhile_is_noticed(tmp_path):
    """As `ln -sfn v2 current` while a process loads `current`."""
    for version in (1, 2):
        write(tmp_path / f"v{version}", version)
    current, turned = tmp_path / "current", tmp_path / "turned"
    os.symlink(tmp_path / "v1", current)

    def read(folder: Path, meta: dict) -> list[int]:
        if meta["version"] == 1:
            os.symlink(tmp_path / "v2", turned)
            os.replace(turned, current)
        return whole(folder, meta)

    assert read_folder(current, KIND, read) == [2] * 4


def test_a_load_within_a_load_is_of_the_same_save(tmp_path):
    write(tmp_path / "a", 1)
    calls = []

    def both(folder: Path) -> list[int]:
        first = load(folder)
        calls.append(first)
        if len(calls) == 1:
            write(tmp_path / "a", 2)
        return [first, load(folder)]

    assert from_one_save(tmp_path / "a", both) == [2, 2] and calls == [1, 2]


# ---------------------------------------------------------------------------------------- between the two renames


def gap(path: Path) -> None:
    """Leave the folder as it is between the two renames of a save."""
    os.replace(path, placing.previous_of(path))


def test_who_reads_waits_for_a_save_between_its_renames_and_moves_nothing(tmp_path):
    path = tmp_path / "a"
    write(path, 1)
    gap(path)
    moved = []

    def finish() -> None:
        with_lock.wait()
        time.sleep(0.1)
        moved.append(path.exists())
        os.replace(placing.previous_of(path), path)
        done.set()

    with_lock, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=finish)
    thread.start()
    with locked(path, 0):
        with_lock.set()
        assert load(path) == 1 and done.is_set()
    thread.join()
    assert moved == [False]  # nobody else put it back


def test_who_stays_between_its_renames_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(placing, "_GAP", 0.05)
    write(tmp_path / "a", 1)
    gap(tmp_path / "a")
    with locked(tmp_path / "a", 0), pytest.raises(ArtefactError, match="another process is saving here"):
        load(tmp_path / "a")
    assert load(tmp_path / "a") == 1  # put back, now that nobody holds the lock
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_without_a_lock_reading_works_and_what_was_left_is_put_back_or_named(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write(path, 1)
    monkeypatch.setattr("llmrec.locks._taken", lambda file, wait: None)  # as in a folder that one may not write into
    monkeypatch.setattr(placing, "_NO_LOCK", 0.02)
    assert load(path) == 1
    gap(path)
    with monkeypatch.context() as patch:

        def refused(*_) -> None:
            raise PermissionError(13, "Permission denied")

        patch.setattr(os, "replace", refused)
        with pytest.raises(ArtefactError, match=r"got .a.previous beside it, .* \(Permission denied\); rename it to a"):
            load(path)
    assert load(path) == 1
    write(path, 2)
    assert load(path) == 2


def test_kind_and_place_are_known_between_the_renames(tmp_path):
    path = tmp_path / "a"
    write(path, 1)
    gap(path)
    assert fetched(path) == path and store.is_there(path)
    assert saved_kind(path) == KIND


# ---------------------------------------------------------------------------------------- taking turns


def test_a_save_waits_for_its_turn_and_says_when_it_does_not_come(tmp_path, monkeypatch):
    write(tmp_path / "a", 1)
    monkeypatch.setattr(placing, "_PATIENCE", 0.05)
    with locked(tmp_path / "a", 0), pytest.raises(ArtefactError, match="another process is saving here"):
        write(tmp_path / "a", 2)
    assert load(tmp_path / "a") == 1
    write(tmp_path / "a", 2)
    assert load(tmp_path / "a") == 2 and [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_the_lock_is_not_held_while_a_save_is_made(tmp_path):
    """It may take minutes; somebody else's save is put in place meanwhile."""

    def writer(folder: Path) -> None:
        write(tmp_path / "a", 1)
        for name in PARTS:
            save_json(folder / name, 2)

    write_folder(tmp_path / "a", writer, KIND, {"version": 2})
    assert load(tmp_path / "a") == 2


def test_a_save_of_another_kind_is_not_replaced(tmp_path):
    write(tmp_path / "a", 1)
    said = 'expected nothing, or an older "other" to replace, got "thing", which is left alone; choose another path'
    for refused in (
        lambda: write_folder(tmp_path / "a", lambda folder: None, "other", {}),
        lambda: write_folder(tmp_path / "b", lambda folder: write(tmp_path / "b", 1), "other", {}),  # it came meanwhile
        lambda: store.check_target(tmp_path / "a", "other"),
    ):
        with pytest.raises(ArtefactError, match=said):
            refused()
    store.check_target(tmp_path / "a")
    store.check_target(tmp_path / "a", KIND)
    assert load(tmp_path / "a") == load(tmp_path / "b") == 1
    (tmp_path / "a" / store.MANIFEST).write_text("damaged")  # then saving again is the remedy
    write_folder(tmp_path / "a", lambda folder: None, "other", {})


def by_both(versions: list[int]) -> bool:
    """Whether both savers' versions were seen, the odd ones and the even ones."""
    return {version % 2 for version in versions if version} == {0, 1}


@pytest.mark.slow
def test_processes_that_save_and_load_at_once(tmp_path):
    """Two savers, killed in the end, and loads meanwhile: each is of one save."""
    path, code = (
        tmp_path / "a",
        "\n".join(
            (
                "import sys, time",
                "from pathlib import Path",
                "from llmrec.store import save_json, write_folder",
                "path, version = Path(sys.argv[1]), int(sys.argv[2])",
                "while True:",
                "    def writer(folder):",
                f"        for name in {PARTS}:",
                "            save_json(folder / name, version)",
                "    write_folder(path, writer, 'thing', {'version': version})",
                "    version += 2",
                "    time.sleep(0.01)",
            )
        ),
    )
    write(path, 0)
    savers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), str(first)], env=os.environ | {"PYTHONPATH": ROOT}, stderr=subprocess.PIPE
        )
        for first in (1, 2)
    ]
    try:
        seen, until = [], time.monotonic() + 60
        while time.monotonic() < until and (len(seen) < 100 or len(set(seen)) < 10 or not by_both(seen)):
            seen.append(load(path))
        assert by_both(seen) and len(set(seen)) >= 10
        assert [saver.poll() for saver in savers] == [None, None]
    finally:
        for saver in savers:
            saver.kill()
        said = [saver.communicate()[1] for saver in savers]
    assert said == [b"", b""]
    assert load(path) > 0
    write(path, 0)
    assert load(path) == 0
