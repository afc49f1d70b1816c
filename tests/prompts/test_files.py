"""Templates by name, by folder and by path, and what the packaged ones write, blank for blank."""

from __future__ import annotations

import pytest

from llmrec.errors import TemplateError
from llmrec.prompts import history_words, load_template, packaged_templates
from llmrec.recommender.sentences import KINDS

TASKS = ("choice", "explanation", "history", "item", "knowledge", "like", "next", "scene")
MORE = {"knowledge": ("", "_audience", "_goes_with", "_occasion")}  # endings of the names of a task's templates
PAST = ["red mug", "blue lamp"]
GOLDEN = [
    ("item", {"title": "Mug", "category": "Kitchen", "text": "Small\ncup"}, "Mug\nKitchen\nSmall cup"),
    ("item", {"title": "Mug"}, "Mug"),
    ("item_zh", {"title": "杯子", "category": "厨房", "text": None}, "商品：杯子\n类别：厨房"),
    ("history", {"history": PAST}, "A shopper bought, in this order: red mug, blue lamp"),
    ("history_zh", {"history": "杯子"}, "一位顾客依次购买了：杯子"),
    (
        "next",
        {"history": PAST, "item": "tent"},
        "Items that a shopper took, one after another:\n- red mug\n- blue lamp\n- tent",
    ),
    ("next", {"item": "tent"}, "Items that a shopper took, one after another:\n- tent"),
    ("next_zh", {"history": ["灯"], "item": "杯子"}, "一位顾客先后选择的商品：\n- 灯\n- 杯子"),
    (
        "like",
        {"liked": PAST, "disliked": ["rope"], "item": "tent"},
        "Will this shopper like the item? Answer Yes or No.\nLiked before:\n- red mug\n- blue lamp\nDisliked before:\n- rope\n"
        "Item: tent\nAnswer:",
    ),
    ("like", {"item": "tent"}, "Will this shopper like the item? Answer Yes or No.\nItem: tent\nAnswer:"),
    (
        "like_zh",
        {"liked": ["灯"], "disliked": ["绳"], "item": "杯子"},
        "这位顾客会喜欢下面的商品吗？请回答“是”或“否”。\n以前喜欢：\n- 灯\n以前不喜欢：\n- 绳\n商品：杯子\n回答：",
    ),
    (
        "choice",
        {"history": PAST, "options": ["tent", "rope"]},
        "Which of the options does this shopper take next? Answer with its letter.\nTaken before, one after another:\n"
        "- red mug\n- blue lamp\nOptions:\nA. tent\nB. rope\nAnswer:",
    ),
    ("choice_zh", {"options": ["灯"]}, "这位顾客接下来会选择哪一个？请回答选项的字母。\n选项：\nA. 灯\n回答："),
    ("scene", {"scene": "toys", "items": PAST}, "Department of a shop: toys\nSold there:\n- red mug\n- blue lamp"),
    ("scene_zh", {"scene": "玩具", "items": ["积木"]}, "商店的部门：玩具\n这里出售：\n- 积木"),
    ("knowledge", {"title": "tent"}, '"tent" is remembered today as'),
    ("knowledge", {"title": "tent", "category": "camping"}, '"tent" (camping) is remembered today as'),
    ("knowledge_zh", {"title": "帐篷"}, "《帐篷》如今被人们记住的是"),
    ("knowledge_audience", {"title": "tent"}, 'People who buy "tent" are mostly'),
    ("knowledge_audience", {"title": "tent", "category": "camping"}, 'People who buy "tent" (camping) are mostly'),
    ("knowledge_audience_zh", {"title": "帐篷", "category": "露营"}, "购买“帐篷”（露营）的人大多是"),
    ("knowledge_occasion", {"title": "tent"}, '"tent" is mostly used when'),
    ("knowledge_occasion", {"title": "tent", "category": "camping"}, '"tent" (camping) is mostly used when'),
    ("knowledge_occasion_zh", {"title": "帐篷", "category": "露营"}, "“帐篷”（露营）最常用于"),
    ("knowledge_goes_with", {"title": "tent"}, 'Customers who bought "tent" also bought'),
    ("knowledge_goes_with", {"title": "tent", "category": "camping"}, 'Customers who bought "tent" (camping) also bought'),
    ("knowledge_goes_with_zh", {"title": "帐篷", "category": "露营"}, "购买了“帐篷”（露营）的顾客还购买了"),
    ("explanation", {"item": "tent", "again": "tent"}, "tent is in your history already."),
    (
        "explanation",
        {"item": "tent", "cooccurrence": "rope"},
        "Because of rope in your history: people who chose it tend to choose tent too.",
    ),
    ("explanation", {"item": "x", "text": "y"}, "Because of y in your history: the description of x shares words with it."),
    (
        "explanation",
        {"item": "x", "sequence": "y"},
        "Because of y in your history: with what came before and after it, it leads to x.",
    ),
    ("explanation", {"item": "x", "other": "y"}, "Because of y in your history: without it, x would have a lower score."),
    ("explanation", {"item": "x", "overall": "x"}, "x fits your history as a whole; no single item of it stands out."),
    ("explanation", {"item": "x", "group": "x"}, "x is popular among people like you."),
    ("explanation", {"item": "x", "popular": "x"}, "x is popular."),
    ("explanation", {"item": "x", "nothing": "x"}, "Nothing in your history speaks for x."),
    ("explanation_zh", {"item": "灯", "cooccurrence": "绳"}, "因为您选过绳：选它的人往往也选灯。"),
]


def test_every_template_of_each_task_is_there_in_both_languages():
    asked = {f"{task}{more}": task for task in TASKS for more in MORE.get(task, ("",))}
    assert packaged_templates() == tuple(sorted(name for one in asked for name in (one, f"{one}_zh")))
    for name in packaged_templates():
        one, plain = load_template(name), name.removesuffix("_zh")
        language = "en" if name == plain else "zh"
        assert (one.name, one.header.task, one.header.language) == (name, asked[plain], language)
    for plain in asked:
        both = [load_template(name).header for name in (plain, f"{plain}_zh")]
        assert both[0].variables == both[1].variables and len(both[0].labels) == len(both[1].labels)


@pytest.mark.parametrize(("name", "values", "text"), GOLDEN)
def test_white_space_is_pinned(name, values, text):
    assert load_template(name).render(values) == text


def test_every_template_is_rendered_above_and_every_kind_of_sentence_is_told():
    assert {name for name, _, _ in GOLDEN} == set(packaged_templates())
    assert {kind for name, values, _ in GOLDEN if name == "explanation" for kind in values} == {"item", *KINDS}
    assert history_words(load_template("history")) == "A shopper bought, in this order:"


def test_a_folder_of_ones_own_goes_before_what_is_packaged(tmp_path):
    text = load_template("item").text
    (tmp_path / "item.jinja").write_text(text.replace("{{ title }}", "My {{ title }}"), encoding="utf-8", newline="\r\n")
    assert load_template("item", tmp_path).render({"title": "Mug", "category": "Größe"}) == "My Mug\nGröße"
    assert load_template("like", tmp_path) == load_template("like")
    with pytest.raises(TemplateError, match=r"no packaged template 'gone' and none in .*'history', 'history_zh', 'item'"):
        load_template("gone", tmp_path)
    with pytest.raises(TemplateError, match="expected a folder of templates"):
        load_template("item", tmp_path / "nowhere")


def test_a_file_of_ones_own_loads_from_its_path_and_is_called_by_its_name(tmp_path):
    file = tmp_path / "mine.jinja"
    text = load_template("item").text.replace("name: item", "name: mine")
    for encoding in ("utf-8", "utf-8-sig"):  # some editors begin a file with a mark
        file.write_text(text, encoding=encoding)
        for name in (file, str(file)):
            assert load_template(name).text == text and load_template(name).render({"title": "L"}) == "L"
    with pytest.raises(TemplateError, match=r"gone\.jinja.*'history', 'history_zh', 'item'"):
        load_template(tmp_path / "gone.jinja")
    with pytest.raises(TemplateError, match="no packaged template 'gone'.*For a file of your own give its path"):
        load_template("gone")
    file.rename(tmp_path / "other.jinja")
    with pytest.raises(TemplateError, match="name: expected 'other', as the file is called, got 'mine'"):
        load_template(tmp_path / "other.jinja")
    file.write_bytes(b"\xff\xfe")
    for unreadable in (file, tmp_path):
        with pytest.raises(TemplateError, match="cannot read the template file"):
            load_template(unreadable)
