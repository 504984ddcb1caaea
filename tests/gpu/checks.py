"""The checks that need a GPU, each a function of a case that returns figures, or raises AssertionError with what is wrong."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from edgebench_tensorrt import TensorRtBackend, cuda, plan_file, timing, trtexec

from edgebench.backend import EdgebenchError, ModelError
from edgebench.testing import Case

PARITY = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.35}
"""Relative L2 error against torch on the CPU. int8 rounds the network itself; the accuracy gate of a run is narrower."""
SHIMS_AGREE = 0.03
TREXEC_AGREES = 0.1


class Skip(Exception):
    """Why a check cannot be made here."""


def parity(backend: TensorRtBackend, case: Case) -> dict[str, Any]:
    """The engine's answers are the network's."""
    with backend.open(case.artifact, case.asked()) as session:
        answers = session.run(case.feeds)
        bound = [np.array(a) for a in session.bind(case.feeds)()]
    error = max(_error(a, w) for a, w in zip(answers, case.expected, strict=True))
    assert error <= PARITY[case.precision], f"off by {error:.2g}, more than {PARITY[case.precision]:g}"
    assert all(_error(b, a) <= 1e-5 for b, a in zip(bound, answers, strict=True)), (
        "bind() answers differently from run()"
    )
    return {"relative_error": error}


def layers(backend: TensorRtBackend, case: Case) -> dict[str, Any]:
    """What the engine says of itself, the precision above all."""
    with backend.open(case.artifact, case.asked()) as session:
        found = dict(session.effective())
        profile = session.profile(case.feeds)
    assert found["precision"] == case.precision, f"{case.precision} was asked for, and {found['precision']} runs"
    assert profile, "the profiler told of no layer"
    return {**found, "profile": sorted(profile, key=lambda op: -op["seconds"])[:10]}


def latencies(backend: TensorRtBackend, case: Case) -> dict[str, Any]:
    """Medians by each definition, of the device's own timers."""
    with backend.open(case.artifact, case.asked()) as session:
        said = session.device_times(case.feeds)  # type: ignore[attr-defined]
    found = {}
    for name, times in said.items():
        compute = times["compute"]
        spread = float(np.std(compute) / np.mean(compute))
        found[name] = {
            "latency_s": timing.median(times["latency"]), "compute_s": timing.median(compute), "compute_cv": spread,
            "p99_s": timing.percentile(times["latency"], 99), "throughput": times["throughput"],
            "cuda_graph": times["cuda_graph"], "n": len(compute),
        }  # fmt: skip
    return found


def graph(backend: TensorRtBackend, case: Case) -> dict[str, Any]:
    """A CUDA graph gives the same answers."""
    with backend.open(case.artifact, case.asked()) as session:
        plain = session.run(case.feeds)
    with backend.open(case.artifact, case.asked(cuda_graph=True)) as session:
        call = session.bind(case.feeds)
        for _ in range(3):
            answers = call()
            assert all(_error(a, p) <= 1e-3 for a, p in zip(answers, plain, strict=True)), (
                "the graph answers differently"
            )
    return {}


def shims(backend: TensorRtBackend, case: Case) -> dict[str, Any]:
    """cuda-bindings and pycuda give the same answers and the same times."""
    found = {}
    for name in cuda.SHIMS:
        try:
            with backend.open(case.artifact, case.asked(cuda=name)) as session:
                times = session.device_times(case.feeds)  # type: ignore[attr-defined]
                found[name] = timing.median(times["gpu_compute"]["compute"])
        except EdgebenchError as error:
            raise Skip(error.problem) from error
    least, most = min(found.values()), max(found.values())
    assert most / least - 1 <= SHIMS_AGREE, f"the shims differ: {found}"
    return found


def cross_check(backend: TensorRtBackend, case: Case) -> dict[str, Any]:
    """trtexec's compute time of the same plan, by its own default definition."""
    try:
        program = trtexec.Program.find()
    except EdgebenchError as error:
        raise Skip(error.problem) from error
    with tempfile.TemporaryDirectory() as folder:
        built = backend.build(case.artifact, case.asked(), Path(folder))
        shapes = {name: list(array.shape) for name, array in case.feeds.items()}
        said = trtexec.run(program.command(Path(built.path), Path(folder, "out"), shapes=shapes), Path(folder, "out"))
        with backend.open(built, case.asked()) as session:
            ours = session.device_times(case.feeds)  # type: ignore[attr-defined]
    name = "trtexec11" if "--includeDataTransfers" in program.options else "trtexec10"
    theirs, mine = timing.median(said["compute"]), timing.median(ours[name]["compute"])
    assert abs(mine / theirs - 1) <= TREXEC_AGREES, f"{name}: ours {mine:.3g} s, trtexec's {theirs:.3g} s"
    return {"definition": name, "trtexec_s": theirs, "ours_s": mine, "version": said["version"]}


def refusals(backend: TensorRtBackend, case: Case) -> dict[str, Any]:
    """A plan of another place, a cut one and garbage are refused in words."""
    said = {}
    with tempfile.TemporaryDirectory() as folder:
        built = backend.build(case.artifact, case.asked(), Path(folder))
        plan = Path(built.path)
        content, facts = plan.read_bytes(), json.loads(plan_file.sidecar(plan).read_text())
        plan.unlink()  # it may be the cache's own file
        plan_file.sidecar(plan).unlink()
        changed = {
            "another version": (content, {**facts, "version": "8.0.0.1"}),
            "another GPU": (content, {**facts, "sm": "53"}),
            "cut, with sidecar": (content[: len(content) // 2], facts),
            "cut": (content[: len(content) // 2], {}),
            "garbage": (b"no plan at all " * 300, {}),
        }
        for name, (part, told) in changed.items():
            path = Path(folder, f"{name}.plan")
            path.write_bytes(part)
            if told:
                plan_file.sidecar(path).write_text(json.dumps(told))
            try:
                backend.open(built.__class__(format=built.format, path=str(path), sha256="", size=1), case.asked())
            except ModelError as error:
                said[name] = f"{error.problem} {error.fix}"
            else:
                raise AssertionError(f"a plan that is {name} was opened")
    return said


def weights(backend: TensorRtBackend, case: Case) -> dict[str, Any]:
    """The bytes of the engine's weights and of its activations."""
    with backend.open(case.artifact, case.asked()) as session:
        found = session.effective()
    return {k: found.get(k) for k in ("weights_bytes", "activation_bytes", "plan_bytes", "skipped_tactics")}


EVERY: Mapping[str, Callable[[TensorRtBackend, Case], dict[str, Any]]] = {
    f.__name__: f for f in (parity, layers, latencies, weights)
}
"""For every network and precision."""
ONCE: Mapping[str, Callable[[TensorRtBackend, Case], dict[str, Any]]] = {
    f.__name__: f for f in (graph, shims, cross_check, refusals)
}
"""For the first network, in every precision."""


def _error(found: Any, wanted: Any) -> float:
    a, b = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-30))
