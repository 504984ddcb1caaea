"""The verbs that look at results: report."""

from __future__ import annotations

import click

from edgebench.cli.app import cli
from edgebench.cli.results import open_run, print_table, write_tables
from edgebench.cli.screen import say


@cli.command()
@click.argument("run_folder", default="latest", metavar="[RUN]")
@click.option("--results", default="results", metavar="FOLDER", show_default=True, help="Where results folders lie.")
@click.option(
    "--format", "form", metavar="NAME", help="Print one format (markdown, csv, json, svg) instead of the table."
)
@click.option("--from-samples", is_flag=True, help="Make every figure anew from the raw samples, and write nothing.")
def report(run_folder: str, results: str, form: str | None, from_samples: bool) -> None:
    """Write the tables of a run again from its folder (the same bytes every time), and print one."""
    from edgebench import plugins, runner
    from edgebench.report.table import build

    folder = open_run(run_folder, results)
    render = plugins.load("edgebench.reports", form) if form else None
    if not from_samples:
        write_tables(folder)
    found = runner.rebuild(folder) if from_samples else folder.results()
    if render is not None:
        say(render(build(folder.run, found)).rstrip("\n"))
    else:
        print_table(folder, found)
