"""Everything as JSON: numbers unrounded, every default written out, and the texts of the table beside them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from edgebench.report.details import DETAILED, details
from edgebench.report.sections import sections
from edgebench.report.table import Row, Table
from edgebench.report.text import encodable
from edgebench.schema import SCHEMA, Options


def render(table: Table) -> str:
    """One JSON object: schema, run, facts, columns, sections, rows, environments, footnotes. Strict JSON: no NaN.

    `run` is the first of `runs`; a row names its run by its place in them, as it does its environment.
    """
    environments: dict[str, int] = {}
    known: list[Options] = []
    places = {id(run): place for place, run in enumerate(table.runs)}
    rows = []
    for row in table.rows:
        key = repr(row.result.environment)
        if key not in environments:
            environments[key] = len(known)
            known.append(row.result.environment)
        rows.append(_row(table, row, places[id(row.run)], environments[key]))
    whole = {
        "schema": SCHEMA,
        "run": table.run,
        "runs": table.runs,
        "facts": [{"name": f.name, "text": f.text, "warning": f.warning} for f in table.facts],
        "columns": [{"key": c.key, "title": c.title, "legend": c.legend} for c in table.columns],
        "sections": sections(table),
        "rows": rows,
        "environments": known,
        "footnotes": table.footnotes,
    }
    return "".join(_written(whole))


def _written(whole: Mapping[str, Any]) -> Iterator[str]:
    """Key by key and row by row, a line each: ten thousand rows are never in memory as one tree."""
    yield "{"
    for i, (key, value) in enumerate(whole.items()):
        yield f'{"," if i else ""}\n"{key}": '
        if isinstance(value, (list, tuple)):
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
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_record)
        text.encode()
    except ValueError:  # NaN, infinity, or half a character
        return json.dumps(full(value), ensure_ascii=False, allow_nan=False)
    return text


def _record(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return {name: getattr(value, name) for name in _fields(type(value))}


def _row(table: Table, row: Row, run: int, environment: int) -> dict[str, Any]:
    """A Result with all its fields, its id, the places of its run and environment, and in words what is shown of it."""
    found = {name: getattr(row.result, name) for name in _fields(type(row.result))}
    texts = {c.key: table.shown(e) for c, e in zip(table.columns, row.entries, strict=True)}
    more: dict[str, Any] = {"run": run, "environment": environment, "text": texts}
    if len(table.rows) <= DETAILED:
        more["details"] = details(row.result)
    return {"id": row.result.cell.id, **found, **more}


def _fields(kind: Any) -> tuple[str, ...]:
    """The names of a record's fields, looked up once for each kind: there are millions of records."""
    if kind not in _KNOWN:
        _KNOWN[kind] = tuple(f.name for f in dataclasses.fields(kind))
    return _KNOWN[kind]


_KNOWN: dict[Any, tuple[str, ...]] = {}


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
        return {name: full(getattr(value, name)) for name in _fields(kind)}
    if isinstance(value, (list, tuple)):
        return [full(v) for v in value]
    return value
