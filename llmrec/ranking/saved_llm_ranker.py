"""An adapted language model's ranker as a folder: its adapter, its template, `max_history` and `chat`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from llmrec.adapters.language_adapter import LanguageAdapter
from llmrec.adapters.language_folder import load_language_adapter, save_language_adapter
from llmrec.errors import AdapterError, ArtefactError
from llmrec.language.model import NUMBERS, LanguageModel
from llmrec.prompts import Template
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.store import read_folder, write_folder

KIND = "language model ranker"


def save_llm_ranker(folder: str | Path, ranker: LLMRanker) -> None:
    """Save all but the language model itself, atomically and with a hash of every file; an older save is replaced.

    PEFT loads `folder/lora` and `folder/soft_prompt`. Raises AdapterError for a ranker without an adapter, ArtefactError if
    the folder holds something else.
    """
    adapter = ranker.adapter
    if adapter is None:
        raise AdapterError("ranker: expected an adapter, got none; a template and `max_history` alone need no folder")
    meta = {"max_history": ranker.max_history, "template": ranker.template.text, "turns": ranker.turns}
    meta["dtype"] = str(ranker.language_model.dtype).removeprefix("torch.")
    write_folder(folder, lambda to: save_language_adapter(to, adapter, ranker.language_model), KIND, meta)


def saved_dtype(folder: str | Path) -> torch.dtype:
    """The number type of the language model that an adapter was trained on: it belongs to no other. float32 where the folder is
    of a time before others were saved. Raises ArtefactError as `load_llm_ranker`, and for a type that is not known."""
    name = read_folder(folder, KIND, lambda _, meta: meta.get("dtype", "float32"))
    if name not in NUMBERS:
        raise ArtefactError(f"{folder}: expected numbers of {', '.join(NUMBERS)}, got {name!r}; train the adapter again")
    return NUMBERS[name]


def load_llm_ranker(folder: str | Path, language_model: LanguageModel) -> LLMRanker:
    """The inverse, with the template and `max_history` that the adapter was trained with.

    Raises ArtefactError for a folder of another kind, or if a byte has changed since, and AdapterError for
    another language model than the adapter was trained on, or another chat template.
    """

    def read(there: Path, meta: dict[str, Any]) -> tuple[dict[str, Any], LanguageAdapter]:
        return meta, load_language_adapter(there, language_model)

    meta, adapter = read_folder(folder, KIND, read)
    template, turns = Template(meta["template"], f"the template of {folder}"), meta.get("turns")
    ranker = LLMRanker(language_model, template, meta["max_history"], adapter, chat=turns is not None)
    if ranker.turns != turns:
        raise AdapterError(
            f"{folder}: expected the chat template that it was trained with, tokens {turns} around a message, got "
            f"{ranker.turns}; load the language model with its original tokenizer"
        )
    return ranker
