"""The raw numbers as CSV: SI units, nothing rounded, an empty field for what was not measured."""

from __future__ import annotations

import csv
import io
from functools import lru_cache

from edgebench.report.table import Table
from edgebench.report.text import encodable

_FORMULA = ("=", "+", "-", "@", "\t", "\n")


def render(table: Table) -> str:
    """A head line, then a line for each row; UTF-8 text with line feeds. Without results: the head alone."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.record_names())
    for record in table.records():
        writer.writerow([_text(value) if isinstance(value, str) else value for value in record.values()])
    return out.getvalue()


@lru_cache(maxsize=4096)
def _text(value: str) -> str:
    """Before a text that a spreadsheet would take for a formula goes an apostrophe; numbers stay numbers."""
    text = encodable(value).replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(_FORMULA) else text
