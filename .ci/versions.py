"""Is what is installed what pyproject.toml and constraints.txt ask for? Every extra but `gpu`, in one environment.

pip does not say so when an environment holds something older than a lower bound, or when an extra is not there. Run it with the
Python of the environment: `python .ci/versions.py`. Prints what is wrong and exits with 1.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
APART = "gpu"  # faiss-gpu and faiss-cpu install into the same module
# Not pinned: the library itself, what every environment is made with, and what a torch for CUDA brings.
FREE = re.compile(r"llmrec|pip|nvidia-.*|cuda-.*|triton")


def normal(name: str) -> str:
    """The name as PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(project: Mapping[str, Any], apart: bool = False) -> list[Requirement]:
    """What the base and its extras declare, `gpu` alone or all others, without references to the project itself."""
    extras = project["optional-dependencies"]
    chosen = [APART] if apart else [name for name in extras if name != APART]
    lines = [*project["dependencies"], *(line for name in chosen for line in extras[name])]
    return [one for one in map(Requirement, lines) if normal(one.name) != normal(project["name"])]


def pins(constraints: str) -> dict[str, Version]:
    """Name -> version of every line `name==version`."""
    lines = (line.split("#")[0].strip() for line in constraints.splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {normal(name): Version(version) for name, version in pairs}


def problems(project: Mapping[str, Any], pinned: Mapping[str, Version], installed: Mapping[str, Version]) -> list[str]:
    """One sentence for each requirement that is not met and each package whose version is not its pin."""
    found = []
    for one in requirements(project):
        here = installed.get(normal(one.name))
        if here is None:
            found.append(f"{one.name}: expected {one.specifier}, got nothing: it is not installed")
        elif not one.specifier.contains(here, prereleases=True):
            found.append(f"{one.name}: expected {one.specifier} (pyproject.toml), got {here} installed")
    for one in [*requirements(project), *requirements(project, apart=True)]:
        pin = pinned.get(normal(one.name))
        if pin is None:
            found.append(f"{one.name}: expected an exact pin in constraints.txt, got none")
        elif not one.specifier.contains(pin, prereleases=True):
            found.append(f"{one.name}: expected {one.specifier} (pyproject.toml), got =={pin} in constraints.txt")
    for name, version in sorted(installed.items()):
        if FREE.fullmatch(name):
            continue
        if name not in pinned:
            found.append(f"{name}: expected a pin in constraints.txt for what is installed, got none for {version}")
        elif Version(version.public) != pinned[name]:
            found.append(f"{name}: expected =={pinned[name]} (constraints.txt), got {version} installed")
    return sorted(set(found))


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    installed = {normal(one.metadata["Name"]): Version(one.version) for one in metadata.distributions()}
    found = problems(project, pinned, installed)
    print(*found, f"{len(installed)} packages, {len(found)} problems", sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
