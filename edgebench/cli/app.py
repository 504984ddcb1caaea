"""The command itself: its group, its errors, its exit codes. The verbs add themselves in their own files."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import version

import click

from edgebench.cli.screen import say
from edgebench.cli.verb import Verbs
from edgebench.errors import EdgebenchError, StoreError

MAIN_EXAMPLES = """
\b
Examples:
  edgebench run                 compress, compile, measure and compare, on real data
  edgebench bench model.onnx    measure a ready model on every runtime that opens it
  edgebench report RUN          the table of an earlier run, again
  edgebench doctor              what this machine can do, and what is missing
\b
Exit codes: 0 all cells ok, 1 some cells failed, 2 bad input or interrupted.
"""


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=MAIN_EXAMPLES,
)
@click.version_option(version("edgebench"), prog_name="edgebench")
@click.pass_context
def cli(context: click.Context) -> None:
    """Compress a network, compile it for every edge runtime, measure it here or on a board, and compare."""
    if context.invoked_subcommand is None:
        say(context.get_help())


def main(argv: Sequence[str] | None = None) -> None:
    """The entry point of the `edgebench` command."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a job that is ended keeps what it has, as on Ctrl-C
    try:
        code = cli.main(args=None if argv is None else list(argv), prog_name="edgebench", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except SystemExit as end:
        _leave_at_once(end)
        raise
    except EdgebenchError as error:
        _fail(error.problem, error.fix)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "edgebench"
        _fail(error.format_message(), f"See: {where} --help")
    except click.ClickException as error:
        _fail(error.format_message(), "See: edgebench --help")
    except (click.Abort, KeyboardInterrupt):
        _fail("Interrupted.", "What was made so far is kept: give the same command again.")
    except OSError as error:
        if error.errno == 28:
            failure = StoreError("The disk is full.", "Free some space, then go on with: edgebench run --resume RUN")
            _fail(failure.problem, failure.fix)
        raise


def _leave_at_once(end: SystemExit) -> None:
    """Where a verb turned the garbage collection off, its millions of records are not freed one by one."""
    if not gc.isenabled() and isinstance(end.code, int):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)


def _fail(problem: str, fix: str) -> None:
    say(f"Error: {problem}\n  Fix: {fix}", err=True)
    sys.exit(2)
