"""B8: our figures beside each runtime's own tool, in the same rounds: one generation of ours, one run of theirs, in random order."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from edgebench import stats
from edgebench.schema import DEFAULT, Work
from tests.bars.common import FOLDER, campaign, latency, squeezenet, work
from tests.bars.noise import native_latency

ROUNDS = 12
FAST = 0.25
"""Each tool counts by the lower quartile of its rounds: a neighbour that comes and goes (a busy sibling thread makes a core
1.75 times as slow) may take most rounds of a machine, and what the tools say of a quiet one is what is compared."""
RESAMPLES = 2000
ONE = replace(DEFAULT, least_generations=1, most_generations=1, attempts=1, isolate=False)
"""Without isolation: the native tools have none either."""

ON_ONE_INPUT = replace(ONE, gate_buffers=1)
"""Their input is one and the same; ours rotate over 16 by default."""

LOOP = """
import sys, time, numpy, onnxruntime
settings = onnxruntime.SessionOptions()
settings.intra_op_num_threads = settings.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], settings, providers=["CPUExecutionProvider"])
spec = session.get_inputs()[0]
x = numpy.random.default_rng(0).standard_normal([1, *spec.shape[1:]]).astype("float32")
taken, end = [], time.perf_counter() + 2.5
while time.perf_counter() < end:
    start = time.perf_counter_ns()
    session.run(None, {spec.name: x})
    taken.append(time.perf_counter_ns() - start)
taken = sorted(taken[len(taken) // 5:])
print(taken[len(taken) // 2] / 1e9)
"""
"""The loop that a user would write: half a second of it is warm-up."""


@dataclass(frozen=True)
class Peer:
    """One network on one runtime: our work, and what its own tool says in seconds."""

    name: str
    tool: str
    ours: Work
    theirs: Callable[[], float]


def _loop(path: Path) -> float:
    done = subprocess.run([sys.executable, "-c", LOOP, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _litert(path: Path) -> float:
    tool = Path(sys.executable).with_name("litert-benchmark")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "r.json"
        command = [str(tool), "--model", str(path), "--num_threads", "1", "--num_runs", "400", "--warmup_runs", "50"]
        subprocess.run([*command, "--result_json", str(out)], capture_output=True, check=True)
        found = json.loads(out.read_text())
    return _milliseconds(found) / 1e3


def _milliseconds(found: Any) -> float:
    """The median of its JSON, whatever level it lies on."""
    if isinstance(found, dict):
        for key in ("median_ms", "p50_ms", "avg_ms", "mean_ms"):
            if key in found:
                return float(found[key])
        for value in found.values():
            if isinstance(value, dict):
                return _milliseconds(value)
    raise RuntimeError(f"litert-benchmark wrote {found!r:.300}")


def resnet_tflite() -> Path:
    """ResNet-8 of the zoo as a .tflite, made once by our own lowering."""
    path = FOLDER / "resnet8.tflite"
    if not path.exists():
        import torch

        from edgebench.compress.lowering import lower
        from edgebench.zoo import resnet8

        torch.manual_seed(0)
        example = torch.randn(2, 3, 32, 32)
        request = lower.Request(
            model=resnet8().eval(), example=example, calibration=example.numpy(), onnx=lambda: Path(), quantize=None
        )
        lower.get("tflite").write(request, path)
    return path


def peers() -> list[Peer]:
    float_file, int8_file = squeezenet()
    tflite = resnet_tflite()
    return [
        Peer("SqueezeNet fp32", "ONNX Runtime, plain loop", work(float_file, "a"), lambda: _loop(float_file)),
        Peer("SqueezeNet int8", "ONNX Runtime, plain loop", work(int8_file, "b"), lambda: _loop(int8_file)),
        Peer("SqueezeNet fp32", "benchmark_app", work(float_file, "c", "openvino"), lambda: native_latency(float_file)),
        Peer("SqueezeNet int8", "benchmark_app", work(int8_file, "d", "openvino"), lambda: native_latency(int8_file)),
        Peer("ResNet-8 fp32", "litert-benchmark", work(tflite, "e", "litert", "tflite"), lambda: _litert(tflite)),
    ]


def native() -> dict[str, Any]:
    """B8: the ratio of ours to theirs within 2 % in the same rounds, when both are fed one input as theirs are."""
    draw, rows = random.Random(0), []
    for peer in peers():
        asked: dict[str, Callable[[], float]] = {
            "ours": partial(_ours, peer.ours, ONE),
            "one input": partial(_ours, peer.ours, ON_ONE_INPUT),
            "theirs": peer.theirs,
        }
        rounds: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(ROUNDS):
            for name in draw.sample(sorted(asked), len(asked)):
                rounds[name].append(asked[name]())
        rows.append({"network": peer.name, "tool": peer.tool, **summary(rounds)})
    told = [r for r in rows if "ratio" in r]
    worst = max((abs(r["ratio_one_input"] - 1) for r in told), default=math.inf)
    held = worst <= 0.02 and len(told) == len(rows)
    return {"held": held, "rows": rows, "worst": worst, "says": "; ".join(map(_said, rows))}


def _said(row: dict[str, Any]) -> str:
    who = f"{row['network']}, {row['tool']}"
    if "ratio" not in row:
        return f"{who}: withheld in {len(row['rounds']['ours']) - row['pairs']} of {len(row['rounds']['ours'])} rounds"
    low, high = row["interval_one_input"]
    return f"{who}: {row['ratio']:.3f} (on one input {row['ratio_one_input']:.3f}, {low:.3f} to {high:.3f})"


def _ours(made: Work, protocol: Any) -> float:
    results, _ = campaign([made], protocol)
    return latency(results[made.cell.recipe]) or float("nan")


def summary(rounds: dict[str, list[float]]) -> dict[str, Any]:
    """Seconds by round of "ours", "one input" and "theirs" (nan: withheld) as ratios of their fast rounds, with 95 % intervals.

    Without at least two rounds in which nothing was withheld there is no ratio, and the rounds alone are kept.
    """
    kept = [i for i, three in enumerate(zip(*rounds.values(), strict=True)) if not any(map(math.isnan, three))]
    values = {name: [v[i] for i in kept] for name, v in rounds.items()}
    if len(kept) < 2:
        return {"rounds": rounds, "pairs": len(kept)}
    ours, one, theirs = values["ours"], values["one input"], values["theirs"]
    return {
        "rounds": rounds,
        "pairs": len(kept),
        "ours_s": stats.quantile(ours, FAST),
        "theirs_s": stats.quantile(theirs, FAST),
        "ratio": _ratio(ours, theirs),
        "interval": _interval(ours, theirs),
        "ratio_one_input": _ratio(one, theirs),
        "interval_one_input": _interval(one, theirs),
        "scatter_ours": _scatter(ours),
        "scatter_theirs": _scatter(theirs),
    }


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return stats.quantile(ours, FAST) / stats.quantile(theirs, FAST)


def _interval(ours: list[float], theirs: list[float]) -> list[float]:
    """95 % of the ratio of the fast rounds, by drawing rounds anew (percentile bootstrap)."""
    draw, found = random.Random(0), []
    for _ in range(RESAMPLES):
        some = draw.choices(range(len(ours)), k=len(ours))
        found.append(_ratio([ours[i] for i in some], [theirs[i] for i in some]))
    return [stats.quantile(found, 0.025), stats.quantile(found, 0.975)]


def _scatter(values: list[float]) -> float:
    return max(values) / min(values) - 1
