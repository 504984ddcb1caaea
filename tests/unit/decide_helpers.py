"""Made-up runs and rows for the tests of decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgebench.codec import Options
from edgebench.decide.comparable import Side
from edgebench.decide.rows import Figure, Row
from edgebench.schema import Artifact, Cell, DeviceProfile, Interval, Measurement, Result, Run, Status
from edgebench.stats import geometric_centre, geometric_interval, wilson

MACHINE = {"cpu_model": "A CPU", "governor": "performance", "isolation": "R2 autogroup -20", "fingerprint": "f" * 64}
SERIES = (1.0, 1.002, 0.999, 1.001, 0.998, 1.0005)


def latency(samples: Sequence[float]) -> Measurement:
    low, high = geometric_interval(samples)
    interval = Interval(low=low, high=high) if low is not None and high is not None else None
    return Measurement(
        metric="latency", unit="s", phase="steady", source="clock", value=geometric_centre(samples), n=1000,
        samples=tuple(samples), interval=interval,
    )  # fmt: skip


def accuracy(right: int, n: int = 1000) -> Measurement:
    low, high = wilson(right, n)
    return Measurement(
        metric="accuracy", unit="1", phase="accuracy", source="top-1", value=right / n, n=n,
        interval=Interval(low=low, high=high),
    )  # fmt: skip


def plain(metric: str, unit: str, value: float | None, note: str = "", **more: Any) -> Measurement:
    return Measurement(metric=metric, unit=unit, phase="steady", source="test", value=value, n=1, note=note, **more)


def result(
    recipe: str = "teacher", *more: Measurement, seconds: float = 1e-3, series: Sequence[float] = SERIES, right: int = 900,
    status: Status = "ok", sha: str = "a", environment: dict[str, Any] | None = None, effective: dict[str, Any] | None = None,
    **cell: Any,
) -> Result:  # fmt: skip
    asked: dict[str, Any] = {"model": "net", "recipe": recipe, "backend": "ort", "device": "local", **cell}
    found = (
        latency([seconds * x for x in series]), accuracy(right), plain("memory_peak", "B", 5e6), plain("size", "B", 1e5),
        *more,
    )  # fmt: skip
    return Result(
        cell=Cell(**asked), status=status, measurements=found if status == "ok" else (),
        reason="" if status == "ok" else "It broke.",
        effective=Options({"precision": asked.get("precision", "fp32"), "version": "1.0", "threads": 1, **(effective or {})}),
        noise=Options(state="valid"), environment=Options({**MACHINE, **(environment or {})}),
        artifact=Artifact(format="onnx", path="x.onnx", sha256=sha * 64, size=100000),
    )  # fmt: skip


def run(id: str = "one", started: str = "20261123T000000Z", **plan: Any) -> Run:
    return Run(
        id=id, started=started, versions=Options(edgebench="0.1.0"), plan=Options({"name": "quick", "data": "digits", **plan}),
        device=DeviceProfile(name="local"), host=Options(),
    )  # fmt: skip


def side(*results: Result, id: str = "one", **plan: Any) -> Side:
    return Side(run=run(id, **plan), results=results)


def row(id: str, status: str = "ok", runtime: str = "ort", **figures: Figure) -> Row:
    axes = {"variant": id, "runtime": runtime, "precision": "fp32"}
    return Row(
        id=id, run="r", cell=id, axes=axes, status=status, reason="" if status == "ok" else "It broke.", figures=figures
    )


def known(value: float, spread: float = 0.0, grade: Any = "measured") -> Figure:
    return Figure(value=value, low=value - spread, high=value + spread, grade=grade)
