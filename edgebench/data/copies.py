"""Samples that occur more than once: where a split is cut here, all copies of one land on the same side of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgebench.data import fingerprint
from edgebench.data.split import Indices, stratified


def firsts(samples: NDArray[np.generic]) -> Indices:
    """For each sample, the place of the first one that is equal to it: its own where it is the first."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(fingerprint(row), place) for place, row in enumerate(samples)], np.int64)


def stratified_whole(labels: NDArray[np.int64], first: Indices, count: int, seed: int) -> tuple[Indices, Indices]:
    """What `stratified` deals where that parts no copies; else samples are dealt with their copies, `count` at most.

    `first` is what `firsts` says of the samples, at least two of which differ.
    """
    some, rest = stratified(labels, (count,), seed)
    if not np.isin(first[rest], first[some]).any():
        return some, rest
    differing = np.unique(first)
    dealt, _ = stratified(labels[differing], (min(count, len(differing) - 1),), seed)
    some, rest = whole(first, differing[dealt], count)
    random = np.random.RandomState(seed)
    return random.permutation(some), random.permutation(rest)


def whole(first: Indices, order: Indices, count: int) -> tuple[Indices, Indices]:
    """`count` samples at most and the others: each of `order` that still fits with its copies is taken.

    Where none fits, that with the fewest copies is, which leaves at least as many: a few samples to calibrate on are
    better than most of them.
    """
    differing, sizes = np.unique(first, return_counts=True)
    size = dict(zip(differing.tolist(), sizes.tolist(), strict=True))
    taken: list[int] = []
    left = count
    for sample in order.tolist():
        if size[sample] <= left:
            taken.append(sample)
            left -= size[sample]
    chosen = np.isin(first, taken or [int(differing[sizes.argmin()])])
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)
