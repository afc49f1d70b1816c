"""The wheel holds the whole library and nothing else, and works from where it is installed."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IMPORTED_AS = {
    "huggingface-hub": "huggingface_hub",
    "pyyaml": "yaml",
}  # where a distribution and its module have different names


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.slow
def test_every_file_of_the_library_is_in_the_wheel_and_nothing_else(names):
    sources = {file.relative_to(ROOT).as_posix() for file in (ROOT / "llmrec").rglob("*.py")}
    files = [file for file in (ROOT / "prompts").iterdir() if file.suffix in (".py", ".jinja")]
    prompts = {f"llmrec/prompt_files/{file.name}" for file in files}
    assert {"llmrec/prompt_files/item.jinja", "llmrec/prompt_files/history.jinja"} <= prompts
    assert {name for name in names if ".dist-info/" not in name} == sources | prompts | {"llmrec/py.typed"}
    assert not [name for name in names if "stud" in name or "benchmark" in name or name.startswith("training")]


@pytest.mark.slow
def test_the_wheel_carries_the_licence_and_the_command(wheel, names):
    (licence,) = [name for name in names if name.endswith("/LICENSE")]
    (points,) = [name for name in names if name.endswith("/entry_points.txt")]
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(licence).decode() == (ROOT / "LICENSE").read_text(encoding="utf-8")
        assert "llmrec = llmrec.cli:main" in archive.read(points).decode()


@pytest.mark.slow
def test_the_installed_library_reads_its_prompts_and_knows_its_version(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import llmrec.prompts as templates, llmrec.store as store\n"
        "print(templates.__file__, store.library_version(), sep='\\n')\n"
        "print(templates.load_template('item').text, end='')\n"
    )
    isolated = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + code
    done = subprocess.run([sys.executable, "-I", "-c", isolated], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file, version, *text = done.stdout.splitlines(keepends=True)
    assert file.startswith(str(tmp_path))
    assert version.strip() == tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert "".join(text) == (ROOT / "prompts" / "item.jinja").read_text(encoding="utf-8")


def test_the_base_dependencies_are_what_the_library_imports():
    """What a module imports at its top must be in the base, and what is in the base must be imported somewhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = {IMPORTED_AS.get(name, name) for name in (line.split(">=")[0] for line in project["dependencies"])}
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "llmrec").rglob("*.py")]
    at_the_top = imported(node for tree in trees for node in tree.body)
    anywhere = imported(node for tree in trees for node in ast.walk(tree))
    assert at_the_top <= base <= anywhere


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """Top-level names of the imports among some nodes, without the standard library and the library itself."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {"llmrec"}


def test_everything_declared_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    for requirement in declared:
        name, _, bound = requirement.partition(">=")
        if name.startswith("llmrec[") or name == "faiss-gpu":  # ourselves; and what cannot be installed beside faiss-cpu
            continue
        assert tuple(map(int, pins[name].split("."))) >= tuple(map(int, bound.split("."))), requirement
