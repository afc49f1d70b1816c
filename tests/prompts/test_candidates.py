"""Templates in two pieces: together they are the prompt, and no template is taken whose pieces are not."""

from __future__ import annotations

import pytest

from llmrec.errors import TemplateError
from llmrec.prompts import Template, attacks, load_template
from llmrec.prompts.candidates import CandidatePrompt

PIECES = {
    "next": ("Items that a shopper took, one after another:\n- red mug\n- blue rope\n-", " green lamp", ()),
    "like": (
        "Will this shopper like the item? Answer Yes or No.\nLiked before:\n- red mug\n- blue rope\n"
        "Disliked before:\n- small tent\nItem:",
        " green lamp\nAnswer:",
        (" Yes", " No"),
    ),
    "like_zh": (
        "这位顾客会喜欢下面的商品吗？请回答“是”或“否”。\n以前喜欢：\n- red mug\n- blue rope\n以前不喜欢：\n"
        "- small tent\n商品：",
        "green lamp\n回答：",
        ("是", "否"),
    ),
}
TITLES = ["red mug", "blue\nrope "]
PAST = {"history": TITLES, "liked": TITLES, "disliked": ["small tent"]}


@pytest.mark.parametrize("name", PIECES)
def test_the_pieces_of_packaged_templates(name):
    prompt = CandidatePrompt(load_template(name))
    assert (prompt.prefix(PAST), prompt.segment("green  lamp"), prompt.answers) == PIECES[name]


@pytest.mark.parametrize("name", [*PIECES, "next_zh"])
def test_pieces_make_the_prompt_whatever_a_title_holds(name):
    template = load_template(name)
    prompt = CandidatePrompt(template)
    for title in ("lamp", "x" * 500, *attacks("red mug")):
        past = {name: ["rope", title] for name in PAST}
        assert prompt.prefix(past) + prompt.segment(title) == template.render(past | {"item": title})


def test_an_item_without_a_title_has_a_piece():
    assert CandidatePrompt(load_template("like")).segment("") == " \nAnswer:"


@pytest.mark.parametrize("name", PIECES)
def test_the_past_may_be_missing(name):
    assert CandidatePrompt(load_template(name)).prefix({}) == CandidatePrompt(load_template(name)).prefix({"history": [" "]})


NEXT, LIKE = (
    "[history, item]\noptional: [history]\n",
    '[liked, item]\noptional: [liked]\nverbaliser: {like: "Yes", dislike: "No"}\n',
)
REFUSED = {
    "another task": ("choice", NEXT, "{{ history }}: {{ item }}", "task: expected one of next, like .*, got choice"),
    "another variable": (
        "next",
        "[history, item, x]\n",
        "{{ history }}{{ x }}: {{ item }}",
        "variables: expected item and his",
    ),
    "no past": ("next", "[item]\n", "Next: {{ item }}", "variables: expected item and history, got item"),
    "no item": (
        "next",
        "[history]\noptional: [history]\n",
        "{{ history }}: ",
        "expected 'item' once in the text, got it 0 times",
    ),
    "two items": ("next", NEXT, "{{ history }}: {{ item }} {{ item }}", "expected 'item' once in the text, got it 2 times"),
    "a past that is needed": ("next", "[history, item]\n", "{{ history }}: {{ item }}", "'history' is empty; fill it in, or"),
    "nothing before": ("next", NEXT, "{{ history }} {{ item }}", "item: expected words before it, got none"),
    "a past behind": ("next", NEXT, "After: {{ item }} {{ history }}", "item: expected the title itself and fixed words"),
    "a filter": ("next", NEXT, "{{ history }}: {{ item | lower }}", "item: expected the title itself and fixed words"),
    "other answers": ("like", LIKE.replace("dislike", "hate"), "{{ liked }}: {{ item }} A:", "verbaliser: expected words as"),
    "no answers": ("like", LIKE.split("verb")[0], "{{ liked }}: {{ item }} A:", "verbaliser: expected words as .*, got none"),
    "nothing behind": ("like", LIKE, "{{ liked }}: {{ item }}", "item: expected words behind it that ask for an answer"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_template_that_is_not_of_such_pieces_is_an_error_that_names_it(fault):
    task, names, body, message = REFUSED[fault]
    text = f"---\nname: mine\nversion: 1\nlanguage: en\ntask: {task}\nvariables: {names}---\n{body}\n"
    with pytest.raises(TemplateError, match=f"my/mine.jinja: {message}"):
        CandidatePrompt(Template(text, "my/mine.jinja"))
