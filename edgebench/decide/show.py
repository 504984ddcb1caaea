"""How figures and rows are named in sentences: the same words in the JSON, the text and the errors."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from edgebench.decide import units
from edgebench.report import text
from edgebench.report.text import MISSING

LABELS: Mapping[str, str] = {
    "latency": "latency", "latency_p90": "p90", "latency_p99": "p99", "accuracy": "accuracy",
    "accuracy_drop": "accuracy drop", "memory": "memory", "energy": "energy", "size": "size", "throughput": "fps",
    "price": "price",
}  # fmt: skip
GRADES = {"measured": "", "published": "P", "calibrated": "C", "transferred": "T", "simulated": "S", "roofline": "R"}
"""Letters that mark a figure that was not measured here: readable without colour."""


def value(key: str, x: float | None) -> str:
    """A figure as a person reads it: 5.2 ms, 98.9 %, 12 MiB."""
    if x is None:
        return MISSING
    if key.startswith("latency"):
        return text.time(x)
    if key in ("accuracy", "accuracy_drop"):
        return f"-{text.percent(-x)}" if x < 0 else text.percent(x)
    if key == "memory":
        return text.memory(x)
    if key == "size":
        return text.file_size(x)
    if key == "energy":
        return joules(x)
    return text.significant(x)


def joules(x: float) -> str:
    factor, unit = _joule_unit(x)
    return f"{text.significant(x * factor)} {unit}"


def _joule_unit(x: float) -> tuple[float, str]:
    units = ((1.0, "J"), (1e3, "mJ"), (1e6, "µJ"))
    return next((u for u in units if float(f"{x * u[0]:.3g}") >= 1), units[-1])


def beside(key: str, x: float, bound: float) -> str:
    """A figure with the digits that tell it from a limit: 31.52 µs beside a limit of 31.5 µs."""
    shown = value(key, x)
    for digits in range(4, 18):
        if x == bound or _side(_read(key, shown), bound) == _side(x, bound):
            break
        shown = _digits(key, x, digits)
    return shown


def _side(x: float, bound: float) -> int:
    return (x > bound) - (x < bound)


def _read(key: str, shown: str) -> float:
    """A figure as `value` writes it, read as a limit would be; any share, since a drop may be less than nothing."""
    number, _, unit = shown.partition(" ")
    return float(Decimal(number) * Decimal(units.UNITS[_KINDS[key]][unit]))


def _digits(key: str, x: float, digits: int) -> str:
    unit = value(key, x).partition(" ")[2]
    scaled = Decimal(repr(x)) / Decimal(units.UNITS[_KINDS[key]][unit])
    return f"{scaled:.{text.decimals(float(scaled), digits)}f} {unit}".rstrip()


def edge(key: str, x: float, up: bool) -> str | None:
    """A limit to write that is not below (`up`) or not above `x`: rounded outwards, so that following it works.

    None where no limit can be written, as for a share above 1 or below 0.
    """
    unit = value(key, x).partition(" ")[2]
    factor = Decimal(units.UNITS[_KINDS[key]][unit])
    scaled = Decimal(repr(x)) / factor
    step = Decimal(1).scaleb(-text.decimals(float(scaled)))
    for _ in range(2):
        rounded = scaled.quantize(step, rounding=ROUND_CEILING if up else ROUND_FLOOR)
        found = float(rounded * factor)
        if found < 0 or (_KINDS[key] == "share" and found > 1):
            return None
        if found >= x if up else found <= x:
            return f"{rounded:f} {unit}".rstrip()
        scaled += step if up else -step  # what was lost in the division
    return None


_KINDS: Mapping[str, units.Kind] = {
    "latency": "time", "latency_p90": "time", "latency_p99": "time", "accuracy": "share", "accuracy_drop": "share",
    "memory": "bytes", "energy": "energy", "size": "bytes", "throughput": "rate", "price": "price",
}  # fmt: skip


def span(key: str, x: float, low: float, high: float) -> str:
    """`0.990 to 1.01`: both ends in the unit and the places of `value(key, x)`, so that it can stand in brackets behind it."""
    number = value(key, x).partition(" ")[0]
    factor = _factor(key, x)
    places = len(number.partition(".")[2])
    return " to ".join(f"{end * factor:.{places}f}" for end in (low, high))


def _factor(key: str, x: float) -> float:
    if key.startswith("latency"):
        return text.time_unit(x)[0]
    if key == "energy":
        return _joule_unit(x)[0]
    if key == "size":
        return next((1 / size for size in (1e9, 1e6, 1e3) if float(f"{x / size:.3g}") >= 1), 1.0)
    return {"accuracy": 100.0, "accuracy_drop": 100.0, "memory": 2.0**-20}.get(key, 1.0)


def differing(axes: Iterable[Mapping[str, str]]) -> list[str]:
    """The names by which a reader tells the rows apart: variant and runtime always, others where they differ."""
    seen: dict[str, set[str]] = {}
    for one in axes:
        for key, name in one.items():
            seen.setdefault(key, set()).add(name)
    return [key for key, names in seen.items() if key in ("variant", "runtime", "precision") or len(names) > 1]


def named(axes: Mapping[str, str], keys: Sequence[str]) -> str:
    """`teacher-int8 on openvino, int8, batch 8`."""
    rest = [axes[k] if k in ("precision", "device", "model", "run") else f"{k} {axes[k]}" for k in keys
            if k not in ("variant", "runtime") and axes.get(k)]  # fmt: skip
    return ", ".join([f"{axes.get('variant', MISSING)} on {axes.get('runtime', MISSING)}", *rest])


def columns(lines: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Texts as aligned columns, two spaces apart; `right` says which are aligned to the right, as numbers are."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(right))]
    return [
        "  ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in lines
    ]


def wrap(words: str, width: int, indent: str = "", first: str | None = None) -> list[str]:
    """Lines of at most `width`; nothing is cut: a longer word is broken. A figure stays on one line."""
    lines = textwrap.wrap(
        text.together(words), width, initial_indent=indent if first is None else first,
        subsequent_indent=indent, break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace("\u00a0", " ") for line in lines] or [(first or indent).rstrip()]
