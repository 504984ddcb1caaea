"""Which row to ship: limits first, then the least of one figure; ties stay ties. Pure: rows in, one JSON object out.

The meaning of the verdicts, and why there are no scores: hard limits are held against the pessimistic end of each interval,
so that a row that passes keeps to them even where luck ran against it, and what is not known is said to be so.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Any

from edgebench.codec import SCHEMA
from edgebench.decide import flips, settle
from edgebench.decide.doubts import NONE, Doubts
from edgebench.decide.judge import Judged, judge, why
from edgebench.decide.need import Need
from edgebench.decide.rows import Figure, Row
from edgebench.decide.ties import half_width, settled, tie
from edgebench.errors import EdgebenchError, did_you_mean
from edgebench.report.text import several

EXIT = {"pass": 0, "infeasible": 3, "undecided": 4}


def choose(rows: Sequence[Row], need: Need, doubts: Doubts = NONE) -> dict[str, Any]:
    """The whole decision as plain JSON, the same for any order of the rows. `doubts`: what stands against the runs' figures.

    Raises EdgebenchError when there is no row, none of a runtime that was asked for, or rows of several networks.
    """
    if not rows:
        raise EdgebenchError("There is no row to choose from.", "Name a run with results, like: edgebench choose RUN")
    _one_network(rows)
    allowed = _allowed(rows, need)
    judged = sorted((judge(row, need) for row in allowed), key=rank)
    passes = [j for j in judged if j.verdict == "pass"]
    best = passes[0] if passes else None
    tied = [j for j in passes[1:] if best and tie(best, j, need)]
    below = dominated(judged)
    verdict = "pass" if passes else "undecided" if any(j.verdict == "undecided" for j in judged) else "infeasible"
    return {
        "schema": SCHEMA,
        "verdict": verdict,
        "exit_code": EXIT[verdict],
        "need": _need(need),
        "choice": best.row.id if best else None,
        "provisional": bool(best and best.row.run in doubts.quick),
        "settled": best is None or settled(best.cost),
        "half_width": _half_width(best),
        "again": best.row.again if best else None,
        "doubts": [{"text": d.text, "runs": list(d.runs)} for d in doubts.told],
        "ties": [j.row.id for j in tied],
        "open": [j.row.id for j in judged if best and j.verdict == "undecided" and settle.could_win(j, best)],
        "counts": {v: sum(j.verdict == v for j in judged) for v in ("pass", "fail", "undecided")},
        "excluded": len(rows) - len(allowed),
        "evidence": dict(sorted(Counter(f.grade for j in judged if (f := j.row.figures.get(need.minimize))).items())),
        "flips": flips.flips(judged, best, tied, need),
        "next": settle.suggestions(judged, best, need),
        "rows": [_row(j, below.get(j.row.id), need) for j in judged],
    }


def _allowed(rows: Sequence[Row], need: Need) -> list[Row]:
    known = {row.runtime for row in rows}
    for name in need.runtimes:
        if name not in known:
            raise EdgebenchError(f'No row has the runtime "{name}".', did_you_mean(name, known))
    return [row for row in rows if not need.runtimes or row.runtime in need.runtimes]


def _one_network(rows: Sequence[Row]) -> None:
    """Different networks answer different questions: none of them is a cheaper form of another."""
    models = sorted({row.axes.get("model", "") for row in rows})
    if len(models) > 1:
        named = several([f'"{m}"' for m in models])
        raise EdgebenchError(
            f"The rows are of {len(models)} networks, {named}, of which none can stand for another.",
            "Choose among the rows of one of them: --model NAME",
        )


def _half_width(best: Judged | None) -> float | None:
    """The relative half-width of the choice's cost; None where it has no interval, or one that reaches zero."""
    cost = best.cost if best else None
    found = half_width(cost) if cost is not None else math.inf
    return found if math.isfinite(found) else None


def rank(judged: Judged) -> tuple[int, float, str]:
    """Passes first, then what is undecided, then failures; within them the least cost first, and names last of all."""
    order = ("pass", "undecided", "fail").index(judged.verdict)
    cost = judged.cost.value if judged.cost and judged.cost.value is not None else float("inf")
    return order, cost, judged.row.id


def dominated(judged: Sequence[Judged]) -> dict[str, str]:
    """For each surely dominated row, by id, the row that passes and dominates it.

    The objectives are the minimized figure and the accuracy. Better means that the intervals are apart; a row dominates when it
    is better in one and not worse in the other. Two sweeps over sorted ends instead of all pairs.
    """
    rows = [j for j in judged if j.verdict != "fail" and j.cost is not None and j.cost.low is not None]
    with_accuracy = any("accuracy" in j.row.figures for j in rows)
    points = [(j, j.cost, _accuracy(j.row) if with_accuracy else _EQUAL) for j in rows]
    known = [(j, c, a) for j, c, a in points if c and c.high is not None and a.low is not None and a.high is not None]
    winners = [(j, c, a) for j, c, a in known if j.verdict == "pass"]
    out = _cheaper(winners, known)
    for row, by in _more_accurate(winners, known).items():
        out.setdefault(row, by)
    return out


_EQUAL = Figure(value=1.0, low=1.0, high=1.0)
_Point = tuple[Judged, Figure, Figure]


def _accuracy(row: Row) -> Figure:
    return row.figures.get("accuracy") or Figure()


def _cheaper(winners: Sequence[_Point], rows: Sequence[_Point]) -> dict[str, str]:
    """Rows whose cost lies wholly above that of a winner which is not surely less accurate."""
    ordered = sorted(winners, key=lambda p: (_end(p[1].high), p[0].row.id))
    highs, bests = [_end(p[1].high) for p in ordered], _running_best(ordered, lambda p: _end(p[2].high))
    out = {}
    for j, cost, accuracy in rows:
        place = bisect_left(highs, _end(cost.low))
        if place and _end(bests[place - 1][2].high) >= _end(accuracy.low):
            out[j.row.id] = bests[place - 1][0].row.id
    return out


def _more_accurate(winners: Sequence[_Point], rows: Sequence[_Point]) -> dict[str, str]:
    """Rows whose accuracy lies wholly below that of a winner which does not surely cost more."""
    ordered = sorted(winners, key=lambda p: (_end(p[1].low), p[0].row.id))
    lows, bests = [_end(p[1].low) for p in ordered], _running_best(ordered, lambda p: _end(p[2].low))
    out = {}
    for j, cost, accuracy in rows:
        place = bisect_right(lows, _end(cost.high))
        if place and _end(bests[place - 1][2].low) > _end(accuracy.high):
            out[j.row.id] = bests[place - 1][0].row.id
    return out


def _running_best(points: Sequence[_Point], key: Any) -> list[_Point]:
    best: list[_Point] = []
    for point in points:
        best.append(point if not best or key(point) > key(best[-1]) else best[-1])
    return best


def _end(x: float | None) -> float:
    assert x is not None
    return x


# as JSON


def _need(need: Need) -> dict[str, Any]:
    return {
        "limits": [
            {"option": x.option, "figure": x.figure, "sense": x.sense, "bound": x.bound, "asked": x.asked}
            for x in need.limits
        ],
        "minimize": need.minimize,
        "evidence": need.least,
        "runtimes": list(need.runtimes),
    }


def _row(j: Judged, dominated_by: str | None, need: Need) -> dict[str, Any]:
    return {
        "id": j.row.id,
        "run": j.row.run,
        "cell": j.row.cell,
        "axes": dict(j.row.axes),
        "verdict": j.verdict,
        "why": why(j, need),
        "binding": j.binding.limit.option if j.binding else None,
        "state": j.row.state,
        "dominated_by": dominated_by,
        "accuracy_parent": j.row.parent or None,
        "checks": [{"option": c.limit.option, "verdict": c.verdict, "slack": c.slack} for c in j.checks],
        "figures": {
            key: {"value": f.value, "low": f.low, "high": f.high, "grade": f.grade, "note": f.why}
            for key, f in j.row.figures.items()
        },
    }
