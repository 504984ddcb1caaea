"""What the command line asked for, turned into a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgebench import plan as plans
from edgebench import toml
from edgebench.codec import Options
from edgebench.errors import PlanError
from edgebench.plan import Plan
from edgebench.quantities import duration
from edgebench.schema import PROTOCOLS, Protocol

LIMITS = ("budget_seconds", "memory_limit", "command_timeout", "sustained_seconds", "external_meter", "seed")
"""What a plan says besides how often is measured: another trust leaves it as it is."""


def asked_for(
    plan: Plan,
    *,
    generations: int | None = None,
    budget: str | None = None,
    quick: bool = False,
    precise: bool = False,
    sustained: str | None = None,
    external_meter: bool = False,
    options: Sequence[str] = (),
    **axes: Any,
) -> Plan:
    """The plan with what the command line asked for instead. Raises PlanError for what cannot be."""
    trust = "quick" if quick else "precise" if precise else ""
    plan = _with_options(plans.narrow(plan, **axes), options)
    protocol = _trusted(plan.protocol, trust) if trust else plan.protocol
    if precise or generations is not None:  # who asks for more asks for its time, whatever the plan allowed
        protocol = replace(protocol, budget_seconds=None)
    if generations is not None:
        if generations < 1:
            raise PlanError(f"--generations must be 1 or more, not {generations}.", "Give a whole number, like 5.")
        protocol = plans.with_generations(protocol, generations)
    if budget is not None:
        protocol = replace(protocol, budget_seconds=duration(budget))
    if sustained is not None:
        protocol = replace(protocol, sustained_seconds=duration(sustained))
        plan = replace(plan, metrics=tuple(dict.fromkeys((*plan.metrics, "sustained"))))
    if external_meter:
        protocol = replace(protocol, external_meter=True)
        plan = replace(plan, metrics=tuple(dict.fromkeys((*plan.metrics, "energy"))))
    return replace(plan, protocol=protocol)


def _trusted(own: Protocol, trust: str) -> Protocol:
    """The sampling of another trust, within the limits of the plan's own protocol."""
    return replace(PROTOCOLS[trust], **{name: getattr(own, name) for name in LIMITS})


def _with_options(plan: Plan, texts: Sequence[str]) -> Plan:
    """The plan with `RUNTIME.KEY=VALUE` texts as options of its backends; a value is TOML's, and else plain text."""
    options = {name: dict(given) for name, given in plan.backend_options.items()}
    asked: dict[str, str] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        name, _, key = place.partition(".")
        if not name or not key or not equals:
            raise PlanError(
                f'"{text}" is not an option of a runtime.',
                "Write it so: --option openvino.performance_hint=throughput.",
            )
        if asked.setdefault(place, value) != value:
            raise PlanError(f"{place} was given more than once, as {asked[place]} and {value}.", "Give it once.")
        options.setdefault(name, {})[key] = toml.value(value)
    return replace(plan, backend_options=Options(options))


def shapes_of(texts: Sequence[str]) -> dict[str, list[int]]:
    """`NAME=AxBxC` texts -> name to shape. Raises PlanError."""
    out = {}
    for text in texts:
        name, _, shape = text.partition("=")
        try:
            dims = [int(d) for d in shape.split("x")]
        except ValueError:
            dims = []
        if not name or not dims or min(dims) < 1:
            raise PlanError(
                f'"{text}" is not a shape.', "Write the input's name and its shape: --shape input=1x3x224x224."
            )
        if name in out:
            raise PlanError(f'Two shapes are given for "{name}".', "Give each input one --shape.")
        out[name] = dims
    return out
