"""The house rules of ARCHITECTURE.md, read out of the document and held against the code.

Each rule is a function from source to complaints; it is tried on a planted violation first, then on the tree.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "llmrec"
MAX_LINES = 400
HEAVY = (
    "torch",
    "transformers",
    "faiss",
    "pandas",
    "narwhals",
    "matplotlib",
    "peft",
    "yaml",
    "huggingface_hub",
    "datasets",
    "rich",
    "jinja2",
)
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
REMOTE_CODE = "_".join(("trust", "remote", "code"))
# import name -> distributions that bring it, where the two differ
OWN = (
    *("llmrec", "benchmarks", "golden", "studies", "tables", "tests", "prompts"),
    "pages",
)
DISTRIBUTIONS = {"faiss": {"faiss-cpu", "faiss-gpu"}, "PIL": {"pillow"}, "yaml": {"pyyaml"}, "sklearn": {"scikit-learn"}}


def sources(*folders: str) -> list[Path]:
    """Every Python file of some folders of the checkout."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def imports(source: str, package: str = "") -> Iterator[str]:
    """Dotted name of everything that a module imports, in functions and under TYPE_CHECKING too. `from a import b` gives
    `a.b`, for `b` may be a module. `package` is the dotted folder of the module, for relative imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from (f"{module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def called(node: ast.Call) -> str:
    """Last part of the name of what is called."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


# ---------------------------------------------------------------------------------------- the dependency rule


def layers(architecture: str) -> list[list[str]]:
    """The list under "The dependency rule": one list of folders and modules a line."""
    block = architecture.split("## The dependency rule", 1)[1].split("```")[1]
    return [re.split(r"\s{2,}", line)[0].split(", ") for line in block.strip().splitlines()]


def gates(architecture: str) -> dict[str, str]:
    """Heavy library -> the one file that imports it, from the sentence "One gate per heavy library"."""
    sentence = architecture.split("One gate per heavy library:", 1)[1].split(".\n")[0].split(". torch")[0]
    return {name: path for name, path in re.findall(r"(\w+)\s+in\s+`([\w/]+\.py)`", sentence) if name in HEAVY}


ARCHITECTURE = text(ROOT / "ARCHITECTURE.md")
LEVEL = {name: level for level, names in enumerate(layers(ARCHITECTURE)) for name in names}


def part_of(module: str) -> str:
    """llmrec.data.tasks.Tasks -> data"""
    return module.split(".")[1] if "." in module else ""


def upward(path: str, source: str) -> list[str]:
    """Imports of `path` (within llmrec) that the list does not allow: from below, or from a folder it does not name."""
    here = path.split("/")[0].removesuffix(".py")
    package = ".".join(["llmrec", *path.split("/")[:-1]])
    if here == "__init__":  # the package's front may show anything
        return []
    if here not in LEVEL:
        return [f"{path}: `{here}` is not in ARCHITECTURE.md's dependency rule"]
    found = []
    for module in imports(source, package):
        if module.split(".")[0] != "llmrec":
            continue
        there = part_of(module)
        if there != here and LEVEL.get(there, len(LEVEL)) > LEVEL[here]:
            found.append(f"{path}: imports {module}, which is not above `{here}`")
    return found


def past_the_gate(path: str, source: str, gate: dict[str, str]) -> list[str]:
    tops = {module.split(".")[0] for module in imports(source, "llmrec")}
    found = [f"{path}: imports {name}; its gate is {gate[name]}" for name in sorted(tops & set(gate)) if gate[name] != path]
    if "peft" in tops:
        found.append(f"{path}: imports peft; only its file format is used")
    if "torch" in tops and path.startswith(("data/", "metrics/", "drift/")):
        found.append(f"{path}: imports torch")
    return found


def test_the_document_is_read_as_it_is_meant():
    assert layers("## The dependency rule\n```\na, b     first\nc   second, third\n```") == [["a", "b"], ["c"]]
    assert (
        LEVEL["errors"]
        == LEVEL["store"]
        < LEVEL["data"]
        < LEVEL["metrics"]
        < LEVEL["encoder"]
        < LEVEL["models"]
        < LEVEL["index"]
    )
    assert LEVEL["index"] < LEVEL["adapters"] < LEVEL["meta"] < LEVEL["ranking"] < LEVEL["recommender"] < LEVEL["scenes"]
    assert LEVEL["scenes"] < LEVEL["cli"]
    assert set(gates(ARCHITECTURE)) == {
        "narwhals",
        "transformers",
        "faiss",
        "matplotlib",
        "yaml",
        "huggingface_hub",
        "datasets",
        "rich",
        "jinja2",
    }


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("data/tasks.py", "from llmrec.meta.inner import adapt", True),
        ("data/tasks.py", "def f():\n    import llmrec.encoder.backbone", True),
        ("data/tasks.py", "from llmrec import recommender", True),
        ("data/tasks.py", "from ..meta import inner", True),
        ("store.py", "from llmrec.data.ids import Ids", True),
        ("data/tasks.py", "import importlib\nimportlib.import_module('llmrec.cli')", True),
        ("new/thing.py", "x = 1", True),
        ("data/tasks.py", "from llmrec.nowhere import x", True),
        ("data/tasks.py", "from llmrec.data.ids import Ids", False),
        ("data/tasks.py", "from .ids import Ids", False),
        ("data/tasks.py", "from llmrec.errors import DataError", False),
        ("cli.py", "from llmrec.demo import plot\nfrom llmrec.recommender import model", False),
        ("__init__.py", "from llmrec.recommender import model", False),
    ],
)
def test_an_import_from_below_is_found(path, source, wrong):
    assert bool(upward(path, source)) is wrong


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("data/clean.py", "import narwhals as nw", True),
        ("index/candidates.py", "def f():\n    from faiss import IndexFlatIP", True),
        ("adapters/peft_format.py", "import peft", True),
        ("data/clean.py", "import torch.nn", True),
        ("metrics/ranking.py", "from torch import Tensor", True),
        ("drift/stream.py", "import torch", True),
        ("data/frames.py", "import narwhals as nw", False),
        ("index/faiss_index.py", "import faiss", False),
        ("encoder/base.py", "import torch", False),
    ],
)
def test_a_heavy_import_outside_its_gate_is_found(path, source, wrong):
    assert bool(past_the_gate(path, source, gates(ARCHITECTURE))) is wrong


def test_folders_import_only_from_above():
    assert [c for file in sources("llmrec") for c in upward(file.relative_to(PACKAGE).as_posix(), text(file))] == []


def outside(source: str) -> list[str]:
    """Imports of the laboratory, which the library must not have."""
    return [module for module in imports(source, "llmrec") if module.split(".")[0] in ("training", "benchmarks", "studies")]


def test_the_library_never_imports_the_laboratory():
    assert outside("from studies.scenes import reader") and outside("import benchmarks") and not outside("import llmrec.data")
    assert {file.name: found for file in sources("llmrec") if (found := outside(text(file)))} == {}


def test_heavy_libraries_come_in_through_their_gates():
    gate = gates(ARCHITECTURE)
    found = [c for file in sources("llmrec") for c in past_the_gate(file.relative_to(PACKAGE).as_posix(), text(file), gate)]
    assert found == []


def loaded(statement: str) -> set[str]:
    """Heavy libraries that a fresh interpreter holds after the statement."""
    script = f"import sys\n{statement}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.slow
def test_importing_llmrec_brings_in_nothing_heavy():
    assert loaded("import types; sys.modules['faiss'] = types.ModuleType('faiss')") == {"faiss"}  # the probe sees
    assert loaded("import llmrec") == set()


@pytest.mark.slow
def test_data_metrics_and_drift_run_without_torch():
    names = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in sources("llmrec/data", "llmrec/metrics", "llmrec/drift")
    ]
    assert "llmrec.metrics.ranking" in names
    assert "torch" not in loaded(f"import {', '.join(name.removesuffix('.__init__') for name in names)}")


# ---------------------------------------------------------------------------------------- files one can hold in mind


def test_files_stay_short():
    lengths = {file.relative_to(ROOT).as_posix(): len(text(file).splitlines()) for file in sources("llmrec")}
    assert {path: lines for path, lines in lengths.items() if lines >= MAX_LINES} == {}


# ---------------------------------------------------------------------------------------- nothing that runs code on load


def unsafe(source: str) -> list[str]:
    """Ways to run code by loading a file: pickles, torch.load, models with code of their own."""
    found = []
    for module in imports(source):
        if module.split(".")[0] in UNSAFE_MODULES or module == "torch.load":
            found.append(f"imports {module}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            found.append(f"line {node.lineno}: torch.load")
        if isinstance(node, ast.Attribute) and node.attr in ("read_pickle", "to_pickle"):
            found.append(f"line {node.lineno}: {node.attr}")
        if isinstance(node, ast.keyword) and node.arg == REMOTE_CODE:
            found.append(f"line {node.value.lineno}: {REMOTE_CODE}")
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and getattr(node.value, "value", True) is not False:
            found.append(f"line {node.value.lineno}: allow_pickle")
        if isinstance(node, ast.Constant) and node.value == REMOTE_CODE:  # as a key of options
            found.append(f"line {node.lineno}: {REMOTE_CODE}")
    return found


def cells(notebook: str) -> str:
    """The code of a notebook, without the lines that only IPython understands."""
    code = [cell["source"] for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join("".join(source) for source in code).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("import pickle", True),
        ("def f():\n    from pickle import loads", True),
        ("import torch\ntorch.load('x')", True),
        ("from torch import load", True),
        ("import pandas\npandas.read_pickle('x')", True),
        ("model.from_pretrained('x', trust_remote_code=False)", True),
        ("options = {'trust_remote_code': True}", True),
        ("import numpy\nnumpy.load('x', allow_pickle=True)", True),
        ("import numpy\nnumpy.load('x', allow_pickle=False)", False),
        ("'''No pickle, no torch.load, no trust_remote_code.'''\nfrom torch import nn", False),
    ],
)
def test_code_that_loads_code_is_found(source, wrong):
    assert bool(unsafe(source)) is wrong


def test_code_of_notebooks_is_read():
    notebook = {
        "cells": [
            {"cell_type": "markdown", "source": ["import x"]},
            {"cell_type": "code", "source": ["%pip y\n", "import pickle"]},
        ]
    }
    assert cells(json.dumps(notebook)) == "import pickle"


@pytest.mark.slow
def test_nothing_in_the_tree_runs_code_on_load():
    python = {file: text(file) for file in [*sources("llmrec", "training", "tests", "prompts", ".ci"), *ROOT.glob("*.py")]}
    notebooks = {file: cells(text(file)) for file in (ROOT / "notebooks").glob("*.ipynb")}
    found = {str(file.relative_to(ROOT)): unsafe(source) for file, source in (python | notebooks).items()}
    assert {file: complaints for file, complaints in found.items() if complaints} == {}


# ---------------------------------------------------------------------------------------- declared dependencies


def normal(distribution: str) -> str:
    """PEP 503: `Typing_Extensions >= 4; python_version < "4"` and `typing-extensions` are one name."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;@]", distribution.strip())[0]).lower()


def declared(pyproject: dict) -> set[str]:
    project = pyproject["project"]
    wanted = [*project.get("dependencies", ()), *pyproject.get("build-system", {}).get("requires", ())]
    wanted += [entry for extra in project.get("optional-dependencies", {}).values() for entry in extra]
    return {normal(entry) for entry in wanted}


def undeclared(source: str, own: set[str], names: set[str]) -> set[str]:
    """Top-level names that a module imports, but neither Python, this checkout (`own`) nor a declared distribution has."""
    tops = {module.split(".")[0] for module in imports(source, "llmrec")} - set(sys.stdlib_module_names) - own
    return {top for top in tops if not DISTRIBUTIONS.get(top, {normal(top)}) & names}


def test_an_undeclared_import_is_found():
    names = declared({"project": {"dependencies": ["numpy>=2"], "optional-dependencies": {"x": ["Complete.Journey_py[a]~=1"]}}})
    assert names == {"numpy", "complete-journey-py"}
    source = "import os, numpy, requests\nfrom llmrec.errors import x\nimport complete_journey_py, faiss"
    assert undeclared(source, {"llmrec"}, names) == {"requests", "faiss"}
    assert undeclared(source, {"llmrec"}, names | {"faiss-cpu"}) == {"requests"}


@pytest.mark.slow
def test_every_package_that_is_imported_is_declared():
    names = declared(tomllib.loads(text(ROOT / "pyproject.toml")))
    found = {}
    for file in sources("llmrec", "training", "tests"):
        # A test sees the modules of its own folder and those of tests/, as pytest puts both on the path.
        own = {*OWN, *(other.stem for folder in (file.parent, ROOT / "tests") for other in folder.glob("*.py"))}
        if missing := undeclared(text(file), own, names):
            found[str(file.relative_to(ROOT))] = missing
    assert found == {}
