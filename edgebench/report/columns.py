"""The columns of the comparison: what each shows of a Result, with the notes that its figures need."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from edgebench.figures import caches
from edgebench.metrics.latency import interval_of
from edgebench.plugins import FLOOR
from edgebench.report import made, text
from edgebench.report.text import MISSING, plain
from edgebench.schema import Measurement, Result

Tone = Literal["", "good", "bad", "doubt"]
DAGGER = "†"
"""Marks a figure that was not measured here (DESIGN 8); its footnote says by whom and how it was had."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One square of the table: the raw value in SI units, its text, and the footnotes it needs."""

    value: float | str | None = None
    text: str = MISSING
    notes: tuple[str, ...] = ()
    tone: Tone = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """`make` turns a Result into an Entry; `legend` says in one sentence what the figures are."""

    key: str
    title: str
    make: Callable[[Result], Entry]
    numeric: bool = True
    legend: str = ""


# the names of a row


def _variant(result: Result) -> Entry:
    notes = made.pruned(_facts(result))
    return Entry(value=result.cell.recipe, text=plain(result.cell.recipe) or MISSING, notes=notes)


def _facts(result: Result) -> Mapping[str, Any]:
    return result.artifact.facts if result.artifact else {}


def _runtime(result: Result) -> Entry:
    name = plain(result.cell.backend)
    if result.cell.backend == FLOOR:
        note = f'Our floor: the runtime "{name}" hardly computes, so that its times are what this harness itself costs.'
        return Entry(value=name, text="our floor", notes=(note,))
    return Entry(value=name, text=name)


def _precision(result: Result) -> Entry:
    asked, found = result.cell.precision, result.effective.get("precision")
    if result.status != "ok":
        return Entry(value=asked, text=plain(asked))
    if not found and asked == "not named":
        return Entry(value=asked, text=asked)
    if not found:
        return Entry(value=asked, text=plain(asked), notes=("As asked: this runtime does not say in what it ran.",))
    if asked == "fp32" and (found == "int8" or found == result.effective.get("file_precision")):
        # a ready file of another precision, measured as what it is
        return Entry(value=found, text=plain(found), notes=_overflowing(result))
    if found != asked:
        note = f"{plain(asked)} was asked for; what ran is in the table."
        return Entry(value=str(found), text=plain(str(found)), notes=(note,), tone="doubt")
    return Entry(value=found, text=plain(found), notes=(*made.narrowed(_facts(result)), *_overflowing(result)))


def _overflowing(result: Result) -> tuple[str, ...]:
    return made.overflowing(_facts(result), result.cell.backend, result.environment)


def options_text(result: Result) -> str:
    return ", ".join(f"{k}={v}" for k, v in sorted(result.cell.options.items()))


def _axis(key: str, title: str, numeric: bool, read: Callable[[Result], str]) -> Column:
    def make(result: Result) -> Entry:
        return Entry(value=read(result), text=plain(read(result)) or MISSING)

    return Column(key=key, title=title, make=make, numeric=numeric)


NAMES = (
    Column(key="variant", title="variant", make=_variant, numeric=False),
    Column(key="runtime", title="runtime", make=_runtime, numeric=False),
    Column(key="precision", title="prec.", make=_precision, numeric=False, legend="precision, as found in force"),
)
AXES = (
    _axis("model", "model", False, lambda r: r.cell.model),
    _axis("device", "device", False, lambda r: r.cell.device),
    _axis("batch", "batch", True, lambda r: str(r.cell.batch)),
    _axis("threads", "threads", True, lambda r: str(r.cell.threads)),
    _axis("options", "options", False, options_text),
)
"""Shown as columns only where the rows differ in them."""


# figures


def _figure(metric: str, show: Callable[[float], str]) -> Callable[[Result], Entry]:
    def make(result: Result) -> Entry:
        m = result.get(metric)
        if m is None:
            return Entry()
        if m.value is None:
            return _withheld(m, result)
        return Entry(value=m.value, text=show(m.value) + mark(m), notes=_grade(m))

    return make


def _withheld(m: Measurement, result: Result) -> Entry:
    """A figure that was not published: "n < 662" is its text, and any other reason a footnote.

    Where no time of the row is told, its state has the footnote, once.
    """
    if m.note.startswith("n < "):
        return Entry(text=plain(m.note))
    if not m.note or m.note == state_note(result):
        return Entry()
    return Entry(notes=(plain(m.note),))


def _grade(m: Measurement) -> tuple[str, ...]:
    """By whom a figure was published and how it was had; of a speed-up its note is the verdict, which the table says."""
    if m.grade == "measured":
        return ()
    how = f"; {plain(m.note)}" if m.note and m.metric != "speedup" else ""
    return (f"{DAGGER} {m.grade.capitalize()}, not measured here: {plain(m.source)}{how}.",)


def mark(m: Measurement) -> str:
    """The dagger behind every figure that was not measured here, whoever prints it."""
    return "" if m.grade == "measured" else f" {DAGGER}"


def _latency(result: Result) -> Entry:
    m = result.get("latency")
    if m is None or m.value is None:
        why = plain(m.note) if m else state_note(result) if result.noise.get("state") in UNPUBLISHED else ""
        return Entry(text="withheld", notes=(why,) if why else (), tone="doubt") if m or why else Entry()
    notes = _grade(m) + _repeating(result) + _integer_ends(result)
    if result.noise.get("steady") is False:
        drift = abs(result.noise.get("drift") or 0.0)
        notes += (f"Not steady after the longest warm-up: the last windows differed by {text.percent(drift)}.",)
    ends = _ends(m)
    if not ends:
        return Entry(value=m.value, text=text.time(m.value) + mark(m), notes=notes)
    shown = text.with_half_width(m.value, *ends, *text.time_unit(m.value))
    return Entry(value=m.value, text=shown + mark(m), notes=notes)


REMEMBERS = 1.1
"""MLPerf's TEST04: one sample repeated may be answered at most a tenth faster; a processor's cache explains less than that."""


LOOKED_UP, FETCHED = 5e-6, 1e9
"""A remembered answer must save more seconds than the first, and than an input takes that comes from memory at the second's bytes
a second: so much the processor's cache alone may save, also where a neighbour empties it."""


TINY = 1024
"""An input of fewer bytes costs nothing to fetch: what repeating it saves are the branches that the processor learnt.
Runs from before the size was recorded have 0."""


def _repeating(result: Result) -> tuple[str, ...]:
    """The caching test's mark: fresh inputs take clearly longer than one that is repeated."""
    if not caches(result.effective):
        return ()
    found, latency = result.effective["repeating"], result.get("latency")
    ratio = found["value"]
    saved = (latency.value or 0.0) * (1 - 1 / ratio) if latency else math.inf
    remembers = caches(result.effective, REMEMBERS) and saved > LOOKED_UP + found.get("bytes", 0) / FETCHED
    cached = "in the processor's cache" if (found.get("bytes") or TINY) >= TINY else "known to the processor"
    more, why = "longer", f"one input stays {cached}"
    if remembers:  # else all rows with the same reason share one note
        more, why = f"{text.percent(ratio - 1, 0)} longer", "the runtime may remember answers"
    return (f"Fresh inputs took {more} than a repeated one: {why}. The latency is that of fresh ones.",)


def _integer_ends(result: Result) -> tuple[str, ...]:
    """What the application does around a network that takes or gives integers for real numbers."""
    ends = result.effective.get("integer_ends", {})
    said = "; ".join(f"{name} is {what}" for name, what in ends.items())
    return (
        (f"{said}: turning numbers into these, and back, is the application's, and not in the latency.",)
        if said
        else ()
    )


def _ends(m: Measurement) -> tuple[float, float] | tuple[()]:
    found = interval_of(m)
    return (found.low, found.high) if found else ()


LOPSIDED = 0.125
"""By this share of its half-width the middle of an interval may be off the figure before half of it, as ±, says too little."""


def _accuracy(result: Result) -> Entry:
    m = result.get("accuracy")
    if m is None or m.value is None:
        return Entry() if m is None else _withheld(m, result)
    places = 1 if m.n < 5000 else 2
    shown = text.percent(m.value, places)
    if ends := _ends(m):
        half = (ends[1] - ends[0]) / 2
        if abs(ends[0] + half - m.value) > LOPSIDED * half:
            shown += f" ({100 * ends[0]:.{places}f}–{100 * ends[1]:.{places}f})"
        else:
            shown = f"{shown.removesuffix(' %')} ± {100 * half:.{places}f} %"
    return Entry(value=m.value, text=shown + mark(m), notes=_grade(m))


def _memory(result: Result) -> Entry:
    m, entry = result.get("memory_peak"), _figure("memory_peak", text.memory)(result)
    spread = m.note if m is not None and m.value is not None else ""
    return (
        replace(entry, notes=(*entry.notes, f"The greatest of {m.n if m else 0} processes; {spread}."))
        if spread
        else entry
    )


def _clean(result: Result) -> Entry:
    share = result.noise.get("clean_share")
    if not isinstance(share, (int, float)):
        return Entry()
    return Entry(value=float(share), text=text.percent(share, 0), tone="doubt" if share < 0.5 else "")


TONES: dict[str, Tone] = {"faster": "good", "slower": "bad", "unresolved": "doubt"}


def _versus(result: Result) -> Entry:
    """The speed-up over the baseline in words: `1.75x faster (1.70–1.80)`, `same (0.99–1.01)`."""
    m = result.get("speedup")
    if m is None or m.value is None:
        return Entry() if m is None else _withheld(m, result)
    verdict = m.note if m.note in ("faster", "slower", "same") else "unresolved"
    ratio, ends = m.value, _ends(m)
    if verdict == "slower" and min((ratio, *ends)) > 0:
        ratio, ends = 1 / ratio, (1 / ends[1], 1 / ends[0]) if ends else ()
    said = f"{_times(ratio)}x {verdict}" if verdict in ("faster", "slower") else verdict
    if ends:
        said += f" ({'–'.join(map(_times, ends))})"
    return Entry(value=m.value, text=said + mark(m), notes=_grade(m), tone=TONES.get(verdict, ""))


def _times(ratio: float) -> str:
    return ">1000" if ratio > 1000 else f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"


FIGURES = (
    Column(
        key="latency", title="latency", make=_latency,
        legend="geometric mean over fresh processes of each one's median, ± half of its 95 % interval",
    ),
    Column(
        key="speedup", title="vs baseline", make=_versus, numeric=False,
        legend="against the first variant on the same runtime, with the 95 % interval; unresolved: cannot be told",
    ),
    Column(
        key="latency_p90", title="p90", make=_figure("latency_p90", text.time),
        legend='90 % of all calls took less, with 99 % confidence; "n < 64": too few samples to say so',
    ),
    Column(
        key="latency_p99", title="p99", make=_figure("latency_p99", text.time),
        legend='99 % of all calls took less, with 99 % confidence; "n < 662": too few samples to say so',
    ),
    Column(
        key="throughput", title="items/s", make=_figure("throughput", text.significant),
        legend="one stream, calls back to back, waits included",
    ),
    Column(
        key="accuracy", title="accuracy", make=_accuracy,
        legend="± half of its 95 % interval; the interval itself where it is lopsided",
    ),
    Column(
        key="agreement", title="agreement", make=_figure("agreement", text.percent),
        legend="same answer as the fp32 parent, or as the file of --against",
    ),
    Column(
        key="size", title="size", make=_figure("size", text.file_size),
        legend="bytes of the model file, 1 kB = 1000 B",
    ),
    Column(
        key="memory_peak", title="memory", make=_memory,
        legend="peak while loading and running, above what the imports take",
    ),
    Column(
        key="load", title="load", make=_figure("load", text.time),
        legend="opening the model, without importing the runtime",
    ),
    Column(
        key="first_inference", title="first",
        make=_figure("first_inference", text.time), legend="the first inference",
    ),
    Column(
        key="clean", title="clean", make=_clean,
        legend="share of timed calls that ran undisturbed, from 2.5 ms after a wait on; p90, p99 and items/s count all calls",
    ),
)  # fmt: skip
NOT_SHOWN = {"import", "memory_total", "memory_anonymous", "memory_file", "memory_live"}
"""In the CSV and JSON only: about the runtime rather than about the variant."""


def extra(results: Iterable[Result]) -> tuple[Column, ...]:
    """A column for each other metric that was measured (scenarios, energy, a plug-in's), as they appear."""
    known = {c.key for c in FIGURES} | NOT_SHOWN
    found: dict[str, Measurement] = {}
    for result in results:
        for m in result.measurements:
            if m.metric not in known and m.phase != "profile":  # a list of its own, not a column an operator
                found.setdefault(m.metric, m)
    return tuple(
        Column(
            key=name, title=plain(name.replace("_", " ")), legend=plain(f"{m.phase}; {m.source}"),
            make=_figure(name, partial(text.in_unit, unit=m.unit)),
        )
        for name, m in found.items()
    )  # fmt: skip


# how the row ended


UNPUBLISHED = ("noisy", "swayed")
"""The states of rows that ran and whose latency is withheld."""


def unpublished(result: Result) -> bool:
    """Whether a row ran and its latency is withheld for what disturbed it; also in files whose state does not say so."""
    m = result.get("latency")
    withheld = m is not None and m.value is None and m.note.startswith(tuple(f"{state}: " for state in UNPUBLISHED))
    return result.status == "ok" and (withheld or result.noise.get("state") in UNPUBLISHED)


def state_note(result: Result) -> str:
    why = plain(str(result.noise.get("why") or ""))
    return f"{result.noise.get('state')}: {why}" if why else ""


def _status(result: Result) -> Entry:
    if result.status == "ok":
        state = plain(str(result.noise.get("state") or "ok"))
        note = state_note(result)
        sure = state in ("ok", "valid")
        return Entry(value=state, text=state, notes=(note,) if note else (), tone="" if sure else "doubt")
    reason = shorten(plain(result.reason)) or "no reason was given."
    note = f"{result.status.capitalize()}: {reason}" + (f" Fix: {plain(result.fix)}" if result.fix else "")
    tone: Tone = "bad" if result.status == "failed" else "doubt"
    return Entry(value=result.status, text=result.status, notes=(note,), tone=tone)


def shorten(words: str, limit: int = 600) -> str:
    return words if len(words) <= limit else words[:limit].rstrip() + " … (all of it is in results.jsonl)"


STATUS = Column(
    key="status",
    title="status",
    make=_status,
    numeric=False,
    legend="a row that is not valid or ok has its reason below",
)


def choose(results: Sequence[Result]) -> tuple[Column, ...]:
    """The columns of a table of these results. An axis in which no two rows differ is no column."""
    axes = [axis for axis in AXES if len({axis.make(r).text for r in results}) > 1]
    return (*NAMES, *axes, *FIGURES, *extra(results), STATUS)
