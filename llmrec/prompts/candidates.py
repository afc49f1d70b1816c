"""A template that asks about candidates, in two pieces: what all candidates of a user share, and the piece of each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from llmrec.errors import TemplateError
from llmrec.prompts.template import Template
from llmrec.prompts.values import one_line

PAST = {"next": ("history",), "like": ("liked", "disliked")}  # by task, the variables for what a user did before
PROBE = "Blue Mug"


@dataclass(frozen=True)
class CandidatePrompt:
    """The pieces of a template of the task `next` or `like`, which are turned into tokens apart.

    Tokens of most vocabularies begin with the space before a word. So no piece ends in a space: it begins the next piece.

    Raises TemplateError for a template of another task, with other variables, without words before `item`, with anything but
    the title itself and fixed words from there on, or where a variable for the past may not be empty; for `like` also
    without words behind `item`, and where the answers of the verbaliser are not `like` and `dislike`.
    """

    template: Template

    def __post_init__(self) -> None:
        template, header = self.template, self.template.header
        if header.task not in PAST:
            raise self._error("task", f"one of {', '.join(PAST)} for a template that asks about candidates", header.task)
        past = PAST[header.task]
        if not set(header.variables) & set(past) or set(header.variables) - {*past, "item"}:
            raise self._error("variables", f"item and {' or '.join(past)}", ", ".join(header.variables))
        before, _, after = self._split({})
        if not before:
            raise self._error("item", "words before it", "none")
        some = {name: [PROBE] for name in past}
        whole = template.render({"item": PROBE}).rstrip(" ")
        if self._split(some)[1:] != self._fixed or before + self.segment(PROBE) != whole:
            raise self._error("item", "the title itself and fixed words behind it", "a filter, a condition or the past there")
        answers = dict(header.verbaliser)
        if header.task == "like" and answers.keys() != {"like", "dislike"}:
            raise self._error("verbaliser", 'words as {like: "Yes", dislike: "No"}', ", ".join(answers) or "none")
        if header.task == "like" and not after.strip():
            raise self._error("item", "words behind it that ask for an answer, such as 'Answer:'", "none")

    def prefix(self, past: Mapping[str, Sequence[str]]) -> str:
        """What all candidates of a user share. past: titles, the latest last, of `history`, or of `liked` and `disliked`."""
        return self._split(past)[0]

    def segment(self, title: str) -> str:
        """A candidate's own piece: the title, on one line and cut as every value of the template, and what follows it."""
        gap, after = self._fixed
        return gap + one_line(title, self.template.header.longest) + after

    @property
    def answers(self) -> tuple[str, ...]:
        """For the task `like`, the words for `like` and `dislike` as they follow a segment; () for `next`."""
        if self.template.header.task != "like":
            return ()
        words = dict(self.template.header.verbaliser)
        space = " " if self._fixed[1][-1].isascii() and not self._fixed[1].endswith("\n") else ""  # none behind "："
        return space + words["like"], space + words["dislike"]

    @cached_property
    def _fixed(self) -> tuple[str, str]:
        return self._split({})[1:]

    def _split(self, past: Mapping[str, Sequence[str]]) -> tuple[str, str, str]:
        """The prefix, the spaces before the title, and what follows the title."""
        before, after = self.template.around("item", past)
        prefix = before.rstrip(" ")
        return prefix, before[len(prefix) :], after.rstrip(" ")

    def _error(self, key: str, expected: str, came: str) -> TemplateError:
        return TemplateError(
            f"{self.template.source}: {key}: expected {expected}, got {came}; begin with the packaged template 'next' or 'like'"
        )
