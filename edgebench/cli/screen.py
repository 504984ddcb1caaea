"""What a person sees: lines, tables, progress bars. Everything that is printed goes through here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgebench.runner import Progress


def say(text: str = "", *, err: bool = False) -> None:
    click.echo(text, err=err)


def console(*, err: bool = False) -> Any:
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else 120, highlight=False)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    console().print(table)


def count(number: float | None) -> str:
    if number is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars on stderr for a person; nothing when the output goes to a file or a script."""
    from edgebench.runner import quiet

    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield quiet
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console(err=True), transient=True) as bars:
        tasks: dict[str, Any] = {}
        room = max(20, bars.console.width - 54)  # for the note: the bar stays a bar in a narrow window

        def tell(stage: str, done: int, total: int, note: str) -> None:
            if stage not in tasks:
                for earlier in tasks.values():
                    bars.update(earlier, visible=False)
                tasks[stage] = bars.add_task(stage, total=total or None, note="")
            shown = note if len(note) <= room else note[: room - 1] + "…"
            bars.update(tasks[stage], completed=done, total=total or None, note=shown)

        yield tell
