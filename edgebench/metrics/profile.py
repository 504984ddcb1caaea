"""The per-layer profile, in a generation of its own: share of the time by operator, and where each ran."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from edgebench.metrics import Metric, Record, Subject
from edgebench.schema import Measurement, Protocol, Work

RUNS = 20


class Profile(Metric):
    """Seconds by kind of operator, the mean of 20 inferences, from the runtime's own profiler where it has one."""

    name: ClassVar[str] = "profile"
    observes: ClassVar[bool] = True
    apart: ClassVar[bool] = True

    def observe(self, subject: Subject) -> dict[str, Any]:
        runs = [subject.session.profile(subject.feeds(i * subject.cell.batch)) for i in range(RUNS)]
        layers: dict[str, dict[str, Any]] = {}
        for op in (op for run in runs for op in run):
            layer = layers.setdefault(str(op["name"]), {**op, "name": str(op["name"]), "seconds": 0.0})
            layer["seconds"] += float(op["seconds"]) / RUNS
        return {"layers": list(layers.values())}

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        out = []
        for record in (r["profile"] for r in records if r.get("profile")):
            total = sum(layer["seconds"] for layer in record["layers"])
            kinds: dict[str, float] = {}
            for layer in record["layers"]:
                kinds[layer["op"]] = kinds.get(layer["op"], 0.0) + layer["seconds"]
            for kind, seconds in sorted(kinds.items(), key=lambda item: -item[1]):
                out.append(
                    Measurement(
                        metric=f"profile:{kind}",
                        unit="s",
                        phase="profile",
                        source="the runtime's own profiler",
                        value=seconds,
                        n=RUNS,
                        note=f"{seconds / total:.1%} of the operators' time" if total else "",
                    )
                )
        return tuple(out)
