from __future__ import annotations

import threading

import pytest
import torch

from llmrec.adapters.lora import Adapter, distance, init_lora, lora_hook
from llmrec.encoder.backbone import Backbone
from llmrec.errors import AdapterError

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def random_adapter(body: Backbone, users: int, seed: int, upper: int = 9, rank: int = 2) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    start = init_lora(body.linear_paths(upper), rank, 1.5, generator)
    return start.expand(users).map(lambda tensor: 0.3 * torch.randn(tensor.shape, generator=generator))


@pytest.fixture
def embeds(body: Backbone) -> torch.Tensor:
    return torch.randn(4, 7, body.width, generator=torch.Generator().manual_seed(1))


def test_b_of_zero_is_the_base_exactly(body, embeds):
    start = init_lora(body.linear_paths(9), 3, 2.0, torch.Generator().manual_seed(0))
    assert all((tensor == 0).all() for tensor in start.b.values())
    assert all((tensor != 0).any() for tensor in start.a.values())
    assert torch.equal(body(embeds, lora_hook(start)), body(embeds))


def test_shapes_and_names(body):
    layers = body.linear_paths(1)
    start = init_lora(layers, 3, 2.0, torch.Generator().manual_seed(0), b_std=0.1)
    assert start.paths == tuple(layers)
    assert {path: (a.shape, start.b[path].shape) for path, a in start.a.items()} == {
        path: ((1, 3, d_in), (1, d_out, 3)) for path, (d_in, d_out) in layers.items()
    }
    assert (len(start), start.rank, start.scale) == (1, 3, 2.0)
    assert start.n_params == sum(3 * (d_in + d_out) for d_in, d_out in layers.values())
    assert all((tensor != 0).any() for tensor in start.b.values())


def test_the_seed_is_the_generators(body):
    one, same, other = (init_lora(body.linear_paths(1), 2, 1.0, torch.Generator().manual_seed(s), 0.1) for s in (0, 0, 1))
    assert all(torch.equal(x, y) for x, y in zip(one.leaves(), same.leaves(), strict=True))
    assert not any(torch.equal(x, y) for x, y in zip(one.leaves(), other.leaves(), strict=True))


def test_no_layers_is_an_error():
    with pytest.raises(AdapterError, match="at least one path"):
        init_lora({}, 2, 1.0, torch.Generator())


def test_it_is_a_change_of_the_weights(body, embeds):
    """W + scale * B A in place of W gives the same states."""
    adapter = random_adapter(body, 1, 0)
    added = body(embeds, lora_hook(adapter))
    base = body(embeds)
    with torch.no_grad():
        for path in adapter.paths:
            body.model.get_submodule(path).weight += adapter.scale * adapter.b[path][0] @ adapter.a[path][0]
    torch.testing.assert_close(body(embeds), added, **CLOSE)
    assert (added - base).abs().max() > 0.1


def test_each_users_row_is_as_if_alone(body, embeds):
    adapters = random_adapter(body, 4, 0)
    together = body(embeds, lora_hook(adapters))
    for user in range(4):
        alone = body(embeds[user : user + 1], lora_hook(adapters.take(torch.tensor([user]))))
        torch.testing.assert_close(alone, together[user : user + 1], **CLOSE)
    assert not torch.allclose(together, body(embeds, lora_hook(adapters.take(torch.tensor([1, 0, 3, 2])))), atol=1e-2)


def test_one_for_all_is_the_same_repeated(body, embeds):
    one = random_adapter(body, 1, 0)
    torch.testing.assert_close(body(embeds, lora_hook(one)), body(embeds, lora_hook(one.expand(4))), **CLOSE)
    assert len(one.expand(4)) == 4
    four = one.expand(4)
    assert four.expand(4) is four


def test_only_its_own_layers(body, embeds):
    adapter = random_adapter(body, 1, 0, upper=1)
    lower = body.lower(embeds, 1)
    torch.testing.assert_close(body.upper(lower, 1, lora_hook(adapter)), body(embeds, lora_hook(adapter)), **CLOSE)


def test_values_are_never_changed_in_place(body):
    adapter = random_adapter(body, 3, 0)
    before = [tensor.clone() for tensor in adapter.leaves()]
    doubled = adapter.map(lambda tensor: tensor * 2)
    copied = adapter.detach()
    for tensor in copied.leaves():
        tensor.zero_()
    adapter.take(torch.tensor([0])).leaves()[0].zero_()
    assert all(torch.equal(x, y) for x, y in zip(adapter.leaves(), before, strict=True))
    assert all(torch.equal(x, 2 * y) for x, y in zip(doubled.leaves(), before, strict=True))


def test_leaves_go_back_to_where_they_were(body):
    adapter = random_adapter(body, 2, 0)
    again = adapter.with_leaves(adapter.leaves())
    assert again.paths == adapter.paths and again.scale == adapter.scale
    assert all(again.a[path] is adapter.a[path] and again.b[path] is adapter.b[path] for path in adapter.paths)


def test_distance_against_a_loop(body):
    adapter, home = random_adapter(body, 3, 0), random_adapter(body, 1, 1)
    found = distance(adapter, home)
    for user in range(3):
        pairs = zip(adapter.leaves(), home.leaves(), strict=True)
        square = sum(float((x[user] - y[0]).double().square().sum()) for x, y in pairs)
        assert float(found[user]) == pytest.approx(square**0.5, rel=1e-5)
    assert distance(home, home).tolist() == [0.0]


def test_threads_with_different_adapters_do_not_mix(body, embeds):
    """Two threads meet inside every linear layer, so that each runs while the other's adapter is in force."""
    adapters = [random_adapter(body, 1, seed) for seed in (0, 1)]
    with torch.no_grad():
        expected = [body(embeds, lora_hook(adapter)) for adapter in adapters]
        barrier = threading.Barrier(2, timeout=20)
        found: list[torch.Tensor | None] = [None, None]

        def serve(which: int) -> None:
            add = lora_hook(adapters[which])

            def meet(path, x):
                barrier.wait()
                return add(path, x)

            with torch.no_grad():
                found[which] = body(embeds, meet)

        threads = [threading.Thread(target=serve, args=(which,)) for which in (0, 1)]
        for thread in threads:
            thread.start()
        base = body(embeds)  # and a third that has none
        for thread in threads:
            thread.join()
        assert torch.equal(base, body(embeds))
    for which in (0, 1):
        assert found[which] is not None
        torch.testing.assert_close(found[which], expected[which], **CLOSE)
