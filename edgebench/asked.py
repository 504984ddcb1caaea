"""What the command line asked for, turned into a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgebench import plan as plans
from edgebench.errors import PlanError
from edgebench.plan import Plan
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
    **axes: Any,
) -> Plan:
    """The plan with what the command line asked for instead. Raises PlanError for what cannot be."""
    if quick and precise:
        raise PlanError("--quick and --precise were both asked for.", "Give one of the two.")
    trust = "quick" if quick else "precise" if precise else ""
    plan = plans.narrow(plan, **axes)
    protocol = _trusted(plan.protocol, trust) if trust else plan.protocol
    if generations is not None:
        if generations < 1:
            raise PlanError(f"--generations must be 1 or more, not {generations}.", "Give a whole number, like 5.")
        protocol = plans.with_generations(protocol, generations)
    if budget is not None:
        protocol = replace(protocol, budget_seconds=plans.duration(budget))
    if sustained is not None:
        protocol = replace(protocol, sustained_seconds=plans.duration(sustained))
        plan = replace(plan, metrics=tuple(dict.fromkeys((*plan.metrics, "sustained"))))
    if external_meter:
        protocol = replace(protocol, external_meter=True)
        plan = replace(plan, metrics=tuple(dict.fromkeys((*plan.metrics, "energy"))))
    return replace(plan, protocol=protocol)


def _trusted(own: Protocol, trust: str) -> Protocol:
    """The sampling of another trust, within the limits of the plan's own protocol."""
    return replace(PROTOCOLS[trust], **{name: getattr(own, name) for name in LIMITS})


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
        out[name] = dims
    return out
