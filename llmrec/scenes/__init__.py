"""New scenes: recognise one (`detect`), `open` it from what is known, `adapt` it to a few users, `choose` whether that pays."""

from llmrec.scenes.choosing import choose
from llmrec.scenes.detecting import detect
from llmrec.scenes.opening import adapt, open

__all__ = ["adapt", "choose", "detect", "open"]
