"""Laws of templates: what is there is rendered verbatim, what is missing is named, and a mistake has its file and line."""

from __future__ import annotations

import copy
import doctest
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import TemplateError
from llmrec.prompts import Template, history_words, sandbox, template

words = st.text(alphabet=st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=100)


def made(body: str, *variables: str, more: str = "", optional: str = "") -> Template:
    """A template whose body begins in line 8."""
    head = "---\nname: mine\nversion: 2\nlanguage: en\ntask: item\n"
    return Template(f"{head}variables: [{', '.join(variables)}]\noptional: [{optional}]\n{more}---\n{body}", "my/mine.jinja")


def test_a_template_is_its_words_and_its_values():
    one = made("Title: {{ title }}\n{% if price %}\nFor {{ price }}\n{% endif %}\n\nEnd\n", "title", "price", optional="price")
    assert (one.name, one.version, one.header.language, one.header.task) == ("mine", 2, "en", "item")
    assert one.header.variables == ("title", "price") and one.header.required == ("title",)
    assert one.sha256 == hashlib.sha256(one.text.encode()).hexdigest()
    assert one.render({"title": " Mug\n", "price": 3.5, "unused": object()}) == "Title: Mug\nFor 3.5\n\nEnd"
    assert one.render({"title": "Mug"}) == "Title: Mug\n\nEnd"
    assert one.messages({"title": "Mug"}) == [{"role": "user", "content": "Title: Mug\n\nEnd"}]
    assert copy.deepcopy(one) == one == Template(one.text, one.source)


@pytest.mark.parametrize("empty", [None, "", " \n ", float("nan"), np.float32("nan"), [], ["", " "]])
def test_an_empty_optional_variable_is_false_and_an_empty_required_one_an_error(empty):
    body = "a\n{% if kind %}\n{{ kind }}\n{% endif %}\n"
    assert made(body, "kind", optional="kind").render({"kind": empty}) == "a"
    with pytest.raises(TemplateError, match=r"'kind' is empty in row 1.*`optional`"):
        made(body, "kind").render_columns({"kind": ["x", empty]})


@pytest.mark.parametrize("zero", [0, 0.0, False, np.int32(0), np.float32(0)])
def test_zero_is_a_value_and_not_empty(zero):
    assert made("{% if a %}Rated {{ a }}{% endif %}", "a", optional="a").render({"a": zero}) == f"Rated {zero}"


def test_a_missing_variable_is_named_with_what_there_is():
    with pytest.raises(TemplateError, match=r"my/mine.jinja: no value for 'brand'; available: 'title', 'zzz'.*\[brand\]"):
        made("{{ title }} by {{ brand }}", "title", "brand").render({"title": "Mug", "zzz": "Kitchen"})


def test_columns_render_as_rows_do():
    one = made("{{ title }}{% if kind %}: {{ kind }}{% endif %}", "title", "kind", optional="kind")
    columns = {"title": ["Mug", "Cup"], "kind": [["a", " ", "b  c"], None]}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert one.render_columns(columns) == [one.render(row) for row in rows] == ["Mug: a, b c", "Cup"]
    assert one.render_columns({"title": []}) == []
    with pytest.raises(TemplateError, match="no value for 'title'"):
        one.render_columns({"kind": []})
    with pytest.raises(TemplateError, match="one length"):
        one.render_columns({"title": ["a"], "kind": []})


def test_values_that_are_not_text_are_refused():
    for value in ({"k": 1}, [1, 2], np.zeros(2), b"bytes", object()):
        with pytest.raises(TemplateError, match=f"'a' is {type(value).__name__}: expected text"):
            made("{{ a }}", "a").render({"a": value})


ONE, EVERY = made("<{{ a }}>", "a"), made("<{% for b in a %}{{ b }}{% endfor %}>", "a")


@given(words)
@settings(deadline=None)
def test_values_are_never_read_as_templates(value):
    assert ONE.render({"a": value}) == f"<{value}>"
    assert EVERY.render({"a": ["{{ a }}", value]}) == f"<{{{{ a }}}}{value}>"
    assert EVERY.render({"a": value}) == f"<{value}>"  # one text is a list of one


def test_long_values_are_cut_at_the_stated_number_of_characters():
    long = "very " * 100
    assert made("{{ a }}", "a").render({"a": long}) == ("very " * 40)[:199] + "…"
    assert made("{{ a }}", "a", more="longest: 8\n").render({"a": [long, "b" * 8]}) == "very ve…, bbbbbbbb"
    assert made("{{ a }}", "a", more="longest: none\n").render({"a": long}) == long.strip()


def test_the_words_of_a_verbaliser_are_labels_in_the_body():
    one = made("{% for x in a %}{{ labels[loop.index0] }}={{ x }} {% endfor %}", "a", more="verbaliser: {1: No, 2: Yes}\n")
    assert one.header.verbaliser == (("1", "No"), ("2", "Yes")) and one.header.labels == ("No", "Yes")
    assert one.render({"a": ["x", "y"]}) == "No=x Yes=y "
    with pytest.raises(TemplateError, match=r"my/mine.jinja, line 10: tuple object has no element 2"):
        one.render({"a": ["x", "y", "z"]})


def test_a_text_is_split_around_a_variable():
    one = made("{{ a }}: {{ b }}!\n", "a", "b")
    assert one.around("b", {"a": "x \ufdd0 y"}) == ("x y: ", "!")
    with pytest.raises(TemplateError, match="'a' once in the text, got it 2 times"):
        made("{{ a }}{{ a }}", "a").around("a", {})
    with pytest.raises(TemplateError, match="'z' once in the text, got it 0 times"):
        one.around("z", {"a": "x", "b": "y"})


def test_history_words_are_what_stands_before_the_slots():
    assert history_words(made("Bought {x}:\n then {{ history }} \n", "history")) == "Bought {x}:\n then"
    assert history_words(made("{{ history }}", "history")) == ""
    for bad in ("{{ history }} after", "{{ history }}\nafter", "{{ history }} {{ history }}", "{% if history %}x{% endif %}"):
        with pytest.raises(TemplateError, match=r"\{\{ history \}\} as the only variable, once, at the very end"):
            history_words(made(bad, "history"))
    for bad in (
        made("words"),
        made("{{ a }} {{ history }}", "a", "history"),
        made("{{ history }}", "history", optional="history"),
    ):
        with pytest.raises(TemplateError, match="once, at the very end"):
            history_words(bad)


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("a\n{{ b", 10, "unexpected end of template"),
        ("a\n{% if a %}", 10, "Unexpected end of template"),
        ("\n{{ a }} {{ b }}", 10, "'b' is not among the variables of the front matter, 'a'"),
        ("b", 9, "declares 'a', which the body does not use"),
        ("{{ a | random }}", 9, "No filter named 'random'; the filters are capitalize"),
        ("{{ a.__class__ }}", 9, "access to '__class__' is unsafe"),
        ("\n\n{{ a.b }}", 11, "access to 'b' is unsafe"),
        ("{{ a['__cl' ~ 'ass__'] }}", 9, "access to '__class__' is unsafe: expected the number of a place"),
        ("{{ a['upper'] }}", 9, "access to 'upper' is unsafe"),
        ("{{ [a] | join(',', 'upper') }}", 9, "access to 'upper' is unsafe"),
        ("{% for b in a %}{{ loop.cycle }}{% endfor %}", 9, "access to 'cycle' is unsafe"),
        ("{% for b in a %}{{ loop }}{% endfor %}", 9, "'loop' has a meaning of its own"),
        ("{% set loop = a %}{{ loop.index }}", 9, "'loop' has a meaning of its own"),
        ("{{ a }}\n{{ self }}", 10, "'self' has a meaning of its own"),
        ("{% set labels = a %}", 9, "'labels' has a meaning of its own"),
        ("{{ a }}{{ 1 / 0 }}", 9, "Div is unsafe"),
        ("{{ a }}{% block b %}{% endblock %}", 9, "Block is unsafe"),
        ("{% autoescape true %}{{ a }}{% endautoescape %}", 9, "is unsafe"),
        ("{{ a }}{{ 4 is divisibleby 0 }}", 9, "No test named 'divisibleby'; the tests are defined"),
        ("{{ a }}{{ 9 ** 9 ** 9 ** 9 }}", 9, "a power is unsafe"),  # seen before it is computed
        ("{% for b in a %}" * 25 + "{% endfor %}" * 25, 9, "expected few blocks and brackets within one another"),
        ("{{ " + "(" * 3000 + "a" + ")" * 3000 + " }}", 9, "expected few blocks and brackets within one another"),
        ("{{ a[9] }}", 9, "has no element 9"),
        ("{{ a.upper() }}", 9, "a call is unsafe|access to 'upper' is unsafe"),
        ("{{ range(9) }} {{ a }}", 9, "a call is unsafe"),
        ("{{ a * 1000000000 }}", 9, "a product is unsafe"),
        ("{{ a }}{{ 9 ** 9 }}", 9, "a power is unsafe"),
        ("{{ '%9999999d' % a }}", 9, "a remainder is unsafe"),
        ("{{ a }}\n{% include 'b' %}", 10, "another file is unsafe"),
        ("{{ a }}{% macro b() %}{% endmacro %}", 9, "a macro is unsafe"),
    ],
)
def test_a_mistake_in_the_body_has_its_file_and_line(body, line, message):
    with pytest.raises(TemplateError, match=f"^my/mine.jinja, line {line}: .*({message})"):
        made(body, "a").render({"a": "x"})


def test_no_value_is_read_as_the_name_of_an_attribute():
    one = made("{{ labels[a] }}", "a", more="verbaliser: {like: Yes}\n")
    with pytest.raises(TemplateError, match="line 10: access to 'index' is unsafe"):
        one.render({"a": "index"})


def test_what_the_body_may_compute():
    body = "{% for b in a[:-1] if b is string and b != 'y' %}{{ loop.revindex }}{{ b | upper ~ '!' if loop.last }}{% endfor %}"
    assert made(body, "a").render({"a": ["x", "y", "z", "w"]}) == "21Z!"
    assert made("{% set b %}<{{ a }}>{% endset %}{{ b + a[-1] }}", "a").render({"a": "xy"}) == "<xy>y"


def test_a_text_without_bounds_is_an_error(monkeypatch):
    monkeypatch.setattr(sandbox, "MOST", 100)
    one = made("{% for b in a %}{% for b in a %}{{ b }}{% endfor %}{% endfor %}", "a")
    assert one.render({"a": ["x"] * 10}) == "x" * 100
    with pytest.raises(TemplateError, match="my/mine.jinja, line 9: expected a text of at most 100 characters"):
        one.render({"a": ["x"] * 11})


GOOD = ["---", "name: mine", "version: 1", "language: en", "task: item", "variables: [a]", "---", "{{ a }}"]


@pytest.mark.parametrize(
    ("place", "line", "message"),
    [
        (0, "name: mine", "line 1: expected a front matter between two lines '---', got 'name: mine'"),
        (1, "nam: mine", "line 2: nam: expected a key out of name, version"),
        (1, "version: 2", "version in lines 2 and 3; delete one"),
        (1, "language: [", "expected YAML; PyYAML says: .*line"),
        (1, "name: a b", "line 2: name: expected one word"),
        (2, "version: 1.5", "line 3: version: expected a whole number from 1 on, got '1.5'"),
        (2, "longest: 5", "line 1: expected version in the front matter too"),
        (4, "task: sing", "line 5: task: expected one of item, history"),
        (5, "variables: a", "line 6: variables: expected a list of names"),
        (5, "variables: [a-b]", "line 6: variables: expected names of letters"),
        (5, "variables: [labels]", "line 6: variables: expected names of letters.*got 'labels'"),
        (5, "variables: [a, a]", "line 6: variables: expected each name once"),
        (5, "variables: [a]\noptional: [b]", "line 7: optional: expected names out of variables, got 'b'"),
        (5, "variables: [a]\nverbaliser: {x: A, y: A}", "line 7: verbaliser: expected different words"),
        (5, "variables: [self]", "line 6: variables: expected names of letters.*got 'self'"),
        (5, "variables: [a]\nverbaliser: {x: ' A'}", "line 7: verbaliser: expected words without blanks around them"),
        (5, "variables: [a]\nverbaliser: A", "line 7: verbaliser: expected a word for each answer"),
        (5, "variables: [a]\nlongest: many", "line 7: longest: expected a whole number"),
        (6, "", "line 1: expected a line '---' that ends the front matter"),
    ],
)
def test_a_mistake_in_the_front_matter_has_its_file_and_line(place, line, message):
    assert Template("\n".join(GOOD)).render({"a": "b"}) == "b"
    with pytest.raises(TemplateError, match=f"^mine.jinja[,:] .*{message}"):
        Template("\n".join([*GOOD[:place], line, *GOOD[place + 1 :]]), "mine.jinja")


def test_an_empty_file_is_no_template():
    with pytest.raises(TemplateError, match="got an empty file"):
        Template("")


def test_doctests():
    assert doctest.testmod(template).failed == 0
    assert doctest.testmod(template).attempted > 0
