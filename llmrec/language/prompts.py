"""The words of a prompt that asks about candidates: what stands before a candidate, given the history, and its own piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST = 160  # characters of a title, which may be of any length


@dataclass(frozen=True)
class CandidatePrompt:
    """A prompt in two pieces: `prefix` is the same for all candidates of a user, `segment` is the candidate's own.

    before: words before the history. item: what stands before each title of the history. after: words after the history.
    behind: words behind the candidate's title. yes, no: the verbaliser, words of one token that may follow; without them the
    likelihood of the title is asked for.
    """

    before: str
    item: str
    after: str
    behind: str = ""
    yes: tuple[str, ...] = ()
    no: tuple[str, ...] = ()

    def prefix(self, titles: Sequence[str]) -> str:
        """What stands before a candidate; titles: of the history, the latest last, which may be empty."""
        return self.before + "".join(self.item + one_line(title) for title in titles) + self.after

    def segment(self, title: str) -> str:
        """The candidate's piece, from the space before its title on."""
        return " " + one_line(title) + self.behind


NEXT_TITLE = CandidatePrompt("A shopper bought, in this order:", "\n- ", "\n-")
YES_OR_NO = CandidatePrompt(
    "A shopper bought, in this order:",
    "\n- ",
    "\nWould the shopper also buy this?\n-",
    "\nAnswer:",
    (" Yes", " yes"),
    (" No", " no"),
)


def one_line(title: str) -> str:
    """A title as a prompt should hold it: on one line, and cut after LONGEST characters."""
    return " ".join(title.split())[:LONGEST].rstrip()
