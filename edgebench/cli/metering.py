"""The verb that joins a power meter's log to a run: energy."""

from __future__ import annotations

from pathlib import Path

import click

from edgebench.cli.app import cli
from edgebench.cli.results import open_run, print_table, tabled
from edgebench.cli.screen import say

EXAMPLES = """
\b
Examples:
  edgebench run --external-meter              while the meter logs: seconds since 1970, watts
  edgebench energy latest meter.csv           then join its log to the run
"""


@cli.command(epilog=EXAMPLES)
@click.argument("run", metavar="RUN")
@click.argument("log", metavar="LOG.csv")
@click.option(
    "--scope",
    default="wall",
    show_default=True,
    type=click.Choice(["wall", "carrier", "module", "soc", "rail"]),
    help="What the meter sees.",
)
@click.option("--results", default="results", metavar="FOLDER", show_default=True, help="Where results folders lie.")
def energy(run: str, log: str, scope: str, results: str) -> None:
    """Join the log of an outside power meter to a run that was measured with --external-meter."""
    from edgebench import metered
    from edgebench.devices.sensors.meter_csv import MeterCsv

    folder = open_run(run, results)
    joined = metered.join(folder, MeterCsv(Path(log), scope))  # type: ignore[arg-type]
    table, kept = tabled(folder)
    print_table(table)
    kept.tell()
    if joined.given:
        cells = "1 cell" if joined.given == 1 else f"{joined.given} cells"
        say(f"The energy of {cells} was joined from {log}.")
    for line in joined.lacking:
        say(f"No energy from {log} for {line}.")
