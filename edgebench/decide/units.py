"""Quantities as a person writes them ("5ms", "64MiB", "1 %") to SI floats, strictly: what is not understood is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

from edgebench.errors import EdgebenchError, did_you_mean

Kind = Literal["time", "bytes", "energy", "share", "rate", "price"]

UNITS: Mapping[Kind, Mapping[str, str]] = {
    "time": {"ns": "1e-9", "us": "1e-6", "µs": "1e-6", "μs": "1e-6", "ms": "1e-3", "s": "1"},
    "bytes": {
        "B": "1", "kB": "1e3", "MB": "1e6", "GB": "1e9", "KiB": "1024", "MiB": "1048576", "GiB": "1073741824",
    },
    "energy": {"uJ": "1e-6", "µJ": "1e-6", "μJ": "1e-6", "mJ": "1e-3", "J": "1"},
    "share": {"": "1", "%": "0.01"},
    "rate": {"": "1", "fps": "1"},
    "price": {"": "1"},
}  # fmt: skip
"""Factors to SI as decimal texts: 5ms, 5000us and 0.005s must be the same float. Both mu of Unicode count."""
NAMES: Mapping[Kind, tuple[str, str]] = {
    "time": ("a time", "5ms"),
    "bytes": ("an amount of bytes", "64MiB"),
    "energy": ("an energy", "50mJ"),
    "share": ("a share", "0.85 or 85%"),
    "rate": ("a rate", "30"),
    "price": ("a price", "100"),
}
_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*(.*)", re.DOTALL)


def parse(text: str, kind: Kind, option: str = "") -> float:
    """The quantity in seconds, bytes, joules, 1/s or a share of 1.

    Raises EdgebenchError for anything else: no number, no unit or an unknown one ("5mb"), a negative or infinite number, or a
    share above 1. `option` names in messages where it was written.
    """
    where = f"{option}: " if option else ""
    name, example = NAMES[kind]
    found = _QUANTITY.fullmatch(text.strip())
    if found is None:
        raise EdgebenchError(f'{where}"{text}" is not {name}.', f"Write a number and its unit, like {example}.")
    number, unit = found[1], found[2]
    if re.match(r",\d", unit):
        point = text.strip().replace(",", ".", 1)
        raise EdgebenchError(f'{where}"{text}" has a comma.', f"The decimal sign is a point: {point}.")
    if unit not in UNITS[kind]:
        raise _unknown_unit(where, text, unit, kind)
    value = float(Decimal(number) * Decimal(UNITS[kind][unit]))
    if value < 0 or not math.isfinite(value):
        raise EdgebenchError(f"{where}{text} is out of range.", f"Give {name} from zero up, like {example}.")
    if kind == "share" and value > 1:
        hint = f"{number}%" if not unit and value <= 100 else example
        raise EdgebenchError(f"{where}{text} is more than all.", f"Give a share of at most 1, or percent: {hint}.")
    return value


def _unknown_unit(where: str, text: str, unit: str, kind: Kind) -> EdgebenchError:
    name, example = NAMES[kind]
    known = [u for u in UNITS[kind] if u.isascii() and u]
    if not unit:
        return EdgebenchError(f"{where}{text} has no unit.", f"Write {name} with its unit, like {example}.")
    if not known:
        return EdgebenchError(f'{where}"{text}" has a unit.', f"Write {name} as a plain number, like {example}.")
    same = [u for u in known if u.lower() == unit.lower()]
    hint = f'Did you mean "{same[0]}"?' if same else did_you_mean(unit, known)
    return EdgebenchError(f'{where}"{unit}" in "{text}" is no unit of {kind}.', hint)
