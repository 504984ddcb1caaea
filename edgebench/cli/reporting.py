"""The verbs that look at results: report, import."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgebench.cli.app import cli
from edgebench.cli.results import Kept, open_runs, print_table, rendered, source, tabled, write_tables
from edgebench.cli.screen import say
from edgebench.errors import EdgebenchError, StoreError

if TYPE_CHECKING:
    from edgebench.report.table import Table

REPORT_EXAMPLES = """
\b
Examples:
  edgebench report                                 the latest run: report.html and tables in its folder
  edgebench report RUN_A RUN_B --out comparison    several runs or devices side by side
  edgebench report RUN --figures figures           pictures for a paper or a slide
"""
IMPORT_EXAMPLES = """
\b
Examples:
  edgebench import times.json --model resnet50 --device orin
  edgebench import tiny_results_v1.2/closed/STMicroelectronics
  edgebench import table.csv --map latency=mean_ms:ms --map accuracy=top1:%
"""


@cli.command(epilog=REPORT_EXAMPLES)
@click.argument("run_folders", nargs=-1, metavar="[RUN]...")
@click.option("--results", default="results", metavar="FOLDER", show_default=True, help="Where results folders lie.")
@click.option(
    "--format", "form", metavar="NAME", help="Print one format (html, markdown, csv, json, svg) instead of the table."
)
@click.option("--out", metavar="FOLDER", help="Write into this folder; several runs need one [default: report].")
@click.option("--figures", metavar="FOLDER", help="Also write the charts as SVG and PNG into this folder.")
@click.option("--from-samples", is_flag=True, help="Make every figure anew from the raw samples, and write nothing.")
def report(
    run_folders: Sequence[str], results: str, form: str | None, out: str | None, figures: str | None, from_samples: bool
) -> None:
    """Write the report of a run, or one of several, from their folders (the same bytes every time), and print one."""
    from edgebench import plugins, runner
    from edgebench.report.table import build_all

    gc.disable()  # ten thousand rows are millions of records that live until the end: looking for garbage only costs time
    folders = open_runs(run_folders or ("latest",), results)
    render = plugins.load("edgebench.reports", form) if form else None
    sources = [source(f, runner.rebuild(f) if from_samples else None) for f in folders]
    table = build_all(sources)
    kept = Kept()
    if not from_samples and len(folders) == 1 and out is None:
        kept = write_tables(folders[0], table, sources[0].results)
    elif not from_samples:
        kept = _write_aside(table, Path(out or "report"))
    if render is None:
        print_table(table)
    else:
        say(render(table).rstrip("\n"))
    if kept.error is not None and out is not None:
        raise kept.error  # to write there was asked for
    kept.tell(quiet=render is not None)
    if figures is not None:
        _write_figures(table, Path(figures))


def _write_aside(table: Table, out: Path) -> Kept:
    """The report of several runs has no run folder of its own."""
    from edgebench import store

    made = []
    try:
        with store.writing(out):
            out.mkdir(parents=True, exist_ok=True)
            for name, text in rendered(table):
                (out / name).write_text(text, encoding="utf-8", newline="\n")
                made.append(name)
    except StoreError as error:
        return Kept(error=error)
    return Kept(f"Kept in {out} ({', '.join(made)}).")


def _write_figures(table: Table, out: Path) -> None:
    from edgebench import store
    from edgebench.report import figures

    drawn = figures.svgs(table)
    if not drawn:
        raise EdgebenchError("There is nothing to draw: no row has a latency.", "Name a run that has figures.")
    with store.writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, text in drawn.items():
            (out / f"{name}.svg").write_text(text, encoding="utf-8", newline="\n")
        for name, data in figures.pngs(table).items():
            (out / f"{name}.png").write_bytes(data)


@cli.command("import", epilog=IMPORT_EXAMPLES)
@click.argument("file", metavar="FILE")
@click.option("--format", "form", metavar="NAME", help="mlperf-tiny, trtexec, litert, benchmark_app, llama-bench, csv.")
@click.option("--map", "maps", multiple=True, metavar="METRIC=COLUMN[:UNIT]", help="For CSV; may be repeated.")
@click.option("--out", default="results", metavar="FOLDER", show_default=True, help="Where the run folder goes.")
@click.option("--model", default="", metavar="NAME", help="The network, where the file does not name it.")
@click.option("--device", default="", metavar="NAME", help="The device, where the file does not name it.")
@click.option("--precision", default="", metavar="P", help="The precision, where the file does not say it.")
def import_file(
    file: str, form: str | None, maps: Sequence[str], out: str, model: str, device: str, precision: str
) -> None:
    """Other tools' results as a run of its own: every figure is marked as published (†), with its source."""
    from edgebench import imports, measure, store
    from edgebench.report.text import several

    known = imports.Known(model=model, device=device, precision=precision)
    found = imports.read(Path(file), form, known=known, maps=maps)
    run = imports.run_of(found, started=measure.utc_stamp())
    with store.create(Path(out), run) as folder:
        for result in found.results:
            folder.append(result)
        table, kept = tabled(folder)
    print_table(table)
    if found.unread:
        named = several(found.unread, 8)
        columns = "column" if len(found.unread) == 1 else "columns"
        say(f"\nNot read: the {columns} {named}. Name one that is a metric with: --map METRIC=COLUMN:UNIT")
    kept.tell()
    if all(result.status == "failed" for result in found.results):
        sys.exit(1)
