"""Can this machine be trusted to measure, and how finely? Our own overhead, an A/A comparison, a known slow-down.

All of it goes through the ordinary campaign on networks of the fake runtime: what is checked is what measures.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgebench import measure, plugins, runner, stats
from edgebench.codec import Options, from_json
from edgebench.devices import Device
from edgebench.environment import cache_folder
from edgebench.making import Progress, quiet
from edgebench.schema import Artifact, Cell, Job, Protocol, Result, Work

SPIN = 6_000
"""Rounds of a hash in each inference: some milliseconds of pure processor time."""
SLOWER = 1.05
SPEC = {"name": "input", "dtype": "float32", "shape": [None, 8]}
TIMER_READS = 20_000


def run(device: Device, protocol: Protocol, progress: Progress = quiet) -> dict[str, Any]:
    """Measure the device with itself; plain JSON. The keys are those that `sentences` reads."""
    results: dict[str, Result] = {}
    environment: dict[str, Any] = {}

    def on_event(event: Mapping[str, Any]) -> None:
        if event["event"] == "result":
            result = from_json(Result, event["result"])
            results[result.cell.recipe] = result
        elif event["event"] == "environment":
            environment.update(event["environment"])
        elif event["event"] == "progress":
            progress("selfcheck", event["done"], event["total"], event["note"])

    with tempfile.TemporaryDirectory(prefix="edgebench-") as folder:
        device.furnish({"fake": plugins.backend("fake")}, cache_folder())
        works = _works(Path(folder), device)
        # A board runs a job of one id once: each self-check is another.
        job = Job(id=f"selfcheck-{measure.utc_stamp()}", work=works, metrics=("latency",), protocol=protocol)
        runner.conduct(device, job, (), on_event)
    return _report(results, environment)


def _works(folder: Path, device: Device) -> tuple[Work, ...]:
    random = Artifact(format="random", path="", sha256="0", size=0, facts=Options(seed=0, count=16))
    networks = {"a": {"spin": SPIN}, "a again": {"spin": SPIN}, "slowed": {"spin": SPIN, "slow": SLOWER}, "floor": {}}
    works: list[Work] = []
    for name, behave in networks.items():
        model = {"inputs": [SPEC], "outputs": [{**SPEC, "name": "output"}], "seed": 0, "behave": behave}
        path = folder / f"{name.replace(' ', '-')}.fake"
        path.write_text(json.dumps(model))
        content = path.read_bytes()
        artifact = Artifact(
            format="fake", path=str(path), sha256=hashlib.sha256(content).hexdigest(), size=len(content)
        )
        cell = Cell(model="selfcheck", recipe=name, backend="fake", device=device.name)
        works.append(
            Work(
                cell=cell, artifact=device.push(artifact), data=random, baseline=works[0].cell.id if works else cell.id
            )
        )
    return tuple(works)


def _report(results: Mapping[str, Result], environment: Mapping[str, Any]) -> dict[str, Any]:
    failed = {name: r.reason for name, r in results.items() if r.status != "ok"}
    done = [name for name in ("a again", "slowed") if name in results and name not in failed]
    ratios = {name: ratio for name in done if (ratio := _ratio(results[name])) is not None}
    again, slowed = ratios.get("a again"), ratios.get("slowed")
    same = again is not None and again["verdict"] in ("same", "unresolved") and again["low"] <= 1 <= again["high"]
    seen = slowed is not None and slowed["verdict"] == "slower" and slowed["low"] <= 1 / SLOWER <= slowed["high"]
    floor = results["floor"].get("latency") if "floor" in results else None
    return {
        "trusted": not failed and same and seen,
        "failed": failed,
        "isolation": environment.get("isolation", ""),
        "warnings": list(environment.get("warnings", [])),
        "overhead": overhead(measure.now_ns),
        "floor_s": floor.value if floor else None,
        "a_a": again,
        "slowed_by": SLOWER,
        "slowed": slowed,
        "resolves": max(r["half_width"] for r in ratios.values()) if len(ratios) == 2 else None,
        "states": {name: [r.noise.get("state", ""), r.noise.get("why", "")] for name, r in results.items()},
    }


def _ratio(result: Result) -> dict[str, Any] | None:
    found = result.get("speedup")
    if found is None or found.value is None or found.interval is None:
        return None
    low, high = found.interval.low, found.interval.high
    return {
        "ratio": found.value,
        "low": low,
        "high": high,
        "half_width": stats.half_width(low, high),
        "verdict": found.note,
    }


def overhead(clock: Callable[[], int]) -> dict[str, float]:
    """What the timed loop adds, in seconds: one reading of the clock, its resolution, and a call of nothing."""
    reads = [clock() for _ in range(TIMER_READS)]
    steps = [b - a for a, b in zip(reads, reads[1:], strict=False)]
    taken = measure.run_slice([_nothing], clock, lambda: (), seconds=0.05, inferences=1000, group=1000)
    return {
        "clock_read_s": stats.median(steps) / 1e9,
        "clock_resolution_s": min(s for s in steps if s > 0) / 1e9,
        "empty_call_s": stats.median(taken.wall_ns) / 1e9,
    }


def _nothing() -> None:
    return None


def sentences(report: Mapping[str, Any]) -> list[str]:
    """The report for a person, a line each."""
    o, again, slowed = report["overhead"], report["a_a"], report["slowed"]
    lines = [
        f"isolation      {report['isolation']}",
        f"clock          resolution {o['clock_resolution_s'] * 1e9:.0f} ns, one reading {o['clock_read_s'] * 1e9:.0f} ns",
        f"overhead       an empty call reads as {o['empty_call_s'] * 1e9:.0f} ns"
        + (f"; the fake runtime, our floor, as {report['floor_s'] * 1e6:.1f} us" if report["floor_s"] else ""),
    ]
    if again:
        lines.append(
            f"A/A            the same network twice: ratio {again['ratio']:.4f} ({again['low']:.4f} to {again['high']:.4f})"
        )
    if slowed:
        lines.append(
            f"slow-down      slowed by {report['slowed_by'] - 1:.0%}: speed {slowed['ratio']:.4f} "
            f"({slowed['low']:.4f} to {slowed['high']:.4f}), so it was called {slowed['verdict']}"
        )
    for name, (state, why) in report["states"].items():
        if state not in ("valid", ""):
            lines.append(f"{state:<14} {name}: {why}")
    lines += [f"failed         {name}: {reason}" for name, reason in report["failed"].items()]
    lines += [f"warning        {w}" for w in report["warnings"]]
    if report["trusted"]:
        fine = max(0.02, 2 * report["resolves"])
        lines.append(f"This machine can be trusted to measure: differences from about {fine:.0%} are told apart.")
    else:
        isolated = report["isolation"][:2] in ("R2", "R3")
        ways = ["Stop other programs", *([] if isolated else ["run as root for isolation"]), "or use --precise"]
        lines.append(
            f"This machine cannot be trusted to measure now. {', '.join(ways) if len(ways) > 2 else ' '.join(ways)}."
        )
    return lines
