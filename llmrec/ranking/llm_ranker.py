"""A causal language model as a ranker: it reads the titles of the history, and says how likely they make each candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa
import torch

from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.index.candidates import Candidates
from llmrec.language.model import LanguageModel
from llmrec.language.packed import Prefix, log_likelihoods, log_odds, read_prefix
from llmrec.language.prompts import NEXT_TITLE, CandidatePrompt

PREFIXES = 16  # histories whose keys and values are kept, of some megabytes each


@dataclass(frozen=True, eq=False)
class LLMRanker:
    """Ranks by a language model, untrained; it has the protocol `CandidateRanker`.

    The score of an item is the log-likelihood of its title behind the history less that behind an empty history: by how many
    nats the history makes the title more likely. Without the second term long titles and rare words would come last. Where the
    prompt has a verbaliser, it is the log odds of its `yes` words against its `no` words behind the title.

    All candidates of a user are read in one pass behind the prompt that they share (`llmrec.language.packed`). What was read of
    the last PREFIXES histories is kept, and of every title its log-likelihood behind an empty history.

    language_model: from `load_language_model`. prompt: its words. max_history: titles in it, the latest ones. Events that count
    0, such as dislikes, are not among them.
    """

    language_model: LanguageModel
    prompt: CandidatePrompt = NEXT_TITLE
    max_history: int = 10

    def score(self, tasks: Tasks, candidates: Candidates) -> np.ndarray:
        """See `CandidateRanker`. Raises DataError for a word of the verbaliser that is not one token."""
        counted, table = tasks.counted, tasks.dataset.catalogue.table
        scores = np.zeros(len(candidates.item), np.float32)
        for task in np.flatnonzero(np.diff(candidates.start)).tolist():
            part = slice(*candidates.start[[task, task + 1]])
            bought = counted.dataset.item[counted.support(task)]
            past = _titles(table, bought[max(0, len(bought) - self.max_history) :])
            segments = [self.prompt.segment(title) for title in _titles(table, candidates.item[part])]
            with torch.no_grad():
                scores[part] = self._scores(self.prompt.prefix(past), segments)
        return scores

    def _scores(self, prefix: str, segments: Sequence[str]) -> np.ndarray:
        """float32 (C,) for C candidates of one user."""
        model, tokens, (yes, no) = self.language_model, [self.language_model.words(one) for one in segments], self._verbaliser
        read = self._read_prefix(prefix)
        if yes:
            return log_odds(model, read, tokens, yes, no).cpu().numpy()
        return log_likelihoods(model, read, tokens).cpu().numpy() - self._without_history(segments, tokens)

    def _without_history(self, segments: Sequence[str], tokens: Sequence[Sequence[int]]) -> np.ndarray:
        """float32 (C,): log-likelihoods behind an empty history, read where they are not known yet."""
        new = {one: ids for one, ids in zip(segments, tokens, strict=True) if one not in self._known}
        if new:
            empty = self._read_prefix(self.prompt.prefix([]))
            found = log_likelihoods(self.language_model, empty, list(new.values())).tolist()
            self._known.update(zip(new, found, strict=True))
        return np.array([self._known[one] for one in segments], np.float32)

    @cached_property
    def _known(self) -> dict[str, float]:
        return {}

    @cached_property
    def _read_prefix(self) -> Callable[[str], Prefix]:
        model = self.language_model
        return lru_cache(PREFIXES)(lambda text: read_prefix(model, model.start(text)))

    @cached_property
    def _verbaliser(self) -> tuple[list[int], list[int]]:
        """Token ids of the words of the verbaliser; none for a prompt without one."""
        words = {word: self.language_model.words(word) for word in (*self.prompt.yes, *self.prompt.no)}
        for word, tokens in words.items():
            if len(tokens) != 1:
                raise DataError(
                    f"prompt: expected verbaliser words of one token each, got {word!r} of {len(tokens)}; choose a shorter word"
                )
        return [words[word][0] for word in self.prompt.yes], [words[word][0] for word in self.prompt.no]


def _titles(table: pa.Table, items: np.ndarray) -> list[str]:
    """Titles of some items; "" for one without."""
    return [title or "" for title in table.column("title").take(items).to_pylist()]
