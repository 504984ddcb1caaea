"""What stands behind the figures: the spread of calls, memory, where and in what it ran, and the noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgebench.report.sections.base import Line, Section, cut, names, places, shown
from edgebench.report.spread import LEVELS
from edgebench.report.table import Row, Table
from edgebench.report.text import MISSING, ended, percent, plain, significant, time, told


def spread(table: Table) -> Section:
    """Latency of single calls: from the raw samples, else from one median a process."""
    kept = [row for row in table.rows if row.spread]
    medians = [row for row in table.rows if not row.spread and _medians(row)]
    words = [
        "Each curve says which share of calls took at most so long, waits included; the scale gives room to the slowest."
    ]
    if not kept:
        words = ["Each step is the median of one process: the times of single calls were not kept."]
    if not kept and not medians:
        words = ["No times were kept."]
    name, place = names(table), places(table)
    levels = {level: LEVELS.index(level) for level in (0.01, 0.5, 0.9, 0.99, 0.999)}

    def line(row: Row) -> Line:
        times = row.spread.times if row.spread else ()
        return name(row), f"{row.spread.calls if row.spread else 0}", *(time(times[at]) for at in levels.values())

    rows, more = cut(kept, line)
    head = ("row", "calls", *(f"{percent(level, 1).replace('.0 ', ' ')} of calls under" for level in levels))
    data = [{"row": place[id(r)], "calls": r.spread.calls, "times_s": r.spread.times} for r in kept if r.spread]
    return Section(
        key="spread",
        title="Latency of single calls",
        words=(*words, *more),
        head=head if rows else (),
        rows=rows,
        data={"levels": LEVELS, "rows": data},
    )


def _medians(row: Row) -> tuple[float, ...]:
    found = row.result.get("latency")
    return found.samples if found and found.value is not None else ()


def memory(table: Table) -> Section:
    """Memory and file size, row by row."""
    name = names(table)
    wanted = ("memory_peak", "size", "load", "first_inference")
    kept = [row for row in table.rows if row.result.get("memory_peak") or row.result.get("size")]
    rows, more = cut(kept, lambda row: (name(row), *(shown(table, row, key) for key in wanted)))
    words = ("Peak resident memory while loading and running, above what importing the runtime takes.", *more)
    if not rows:
        words = ("Memory was not measured.",)
    return Section(
        key="memory",
        title="Memory, size and start",
        words=words,
        head=("row", "peak memory", "file", "load", "first call") if rows else (),
        rows=rows,
    )


PLACES = ("providers", "devices", "execution_providers", "delegate", "accelerator", "device")
SHOWN = {"precision", "threads", "int8_ops", "float_ops", "version", "gate", "layers", "repeating", *PLACES}
"""What stands in another column, or in a note of its figure."""


def placement(table: Table) -> Section:
    """What was asked and what was found in force: precision, threads, provider, and how many operators ran in int8."""
    name = names(table)
    kept = [row for row in table.rows if row.result.status == "ok" and row.result.effective]
    rows, more = cut(kept, lambda row: (name(row), *_placed(row)))
    words = ("Asked is what the plan wanted; found is what the runtime says was in force. ≠ marks a difference.", *more)
    if not rows:
        words = ("No runtime said what was in force.",)
    return Section(
        key="placement",
        title="Placement and precision in force",
        words=words,
        head=("row", "asked: precision, threads", "found", "ran on", "operators in int8", "outputs", "also in force")
        if rows
        else (),
        rows=rows,
    )


def _placed(row: Row) -> Line:
    found = row.result.effective
    where = next((told(found[key]) for key in PLACES if found.get(key)), MISSING)
    whole, floats = found.get("int8_ops"), found.get("float_ops")
    counted = f"{whole} of {whole + floats}" if isinstance(whole, int) and isinstance(floats, int) else MISSING
    asked = f"{row.result.cell.precision}, {row.result.cell.threads}"
    force = f"{found.get('precision') or MISSING}, {found.get('threads') or MISSING}"
    changed = "" if asked == force or MISSING in force else " ≠"
    others = told({k: v for k, v in found.items() if k not in SHOWN and v is not False})
    return asked, force + changed, where, counted, _gate(found), ended(others, 300)


def _gate(found: Mapping[str, Any]) -> str:
    gate = found.get("gate")
    if not isinstance(gate, Mapping) or "ok" not in gate:
        return MISSING
    if not gate["ok"]:
        return f"wrong: {plain(str(gate.get('why') or 'no reason given'))}"
    error, most = gate.get("error"), gate.get("tolerance")
    if not isinstance(error, (int, float)) or not isinstance(most, (int, float)):
        return "as the reference"
    return f"as the reference (error {error:.1e} of {most:g})"


def noise(table: Table) -> Section:
    """How disturbed the measuring was, row by row, and what our own floor is."""
    name = names(table)
    kept = [row for row in table.rows if row.result.status == "ok" and row.result.noise]
    rows, more = cut(kept, lambda row: (name(row), *_noisy(row.result.noise)))
    words = (
        "A call is undisturbed when neither it nor the one before was made to wait for a processor, a switch or a page.",
        *more,
    )
    if not rows:
        words = ("There is no noise evidence: nothing was measured here.",)
    head = ("row", "state", "undisturbed calls", "share", "processes, attempts", "stolen share", "warm-up drift", "why")
    return Section(key="noise", title="Noise evidence", words=words, head=head if rows else (), rows=rows)


def _noisy(found: Mapping[str, Any]) -> Line:
    share, stolen, drift = found.get("clean_share"), found.get("steal"), found.get("drift")
    return (
        plain(str(found.get("state") or MISSING)),
        f"{_integer(found.get('clean_calls'))} of {_integer(found.get('calls'))}",
        percent(share, 1) if isinstance(share, (int, float)) else MISSING,
        f"{_integer(found.get('generations'))}, {_integer(found.get('attempts'))}",
        significant(stolen) if isinstance(stolen, (int, float)) else MISSING,
        percent(abs(drift), 1) if isinstance(drift, (int, float)) else MISSING,
        plain(str(found.get("why") or "")) or MISSING,
    )


def _integer(value: object) -> str:
    return str(value) if isinstance(value, int) else MISSING
