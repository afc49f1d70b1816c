"""What is learned from known scenes: the text prior, a mix for each adaptation method, and the gain of each method.

Axis convention: `D` designs, `S` support sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrec.scenes.few import Ground
from llmrec.scenes.mix import Mix
from llmrec.scenes.readings import BIAS, CHANGE, COMPANY
from llmrec.scenes.shelf import TEXT

if TYPE_CHECKING:
    from llmrec.scenes.ranker_steps import RankerSteps


@dataclass(frozen=True)
class Design:
    """A way to adapt: which columns of the support users it uses, and whether their own events move the mix by steps.
    straight: whether its mix has no bends, so that the order of a single column stays."""

    name: str
    columns: tuple[str, ...]
    steps: bool = False
    straight: bool = False


def designs_over(base: tuple[str, ...]) -> tuple[Design, ...]:
    """The ways to adapt a scene whose columns `base` are there before anybody is known."""
    return (
        Design("bias", base + BIAS),
        Design("bias and company", base + BIAS + COMPANY),
        Design("bias, company and change", base + BIAS + COMPANY + CHANGE),
        Design("bias, company, change and steps", base + BIAS + COMPANY + CHANGE, steps=True),
    )


def zero_over(zero: tuple[str, ...]) -> Design:
    """Zero steps of a scene that ranks by the columns `zero`."""
    return Design("zero steps", zero, straight=len(zero) == 1)


ZERO, DESIGNS = zero_over(TEXT), designs_over(TEXT)


@dataclass(frozen=True)
class Mixes:
    """zero: mix without support users. by_size: of S support sizes, each of D designs."""

    zero: Mix
    by_size: tuple[tuple[Mix, ...], ...]


@dataclass(frozen=True)
class Learned:
    """ground: of all known scenes. designs: D. sizes: S support users, ascending.

    later: mixes for users who bought something of the scene before. first: for users who did not; None where no such history
    was seen, as in shops with a catalogue of their own. gain: float64 (S, D), nats an event over zero steps, mean over scenes
    of meta-validation. spread: float64 (S, D), deviation of a scene's gain from that mean, its own noise included.
    ranker_weights: of a ranker of one's own, see `ranking.reranker`, in a scene without first customers and in one that is
    adapted to some; 0 leaves it out. ranker_steps: how the adapter of a language model moves in a new scene; None where it does
    not.
    """

    ground: Ground
    designs: tuple[Design, ...]
    sizes: tuple[int, ...]
    later: Mixes
    first: Mixes | None
    gain: np.ndarray
    spread: np.ndarray
    ranker_weights: tuple[float, float] = (0.0, 0.0)
    ranker_steps: RankerSteps | None = None

    def size(self, users: int) -> int:
        """Place of the support size nearest to `users`, as a ratio. Many more than were learned at are no longer a few, and are
        to be trained on."""
        return int(np.argmin(np.abs(np.log(np.array(self.sizes)) - np.log(max(users, 1)))))

    def best(self, users: int) -> int | None:
        """Place of the design that meta-validation prefers for so many support users; None for zero steps."""
        gain = self.gain[self.size(users)]
        return int(gain.argmax()) if users and gain.max() > 0 else None
