"""Which layers suffer from int8: the sweep of a quantize step, as the files' own facts tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgebench.report.sections.base import MOST, Section
from edgebench.report.table import Table
from edgebench.report.text import percent, plain


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The sweep of one recipe: (layer, signal to noise in dB, agreement), the most sensitive first, and who stayed in float."""

    title: str
    layers: tuple[tuple[str, float, float], ...]
    kept: tuple[str, ...]
    budget: tuple[tuple[int, float], ...]
    """(layers in float, accuracy lost) of each trial of max_drop."""


def sweeps(table: Table) -> tuple[Sweep, ...]:
    """Each one once, though every runtime's file of the recipe carries it."""
    found: dict[Sweep, None] = {}
    for row in table.rows:
        facts: Mapping[str, object] = row.result.artifact.facts if row.result.artifact else {}
        rows, kept, budget = (_list(facts, key) for key in ("sensitivity", "float_layers", "budget"))
        layers = tuple(
            (plain(str(r["layer"])), float(r["sqnr_db"]), float(r["agreement"])) for r in rows if isinstance(r, Mapping)
        )
        if layers:
            cell = row.result.cell
            tried = tuple((int(b["float"]), float(b["drop"])) for b in budget if isinstance(b, Mapping))
            title = plain(f"{cell.recipe} of {cell.model}")
            found[Sweep(title=title, layers=layers, kept=tuple(plain(str(k)) for k in kept), budget=tried)] = None
    return tuple(found)


def _list(facts: Mapping[str, object], key: str) -> Sequence[object]:
    value = facts.get(key, ())
    return value if isinstance(value, (list, tuple)) else ()


def section(table: Table) -> Section | None:
    """One line for each layer of each sweep; None where no recipe asked for one."""
    found = sweeps(table)
    if not found:
        return None
    lines = [
        (sweep.title, layer, f"{sqnr:.1f} dB", percent(agreement), "float" if layer in sweep.kept else "int8")
        for sweep in found
        for layer, sqnr, agreement in sweep.layers
    ]
    return Section(
        key="sensitivity",
        title="Which layers suffer from int8?",
        words=(
            "Each layer was quantized alone and the network's outputs compared with those in float: the lower the signal "
            "to noise ratio, the more sensitive the layer.",
            *(words for sweep in found for words in _budget(sweep)),
        ),
        head=("recipe", "layer", "signal to noise", "agreement", "runs in"),
        rows=tuple(lines[:MOST]),
        data=[{"recipe": s.title, "layers": s.layers, "float_layers": s.kept, "budget": s.budget} for s in found],
    )


def _budget(sweep: Sweep) -> tuple[str, ...]:
    if not sweep.budget:
        return ()
    (first, before), (last, after) = sweep.budget[0], sweep.budget[-1]
    return (
        f"{sweep.title}: {100 * before:.2f} points lost with {first} layers in float, {100 * after:.2f} with {last}.",
    )
