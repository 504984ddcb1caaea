"""The compression ladder: what each step brought on each runtime, and whether it paid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgebench.report.columns import FLOOR
from edgebench.report.sections.base import Line, Point, Section, baselines, cut, names, places, point, shown
from edgebench.report.sections.drop import ALLOWED, drops, signed
from edgebench.report.table import Row, Table
from edgebench.report.text import MISSING, significant


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A compressed row against its baseline on the same runtime. `paid`: yes, no, at a price, or not known; and why."""

    row: Row
    paid: str
    why: str
    drop: Point | None
    size: float | None
    """How many times smaller the file is than the baseline's."""


def section(table: Table) -> Section:
    """One line for each row that has a baseline beside it."""
    found = rungs(table)
    if not found:
        words = ("No row has a baseline beside it: there is one variant, or none could be measured.",)
        return Section(key="ladder", title="Did compression pay?", words=words, data=[])
    name, place = names(table), places(table)

    def line(rung: Rung) -> Line:
        return (
            name(rung.row),
            f"{SIGNS[rung.paid]} {rung.paid}",
            rung.why,
            shown(table, rung.row, "speedup"),
            signed(rung.drop) if rung.drop else MISSING,
            f"{significant(rung.size)}x smaller" if rung.size else MISSING,
        )

    rows, more = cut(found, line)
    return Section(
        key="ladder",
        title="Did compression pay?",
        words=(
            "Each row against the uncompressed network on the same runtime. It paid when it is faster beyond the "
            "interval and lost at most one point of accuracy.",
            *more,
        ),
        head=("step", "paid?", "because", "speed", "accuracy, points", "file"),
        rows=rows,
        data=[
            {"row": place[id(r.row)], "paid": r.paid, "accuracy_drop": r.drop, "times_smaller": r.size} for r in found
        ],
    )


SIGNS = {"yes": "✓", "no": "✗", "at a price": "±", "not known": "?"}


def rungs(table: Table) -> list[Rung]:
    """In the table's order. A row that is a baseline, failed or is our floor has no rung."""
    parent, drop = baselines(table), drops(table)
    return [
        _rung(row, parent(row), drop)
        for row in table.rows
        if row.result.status == "ok"
        and row.result.cell.backend != FLOOR
        and row.result.get("speedup")
        and row.result.baseline != row.result.cell.id
    ]


def _rung(row: Row, parent: Row | None, drop: Callable[[Row], Point | None]) -> Rung:
    lost = drop(row)
    own, base = (point(r.result.get("size")) if r else None for r in (row, parent))
    paid, why = verdict(row, lost)
    return Rung(
        row=row, paid=paid, why=why, drop=lost, size=base.value / own.value if own and base and own.value else None
    )


def verdict(row: Row, lost: Point | None) -> tuple[str, str]:
    """Whether the step paid in speed without costing more than a point, and why not if it did not."""
    speed = row.result.get("speedup")
    said = speed.note if speed is not None and speed.value is not None else "withheld"
    if said not in ("faster", "slower", "same"):
        state = str(row.result.noise.get("why") or "")
        return "not known", state or (
            "the interval allows either" if said == "unresolved" else "no ratio was published"
        )
    if said == "slower":
        return "no", "slower than uncompressed"
    if said == "same":
        return "no", "no faster than uncompressed"
    if lost is None:
        return "not known", "faster, but accuracy was not measured"
    if lost.value > ALLOWED:
        return "at a price", "faster, for more than a point"
    return "yes", "faster" if lost.high <= ALLOWED else "faster; accuracy kept, as far as can be told"
