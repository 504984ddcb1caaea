"""Which charts stand in which section, a panel for each group of rows that may be compared."""

from __future__ import annotations

from collections.abc import Sequence

from edgebench.plugins import FLOOR
from edgebench.report.columns import options_text
from edgebench.report.page import curves, layers, rows, scatter
from edgebench.report.page.draw import safe, shapes_of
from edgebench.report.page.letters import short
from edgebench.report.sections.base import groups, names, once, usable
from edgebench.report.sections.front import Spot, spots
from edgebench.report.sections.ladder import Rung, rungs
from edgebench.report.sections.sensitivity import sweeps
from edgebench.report.table import Row, Table
from edgebench.report.text import count, plain

MOST = 6
"""So many panels of a kind: a page of charts is no longer looked at."""


def charts(table: Table) -> dict[str, tuple[str, ...]]:
    """By the key of the section: figures, each with its caption."""
    return {
        "front": _scatters(table),
        "ladder": _ladders(table),
        "spread": _curves(table),
        "memory": _memory(table),
        "sensitivity": _layers(table),
    }


def _figures(drawn: list[tuple[str, str]], total: int) -> tuple[str, ...]:
    """From (caption, svg): one figure each; a last caption counts the panels that are not drawn."""
    out = [f"<figure>{svg}<figcaption>{safe(caption)}</figcaption></figure>" for caption, svg in drawn[:MOST] if svg]
    if total > MOST:
        out.append(f"<p>Not drawn, and in the tables: {count(total - MOST, 'more group')} of rows.</p>")
    return tuple(out)


def _title(table: Table, row: Row) -> str:
    """What a panel is of; its run too where runs of one device stand side by side."""
    cell = row.result.cell
    run = f", run {row.run.id}" if any(column.key == "run" for column in table.columns) else ""
    return short(plain(f"{cell.model} on {cell.device}, batch {cell.batch}{run}"), 700)


def _scatters(table: Table) -> tuple[str, ...]:
    panels = spots(table)
    return _figures([_scatter(table, panel) for panel in panels[:MOST]], len(panels))


def _scatter(table: Table, panel: Sequence[Spot]) -> tuple[str, str]:
    title = _title(table, panel[0].row)
    caption = f"{title}. Bars are 95 % intervals; named rows are on the front; hollow marks were not measured here (†)."
    return caption, scatter.chart(panel, names(table, within=True), shapes(table), title)


@once
def shapes(table: Table) -> dict[str, str]:
    """The shape of each runtime in every chart; our own floor is in none."""
    return shapes_of([name for row in table.rows if (name := row.result.cell.backend) != FLOOR])


def _ladders(table: Table) -> tuple[str, ...]:
    found: dict[int, list[Rung]] = {}
    place = {id(row): i for i, group in enumerate(groups(table.rows).values()) for row in group}
    for rung in rungs(table):
        found.setdefault(place[id(rung.row)], []).append(rung)
    name = names(table, within=True)
    drawn = []
    for group in list(found.values())[:MOST]:
        title = _title(table, group[0].row)
        rest = f" The first {rows.MOST} of {len(group)} rows." if len(group) > rows.MOST else ""
        caption = (
            f"{title}. Bars are 95 % intervals. In colour: it paid; hollow: it did not; the others: not known.{rest}"
        )
        drawn.append((caption, rows.ladder(group, name, shapes(table), title)))
    return _figures(drawn, len(found))


def _curves(table: Table) -> tuple[str, ...]:
    found: dict[tuple[int, str, int], list[Row]] = {}
    kept = [row for row in table.rows if usable(row)]
    place = {id(row): i for i, group in enumerate(groups(kept).values()) for row in group}
    for row in kept:
        found.setdefault((place[id(row)], row.result.cell.backend, row.result.cell.threads), []).append(row)
    drawn = []
    for group in list(found.values())[:MOST]:
        known = [curve for row in group if (curve := curves.curve(row, _variant(table, row)))]
        threads = f", {count(group[0].result.cell.threads, 'thread')}" if table.several["threads"] else ""
        title = f"{plain(group[0].result.cell.backend)}{threads}: {_title(table, group[0])}"
        rest = f" The first {curves.MOST} of {len(known)} variants." if len(known) > curves.MOST else ""
        drawn.append((f"{title}.{rest}", curves.chart(known, title)))
    return _figures([d for d in drawn if d[1]], len(found))


def _variant(table: Table, row: Row) -> str:
    """What a curve is called beside those of the same runtime and threads."""
    cell = row.result.cell
    precision = [cell.precision] if len(table.precisions[cell.recipe]) > 1 else []
    options = [options_text(row.result)] if table.several["options"] and cell.options else []
    return plain(", ".join([cell.recipe, *precision, *options]))


def _memory(table: Table) -> tuple[str, ...]:
    name = names(table, within=True)
    found = list(groups([row for row in table.rows if row.result.get("memory_peak")]).values())
    drawn = []
    for group in found[:MOST]:
        title = _title(table, group[0])
        rest = f" The first {rows.MOST} of {len(group)} rows." if len(group) > rows.MOST else ""
        drawn.append((f"{title}.{rest}", rows.memory(group, name, title)))
    return _figures(drawn, len(found))


def _layers(table: Table) -> tuple[str, ...]:
    found = sweeps(table)
    drawn = [(f"{sweep.title}. Pale bars: layers that stay in float.", layers.chart(sweep)) for sweep in found[:MOST]]
    return _figures(drawn, len(found))
