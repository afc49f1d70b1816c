"""How Sphinx builds these pages: `make docs`. Nothing is fetched, neither by the build nor by a reader's browser."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]

from docstrings import as_rst  # noqa: E402
from mathml import block, inline  # noqa: E402

project = "llmrec"
author = "the llmrec authors"
project_copyright = "Apache License 2.0"
release = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
smartquotes = False  # in a command a quote must stay what it is
highlight_language = "text"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
default_role = "code"

# Types in signatures that no page describes: of other libraries, and internal ones. Names that a page links to are not here.
nitpick_ignore_regex = [
    (r"py:(class|obj|data|func)", r"(?!llmrec\.).*"),
    (r"py:(class|obj|data|func)", r"llmrec\.(?!errors\.)[a-z_]+(\.[a-z_]+)*\.[A-Za-z]+"),
]

html_theme = "furo"
html_title = f"llmrec {release}"
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"


def as_typed(app: Any, ctx: Any, lines: list[str]) -> None:
    """Defaults of options that are paths, as a person types them."""
    lines[:] = [re.sub(r"PosixPath\('(.*?)'\)", r"'\1'", line) for line in lines]


def setup(app: Any) -> dict[str, bool]:
    app.connect("sphinx-click-process-options", as_typed)
    app.connect("autodoc-process-docstring", as_rst)
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True}
