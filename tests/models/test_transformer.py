"""CLIP's activation."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from petl_bench.models.transformer import quick_gelu


def test_quick_gelu_and_its_gradient_equal_the_equation() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 50, dtype=torch.double, requires_grad=True)
    expected = x * torch.sigmoid(1.702 * x)
    probe = torch.randn_like(x)
    assert_close(quick_gelu(x), expected)
    assert_close(torch.autograd.grad(quick_gelu(x), x, probe), torch.autograd.grad(expected, x, probe))
    with torch.no_grad():
        assert_close(quick_gelu(x), expected)
    assert_close(quick_gelu(x.detach()), expected)
