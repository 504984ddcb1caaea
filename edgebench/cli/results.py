"""From a results folder to the tables in it and on the screen."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgebench.cli.screen import console, say
from edgebench.errors import Interrupted, StoreError

if TYPE_CHECKING:
    from edgebench.report.table import Source, Table
    from edgebench.schema import Result
    from edgebench.store import RunFolder


def open_run(name: str, results: str) -> RunFolder:
    from edgebench import store

    root = Path(results)
    if name == "latest":
        return store.open_run(store.latest(root))
    return store.open_run(Path(name) if Path(name).exists() or "/" in name else root / name)


def open_runs(names: Sequence[str], results: str) -> list[RunFolder]:
    """The runs of these names, each once: one that is named twice, or by its path and its id, or beside a copy, says so."""
    found: list[tuple[str, RunFolder]] = []
    for name in names:
        folder = open_run(name, results)
        if first := next((known for known, other in found if _same(folder, other)), ""):
            say(f"{name} is the same run as {first}, and counts once.", err=True)
        else:
            found.append((name, folder))
    return [folder for _, folder in found]


def called(folder: RunFolder) -> str:
    """By what a command finds the run: its path, or nothing where its id is enough, as among the results of this folder."""
    usual = Path("results") / folder.run.id
    return "" if folder.path.resolve() == usual.resolve() else shlex.quote(str(folder.path))


def _same(folder: RunFolder, other: RunFolder) -> bool:
    if folder.path.resolve() == other.path.resolve():
        return True
    return folder.run == other.run and folder.results() == other.results()


NAMES = (
    ("html", "report.html"),
    ("markdown", "table.md"),
    ("csv", "table.csv"),
    ("json", "table.json"),
    ("svg", "latency.svg"),
)
"""Every format that is written beside the results, and the name of its file."""


def source(folder: RunFolder, results: Sequence[Result] | None = None) -> Source:
    """A run as a table takes it: its results (those given instead, if any), the spread of its calls, the right answers."""
    from edgebench.metrics.paired import Right, noted
    from edgebench.report.spread import spreads
    from edgebench.report.table import Source

    found = folder.results() if results is None else results
    right: dict[str, Right] = {}
    return Source(
        run=folder.run,
        results=found,
        spreads=spreads(noted(folder.samples(), right)),
        right=right,
        called=called(folder),
    )


@dataclass(frozen=True)
class Kept:
    """Where the tables lie, in a sentence; or the error, where they could not be written."""

    text: str = ""
    error: StoreError | None = None

    def tell(self, quiet: bool = False) -> None:
        """Behind the figures: what cannot be kept is no reason to hold them back. `quiet`: they are for a script."""
        if self.error is not None:
            say(f"\nNot kept: {self.error}", err=True)
        elif self.text and not quiet:
            say(f"\n{self.text}")


def tabled(folder: RunFolder) -> tuple[Table, Kept]:
    """The table of a run, written into its folder in every format; and where it is."""
    from edgebench.report.table import build_all

    found = source(folder)
    table = build_all([found])
    return table, write_tables(folder, table, found.results)


def write_tables(folder: RunFolder, table: Table, results: Sequence[Result]) -> Kept:
    """Write every format into the folder of the run, whose results these are."""
    made = []
    try:
        for name, text in rendered(table):
            folder.write_text(name, text)
            made.append(name)
            del text  # before the next one is made
        _write_cards(folder, results)
    except StoreError as error:
        return Kept(error=error)
    return Kept(f"Kept in {folder.path} ({', '.join(made)}).")


def _write_cards(folder: RunFolder, results: Sequence[Result]) -> None:
    """Beside each model file that lies in the folder, what it is."""
    from edgebench.report import cards

    there = [r for r in results if r.artifact is not None and (folder.path / r.artifact.path).is_file()]
    for path, text in cards.cards(folder.run, there):
        folder.write_text(path + cards.SUFFIX, text)


def rendered(table: Table) -> Iterator[tuple[str, str]]:
    """Every format of a table, each with the name of its file; one at a time, for they are long.

    A checkout that was updated and not installed again does not know its newest format: nothing else suffers from that.
    """
    from edgebench import plugins

    known = plugins.names("edgebench.reports")
    return ((name, plugins.load("edgebench.reports", form)(table)) for form, name in NAMES if form in known)


def finish(folder: RunFolder, as_json: bool) -> None:
    """The tables of a run that has ended, and the exit code. Raises Interrupted on Ctrl-C: its results are all on disk."""
    try:
        _finish(folder, as_json)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted, after everything was measured and kept in {folder.path}.",
            f"For its tables: edgebench report {shlex.quote(str(folder.path))}",
        ) from None


def _finish(folder: RunFolder, as_json: bool) -> None:
    from edgebench import plugins

    table, kept = tabled(folder)
    if as_json:
        say(plugins.load("edgebench.reports", "json")(table).rstrip("\n"))
    else:
        print_table(table)
    kept.tell(quiet=as_json)
    statuses = [row.result.status for row in table.rows]
    sys.exit(1 if "failed" in statuses or "ok" not in statuses else 0)


def print_table(table: Table) -> None:
    from edgebench.report.terminal import lines
    from edgebench.report.text import profile

    screen = console()
    screen.print(lines(table, screen.width))
    for row in table.rows:
        result = row.result
        layers = [
            (m.metric.partition(":")[2], m.value) for m in result.measurements if m.phase == "profile" and m.value
        ]
        if layers:
            say(f"profile of {result.cell.recipe} on {result.cell.backend}: {profile(layers)} of the operators' time")
