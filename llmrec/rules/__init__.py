"""Rules of a shop: what may be shown, to whom, how much of it, and in which places; `Rules` is all that a caller needs."""

from __future__ import annotations

from llmrec.rules.rules import Block, Factor, Freshness, Rules

__all__ = ["Block", "Factor", "Freshness", "Rules"]
