"""Multiply-accumulates of the layers that have any, from the shapes of their operands. Pure.

One multiply and one add are one MAC; biases, activations and pooling count nothing, as is usual.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgebench.inspect.graph import Shape, product

Known = Shape | None


def convolution(output: Known, kernel: Known) -> int | None:
    """`kernel` is what one output element reads: (input channels of a group, height, width)."""
    return times(product(output), product(kernel))


def transposed_convolution(data: Known, kernel: Known) -> int | None:
    """`kernel` is what one input element writes: (output channels of a group, height, width)."""
    return times(product(data), product(kernel))


def matrix(output: Known, shared: int | None) -> int | None:
    """A (batched) matrix product whose operands share an axis of this length."""
    return times(product(output), shared)


def attention(query: Known, keys: int | None, values: int | None) -> int | None:
    """Scaled dot product: query (..., T, d) with `keys` keys, values of `values` numbers."""
    if not query or query[-1] is None or values is None:
        return None
    return times(product(query[:-1]), times(keys, query[-1] + values))


def recurrence(output: Known, matrices: Sequence[Known]) -> int | None:
    """Every weight matrix once for each step and sample: `output` is (T, N, ...) or (N, T, ...)."""
    sizes = [product(shape) for shape in matrices]
    if not output or None in sizes:
        return None
    return times(product(output[:2]), sum(size or 0 for size in sizes))


def times(*factors: int | None) -> int | None:
    return product(factors)
