"""Templates by name, by folder and by path."""

from __future__ import annotations

from llmrec.prompts import load_template, packaged_templates


def test_every_packaged_template_loads_and_is_called_as_its_file_is():
    assert [load_template(name).name for name in packaged_templates()] == list(packaged_templates())
