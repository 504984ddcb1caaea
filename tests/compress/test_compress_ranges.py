"""The range that int8 covers, from histograms made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebench.compress.quantization import ranges


def histogram(values: Any) -> tuple[Any, Any, float, float]:
    bound = float(np.abs(values).max())
    counts, edges = np.histogram(values, ranges.BINS, (-bound, bound))
    return counts, edges, float(values.min()), float(values.max())


@pytest.mark.parametrize("method", list(ranges.METHODS))
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), shift=st.floats(-3, 3))
def test_a_range_lies_within_what_was_seen(method: str, seed: int, shift: float) -> None:
    values = np.random.RandomState(seed).standard_normal(3000) + shift
    low, high = ranges.METHODS[method](*histogram(values))
    assert values.min() <= low < high <= values.max()


def test_percentile_drops_the_outlier_and_keeps_the_rest() -> None:
    values = np.concatenate([np.linspace(-1, 1, 400_001), [50.0]])
    low, high = ranges.percentile(*histogram(values))
    assert low == pytest.approx(-1, abs=0.1)
    assert high == pytest.approx(1, abs=0.1)


def test_percentile_of_few_values_is_everything() -> None:
    assert ranges.percentile(*histogram(np.array([-1.0, 0.0, 2.0]))) == (-1.0, 2.0)


def test_entropy_cuts_a_long_tail_and_not_a_box() -> None:
    random = np.random.RandomState(0)
    bell = np.concatenate([random.standard_normal(100_000), [30.0]])
    low, high = ranges.entropy(*histogram(bell))
    assert 3 < high < 12
    assert -6 < low < -3
    box = random.uniform(-1, 1, 100_000)
    low, high = ranges.entropy(*histogram(box))
    assert low == pytest.approx(-1, abs=0.02)
    assert high == pytest.approx(1, abs=0.02)


def test_entropy_of_few_values_is_everything() -> None:
    values = np.array([-1.0, 0.5, 0.6, 2.0])
    assert ranges.entropy(*histogram(values)) == (-1.0, 2.0)


def test_entropy_does_not_let_the_zeros_of_a_relu_decide() -> None:
    bell = np.maximum(np.random.RandomState(0).standard_normal(100_000) - 2, 0)
    low, high = ranges.entropy(*histogram(bell))
    assert low == 0
    assert (bell > high).mean() < 0.001


def test_entropy_clips_one_percent_at_most() -> None:
    """Pixels: paper in the one spike, ink in the other; divergence alone would cut the ink off."""
    random = np.random.RandomState(0)
    pixels = np.concatenate([random.uniform(-0.81, 1.85, 70_000), np.full(90_000, -0.81), np.full(40_000, 1.85)])
    low, high = ranges.entropy(*histogram(pixels))
    assert (pixels > high).mean() <= 0.01
    assert low == pixels.min()


def squared_error(values: Any, low: float, high: float) -> float:
    """What int8 really costs: quantize to 256 levels between the ends, and back."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255
    zero = round(-low / step)
    back = (np.clip(np.round(values / step) + zero, 0, 255) - zero) * step
    return float(np.square(values - back).mean())


@pytest.mark.parametrize("kind", ["bell", "relu", "outlier", "box", "shifted"])
def test_mse_is_nearly_the_best_of_all_ranges(kind: str) -> None:
    random = np.random.RandomState(0)
    values = {
        "bell": lambda: random.standard_normal(40_000),
        "relu": lambda: np.maximum(random.standard_normal(40_000), 0),
        "outlier": lambda: np.concatenate([random.standard_normal(40_000), [60.0]]),
        "box": lambda: random.uniform(-1, 1, 40_000),
        "shifted": lambda: random.standard_normal(40_000) + 3,
    }[kind]()
    low, high = ranges.mse(*histogram(values))
    found = squared_error(values, low, high)
    ends = np.linspace(0.02, 1, 50)
    best = min(squared_error(values, values.min() * a, values.max() * b) for a in ends for b in ends)
    assert found <= 1.1 * best
    if kind == "outlier":
        assert high < values.max()
        assert found < squared_error(values, values.min(), values.max())


def test_mse_of_a_range_that_needs_no_cut_is_everything() -> None:
    low, high = ranges.mse(*histogram(np.array([-1.0, 1.0])))
    assert (low, high) == (-1.0, 1.0)
