"""Which row a row's last steps started from: the same runtime and conditions, and the longest beginning of its recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgebench.codec import canonical
from edgebench.report.sections.base import usable
from edgebench.report.table import Row, Table

LOWERING = {"quantize", "qat", "fp16", "bf16", "half"}
"""Methods whose result has a precision of its own."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The row before, and the names of the methods that were applied since."""

    row: Row
    steps: tuple[str, ...]


def origins(table: Table) -> Callable[[Row], Origin | None]:
    """None for a row that no other row of the table leads to."""
    plans: dict[int, dict[str, tuple[tuple[str, str], ...]]] = {}
    groups: dict[tuple[Any, ...], list[tuple[Row, tuple[tuple[str, str], ...]]]] = {}

    def steps_of(row: Row) -> tuple[tuple[str, str], ...] | None:
        if id(row.run) not in plans:
            plans[id(row.run)] = _recipes(row)
        known = plans[id(row.run)].get(row.result.cell.recipe)
        return None if known is None else _with_precision(known, row)

    for row in table.rows:
        steps = steps_of(row)
        if steps is not None and usable(row):
            groups.setdefault(_place(row), []).append((row, steps))

    def origin(row: Row) -> Origin | None:
        steps = steps_of(row)
        if steps is None:
            return None
        before = [(r, s) for r, s in groups.get(_place(row), ()) if len(s) < len(steps) and steps[: len(s)] == s]
        if not before:
            return None
        nearest, own = max(before, key=lambda pair: len(pair[1]))
        return Origin(row=nearest, steps=tuple(method for method, _ in steps[len(own) :]))

    return origin


def _place(row: Row) -> tuple[Any, ...]:
    cell = row.result.cell
    return row.run.id, cell.model, cell.device, cell.backend, cell.batch, cell.threads, cell.options


def _recipes(row: Row) -> dict[str, tuple[tuple[str, str], ...]]:
    """The steps of each recipe of a run's plan, (method, options); those of records that say otherwise are left out."""
    out = {}
    found = row.run.plan.get("recipes")
    for recipe in found if isinstance(found, (list, tuple)) else ():
        steps = recipe.get("steps", ()) if isinstance(recipe, Mapping) else None
        if isinstance(steps, (list, tuple)) and all(isinstance(s, Mapping) for s in steps):
            out[str(recipe.get("name"))] = tuple(
                (str(s.get("method")), canonical(s.get("options") or {})) for s in steps
            )
    return out


def _with_precision(steps: tuple[tuple[str, str], ...], row: Row) -> tuple[tuple[str, str], ...]:
    """A precision that the recipe's own steps do not give is one step more; one that no plan asked for is their own."""
    precision, asked = row.result.cell.precision, row.run.plan.get("precisions") or ("fp32",)
    if precision == "fp32" or precision not in asked or any(method in LOWERING for method, _ in steps):
        return steps
    return (*steps, ("quantize" if precision == "int8" else precision, ""))
