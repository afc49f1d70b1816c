"""Log-probabilities of tokens by hidden states, in slices: a vocabulary is wide, and logits of all states do not fit.

Axis convention: `S` states, `n` tokens, `d` the width, `V` the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from llmrec.language.model import LanguageModel

ROWS = 128  # hidden states whose logits over the vocabulary are held at a time


def log_probabilities(language_model: LanguageModel, states: Tensor, place: Tensor, target: Tensor) -> Tensor:
    """float32 (n,): log-probability of token `target[i]` by the hidden state `states[place[i]]`.

    states: (S, d). place, target: int64 (n,). Differentiable in the states, once: the gradient is made beside the value, so
    that no slice of logits is kept.
    """
    found: Any = _LogProbabilities.apply(states, place.to(states.device), target.to(states.device), language_model)
    return found


def token_log_odds(language_model: LanguageModel, states: Tensor, yes: Sequence[int], no: Sequence[int]) -> Tensor:
    """float32 (S,): log odds of a next token out of `yes` against one out of `no`.

    Logits of these tokens alone are computed, not those of the vocabulary, and in float32 whatever the model computes in: in
    bfloat16 a logit of 10 has steps of 1/16, and many candidates would have the same score.
    """
    head = language_model.model.get_output_embeddings()
    words = [*yes, *no]
    bias = None if head.bias is None else head.bias[words].float()
    logits = _capped(language_model, torch.nn.functional.linear(states.float(), head.weight[words].float(), bias))
    return logits[:, : len(yes)].logsumexp(1) - logits[:, len(yes) :].logsumexp(1)


class _LogProbabilities(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, place: Tensor, target: Tensor, language_model: LanguageModel) -> Tensor:
        head, found = language_model.model.get_output_embeddings(), torch.empty(len(target), device=states.device)
        slope = torch.empty(len(target), states.shape[1], device=states.device) if ctx.needs_input_grad[0] else None
        for start in range(0, len(states), ROWS):
            mine = ((place >= start) & (place < start + ROWS)).nonzero()[:, 0]
            rows, tokens = place[mine] - start, target[mine]
            logits = _capped(language_model, head(states[start : start + ROWS]).float())
            whole = logits.logsumexp(1)
            found[mine] = logits[rows, tokens] - whole[rows]
            if slope is not None:
                share, weight = (logits - whole[:, None]).exp(), head.weight
                hit = weight[tokens].float()
                if (cap := _cap(language_model)) is not None:
                    change = 1 - (logits / cap).square()  # derivative of the cap
                    share, hit = share * change, hit * change[rows, tokens][:, None]
                slope[mine] = hit - (share.to(weight.dtype) @ weight).float()[rows]
        if slope is not None:
            ctx.save_for_backward(place, slope)
            ctx.shape, ctx.dtype = states.shape, states.dtype
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None]:
        place, slope = ctx.saved_tensors
        total = torch.zeros(ctx.shape, device=slope.device).index_add_(0, place, outer[:, None] * slope)
        return total.to(ctx.dtype), None, None, None


def _cap(language_model: LanguageModel) -> float | None:
    return getattr(language_model.model.config, "final_logit_softcapping", None)


def _capped(language_model: LanguageModel, logits: Tensor) -> Tensor:
    """Logits within the bounds that some configurations of Gemma set."""
    cap = _cap(language_model)
    return logits if cap is None else cap * torch.tanh(logits / cap)
