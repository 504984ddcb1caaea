"""The verbs that decide: compare, choose, history."""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgebench.cli.app import cli
from edgebench.cli.results import called, open_run, open_runs
from edgebench.cli.screen import say
from edgebench.decide.need import LIMITS, MINIMIZE

if TYPE_CHECKING:
    from edgebench.decide.rows import Row
    from edgebench.schema import Result
    from edgebench.store import RunFolder

COMPARE_EXAMPLES = """
\b
Examples:
  edgebench compare RUN_A RUN_B                is B better than A, cell by cell?
  edgebench compare RUN_A RUN_B --markdown     for a pull request
\b
Exit codes: 0 no regression, 1 a regression, 4 no regression but something unresolved.
"""
CHOOSE_EXAMPLES = """
\b
Examples:
  edgebench choose RUN --max-latency-p99 10ms --min-accuracy 85%
  edgebench choose RUN_A RUN_B --max-memory 64MiB --minimize size
\b
Exit codes: 0 a row passes, 3 none can, 4 none surely does.
"""
HISTORY_EXAMPLES = """
\b
Examples:
  edgebench history                            the cells that have a history
  edgebench history teacher/fp32/onnxruntime   one cell over all runs: its id, or any part that tells it from others
"""
_results = click.option(
    "--results", default="results", metavar="FOLDER", show_default=True, help="Where results folders lie."
)
_json = click.option("--json", "as_json", is_flag=True, help="For a script.")


def _width() -> int:
    """Of the terminal; 100 columns for a file, as the same input must give the same bytes."""
    return max(40, shutil.get_terminal_size((100, 24)).columns) if sys.stdout.isatty() else 100


def _finish(answer: dict[str, Any], text: Callable[[], str], as_json: bool) -> None:
    from edgebench.report.json import written

    say(written(answer).rstrip("\n") if as_json else text())
    sys.exit(answer.get("exit_code", 0))


@cli.command(epilog=COMPARE_EXAMPLES)
@click.argument("run_a", metavar="A")
@click.argument("run_b", metavar="B")
@click.option("--strict", is_flag=True, help="Refuse runs that differ in more than what was measured (exit code 2).")
@click.option("--markdown", "as_markdown", is_flag=True, help="As Markdown, for a pull request.")
@_results
@_json
def compare(run_a: str, run_b: str, strict: bool, as_markdown: bool, results: str, as_json: bool) -> None:
    """Say whether run B is faster, slower or the same as run A, cell by cell."""
    from edgebench.decide import compare_text
    from edgebench.decide.answers import answers
    from edgebench.decide.comparable import Side
    from edgebench.decide.compare import compare as decide

    folders = [open_run(name, results) for name in (run_a, run_b)]
    a, b = (Side(run=f.run, results=f.results(), path=called(f)) for f in folders)
    right_a, right_b = (answers(f.samples()) for f in folders)
    answer = decide(a, b, (right_a, right_b), strict)
    _finish(
        answer,
        lambda: compare_text.markdown(answer).rstrip("\n") if as_markdown else compare_text.render(answer, _width()),
        as_json,
    )


def _limits(command: Callable[..., Any]) -> Callable[..., Any]:
    for option, known in reversed(list(LIMITS.items())):
        command = click.option(option, metavar=known.kind.upper(), help=known.help)(command)
    return command


@cli.command(epilog=CHOOSE_EXAMPLES)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@_limits
@click.option("--runtime", "runtimes", multiple=True, metavar="NAME", help="Only this runtime; may be repeated.")
@click.option("--model", metavar="NAME", help="Only rows of this network, where the runs hold several.")
@click.option(
    "--evidence",
    metavar="GRADE",
    help="The least that counts: measured, published, calibrated, transferred, simulated, roofline.",
)
@click.option(
    "--minimize",
    default="latency",
    metavar="FIGURE",
    show_default=True,
    help=f"{', '.join(MINIMIZE)}: what should be least.",
)
@_results
@_json
def choose(
    runs: Sequence[str], runtimes: Sequence[str], model: str | None, evidence: str | None, minimize: str, results: str,
    as_json: bool, **limits: str | None,
) -> None:  # fmt: skip
    """Say which row of the runs to ship: what surely keeps to all limits, and is least in one figure."""
    from edgebench.decide import choose_text
    from edgebench.decide.choose import choose as decide
    from edgebench.decide.doubts import doubts
    from edgebench.decide.need import need

    gc.disable()  # as for a report: thousands of records that live until the end
    given = {f"--{name.replace('_', '-')}": text for name, text in limits.items()}
    asked = need(given, minimize, evidence, runtimes)
    found = [(f, f.results()) for f in open_runs(runs, results)]
    rows = _of_model(_rows(found), model)
    answer = decide(rows, asked, doubts(((f.run, own) for f, own in found), {f.run.id: called(f) for f, _ in found}))
    _finish(answer, lambda: choose_text.render(answer, _width()), as_json)


def _of_model(rows: Sequence[Row], model: str | None) -> list[Row]:
    from edgebench.errors import EdgebenchError, did_you_mean

    known = {row.axes["model"] for row in rows}
    if model is not None and model not in known:
        raise EdgebenchError(f'No row is of the model "{model}".', did_you_mean(model, known))
    return [row for row in rows if model in (None, row.axes["model"])]


def _rows(found: Sequence[tuple[RunFolder, Sequence[Result]]]) -> list[Row]:
    """The rows of all runs, with what only their raw samples know: the same figures whatever is asked of them."""
    from edgebench.decide import rows
    from edgebench.decide.answers import answers, tail_floors

    scope = rows.energy_scope([r for _, results in found for r in results])
    out = []
    for folder, results in found:
        raw = rows.Raw(right=answers(folder.samples()), floors=tail_floors(folder.samples()))
        out += rows.rows(folder.run, results, scope, raw)
    return out


@cli.command(epilog=HISTORY_EXAMPLES)
@click.argument("cell", required=False)
@click.option(
    "--results", "roots", multiple=True, default=("results",), metavar="FOLDER", show_default=True,
    help="Where results folders lie; may be repeated.",
)  # fmt: skip
@_json
def history(cell: str | None, roots: Sequence[str], as_json: bool) -> None:
    """The latency of the same cell over all runs, with the points where it changed."""
    from edgebench.decide import history_text
    from edgebench.decide.history import found_runs, history, overview

    runs, unread = found_runs([Path(root) for root in roots])
    if cell is None:
        answer = overview(runs, unread)
        _finish(answer, lambda: history_text.overview(answer, _width()), as_json)
    else:
        answer = history(runs, cell, unread)
        _finish(answer, lambda: history_text.render(answer, _width()), as_json)
