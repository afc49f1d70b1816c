"""New scenes: `zero_shot` opens one without events, `adapt` fits it to a few users, `choose` decides whether that pays."""

from llmrec.scenes.choosing import choose
from llmrec.scenes.opening import adapt, zero_shot

__all__ = ["adapt", "choose", "zero_shot"]
