"""A new folder takes the place of an older one: in two renames, one process at a time, and recovered after a crash.

    NAME -> .NAME.previous        a crash here leaves no NAME: `settled` puts .NAME.previous back
    .NAME.saving-… -> NAME        from here on the new one is in place

Processes take turns by the lock of `llmrec.locks`. Where a file system has no locks, two of them must not save to one path.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from llmrec.errors import ArtefactError
from llmrec.locks import locked
from llmrec.manifest import MANIFEST, may_stand_beside, peek

_PATIENCE = 600.0  # seconds that a save waits for its turn; a turn takes as long as copying what stands beside a save
_GAP = 10.0  # seconds that reading waits for a process between its two renames, which take microseconds
_NO_LOCK = 1.0  # the same where the lock cannot be had, so that nobody knows whether that process lives


def previous_of(target: Path) -> Path:
    """Where an older save is while a new one takes its place."""
    return target.with_name(f".{target.name}.previous")


@contextmanager
def turn(target: Path) -> Iterator[None]:
    """Be the only process that puts something in place at `target` for the block; what a crash left there is put back before.

    Raises ArtefactError where the turn does not come.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(target, _PATIENCE))
        except BlockingIOError as error:
            raise ArtefactError(
                f"{target}: expected to save here, got no turn in {_PATIENCE:,.0f} seconds, because another process is saving "
                "here; end it, or choose another path"
            ) from error
        _put_back(target)
        yield


def settled(target: Path) -> bool:
    """Whether something is at `target`, once no process is between its two renames. What a dead one left is put back.

    Raises ArtefactError where it cannot be put back, and where a process stays between its renames.
    """
    previous, began, looked = previous_of(target), time.monotonic(), False
    while not target.exists():
        if not previous.exists():
            if looked:
                return False
            looked = True
            time.sleep(0.05)  # between the two looks a save may have come to its end: look once more
            continue
        waited = time.monotonic() - began
        try:
            with locked(target, 0) as alone:
                if alone or waited > _NO_LOCK:
                    _put_back(target)
        except BlockingIOError as error:
            if waited > _GAP:
                raise ArtefactError(
                    f"{target}: expected a saved folder, got none for {_GAP:.0f} seconds: another process is saving here; "
                    "end it, or wait for it"
                ) from error
        except OSError as error:
            raise ArtefactError(
                f"{target}: expected a saved folder, got {previous.name} beside it, which a killed save left and which cannot "
                f"be renamed ({error.strerror or error}); rename it to {target.name}"
            ) from error
        time.sleep(0.005)
    return True


def refuse_to_overwrite(target: Path, kind: str | None) -> None:
    """Raises ArtefactError where something else than an older save of this kind is at `target`. kind: None for any kind."""
    empty = target.is_dir() and all(
        may_stand_beside(entry.relative_to(target).as_posix()) and not entry.is_symlink()
        for entry in target.rglob("*")
        if entry.is_symlink() or not entry.is_dir()
    )
    if target.exists() and not empty and not (target / MANIFEST).is_file():
        raise ArtefactError(
            f"{target}: expected nothing, an empty folder or an older save, got something else, which is left alone; choose "
            "another path"
        )
    there = peek(target).get("kind")  # a manifest that is damaged says none, and saving again is the remedy
    if kind is not None and isinstance(there, str) and there != kind:
        raise ArtefactError(
            f'{target}: expected nothing, or an older "{kind}" to replace, got "{there}", which is left alone; choose another '
            "path, or remove that folder first"
        )


def put_in_place(fresh: Path, target: Path) -> None:
    """Rename `fresh` to `target`, with what stood beside the older save there. Both must be flushed, and the turn be held."""
    _keep_beside(target, fresh)
    previous = previous_of(target)
    if target.exists():
        os.replace(target, previous)
    try:
        os.replace(fresh, target)
    except OSError:
        _put_back(target)
        raise
    fsync(target.parent)
    _discard(previous)


def remove_leftovers(target: Path) -> None:
    """What saves that were killed left beside the target; a day old, so that it is nobody's work in progress."""
    _discard(previous_of(target))
    names = (f".{target.name}.saving-", f".{target.name}.previous-")
    for folder in target.parent.iterdir():
        if folder.name.startswith(names) and time.time() - folder.stat().st_mtime > 86_400:
            shutil.rmtree(folder, ignore_errors=True)


def flush(folder: Path) -> None:
    """Everything under a folder, and the folder, onto the disk: a rename must not be there before what it names."""
    for entry in [*folder.rglob("*"), folder]:
        if entry.is_file():
            entry.chmod(0o644)  # safetensors writes for the owner alone; who else may read is for the folder above to say
        fsync(entry)


def fsync(entry: Path) -> None:
    """A file or a folder onto the disk."""
    if entry.is_dir() and os.name == "nt":
        return  # Windows has no handle for a folder
    descriptor = os.open(entry, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_back(target: Path) -> None:
    """Finish what a crash between the two renames left: the older save goes back to where it was."""
    previous = previous_of(target)
    if not target.exists() and previous.exists():
        os.replace(previous, target)


def _discard(folder: Path) -> None:
    """Remove an older save. It is renamed first, so that a crash on the way leaves no half of it under a name that counts."""
    if folder.exists():
        waste = folder.with_name(f"{folder.name}-{secrets.token_hex(4)}")
        os.replace(folder, waste)
        shutil.rmtree(waste, ignore_errors=True)


def _keep_beside(target: Path, fresh: Path) -> None:
    """Copy what stands beside an older save into the new one, but for what the new one has itself."""
    if not target.is_dir():
        return
    for file in sorted(target.rglob("*")):
        name = file.relative_to(target)
        copy = fresh / name
        if file.is_symlink() or copy.exists() or not may_stand_beside(name.as_posix()):
            continue
        if file.is_dir():
            copy.mkdir(parents=True)  # git needs its empty folders too
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
        fsync(copy)
        fsync(copy.parent)
