"""From what a tensor was seen to hold to the range that int8 covers. Pure: numpy only.

A histogram is `counts` (B,) between `edges` (B + 1,), its bins symmetric around zero, with the least and greatest value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]
BINS, LEVELS, PERCENTILE, CLIPPED, SHARES = 2048, 128, 99.999, 0.01, 160


def percentile(counts: NDArray[Any], edges: NDArray[Any], low: float, high: float) -> Range:
    """Cut off (100 - 99.999) / 2 percent of the values at either end."""
    total = np.cumsum(counts) / counts.sum()
    cut = (1 - PERCENTILE / 100) / 2
    lower = float(edges[np.searchsorted(total, cut, side="right")])
    upper = float(edges[min(int(np.searchsorted(total, 1 - cut)) + 1, len(edges) - 1)])
    return max(low, lower), min(high, upper)


def entropy(counts: NDArray[Any], edges: NDArray[Any], low: float, high: float) -> Range:
    """The threshold on |x| at which int8's levels keep the most information (least KL divergence).

    Source: S. Migacz, "8-bit inference with TensorRT", GTC 2017. The bin of zero takes its neighbour's count, or the
    zeros that a ReLU makes would outweigh all else; and at most 1 % of the values are clipped, since on spiky
    distributions (pixels) the divergence alone may cut off a quarter of them.
    """
    if counts.sum() < len(counts):
        return low, high  # fewer values than bins, as logits have, say nothing of a distribution
    half = len(counts) // 2
    sizes = (counts[half:] + counts[:half][::-1]).astype(np.float64)
    sizes[0] = sizes[1]
    levels = 2 * LEVELS if low >= 0 else LEVELS
    beyond = 1 - np.cumsum(sizes) / max(float(sizes.sum()), 1.0)
    first = max(levels, int(np.argmax(beyond <= CLIPPED)) + 1)
    best = min(range(first, half + 1), key=lambda end: _divergence(sizes, end, levels), default=half)
    bound = float(edges[half + best])
    return max(low, -bound), min(high, bound)


def _divergence(sizes: NDArray[np.float64], end: int, levels: int) -> float:
    """KL divergence of the distribution clipped at bin `end` from its form in `levels` steps."""
    inside = sizes[:end]
    clipped = inside.copy()
    clipped[-1] += sizes[end:].sum()
    level = np.arange(end) * levels // end
    filled = inside > 0
    # A level's mass is spread evenly over those of its bins that hold anything.
    share = np.bincount(level, inside, levels) / np.maximum(np.bincount(level, filled, levels), 1)
    quantized = np.where(filled, share[level], 0)
    seen = clipped > 0
    if not quantized.any() or (quantized[seen] == 0).any():
        return float("inf")
    p, q = clipped[seen] / clipped.sum(), quantized[seen] / quantized.sum()
    return float((p * np.log(p / q)).sum())


def mse(counts: NDArray[Any], edges: NDArray[Any], low: float, high: float) -> Range:
    """The range of the least expected squared error: what is clipped, and step^2 / 12 for each value that is rounded.

    Source: Banner et al., 2019, arXiv:1810.05723; Nagel et al., 2021, arXiv:2106.08295, section 3.1. Both ends are searched on
    their own, from all that was seen down to a fiftieth of it. Zero is exact in every range, so its bin adds no error.
    """
    centres = (edges[:-1] + edges[1:]) / 2
    weights = counts / max(float(counts.sum()), 1.0)
    shares = np.geomspace(0.02, 1, SHARES)
    lows, highs = min(low, 0.0) * shares, max(high, 0.0) * shares
    below = np.array([(weights * np.square(np.minimum(centres - end, 0))).sum() for end in lows])
    above = np.array([(weights * np.square(np.maximum(centres - end, 0))).sum() for end in highs])
    rounded = np.where(np.abs(centres) < edges[1] - edges[0], 0, weights)
    inside = np.append(0, np.cumsum(rounded))[np.searchsorted(centres, [lows, highs], side="right")]
    share = inside[1][None] - inside[0][:, None]
    steps = (highs[None] - lows[:, None]) / (2 * LEVELS - 1)
    error = below[:, None] + above[None] + share * steps**2 / 12
    # Of equal errors the widest range: the last one in both.
    flat = error[::-1, ::-1]
    i, j = np.unravel_index(int(flat.argmin()), flat.shape)
    return max(low, float(lows[::-1][i])), min(high, float(highs[::-1][j]))


METHODS = {"percentile": percentile, "entropy": entropy, "mse": mse}
