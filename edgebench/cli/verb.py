"""What holds of every verb: an option of one value is given once, options that answer one question exclude each other, and a
reader that leaves early is no error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.core import ParameterSource

from edgebench.errors import EdgebenchError

BROKEN_PIPE = 128 + 13
"""The status of a program that SIGPIPE ended, as a shell tells it."""
EXCLUSIVE = (("--markdown", "--json"), ("--quick", "--precise"), ("--from-samples", "--out"))

FIXES = {
    "--device": "A run is on one device: run it once on each, then put them side by side: edgebench report RUN_A RUN_B"
}
"""What to do where giving an option once is not all."""


class Verb(click.Command):
    """A command that refuses what click would let win in silence. Raises EdgebenchError."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:  # as while a shell completes a word
            self._refuse_second_values(ctx, list(args))
        rest = super().parse_args(ctx, args)
        _refuse_together(ctx)
        return rest

    def _refuse_second_values(self, ctx: click.Context, args: list[str]) -> None:
        """The line is parsed as if each option could be repeated: then what was given twice is there to be seen."""
        parser = self.make_parser(ctx)
        single = [p for p in self.get_params(ctx) if isinstance(p, click.Option) and not (p.multiple or p.is_flag)]
        for option in single:
            parser.add_option(option, option.opts, option.name, action="append", nargs=option.nargs)
        found, _, _ = parser.parse_args(args=args)
        for option in single:
            values = list(dict.fromkeys(map(_said, found.get(str(option.name)) or ())))
            if len(values) > 1:
                name = max(option.opts, key=len)
                fix = FIXES.get(name, "Give it once.")
                raise EdgebenchError(f"{name} was given more than once, as {' and '.join(values)}.", fix)


def _said(value: Any) -> str:
    return value if isinstance(value, str) else "its default"  # as `--resume` without a value


def _refuse_together(ctx: click.Context) -> None:
    given = {
        name
        for parameter in ctx.command.params
        if ctx.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
        for name in parameter.opts
    }
    for one, other in EXCLUSIVE:
        if {one, other} <= given:
            raise EdgebenchError(f"{one} and {other} were both asked for.", "Give one of the two.")


class Verbs(click.Group):
    """A group of verbs, and of groups of verbs."""

    command_class = Verb
    group_class = type

    def make_context(self, *given: Any, **more: Any) -> click.Context:
        with _quiet_pipe():  # --help prints here
            return super().make_context(*given, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with _quiet_pipe():
            return super().invoke(ctx)


@contextmanager
def _quiet_pipe() -> Iterator[None]:
    """Where the reader of our output has what it wanted (`| head`), end without a word, as SIGPIPE ends a program."""
    try:
        yield
    except (BrokenPipeError, SystemExit) as end:
        # Rich makes a status of 1 of the former, and so does click further out.
        if not isinstance(end, BrokenPipeError) and not isinstance(end.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be written has nowhere to go
        sys.exit(BROKEN_PIPE)
