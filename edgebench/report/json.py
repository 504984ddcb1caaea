"""Everything as JSON: numbers unrounded, every default written out, and the texts of the table beside them."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from edgebench.codec import SCHEMA, Options
from edgebench.report.details import DETAILED, details
from edgebench.report.sections import sections
from edgebench.report.table import Row, Table
from edgebench.report.text import encodable


def render(table: Table) -> str:
    """One JSON object: schema, run, facts, columns, sections, rows, environments, footnotes. Strict JSON: no NaN.

    `run` is the first of `runs`; a row names its run by its place in them, as it does its environment.
    """
    environments: dict[str, int] = {}
    at: dict[int, int] = {}
    known: list[Options] = []
    places = {id(run): place for place, run in enumerate(table.runs)}

    def rows() -> Iterator[dict[str, Any]]:
        for row in table.rows:
            own = row.result.environment
            if id(own) not in at:
                place = environments.setdefault(repr(own), len(known))
                if place == len(known):
                    known.append(own)
                at[id(own)] = place
            yield _row(table, row, places[id(row.run)], at[id(own)])

    whole = {
        "schema": SCHEMA,
        "run": table.run,
        "runs": table.runs,
        "facts": [{"name": f.name, "text": f.text, "warning": f.warning} for f in table.facts],
        "columns": [{"key": c.key, "title": c.title, "legend": c.legend} for c in table.columns],
        "sections": sections(table),
        "rows": rows(),
        "environments": known,  # complete when the rows are written
        "footnotes": table.footnotes,
    }
    return written(whole)


def written(whole: Mapping[str, Any]) -> str:
    """An object of any records as strict JSON, an item of its lists a line each; a number that JSON does not have is null."""
    return "".join(_lines(whole))


def _lines(whole: Mapping[str, Any]) -> Iterator[str]:
    """Key by key and row by row, a line each: ten thousand rows are never in memory as one tree."""
    yield "{"
    for i, (key, value) in enumerate(whole.items()):
        yield f'{"," if i else ""}\n"{key}": '
        if isinstance(value, (list, tuple, Iterator)):
            yield "["
            for j, item in enumerate(value):
                yield ("," if j else "") + "\n " + _dumped(item)
            yield "]"
        else:
            yield _dumped(value)
    yield "\n}\n"


def _dumped(value: Any) -> str:
    """By the standard encoder, which asks us about records only; a text or number that JSON does not have is rare."""
    try:
        text = _ENCODER.encode(value)
        text.encode()
    except ValueError:  # NaN, infinity, or half a character
        return json.dumps(full(value), ensure_ascii=False, allow_nan=False)
    return text


def _record(value: Any) -> Any:
    """What the encoder asks of us: a record with all records in it, so that it asks once for each row."""
    return dict(value.items()) if isinstance(value, Options) else _tree(value)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, default=_record)


def _row(table: Table, row: Row, run: int, environment: int) -> dict[str, Any]:
    """A Result with all its fields, its id, the places of its run and environment, and in words what is shown of it."""
    found = _tree(row.result)
    texts = {c.key: table.shown(e) for c, e in zip(table.columns, row.entries, strict=True)}
    more: dict[str, Any] = {"run": run, "environment": environment, "text": texts}
    if len(table.rows) <= DETAILED:
        more["details"] = details(row.result)
    return {"id": row.result.cell.id, **found, **more}


def _tree(record: Any) -> Any:
    """A record as a dict of its fields, and so are the records and lists of records in it."""
    kind: Any = type(record)
    return _reader(kind)(record)


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What makes a dict of a record, written out for its kind as one expression: it runs some hundred thousand times a report."""
    hints = typing.get_type_hints(kind)
    shown = {f.name: f"record.{f.name}" for f in dataclasses.fields(kind)}
    for name, own in shown.items():
        if any(dataclasses.is_dataclass(part) for part in _parts(hints[name])):
            many = typing.get_origin(hints[name]) is tuple
            shown[name] = f"[tree(part) for part in {own}]" if many else f"None if {own} is None else tree({own})"
    pairs = ", ".join(f"{name!r}: {value}" for name, value in shown.items())
    return typing.cast("Callable[[Any], Any]", eval(f"lambda record: {{{pairs}}}", {"tree": _tree}))


def _parts(hint: Any) -> Iterator[Any]:
    """A type and all that it is made of: `tuple[Measurement, ...]` holds Measurement."""
    yield hint
    for part in typing.get_args(hint):
        yield from _parts(part)


def full(value: Any) -> Any:
    """Records and Options as plain JSON with every field; a number that JSON does not have becomes null."""
    kind = type(value)
    if kind is str:
        return value if value.isascii() else encodable(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if value is None or kind is int or kind is bool:
        return value
    if kind is list or kind is tuple:
        return [full(v) for v in value]
    if isinstance(value, Mapping):
        return {encodable(str(k)): full(v) for k, v in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: full(getattr(value, f.name)) for f in dataclasses.fields(kind)}
    if isinstance(value, (list, tuple)):
        return [full(v) for v in value]
    return value
