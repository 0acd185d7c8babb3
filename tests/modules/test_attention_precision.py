"""In which precision attention is trained."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lvdm.modules.attention_backends import scaled_dot_product

BF16_ROUNDING = 2.0**-8


@pytest.mark.parametrize("trained", [True, False])
def test_on_the_cpu_bf16_trains_through_float32(trained: bool) -> None:
    q, k, v = (torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(seed)).bfloat16() for seed in range(3))
    inputs = [x.detach().requires_grad_(trained) for x in (q, k, v)]
    exact = [x.detach().float().requires_grad_() for x in (q, k, v)]
    expected = F.scaled_dot_product_attention(*exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = scaled_dot_product(*inputs)
    assert out.dtype == torch.bfloat16, "what follows expects the precision that came in"
    if not trained:
        torch.testing.assert_close(out.float(), expected, atol=4 * BF16_ROUNDING, rtol=0)
        return
    assert torch.equal(out, expected.bfloat16()), "the softmax should have been that of float32"
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(3))
    (out.float() * weights).sum().backward()
    (expected * weights.bfloat16().float()).sum().backward()
    for x, own in zip(inputs, exact, strict=True):
        assert torch.equal(x.grad, own.grad.bfloat16()), "the gradient should have been that of float32"


def test_float64_stays_float64() -> None:
    q, k, v = (torch.randn(1, 1, 4, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert scaled_dot_product(q, k, v).dtype == torch.float64
