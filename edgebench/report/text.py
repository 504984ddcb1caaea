"""Numbers and names as a person reads them. The only place where anything is rounded."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

MISSING = "–"
_TIMES = ((1.0, "s"), (1e3, "ms"), (1e6, "µs"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """One line without control, bidirectional or other characters that a terminal or a table may choke on."""
    if text.isascii() and text.isprintable() and "  " not in text and text == text.strip():
        return text  # as nearly all are
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def encodable(text: str) -> str:
    """The text with a question mark for each half of a character: those cannot be written as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def decimals(x: float, digits: int = 3) -> int:
    """How many decimals show `digits` significant digits of x; no digit before the point is ever dropped."""
    if not math.isfinite(x):
        return 0
    exponent = int(f"{x:.{digits - 1}e}".partition("e")[2])  # of the rounded number: 9.996 counts as 10.0
    return max(0, digits - 1 - exponent) if x else 0


def significant(x: float, digits: int = 3) -> str:
    """12.3456 -> 12.3, 0.0123456 -> 0.0123, 1234.5 -> 1234."""
    return f"{x:.{decimals(x, digits)}f}"


def with_half_width(value: float, low: float, high: float, factor: float, unit: str) -> str:
    """`213 ± 3 µs` from an interval, all times `factor`; `213 µs ± >100 %` where it says next to nothing."""
    places = decimals(value * factor)
    number = f"{value * factor:.{places}f}"
    half = (high - low) / 2 * factor
    if not math.isfinite(half) or half > abs(value * factor):
        return f"{number} {unit} ± >100 %"
    text = f"{half:.{places}f}"
    if half and not float(text):
        text = significant(half, 1)
    return f"{number} ± {text} {unit}"


def time_unit(seconds: float) -> tuple[float, str]:
    """The factor and the name of the unit in which a time has one to three digits before the point."""
    for factor, unit in _TIMES:
        if float(f"{seconds * factor:.3g}") >= 1:
            return factor, unit
    return _TIMES[-1]


def time(seconds: float) -> str:
    factor, unit = time_unit(seconds)
    return f"{significant(seconds * factor)} {unit}"


@lru_cache(maxsize=4096)
def file_size(size: float) -> str:
    """Bytes in powers of ten, as file managers and app stores count them."""
    for factor, unit in _SIZES:
        if float(f"{size / factor:.3g}") >= 1:
            return f"{significant(size / factor)} {unit}"
    return f"{size:.0f} B"


@lru_cache(maxsize=4096)
def memory(size: float) -> str:
    return f"{significant(size / 2**20)} MiB"


def percent(share: float, places: int = 1) -> str:
    """A share of 1 as percent. What is not all is never printed as 100 %, nor what is not nothing as 0 %."""
    text = f"{100 * share:.{places}f}"
    edge = 10.0**-places
    if share < 1 and float(text) >= 100:
        text = f"{100 - edge:.{places}f}"
    elif share > 0 and not float(text):
        text = f"{edge:.{places}f}"
    return f"{text} %"


def profile(figures: Iterable[tuple[str, float]], most: int = 6) -> str:
    """`Conv 62 %, MatMul 20 %, 3 others 18 %` from (operator, seconds)."""
    ordered = sorted(figures, key=lambda f: -f[1])
    total = sum(seconds for _, seconds in ordered) or 1.0
    words = [f"{plain(name)} {percent(seconds / total, 0)}" for name, seconds in ordered[:most]]
    rest = ordered[most:]
    return ", ".join(words + ([f"{len(rest)} others {percent(sum(s for _, s in rest) / total, 0)}"] if rest else []))


def in_unit(value: float, unit: str) -> str:
    """A figure of any metric, by its SI unit."""
    if unit == "s":
        return time(value)
    if unit == "B":
        return file_size(value)
    number = significant(value) if not value or abs(value) >= 1e-4 else f"{value:.2e}"
    return number if unit == "1" else f"{number} {unit}"


def told(value: object) -> str:
    """Any value of JSON in words: `a 1, b x`, `1, 2, 3`, `yes`; a dash where it holds nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(str(k))} {_inner(v)}" for k, v in value.items() if _held(v)) or MISSING
    if isinstance(value, (list, tuple)):
        return ", ".join(_inner(v) for v in value if _held(v)) or MISSING
    return (plain(str(value)) if value is not None else "") or MISSING


def _held(value: object) -> bool:
    return value is not None and value not in ("", [], (), {})


def _inner(value: object) -> str:
    """A part of a value: in brackets where it has parts itself."""
    words = told(value)
    return f"({words})" if isinstance(value, (Mapping, list, tuple)) and len(value) > 1 else words


def ended(words: str, letters: int) -> str:
    """A list of words of at most so many letters, cut behind one of its commas."""
    if len(words) <= letters:
        return words
    end = words.rfind(", ", 0, letters - 2)
    return f"{words[:end]}, …" if end > 0 else words[: letters - 1].rstrip() + "…"


_TOGETHER = re.compile(
    r"(?<=\d) (?=[µmkMGKi]{0,2}[sBJ%]\b|%)|(?<=\d) (?=to [-\d.]+\))|(?<= to) (?=[-\d.]+\))|(?<=[≤≥]) |(?<=\d) (?=±)|(?<=±) "
)


def together(words: str) -> str:
    """With spaces that break no line within figures: between number and unit, and in the interval behind it."""
    return _TOGETHER.sub("\u00a0", words)


def count(n: int, one: str, many: str = "") -> str:
    """`1 row`, `2 rows`."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def several(names: Sequence[str], most: int = 3) -> str:
    """`a, b and c`; `a, b, c and 7 more`."""
    shown, rest = list(names[:most]), len(names) - most
    if rest > 0:
        return f"{', '.join(shown)} and {rest} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else "none"
