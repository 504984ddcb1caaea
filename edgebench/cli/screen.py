"""What a person sees: lines, tables, progress bars. Everything that is printed goes through here."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgebench.devices import Device
    from edgebench.making import Progress


LOG_SECONDS = 15.0
"""Between two lines of progress where there is no terminal for a bar."""


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


def note(head: str, text: str) -> None:
    """A sentence about something, and below it what to do: wrapped between words, so that a command can be copied."""
    for line, indent in ((head, ""), (text, "    ")):
        say(
            textwrap.fill(
                line,
                console().width,
                initial_indent=indent,
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        )


def count(number: float | None) -> str:
    if number is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


def _clock(seconds: float) -> str:
    """`0:42`, `12:05`, `1:00:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def progress_bars(device: Device | None = None, *, as_json: bool = False) -> Iterator[Progress]:
    """Bars on stderr for a person; into a pipe or a file, lines now and then, and what the device tells. Nothing with --json.

    What prints within, a user's network say, prints to stderr: stdout is for the answer alone.
    """
    from edgebench.making import quiet

    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        if device is not None and not as_json:
            device.tell = _lines(device.name)
        with redirect_stdout(sys.stderr):
            yield quiet if as_json else _log()
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    screen = console(err=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20 if screen.width >= 100 else 8),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    # The time left is guessed from what the last ten minutes have brought: an epoch may take one of them.
    bars = Progress(*columns, console=screen, transient=True, speed_estimate_period=600)
    with redirect_stdout(sys.stderr), bars:
        tasks: dict[str, Any] = {}
        room = max(20, screen.width - 44)  # for the note: the bar stays a bar in a narrow window

        def tell(stage: str, done: int, total: int, note: str) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total or None, note="")
            for name, task in tasks.items():
                bars.update(task, visible=name == stage)
            bars.update(tasks[stage], completed=done, total=total or None)
            left = next(task.time_remaining for task in bars.tasks if task.id == tasks[stage])
            if left and "left" not in note:  # measuring knows better by itself, and says so
                note = f"{_clock(left)} left, {note}" if note else f"{_clock(left)} left"
            bars.update(tasks[stage], note=note if len(note) <= room else note[: room - 1] + "…")

        if device is not None:
            device.tell = partial(tell, device.name, 0, 0)
        yield tell


def _log() -> Progress:
    """Says on stderr what is being done, at most every `LOG_SECONDS`: nothing in a short run."""
    from edgebench import measure  # here: a command that waits for nothing starts without it

    begun = said = measure.monotonic()

    def tell(stage: str, done: int, total: int, note: str) -> None:
        nonlocal said
        now = measure.monotonic()
        if now - said >= LOG_SECONDS:
            said = now
            where = f"{stage}, {done} of {total}" if total else stage
            say(f"{_clock(now - begun)}  {where}{note and f', {note}'}", err=True)

    return tell


def _lines(name: str) -> Callable[[str], None]:
    """Says on stderr what a device tells, each thing once in a row."""
    last = ""

    def tell(words: str) -> None:
        nonlocal last
        if words != last:
            say(f"{name}: {words}", err=True)
        last = words

    return tell
