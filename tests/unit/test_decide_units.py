"""Quantities are parsed strictly, and the same quantity in other units is the same float."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebench.decide.units import UNITS, Kind, parse
from edgebench.errors import EdgebenchError


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("5ms", "time", 0.005), ("5 ms", "time", 0.005), ("5000us", "time", 0.005), ("5000µs", "time", 0.005),
        ("0.005s", "time", 0.005), ("5e-3s", "time", 0.005), (".5s", "time", 0.5), ("64MiB", "bytes", 67108864.0),
        ("1MB", "bytes", 1e6), ("1kB", "bytes", 1e3), ("1KiB", "bytes", 1024.0), ("12B", "bytes", 12.0),
        ("50mJ", "energy", 0.05), ("2J", "energy", 2.0), ("0.85", "share", 0.85), ("85%", "share", 0.85),
        ("85 %", "share", 0.85), ("30", "rate", 30.0), ("30fps", "rate", 30.0), ("99.5", "price", 99.5),
    ],
)  # fmt: skip
def test_what_is_understood(text: str, kind: Kind, value: float) -> None:
    assert parse(text, kind) == value


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("5", "time", "has no unit"), ("5MS", "time", 'Did you mean "ms"'), ("5sec", "time", "no unit of time"),
        ("fast", "time", '"fast" is not a time'), ("-5ms", "time", "out of range"), ("1e999s", "time", "out of range"),
        ("nan", "share", "is not a share"), ("inf", "price", "is not a price"), ("", "time", "is not a time"),
        ("64mb", "bytes", 'Did you mean "MB"'), ("64 Mb", "bytes", 'Did you mean "MB"'),
        ("5KB", "bytes", "is no unit of bytes"), ("85", "share", "85%"),
        ("101%", "share", "more than all"), ("5mJs", "energy", "no unit of energy"), ("100€", "price", "plain number"),
        ("1,5ms", "time", "has a comma"), ("5 m s", "time", "no unit"), ("1_000B", "bytes", "no unit"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, kind: Kind, words: str) -> None:
    with pytest.raises(EdgebenchError) as failed:
        parse(text, kind, "--max")
    assert words in f"{failed.value.problem} {failed.value.fix}"
    assert failed.value.problem.startswith("--max: ")
    assert failed.value.problem.endswith(".")


@given(st.sampled_from(["time", "bytes", "energy"]), st.integers(1, 10**6), st.data())
def test_changing_units_changes_nothing(kind: Kind, number: int, data: st.DataObject) -> None:
    decimal = {u: f for u, f in UNITS[kind].items() if not u.endswith("iB")}
    a, b = (data.draw(st.sampled_from(sorted(decimal))) for _ in range(2))
    exponent = round(float(f"{float(decimal[a]) / float(decimal[b]):.6e}".partition("e")[2]))
    assert parse(f"{number}{a}", kind) == parse(f"{number}e{exponent}{b}", kind)
