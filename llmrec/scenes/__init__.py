"""New scenes: `open` one from what is known, `adapt` it to a few users, `choose` whether that pays."""

from llmrec.scenes.choosing import choose
from llmrec.scenes.opening import adapt, open

__all__ = ["adapt", "choose", "open"]
