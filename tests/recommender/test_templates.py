"""The templates of a fit travel with what is saved, and another file of today is an error that shows the difference."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmrec.errors import TemplateError
from llmrec.prompts import load_template
from llmrec.recommender.saving import KIND, load_state, save_state
from llmrec.recommender.templates import loaded_templates, saved_templates
from llmrec.store import open_folder


def test_templates_travel_with_a_saved_recommender(fitted, tmp_path):
    assert fitted.state.templates == (load_template("item"), load_template("history"))
    save_state(tmp_path / "new", fitted.state, histories=False)
    kept = open_folder(tmp_path / "new", KIND)["templates"]
    assert kept["item"] == {
        **{"name": "item", "version": 1, "sha256": load_template("item").sha256, "text": load_template("item").text}
    }
    assert load_state(tmp_path / "new", "cpu").templates == fitted.state.templates
    older = replace(fitted.state, templates=None)  # as saved before they were kept
    save_state(tmp_path / "old", older, histories=False)
    loaded = load_state(tmp_path / "old", "cpu")
    assert loaded.templates is None and loaded.item_template == load_template("item")


def test_another_template_is_an_error_that_shows_the_difference(fitted, tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text(load_template("item").text.replace("name: item", "name: mine"), encoding="utf-8")
    settings = replace(fitted.state.settings, item_template=str(file))
    mine = load_template(file)
    save_state(
        tmp_path / "shop", replace(fitted.state, settings=settings, templates=(mine, load_template("history"))), histories=False
    )
    assert load_state(tmp_path / "shop", "cpu").item_template == mine
    file.write_text(
        mine.text.replace("{{ category }}", "in {{ category }}").replace("version: 1", "version: 2"), encoding="utf-8"
    )
    with pytest.raises(TemplateError) as error:
        load_state(tmp_path / "shop", "cpu")
    said = str(error.value)
    assert "item_template: expected 'mine', version 1, as it was fitted with, got version 2 of other words" in said
    assert "\n-{{ category }}\n+in {{ category }}\n" in said and "\n-version: 1\n+version: 2\n" in said
    file.unlink()  # on another machine: what was saved stands for it
    assert load_state(tmp_path / "shop", "cpu").item_template.text == mine.text


def test_a_long_difference_is_cut(fitted, tmp_path):
    file = tmp_path / "mine.jinja"
    text = load_template("item").text.replace("name: item", "name: mine")
    file.write_text(text, encoding="utf-8")
    kept = saved_templates((load_template(file), load_template("history")))
    file.write_text(text + "more\n" * 100, encoding="utf-8")
    with pytest.raises(TemplateError, match="… and 8[0-9] lines more$"):
        loaded_templates(kept, replace(fitted.state.settings, item_template=str(file)), tmp_path)
