"""Choices among titles: which of some candidates a user took, as token ids that a language model is adapted to.

The score of a candidate is that of `LLMRanker`. For a template of the task `next` it is the log-likelihood of the title behind
the history, less that behind an empty history by the model without an adapter, a constant. That is the base's score at zero
steps, it costs no tokens in training, and it leaves an adapter free to learn which titles sell in a scene whatever the history:
under the same adapter behind both histories this would cancel. For a template of the task `like` it is the log odds of the
verbaliser. A linear head adds to either its dot product with the last state of the candidate.

Axis convention: `B` choices, `C` candidates of all of them, `U` users or scenes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from llmrec.adapters.language_adapter import LanguageAdapter
from llmrec.encoder.loss import multi_target
from llmrec.errors import DataError
from llmrec.language.model import LanguageModel
from llmrec.language.rows import Row, Rows, read_below, row_log_likelihoods, row_log_odds, row_states
from llmrec.meta.choice_gradient import Parts, loss_by_parts
from llmrec.meta.inner import SupportLoss
from llmrec.meta.losses import mean_by

TOKENS = 16_384  # read side by side, times the blocks that adapt: some 35 KB each are kept for the gradient of SmolLM2


@dataclass(frozen=True, eq=False)
class TitleChoices:
    """B choices. Each has at least one candidate that was taken.

    rows: the prompts. taken: bool (C_b,) of each choice's candidates. offset: float32 (C_b,), subtracted from each score.
    owner: int64 (B,), the user or scene 0 ... U - 1 whose choice it is. answers: token ids of the words for `like` and
        `dislike`; () where the score is a log-likelihood.
    temperature: nats of score that count as one in the loss, see `calibrated`. Scores themselves are not divided by it.
    """

    rows: tuple[Row, ...]
    taken: tuple[np.ndarray, ...]
    offset: tuple[np.ndarray, ...]
    owner: np.ndarray
    answers: tuple[int, ...] = ()
    temperature: float = 1.0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def tokens(self) -> np.ndarray:
        """int64 (B,): tokens of each row."""
        return np.array([row.tokens for row in self.rows], np.int64)

    def take(self, index: np.ndarray) -> TitleChoices:
        """Some of the choices, in the order given."""
        rows, taken, offset = (tuple(part[i] for i in index.tolist()) for part in (self.rows, self.taken, self.offset))
        return replace(self, rows=rows, taken=taken, offset=offset, owner=self.owner[index])

    def owned(self, owner: np.ndarray) -> TitleChoices:
        """The same choices of other owners, int64 (B,)."""
        return replace(self, owner=owner)


def joined(parts: Sequence[TitleChoices]) -> TitleChoices:
    """Concatenated choices by one template, of at least one part, at the temperature of the first part."""
    rows, taken, offset = (tuple(x for part in parts for x in getattr(part, name)) for name in ("rows", "taken", "offset"))
    return replace(parts[0], rows=rows, taken=taken, offset=offset, owner=np.concatenate([part.owner for part in parts]))


def calibrated(
    language_model: LanguageModel, choices: TitleChoices, value: LanguageAdapter, sample: np.ndarray | None = None
) -> TitleChoices:
    """The same choices at the temperature, between 1/4 and 256, with the lowest loss under `value`, where learning starts.

    sample: int, places of the choices that the loss is computed on; None for all.
    A title's log-likelihood is a sum over its tokens, and the model is overconfident: at temperature 1 the loss of a fresh
    adapter is several times that of a random guess, and training first learns to be less confident.
    """
    some = choices if sample is None else choices.take(sample)
    scores = choice_scores(language_model, some, value)
    flat, taken = torch.from_numpy(np.concatenate(scores)), torch.from_numpy(np.concatenate(some.taken))
    row = torch.from_numpy(np.repeat(np.arange(len(scores)), [len(mine) for mine in scores]))
    column = torch.from_numpy(np.concatenate([np.arange(len(mine)) for mine in scores]))
    table = torch.full((len(scores), int(column.max()) + 1), -torch.inf).index_put((row, column), flat)
    hit, grid = mean_by(flat[taken], row[taken], len(scores)), np.geomspace(0.25, 256, 61).tolist()
    losses = [float(((table / one).logsumexp(1) - hit / one).mean()) for one in grid]
    return replace(choices, temperature=grid[int(np.argmin(losses))])


@dataclass(frozen=True, eq=False)
class _Part:
    """Some choices that are read side by side.

    index: int64 (b,), which of the B. offset: (c,). column: int64 (c,), place of a candidate among those of its choice.
    taken: int64 (p,), places of what was taken; choice: int64 (p,), of which choice. fixed_scores: as of `_base_scores`, where
    no block adapts; else None.
    """

    rows: Rows
    index: np.ndarray
    offset: Tensor
    column: Tensor
    taken: Tensor
    choice: Tensor
    fixed_scores: tuple[Tensor, Tensor] | None = None


def choice_loss(language_model: LanguageModel, choices: TitleChoices, n_blocks: int | None) -> SupportLoss[LanguageAdapter]:
    """Value of U users -> loss (U,): softmax cross-entropy of the taken candidates of each choice by scores at the
    choices' temperature, mean over each user's choices; 0 for a user without any. A value of U = 1 has all choices.

    n_blocks: as of `LanguageAdapter.n_blocks`. States below are read once, here. Differentiable once, see `choice_gradient`.
    Raises DataError where no choice is given.
    """
    parts, device = list(_read(language_model, choices, n_blocks)), language_model.device

    def loss(value: LanguageAdapter) -> Tensor:
        users = len(value)
        owner = torch.from_numpy(choices.owner if users > 1 else np.zeros(len(choices), np.int64)).to(device)
        share = 1.0 / torch.bincount(owner, minlength=users).clamp(min=1)[owner]

        def of(part: _Part) -> Parts:
            index = torch.from_numpy(part.index).to(device)

            def mean(value: LanguageAdapter) -> Tensor:
                mine = owner[index]
                table = _table(part, _scores(language_model, choices, part, value if users == 1 else value.take(mine)))
                each = multi_target(table / choices.temperature, part.taken, part.choice) * share[index]
                return torch.zeros(users, device=device).index_add(0, mine, each)

            return mean

        return loss_by_parts(value, [of(part) for part in parts])

    return loss


def choice_scores(language_model: LanguageModel, choices: TitleChoices, value: LanguageAdapter) -> list[np.ndarray]:
    """Scores float32 (C_b,) of each choice's candidates under the values of U owners, or of one for all."""
    return scores_of_each(language_model, choices, [value])[0]


def scores_of_each(
    language_model: LanguageModel, choices: TitleChoices, values: Sequence[LanguageAdapter]
) -> list[list[np.ndarray]]:
    """`choice_scores` under each of several values, at least one; states below the blocks that they adapt are read once."""
    depths = [value.n_blocks(language_model) for value in values]
    n_blocks = None if None in depths else max(depth for depth in depths if depth is not None)
    found: list[dict[int, np.ndarray]] = [{} for _ in values]
    with torch.no_grad():
        for part in _read(language_model, choices, n_blocks):
            owner = torch.from_numpy(choices.owner[part.index]).to(language_model.device)
            stops = np.cumsum([len(choices.taken[i]) for i in part.index])[:-1]
            for value, mine in zip(values, found, strict=True):
                scores = _scores(language_model, choices, part, value if len(value) == 1 else value.take(owner))
                mine |= dict(zip(part.index.tolist(), np.split(scores.cpu().numpy(), stops), strict=True))
    return [[mine[place] for place in range(len(choices))] for mine in found]


def _scores(language_model: LanguageModel, choices: TitleChoices, part: _Part, value: LanguageAdapter) -> Tensor:
    """float32 (c,) of the candidates of a part under values of its rows, or of one for all."""
    base = part.fixed_scores
    scores, ends = _base_scores(language_model, choices, part, value) if base is None else base
    return scores if value.head is None else scores + value.head.scores(ends, part.rows.row)


def _base_scores(
    language_model: LanguageModel, choices: TitleChoices, part: _Part, value: LanguageAdapter | None
) -> tuple[Tensor, Tensor]:
    """Scores without a head, float32 (c,), and last states (c, d) at the end of each candidate, zeros where it has no token."""
    delta, virtual = (None, None) if value is None else value.adds(language_model)
    if virtual is not None:
        virtual = virtual.expand(len(part.index), -1, -1)
    states = row_states(language_model, part.rows, delta, virtual)
    there = torch.zeros(len(part.rows.end), 1, device=states.device).index_fill(0, part.rows.candidate, 1)
    ends = states[part.rows.end] * there
    if choices.answers:
        yes, no = choices.answers
        return row_log_odds(language_model, part.rows, states, [yes], [no]) - part.offset, ends
    return row_log_likelihoods(language_model, part.rows, states) - part.offset, ends


def _table(part: _Part, scores: Tensor) -> Tensor:
    """Scores (c,) as a table (b, width of the longest), far below all others where a choice has fewer candidates."""
    table = scores.new_full((len(part.index), int(part.column.max()) + 1), -1e9)
    return table.index_put((part.rows.row, part.column), scores)


def _read(language_model: LanguageModel, choices: TitleChoices, n_blocks: int | None) -> Iterator[_Part]:
    """The choices in parts, alike lengths together, read up to the last `n_blocks` blocks."""
    if not len(choices):
        raise DataError("choices: expected at least one, got none; give tasks whose candidates hold what was taken")
    device = language_model.device
    for index in _alike(choices.tokens, TOKENS // max(1, language_model.n_blocks if n_blocks is None else n_blocks)):
        rows = read_below(language_model, [choices.rows[i] for i in index], n_blocks)
        offset = torch.from_numpy(np.concatenate([choices.offset[i] for i in index])).to(device)
        column = torch.from_numpy(np.concatenate([np.arange(len(choices.taken[i])) for i in index])).to(device)
        hit = [np.flatnonzero(choices.taken[i]) for i in index]
        choice = np.repeat(np.arange(len(index)), [len(places) for places in hit])
        taken, of = (torch.from_numpy(part).to(device) for part in (np.concatenate(hit), choice))
        part = _Part(rows, index, offset, column, taken, of)
        if n_blocks == 0:
            with torch.no_grad():
                scores = _base_scores(language_model, choices, part, None)
            part = replace(part, fixed_scores=scores, rows=replace(rows, below=rows.below.new_zeros(0)))  # not read again
        yield part


def _alike(tokens: np.ndarray, most: int) -> list[np.ndarray]:
    """Indices of rows in parts of at most so many tokens with padding, or of one row; from the shortest on."""
    order, parts, begin = np.argsort(tokens, kind="stable"), [], 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or (stop + 1 - begin) * tokens[order[stop]] > most:
            parts.append(order[begin:stop])
            begin = stop
    return parts
