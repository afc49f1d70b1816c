"""A block that is computed here is transformers' block, bit by bit, also backwards and in bf16."""

from __future__ import annotations

import pytest
import torch

from llmrec.encoder.backbone import small_body
from llmrec.encoder.bert import block_states


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_block_is_the_module_to_the_bit(dtype):
    body = small_body(32, 2, 4, seed=0)
    mask = torch.full((9, 9), torch.finfo(torch.float32).min).triu(1)[None, None]
    given = torch.randn(3, 9, 32, generator=torch.Generator().manual_seed(1))
    found = []
    for compute in (lambda block, x: block(x, mask), lambda block, x: block_states(block, x, mask, "encoder.layer.1")):
        x = given.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            states = compute(body.model.encoder.layer[1], x)
        (slope,) = torch.autograd.grad(states.float().square().sum(), x)
        found.append((states, slope))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_a_body_computes_its_blocks_here_and_calls_no_module_of_them():
    body, x, called = small_body(32, 2, 4, seed=0), torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(1)), []
    for block in body.model.encoder.layer:
        block.register_forward_pre_hook(lambda *_: called.append(1))
    states = body.upper(body.lower(x, 1), 1)
    assert not called and states.shape == x.shape
    body.model.encoder.layer[0](states, torch.zeros(1, 1, 3, 3))
    assert called == [1]


def test_every_linear_layer_is_asked_for_what_to_add_and_gets_it():
    body, x, asked = small_body(32, 2, 4, seed=0), torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(1)), []

    def delta(path, given):
        asked.append((path, tuple(given.shape)))
        return None

    plain = body.upper(x, 1, delta)
    assert {path: shape[-1] for path, shape in asked} == {path: wide for path, (wide, _) in body.linear_paths(1).items()}
    for path, (_, wide) in body.linear_paths(1).items():
        changed = body.upper(
            x, 1, lambda where, _, path=path, wide=wide: torch.linspace(-1, 1, wide) if where == path else None
        )
        # The softmax does not see what is added to every key.
        assert torch.allclose(changed, plain, atol=1e-5) == path.endswith("self.key")
