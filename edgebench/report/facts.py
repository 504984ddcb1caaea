"""The header of a table: which device, which versions, how it was measured, and what reduces trust in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgebench.codec import from_json
from edgebench.errors import StoreError
from edgebench.plugins import FLOOR
from edgebench.report.columns import unpublished
from edgebench.report.text import count, plain
from edgebench.schema import Protocol, Result, Run

Facts = Mapping[str, Any]
RANDOM = ("random", "edgebench.given:samples")
"""Sources of a plan's data that draw it."""
_QUICKLY = (
    "Measured quickly: the figures are for a first look, not for a decision. "
    "An interval speaks of this one minute; the next run may lie outside it."
)


@dataclass(frozen=True)
class Fact:
    """One line of the header. A warning reduces the trust in all figures."""

    name: str
    text: str
    warning: bool = False


def facts(run: Run, results: Sequence[Result], called: str = "") -> tuple[Fact, ...]:
    """What is known; a fact that the run does not hold is left out. `called`: by what a command finds it, if not by its id."""
    environments = [r.environment for r in results if r.environment]
    machine: Facts = environments[0] if environments else run.host
    lines = (
        Fact("run", run.id),
        Fact("model", _model(run, results)),
        Fact("device", _device(run, machine)),
        Fact("system", _system(machine)),
        Fact("versions", _versions(run, results)),
        Fact("protocol", _protocol(run, results, environments)),
        Fact("rows", _rows(results)),
        *_cut_off(run, results, called or run.id),
        *_warnings(run, environments),
    )
    return tuple(Fact(f.name, plain(f.text), f.warning) for f in lines if f.text)


def _model(run: Run, results: Sequence[Result]) -> str:
    """The network, and what is the same in all rows."""
    models = list(dict.fromkeys(r.cell.model for r in results))
    plan = str(run.plan.get("name") or "")
    batches, threads = {r.cell.batch for r in results}, {r.cell.threads for r in results}
    parts = [", ".join(models) + (f" (plan {plan})" if plan and models else "")]
    parts += [f"batch {min(batches)}"] if len(batches) == 1 else []
    parts += [count(min(threads), "thread")] if len(threads) == 1 else []
    parts += ["random inputs"] if run.plan.get("data") in RANDOM else []
    return ", ".join(part for part in parts if part)


def _device(run: Run, machine: Facts) -> str:
    cores, memory = machine.get("cores"), machine.get("memory_total")
    parts = [
        run.device.name,
        run.device.address,
        run.device.description,
        *_board(machine.get("identity")),
        machine.get("cpu_model"),
        count(cores, "core") if cores else "",
        f"{memory / 2**30:.1f} GiB" if memory else "",
        machine.get("power_mode"),
    ]
    told: list[str] = []
    for part in (str(p) for p in parts if p):
        if not any(part in earlier for earlier in told):  # a profile's description often names its model
            told.append(part)
    return ", ".join(told)


def _board(identity: object) -> Iterator[str]:
    """What distinguishes boards of one name: L4T is a fact, the JetPack that goes with it is a hint."""
    if not isinstance(identity, Mapping):
        return
    yield str(identity.get("module_name") or identity.get("model") or "")
    for key, before in (("module", ""), ("soc", ""), ("l4t", "L4T "), ("compute_capability", "compute capability ")):
        yield f"{before}{identity[key]}" if identity.get(key) else ""
    yield f"probably JetPack {identity['jetpack_hint']}" if identity.get("jetpack_hint") else ""
    yield f"accelerator {identity['accelerators']}" if identity.get("accelerators") else ""


def _system(machine: Facts) -> str:
    kernel, hypervisor = machine.get("kernel"), machine.get("hypervisor")
    governor = machine.get("governor")
    parts = [
        machine.get("os"),
        f"kernel {kernel}" if kernel else "",
        f"virtual machine ({hypervisor})" if hypervisor else "",
        f"governor {governor}" if governor else "",
    ]
    return ", ".join(str(p) for p in parts if p)


def _versions(run: Run, results: Sequence[Result]) -> str:
    found = {"edgebench": str(run.versions.get("edgebench") or "")}
    for result in results:
        version = str(result.effective.get("version") or "")
        if version not in ("", result.cell.backend) and result.cell.backend != FLOOR:
            found.setdefault(result.cell.backend, version)
    return ", ".join(f"{name} {_short(version)}" for name, version in found.items() if version)


def _short(version: str) -> str:
    """OpenVINO's version goes on with its build and its branch."""
    match = re.match(r"\d[\w.+]*", version)
    return match[0] if match else version[:40]


def _protocol(run: Run, results: Sequence[Result], environments: Sequence[Facts]) -> str:
    """As it was carried out: the generations are counted in the results. That of others is not known."""
    protocol = protocol_of(run)
    if protocol is None or run.plan.get("imported"):
        return ""
    parts: list[str] = [protocol.trust] if protocol.trust != "default" else []
    counts = [len(m.samples) for r in results if (m := r.get("latency")) and m.samples]
    if counts:
        least, most = min(counts), max(counts)
        span = str(least) if least == most else f"{least}–{most}"
        parts.append(f"{span} fresh processes a cell, {protocol.rounds} slices of {protocol.slice_seconds:g} s each")
    isolation = dict.fromkeys(str(e["isolation"]) for e in environments if e.get("isolation"))
    parts += [f"isolation {' / '.join(isolation)}"] if isolation else []
    return ", ".join(parts)


def trust(run: Run) -> str:
    """How a run was measured: default, quick or precise. Empty for an import, which was not measured here."""
    if run.plan.get("imported"):
        return ""
    protocol = run.plan.get("protocol")
    return str(protocol.get("trust") or "default") if isinstance(protocol, dict) else "default"


def protocol_of(run: Run) -> Protocol | None:
    """The protocol that a run was asked for; None where another version wrote it and it is not understood."""
    try:
        return from_json(Protocol, run.plan.get("protocol", {}))
    except StoreError:  # the results still stand
        return None


def _rows(results: Sequence[Result]) -> str:
    noisy = sum(map(unpublished, results))
    notes = {"ok": f" ({noisy} too noisy to publish)" if noisy else ""}
    counts = {s: sum(r.status == s for r in results) for s in ("ok", "skipped", "failed")}
    return ", ".join(f"{n} {status}{notes.get(status, '')}" for status, n in counts.items() if n) or "none yet"


LEAVES_PRECISION = {"train", "distill", "prune", "finetune"}
"""Steps after which a network is still measured in each precision of the plan."""


def planned(run: Run, results: Sequence[Result]) -> int:
    """At least so many cells were planned; 0 for a run that was not. A recipe that quantizes has one precision, its own."""

    def listed(values: Any, otherwise: Sequence[Any] = ()) -> Sequence[Any]:
        return values if isinstance(values, (list, tuple)) and values else otherwise

    recipes = [r for r in listed(run.plan.get("recipes")) if isinstance(r, Mapping)]
    precisions = listed(run.plan.get("precisions"), ("fp32",))
    found: dict[str, set[str]] = {}
    for result in results:
        found.setdefault(result.cell.recipe, set()).add(result.cell.precision)
    cells, each = 0, len(listed(run.plan.get("backends")))
    for axis in ("batches", "threads"):
        each *= len(listed(run.plan.get(axis), (1,)))
    for recipe in recipes:
        steps = [step.get("method") for step in listed(recipe.get("steps")) if isinstance(step, Mapping)]
        own = found.get(str(recipe.get("name")), ())
        cells += len(precisions) if LEAVES_PRECISION.issuperset(steps) else max(1, len(own))
    return cells * each


def _cut_off(run: Run, results: Sequence[Result], called: str) -> Iterator[Fact]:
    asked, found = planned(run, results), len(results)
    if found < asked:
        text = (
            f"{found} of {asked} cells have a result: the run was cut off, go on with: edgebench run --resume {called}"
        )
        yield Fact("note", text, warning=True)


def _warnings(run: Run, environments: Sequence[Facts]) -> Iterator[Fact]:
    protocol = protocol_of(run)
    if protocol and protocol.trust == "quick":
        yield Fact("note", _QUICKLY, warning=True)
    seen = dict.fromkeys(str(w) for e in environments for w in e.get("warnings", ()))
    yield from (Fact("note", words, warning=True) for words in seen)
