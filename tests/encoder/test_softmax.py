from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.encoder import softmax
from llmrec.encoder.loss import multi_target
from llmrec.encoder.softmax import Targets, catalogue_loss, sampled_loss

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


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("readouts", [3, M])
def test_a_loss_among_sampled_items_and_its_gradient_are_those_of_autograd(readouts, stride):
    """Also of readouts without targets, and of those whose targets are all that there is."""
    w, draw = world(), torch.Generator().manual_seed(2)
    mine = (w["owner"] < readouts).nonzero()[:, 0]
    pairs = sorted({(int(o), int(t)) for o, t in zip(w["owner"][mine], w["target"][mine], strict=True)} | {(1, 3), (1, 4)})
    owner, target = torch.tensor(pairs).T
    users, share = w["users"][:readouts].requires_grad_(), torch.rand(len(pairs), generator=draw)
    place = torch.tensor([sum(before == o for before, _ in pairs[:p]) for p, (o, _) in enumerate(pairs)])
    some, again = slice(None, None, stride), target % stride == 0
    known = torch.stack([owner[again], target[again] // stride])
    targets = Targets(owner, share, w["vectors"][target], w["bias"][target], place, known)
    found = sampled_loss(users, w["vectors"][some], w["bias"][some], targets, stride)

    scores = users @ w["vectors"].T + w["bias"]
    expected = torch.zeros(readouts)
    for m in range(readouts):
        held = {t for o, t in pairs if o == m}
        others = [i for i in range(0, N, stride) if i not in held]
        whole = stride * scores[m, others].exp().sum() + scores[m, sorted(held)].exp().sum()
        for p, (o, t) in enumerate(pairs):
            if o == m:
                expected[m] = expected[m] + share[p] * (whole.log() - scores[m, t])
    torch.testing.assert_close(found, expected)
    uneven = torch.arange(1.0, readouts + 1)
    (mine,), (other,) = (gradients((uneven * loss).sum(), [users]) for loss in (found, expected))
    torch.testing.assert_close(mine, other)


def test_where_the_targets_are_all_that_there_is_there_is_nothing_to_learn():
    users, vectors = torch.randn(1, D, generator=torch.Generator().manual_seed(0)).requires_grad_(), torch.eye(D)[:1]
    zero = torch.zeros(1, dtype=torch.int64)
    targets = Targets(zero, torch.ones(1), vectors, torch.ones(1), zero, torch.zeros(2, 1, dtype=torch.int64))
    loss = sampled_loss(users, vectors, torch.ones(1), targets, 1)
    assert loss.item() == 0 and gradients(loss.sum(), [users])[0].abs().max() == 0
