"""For which targets a model file is legal: every backend that is registered, and the rules that are known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgebench import plugins
from edgebench.errors import EdgebenchError
from edgebench.inspect import lint
from edgebench.inspect.graph import Network
from edgebench.inspect.qdq import Facts

ONLY_HERE: Mapping[str, frozenset[str]] = {"tensorrt": frozenset({"onnx"})}
"""Targets whose rules are known even where their backend is not registered, and what they open."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """`legal`: it opens the file and computes what the file says. `reasons`: why not, or why it is slow there."""

    name: str
    legal: bool
    reasons: tuple[str, ...] = ()
    other_format: bool = False
    """It opens files of other formats only."""


def judge(network: Network) -> tuple[Target, ...]:
    """Every target, those that it is legal for first; one with rules for several processors is told once for each."""
    opens = {**ONLY_HERE, **_backends()}
    facts = _facts(network) if network.format == "onnx" else None
    found: list[Target] = []
    for backend, formats in sorted(opens.items()):
        if network.format not in formats:
            found.append(
                Target(name=backend, legal=False, reasons=(f"opens {_listed(formats)} only",), other_format=True)
            )
            continue
        places = [name for name in lint.RULES if name.split()[0] == backend] or [backend]
        found += [_rated(name, network, facts) for name in places]
    return tuple(sorted(found, key=lambda target: not target.legal))


def _backends() -> dict[str, frozenset[str]]:
    known = {}
    for name in plugins.offered(plugins.names("edgebench.backends")):
        try:
            known[name] = frozenset(plugins.backend(name).accepts)
        except EdgebenchError:
            continue  # a stranger's that is broken: edgebench backends says so
    return known


def _rated(name: str, network: Network, facts: Facts | None) -> Target:
    if network.misfit:
        return Target(name=name, legal=False, reasons=(network.misfit,))
    if facts is None:
        reasons = tuple(f"the operator {op} is not the format's own" for op in network.custom)
        return Target(name=name, legal=not reasons, reasons=reasons)
    findings = lint.check(facts, name)
    return Target(
        name=name,
        legal=not any(f.fatal for f in findings),
        reasons=tuple(f.text if f.fatal else f"slow: {f.text}" if f.slow else f.text for f in findings),
    )


def _facts(network: Network) -> Facts:
    from edgebench.inspect import onnx_file

    return Facts(onnx_file.load(network.path), network.tensors)


def _listed(formats: Sequence[str] | frozenset[str]) -> str:
    return " and ".join(sorted(formats))


def as_json(targets: Sequence[Target]) -> list[dict[str, Any]]:
    return [
        {"target": t.name, "legal": t.legal, "reasons": list(t.reasons), "other_format": t.other_format}
        for t in targets
    ]
