from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.encoder import softmax
from llmrec.encoder.loss import multi_target
from llmrec.encoder.softmax import catalogue_loss

M, N, D, L = 23, 31, 5, 4


@pytest.fixture(params=[(1, 1), (3, 3 * N), (8, 9 * N), (64, 1 << 22)], ids=["a row", "three rows", "eight", "at once"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, cells = request.param
    monkeypatch.setattr(softmax, "ROWS", rows)
    monkeypatch.setattr(softmax, "CELLS", {"cpu": cells})


def world() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    counts = np.random.default_rng(0).integers(0, 4, M)  # some readouts have no target
    return {
        "users": torch.randn(M, D, generator=draw),
        "vectors": torch.randn(N, D, generator=draw),
        "bias": torch.randn(N, generator=draw),
        "index": torch.randint(0, 3, (M, L), generator=draw),  # the same item twice in a row
        "value": torch.randn(M, L, generator=draw),
        "owner": torch.from_numpy(np.repeat(np.arange(M), counts)),
        "target": torch.randint(0, N, (int(counts.sum()),), generator=draw),
    }


def gradients(loss: torch.Tensor, of: list[torch.Tensor]) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, of))


def test_loss_and_gradients_are_those_of_the_whole_matrix(blocks: None):
    w = world()
    learned = [w[name].requires_grad_() for name in ("users", "vectors", "bias", "value")]
    logits = (w["users"] @ w["vectors"].T + w["bias"]).scatter_add(1, w["index"], w["value"])
    expected = multi_target(logits, w["target"], w["owner"]).mean()
    found = catalogue_loss(w["users"], w["vectors"], w["target"], w["owner"], w["bias"], (w["index"], w["value"]))
    torch.testing.assert_close(found, expected)
    for mine, other in zip(gradients(3 * found, learned), gradients(3 * expected, learned), strict=True):
        torch.testing.assert_close(mine, other)


def test_weighed_targets_are_those_of_the_whole_matrix(blocks: None):
    w = world()
    learned = [w[name].requires_grad_() for name in ("users", "vectors")]
    weight = torch.rand(len(w["target"]), generator=torch.Generator().manual_seed(1)) * 3
    expected = multi_target(w["users"] @ w["vectors"].T, w["target"], w["owner"], weight).mean()
    found = catalogue_loss(w["users"], w["vectors"], w["target"], w["owner"], weight=weight)
    torch.testing.assert_close(found, expected)
    for mine, other in zip(gradients(found, learned), gradients(expected, learned), strict=True):
        torch.testing.assert_close(mine, other)


def test_without_bias_and_extra_it_is_the_inner_products_alone(blocks: None):
    w = world()
    found = catalogue_loss(w["users"], w["vectors"], w["target"], w["owner"])
    torch.testing.assert_close(found, multi_target(w["users"] @ w["vectors"].T, w["target"], w["owner"]).mean())


def test_bfloat16_products_stay_close_and_the_gradient_sums_to_zero_over_items(blocks: None):
    w = world()
    bias = w["bias"].requires_grad_()
    found = catalogue_loss(w["users"], w["vectors"], w["target"], w["owner"], bias, dtype=torch.bfloat16)
    exact = catalogue_loss(w["users"], w["vectors"], w["target"], w["owner"], bias)
    torch.testing.assert_close(found, exact, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(gradients(found, [bias])[0].sum(), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_large_logits_are_finite(blocks: None):
    users = torch.tensor([[3e4]], requires_grad=True)
    found = catalogue_loss(users, torch.tensor([[1.0], [-1.0]]), torch.tensor([1]), torch.tensor([0]))
    assert found.item() == 6e4 and torch.isfinite(gradients(found, [users])[0]).all()


def test_no_readouts_is_zero():
    none = torch.zeros(0, dtype=torch.int64)
    assert catalogue_loss(torch.zeros(0, D), torch.zeros(N, D), none, none).item() == 0


def test_the_same_bits_every_time():
    w = world()
    users = w["users"].requires_grad_()
    runs = [catalogue_loss(users, w["vectors"], w["target"], w["owner"], w["bias"]) for _ in range(2)]
    assert torch.equal(runs[0], runs[1]) and torch.equal(*(gradients(run, [users])[0] for run in runs))
