"""The centre of values of which some are far off."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebench import robust, stats

VALUES = st.lists(st.floats(-5, 5, allow_nan=False), min_size=2, max_size=40)


def test_under_ten_values_it_is_students_mean() -> None:
    found = robust.centre([10, 12, 14, 16, 18])
    assert found == (14, pytest.approx(math.sqrt(10 / 5)), 4)
    assert robust.centre([3.0]) == (3, math.inf, 0)
    with pytest.raises(ValueError, match="no values"):
        robust.centre([])


@pytest.mark.parametrize(("n", "out"), [(9, 0), (10, 2), (16, 2), (17, 3), (20, 3), (60, 9)])
def test_from_ten_on_some_fifteen_percent_are_left_out_at_either_end(n: int, out: int) -> None:
    assert robust.left_out(n) == out
    values = [float(i) for i in range(n)]
    far = [*values[:-1], 1e6]
    assert (robust.centre(values).value == robust.centre(far).value) == (out > 0)


@pytest.mark.parametrize(("n", "m"), [(20, 20), (20, 40)])
def test_with_the_outermost_left_out_two_series_compare_as_scipys_trimmed_test(n: int, m: int) -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    draw = random.Random(n + m)
    a, b = ([draw.lognormvariate(0.01 * k, 0.05) for _ in range(size)] for k, size in enumerate((n, m)))
    found, p = stats.welch(a, b, margin=0.0)
    logs = [[math.log(x) for x in side] for side in (a, b)]
    wanted = scipy_stats.ttest_ind(*logs, equal_var=False, trim=robust.TRIM)
    assert p == pytest.approx(wanted.pvalue, rel=1e-6)
    one, other = (scipy_stats.trim_mean(side, robust.TRIM) for side in logs)
    assert found.value == pytest.approx(math.exp(one - other))


@given(VALUES, st.floats(-3, 3))
def test_it_moves_with_the_values_and_knows_no_order(values: list[float], by: float) -> None:
    found, moved = robust.centre(values), robust.centre([v + by for v in reversed(values)])
    assert moved.value == pytest.approx(found.value + by, abs=1e-9)
    assert moved.error == pytest.approx(found.error, abs=1e-9)
    assert min(values) - 1e-9 <= found.value <= max(values) + 1e-9


def test_neighbours_that_come_and_go_are_told_from_the_network() -> None:
    """One generation in five is torn, by up to a factor of two. A plain mean is seldom known to 2 %, this one mostly."""
    rng, plain, trimmed, missed = random.Random(3), 0, 0, 0
    for _ in range(300):
        logs = [rng.gauss(0, 0.4) if rng.random() < 0.2 else rng.gauss(0, 0.01) for _ in range(20)]
        plain += stats.t_quantile(0.975, 19) * statistics.stdev(logs) / math.sqrt(20) < 0.02
        value, error, freedom = robust.centre(logs)
        half = stats.t_quantile(0.975, freedom) * error
        trimmed += half < 0.02
        missed += abs(value) > half
    assert plain / 300 < 0.1
    assert trimmed / 300 > 0.8
    assert missed / 300 <= 0.06
