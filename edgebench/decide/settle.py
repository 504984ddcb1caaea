"""Which measurement to make next: the one that would decide the most rows that could still change the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgebench.decide.judge import Check, Judged
from edgebench.decide.need import Need

METRIC = {"energy": "energy"}
"""Figures that are only measured when they are asked for."""


def suggestions(judged: Sequence[Judged], best: Judged | None, need: Need) -> list[dict[str, Any]]:
    """One for each figure and kind of doubt, the one that settles most rows first.

    `settles` are rows of which it is the only open question, `concerns` all that have it. A row that surely costs more than the
    choice cannot become the choice, and is left out.
    """
    groups: dict[tuple[str, str, str], dict[str, Any]] = {}
    for j in judged:
        if j.verdict != "undecided" or not could_win(j, best):
            continue
        questions = _questions(j, need)
        for figure, missing in questions:
            group = groups.setdefault((figure, missing, j.row.again), {"settles": [], "concerns": [], "first": j})
            group["concerns"].append(j.row.id)
            if len(questions) == 1:
                group["settles"].append(j.row.id)
    found = [
        {
            "figure": figure, "missing": missing, "settles": g["settles"], "concerns": g["concerns"],
            **_how(figure, missing, again, g["first"], len(g["concerns"])),
        }
        for (figure, missing, again), g in groups.items()
    ]  # fmt: skip
    return sorted(found, key=lambda g: (-len(g["settles"]), -len(g["concerns"]), g["figure"], g["missing"], g["do"]))


def could_win(judged: Judged, best: Judged | None) -> bool:
    """False only where its cost surely lies above that of the choice."""
    if best is None or judged.cost is None or best.cost is None:
        return True
    return judged.cost.low is None or best.cost.high is None or judged.cost.low <= best.cost.high


def _questions(j: Judged, need: Need) -> list[tuple[str, str]]:
    open_: list[tuple[str, str]] = [(c.limit.figure, c.missing) for c in j.checks if c.verdict == "undecided"]
    if j.cost is None and all(figure != need.minimize for figure, _ in open_):
        open_.append((need.minimize, "absent"))
    return list(dict.fromkeys(open_))


def _how(figure: str, missing: str, again: str, judged: Judged, rows: int) -> dict[str, str]:
    """What to do, and the command where there is one."""
    only = (
        f" --recipe {judged.row.axes['variant']}"
        if rows == 1 and " run " in again and "variant" in judged.row.axes
        else ""
    )
    only += f" --backend {judged.row.runtime}" if rows == 1 and judged.row.runtime else ""
    if figure == "price":
        return {"do": "write the price of the device into its profile", "command": ""}
    if figure in ("accuracy", "accuracy_drop"):
        if missing == "straddles":
            check = next(c for c in judged.checks if c.limit.figure == figure)
            return {"do": f"measure accuracy on more held-out samples{_more_samples(check, judged)}", "command": ""}
        data = " --data SAMPLES.npz" if " bench " in again else ""
        return {"do": "measure accuracy on labelled data", "command": f"{again}{only}{data}" if again else ""}
    if not again:
        return {"do": f"measure {figure.partition('_')[0]} here: figures that others published cannot be made surer",
                "command": ""}  # fmt: skip
    if figure == "energy" and missing in ("absent", "withheld", "grade"):
        return {"do": "measure energy with a meter", "command": f"{again}{only} --metric energy"}
    if missing == "grade":
        return {"do": "measure it on the device instead of estimating it", "command": f"{again}{only}"}
    if figure.startswith("latency") or figure == "throughput":
        return {"do": "measure more generations, until ratios are known to 1 %", "command": f"{again}{only} --precise"}
    return {"do": f"measure {figure} again", "command": f"{again}{only}"}


def _more_samples(check: Check, judged: Judged) -> str:
    """How many would do if the figure stayed as it is: an interval narrows with the square root of its samples."""
    figure = judged.row.figures[check.limit.figure]
    if figure.value is None or figure.low is None or figure.high is None:
        return ""
    worst = figure.high if check.limit.sense == "max" else figure.low
    inside = check.limit.bound - figure.value if check.limit.sense == "max" else figure.value - check.limit.bound
    if inside <= 0:
        return ", or loosen the limit: the figure itself does not keep to it"
    times = (abs(worst - figure.value) / inside) ** 2
    return f", about {times:.0f} times as many" if times >= 2 else ", up to twice as many"
