"""`llmrec fit --ranker`: a language model by the name of a packaged one, a folder or a GGUF file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from llmrec.ranking.llm_ranker import LLMRanker


def ranker_of(typed: str | None) -> LLMRanker | None:
    """The ranker that was asked for; None for none. Of a packaged model and a GGUF file the weights are turned into float32
    once and kept in the cache folder."""
    if typed is None:
        return None
    from llmrec.language.model import load_language_model
    from llmrec.language.weights import PACKAGED, packaged_weights
    from llmrec.ranking.llm_ranker import LLMRanker
    from llmrec.store import located

    packaged, path = {one.name: one for one in PACKAGED}, located(typed)
    if not path.exists() and typed not in packaged:
        raise click.UsageError(
            f"--ranker is {typed!r}: expected {', '.join(packaged)}, a folder as `llmrec weights` writes it, or a file *.gguf"
        )
    source = path if path.exists() else packaged_weights(packaged[typed])
    return LLMRanker(load_language_model(source))
