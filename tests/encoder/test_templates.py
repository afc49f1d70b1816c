"""Laws of templates: what is there is rendered verbatim, what is missing is named."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.encoder import templates
from llmrec.encoder.templates import Template, history_words, load_template, packaged_templates
from llmrec.errors import TemplateError

words = st.text(min_size=1).map(lambda text: " ".join(text.split())).filter(bool)


def test_a_template_is_its_words_and_its_values():
    template = Template("Title: {title}\nIn {category?} for {price?}\n\nEnd {{of}} {title}")
    assert template.fields == ("title", "category", "price")
    assert template.required == ("title",)
    full = template.render({"title": "Mug", "category": "Kitchen", "price": 3.5, "unused": object()})
    assert full == "Title: Mug\nIn Kitchen for 3.5\nEnd {of} Mug"


@pytest.mark.parametrize("empty", [None, "", " \n ", float("nan"), np.float32("nan"), [], ["", " "]])
def test_a_line_with_an_empty_optional_variable_is_left_out(empty):
    template = Template("{title}\nCategory: {category?}, {kind?}\n{text?}")
    assert template.render({"title": "Mug", "category": empty, "kind": "x", "text": "Blue"}) == "Mug\nBlue"
    assert template.render({"title": "Mug", "kind": "x"}) == "Mug"


@pytest.mark.parametrize("zero", [0, 0.0, False, np.int32(0), np.float32(0)])
def test_zero_is_a_value_and_not_empty(zero):
    assert Template("Rated {rating?}").render({"rating": zero}) == f"Rated {zero}"


def test_a_missing_variable_is_named_with_what_there_is_and_where():
    with pytest.raises(TemplateError) as error:
        Template("{title} by {brand}", "my/item.txt").render({"title": "Mug", "category": "Kitchen"})
    message = str(error.value)
    assert "my/item.txt" in message and "no value for 'brand'" in message and "'category', 'title'" in message
    assert "{brand?}" in message


def test_an_empty_required_variable_is_an_error_that_names_the_row():
    with pytest.raises(TemplateError, match=r"'title' is empty in row 1.*\{title\?\}"):
        Template("{title}").render_columns({"title": ["Mug", " ", "Cup"]})


def test_columns_render_as_rows_do():
    template = load_template("item")
    columns = {"title": ["Mug", "Cup"], "category": ["Kitchen", None], "text": ["", "Small\ncup"]}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert template.render_columns(columns) == [template.render(row) for row in rows] == ["Mug\nKitchen", "Cup\nSmall cup"]
    assert template.render_columns({"title": []}) == []
    with pytest.raises(TemplateError, match="no value for 'title'"):
        template.render_columns({"category": []})
    with pytest.raises(TemplateError, match="one length"):
        template.render_columns({"title": ["a"], "text": []})


@pytest.mark.parametrize("bad", ["{", "}", "{}", "{a b}", "{a", "a}", "{1a}", "{{a}", "{a??}", "{a!r}", "{a[0]}"])
def test_a_lone_brace_is_an_error_with_its_place(bad):
    with pytest.raises(TemplateError, match="line 2, column"):
        _ = Template("{title}\n" + bad).fields


def test_values_that_are_not_text_are_refused():
    assert Template("{a}").render({"a": ["x", " y  z "]}) == "x, y z"
    for value in ({"k": 1}, [1, 2], np.zeros(2), b"bytes", object()):
        with pytest.raises(TemplateError, match=f"'a' is {type(value).__name__}: expected text"):
            Template("{a}").render({"a": value})


@given(words)
def test_values_are_never_read_as_templates(value):
    assert Template("<{a}>").render({"a": value}) == f"<{value}>"


@given(
    st.text(alphabet=st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"])).filter(
        lambda text: text.strip() == text != ""
    )
)
def test_doubled_braces_stand_for_themselves(text):
    assert Template(text.replace("{", "{{").replace("}", "}}")).render({}) == text


def test_packaged_templates_load_and_are_of_use():
    assert {"item", "history"} <= set(packaged_templates())
    assert load_template("item").required == ("title",)
    assert load_template("item").render({"title": "Mug", "category": "Kitchen"}) == "Mug\nKitchen"
    before = history_words(load_template("history"))
    assert before and "{" not in before and before == before.strip()


def test_a_template_of_ones_own_loads_from_its_path(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("Größe {size}\n", encoding="utf-8")
    for name in (file, str(file)):
        assert load_template(name).render({"size": "L"}) == "Größe L"
    with pytest.raises(TemplateError, match=r"mine\.txt"):
        load_template(file).render({})
    with pytest.raises(TemplateError, match=r"gone\.txt.*'history', 'item'"):
        load_template(tmp_path / "gone.txt")
    file.write_bytes(b"\xff\xfe")
    for unreadable in (file, tmp_path):
        with pytest.raises(TemplateError, match="cannot read the template file"):
            load_template(unreadable)
    with pytest.raises(TemplateError, match="no packaged template 'gone'.*'history', 'item'"):
        load_template("gone")


def test_history_words_are_what_stands_before_the_slots():
    assert history_words(Template("Bought {{x}}:\n then {history} \n")) == "Bought {x}:\nthen"
    assert history_words(Template("{history}")) == ""
    for bad in ("", "words", "{history} after", "{history}\nafter", "{history} {history}", "{history?}", "{name} {history}"):
        with pytest.raises(TemplateError, match=r"exactly one \{history\}, at the very end"):
            history_words(Template(bad))


def test_doctests():
    assert doctest.testmod(templates).failed == 0
    assert doctest.testmod(templates).attempted > 0
