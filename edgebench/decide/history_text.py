"""A history in words, rendered from its JSON: what changed first, then a line for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgebench.decide import show
from edgebench.report import text
from edgebench.report.text import MISSING, count, plain

Object = Mapping[str, Any]
NAMES = {"version": "another runtime version", "artifact": "another model file", "edgebench": "another edgebench"}


def sentence(answer: Object) -> str:
    """The answer in one sentence."""
    figures = [p for p in answer["points"] if p["value"] is not None]
    changes, series, least = answer["changes"], answer["series"], answer["least"]
    over = f"over {count(len(answer['points']), 'run')}"
    if not figures:
        return f"The latency was never measured {over}."
    if changes:
        last = changes[-1]
        times = "once" if len(changes) == 1 else f"{len(changes)} times"
        return f"The latency changed {times} {over}, last at {plain(last['run'])}: {_step(last)}."
    if max(series) < least:
        there = (
            f"there {'is' if max(series) == 1 else 'are'}"
            if len(series) == 1
            else f"the longest of {len(series)} series has"
        )
        return f"Whether the latency changed cannot be told: it takes {least} runs on one machine, and {there} {max(series)}."
    short = sum(n < least for n in series)
    said = f"No change of the latency was found {over}"
    said += f", in {len(series)} series of different machines or set-ups" if len(series) > 1 else ""
    return f"{said}; {short} of them {'is' if short == 1 else 'are'} too short to tell." if short else f"{said}."


def _step(change: Object) -> str:
    way = "slower" if change["ratio"] > 1 else "faster"
    by = text.percent(abs(change["ratio"] - 1))
    return f"{by} {way} ({text.time(change['before'])} → {text.time(change['after'])})"


MOST_FACTS = 3


def _broken(differs: Sequence[Object]) -> str:
    """`another machine or set-up (kernel 6.1 → 6.6, governor – → performance)`."""
    told = [f"{plain(d['what'])} {d['before']} → {d['after']}" for d in differs[:MOST_FACTS]]
    told += [f"{len(differs) - MOST_FACTS} more facts"] if len(differs) > MOST_FACTS else []
    return f"another machine or set-up{' (' + ', '.join(told) + ')' if told else ''}"


def render(answer: Object, width: int = 100) -> str:
    """The text of one cell for a terminal of `width` columns."""
    lines = [*show.wrap(sentence(answer), width), "", *show.wrap(answer["cell"], width), ""]
    changes = {c["run"]: c for c in answer["changes"]}
    breaks = {b["run"]: b["differs"] for b in answer["breaks"]}
    for p in answer["points"]:
        if p["run"] in breaks:
            lines += show.wrap(f"── {_broken(breaks[p['run']])}: a new series ──", width, "     ", "  ")
        if change := changes.get(p["run"]):
            causes = [NAMES[name] for name in change["with"]]
            came = f"; at the same time: {', '.join(causes)}" if causes else ""
            lines += show.wrap(f"changed: {_step(change)}{came}", width, "    ", "  > ")
        shown = show.span("latency", p["value"], p["low"], p["high"]) if p["low"] is not None else ""
        figure = text.time(p["value"]) if p["value"] is not None else f"{MISSING}  {plain(p['why'])}"
        lines += show.wrap(f"{plain(p['run'])}  {figure}{f' ({shown})' if shown else ''}", width, "        ", "    ")
    return "\n".join(lines + _unread(answer, width))


def overview(answer: Object, width: int = 100) -> str:
    """The text of all cells with a history."""
    cells = answer["cells"]
    if not cells:
        first = "No cell has a history yet: it takes two runs of the same cell."
        return "\n".join(show.wrap(first, width) + _unread(answer, width))
    changed = [c for c in cells if c["changes"]]
    said = (
        f"{count(len(changed), 'cell')} of {len(cells)} changed"
        if changed
        else f"None of {count(len(cells), 'cell')} changed"
    )
    short = sum(not c["judged"] for c in cells)
    untold = (
        f"; of {short} of them it cannot be told, which takes {answer['least']} runs on one machine" if short else ""
    )
    lines = [*show.wrap(f"{said} over the runs{untold}.", width), ""]
    head = ["cell", "runs", "first", "last", "breaks", "changes"]
    body = [
        [
            plain(c["cell"]), str(c["runs"]), *(text.time(c[k]) if c[k] is not None else MISSING for k in ("first", "last")),
            str(c["breaks"]), _changes(c),
        ]
        for c in cells
    ]  # fmt: skip
    table = show.columns([head, *body], [False, True, True, True, True, False])
    if max(map(len, table)) > width:
        table = [
            line
            for name, runs, first, last, breaks, changes in body
            for line in (
                *show.wrap(name, width, "  ", ""),
                *show.wrap(f"{runs} runs, {first} → {last}, breaks: {breaks}, changes: {changes}", width, "    ", "  "),
            )
        ]
    return "\n".join(lines + table + _unread(answer, width))


def _changes(cell: Object) -> str:
    if cell["changes"]:
        return _step(cell["changes"][-1])
    return "none" if cell["judged"] else "too few runs to tell"


def _unread(answer: Object, width: int) -> list[str]:
    return [line for words in answer["unread"] for line in show.wrap(f"Not read: {plain(words)}", width, "  ")]
