"""The options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def axes(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `run`, `bench` and `compress` narrow a plan with."""
    for option in reversed(
        (
            click.option(
                "--backend", "backends", multiple=True, metavar="NAME", help="Only this runtime; may be repeated."
            ),
            click.option(
                "--batch", "batches", multiple=True, type=int, metavar="N", help="Batch size; may be repeated."
            ),
            click.option(
                "--threads", multiple=True, type=int, metavar="N", help="Threads per inference; may be repeated."
            ),
            click.option(
                "--precision",
                "precisions",
                multiple=True,
                metavar="P",
                help="fp32, fp16, bf16 or int8; may be repeated.",
            ),
            click.option(
                "--option",
                "options",
                multiple=True,
                metavar="RUNTIME.KEY=VALUE",
                help="An option of a runtime (edgebench backends RUNTIME lists them); may be repeated.",
            ),
        )
    ):
        command = option(command)
    return command


def measuring(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of everything that measures."""
    for option in reversed(
        (
            click.option(
                "--device",
                default="local",
                metavar="NAME",
                show_default=True,
                help="Where to measure: see edgebench devices.",
            ),
            click.option(
                "--metric",
                "metrics",
                multiple=True,
                metavar="NAME",
                help="Also measure: server, multistream, offline, energy, sustained, profile, gpu, application.",
            ),
            click.option(
                "--external-meter",
                is_flag=True,
                help="Keep windows of idle and load for the log of an outside power meter: see edgebench energy.",
            ),
            click.option("--sustained", metavar="TIME", help='Also measure under load for so long, like "10m".'),
            click.option(
                "--generations", type=int, metavar="N", help="Fresh processes per cell (more: narrower intervals)."
            ),
            click.option(
                "--quick",
                is_flag=True,
                help="Two to four short generations: seconds, at a lower trust.",
            ),
            click.option("--precise", is_flag=True, help="Until every ratio is known to 1 %."),
            click.option("--budget", metavar="TIME", help='Time for the whole run, like "5m".'),
            click.option(
                "--results",
                default="results",
                metavar="FOLDER",
                show_default=True,
                help="Where results folders are made.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print the table as JSON."),
        )
    ):
        command = option(command)
    return command
