"""A lock beside a path, which one process at a time holds; the system takes it back from a process that dies.

The file `.NAME.lock` is only what the system's lock is taken on (flock, on Windows that of msvcrt): one that a killed process
left behind locks nobody out. Who holds the lock removes the file. A file system without locks, or a folder in which no file can
be made, has none to give.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(*error.args) from error
else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_LOOK_AGAIN = 0.01  # seconds


@contextmanager
def locked(target: Path, wait: float) -> Iterator[bool]:
    """Hold the lock beside `target` for the block: True; False where there is none to be had.

    wait: seconds, 0 for one try. Raises BlockingIOError where another process, or another thread, holds it for longer.
    """
    file = target.with_name(f".{target.name}.lock")
    descriptor = _taken(file, wait)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            _give_back(file, descriptor)


def _taken(file: Path, wait: float) -> int | None:
    until = time.monotonic() + wait
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError:
            return None
        kept = False
        try:
            _take(descriptor)
            kept = _is(file, descriptor)  # else it was that of a process that has removed the file: there is a new one
            if kept:
                return descriptor
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(_LOOK_AGAIN)
        except OSError:  # a file system without locks
            with suppress(OSError):
                file.unlink()
            return None
        finally:
            if not kept:
                os.close(descriptor)


def _is(file: Path, descriptor: int) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.lstat())
    except FileNotFoundError:
        return False


def _give_back(file: Path, descriptor: int) -> None:
    if sys.platform != "win32":  # while it is held: who waits for it finds the file without a name, and opens a new one
        with suppress(OSError):
            file.unlink()
    os.close(descriptor)
    if sys.platform == "win32":  # which removes no open file: this fails where another process waits, and then that one does it
        with suppress(OSError):
            file.unlink()
