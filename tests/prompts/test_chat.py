"""A prompt as a chat model reads it: by the tokenizer's own chat template, and without its special tokens in titles."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from llmrec.errors import WeightsError
from llmrec.prompts import attacks, chat_text, load_template
from llmrec.prompts.chat import special_tokens, turn_tokens, without_special

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = {letter: place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", additional_special_tokens=["<|im_start|>", "<|im_end|>"]
    )
    made.add_tokens(["<b>"])  # added, and not special
    return made


def test_a_chat_template_wraps_the_prompt(tokenizer):
    tokenizer.chat_template = CHAT
    text = load_template("like").render({"item": "red mug"})
    assert chat_text(tokenizer, text) == f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def test_without_a_chat_template_the_prompt_is_plain_text(tokenizer):
    tokenizer.chat_template = None
    assert chat_text(tokenizer, "Will this shopper\nlike it?") == "Will this shopper\nlike it?"


def test_the_tokens_of_a_turn_are_those_around_the_message(tokenizer):
    tokenizer.chat_template = CHAT
    begin, end = turn_tokens(tokenizer)
    ids = [*begin, *tokenizer("red mug", add_special_tokens=False)["input_ids"], *end]
    assert ids == tokenizer(chat_text(tokenizer, "red mug"), add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, "a tokenizer with a chat template, got one without"),
        ("{% for one in messages %}[INST] {{ one['content'] }} [/INST]{% endfor %}", "ends a user's turn by a special token"),
        ("{% for one in messages %}{{ one['content'] * 2 }}<|im_end|>{% endfor %}", "as it is, once, got 2 times"),
        ("{% for one in messages %}{{ one['content'] | upper }}<|im_end|>{% endfor %}", "as it is, once, got 0 times"),
        ("{% for one in messages %}{{ one['content'][0].text }}<|im_end|>{% endfor %}", "as it is, once, got 0 times"),
        ("{{ raise_exception('a system turn comes first') }}", "takes one message of a user, got TemplateError: a system"),
    ],
)
def test_a_chat_template_that_does_not_fit_is_an_error(tokenizer, template, expected):
    tokenizer.chat_template = template
    with pytest.raises(WeightsError, match=f"chat: expected .*{re.escape(expected)}.*; leave out chat=True"):
        turn_tokens(tokenizer)


@pytest.mark.parametrize("chat", [CHAT, None])
def test_no_title_ends_a_turn(tokenizer, chat):
    tokenizer.chat_template = chat
    special = set(tokenizer.convert_tokens_to_ids(list(special_tokens(tokenizer))))

    def count(item: str) -> int:
        text = chat_text(tokenizer, load_template("like").render({"item": item}))
        return sum(token in special for token in tokenizer(text, add_special_tokens=False)["input_ids"])

    assert {count(item) for item in ("red mug", *attacks("red mug"))} == {count("red mug")}
    assert tokenizer("</s>", add_special_tokens=False)["input_ids"][0] in special  # which a title would spell


def test_words_that_spell_no_special_token_stay(tokenizer):
    assert special_tokens(tokenizer) == ("<|im_start|>", "<|im_end|>", "</s>")
    assert without_special("a <b>mug</b> < / s >", special_tokens(tokenizer)) == "a <b>mug</b> < / s >"
    assert without_special("a</s></s>", special_tokens(tokenizer)) == "a< /s>< /s>"
    assert without_special("a|b", ("|",)) == "a b"
    assert without_special("a|b", special_tokens(SimpleNamespace(added_tokens_decoder={}, all_special_tokens=[]))) == "a|b"
