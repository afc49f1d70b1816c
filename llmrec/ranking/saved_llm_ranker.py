"""An adapted language model's ranker as a folder: its adapter in PEFT's formats, its template, and how many titles it reads."""

from __future__ import annotations

from pathlib import Path

from llmrec.adapters.language_folder import load_language_adapter, save_language_adapter
from llmrec.errors import AdapterError, ArtefactError
from llmrec.language.model import LanguageModel
from llmrec.prompts import Template, load_template
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.store import load_json, save_json

PROMPTS, NUMBERS = "prompts", "ranker.json"


def save_llm_ranker(folder: Path, ranker: LLMRanker) -> None:
    """Write all but the language model itself. Raises AdapterError for a ranker without an adapter."""
    if ranker.adapter is None:
        raise AdapterError("ranker: expected an adapter, got none; a template and `max_history` alone need no folder")
    save_language_adapter(folder, ranker.adapter, ranker.language_model)
    prompts = folder / PROMPTS
    prompts.mkdir(exist_ok=True)
    for older in prompts.glob("*.jinja"):
        older.unlink()
    (prompts / f"{ranker.template.header.name}.jinja").write_text(ranker.template.text, encoding="utf-8")
    save_json(folder / NUMBERS, {"max_history": ranker.max_history})


def load_llm_ranker(folder: Path, language_model: LanguageModel) -> LLMRanker:
    """The ranker as it was trained: prompts are those that its adapter knows.

    Raises AdapterError, which names the file, where one is missing, and as `load_language_adapter`; TemplateError for a
    template that has been damaged.
    """
    adapter = load_language_adapter(folder, language_model)
    try:
        numbers = load_json(folder / NUMBERS)
        templates = list((folder / PROMPTS).glob("*.jinja"))
        if len(templates) != 1:
            raise ArtefactError(
                f"{folder / PROMPTS}: expected the template that the adapter was trained with, got {len(templates)} files"
            )
    except ArtefactError as error:
        raise AdapterError(
            f"{folder}: expected {NUMBERS} and a template beside the adapter ({error}); write both with save_llm_ranker, or "
            "give LLMRanker(..., adapter=...) in Python"
        ) from error
    if not isinstance(numbers, dict) or not isinstance(numbers.get("max_history"), int):
        raise AdapterError(f"{folder / NUMBERS}: expected max_history, a whole number, got {numbers!r}; save the ranker again")
    text = load_template(templates[0]).text  # no path: the folder may be trained into again
    return LLMRanker(language_model, Template(text, f"the template of {folder}"), numbers["max_history"], adapter)
