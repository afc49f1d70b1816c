"""What a release promises is what is there, and the checks before one find what they are for."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.version import Version

import llmrec
import llmrec.metrics
import llmrec.models
from llmrec.cli import main

ROOT = Path(__file__).resolve().parents[1]
STABILITY = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def script(name: str) -> ModuleType:
    """A file of .ci as a module."""
    spec = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_called_public_is_what_is_there():
    public = STABILITY.split("## Public")[1].split("\n## ")[0]
    named = re.findall(r"`(\w+)`", public.split("- `llmrec`:")[1].split("\n- ")[0])
    assert sorted(named) == sorted(llmrec.__all__)
    assert set(re.findall(r"`llmrec (\w+)`", public)) == set(main.commands)
    for module in (llmrec.metrics, llmrec.models):
        assert f"`{module.__name__}`" in public
        assert all(hasattr(module, name) for name in module.__all__)


def test_paths_that_the_documents_name_are_there():
    for name in ("CONTRIBUTING.md", "docs/stability.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        paths = re.findall(r"`((?:llmrec|training|tests)/[\w/]*(?:\.\w+)?)`", text)
        assert paths and [path for path in paths if not (ROOT / path).exists()] == ["training/results/NAME.json"] * (
            name == "CONTRIBUTING.md"
        )


def test_the_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {PROJECT['version']}\n" in citation and f"\nlicense: {PROJECT['license']}\n" in citation


def test_versions_below_a_bound_missing_packages_and_other_pins_are_found():
    versions = script("versions")
    project = {
        "name": "x",
        "dependencies": ["numpy>=2.4"],
        "optional-dependencies": {"a": ["x[b]", "Some_Thing>=1.2"], "b": ["other>=3"], "gpu": ["faiss-gpu>=1.15.1"]},
    }
    pins = versions.pins("# all\nnumpy==2.4.6\nsome.thing==1.2\nother==3.0  # why\nfaiss-gpu==1.15.1\n")
    right = {"numpy": Version("2.4.6+cpu"), "some-thing": Version("1.2"), "other": Version("3.0"), "pip": Version("1")}

    def found(**changes: str) -> str:
        installed = right | {name.replace("_", "-"): Version(version) for name, version in changes.items()}
        return "; ".join(versions.problems(project, pins, installed))

    assert found() == ""
    assert "numpy: expected >=2.4 (pyproject.toml), got 2.3 installed" in found(numpy="2.3")
    assert "some-thing: expected ==1.2 (constraints.txt), got 1.3 installed" in found(some_thing="1.3")
    assert "stranger: expected a pin in constraints.txt" in found(stranger="1")
    lacking = {name: version for name, version in right.items() if name != "other"}
    assert versions.problems(project, pins, lacking) == ["other: expected >=3, got nothing: it is not installed"]
    old = pins | {"faiss-gpu": Version("1.14")}
    assert versions.problems(project, old, right) == [
        "faiss-gpu: expected >=1.15.1 (pyproject.toml), got ==1.14 in constraints.txt"
    ]


def test_one_environment_has_every_extra_but_gpu():
    extras = {**PROJECT["optional-dependencies"]}
    reached, todo = set(), ["dev"]
    while todo:
        name = todo.pop()
        reached.add(name)
        todo += [
            one for line in extras[name] for one in re.findall(r"[\w-]+", (re.findall(r"^llmrec\[(.+)\]", line) or [""])[0])
        ]
    assert reached == set(extras) - {"gpu"}


INIT = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from {name}.inside import C, f
__all__ = ["C", "f"]
"""
INSIDE = "def f(x, y=1): ...\ndef helper(z): ...\nclass C:\n    def m(self, q): ...\n"


@pytest.mark.parametrize(
    ("old", "new", "breaks"),
    [
        ("helper(z)", "helper()", False),
        ("y=1", "y=1, z=2", False),
        ("y=1", "w=1", True),
        ("def m", "def n", True),
        ("class C", "class D", True),
    ],
)
def test_changes_of_public_names_alone_are_found(old, new, breaks, tmp_path):
    griffe = pytest.importorskip("griffe", reason="comes with the extra dev")
    api, loaded = script("api"), []
    for folder, source in (("old", INSIDE), ("new", INSIDE.replace(old, new))):
        package = tmp_path / folder / "shown"
        package.mkdir(parents=True)
        init = (
            INIT.format(name="shown")
            if "class C" in source
            else INIT.format(name="shown").replace("C, ", "").replace('"C", ', "")
        )
        (package / "__init__.py").write_text(init)
        (package / "inside.py").write_text(source)
        loaded.append(griffe.load("shown", search_paths=[tmp_path / folder], resolve_aliases=True))
    assert bool(api.breaking(*loaded)) is breaks
