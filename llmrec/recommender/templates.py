"""The templates that a recommender was fitted with: saved with it, and on loading compared with what stands in their files."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import unified_diff
from pathlib import Path
from typing import Any

from llmrec.errors import TemplateError
from llmrec.prompts import Template, load_template
from llmrec.prompts.files import is_there
from llmrec.recommender.settings import Settings

PARTS = ("item", "history")
_LINES = 20  # of a difference that is shown


def fitted_templates(settings: Settings) -> tuple[Template, Template]:
    """The templates of item texts and of histories that settings name. Raises TemplateError as `load_template`."""
    return load_template(settings.item_template), load_template(settings.history_template)


def saved_templates(templates: tuple[Template, Template] | None) -> dict[str, dict[str, Any]] | None:
    """As JSON values: name, version, SHA-256 and text of each."""
    if templates is None:
        return None
    return {part: template_facts(one) for part, one in zip(PARTS, templates, strict=True)}


def template_facts(template: Template) -> dict[str, Any]:
    """As JSON values: name, version, SHA-256 and text."""
    return {"name": template.name, "version": template.version, "sha256": template.sha256, "text": template.text}


def loaded_templates(
    saved: Mapping[str, Mapping[str, Any]] | None, settings: Settings, folder: Path
) -> tuple[Template, Template] | None:
    """The templates of a saved recommender; None where none were saved, as by older ones. Where the file of one is not here,
    as on another machine, what was saved stands for it.

    Raises TemplateError, with the lines that differ, where the file of today is another one than that of `fit`.
    """
    if saved is None:
        return None
    item, history = PARTS
    return (
        loaded_template(saved[item], settings.item_template, item, folder),
        loaded_template(saved[history], settings.history_template, history, folder),
    )


def loaded_template(kept: Mapping[str, Any], now: Template | str | None, part: str, folder: Path) -> Template:
    """The template that `template_facts` kept. now: the template of today, its name or its path; where there is none, the saved
    text is taken. Raises TemplateError as `loaded_templates`."""
    if not isinstance(now, Template):
        there = now is not None and is_there(now)
        now = load_template(now) if now is not None and there else Template(kept["text"], f"{folder}, {part}_template")
    if now.sha256 != kept["sha256"]:
        raise TemplateError(_different(kept, now, part, folder))
    return now


def _different(kept: Mapping[str, Any], now: Template, part: str, folder: Path) -> str:
    lines = list(unified_diff(kept["text"].splitlines(), now.text.splitlines(), "fitted", "now", n=1, lineterm=""))
    shown = lines[:_LINES] + [f"… and {len(lines) - _LINES} lines more"] * (len(lines) > _LINES)
    return (
        f"{folder}: {part}_template: expected {kept['name']!r}, version {kept['version']}, as it was fitted with, got version "
        f"{now.version} of other words in {now.source}; put the lines with - back, or fit again:\n" + "\n".join(shown)
    )
