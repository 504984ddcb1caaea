"""Everything as JSON: numbers unrounded, every default written out, and the texts of the table beside them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from edgebench.report.table import Row, Table
from edgebench.report.text import encodable
from edgebench.schema import SCHEMA, Options


def render(table: Table) -> str:
    """One JSON object: schema, run, facts, columns, rows, environments, footnotes. Strict JSON: no NaN."""
    environments: list[Options] = []
    for row in table.rows:
        if row.result.environment not in environments:
            environments.append(row.result.environment)
    whole = {
        "schema": SCHEMA,
        "run": table.run,
        "facts": [{"name": f.name, "text": f.text, "warning": f.warning} for f in table.facts],
        "columns": [{"key": c.key, "title": c.title, "legend": c.legend} for c in table.columns],
        "rows": [_row(table, row, environments.index(row.result.environment)) for row in table.rows],
        "environments": environments,
        "footnotes": table.footnotes,
    }
    return json.dumps(full(whole), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _row(table: Table, row: Row, environment: int) -> dict[str, Any]:
    """A Result with all its fields, its id, the place of its environment, and `text`: what the table prints."""
    found = {f.name: getattr(row.result, f.name) for f in dataclasses.fields(row.result)}
    texts = {c.key: table.shown(e) for c, e in zip(table.columns, row.entries, strict=True)}
    return {"id": row.result.cell.id, **found, "environment": environment, "text": texts}


def full(value: Any) -> Any:
    """Records and Options as plain JSON with every field; a number that JSON does not have becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: full(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {encodable(str(k)): full(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [full(v) for v in value]
    if isinstance(value, str):
        return encodable(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
