"""Lengths of time and sizes as a person writes them -> seconds and bytes."""

from __future__ import annotations

import re

from edgebench.errors import PlanError

_BYTES = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_CASED = {unit.lower(): unit for unit in _BYTES}


_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def duration(text: str) -> float:
    """`90s`, `5m`, `1.5h`, `250ms` -> seconds. A number without a unit is refused."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text)
    if not match or match[2] not in _SECONDS or float(match[1]) <= 0:
        raise PlanError(f'"{text}" is not a length of time.', 'Write a number and its unit, like "90s", "5m" or "1h".')
    return float(match[1]) * _SECONDS[match[2]]


def size(text: str) -> int:
    """`512 MiB`, `2GB`, `64kB` -> bytes. A number without a unit is refused."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]i?B)\s*", text)
    if not match or match[2] not in _BYTES or float(match[1]) <= 0:
        meant = re.sub(r"[a-zA-Z]+$", lambda unit: _CASED.get(unit[0].lower(), ""), text.strip())
        cased = meant.endswith("B") and meant != text.strip()
        fix = f'Did you mean "{meant}"?' if cased else 'Write a number and its unit, like "512 MiB" or "2 GB".'
        raise PlanError(f'"{text}" is not a size.', fix)
    return int(float(match[1]) * _BYTES[match[2]])
