"""From a results folder to the tables in it and on the screen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgebench.cli.screen import console, say

if TYPE_CHECKING:
    from edgebench.schema import Result
    from edgebench.store import RunFolder


def open_run(name: str, results: str) -> RunFolder:
    from edgebench import store

    root = Path(results)
    if name == "latest":
        return store.open_run(store.latest(root))
    return store.open_run(Path(name) if Path(name).exists() or "/" in name else root / name)


def write_tables(folder: RunFolder) -> None:
    from edgebench import plugins
    from edgebench.report.table import build

    table = build(folder.run, folder.results())
    for form, name in (("markdown", "table.md"), ("csv", "table.csv"), ("json", "table.json"), ("svg", "latency.svg")):
        folder.write_text(name, plugins.load("edgebench.reports", form)(table))


def finish(folder: RunFolder, as_json: bool) -> None:
    from edgebench import plugins
    from edgebench.report.table import build

    write_tables(folder)
    results = folder.results()
    if as_json:
        say(plugins.load("edgebench.reports", "json")(build(folder.run, results)).rstrip("\n"))
    else:
        print_table(folder, results)
    sys.exit(1 if any(r.status == "failed" for r in results) else 0)


def print_table(folder: RunFolder, results: Sequence[Result]) -> None:
    from edgebench.report.table import build
    from edgebench.report.terminal import lines
    from edgebench.report.text import profile

    screen = console()
    screen.print(lines(build(folder.run, results), screen.width))
    for result in results:
        layers = [
            (m.metric.partition(":")[2], m.value) for m in result.measurements if m.phase == "profile" and m.value
        ]
        if layers:
            say(f"profile of {result.cell.recipe} on {result.cell.backend}: {profile(layers)} of the operators' time")
    say(f"\nKept in {folder.path} (table.md, table.csv, table.json, latency.svg).")
