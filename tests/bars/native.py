"""Our figures beside each runtime's own tool, in the same rounds: one generation of ours, one run of theirs, in random order."""

from __future__ import annotations

import json
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

ROUNDS = 7
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
    """The ratio of ours to theirs, paired by round, with its interval; and how each scatters from round to round."""
    draw, rows = random.Random(0), []
    for peer in peers():
        asked: dict[str, Callable[[], float]] = {
            "ours": partial(_ours, peer.ours, ONE),
            "one input": partial(_ours, peer.ours, ON_ONE_INPUT),
            "theirs": peer.theirs,
        }
        pairs: dict[str, list[float]] = {"ours": [], "one input": [], "theirs": []}
        for _ in range(ROUNDS):
            for name in draw.sample(sorted(asked), len(asked)):
                pairs[name].append(asked[name]())
        rows.append({"network": peer.name, "tool": peer.tool, **_summary(pairs)})
    worst = max(abs(r["ratio_one_input"] - 1) for r in rows)
    shown = "; ".join(
        f"{r['network']}, {r['tool']}: {r['ratio']:.3f} (on one input {r['ratio_one_input']:.3f})" for r in rows
    )
    return {"held": worst <= 0.02, "rows": rows, "rounds": ROUNDS, "worst": worst, "says": shown}


def _ours(made: Work, protocol: Any) -> float:
    results, _ = campaign([made], protocol)
    return latency(results[made.cell.recipe]) or float("nan")


def _summary(pairs: dict[str, list[float]]) -> dict[str, Any]:
    kept = [i for i in range(ROUNDS) if all(v[i] == v[i] for v in pairs.values())]
    values = {name: [v[i] for i in kept] for name, v in pairs.items()}
    ratio = stats.ratio_interval(values["ours"], values["theirs"])
    one = stats.ratio_interval(values["one input"], values["theirs"])
    return {
        "pairs": len(kept),
        "ours_s": stats.geometric_mean(values["ours"]),
        "theirs_s": stats.geometric_mean(values["theirs"]),
        "ratio": ratio.value,
        "interval": [ratio.low, ratio.high],
        "ratio_one_input": one.value,
        "interval_one_input": [one.low, one.high],
        "scatter_ours": _scatter(values["ours"]),
        "scatter_theirs": _scatter(values["theirs"]),
    }


def _scatter(values: list[float]) -> float:
    return max(values) / min(values) - 1
