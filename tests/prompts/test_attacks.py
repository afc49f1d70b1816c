"""Titles stay data: whatever one of them holds, a prompt keeps its lines, and the options their places."""

from __future__ import annotations

import pytest

from llmrec.prompts import attacks, load_template
from llmrec.prompts.attacks import KINDS
from llmrec.prompts.values import one_line

TITLE = "Blue Coffee Mug"
ATTACKS = dict(zip(KINDS, attacks(TITLE), strict=True))


def test_attacks_are_titles_that_differ():
    assert len({TITLE, *ATTACKS.values()}) == len(KINDS) + 1
    assert attacks(TITLE) == attacks(TITLE)
    assert ATTACKS["lookalike"] != TITLE and len(ATTACKS["lookalike"]) == len(TITLE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["choice", "choice_zh"])
def test_a_choice_keeps_its_lines_and_its_options_their_places(kind, name):
    template, attack, past = load_template(name), ATTACKS[kind], ["rope", "tent"]
    quiet = template.render({"history": past, "options": ["lamp", TITLE, "soap"]}).split("\n")
    for history in (past, ["rope", attack]):
        lines = template.render({"history": history, "options": ["lamp", attack, "soap"]}).splitlines()
        place = quiet.index(f"B. {TITLE}")
        assert len(lines) == len(quiet)
        assert [line for at, line in enumerate(lines) if at not in (place, quiet.index("- tent"))] == [
            line for at, line in enumerate(quiet) if at not in (place, quiet.index("- tent"))
        ]
        assert lines[place].startswith("B. ") and lines[quiet.index("- tent")].startswith("- ")
        assert len(lines[place]) <= 200 + len("B. ")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["like", "next", "item", "scene", "history", "explanation"])
def test_other_prompts_keep_their_lines(kind, name):
    template = load_template(name)
    for variable in template.header.variables:
        plain = dict.fromkeys(template.header.required, "x") | {variable: "x"}
        lines = template.render({**plain, variable: ATTACKS[kind]}).splitlines()
        assert len(lines) == len(template.render(plain).splitlines())


def test_one_line_leaves_out_what_is_not_seen_and_keeps_what_is():
    assert one_line("a\x00b\r\n\u2028c\x1b[2J\u202ed\u202c\U000e0041") == "a b c [2Jd"
    assert one_line("\ufeffse\xadcret\u200b \u200e\u2060\U000e0101") == "secret" and one_line("\u200b") == ""
    assert one_line("👩\u200d🚀 l\u2019été  中文") == "👩\u200d🚀 l\u2019été 中文"
    assert one_line("abcdef", 6) == "abcdef" and one_line("abcdefg", 6) == "abcde…"
