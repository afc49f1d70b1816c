"""Devices and their number types. The faster type is chosen by measuring: bf16 is fast on AMX and on GPUs, and slow on CPUs
without AMX."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch

from llmrec.errors import DataError


def check_device(device: str | torch.device) -> None:
    """Raises DataError for a device, in torch's terms, that is not available."""
    try:
        torch.zeros(1, device=device)
    except (AssertionError, RuntimeError) as error:  # torch's two ways to say so
        raise DataError(f"device: {str(device)!r} cannot be used here ({error}); `llmrec doctor` lists what can") from error


@lru_cache(maxsize=4)
def faster_dtype(device: str = "cpu") -> torch.dtype:
    """`torch.bfloat16` where a 512 x 384 x 1536 product runs faster in it than in float32, else `torch.float32`.

    Takes about 20 ms, once per device and process.
    """
    seconds = {dtype: _product(dtype, device) for dtype in (torch.float32, torch.bfloat16)}
    return min(seconds, key=lambda dtype: seconds[dtype])


def autocast(dtype: torch.dtype, device: str = "cpu") -> AbstractContextManager:
    """Matrix products in `dtype`, the rest in float32; nothing at all for float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(torch.device(device).type, dtype)


def _product(dtype: torch.dtype, device: str) -> float:
    x, y = torch.ones(512, 384, dtype=dtype, device=device), torch.ones(384, 1536, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        (x @ y).sum().item()  # .item() waits for the device
        best = min(best, time.perf_counter() - start)
    return best
