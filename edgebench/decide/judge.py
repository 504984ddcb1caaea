"""One row against the limits: pass, fail or undecided, each with its reason. Missing is never a pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgebench.decide.need import Limit, Need
from edgebench.decide.rows import Figure, Row
from edgebench.decide.show import LABELS, beside, value
from edgebench.report.text import plain

Verdict = Literal["pass", "fail", "undecided"]
Missing = Literal["", "absent", "withheld", "grade", "interval", "straddles"]
"""Why a check is undecided: what would settle it depends on that."""


@dataclass(frozen=True, slots=True)
class Check:
    """One limit on one row. `slack` is how far the bound that binds lies inside the limit, as a share of it; < 0 is outside."""

    limit: Limit
    verdict: Verdict
    slack: float | None = None
    missing: Missing = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A row with its checks in the order of the limits. `cost` is the minimized figure if it counts."""

    row: Row
    verdict: Verdict
    checks: tuple[Check, ...]
    cost: Figure | None
    binding: Check | None
    """The check that decides: the worst failure, else the first that is undecided, else the tightest pass."""


def judge(row: Row, need: Need) -> Judged:
    """Every limit against the pessimistic end of its figure, and the minimized figure must be there."""
    checks = tuple(check(limit, row.figures.get(limit.figure), need) for limit in need.limits)
    cost = row.figures.get(need.minimize)
    if cost is not None and (cost.value is None or not need.counts(cost.grade)):
        cost = None
    failed = [c for c in checks if c.verdict == "fail"]
    open_ = [c for c in checks if c.verdict == "undecided"]
    if row.status != "ok":
        return Judged(row, "fail", checks, None, None)
    if failed:
        return Judged(row, "fail", checks, cost, min(failed, key=_slack))
    if open_ or cost is None:
        return Judged(row, "undecided", checks, cost, open_[0] if open_ else None)
    return Judged(row, "pass", checks, cost, min(checks, key=_slack, default=None))


def _slack(check: Check) -> float:
    return 0.0 if check.slack is None else check.slack


def check(limit: Limit, figure: Figure | None, need: Need) -> Check:
    """Pass when the pessimistic end keeps to the limit, fail when the optimistic one does not, else undecided."""
    if figure is None or (figure.value is None and not figure.why):
        return Check(limit, "undecided", missing="absent")
    if figure.value is None:
        return Check(limit, "undecided", missing="withheld")
    if not need.counts(figure.grade):
        return Check(limit, "undecided", missing="grade")
    worst, best = (figure.high, figure.low) if limit.sense == "max" else (figure.low, figure.high)
    if worst is not None and slack(limit, worst) >= 0:
        return Check(limit, "pass", slack(limit, worst))
    if best is not None and slack(limit, best) < 0:
        return Check(limit, "fail", slack(limit, best))
    if worst is None:
        return Check(limit, "undecided", missing="interval")
    return Check(limit, "undecided", slack(limit, worst), "straddles")


def slack(limit: Limit, bound: float) -> float:
    """How far a bound lies within the limit, as a share of the limit; of nothing where the limit is 0."""
    inside = limit.bound - bound if limit.sense == "max" else bound - limit.bound
    return inside / limit.bound if limit.bound else inside


# the same in words


def why(judged: Judged, need: Need) -> str:
    """The reason of a verdict in one sentence."""
    if judged.row.status != "ok":
        return f"It {'was ' if judged.row.status == 'skipped' else ''}{judged.row.status}: {_reason(judged.row.reason)}"
    if judged.binding is None:
        if judged.verdict == "pass":
            return "There is no limit to keep to."
        return _missing_cost(judged.row.figures.get(need.minimize), need)
    told = [judged.binding]
    if judged.verdict == "fail":
        told += [c for c in judged.checks if c.verdict == "fail" and c is not judged.binding]
    return " ".join(sentence(c, judged.row.figures.get(c.limit.figure), need) for c in told)


def _reason(reason: str) -> str:
    words = reason or "no reason was given."
    return words if words.endswith((".", "!", "?")) else words + "."


def _missing_cost(figure: Figure | None, need: Need) -> str:
    name = LABELS[need.minimize]
    if figure is None or figure.value is None:
        return f"Its {name}, which is to be least, {_lacks(need.minimize, figure)}."
    return f"Its {name}, which is to be least, is only {figure.grade}."


WITHHELD = ("noisy: ", "swayed: ", "emulated: ")
"""How the note of a figure begins that was measured and is not published."""


def _lacks(key: str, figure: Figure | None) -> str:
    """What is true of a figure without a value: `was withheld: too few pairs`, `is missing: no meter was found`."""
    why = (figure.why if figure else "").rstrip(".")
    if not why:
        return "is not in the device's profile" if key == "price" else "was not measured"
    if key in ("latency", "throughput") or why.startswith(WITHHELD):
        return f"was withheld: {why.removeprefix('noisy: ').removeprefix('swayed: ')}"
    return f"is missing: {why}"


def sentence(check: Check, figure: Figure | None, need: Need) -> str:
    """`Its p99 may be 64.4 µs, over the limit of 60 µs.`"""
    key = check.limit.figure
    name, bound = LABELS[key], plain(check.limit.asked)
    if figure is None or figure.value is None:
        return f"Its {name} {_lacks(key, figure)}."
    if check.missing == "grade":
        return f"Its {name} is only {figure.grade}; at least {need.least} is asked."
    if check.missing == "interval":
        return f"Its {name}, {value(key, figure.value)}, has no interval to hold against the limit {bound}."
    high = check.limit.sense == "max"
    worst, best = (figure.high, figure.low) if high else (figure.low, figure.high)
    beyond = "over" if high else "under"

    def told(x: float | None) -> str:
        return value(key, x) if x is None else beside(key, x, check.limit.bound)

    if check.verdict == "pass":
        return f"Its {name} is {'at most' if high else 'at least'} {told(worst)}; the limit is {bound}."
    if check.verdict == "fail":
        return f"Its {name} is {'at least' if high else 'at most'} {told(best)}, {beyond} the limit of {bound}."
    if figure.value == worst:  # a percentile: its figure is the bound itself
        return f"Its {name} lies between {told(best)} and {told(worst)}, and so does the limit of {bound}."
    return f"Its {name}, {value(key, figure.value)}, may be {told(worst)}, {beyond} the limit of {bound}."
