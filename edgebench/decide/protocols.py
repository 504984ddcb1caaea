"""What two runs were asked to measure with, where it is not the same: figures of other care are not equally sure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from edgebench.report.facts import protocol_of, trust
from edgebench.report.text import MISSING, percent, plain
from edgebench.schema import Protocol, Run

GROUPS: tuple[tuple[str, tuple[str, ...], Callable[[Protocol], str]], ...] = (
    (
        "generations",
        ("least_generations", "most_generations"),
        lambda p: _span(p.least_generations, p.most_generations),
    ),
    (
        "slices of a generation",
        ("rounds", "most_rounds", "slice_seconds"),
        lambda p: f"{_span(p.rounds, p.most_rounds)} of {_seconds(p.slice_seconds)}",
    ),
    ("ratios to be known to", ("half_width",), lambda p: percent(p.half_width)),
    (
        "warm-up",
        ("rouse_seconds", "warmup_seconds", "warmup_cap"),
        lambda p: f"{_seconds(p.rouse_seconds + p.warmup_seconds)}, at most {_seconds(p.warmup_cap)}",
    ),
    ("budget", ("budget_seconds",), lambda p: MISSING if p.budget_seconds is None else _seconds(p.budget_seconds)),
)
"""What a reader is told in words: its name, the numbers of the protocol that it holds, and how it is said."""
TOLD = {name for _, names, _ in GROUPS for name in names}
UNTOUCHED = {"trust", "seed", "command_timeout", "memory_limit"}
"""Numbers that change no figure; the trust is told by itself."""


def differing(a: Run, b: Run) -> Iterator[tuple[str, str, str]]:
    """(what, value in A, value in B) of the trust and of each number of the protocol that differs.

    The smaller numbers that come with a trust are not told beside it. Of an import no protocol is known.
    """
    trusts = [trust(run) or MISSING for run in (a, b)]
    if trusts[0] != trusts[1]:
        yield "protocol trust", plain(trusts[0]), plain(trusts[1])
    left, right = (None if run.plan.get("imported") else protocol_of(run) for run in (a, b))
    if left is None or right is None:
        return
    for what, names, said in GROUPS:
        if any(getattr(left, name) != getattr(right, name) for name in names):
            yield what, said(left), said(right)
    rest = [f.name for f in fields(Protocol) if f.name not in TOLD | UNTOUCHED] if trusts[0] == trusts[1] else []
    for name in rest:
        was, now = getattr(left, name), getattr(right, name)
        if was != now:
            yield name.replace("_", " "), _said(was), _said(now)


def _span(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


def _seconds(seconds: float) -> str:
    """As it was asked, and not to three digits as what was measured."""
    return f"{seconds:g} s" if seconds >= 1 else f"{1000 * seconds:g} ms"


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return plain(", ".join(map(str, value))) or "all there are"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
