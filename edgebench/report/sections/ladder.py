"""The compression ladder: what each step brought on each runtime, whether it paid, and why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgebench import stats, stopping
from edgebench.plugins import FLOOR
from edgebench.report.points import Point, point
from edgebench.report.sections.base import Line, Section, baselines, cut, drawable, names, once, places, shown
from edgebench.report.sections.drop import ALLOWED, dropped, paired, signed
from edgebench.report.sections.lineage import origins
from edgebench.report.sections.reasons import coverage, reasons
from edgebench.report.table import Row, Table
from edgebench.report.text import MISSING, percent, significant

SIGNS = {"yes": "✓", "no": "✗", "at a price": "±", "not known": "?"}
HEAD = ("paid?", "because", "speed", "accuracy, points", "agreement", "int8 layers", "file")


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A row against another on the same runtime. `paid`: yes, no, at a price, or not known; and why."""

    row: Row
    base: Row | None
    paid: str
    why: str
    drop: Point | None
    size: float | None
    """How many times smaller the file is."""
    ratio: Point | None = None
    """How many times as fast."""
    reasons: tuple[str, ...] = ()
    """Where it did not pay: what is on record of the cause."""
    steps: tuple[str, ...] = ()
    """The methods that were applied since."""


def section(table: Table) -> Section:
    """One line for each row that has a baseline beside it."""
    found = rungs(table)
    if not found:
        words = ("No row has a baseline beside it: there is one variant, or none could be measured.",)
        return Section(key="ladder", title="Did compression pay?", words=words, data=[])
    name, place = names(table), places(table)

    def line(rung: Rung) -> Line:
        return (name(rung.row), *_told(rung, shown(table, rung.row, "speedup")))

    rows, more = cut(found, line)
    return Section(
        key="ladder",
        title="Did compression pay?",
        words=(
            "Each row against the uncompressed network on the same runtime. It paid when it is faster beyond the "
            "interval and surely lost at most one point of accuracy. The change of accuracy is paired by sample where it is "
            "known which ones were answered rightly.",
            *more,
        ),
        head=("step", *HEAD),
        rows=rows,
        data=[_data(place, rung) for rung in found],
    )


def steps(table: Table) -> Section:
    """One line for each row and the row that its last steps started from, where that is not the baseline."""
    title = "What did each step bring?"
    found = climbed(table)
    if not found:
        said = "Each variant was made from the baseline itself: the section above says what it brought."
        return Section(key="steps", title=title, words=(said,), data=[])
    name, place = names(table), places(table)

    def line(rung: Rung) -> Line:
        assert rung.base is not None
        r = rung.ratio
        ratio = f"{significant(r.value)}x ({significant(r.low)}–{significant(r.high)})" if r else MISSING
        return (name(rung.base), f"+ {', '.join(rung.steps)}", name(rung.row), *_told(rung, ratio))

    rows, more = cut(found, line)
    words = (
        "Each row against the row that its last steps started from, on the same runtime. The interval of the ratio is "
        "not corrected for the number of lines.",
        *more,
    )
    data = [_data(place, rung) for rung in found]
    return Section(key="steps", title=title, words=words, head=("from", "step", "to", *HEAD), rows=rows, data=data)


def _told(rung: Rung, speed: str) -> tuple[str, ...]:
    agreement, covered = point(rung.row.result.get("agreement")), coverage(rung.row.result)
    because = "; ".join((rung.why, *rung.reasons))
    return (
        f"{SIGNS[rung.paid]} {rung.paid}",
        because,
        speed,
        signed(rung.drop) if rung.drop else MISSING,
        percent(agreement.value) if agreement else MISSING,
        f"{covered[0]} of {covered[1]}" if covered else MISSING,
        f"{significant(rung.size)}x smaller" if rung.size else MISSING,
    )


def _data(place: Mapping[int, int], rung: Rung) -> dict[str, Any]:
    both = paired(rung.base, rung.row) if rung.base else None
    return {
        "row": place[id(rung.row)],
        "base": place[id(rung.base)] if rung.base else None,
        "steps": rung.steps,
        "paid": rung.paid,
        "reasons": rung.reasons,
        "speedup": rung.ratio,
        "accuracy_drop": rung.drop,
        "accuracy_paired": both is not None,
        "mcnemar_p": stats.mcnemar(both[1], both[2]) if both else None,
        "agreement": point(rung.row.result.get("agreement")),
        "int8_layers": coverage(rung.row.result),
        "times_smaller": rung.size,
    }


@once
def rungs(table: Table) -> list[Rung]:
    """In the table's order, each against its baseline. A row that is a baseline, failed or is our floor has no rung."""
    parent = baselines(table)
    return [
        _rung(row, parent(row), row.speedup, *_published(row))
        for row in table.rows
        if _climbs(row) and row.result.get("speedup") and row.result.baseline != row.result.cell.id
    ]


def climbed(table: Table) -> list[Rung]:
    """In the table's order, each row against the one before it, unless that is the baseline."""
    origin, out = origins(table), []
    for row in table.rows:
        found = origin(row) if _climbs(row) else None
        if found is None or found.row.result.cell.id == row.result.baseline:
            continue
        ratio = compared(found.row, row)
        word = "withheld"
        if ratio is not None:
            word = stats.verdict(stats.Estimate(ratio.value, ratio.low, ratio.high))
        out.append(_rung(row, found.row, ratio, word, str(row.result.noise.get("why") or ""), found.steps))
    return out


def _climbs(row: Row) -> bool:
    return row.result.status == "ok" and row.result.cell.backend != FLOOR


def _published(row: Row) -> tuple[str, str]:
    """The verdict that was published with a speed-up, and what is said of its noise."""
    speed = row.result.get("speedup")
    said = speed.note if speed is not None and speed.value is not None else "withheld"
    return said, str(row.result.noise.get("why") or "")


def compared(base: Row, row: Row) -> Point | None:
    """How many times as fast as `base`, with a 95 % interval from the medians of the generations.

    Paired where both have one for each generation, since they ran side by side; else Welch's interval of two means of
    logarithms (Welch, 1947).
    """
    a, b = base.result.get("latency"), row.result.get("latency")
    if a is None or b is None or a.value is None or b.value is None:
        return None
    together = a.samples and len(a.samples) == len(b.samples) and base.result.campaign == row.result.campaign
    found = _paired(a.samples, b.samples) if together else _welch(a.samples, b.samples)
    if found is None or found.low is None or found.high is None:
        return None
    made = Point(value=found.value, low=found.low, high=found.high)
    return made if drawable(made) else None


def _paired(a: Sequence[float], b: Sequence[float]) -> stats.Estimate:
    return stopping.interval([x / y for x, y in zip(a, b, strict=True)])


def _welch(a: Sequence[float], b: Sequence[float]) -> stats.Estimate | None:
    return stats.welch(a, b)[0] if min(len(a), len(b)) >= 2 and min(*a, *b) > 0 else None


def _rung(
    row: Row, base: Row | None, ratio: Point | None, said: str, noise: str, methods: tuple[str, ...] = ()
) -> Rung:
    lost = dropped(base, row) if base else None
    own, above = (point(r.result.get("size")) if r else None for r in (row, base))
    paid, why = verdict(said, noise, lost)
    return Rung(
        row=row,
        base=base,
        paid=paid,
        why=why,
        drop=lost,
        size=above.value / own.value if own and above and own.value else None,
        ratio=ratio,
        reasons=reasons(row.result, base.result) if base is not None and paid == "no" else (),
        steps=methods,
    )


def verdict(said: str, noise: str, lost: Point | None) -> tuple[str, str]:
    """Whether it paid in speed without costing more than a point, and what decided that. `said` is the word on the ratio."""
    if said not in ("faster", "slower", "same"):
        return "not known", noise or (
            "the interval allows either" if said == "unresolved" else "no ratio was published"
        )
    if said == "slower":
        return "no", "slower than before"
    if said == "same":
        return "no", "no faster than before"
    if lost is None:
        return "not known", "faster, but accuracy was not measured"
    if lost.value > ALLOWED:
        return "at a price", "faster, for more than a point"
    if lost.high > ALLOWED:
        return "not known", "faster; whether it lost more than a point cannot be told"
    return "yes", "faster"
