"""Multiply-accumulates of single products from shapes, beside torch's own count of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from petl_bench.costs import counting, products
from petl_bench.costs.counters import _DISPATCHED


def by_torch(function: Callable[[], object]) -> int:
    with FlopCounterMode(display=False, custom_mapping=_DISPATCHED) as counter:
        function()
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((3, 4), (2, 4, 5)),
        ((6, 1, 3, 4), (2, 4, 5)),
        ((3, 4), (4,)),
        ((4,), (4, 5)),
        ((4,), (4,)),
        ((2, 3, 4), (4,)),
    ],
)
def test_a_matrix_product_counts_as_torch_counts_it(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    assert products.matmul(left, right) == by_torch(lambda: torch.randn(left) @ torch.randn(right))


@pytest.mark.parametrize(
    ("equation", "left", "right"),
    [
        ("bnd,dk->bnk", (2, 3, 4), (4, 5)),
        ("bd, cd", (2, 4), (3, 4)),
        ("btd,bd->bt", (2, 3, 4), (2, 4)),
        ("...nd,...md->...nm", (2, 6, 3, 4), (2, 6, 5, 4)),
        ("bd,bd->bd", (2, 4), (2, 4)),
        ("bd,c->bdc", (2, 4), (3,)),
        ("bnd,kd->bk", (2, 3, 4), (5, 4)),
    ],
)
def test_an_einsum_counts_as_torch_counts_it(equation: str, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    found = products.einsum(equation, [left, right])
    assert found == by_torch(lambda: torch.einsum(equation, torch.randn(left), torch.randn(right)))


class Holder(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Product(torch.autograd.Function):
    """x @ w with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.rows = len(x)
        return x @ w

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise NotImplementedError


class ProductWithContext(torch.autograd.Function):
    """The same, with a context that is set up apart."""

    @staticmethod
    def forward(x: Tensor, w: Tensor) -> Tensor:
        return x @ w

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise NotImplementedError


#: Products of x [2, 3, 8] outside of modules, with their multiply-accumulates.
WRITTEN: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "x @ w": (lambda x: x @ torch.ones(8, 5), 6 * 8 * 5),
    "w @ x": (lambda x: torch.ones(5, 3) @ x, 2 * 5 * 3 * 8),
    "x @ gate": (lambda x: x @ torch.ones(8), 6 * 8),
    "einsum": (lambda x: torch.einsum("bnd,kd->bnk", x, torch.ones(5, 8)), 6 * 8 * 5),
    "bmm": (lambda x: torch.bmm(x, x.transpose(1, 2)), 2 * 3 * 8 * 3),
    "baddbmm": (lambda x: torch.baddbmm(torch.ones(1), x, x.transpose(1, 2)), 2 * 3 * 8 * 3),
    "addmm": (lambda x: torch.addmm(torch.ones(5), x[0], torch.ones(8, 5)), 3 * 8 * 5),
    "conv1d": (lambda x: nn.functional.conv1d(x, torch.ones(6, 1, 3), groups=3, padding=1), 2 * 6 * 8 * 3),
    "attention": (lambda x: nn.functional.scaled_dot_product_attention(x, x, x), 2 * 3 * 3 * 16),
    "conv2d": (lambda x: nn.functional.conv2d(x, torch.ones(4, 2, 3, 3), padding=1), 4 * 3 * 8 * 2 * 9),
    "conv3d": (lambda x: nn.functional.conv3d(x[None, None], torch.ones(4, 1, 1, 1, 2), stride=2), 4 * 1 * 2 * 4 * 2),
    "batch norm": (lambda x: nn.functional.batch_norm(x, torch.zeros(3), torch.ones(3)) @ torch.ones(8, 5), 6 * 8 * 5),
    "function of autograd": (lambda x: Product.apply(x, torch.ones(8, 5)), 6 * 8 * 5),
    "function of autograd with a context": (lambda x: ProductWithContext.apply(x, torch.ones(8, 5)), 6 * 8 * 5),
    "masked attention": (
        lambda x: nn.functional.scaled_dot_product_attention(
            x[:, None], torch.cat([x, x], 1)[:, None], torch.cat([x, x], 1)[:, None], torch.zeros(3, 6)
        ),
        2 * 3 * 6 * 16,
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_products_outside_of_modules_are_counted(name: str) -> None:
    function, macs = WRITTEN[name]
    model = nn.Sequential(Holder(function))
    found = counting.count(model, model, torch.randn(2, 3, 8))
    assert (found.macs, found.reason) == (macs, "")


def test_attention_of_torch_is_counted_with_its_projections() -> None:
    attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=False).eval()
    key, value = torch.randn(5, 2, 6), torch.randn(5, 2, 4)
    model = nn.Sequential(attention)
    found = counting.count(model, lambda query: attention(query, key, value)[0], torch.randn(3, 2, 8))
    projections = 6 * 8 * 8 + 10 * 6 * 8 + 10 * 4 * 8 + 6 * 8 * 8
    assert found.macs == projections + 2 * (3 * 5 * 2 * 8)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (nn.LSTM(8, 4), r"^0.0 \(LSTM\) cannot be counted: .*lstm computes products that no counter looks into"),
        (
            Holder(lambda x: torch.einsum("bnd,de,ef->bnf", x, torch.ones(8, 4), torch.ones(4, 2))),
            r"^0.0 \(Holder\) cannot be counted: .*einsum of more than two tensors",
        ),
        (
            Holder(lambda x: torch.linalg.multi_dot([x[0], torch.ones(8, 4)])),
            r"counts differ .* in 0.0 \(Holder\) \(G\)",
        ),
        (Holder(lambda x: x + "one"), r"^0.0 \(Holder\) cannot be counted: TypeError"),  # type: ignore[operator]
    ],
)
def test_a_count_that_fails_names_the_module(module: nn.Module, says: str) -> None:
    inner = nn.Sequential(module)
    model = nn.Sequential(inner, nn.Linear(4, 4))
    found = counting.count(model, inner, torch.randn(2, 3, 8))
    assert found.macs is None
    assert re.search(says, found.reason), found.reason
