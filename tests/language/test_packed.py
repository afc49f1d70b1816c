"""Candidates that share a prefix are read as if each alone followed it: the Hugging Face model says how."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from language_models import FAMILIES, WINDOW, write_tiny

from llmrec.language import head, packed
from llmrec.language.head import token_log_odds
from llmrec.language.model import LanguageModel, load_language_model
from llmrec.language.packed import Prefix, last_states, log_likelihoods, log_likelihoods_and_states, read_prefix

CLOSE = {"rtol": 1e-5, "atol": 1e-4}
EVERY = (*FAMILIES, "mistral", "qwen2")
PREFIX = [1, 2, 5, 7, 11, 3, 9, 4, 16, 8]
CANDIDATES = [[3, 4, 5], [12], [2, 9, 9, 14, 7, 3, 6, 2, 15, 4], [], [5, 3], [3, 4, 6]]
assert len(PREFIX) > WINDOW and max(map(len, CANDIDATES)) > WINDOW  # both are longer than what a layer looks back at


@pytest.fixture(params=EVERY)
def model(request, tiny_model) -> LanguageModel:
    return tiny_model(request.param)


@pytest.fixture
def prefix(model) -> Prefix:
    return read_prefix(model, PREFIX)


def logits(model: LanguageModel, tokens: list[int]) -> torch.Tensor:
    """(n, V) by the model itself, one prompt at a time, under its own masks."""
    with torch.no_grad():
        return model.model(input_ids=torch.tensor([tokens])).logits[0]


def one_by_one(model: LanguageModel, before: list[int]) -> torch.Tensor:
    found = []
    for candidate in CANDIDATES:
        log_p = logits(model, before + candidate).log_softmax(1)
        found.append(sum(float(log_p[len(before) + place - 1, token]) for place, token in enumerate(candidate)))
    return torch.tensor(found)


def test_log_likelihoods_are_those_of_one_candidate_at_a_time(model, prefix):
    torch.testing.assert_close(log_likelihoods(model, prefix, CANDIDATES), one_by_one(model, PREFIX), **CLOSE)
    assert log_likelihoods(model, prefix, []).shape == (0,)
    assert log_likelihoods(model, prefix, [[]]).tolist() == [0]


def test_the_history_matters(model, prefix):
    other = read_prefix(model, [*PREFIX[:3], 10, *PREFIX[4:]])
    change = log_likelihoods(model, other, CANDIDATES) - log_likelihoods(model, prefix, CANDIDATES)
    assert change.abs().max() > 1e-2


@pytest.mark.parametrize("tokens", [1, 4, 11])
def test_neither_order_nor_company_nor_parts_matter(model, prefix, tokens, monkeypatch):
    whole = log_likelihoods(model, prefix, CANDIDATES)
    monkeypatch.setattr(packed, "TOKENS", tokens)
    for order in ([5, 4, 3, 2, 1, 0], [2, 0], [2, 2, 3, 0]):
        found = log_likelihoods(model, prefix, [CANDIDATES[place] for place in order])
        torch.testing.assert_close(found, whole[order], **CLOSE)


def test_a_vocabulary_in_slices_of_rows_gives_the_same(model, prefix, monkeypatch):
    whole = log_likelihoods(model, prefix, CANDIDATES)
    monkeypatch.setattr(head, "ROWS", 2)
    torch.testing.assert_close(log_likelihoods(model, prefix, CANDIDATES), whole, **CLOSE)


def test_a_prefix_may_be_read_in_parts(model, prefix):
    for cut in (1, 4, 9):
        again = read_prefix(model, PREFIX[cut:], read_prefix(model, PREFIX[:cut]))
        assert again.length == prefix.length == len(PREFIX)
        torch.testing.assert_close(
            log_likelihoods(model, again, CANDIDATES), log_likelihoods(model, prefix, CANDIDATES), **CLOSE
        )


def test_reading_changes_no_prefix(model, prefix):
    first = log_likelihoods(model, prefix, CANDIDATES)
    kept = [part.clone() for layer in prefix.layers for part in layer]
    token_log_odds(model, last_states(model, prefix, [[2, 3], [4]]), [5], [6])
    assert torch.equal(log_likelihoods(model, prefix, CANDIDATES), first)
    assert all(torch.equal(*pair) for pair in zip(kept, (part for layer in prefix.layers for part in layer), strict=True))


def test_states_beside_likelihoods_are_those_of_each_candidate_alone(model, prefix):
    candidates = [[2, 3], [], [4], [5, 6, 7]]
    found, states = log_likelihoods_and_states(model, prefix, candidates)
    torch.testing.assert_close(found, log_likelihoods(model, prefix, candidates), **CLOSE)
    for one, state in zip(candidates, states, strict=True):
        wanted = last_states(model, prefix, [one])[0] if one else torch.zeros(model.width)
        torch.testing.assert_close(state, wanted, **CLOSE)
    nothing, zeros = log_likelihoods_and_states(model, prefix, [[], []])
    assert not nothing.any() and zeros.shape == (2, model.width) and not zeros.any()


def test_log_odds_are_those_of_the_next_token(model, prefix):
    segments, yes, no = [one for one in CANDIDATES if one], [5, 6], [7]
    last = torch.stack([logits(model, PREFIX + one)[-1] for one in segments])
    wanted = last[:, yes].logsumexp(1) - last[:, no].logsumexp(1)
    torch.testing.assert_close(token_log_odds(model, last_states(model, prefix, segments), yes, no), wanted, **CLOSE)


def test_log_odds_of_a_model_in_bfloat16_have_more_steps_than_its_logits(tiny_folders, tmp_path):
    half = load_language_model(write_tiny("llama", tiny_folders["llama"], tmp_path), torch.bfloat16)
    states = last_states(half, read_prefix(half, PREFIX), [[2], [3, 4], [5]])
    found, head = token_log_odds(half, states, [5], [6]), half.model.get_output_embeddings().weight.float()
    torch.testing.assert_close(found, states.float() @ (head[5] - head[6]), **CLOSE)
    assert (found != found.bfloat16()).any()


def test_capped_logits_are_read_as_the_model_reads_them(tiny_model, monkeypatch):
    model = tiny_model("gemma3_text")
    plain = log_likelihoods(model, read_prefix(model, PREFIX), CANDIDATES)
    monkeypatch.setattr(model.model.config, "final_logit_softcapping", 0.5)
    prefix = read_prefix(model, PREFIX)
    found = log_likelihoods(model, prefix, CANDIDATES)
    torch.testing.assert_close(found, one_by_one(model, PREFIX), **CLOSE)
    assert (found - plain).abs().max() > 0.1
    last = logits(model, [*PREFIX, 2])[-1]
    assert float(token_log_odds(model, last_states(model, prefix, [[2]]), [5], [6])) == pytest.approx(
        float(last[5] - last[6]), abs=1e-4
    )


def test_parts_have_at_most_so_many_tokens_or_one_segment(monkeypatch):
    monkeypatch.setattr(packed, "TOKENS", 4)
    lengths = np.array([3, 1, 0, 9, 0, 4, 1, 1])
    parts = list(packed._parts(lengths))
    assert [place for part in parts for place in range(part.start, part.stop)] == list(range(8))
    assert all(lengths[part].sum() <= 4 or part.stop - part.start == 1 for part in parts)
    assert len(parts) == 4
