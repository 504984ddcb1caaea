"""Whether two runs can be compared: each thing that changes figures and is not the same in both, with both values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgebench.decide import protocols
from edgebench.report.text import MISSING, plain
from edgebench.schema import Result, Run


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two runs. `path`: where it lies, if a command does not find it by its id."""

    run: Run
    results: tuple[Result, ...]
    path: str = ""

    @property
    def called(self) -> str:
        return self.path or self.run.id


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What differs, with the value of each side, and in which cells where it is not all of them."""

    what: str
    a: str
    b: str
    where: str = ""
    care: bool = False
    """Whether it is of how carefully they were measured: then the figures of one are surer than those of the other."""


PLAN = (
    ("edgebench", lambda run: _said(run.versions.get("edgebench"))),
    ("data", lambda run: _said(run.plan.get("data"))),
    ("data options", lambda run: _said(run.plan.get("data_options"))),
    ("network", lambda run: _said(_in(run.plan, "model", "source"))),
    ("inputs", lambda run: _said(_in(run.plan, "model", "inputs"))),
)  # fmt: skip
MACHINE = (
    ("CPU", "cpu_model"), ("cores", "cores"), ("memory", "memory_total"), ("power mode", "power_mode"),
    ("governor", "governor"), ("boost", "boost"), ("CPU quota", "quota"), ("virtual machine", "hypervisor"),
    ("kernel", "kernel"), ("isolation", "isolation"),
)  # fmt: skip
EFFECTIVE = (
    ("runtime version", "version"),
    ("precision in force", "precision"),
    ("threads in force", "threads"),
    ("data and reference", "data"),
)


def differences(a: Side, b: Side, pairs: Sequence[tuple[Result, Result]]) -> list[Difference]:
    """All that differs, the plans first, then the machines, then what was in force in the pairs. Empty: comparable."""
    found = [_of_runs(what, a, b, read) for what, read in PLAN]
    found += [Difference(what=what, a=x, b=y, care=True) for what, x, y in protocols.differing(a.run, b.run)]
    found.append(_of_sets("threads", [r.cell.threads for r in a.results], [r.cell.threads for r in b.results]))
    measured = [(x, y) for x, y in pairs if x.status == y.status == "ok"]
    machine = [_of_pairs(what, measured, _environment(key)) for what, key in MACHINE]
    found += machine
    if not any(machine) and (other := _of_pairs("machine fingerprint", measured, _environment("fingerprint"))):
        found.append(other)  # something that lasts differs, and is none of the facts above
    found += [_of_pairs(what, measured, _effective(key)) for what, key in EFFECTIVE]
    found.append(_of_pairs("held-out samples", measured, _held_out))
    return [d for d in found if d]


def _in(plan: Mapping[str, Any], *keys: str) -> Any:
    value: Any = plan
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _said(value: Any) -> str:
    if value in (None, "", [], {}, ()):
        return MISSING
    if isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"):
        return value[:8]  # a hash: its beginning tells it from another
    return plain(str(value))


def _of_runs(what: str, a: Side, b: Side, read: Callable[[Run], Any]) -> Difference | None:
    return _difference(what, _said(read(a.run)), _said(read(b.run)))


def _of_sets(what: str, a: Sequence[Any], b: Sequence[Any]) -> Difference | None:
    left, right = (", ".join(map(str, sorted(set(x)))) or MISSING for x in (a, b))
    return _difference(what, left, right)


def _difference(what: str, a: str, b: str, where: str = "") -> Difference | None:
    return None if a == b else Difference(what=what, a=a, b=b, where=where)


def _environment(key: str) -> Callable[[Result], str]:
    return lambda result: _said(result.environment.get(key))


def _effective(key: str) -> Callable[[Result], str]:
    return lambda result: _said(result.effective.get(key))


def _held_out(result: Result) -> str:
    accuracy = result.get("accuracy")
    return str(accuracy.n) if accuracy and accuracy.n else MISSING


def _of_pairs(what: str, pairs: Sequence[tuple[Result, Result]], read: Callable[[Result], str]) -> Difference | None:
    """The values of the pairs that differ, each once, and in which runtimes where not in all pairs."""
    differing = [(x, y) for x, y in pairs if read(x) != read(y)]
    if not differing:
        return None
    left, right = (", ".join(dict.fromkeys(read(pair[i]) for pair in differing)) for i in (0, 1))
    runtimes = list(dict.fromkeys(x.cell.backend for x, _ in differing))
    where = "" if len(differing) == len(pairs) else f"{len(differing)} of {len(pairs)} pairs: {', '.join(runtimes)}"
    return _difference(what, left, right, where)
