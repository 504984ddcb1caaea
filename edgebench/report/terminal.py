"""The table for a person at a terminal: as many blocks, one below the other, as the width needs, and the answer.

A variant is a line of its own above its rows, which leaves the width to figures. Columns that do not fit go into the
next block, behind the names of the rows. No number is ever cut, and colours only repeat what words say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgebench.report.columns import AXES, NAMES, Entry
from edgebench.report.sections import answer
from edgebench.report.table import Row, Table
from edgebench.report.text import MISSING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as Grid
    from rich.text import Text

KEYS = {"run", *(c.key for c in (*NAMES, *AXES))}
FIRST = ("latency", "speedup", "status", "accuracy", "size", "memory_peak")
"""What a person looks for first; the other figures follow in the table's order."""
STYLES = {"": "", "good": "green", "bad": "red", "doubt": "yellow"}
GAP = "  "
MOST_ANSWERS = 4
MOST_ROWS = 500
"""More than anybody scrolls through; the files have them all."""
HINT = "± is half of the 95 % interval; p90 and p99 are upper bounds with 99 % confidence; – was not measured, and is not zero."


def lines(table: Table, width: int) -> RenderableType:
    """What rich prints: header facts, one block or several, footnotes. `width` in character squares."""
    from rich.console import Group
    from rich.text import Text

    whole, left_out = table, len(table.rows) - MOST_ROWS
    if left_out > 0:
        table = replace(table, rows=table.rows[:MOST_ROWS])
    layout = _Layout(table, width)
    parts: list[RenderableType] = [_facts(table), Text()]
    for place, block in enumerate(layout.blocks()):
        parts += [*layout.lines(block, every_row=place == 0), Text()]
    if left_out > 0:
        parts += [
            Text(f"{left_out} more rows are in report.html, table.md, table.csv and table.json.", style="yellow"),
            Text(),
        ]
    parts.append(Text(HINT if table.rows else "There is no result yet.", style="dim"))
    notes = [(f"[{n}]", note, "") for n, note in enumerate(table.footnotes, start=1)]
    notes += [("[!]", fact.text, "yellow") for fact in table.facts if fact.warning]
    parts.append(_two_columns(notes))
    if len(whole.rows) > 1:
        parts += [Text(), _answer(whole)]
    return Group(*parts)


def _answer(table: Table) -> RenderableType:
    """What to ship and how sure that is, as on the page; of many groups the first few."""
    from rich.console import Group
    from rich.text import Text

    found = answer.section(table)
    ends = [*found.leads, len(found.words)][: MOST_ANSWERS + 1]
    words = [
        Text(word, style="bold" if place in found.leads else "") for place, word in enumerate(found.words[: ends[-1]])
    ]
    if len(found.leads) > MOST_ANSWERS:
        words.append(Text("The other answers are in report.html.", style="dim"))
    return Group(*words)


def _facts(table: Table) -> Grid:
    return _two_columns([(fact.name, fact.text, "") for fact in table.facts if not fact.warning])


def _two_columns(rows: Sequence[tuple[str, str, str]]) -> Grid:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, len(GAP), 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text, style in rows:
        grid.add_row(Text(name), Text(text, style=style))
    return grid


class _Layout:
    """Which columns go into which block, and how wide each is. Columns are named by their places in the table."""

    def __init__(self, table: Table, width: int) -> None:
        variants = {row.result.cell.recipe for row in table.rows}
        self.table = table
        self.width = width
        self.grouped = len(variants) < len(table.rows)
        """Whether variants get lines of their own: some has several rows."""
        self.indent = GAP if self.grouped else ""
        self.keys = [
            i for i, c in enumerate(table.columns) if c.key in KEYS and not (self.grouped and c.key == "variant")
        ]
        # A name may take a quarter of the line and a figure what the names leave; what is longer is folded.
        self.widths = [min(self._longest(i), max(10, width // 4)) for i in range(len(table.columns))]
        room = max(10, width - self.total(self.keys) - len(GAP))
        for i, column in enumerate(table.columns):
            if column.key not in KEYS:
                self.widths[i] = min(self._longest(i), room)

    def _longest(self, i: int) -> int:
        from rich.cells import cell_len

        column = self.table.columns[i]
        texts = (column.title, *(self.table.shown(row.entries[i]) for row in self.table.rows))
        return max(cell_len(text) for text in texts)

    def blocks(self) -> list[list[int]]:
        """The names of the rows and the figures that fit beside them, for each block."""
        columns = self.table.columns
        figures = [i for i, c in enumerate(columns) if c.key not in KEYS and self._worth_a_column(i)]
        rank = {key: place for place, key in enumerate(FIRST)}
        figures.sort(key=lambda i: (rank.get(columns[i].key, len(rank)), i))
        blocks: list[list[int]] = []
        for i in figures if self.table.rows else []:
            if not blocks or self.total([*blocks[-1], i]) > self.width:
                blocks.append(list(self.keys))
            blocks[-1].append(i)
        return blocks

    def _worth_a_column(self, i: int) -> bool:
        """A status that is ok or valid in every row is said by the header already."""
        entries = [row.entries[i] for row in self.table.rows]
        return self.table.columns[i].key != "status" or any(e.tone or e.notes for e in entries)

    def total(self, block: Sequence[int]) -> int:
        return len(self.indent) + sum(self.widths[i] for i in block) + len(GAP) * (len(block) - 1)

    def lines(self, block: Sequence[int], every_row: bool) -> Iterator[Text]:
        """One block: its head, a rule, and its rows: every row, or those that have one of these figures."""
        from rich.text import Text

        table, above = self.table, None
        variant = next(i for i, c in enumerate(table.columns) if c.key == "variant")
        figures = [i for i in block if table.columns[i].key not in KEYS]
        yield from self._line(block, [Text(table.columns[i].title, style="bold") for i in block])
        yield Text("─" * self.total(block), style="dim")
        for row in table.rows:
            if not every_row and all(row.entries[i] == Entry() for i in figures):
                continue
            if self.grouped and row.result.cell.recipe != above:
                above = row.result.cell.recipe
                yield Text(row.entries[variant].text, style="bold", overflow="fold")
            yield from self._line(block, [_square(table, row, i) for i in block])

    def _line(self, block: Sequence[int], squares: Sequence[Text]) -> Iterator[Text]:
        """One row of the table: one line, or several where a name is folded."""
        from rich.text import Text

        folded = [_fold(square, self.widths[i]) for i, square in zip(block, squares, strict=True)]
        for part in range(max(map(len, folded))):
            out = Text(self.indent, no_wrap=True, overflow="ignore")
            for i, pieces in zip(block, folded, strict=True):
                piece = pieces[part] if part < len(pieces) else Text()
                padding = " " * (self.widths[i] - piece.cell_len)
                out.append_text(Text.assemble(padding, piece) if self.table.columns[i].numeric else piece)
                out.append(GAP if self.table.columns[i].numeric else padding + GAP)
            out.rstrip()
            yield out


def _fold(text: Text, width: int) -> list[Text]:
    if text.cell_len <= width:
        return [text]
    from rich.console import Console

    return list(text.wrap(Console(width=width), width, overflow="fold"))


def _square(table: Table, row: Row, i: int) -> Text:
    from rich.text import Text

    entry = row.entries[i]
    style = "dim" if entry.text == MISSING else STYLES[entry.tone]
    return Text.assemble((entry.text, style), (table.marks(entry), "dim"))
