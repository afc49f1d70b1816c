from __future__ import annotations

import torch

from llmrec.adapters.lora import init_lora
from llmrec.adapters.values import Plain
from llmrec.meta.core import Core


def plain(users: int) -> Plain:
    generator = torch.Generator().manual_seed(users)
    return Plain((torch.randn(users, 2, 3, generator=generator), torch.randn(users, 4, generator=generator)))


def test_a_lora_adapter_and_a_plain_value_do_the_same():
    start = init_lora({"query": (3, 4), "value": (4, 2)}, 2, 2.0, torch.Generator().manual_seed(0), b_std=1.0)
    leaves = [tensor.clone() for tensor in start.leaves()]
    for value in (start, Plain(tuple(leaves))):
        wide = value.expand(3)
        assert len(value) == 1 and len(wide) == 3
        picked = wide.map(lambda t: t * torch.arange(3.0).view(3, *(1,) * (t.dim() - 1))).take(torch.tensor([2, 0]))
        for found, leaf in zip(picked.leaves(), leaves, strict=True):
            assert torch.equal(found, torch.cat([2 * leaf, 0 * leaf]))
        assert type(picked) is type(value)


def test_expanding_copies_nothing_and_detaching_copies_all():
    value = plain(1)
    assert value.expand(1) is value
    assert all(x.data_ptr() == y.data_ptr() for x, y in zip(value.expand(5).leaves(), value.leaves(), strict=True))
    tensor = torch.ones(1, 2, requires_grad=True)
    own = Plain((tensor * 2,)).detach().tensors[0]
    own.add_(1)
    assert not own.requires_grad and torch.equal(tensor, torch.ones(1, 2))


def test_what_is_shared_is_there_once():
    core = Core(torch.zeros(1, 2), torch.randn(1, 7, 2), torch.zeros(1, 2))
    wide = core.expand(5)
    assert len(wide) == 5 and wide.z.shape == (5, 2)
    assert wide.features is core.features and wide.log_spread is core.log_spread
    taken = wide.map(lambda t: t + 1).take(torch.tensor([4, 4, 0]))
    assert len(taken) == 3 and taken.features.shape == (1, 7, 2)


def test_a_list_of_leaves_is_the_callers_own():
    value = plain(2)
    value.leaves().clear()
    assert len(value.leaves()) == 2
