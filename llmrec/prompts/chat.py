"""A rendered prompt as a chat model reads it, by the chat template that comes with its tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol


class Tokenizer(Protocol):
    """What is asked of a tokenizer of transformers."""

    chat_template: Any

    @property
    def all_special_tokens(self) -> Sequence[Any]:
        """Tokens that mean something to the model."""

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """All tokens that were added to the vocabulary, `special` or not."""

    def apply_chat_template(self, conversation: Any, *, tokenize: bool, add_generation_prompt: bool) -> Any:
        """The messages as one text."""


def chat_text(tokenizer: Tokenizer, text: str) -> str:
    """The text as a message of a user, with the beginning of the answer behind it; where the tokenizer has no chat template,
    the text as it is. No special token stays in the text itself, whoever wrote it: see `without_special`.

    Encode the result with `add_special_tokens=False` where there is a chat template, which brings its own.
    """
    safe = without_special(text, special_tokens(tokenizer))
    if not getattr(tokenizer, "chat_template", None):
        return safe
    messages = [{"role": "user", "content": safe}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


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
