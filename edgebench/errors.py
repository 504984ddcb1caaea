"""The errors a user may see: each says the problem and the fix, in one sentence each (DESIGN 9, rule 6)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgebenchError(Exception):
    """Something the user can mend. The command line prints both sentences and exits with code 2."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem} {fix}")
        self.problem = problem
        self.fix = fix


class PlanError(EdgebenchError):
    """A plan or profile file is wrong; carries every mistake found, not just the first."""


class ModelError(EdgebenchError):
    """A network, its weights or its file cannot be used."""


class DataError(EdgebenchError):
    """A data set is missing, empty, or does not fit the network."""


class MissingRuntime(EdgebenchError):
    """A backend or library that was asked for is not installed."""


class StoreError(EdgebenchError):
    """A results folder cannot be written, read or understood."""


class Interrupted(EdgebenchError):
    """A run was cut off, by Ctrl-C or by a device that is gone; what was measured is kept, and the fix is how to go on."""


def said_of(thing: object) -> str:
    """What kind of thing was given, with its article: "an int", "a list"."""
    name = type(thing).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that a misspelt one was meant to be, or ""."""
    return next(iter(difflib.get_close_matches(word, sorted(set(known)), n=1, cutoff=0.6)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `Did you mean "x"?` for the nearest known word, else the list of what there is."""
    names = sorted(set(known))
    near = nearest(word, names)
    if near:
        return f'Did you mean "{near}"?'
    return f"Known: {', '.join(names)}." if names else "There are none."
