"""A reranker in a saved folder: its weights, its adapter, and its template by name and hash. A language model is referred to,
not copied."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmrec.adapters.language_folder import adapter_hash, load_language_adapter, save_language_adapter
from llmrec.adapters.peft_format import fingerprint
from llmrec.encoder.weights import Weights
from llmrec.errors import ArtefactError, IgnoredInputWarning, WeightsError
from llmrec.language.model import NUMBERS, LanguageModel, load_language_model
from llmrec.language.weights import PACKAGED, packaged_weights
from llmrec.prompts import Template
from llmrec.prompts.files import packaged_templates
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.rankers import CandidateRanker
from llmrec.ranking.reranker import Reranker
from llmrec.recommender.templates import loaded_template, template_facts
from llmrec.store import located

PART = "ranker"


def saved_reranker(reranker: Reranker) -> dict[str, Any]:
    """As JSON values."""
    weights = {"weight": reranker.weight, "unseen_weight": reranker.unseen_weight, "top": reranker.top}
    return weights | saved_ranker(reranker.ranker)


def saved_ranker(ranker: CandidateRanker) -> dict[str, Any]:
    """As JSON values. Of a ranker of one's own the name of its class is kept: it is given again on loading."""
    facts: dict[str, Any] = {"class": type(ranker).__name__}
    if not isinstance(ranker, LLMRanker) or not _plain(ranker):
        return facts
    template, model = ranker.template, ranker.language_model
    return facts | {
        "max_history": ranker.max_history,
        "turns": ranker.turns,
        "adapter": None if ranker.adapter is None else adapter_hash(ranker.adapter),
        "language_model": {**_place(model), "dtype": str(model.dtype).removeprefix("torch."), "sha256": fingerprint(model)},
        "template": {**template_facts(template), "place": _template_place(template)},
    }


def save_adapter_of(ranker: CandidateRanker | None, folder: Path) -> None:
    """Write the adapter of a language model's ranker into a saved folder, where it has one."""
    if isinstance(ranker, LLMRanker) and _plain(ranker) and ranker.adapter is not None:
        save_language_adapter(folder / PART, ranker.adapter, ranker.language_model)


def with_adapter_of(ranker: CandidateRanker | None, folder: Path) -> CandidateRanker | None:
    """The same ranker under the adapter that `save_adapter_of` wrote; the same object where nothing was written, as for a
    ranker of your own. Raises AdapterError for an adapter that is damaged or is of another model."""
    if not isinstance(ranker, LLMRanker) or not _plain(ranker) or not (folder / PART).exists():
        return ranker
    return replace(ranker, adapter=load_language_adapter(folder / PART, ranker.language_model))


def warn_if_own(ranker: CandidateRanker | None) -> None:
    """An IgnoredInputWarning, at the line that called the caller, for a ranker that is not in the folder."""
    if ranker is not None and not _plain(ranker):
        name = type(ranker).__name__
        warnings.warn(
            f"the ranker {name} is not saved, an object of your own: pass from_pretrained(folder, ranker={name}(...)) on "
            "loading",
            IgnoredInputWarning,
            stacklevel=3,
        )


def loaded_reranker(
    saved: Mapping[str, Any] | None, folder: Path, device: str, given: CandidateRanker | str | Path | None
) -> Reranker | None:
    """The reranker of a saved folder; None where the folder has none, whatever is given. The rest as of `loaded_ranker`."""
    if saved is None:
        return None
    ranker = loaded_ranker(saved, folder, device, given)
    return Reranker(ranker, saved["weight"], saved["unseen_weight"], saved["top"])


def loaded_ranker(
    saved: Mapping[str, Any], folder: Path, device: str, given: CandidateRanker | str | Path | None
) -> CandidateRanker:
    """The inverse of `saved_ranker`.

    given: a ranker as it was fitted with, or where the weights of its language model are now: a folder or a file `*.gguf`.
    None looks where they were.

    Raises WeightsError for weights that are missing or are others than those of `fit`, TemplateError, with the lines that
    differ, for another template, ArtefactError for a ranker of one's own that is not given or is of another class, and for
    another `max_history`, `chat` or adapter, AdapterError for an adapter that is damaged.
    """
    if "language_model" not in saved:
        return _own(saved, folder, given)
    if given is None or isinstance(given, str | Path):
        return _read(saved, folder, device, given)
    return _checked(saved, folder, given)


def is_saved(saved: Mapping[str, Any], ranker: CandidateRanker) -> bool:
    """Whether a ranker is the one that was saved, wherever the weights of its language model were found."""
    mine = saved_ranker(ranker)
    if "language_model" not in saved or "language_model" not in mine:
        return saved["class"] == mine["class"] and ("language_model" in saved) == ("language_model" in mine)
    same = [("language_model", "sha256"), ("template", "sha256")]
    numbers = saved["max_history"], saved.get("adapter"), saved.get("turns")
    return numbers == (mine["max_history"], mine["adapter"], mine["turns"]) and all(
        saved[part][key] == mine[part][key] for part, key in same
    )


def _plain(ranker: CandidateRanker) -> bool:
    """Whether it can be made again from weights, a template and an adapter; one of a subclass cannot."""
    return type(ranker) is LLMRanker


def _own(saved: Mapping[str, Any], folder: Path, given: CandidateRanker | str | Path | None) -> CandidateRanker:
    name = saved["class"]
    if given is None or isinstance(given, str | Path) or type(given).__name__ != name:
        found = "none" if given is None else repr(given) if isinstance(given, str | Path) else f"a {type(given).__name__}"
        raise ArtefactError(
            f"{folder}: it was fitted with a ranker {name}, which is an object of your own and is not in the folder: expected "
            f"it, got {found}; pass from_pretrained(folder, ranker={name}(...))"
        )
    return given


def _read(saved: Mapping[str, Any], folder: Path, device: str, given: str | Path | None) -> LLMRanker:
    facts = saved["language_model"]
    if (dtype := NUMBERS.get(facts["dtype"])) is None:
        raise ArtefactError(f"{folder}: {PART}: expected numbers of {', '.join(NUMBERS)}, got {facts['dtype']!r}; fit again")
    where = facts["location"] if given is None else str(given)
    try:
        source = _weights(facts) if given is None else located(given)
        model = load_language_model(source, dtype, device)
    except WeightsError as error:
        raise WeightsError(
            f"{folder}: {PART}: expected the language model {where!r} with SHA-256 {facts['sha256'][:12]}…, got: {error}; "
            "where it is elsewhere now, pass from_pretrained(folder, ranker=PATH), a folder or a GGUF file"
        ) from error
    _check_weights(facts, model, folder, where)
    kept = saved["template"]
    adapter = load_language_adapter(folder / PART, model) if saved.get("adapter") else None
    template = loaded_template(kept, kept["place"], PART, folder)
    ranker = LLMRanker(model, template, saved["max_history"], adapter, chat=saved.get("turns") is not None)
    _check_turns(saved, ranker, folder)
    return ranker


def _check_turns(saved: Mapping[str, Any], ranker: LLMRanker, folder: Path) -> None:
    """The chat template is a part of the prompt, and not of the weights."""
    if ranker.turns != saved.get("turns"):
        raise ArtefactError(
            f"{folder}: {PART}: expected the chat template that it was fitted with, tokens {saved.get('turns')} around a "
            f"message, got {ranker.turns}; use the original tokenizer, or fit again"
        )


def _checked(saved: Mapping[str, Any], folder: Path, given: CandidateRanker) -> LLMRanker:
    if not isinstance(given, LLMRanker) or not _plain(given):
        raise ArtefactError(
            f"{folder}: {PART}: expected an LLMRanker, as it was fitted with, got {type(given).__name__}; pass such a one, the "
            "path of its weights, or fit again"
        )
    for name, expected in (("max_history", saved["max_history"]), ("chat", saved.get("turns") is not None)):
        if (came := getattr(given, name)) != expected:
            remedy = f"pass LLMRanker(..., {name}={expected}), or fit again"
            raise ArtefactError(f"{folder}: {PART}: expected {name} {expected}, got {came}; {remedy}")
    _check_turns(saved, given, folder)
    _check_weights(saved["language_model"], given.language_model, folder, "the given ranker")
    loaded_template(saved["template"], given.template, PART, folder)
    wanted = saved.get("adapter")
    if given.adapter is None and wanted:
        return replace(given, adapter=load_language_adapter(folder / PART, given.language_model), plan=None)
    if given.adapter is not None and adapter_hash(given.adapter) != wanted:
        raise ArtefactError(
            f"{folder}: {PART}: expected {'another adapter' if wanted else 'no adapter'}, as it was fitted with; pass "
            f"LLMRanker(...) without one{', and the saved one is taken' if wanted else ''}, or fit again"
        )
    return replace(given, plan=None) if given.plan is not None else given


def _check_weights(facts: Mapping[str, Any], model: LanguageModel, folder: Path, where: str) -> None:
    if (found := fingerprint(model)) != facts["sha256"]:
        raise WeightsError(
            f"{folder}: {PART}: expected weights with SHA-256 {facts['sha256'][:12]}…, as it was fitted with, got "
            f"{found[:12]}… ({str(model.dtype).removeprefix('torch.')}) in {where}; pass "
            "from_pretrained(folder, ranker=PATH) of the right ones, or fit again"
        )


def _place(model: LanguageModel) -> dict[str, Any]:
    """Where the weights came from: a packaged model by its name, a folder, or a name on the hub."""
    location = str(model.model.name_or_path)
    for one in PACKAGED:
        if Path(location).name == one.sha256[:32]:
            return {"location": one.name, "packaged": True, "hub": False, "revision": None}
    if Path(location).is_dir():
        return {"location": str(Path(location).resolve()), "packaged": False, "hub": False, "revision": None}
    revision = getattr(model.model.config, "_commit_hash", None)
    return {"location": location, "packaged": False, "hub": True, "revision": revision}


def _weights(facts: Mapping[str, Any]) -> Weights:
    """Raises WeightsError where they are not there."""
    if facts["packaged"]:
        return packaged_weights(next(one for one in PACKAGED if one.name == facts["location"]))
    return Weights.hub(facts["location"], facts["revision"]) if facts["hub"] else Weights.folder(facts["location"])


def _template_place(template: Template) -> str | None:
    """The name of a packaged template, or the whole path of a file; None where it is neither, and the saved text stands."""
    name, file = Path(template.source).stem, Path(template.source)
    if name in packaged_templates() and template.source.startswith("prompts/"):
        return name
    return str(file.absolute()) if file.is_file() else None
