"""A causal language model as a ranker: it reads the titles of the history, and scores how likely they make each candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import takewhile

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from llmrec.adapters.language_adapter import LanguageAdapter
from llmrec.data.numbers import check_whole
from llmrec.data.tasks import Tasks
from llmrec.encoder.backbone import adding
from llmrec.encoder.bert import LoraHook
from llmrec.errors import AdapterError, DataError, TemplateError
from llmrec.index.candidates import Candidates
from llmrec.language.head import token_log_odds
from llmrec.language.model import LanguageModel
from llmrec.language.packed import (
    Prefix,
    last_states,
    log_likelihoods,
    log_likelihoods_and_states,
    read_prefix,
    read_virtual,
)
from llmrec.language.rows import Row
from llmrec.meta.title_choices import TitleChoices
from llmrec.prompts.candidates import PAST, PROBE, CandidatePrompt
from llmrec.prompts.files import load_template
from llmrec.prompts.template import Template
from llmrec.ranking.adapter_plan import AdapterPlan

PREFIXES = 16  # histories whose keys and values are kept, of some megabytes each
TITLES = 100_000  # whose log-likelihoods behind an empty history are kept, some 30 megabytes; then they are forgotten


@dataclass(frozen=True, eq=False)
class LLMRanker:
    """Ranks by a language model, untrained or adapted; it has the protocol `CandidateRanker`.

    With a template of the task `next` the score of an item is the log-likelihood of its title after the history minus that
    after an empty history: by how many nats the history makes the title more likely. Without the second term long titles and
    rare words would rank last. With a template of the task `like` it is the log odds of the verbaliser's word for `like`
    against that for `dislike`.

    All candidates of a user are scored in one pass after their shared prompt (`llmrec.language.packed`). The states of the
    template's first words and of the last PREFIXES histories are cached, and the log-likelihood of up to TITLES titles after
    an empty history.

    language_model: from `load_language_model`. template: from `load_template`. max_history: titles in the prompt, the latest
    ones; half of them, and half again, if they take more than half of the model's `max_length`. Events of sample weight 0, such
    as dislikes, are not among them; for the task `like` as many of those are the disliked titles. Items without title are left
    out.
    chat: put the prompt into the user's turn of a chat, and the title or the verbaliser's word into the model's turn, by the
    chat template of the tokenizer; see `turn_tokens`.
    adapter: LoRA, a soft prompt, a linear head, or several of them, of U = 1; None for the model alone. Log-likelihoods
    after an empty history are computed without it, see `llmrec.meta.title_choices`. plan: of the adapter that `Recommender.fit`
    or `Scenes.fit` trains; None: no adapter is trained. `recommend(ranker=...)` ignores it.

    Raises DataError for a negative max_history and a `chat` that is no bool; AdapterError for an adapter of several users, and
    for an adapter with a plan; WeightsError for a chat without a suitable chat template in the tokenizer; TemplateError for a
    template that does not ask about candidates, see `CandidatePrompt`, for a word of the verbaliser that is not one token of
    the model, and, in `score`, for a candidate that takes more than half of `max_length`.
    """

    language_model: LanguageModel
    template: Template = field(default_factory=lambda: load_template("next"))
    max_history: int = 10
    adapter: LanguageAdapter | None = None
    plan: AdapterPlan | None = None
    chat: bool = False

    def __post_init__(self) -> None:
        check_whole("LLMRanker.max_history", self.max_history, 0)
        if not isinstance(self.chat, bool):
            raise DataError(f"LLMRanker.chat is {self.chat!r}; expected True or False")
        _ = self._answers, self.turns
        if self.adapter is not None and len(self.adapter) != 1:
            raise AdapterError(
                f"adapter: expected that of one user or scene, got {len(self.adapter)}; give `adapter.take(...)`"
            )
        if self.plan is not None and not isinstance(self.plan, AdapterPlan):
            raise DataError(f"LLMRanker.plan is {self.plan!r}; expected an AdapterPlan or None")
        if self.adapter is not None and self.plan is not None:
            raise AdapterError("adapter, plan: expected one of them, got both; an adapter that was learned needs no plan")

    @property
    def turns(self) -> list[list[int]] | None:
        """Token ids around the user's message, see `LanguageModel.turns`; None without a chat."""
        return list(self.language_model.turns) if self.chat else None

    def with_adapter(self, adapter: LanguageAdapter) -> LLMRanker:
        """The same under another adapter and without a plan; what is known of titles without history is shared."""
        found = replace(self, adapter=adapter, plan=None)
        found.__dict__["_known"] = self._known
        return found

    def score(self, tasks: Tasks, candidates: Candidates) -> np.ndarray:
        """See `CandidateRanker`."""
        scores = np.zeros(len(candidates.item), np.float32)
        with torch.no_grad():
            for _, part, prefix, segments, tokens in self._asked(tasks, candidates):
                scores[part] = self._scores(prefix, segments, tokens)
        return scores

    def choices(self, tasks: Tasks, candidates: Candidates) -> TitleChoices:
        """Training data of an adapter: the candidates of each task, and those in its query; a task without any is left
        out. The owner of a choice is its task, int64 in 0 ... T - 1; `TitleChoices.owned` gives another."""
        relevant = tasks.relevant()
        rows, hits, offsets, owner = [], [], [], []
        for task, part, prefix, segments, tokens in self._asked(tasks, candidates):
            taken = np.isin(candidates.item[part], relevant[task])
            if not taken.any():
                continue
            with torch.no_grad():
                offset = np.zeros(len(tokens), np.float32) if self._answers else self._without_history(segments, tokens)
            rows.append(Row(self._start(prefix), tokens))
            hits.append(taken)
            offsets.append(offset)
            owner.append(task)
        return TitleChoices(tuple(rows), tuple(hits), tuple(offsets), np.array(owner, np.int64), self._answers)

    def _asked(self, tasks: Tasks, candidates: Candidates) -> Iterator[tuple[int, slice, str, list[str], list[list[int]]]]:
        """Of each task with candidates its number, the places of these, the prompt that they share, and their pieces of it, as
        texts and as token ids."""
        data = tasks.dataset
        table, counting = data.catalogue.table, data.counting
        for task in np.flatnonzero(np.diff(candidates.start)).tolist():
            part, known = slice(*candidates.start[[task, task + 1]]), tasks.support(task)
            counts = np.ones(known.stop - known.start, bool) if counting is None else counting[known]
            liked, disliked = (_latest(table, data.item[known][which], self.max_history) for which in (counts, ~counts))
            segments = [self._prompt.segment(title) for title in _titles(table, candidates.item[part])]
            tokens = self._tokens(segments)
            yield task, part, self._prefix(liked, disliked), segments, tokens

    def _scores(self, prefix: str, segments: Sequence[str], tokens: Sequence[Sequence[int]]) -> np.ndarray:
        """float32 (C,) for C candidates of one user."""
        model, head = self.language_model, None if self.adapter is None else self.adapter.head
        with adding(self._adds[0]):
            read = self._read_prefix(prefix)
            if self._answers:
                yes, no = self._answers
                states = last_states(model, read, tokens)
                found = token_log_odds(model, states, [yes], [no])
            elif head is None:
                found = log_likelihoods(model, read, tokens)
            else:
                found, states = log_likelihoods_and_states(model, read, tokens)
        if head is not None:
            found = found + head.scores(states, torch.zeros(len(states), dtype=torch.long))
        return found.cpu().numpy() - (0 if self._answers else self._without_history(segments, tokens))

    def _tokens(self, segments: Sequence[str]) -> list[list[int]]:
        """Token ids of each piece of a prompt."""
        model = self.language_model
        if not self.chat:
            found = [model.words(one) for one in segments]
        elif self._answers:
            found = [model.words(one) + model.turns[1] for one in segments]
        else:  # no space before the first word of an answer
            found = [model.words(one.lstrip(" ")) for one in segments]
        if (length := max(map(len, found))) > self._room:
            raise self._too_long(f"candidates of at most {self._room:,} tokens", length)
        return found

    def _prefix(self, liked: list[str], disliked: list[str]) -> str:
        """The prompt before the candidates."""
        kept = max(len(liked), len(disliked))
        while True:
            some, others = (titles[max(0, len(titles) - kept) :] for titles in (liked, disliked))
            prefix = self._prompt.prefix({"history": some, "liked": some, "disliked": others})
            if (length := len(self._start(prefix))) <= self._room:
                return prefix
            if not kept:
                raise self._too_long(f"words of at most {self._room:,} tokens before the candidates", length)
            kept //= 2

    def _start(self, prefix: str) -> list[int]:
        """Token ids of the prompt before the candidates."""
        model = self.language_model
        if not self.chat:
            return model.start(prefix)
        begin, end = model.turns
        return begin + model.words(prefix) + ([] if self._answers else end)

    @property
    def _room(self) -> int:
        """Tokens for what stands before the candidates, and for each of them, so that no score depends on other candidates."""
        return self.language_model.max_length // 2

    def _too_long(self, expected: str, length: int) -> TemplateError:
        return TemplateError(
            f"{self.template.source}: expected {expected}, half of what the model was made for, got {length:,}; set `longest` "
            "in the front matter to fewer characters"
        )

    def _without_history(self, segments: Sequence[str], tokens: Sequence[Sequence[int]]) -> np.ndarray:
        """float32 (C,): log-likelihoods behind an empty history without adapter, read where they are not known yet."""
        known = {one: self._known.get(one) for one in segments}
        new = {one: ids for one, ids in zip(segments, tokens, strict=True) if known[one] is None}
        if new:
            found = dict(zip(new, log_likelihoods(self.language_model, self._nobody, list(new.values())).tolist(), strict=True))
            if len(self._known) + len(found) > TITLES:
                self._known.clear()
            self._known.update(found)
            known.update(found)
        return np.array([known[one] for one in segments], np.float32)

    @cached_property
    def _known(self) -> dict[str, float]:
        return {}

    @cached_property
    def _nobody(self) -> Prefix:
        """The prompt with an empty history, read without adapter."""
        return read_prefix(self.language_model, self._start(self._prompt.prefix({})))

    @cached_property
    def _adds(self) -> tuple[LoraHook | None, Tensor | None]:
        return (None, None) if self.adapter is None else self.adapter.adds(self.language_model)

    @cached_property
    def _virtual(self) -> Prefix | None:
        """The virtual tokens, read once; None without."""
        virtual = self._adds[1]
        return None if virtual is None else read_virtual(self.language_model, virtual[0])

    @cached_property
    def _read_prefix(self) -> Callable[[str], Prefix]:
        model = self.language_model

        def read(text: str) -> Prefix:
            tokens, (head, before) = self._start(text), self._head
            if tokens[: len(head)] != head or len(tokens) == len(head):
                return read_prefix(model, tokens, self._virtual)
            return read_prefix(model, tokens[len(head) :], before)

        return lru_cache(PREFIXES)(read)

    @cached_property
    def _head(self) -> tuple[list[int], Prefix | None]:
        """Tokens that all prompts of the template begin with, and these behind the virtual tokens, read once for all users."""
        some = {name: [PROBE] for name in PAST[self.template.header.task]}
        pairs = zip(self._start(self._prompt.prefix({})), self._start(self._prompt.prefix(some)), strict=False)
        head = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        return head, read_prefix(self.language_model, head, self._virtual) if head else self._virtual

    @cached_property
    def _prompt(self) -> CandidatePrompt:
        return CandidatePrompt(self.template)

    @cached_property
    def _answers(self) -> tuple[int, ...]:
        """Token ids of the words for `like` and `dislike`; () for the task `next`."""
        answers = self._prompt.answers
        found = {word: self.language_model.words(word.strip() if self.chat else word) for word in answers}
        for word, tokens in found.items():
            if len(tokens) != 1:
                raise TemplateError(
                    f"{self.template.source}: verbaliser: expected words of one token each in this model, got {word!r} of "
                    f"{len(tokens)}; choose a shorter word"
                )
        return tuple(tokens[0] for tokens in found.values())


def _latest(table: pa.Table, items: np.ndarray, most: int) -> list[str]:
    """The titles of the last so many items that have one."""
    return [title for title in _titles(table, items[max(0, len(items) - most) :]) if title]


def _titles(table: pa.Table, items: np.ndarray) -> list[str]:
    """Titles of some items; "" for one without."""
    return [title or "" for title in table.column("title").take(items).to_pylist()]
