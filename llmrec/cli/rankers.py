"""`--ranker`: a language model by the name of a packaged one, a folder, a GGUF file or a name on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmrec.cli.options import warn
from llmrec.errors import WeightsError

if TYPE_CHECKING:
    from llmrec.prompts import Template
    from llmrec.ranking.adapter_plan import AdapterPlan
    from llmrec.ranking.llm_ranker import LLMRanker
    from llmrec.recommender.recommender import Recommender

ADAPTERS = ("lora", "soft-prompt", "both", "head")
TOKENS = 16  # of a soft prompt


def ranker_of(
    typed: str | None,
    folder: Path | None = None,
    adapter: str | None = None,
    chat: bool = False,
    template: str | None = None,
) -> LLMRanker | None:
    """The ranker that was asked for; None for none. Of a packaged model and a GGUF file the weights are turned into float32
    once and kept in the cache folder; they are read in the number type that is faster here, or that of the adapter. A name
    such as owner/name that is no folder here is one on the hub, from which the weights are downloaded on first use.

    folder: of an adapter with its template, `max_history` and `chat`. adapter: of ADAPTERS, one that `fit` is to learn.
    chat: ask in turns of a chat. template: of the prompt, a name or file; None for `next`.

    Raises UsageError for options that do not fit each other, and for a name that is neither packaged, nor of a file, nor
    one that the hub allows; TemplateError, WeightsError and AdapterError as the parts do."""
    for option, given in (("--ranker-adapter", folder), ("--adapter", adapter)):
        if typed is None and given is not None:
            raise click.UsageError(f"{option} needs --ranker: name the language model to adapt, or leave it out.")
    if typed is None and chat:
        raise click.UsageError("--ranker-chat needs --ranker: name the language model to ask, or leave it out.")
    if typed is None and template is not None:
        raise click.UsageError("--ranker-template needs --ranker: name the language model to ask, or leave it out.")
    if folder is not None and adapter is not None:
        raise click.UsageError("--adapter trains an adapter, --ranker-adapter loads one: give only one of them.")
    if folder is not None and chat:
        raise click.UsageError("--ranker-adapter already says whether to ask in a chat: leave out --ranker-chat.")
    if folder is not None and template is not None:
        raise click.UsageError("--ranker-adapter already brings the template of its training: leave out --ranker-template.")
    if typed is None:
        return None
    from llmrec.language.model import load_language_model
    from llmrec.language.weights import PACKAGED, typed_source
    from llmrec.ranking.llm_ranker import LLMRanker
    from llmrec.ranking.saved_llm_ranker import load_llm_ranker, saved_dtype

    if (source := typed_source(typed)) is None:
        packaged = ", ".join(one.name for one in PACKAGED)
        raise click.UsageError(
            f"--ranker is {typed!r}: expected {packaged}, a folder as `llmrec weights` writes it, a file *.gguf, or a name on "
            "the hub, such as HuggingFaceTB/SmolLM2-360M"
        )
    words = template_of("next" if template is None else template)  # before the weights, which may take a minute
    try:
        model = load_language_model(source, None if folder is None else saved_dtype(folder))
    except WeightsError as error:
        if isinstance(source, str):
            raise
        said = f"--ranker is {typed!r}: there is no such folder here, and none was loaded from the hub: {error}"
        raise WeightsError(said) from error
    if folder is not None:
        return load_llm_ranker(folder, model)
    return LLMRanker(model, words, plan=None if adapter is None else plan_of(adapter), chat=chat)


def template_of(typed: str) -> Template:
    """The template of this name, or in this file, which asks about candidates.

    Raises UsageError where it is not there, TemplateError where it is damaged or asks about something else.
    """
    from llmrec.prompts import load_template
    from llmrec.prompts.candidates import PAST, CandidatePrompt
    from llmrec.prompts.files import is_there, packaged_templates

    if not is_there(typed):
        asking = [name for name in packaged_templates() if load_template(name).header.task in PAST]
        raise click.UsageError(
            f"--ranker-template is {typed!r}: expected {', '.join(asking)}, or the path of your own file *.jinja; "
            "see `llmrec prompt show`"
        )
    return CandidatePrompt(load_template(typed)).template


def plan_of(adapter: str) -> AdapterPlan:
    """What `fit` learns, by its name in ADAPTERS."""
    from llmrec.ranking.adapter_plan import AdapterPlan

    lora, prompt = adapter in ("lora", "both"), adapter in ("soft-prompt", "both")
    return AdapterPlan(r=AdapterPlan.r if lora else 0, n_tokens=TOKENS if prompt else 0, head=adapter == "head")


def recommender_of(folder: Path, ranker: Path | None) -> Recommender:
    """The recommender of a folder. ranker: where its language model is now; a line on stderr where it has none."""
    from llmrec.recommender.recommender import Recommender

    recommender = Recommender.from_pretrained(folder, ranker=ranker)
    if ranker is not None and recommender.state.own_ranker is None:
        warn_of_unused(ranker, folder)
    return recommender


def warn_of_unused(ranker: Path, folder: Path) -> None:
    """A line on stderr: the folder has no language model whose place could be given."""
    warn(f"--ranker {ranker} is not used: '{folder}' has no language model; `fit` was given none, or left it out")
