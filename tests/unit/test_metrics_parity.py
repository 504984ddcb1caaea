"""How far the answers of two files are apart."""

from __future__ import annotations

import numpy as np
import pytest

from edgebench.metrics.parity import compare


def test_the_greatest_difference_of_any_output_counts() -> None:
    first, second = np.array([[1.0, -4.0]]), np.array([[10.0]])
    found = compare([first + [[0.0, 0.5]], second + 1], [first, second])
    assert found == {"max_abs_error": 1.0, "max_rel_error": pytest.approx(0.125), "n": 3}


def test_equal_answers_are_zero_apart() -> None:
    x = np.ones((3, 2), np.float32)
    assert compare([x], [x]) == {"max_abs_error": 0.0, "max_rel_error": 0.0, "n": 6}


def test_what_cannot_be_compared_says_why() -> None:
    x = np.ones((3, 2))
    assert "nothing" in compare([x], [])["why"]
    assert "2 outputs" in compare([x, x], [x])["why"]
    assert "[3, 2]" in compare([x], [np.ones((3, 4))])["why"]
    assert "not finite" in compare([x * np.nan], [x])["why"]


def test_what_is_not_finite_in_the_other_is_left_out() -> None:
    assert compare([np.array([1.0, 2.0])], [np.array([np.inf, 2.0])])["n"] == 1
