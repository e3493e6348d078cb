"""Multiply-accumulates of single products, from shapes alone; without torch.

What counts and what does not stands in `petl_bench.costs.formula`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Shape = Sequence[int]


def matmul(left: Shape, right: Shape) -> int:
    """left @ right by the rules of `torch.matmul`: vectors, matrices, and batches of them that broadcast."""
    rows = left if len(left) > 1 else (1, *left)
    columns = right if len(right) > 1 else (*right, 1)
    return math.prod(_broadcast(rows[:-2], columns[:-2])) * rows[-2] * rows[-1] * columns[-1]


def einsum(equation: str, shapes: Sequence[Shape]) -> int:
    """A product of two tensors; 0 if nothing is summed over both, which is a product of elements.

    Raises NotImplementedError for more than two tensors, whose count depends on the order of the products.
    """
    if len(shapes) == 1:
        return 0
    if len(shapes) > 2:
        raise NotImplementedError("an einsum of more than two tensors: write it as products of two")
    terms, _, given = equation.replace(" ", "").partition("->")
    left, right = terms.split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip((left, right), shapes, strict=True):
        for index, size in _indices(term, shape):
            sizes[index] = max(size, sizes.get(index, 1))
    output = given if "->" in equation else "".join(i for i in sizes if terms.count(i) == 1) + "..."
    summed = {index for index in set(left) & set(right) if index.isalpha() and index not in output}
    alone = {index for index in set(left) ^ set(right) if index.isalpha() and index not in output}  # summed beforehand
    return math.prod(size for index, size in sizes.items() if index not in alone) if summed else 0


def attention(q: Shape, k: Shape, v: Shape) -> int:
    """q [..., N, d], k [..., M, d], v [..., M, e]: N M (d + e) for every head of every sequence."""
    return math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


def convolution(weight: Shape, output: Shape) -> int:
    """Every output element sums over the kernel and the channels of its group; weight [out, channels / groups, ...]."""
    return math.prod(output) * math.prod(weight[1:])


def multi_head_attention(query: Shape, key: Shape, value: Shape) -> int:
    """`nn.MultiheadAttention` with its four projections; query [L, N, E] or [L, E], key and value likewise."""
    width, tokens = query[-1], math.prod(query[:-1])
    projections = tokens * 2 * width + math.prod(key) + math.prod(value)
    return width * projections + tokens * key[0] * 2 * width


def _broadcast(left: Shape, right: Shape) -> list[int]:
    longest = max(len(left), len(right))
    padded = ((1,) * (longest - len(shape)) + tuple(shape) for shape in (left, right))
    return [one if other == 1 else other for one, other in zip(*padded, strict=True)]


def _indices(term: str, shape: Shape) -> list[tuple[str, int]]:
    """The indices of a term with their sizes; those of an ellipsis are named by their place from the right."""
    before, _, after = term.partition("...")
    count = len(shape) - len(before) - len(after)
    between = [f"...{count - place}" for place in range(count)]
    return list(zip([*before, *between, *after], shape, strict=True))
