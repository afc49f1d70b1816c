"""Rows of a batch are read as `packed` reads one prompt, and their gradients are those of a plain transformers forward."""

from __future__ import annotations

import pytest
import torch
from language_models import FAMILIES

from llmrec.adapters.lora import init_lora, lora_hook
from llmrec.encoder.backbone import adding
from llmrec.language.families import lora_targets
from llmrec.language.head import token_log_odds
from llmrec.language.packed import last_states, log_likelihoods, read_prefix, read_virtual
from llmrec.language.rows import Row, read_below, row_log_likelihoods, row_log_odds, row_states

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
ROWS = [
    Row([1, 2, 5, 7, 11, 3, 9, 4], [[3, 4, 5], [12], [2, 9, 9, 14, 7, 3, 6, 2]]),
    Row([1, 6], [[5, 3], [4]]),
    Row([1, 8, 8, 2, 10], [[7, 7, 7, 7], [3, 4], [12, 2]]),
]
OWNER = torch.tensor([1, 0, 1])
N_BLOCKS = 2


@pytest.fixture(params=(*FAMILIES, "mistral", "qwen2"))
def model(request, tiny_model):
    return tiny_model(request.param)


def adapters(model, n_blocks=N_BLOCKS):
    """Two users' LoRA, whose B is not zero."""
    layers, draw = lora_targets(model.model, model.family, n_blocks), torch.Generator().manual_seed(0)
    one, two = (init_lora(layers, 2, 1.0, draw, b_std=0.3) for _ in range(2))
    return one.with_leaves([torch.cat(pair) for pair in zip(one.leaves(), two.leaves(), strict=True)])


def virtual_tokens(model):
    return 0.5 * torch.randn(2, 3, model.width, generator=torch.Generator().manual_seed(1))


def scores(model, rows, adapter=None, virtual=None, owner=OWNER, n_blocks=N_BLOCKS):
    made = read_below(model, rows, n_blocks)
    delta = None if adapter is None else lora_hook(adapter.take(owner))
    states = row_states(model, made, delta, None if virtual is None else virtual[owner])
    return row_log_likelihoods(model, made, states), made, states


def test_a_batch_is_read_as_packed_reads_each_row(model):
    found, made, states = scores(model, ROWS)
    odds = row_log_odds(model, made, states, [5, 6], [7])
    with torch.no_grad():
        prefixes = [read_prefix(model, row.prefix) for row in ROWS]
        wanted = torch.cat([log_likelihoods(model, one, row.segments) for one, row in zip(prefixes, ROWS, strict=True)])
        wanted_odds = torch.cat(
            [
                token_log_odds(model, last_states(model, one, row.segments), [5, 6], [7])
                for one, row in zip(prefixes, ROWS, strict=True)
            ]
        )
    torch.testing.assert_close(found, wanted, **CLOSE)
    torch.testing.assert_close(odds, wanted_odds, **CLOSE)
    zero = adapters(model).map(torch.zeros_like)
    torch.testing.assert_close(scores(model, ROWS, zero)[0], found, rtol=0, atol=0)


@pytest.mark.parametrize("soft", [False, True])
def test_each_row_is_read_under_its_owner_as_packed_reads_it(model, soft):
    adapter, virtual = adapters(model), virtual_tokens(model) if soft else None
    found = scores(model, ROWS, adapter, virtual, n_blocks=None if soft else N_BLOCKS)[0]
    wanted = []
    with torch.no_grad():
        for row, owner in zip(ROWS, OWNER, strict=True):
            with adding(lora_hook(adapter.take(owner[None]))):
                begun = None if virtual is None else read_virtual(model, virtual[owner])
                wanted.append(log_likelihoods(model, read_prefix(model, row.prefix, begun), row.segments))
    torch.testing.assert_close(found, torch.cat(wanted), **CLOSE)
    assert (found - scores(model, ROWS)[0]).abs().max() > 0.1


def test_rows_do_not_leak_into_each_other(model):
    adapter = adapters(model)
    found = scores(model, ROWS, adapter)[0]
    alone = [scores(model, [row], adapter, owner=owner[None])[0] for row, owner in zip(ROWS, OWNER, strict=True)]
    torch.testing.assert_close(found, torch.cat(alone), **CLOSE)
    leaves = [leaf.clone().requires_grad_() for leaf in adapter.leaves()]
    scores(model, ROWS, adapter.with_leaves(leaves))[0][3:5].sum().backward()  # those of the row of user 0
    assert all(not leaf.grad[1].any() for leaf in leaves) and any(leaf.grad[0].any() for leaf in leaves)


def plain(model, row, delta, virtual):
    """Log-likelihoods by the Hugging Face model itself, one candidate a forward, under its own masks and autograd."""
    embed, found = model.model.get_input_embeddings(), []
    for segment in row.segments:
        words = torch.cat([virtual, embed(torch.tensor([*row.prefix, *segment]))])
        with adding(delta):
            logits = model.model(inputs_embeds=words[None]).logits[0].log_softmax(1)
        first = len(virtual) + len(row.prefix) - 1
        found.append(sum(logits[first + place, token] for place, token in enumerate(segment)))
    return torch.stack(found)


def test_gradients_are_those_of_a_plain_forward(model):
    start, weight = adapters(model, None), torch.randn(8, generator=torch.Generator().manual_seed(2))
    found = []
    for batched in (True, False):
        virtual = virtual_tokens(model).requires_grad_()
        leaves = [leaf.clone().requires_grad_() for leaf in start.leaves()]
        adapter = start.with_leaves(leaves)
        if batched:
            values = scores(model, ROWS, adapter, virtual, n_blocks=None)[0]
        else:
            pairs = zip(ROWS, OWNER, strict=True)
            values = torch.cat([plain(model, row, lora_hook(adapter.take(own[None])), virtual[own]) for row, own in pairs])
        found.append(torch.autograd.grad((weight * values).sum(), [*leaves, virtual]))
    for mine, wanted in zip(*found, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-3, atol=1e-3)


def test_capped_logits_have_the_gradient_of_the_cap(tiny_model, monkeypatch):
    model = tiny_model("gemma3_text")
    monkeypatch.setattr(model.model.config, "final_logit_softcapping", 2.0)
    virtual = virtual_tokens(model)[:1].requires_grad_()
    made = read_below(model, ROWS[:1], None)
    mine = row_log_likelihoods(model, made, row_states(model, made, None, virtual))
    wanted = plain(model, ROWS[0], None, virtual[0])
    torch.testing.assert_close(mine, wanted, **CLOSE)
    for value in (0, 2):
        pair = [torch.autograd.grad(one[value], virtual, retain_graph=True)[0] for one in (mine, wanted)]
        torch.testing.assert_close(*pair, rtol=1e-3, atol=1e-4)


def test_virtual_tokens_need_all_blocks(tiny_model):
    model = tiny_model("llama")
    with pytest.raises(ValueError, match="n_blocks=None"):
        row_states(model, read_below(model, ROWS, 1), None, virtual_tokens(model)[OWNER])
