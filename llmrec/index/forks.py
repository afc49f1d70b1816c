"""Forked processes: the threads of torch and faiss stay behind in the parent, and a child would wait for them for ever."""

from __future__ import annotations

import os
from functools import lru_cache

import torch

from llmrec.errors import ForkError
from llmrec.index.faiss_index import threads


def check_process() -> None:
    """Call this before torch or faiss compute. Raises ForkError in a forked child whose parent has computed with several
    threads. Children that were spawned, and those that load a model which no parent has loaded, may compute."""
    first = _first_process()
    if first == os.getpid() or max(torch.get_num_threads(), threads()) == 1:
        return
    raise ForkError(
        f"process {os.getpid()} was forked from process {first} after a model had computed there, and the threads of torch and "
        "faiss do not survive a fork: any answer would wait for ever. Load the model after the fork (gunicorn: without "
        '--preload), start processes with multiprocessing.get_context("spawn"), or set OMP_NUM_THREADS=1 for the parent'
    )


@lru_cache(maxsize=1)
def _first_process() -> int:
    """The process that computed first; a forked child inherits what its parent was told."""
    return os.getpid()
