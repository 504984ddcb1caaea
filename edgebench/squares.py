"""A plan x a device -> the ordered squares of the comparison. Pure: reads no file, asks no machine.

An impossible square (a precision that a runtime does not have) is kept, with its reason: never silence.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgebench import plugins
from edgebench.backend import Backend
from edgebench.codec import Options
from edgebench.errors import PlanError, did_you_mean
from edgebench.plan import Plan
from edgebench.schema import Cell, Recipe, Step

QUANTIZE = Step(method="quantize")


@dataclass(frozen=True, kw_only=True)
class Square:
    """One square of the table: its cell, how its artifact is made, or why it cannot be (`skip`)."""

    cell: Cell
    recipe: Recipe
    lowering: str = ""
    baseline: str | None = None
    skip: str = ""


def expand(
    plan: Plan,
    device: str,
    backends: Mapping[str, Backend],
    precision_of: Callable[[Recipe], str | None],
    file_format: str = "",
    cpu: Mapping[str, Any] | None = None,
    refused: Mapping[str, str] | None = None,
) -> tuple[Square, ...]:
    """All squares in the order of the plan: recipes, then precisions, then backends, batches, threads.

    A recipe that quantizes has its own precision (`precision_of`) and is not multiplied by the plan's. For another one,
    "int8" means: the recipe with a default quantize step behind it. `file_format` is that of a ready model file, `cpu` what the
    device says of its processor, `refused` why the recipes of some names cannot be had at all.
    """
    squares: list[Square] = []
    for recipe in plan.recipes:
        own = precision_of(recipe)
        for precision in (own,) if own else plan.precisions:
            steps = recipe.steps + (QUANTIZE,) if precision == "int8" and not own else recipe.steps
            built = replace(recipe, steps=steps)
            for name, batch, threads in itertools.product(plan.backends, plan.batches, plan.threads):
                cell = Cell(
                    model=(recipe.model or plan.model).name,
                    recipe=recipe.name,
                    backend=name,
                    device=device,
                    precision=precision,
                    batch=batch,
                    threads=threads,
                    options=Options(plan.backend_options.get(name, {})),
                )
                if why := (refused or {}).get(recipe.name):
                    squares.append(Square(cell=cell, recipe=built, skip=why))
                    continue
                squares.append(_square(cell, built, backends[name], squares, file_format, cpu or {}))
    return tuple(squares)


def _square(
    cell: Cell, recipe: Recipe, backend: Backend, earlier: Sequence[Square], file_format: str, cpu: Mapping[str, Any]
) -> Square:
    asked = {**cell.options, "batch": cell.batch, "threads": cell.threads, "cpu": cpu}
    lowering = backend.lowering(cell.precision, asked)
    if lowering is None:
        has = ", ".join(backend.precisions)
        why = f": {backend.refused[cell.precision]}" if cell.precision in backend.refused else ""
        return Square(cell=cell, recipe=recipe, skip=f"{backend.name} has no {cell.precision}{why}; it has {has}.")
    if file_format and file_format not in backend.accepts:
        takes = ", ".join(sorted(backend.accepts))
        return Square(
            cell=cell, recipe=recipe, skip=f"{backend.name} does not open {file_format} files; it opens {takes}."
        )
    same = ("model", "backend", "batch", "threads", "options")
    baseline = next(
        (s.cell.id for s in earlier if not s.skip and all(getattr(s.cell, k) == getattr(cell, k) for k in same)),
        cell.id,
    )
    return Square(cell=cell, recipe=recipe, lowering=file_format or lowering, baseline=baseline)


def check_backend_options(plan: Plan, backends: Mapping[str, Backend]) -> None:
    """Refuse options that a backend does not have, or values of them that mean nothing. Raises EdgebenchError."""
    for name, options in plan.backend_options.items():
        if name not in backends:
            if name not in plan.backends:
                known = name in plugins.backends()
                raise PlanError(
                    f'Options are set for the backend "{name}", which is not used here.',
                    f"Measure on it, too (--backend {name}, or in backends of [run]), or leave them out."
                    if known
                    else did_you_mean(name, plan.backends),
                )
            continue
        check_options(backends[name], options)


def check_options(backend: Backend, options: Mapping[str, Any]) -> None:
    """Refuse what this backend does not have, and values that mean nothing to it. Raises EdgebenchError."""
    for option in options:
        if option not in backend.options:
            raise PlanError(
                f'Backend "{backend.name}" has no option "{option}".',
                f"{did_you_mean(option, backend.options)} See: edgebench backends {backend.name}",
            )
    backend.check(options)
