"""What a choice is asked to keep to: hard limits, the least evidence, the allowed runtimes, and what to make small."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from edgebench.decide import units
from edgebench.decide.units import Kind
from edgebench.errors import EdgebenchError, did_you_mean
from edgebench.schema import Grade

Sense = Literal["max", "min"]
GRADES: tuple[Grade, ...] = typing.get_args(Grade)
"""From the best evidence to the least: what was measured here, what others published, ..., what a data sheet allows."""


class LimitKind(NamedTuple):
    """An option of `choose`: which figure it bounds, from which side, and in which units."""

    figure: str
    sense: Sense
    kind: Kind
    help: str


LIMITS: Mapping[str, LimitKind] = {
    "--max-latency": LimitKind("latency", "max", "time", "Median latency of one inference, like 5ms."),
    "--max-latency-p90": LimitKind("latency_p90", "max", "time", "90 % of all inferences must be done by then."),
    "--max-latency-p99": LimitKind("latency_p99", "max", "time", "99 % of all inferences must be done by then."),
    "--min-accuracy": LimitKind("accuracy", "min", "share", "Share of right answers, like 0.85 or 85%."),
    "--max-accuracy-drop": LimitKind(
        "accuracy_drop", "max", "share", "Accuracy lost against the uncompressed fp32 row, like 0.01 or 1%."
    ),
    "--max-memory": LimitKind(
        "memory", "max", "bytes", "Peak memory above the imports, like 64MiB; taken to repeat within 0.4 %."
    ),
    "--max-energy": LimitKind("energy", "max", "energy", "Energy of one inference, from a meter, like 50mJ."),
    "--max-size": LimitKind("size", "max", "bytes", "Bytes of the model file, like 1MB."),
    "--min-fps": LimitKind("throughput", "min", "rate", "Inferences a second of one stream, like 30."),
    "--max-price": LimitKind("price", "max", "price", "Price in the device profile, like 100."),
}
MINIMIZE = ("latency", "energy", "memory", "size", "price")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """`bound` in SI units; `asked` as it was written."""

    option: str
    figure: str
    sense: Sense
    bound: float
    asked: str


@dataclass(frozen=True, kw_only=True)
class Need:
    """All that a choice keeps to. Of evidence, `least` is the least grade that counts."""

    limits: tuple[Limit, ...] = ()
    minimize: str = "latency"
    least: Grade = "roofline"
    runtimes: tuple[str, ...] = ()

    def counts(self, grade: Grade) -> bool:
        return GRADES.index(grade) <= GRADES.index(self.least)


def limit(option: str, text: str) -> Limit:
    """`--max-latency`, `5ms` -> a Limit. Raises EdgebenchError for an unknown option or quantity."""
    if option not in LIMITS:
        raise EdgebenchError(f"There is no limit {option}.", did_you_mean(option, LIMITS))
    known = LIMITS[option]
    bound = units.parse(text, known.kind, option)
    return Limit(option=option, figure=known.figure, sense=known.sense, bound=bound, asked=text.strip())


def need(
    limits: Mapping[str, str | None], minimize: str = "latency", least: str | None = None, runtimes: Sequence[str] = ()
) -> Need:
    """From what was written on the command line; a limit that is None was not given."""
    if minimize not in MINIMIZE:
        raise EdgebenchError(f'There is no figure "{minimize}" to minimize.', did_you_mean(minimize, MINIMIZE))
    if least is not None and least not in GRADES:
        near = did_you_mean(least, GRADES)
        known = near if near.startswith("Did") else f"From the best to the least: {', '.join(GRADES)}."
        raise EdgebenchError(f'There is no grade of evidence "{least}".', known)
    found: dict[str, Any] = {} if least is None else {"least": least}
    return Need(
        limits=tuple(limit(option, text) for option, text in limits.items() if text is not None),
        minimize=minimize,
        runtimes=tuple(dict.fromkeys(runtimes)),
        **found,
    )
