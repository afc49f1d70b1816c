"""The file tree of ARCHITECTURE.md: a line a file, out of the first sentence of each module."""

from __future__ import annotations

import ast
from pathlib import Path

SHOWN = (("llmrec", "*.py"), ("prompts", "*.txt"), ("training", "*.py"))
WIDTH = 128


def tree(root: Path) -> str:
    """Folders and files under `root`, with what each is for."""
    lines = []
    for top, pattern in SHOWN:
        folders = sorted({path.parent for path in (root / top).rglob(pattern) if "__pycache__" not in path.parts})
        for folder in folders:
            place = folder.relative_to(root)
            lines.append(_line(f"{place}/", _said(folder / "__init__.py"), 0))
            files = [path for path in sorted(folder.glob(pattern)) if path.name != "__init__.py"]
            lines += [_line(path.name, _said(path), 1) for path in files]
    return "\n".join(lines)


def _line(name: str, said: str, depth: int) -> str:
    text = f"{'    ' * depth + name:<32} {said}".rstrip()
    return text if len(text) <= WIDTH else text[: WIDTH - 1].rsplit(" ", 1)[0] + " …"


def _said(path: Path) -> str:
    """The first sentence of a module, up to a colon or full stop; nothing for other files."""
    if path.suffix != ".py" or not path.exists():
        return ""
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(said.split("\n\n")[0].split()).split(". ")[0].removesuffix(".")
