"""What stands against the figures of the runs that a choice is made from: their warnings, and what does not fit together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from edgebench.report.facts import facts, trust
from edgebench.report.text import plain
from edgebench.schema import Result, Run


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A sentence, and the runs it is about."""

    text: str
    runs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Doubts:
    """All doubts, and which of the runs were measured quickly, for a first look."""

    told: tuple[Doubt, ...] = ()
    quick: frozenset[str] = frozenset()


NONE = Doubts()


def doubts(found: Iterable[tuple[Run, Sequence[Result]]], called: Mapping[str, str] = MappingProxyType({})) -> Doubts:
    """The warnings of the runs, each once, and that quick and thorough runs were mixed.

    `called`: by what a command finds a run, by its id, where that is not the id.
    """
    told: dict[str, list[str]] = {}
    trusts: dict[str, list[str]] = {}
    for run, results in found:
        trusts.setdefault(trust(run), []).append(run.id)
        for fact in facts(run, results, called.get(run.id, "")):
            if fact.warning:
                told.setdefault(fact.text, []).append(run.id)
    out = [Doubt(text=text, runs=tuple(runs)) for text, runs in told.items()]
    measured = {k: v for k, v in trusts.items() if k}
    if len(measured) > 1:
        said = ", ".join(
            f"{'as usual' if k == 'default' else k}: {', '.join(map(plain, v))}" for k, v in measured.items()
        )
        text = f"The runs were not measured with the same care ({said}): their figures are not equally sure."
        out.insert(0, Doubt(text=text, runs=tuple(r for v in measured.values() for r in v)))
    return Doubts(told=tuple(out), quick=frozenset(trusts.get("quick", ())))
