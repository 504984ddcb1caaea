"""How wide words are in a chart, before any font is at hand: what would leave the picture or overlap is cut by it.

Widths are in the units of an SVG whose text is of 12 units. They are those of DejaVu Sans, the widest of the fonts that a
browser takes as its own; of letters that are not in the table those that a wide font may have.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

SIZE = 12.0
_EMS = {
    0.32: "',.IJijl ", 0.4: "-/:;\\f|!()[]rt", 0.5: '"*_`sz–†', 0.57: "?Lc", 0.61: "FPTYaekovxy",
    0.65: "$0123456789EKSbdghnpqu{}µ", 0.7: "ABCRVXZ", 0.78: "DGHNUOQ&w", 0.86: "#+<=>M^~±≤≥→", 1.0: "%m@W…",
}  # fmt: skip
_WIDTHS = {letter: SIZE * ems for ems, letters in _EMS.items() for letter in letters}
UNKNOWN, SQUARE = 0.8 * SIZE, 1.05 * SIZE


@lru_cache(maxsize=4096)
def _letter(letter: str) -> float:
    if letter in _WIDTHS:
        return _WIDTHS[letter]
    if unicodedata.combining(letter):
        return 0.0
    return SQUARE if unicodedata.east_asian_width(letter) in "WF" else UNKNOWN


def width(words: str) -> float:
    """Of one line."""
    return sum(map(_letter, words))


def _fitting(words: Sequence[str], room: float) -> int:
    """How many letters from the first on fit."""
    used = 0.0
    for i, letter in enumerate(words):
        used += _letter(letter)
        if used > room:
            return i
    return len(words)


def short(words: str, room: float) -> str:
    """Cut at its end, where it is wider than `room`."""
    return words if width(words) <= room else words[: _fitting(words, room - _letter("…"))].rstrip() + "…"


def middle(words: str, room: float) -> str:
    """A name cut in its middle: the variant stands at its beginning, the runtime at its end."""
    if width(words) <= room:
        return words
    room -= _letter("…")
    end = _fitting(words[::-1], room / 2)
    tail = words[len(words) - end :]
    return f"{words[: _fitting(words, room - width(tail))].rstrip()}…{tail.lstrip()}"


def folded(words: str, room: float) -> list[str]:
    """One line, or two as wide as `room`, broken behind a comma or a word; only what two do not hold is cut."""
    if width(words) <= room:
        return [words]
    whole = _fitting(words, room)
    at = max(words.rfind(", ", 0, whole) + 1, 0) or words.rfind(" ", 0, whole + 1)
    at = at if at > 0 and width(words[at:].lstrip()) <= room else whole
    return [words[:at], middle(words[at:].lstrip(), room)]
