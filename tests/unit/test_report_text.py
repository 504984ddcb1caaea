"""How numbers are rounded for people: three digits, the right unit, and nothing that looks better than it is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebench.report import text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (2.314e-4, "231 µs"), (9.994e-4, "999 µs"), (9.996e-4, "1.00 ms"), (1e-3, "1.00 ms"), (0.0123456, "12.3 ms"),
        (0.9996, "1.00 s"), (9.996, "10.0 s"), (99.96, "100 s"), (1234.5, "1234 s"), (1.2e-7, "0.120 µs"), (0.0, "0 µs"),
        (1.3e-6, "1.30 µs"),
    ],
)  # fmt: skip
def test_times(seconds: float, shown: str) -> None:
    assert text.time(seconds) == shown


@given(st.floats(1e-9, 1e5))
def test_a_time_is_what_it_says(seconds: float) -> None:
    number, unit = text.time(seconds).split()
    assert float(number) * {"s": 1, "ms": 1e-3, "µs": 1e-6}[unit] == pytest.approx(seconds, rel=0.006)
    assert len(number.replace(".", "").lstrip("0")) >= 3


@pytest.mark.parametrize(
    ("value", "half", "shown"),
    [
        (213e-6, 2.6e-6, "213 ± 3 µs"), (213e-6, 0.26e-6, "213 ± 0.3 µs"), (1.234e-3, 14e-6, "1.23 ± 0.01 ms"),
        (1.234e-3, 0.0, "1.23 ± 0.00 ms"), (1e-3, 0.9e-3, "1.00 ± 0.90 ms"), (1e-3, 1.1e-3, "1.00 ms ± >100 %"),
        (1e-3, math.inf, "1.00 ms ± >100 %"),
    ],
)  # fmt: skip
def test_half_widths(value: float, half: float, shown: str) -> None:
    assert text.with_half_width(value, value - half, value + half, *text.time_unit(value)) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (312_345, "312 kB"),
        (999_600, "1.00 MB"),
        (96_800, "96.8 kB"),
        (12, "12 B"),
        (0, "0 B"),
        (999.6, "1.00 kB"),
        (3.2e9, "3.20 GB"),
    ],
)
def test_file_sizes(size: float, shown: str) -> None:
    assert text.file_size(size) == shown


def test_memory_is_in_powers_of_two() -> None:
    assert text.memory(30.46 * 2**20) == "30.5 MiB"
    assert text.memory(2048.4 * 2**20) == "2048 MiB"


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.974, "97.4 %"), (1.0, "100.0 %"), (0.99999, "99.9 %"), (0.00001, "0.1 %"), (0.0, "0.0 %"), (0.5, "50.0 %")],
)
def test_not_all_is_never_all(share: float, shown: str) -> None:
    assert text.percent(share) == shown
    assert text.percent(0.999, 0) == "99 %"


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.0123, "s", "12.3 ms"),
        (5000, "B", "5.00 kB"),
        (1.5, "1", "1.50"),
        (0.0456, "J", "0.0456 J"),
        (12, "1/s", "12.0 1/s"),
    ],
)
def test_any_unit(value: float, unit: str, shown: str) -> None:
    assert text.in_unit(value, unit) == shown


def test_plain_is_one_printable_line() -> None:
    assert text.plain(" a\n\tb\x1b[0m\u202e\udc80 c ") == "a b [0m c"


def test_encodable() -> None:
    assert text.encodable("a\udc80b模") == "a?b模"


def test_count() -> None:
    assert (text.count(1, "row"), text.count(2, "row"), text.count(2, "foot", "feet")) == ("1 row", "2 rows", "2 feet")
