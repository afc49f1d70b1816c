"""A rendered prompt as a chat model reads it, by the chat template that comes with its tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from llmrec.errors import WeightsError
from llmrec.prompts.sandbox import JinjaError

_MESSAGE = "message0of1a2user"


class Tokenizer(Protocol):
    """What is asked of a tokenizer of transformers."""

    chat_template: Any

    @property
    def all_special_tokens(self) -> Sequence[Any]:
        """Tokens that mean something to the model."""

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """All tokens that were added to the vocabulary, `special` or not."""

    def __call__(self, text: str, *, add_special_tokens: bool) -> Any:
        """Token ids under `input_ids`."""

    def apply_chat_template(self, conversation: Any, *, tokenize: bool, add_generation_prompt: bool) -> Any:
        """The messages as one text."""


def chat_text(tokenizer: Tokenizer, text: str) -> str:
    """The text as a user's message, followed by the start of the answer; the text itself if the tokenizer has no chat template.
    No special token stays in the text: see `without_special`.

    Encode the result with `add_special_tokens=False` if there is a chat template, which adds its own.
    """
    safe = without_special(text, special_tokens(tokenizer))
    if not getattr(tokenizer, "chat_template", None):
        return safe
    messages = [{"role": "user", "content": safe}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def turn_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Token ids before the user's message, and after it up to the model's answer, by the tokenizer's chat template.

    Raises WeightsError where there is none, where it does not keep the message as it is, once, and where no special token ends
    the user's turn: a title could end it, then.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise _unfit("a tokenizer with a chat template", "one without: it is not that of a chat model")
    message = [{"role": "user", "content": _MESSAGE}]
    try:
        text = str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
    except (JinjaError, TypeError, ValueError) as error:  # such as one that needs a system turn
        raise _unfit("a chat template that takes one message of a user", f"{type(error).__name__}: {error}") from error
    if text.count(_MESSAGE) != 1:
        raise _unfit("a chat template that keeps the message as it is, once", f"{text.count(_MESSAGE)} times {_MESSAGE!r}")
    begin, end = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in text.split(_MESSAGE))
    special = {place for place, token in tokenizer.added_tokens_decoder.items() if token.special}
    if not special & set(end):
        raise _unfit("a chat template that ends a user's turn by a special token", f"{text.split(_MESSAGE)[1]!r}")
    return begin, end


def _unfit(expected: str, came: str) -> WeightsError:
    return WeightsError(f"chat: expected {expected}, got {came}; leave out chat=True, or take another model")


def special_tokens(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Tokens that mean something to the model, such as the end of a turn, longest first."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    found = {*added, *map(str, tokenizer.all_special_tokens)}
    return tuple(sorted((one for one in found if one.strip()), key=lambda one: (-len(one), one)))


def without_special(text: str, tokens: Iterable[str]) -> str:
    """The text with a blank behind the first character of everything in it that spells one of the tokens: a title cannot end a
    turn. A token of one character becomes a blank."""
    spelled = "|".join(re.escape(token) for token in tokens)
    if not spelled:
        return text
    return re.sub(spelled, lambda found: f"{found[0][0]} {found[0][1:]}" if len(found[0]) > 1 else " ", text)
