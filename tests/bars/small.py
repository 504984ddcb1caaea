"""B10, B11, B12, B15, B16: a stall in the server scenario, honest percentiles, memory, tampering, rebuilding."""

from __future__ import annotations

import math
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgebench import measure, plugins, stats
from edgebench.figures import caches
from edgebench.metrics.server import poisson_schedule
from edgebench.schema import QUICK, Artifact
from edgebench.testing import fake_artifact, fake_outputs
from tests.bars.common import campaign, squeezenet, work


def b10() -> dict[str, Any]:
    """Server at 60 % load, one injected 0.5 s stall in 30 s: p99 >= 300 ms; a closed loop beside it."""
    import numpy as np

    artifact = Artifact(format="onnx", path=str(squeezenet()[1]), sha256="0", size=0)
    session = plugins.backend("onnxruntime").open(artifact, {"threads": 1, "batch": 1, "precision": "fp32"})
    spec = session.inputs[0]
    call = session.bind({spec.name: np.zeros((1, *spec.shape[1:]), np.float32)})  # type: ignore[arg-type]
    warm = measure.warm_up([call], measure.now_ns, seconds=0.5, inferences=10, cap=5.0)
    rate = 0.6 / (warm.call_ns / 1e9)
    schedule = poisson_schedule(rate, int(30 * rate), seed=1)
    out = {}
    for name, stall in (("calm", 0.0), ("stalled", 0.5)):
        served = measure.serve(_stalling(call, len(schedule) // 2, stall), measure.now_ns, measure.pause, schedule)
        out[name] = {
            "p99_s": stats.quantile([ns / 1e9 for ns in served.latency_ns], 0.99),
            "closed_loop_p99_s": stats.quantile([ns / 1e9 for ns in served.service_ns], 0.99),
            "lateness_p99_s": stats.quantile([ns / 1e9 for ns in served.late_ns], 0.99),
        }
    session.close()
    stalled = out["stalled"]
    return {"held": stalled["p99_s"] >= 0.3, **out, "requests": len(schedule),
            "says": f"p99 {stalled['p99_s'] * 1e3:.0f} ms with the stall, {out['calm']['p99_s'] * 1e3:.1f} ms without; closed loop "
                    f"{stalled['closed_loop_p99_s'] * 1e3:.1f} ms; issue lateness p99 {stalled['lateness_p99_s'] * 1e6:.0f} us"}  # fmt: skip


def _stalling(call: Callable[[], Any], at: int, seconds: float) -> list[Callable[[], Any]]:
    count = 0

    def infer() -> None:
        nonlocal count
        count += 1
        if count == at and seconds:
            measure.pause(seconds)
        call()

    return [infer]


def b11() -> dict[str, Any]:
    """No p90 under 64 and no p99 under 662 samples; the bound covers the true percentile in >= 99 % of simulations."""
    draw = random.Random(5)
    covered: dict[str, float] = {}
    for percent, count in ((0.90, 64), (0.90, 300), (0.99, 662), (0.99, 2000)):
        truth = -math.log(1 - percent)  # of the exponential distribution
        trials = 3000
        hits = sum(
            (stats.percentile_bound([draw.expovariate(1.0) for _ in range(count)], percent) or 0) >= truth
            for _ in range(trials)
        )
        covered[f"p{percent * 100:.0f} of {count}"] = hits / trials
    silent = stats.percentile_bound([1.0] * 63, 0.9) is None and stats.percentile_bound([1.0] * 661, 0.99) is None
    return {"held": silent and min(covered.values()) >= 0.985, "covered": covered, "silent_below": silent,
            "says": f"covers in {min(covered.values()):.2%} or more of the simulations; nothing under 64 and 662: {silent}"}  # fmt: skip


MANY = replace(QUICK, least_generations=7, most_generations=7)
"""Eight processes: the check and seven generations."""


def b12() -> dict[str, Any]:
    """Peak memory as published, five times: sd <= 0.5 %; the same when the process that asks holds 600 MiB."""
    figures = {"small parent": [_peak() for _ in range(5)]}
    held = bytearray(600 << 20)
    held[::4096] = b"x" * len(held[::4096])
    figures["parent of 600 MiB"] = [_peak() for _ in range(5)]
    sd = max(statistics.stdev(v) / statistics.fmean(v) for v in figures.values())
    moved = statistics.fmean(figures["parent of 600 MiB"]) / statistics.fmean(figures["small parent"]) - 1
    return {"held": sd <= 0.005 and abs(moved) <= 0.005, **figures, "sd": sd, "moved": moved,
            "says": f"{statistics.fmean(figures['small parent']) / 2**20:.1f} MiB, sd {sd:.2%}; with a parent of 600 MiB {moved:+.2%}"}  # fmt: skip


def _peak() -> float:
    results, _ = campaign([work(squeezenet()[0], "fp32")], MANY, ("latency", "memory"))
    found = results["fp32"].get("memory_peak")
    return found.value if found and found.value else 0.0


def b15() -> dict[str, Any]:
    """Cached outputs, skipped layers, wrong precision, remembered inputs: caught every time."""
    import numpy as np

    ruin: dict[str, dict[str, Any]] = {
        "cached outputs": {"cached": True},
        "wrong outputs": {"wrong": 0.02},
        "wrong precision": {"precision": "bf16"},
        "answers from memory": {"remembers": True},
    }
    caught: dict[str, int] = {}
    tries = 5
    with tempfile.TemporaryDirectory() as folder:
        for name, behave in ruin.items():
            for i in range(tries):
                artifact = fake_artifact(
                    Path(folder), {"sleep": 0.001, **behave}, seed=i, name=f"{name}{i}".replace(" ", "")
                )
                inputs = np.random.default_rng(i).standard_normal((64, 8)).astype(np.float32)
                reference = fake_outputs(artifact, {"input": inputs})[0]
                data = Path(folder) / f"{i}.npz"
                arrays: dict[str, Any] = {"input:input": inputs, "reference": reference}
                np.savez(data, **arrays)
                made = work(Path(artifact.path), name, "fake", "fake")
                made = replace(made, data=Artifact(format="npz", path=str(data), sha256="0", size=0))
                results, _ = campaign(
                    [made], replace(QUICK, least_generations=4, most_generations=4), ("latency", "accuracy")
                )
                # What answers rightly, but only the first time by inferring, is no failed row: it is marked in the table.
                found = results[name].status == "failed" or caches(results[name].effective)
                caught[name] = caught.get(name, 0) + found
    return {"held": all(v == tries for v in caught.values()), "tries": tries, "caught": caught,
            "says": ", ".join(f"{name} {n} of {tries}" for name, n in caught.items())}  # fmt: skip


def b16() -> dict[str, Any]:
    """A table rebuilt from the raw samples: identical bytes, in every format."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edgebench"]
        model = str(squeezenet()[0])
        subprocess.run([*command, "bench", model, "--generations", "5"], cwd=folder, check=True, capture_output=True)
        (run,) = (Path(folder) / "results").iterdir()
        same = {}
        for form, name in (
            ("markdown", "table.md"),
            ("csv", "table.csv"),
            ("json", "table.json"),
            ("svg", "latency.svg"),
        ):
            done = subprocess.run(
                [*command, "report", "--from-samples", "--format", form],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
            )
            same[form] = done.stdout.strip() == (run / name).read_text().strip()
    return {
        "held": all(same.values()),
        "identical": same,
        "says": ", ".join(f"{k}: {'identical' if v else 'DIFFERENT'}" for k, v in same.items()),
    }
