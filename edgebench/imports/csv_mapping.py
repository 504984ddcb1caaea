"""Any CSV with a head line: columns that are named like ours are known, the others are told with --map METRIC=COLUMN[:UNIT].

A unit stands behind the colon, or at the end of the column's name (mean_ms, size_kb); a number without a unit is refused.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgebench.errors import StoreError, did_you_mean
from edgebench.imports.foreign import Source, figure, number, row
from edgebench.schema import Cell, Result

NAME = "csv"
FACTORS = {
    "s": ("s", 1.0), "ms": ("s", 1e-3), "us": ("s", 1e-6), "µs": ("s", 1e-6), "ns": ("s", 1e-9),
    "b": ("B", 1.0), "bytes": ("B", 1.0), "kb": ("B", 1e3), "mb": ("B", 1e6), "gb": ("B", 1e9),
    "kib": ("B", 2.0**10), "mib": ("B", 2.0**20), "gib": ("B", 2.0**30),
    "%": ("1", 0.01), "pct": ("1", 0.01), "percent": ("1", 0.01), "1": ("1", 1.0),
    "j": ("J", 1.0), "joules": ("J", 1.0), "mj": ("J", 1e-3), "uj": ("J", 1e-6), "w": ("W", 1.0), "mw": ("W", 1e-3),
    "1/s": ("1/s", 1.0), "fps": ("1/s", 1.0), "per_s": ("1/s", 1.0),
}  # fmt: skip
UNITS = {
    "latency": "s", "latency_p90": "s", "latency_p99": "s", "load": "s", "first_inference": "s", "throughput": "1/s",
    "accuracy": "1", "agreement": "1", "size": "B", "memory_peak": "B", "energy": "J",
}  # fmt: skip
"""The metrics that can be imported, and the unit of each."""
NAMES = {
    "model": ("model", "network", "net"), "variant": ("variant", "recipe"), "runtime": ("runtime", "backend", "framework"),
    "device": ("device", "board", "hardware", "target"), "precision": ("precision", "dtype"),
    "batch": ("batch", "batch_size"), "threads": ("threads", "num_threads"),
}  # fmt: skip


@dataclass(frozen=True)
class _Column:
    metric: str
    name: str
    unit: str
    factor: float


def recognizes(source: Source) -> bool:
    head, line, _ = source.text.partition("\n")
    return source.path.suffix.lower() in (".csv", ".tsv") and bool(line) and any(mark in head for mark in MARKS)


MARKS = ("\t", ";", ",")
"""What may stand between columns: the first of them that the head line has most of."""


def read(source: Source) -> list[Result]:
    """A row for each line. Raises StoreError for a column that is not there, a unit that is not known, or no metric."""
    first = source.text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(source.text), delimiter=max(MARKS, key=first.count), restkey="")
    try:
        lines = [(reader.line_num, line) for line in reader]
    except csv.Error as error:
        raise StoreError(
            f"{source.path} is no CSV: {error}.", "Save it as comma-separated text with a head line."
        ) from error
    head = [name for name in reader.fieldnames or () if name]
    columns = _mapped(source, head)
    named = {key: next((n for n in head if n.lower().strip() in known), "") for key, known in NAMES.items()}
    if not lines:
        fix = "Give the whole file: a head line, and a line for each row of the table."
        raise StoreError(f"{source.path} has a head line and no row beneath it.", fix)
    if not columns:
        numeric = next((name for name in head if _numeric(lines[0][1].get(name))), "COLUMN")
        fix = f"Name one, like: --map latency={numeric}:ms."
        raise StoreError(f"No column of {source.path} is known as a metric.", fix)
    source.unread.extend(sorted(set(head) - {c.name for c in columns} - set(named.values()), key=head.index))
    return [_row(source, line, place, columns, named) for place, line in lines]


def _numeric(text: str | None) -> bool:
    try:
        return math.isfinite(float(text or ""))
    except ValueError:
        return False


def _mapped(source: Source, head: list[str]) -> list[_Column]:
    told = [_told(source, words, head) for words in source.maps]
    taken = {column.metric for column in told} | {column.name for column in told}
    found = []
    for name in head:
        metric, suffix = _split(name)
        wanted = UNITS.get(metric)
        if wanted and metric not in taken and name not in taken:
            unit, factor = FACTORS.get(suffix, ("1", 1.0) if wanted == "1" and not suffix else ("", 0.0))
            if unit == wanted:
                found.append(_Column(metric, name, unit, factor))
                taken.add(metric)
    return told + found


def _split(name: str) -> tuple[str, str]:
    """`latency_p90_ms` -> latency_p90, ms."""
    low = name.lower().strip()
    if low in UNITS:
        return low, ""
    for suffix in sorted(FACTORS, key=len, reverse=True):
        if low.endswith(f"_{suffix}"):
            return low[: -len(suffix) - 1], suffix
    return low, ""


def _told(source: Source, words: str, head: list[str]) -> _Column:
    metric, equals, rest = words.partition("=")
    column, _, unit = rest.rpartition(":") if rest not in head and ":" in rest else (rest, "", "")
    if not equals or not metric or not column:
        raise StoreError(
            f'"{words}" is no mapping.', "Write it as METRIC=COLUMN or METRIC=COLUMN:UNIT, like latency=mean:ms."
        )
    if column not in head:
        raise StoreError(f'{source.path} has no column "{column}".', did_you_mean(column, head))
    suffix = (unit or _split(column)[1]).lower()
    if metric not in UNITS:
        raise StoreError(f'There is no metric "{metric}".', did_you_mean(metric, UNITS))
    wanted = UNITS[metric]
    if suffix not in FACTORS:
        fix = (
            f"Add it, like --map {metric}={column}:{'ms' if wanted == 's' else wanted}; {did_you_mean(suffix, FACTORS)}"
        )
        raise StoreError(f'The unit of the column "{column}" is not known.', fix)
    found, factor = FACTORS[suffix]
    if found != wanted:
        raise StoreError(
            f'"{suffix}" is no unit of {metric}.', f"{metric} is held in {wanted}; name the unit of the column."
        )
    return _Column(metric, column, found, factor)


def _value(source: Source, text: str, place: int, column: _Column) -> float | None:
    """The number of a square; None where it holds none. A comma is refused: it may be a decimal sign, or part thousands."""
    if "," in text and (point := number(text.replace(",", ".", 1))) is not None:
        raise StoreError(
            f'Line {place} of {source.path}, column {column.name}: "{text}" has a comma.',
            f"The decimal sign is a point: write {point:g}, and thousands without a mark.",
        )
    return number(text)


def _check_share(column: _Column, value: float, said: str) -> None:
    """Refuse a share of answers that is more than all of them."""
    if column.metric in ("accuracy", "agreement") and value > 1:
        raise StoreError(
            f"{said}, column {column.name}: {value:.3g} is more than all answers.",
            f"Name the unit of the column, like --map {column.metric}={column.name}:%, or mend the file.",
        )


def _row(
    source: Source, line: Mapping[str, str | None], place: int, columns: list[_Column], named: Mapping[str, str]
) -> Result:
    def word(key: str, otherwise: str) -> str:
        return (line.get(named[key]) or "").strip() or otherwise if named[key] else otherwise

    def count(key: str) -> int:
        found = number(word(key, "1"))
        return int(found) if found and found >= 1 else 1

    said = f"{source.path.name}, line {place}"
    cell = Cell(
        model=source.known.model or word("model", source.path.stem),
        recipe=word("variant", "as published"),
        backend=word("runtime", "not named"),
        device=source.known.device or word("device", "unknown"),
        precision=source.known.precision or word("precision", "not named"),
        batch=count("batch"),
        threads=count("threads"),
    )
    figures = []
    for column in columns:
        value = _value(source, (line.get(column.name) or "").strip(), place, column)
        if value is not None:
            _check_share(column, value * column.factor, said)
            figures.append(figure(column.metric, column.unit, value * column.factor, f"{said}, column {column.name}"))
    return row(cell, figures, source=said)
