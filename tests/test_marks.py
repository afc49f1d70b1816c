"""Tests that start processes, or run the demonstration, are marked slow: `make test-fast` leaves them out."""

from __future__ import annotations

import ast
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
STARTS = {"subprocess", "NotebookClient", "run_demo"}


def unmarked(source: str) -> set[str]:
    """Tests of a module that use one of STARTS, themselves or by way of its fixtures and functions, without the marker."""
    tree = ast.parse(source)
    if any(isinstance(node, ast.Assign) and "pytestmark" in names(node) and "slow" in names(node) for node in tree.body):
        return set()
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    uses = {name: used(node) for name, node in functions.items()}
    found = {name for name, node in functions.items() if starts(node)}
    while more := {name for name, others in uses.items() if others & found} - found:
        found |= more
    return {
        name
        for name in found
        if name.startswith("test_") and not any("slow" in names(mark) for mark in functions[name].decorator_list)
    }


def starts(node: ast.FunctionDef) -> bool:
    """Whether a function calls one of STARTS, or an attribute of it."""
    called = [root(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)]
    return any(isinstance(name, ast.Name) and name.id in STARTS for name in called)


def root(node: ast.expr) -> ast.expr:
    return node.value if isinstance(node, ast.Attribute) else node


def used(node: ast.FunctionDef) -> set[str]:
    """Names that a function reads, and the fixtures that it asks for."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | {argument.arg for argument in node.args.args}


def names(node: ast.AST) -> set[str]:
    """All names and attributes in a piece of code."""
    every = list(ast.walk(node))
    return {n.id for n in every if isinstance(n, ast.Name)} | {n.attr for n in every if isinstance(n, ast.Attribute)}


def test_what_starts_a_process_is_slow():
    fixture = "@pytest.fixture\ndef out():\n    return subprocess.run(['x'])\n\n\n"
    probe = fixture + "def test_a(out):\n    pass\n\n\ndef test_b():\n    pass\n"
    assert unmarked(probe) == {"test_a"}  # the probe sees
    assert unmarked(probe.replace("def test_a", "@pytest.mark.slow\ndef test_a")) == set()
    assert unmarked("pytestmark = pytest.mark.slow\n" + probe) == set()
    files = [file for file in FOLDER.rglob("*.py") if "training" not in file.relative_to(FOLDER).parts]
    found = {file.relative_to(FOLDER).as_posix(): unmarked(file.read_text(encoding="utf-8")) for file in files}
    assert {file: tests for file, tests in found.items() if tests} == {}
