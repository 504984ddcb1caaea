"""How samples are dealt out to the three splits: the same for everybody, on every machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.errors import PlanError, did_you_mean

Indices = NDArray[np.int64]
CALIBRATION = 200
"""Set aside to calibrate on where no number is asked for, of large sets: as many as a quantize step reads of its own accord."""


def to_calibrate_on(asked: int, samples: int) -> int:
    """How many of the training samples are set aside: those `asked` for, half at most; where that is 0, a tenth."""
    return min(asked, samples // 2) if asked else min(CALIBRATION, max(samples // 10, 1), samples // 2)


def stratified(labels: NDArray[np.int64], counts: tuple[int, ...], seed: int) -> tuple[Indices, ...]:
    """Deal indices into len(counts) + 1 parts, the last one taking the rest, each class in proportion.

    Every part is shuffled. RandomState is used because its stream is frozen for all numpy versions (NEP 19).
    """
    random = np.random.RandomState(seed)
    piles = [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    parts = []
    for count in counts:
        quotas = _quotas(np.array([len(pile) for pile in piles]), count)
        parts.append(random.permutation(_joined([p[:q] for p, q in zip(piles, quotas, strict=True)])))
        piles = [pile[quota:] for pile, quota in zip(piles, quotas, strict=True)]
    return (*parts, random.permutation(_joined(piles)))


def _joined(piles: Sequence[Indices]) -> Indices:
    """One pile; an empty one of none, for small sets may be held out whole."""
    return np.concatenate([np.empty(0, np.int64), *piles])


def held_out_last(
    labels: NDArray[np.int64], names: Sequence[str], share: float, calibration: int, seed: int
) -> tuple[Indices, ...]:
    """Evaluation: the last `share` of each class, in the order of the names; the others are dealt out by `stratified`.

    Returns the indices of evaluation, calibration and training, each shuffled.
    """
    ordered = np.array(sorted(range(len(names)), key=lambda i: names[i]), np.int64)
    held_out, rest = [], []
    for label in np.unique(labels):
        pile = ordered[labels[ordered] == label]
        kept = len(pile) - round(len(pile) * share)
        held_out.append(pile[kept:])
        rest.append(pile[:kept])
    others = np.concatenate(rest)
    some, train = stratified(labels[others], (calibration,), seed)
    evaluation: Indices = np.random.RandomState(seed).permutation(np.concatenate(held_out))
    return evaluation, others[some], others[train]


def _quotas(sizes: Indices, count: int) -> Indices:
    """How many of each class make `count`: its share, the rest to the largest remainders (Hamilton)."""
    share = sizes * count / max(int(sizes.sum()), 1)
    quotas = np.floor(share).astype(np.int64)
    quotas[np.argsort(quotas - share, kind="stable")[: count - int(quotas.sum())]] += 1
    return quotas


def check_options(source: str, options: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The options over their defaults. Raises PlanError for an unknown one or one of another type."""
    for key, value in options.items():
        if key not in known:
            raise PlanError(f'The data source {source} has no option "{key}".', did_you_mean(key, known))
        wanted = known[key]
        types = (int, float) if isinstance(wanted, float) else (type(wanted),)
        if isinstance(value, bool) or not isinstance(value, types):
            raise PlanError(
                f"The option {key} of the data source {source} cannot be {value!r}.",
                f"Give it a value like {wanted!r}.",
            )
    return {**known, **options}
