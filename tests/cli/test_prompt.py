"""`llmrec prompt`: templates are listed, shown, checked, and rendered with values and with rows of tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmrec.cli import main
from llmrec.prompts import load_template, packaged_templates


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["prompt", *map(str, words)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def mine(tmp_path) -> Path:
    (tmp_path / "mine").mkdir()
    text = load_template("item").text.replace("{{ title }}", "My {{ title }}")
    (tmp_path / "mine" / "item.jinja").write_text(text, encoding="utf-8")
    return tmp_path / "mine"


def test_templates_are_listed_and_shown(mine):
    shown = run("show").stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["name", *packaged_templates()]
    assert "item, [again]" in shown[3]
    assert run("show", "--quiet").stdout.split() == list(packaged_templates())
    assert [one["name"] for one in json.loads(run("show", "--json").stdout)] == list(packaged_templates())
    assert run("show", "like").stdout == load_template("like").text
    assert run("show", "history", "--quiet").stdout == "A shopper bought, in this order: {{ history }}\n"
    assert "My {{ title }}" in run("show", "item", "--folder", mine).stdout
    facts = json.loads(run("show", "like", "--json").stdout)
    assert facts["sha256"] == load_template("like").sha256 and facts["verbaliser"] == {"like": "Yes", "dislike": "No"}
    assert "no packaged template 'gone'" in run("show", "gone", code=2).stderr


def test_a_mistake_is_one_sentence_with_file_and_line(mine):
    file = mine / "item.jinja"
    assert run("check", mine).stdout == f"{file}: item, version 1, en, item: no mistake found\n"
    assert run("check", file, "--quiet").stdout == ""
    assert [one["name"] for one in json.loads(run("check", file, file, "--json").stdout)] == ["item", "item"]
    for old, new, said in (
        ("{{ title }}", "{{ titel }}", "line 10: 'titel' is not among the variables"),
        ("{{ title }}", "{{ title[7] }}", "line 10: str object has no element 7"),
        ("{% if text %}", "{% if text", "line 15: "),
        ("version: 1", "version: one", "line 3: version: expected a whole number"),
    ):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(old, new), encoding="utf-8")
        told = run("check", file, code=2).stderr
        assert told.startswith(f"Error: {file}, {said}") and len(told.splitlines()) == 1
        file.write_text(text, encoding="utf-8")
    assert "expected files that end in .jinja" in run("check", mine.parent, code=2).stderr


def test_templates_that_no_reader_takes_are_mistakes(tmp_path):
    for name, old, new, said in (
        ("like", "{{ item }}", "{{ item | lower }}", "item: expected the title itself and fixed words behind it"),
        ("next", "optional: [history]", "optional: []", "'history' is empty"),
        ("history", "{{ history }}", "{{ history }}, and then", "as the only variable, once, at the very end"),
    ):
        file = tmp_path / f"{name}.jinja"
        file.write_text(load_template(name).text, encoding="utf-8")
        assert run("check", file, "--quiet").stdout == ""
        file.write_text(load_template(name).text.replace(old, new), encoding="utf-8")
        assert f"{file}: " in (told := run("check", file, code=2).stderr) and said in told


def test_a_column_may_have_any_name(tmp_path):
    """A column `of` is a value as others."""
    items, file = tmp_path / "items.csv", tmp_path / "mine.jinja"
    items.write_text("item_id,title,of\na,Mug,clay\n", encoding="utf-8")
    head = "---\nname: mine\nversion: 1\nlanguage: en\ntask: item\nvariables: [title, of]\n---\n"
    file.write_text(head + "{{ title }} of {{ of }}\n", encoding="utf-8")
    assert run("render", file, "--items", items, "--quiet").stdout == "Mug of clay\n"


def test_values_that_are_typed_are_rendered():
    words = ["render", "like", "--set", "liked=red mug", "--set", "liked= a = b ", "--set", "item=lamp"]
    text = load_template("like").render({"liked": ["red mug", "a = b"], "item": "lamp"})
    assert run(*words).stdout == text + "\n"
    assert json.loads(run(*words, "--json").stdout) == [{"text": text}]
    assert "--set lied: prompts/like.jinja has the variables" in run("render", "like", "--set", "lied=1", code=2).stderr
    assert "--set expects KEY=VALUE" in run("render", "like", "--set", "item", code=2).stderr
    assert "no value for 'item'" in run("render", "like", code=2).stderr


def test_rows_of_tables_are_rendered(tmp_path):
    events, items = tmp_path / "events.csv", tmp_path / "items.csv"
    rows = [
        f"{user},{item},2026-01-{1 + day:02}"
        for user, bought in (("ann", "cab"), ("bob", "db"))
        for day, item in enumerate(bought)
    ]
    events.write_text("\n".join(["user_id,item_id,timestamp", *rows]), encoding="utf-8")
    items.write_text("\n".join(["item_id,title", *(f"{item},{item.upper()} mug" for item in "abcdef")]), encoding="utf-8")
    told = run("render", "choice", "--events", events, "--items", items)
    first, second = told.stdout.split("\n\n")
    assert first.splitlines()[2:] == [
        *("- C mug", "- A mug", "Options:", "A. B mug", "B. D mug", "C. E mug", "D. F mug", "Answer:")
    ]
    assert second.splitlines()[2:6] == ["- D mug", "Options:", "A. A mug", "B. B mug"]
    facts = json.loads(
        run("render", "like", "--events", events, "--items", items, "--rows", 1, "--json", "--set", "item=x").stdout
    )
    assert facts == [{"user_id": "ann", "text": load_template("like").render({"liked": ["C mug", "A mug"], "item": "x"})}]
    assert run("render", "item", "--items", items, "--rows", 2, "--quiet").stdout == "A mug\n\nB mug\n"


def test_the_group_alone_says_what_it_can_do():
    assert "llmrec prompt check mine/like.jinja" in run().stdout
