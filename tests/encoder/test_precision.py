from __future__ import annotations

import pytest
import torch

from llmrec.encoder import precision
from llmrec.encoder.precision import autocast, faster_dtype


@pytest.mark.parametrize(
    ("seconds", "wins"), [((1.0, 2.0), torch.float32), ((2.0, 1.0), torch.bfloat16), ((1.0, 1.0), torch.float32)]
)
def test_the_faster_one_wins_and_is_tried_once(exact, monkeypatch, seconds, wins):
    tried = []

    def product(dtype: torch.dtype, device: str) -> float:
        tried.append((dtype, device))
        return dict(zip((torch.float32, torch.bfloat16), seconds, strict=True))[dtype]

    monkeypatch.setattr(precision, "_product", product)
    faster_dtype.cache_clear()
    assert faster_dtype("cpu") == faster_dtype("cpu") == wins
    assert tried == [(torch.float32, "cpu"), (torch.bfloat16, "cpu")]
    faster_dtype.cache_clear()


def test_a_product_takes_time_in_either_type():
    with pytest.MonkeyPatch.context() as patch:
        patch.undo()
        assert all(precision._product(dtype, "cpu") >= 0 for dtype in (torch.float32, torch.bfloat16))


def test_autocast_computes_products_in_the_type_and_float32_is_nothing():
    x = torch.ones(2, 2)
    with autocast(torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
    with autocast(torch.float32):
        assert (x @ x).dtype == torch.float32
