"""B7: what our loop adds to a runtime's own minimal loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgebench import measure, plugins, stats
from edgebench.devices.evidence import SampleEvidence
from edgebench.schema import Artifact
from tests.bars.common import FOLDER, squeezenet

ROUNDS = 12


def _identity() -> Any:
    """A network of one addition: as little work as a runtime can be asked for."""
    import onnx
    from onnx import TensorProto, helper

    path = FOLDER / "identity.onnx"
    FOLDER.mkdir(parents=True, exist_ok=True)
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 8]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def _bare(call: Callable[[], Any], seconds: float) -> list[int]:
    """The loop that a user would write: two readings of the clock around the call."""
    clock, out = measure.now_ns, []
    end = clock() + int(seconds * 1e9)
    while (start := clock()) < end:
        call()
        out.append(clock() - start)
    return out


def _compare(path: Any, seconds: float) -> dict[str, float]:
    """Interleaved in one process: the runtime's plain Python call, and our slices on the bound session."""
    import numpy as np
    import onnxruntime

    artifact = Artifact(format="onnx", path=str(path), sha256="0", size=0)
    session = plugins.backend("onnxruntime").open(artifact, {"threads": 1, "batch": 1, "precision": "fp32"})
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    native = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    spec = session.inputs[0]
    feeds = {spec.name: np.random.default_rng(0).standard_normal((1, *spec.shape[1:])).astype(np.float32)}  # type: ignore[arg-type]
    binding = native.io_binding()
    binding.bind_ortvalue_input(spec.name, onnxruntime.OrtValue.ortvalue_from_numpy(feeds[spec.name]))
    answer = native.run(None, feeds)[0]
    binding.bind_ortvalue_output(
        native.get_outputs()[0].name, onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(answer))
    )
    bound = lambda: native.run_with_iobinding(binding)  # noqa: E731
    thunk, evidence = session.bind(feeds), SampleEvidence()
    _bare(bound, 0.3)
    group = measure.group_size(stats.median(_bare(thunk, 0.3)))
    ours, theirs, plain = [], [], []
    for _ in range(ROUNDS):
        theirs.append(stats.median(_bare(bound, seconds)))
        taken = measure.run_slice([thunk], measure.now_ns, evidence.read, seconds=seconds, inferences=5, group=group)
        ours.append(stats.median(taken.wall_ns))
        plain.append(stats.median(_bare(lambda: native.run(None, feeds), seconds)))
    session.close()
    return {
        "native_bound_s": stats.median(theirs) / 1e9, "ours_s": stats.median(ours) / 1e9,
        "native_run_s": stats.median(plain) / 1e9,
        "overhead_s": stats.median([a - b for a, b in zip(ours, theirs, strict=True)]) / 1e9,
    }  # fmt: skip


def b7() -> dict[str, Any]:
    """Hot <= 5 us a call; cold <= 30 us and <= 1 % above 3 ms; evidence <= 1 us inside the window."""
    hot, cold = _compare(_identity(), 0.2), _compare(squeezenet()[0], 0.3)
    inside = _inside()
    held = (
        hot["overhead_s"] <= 5e-6
        and cold["overhead_s"] <= 30e-6
        and cold["overhead_s"] <= 0.01 * cold["native_bound_s"]
        and inside <= 1e-6
    )
    return {"held": held, "hot": hot, "cold": cold, "evidence_inside_s": inside,
            "says": f"hot {hot['overhead_s'] * 1e6:+.2f} us on {hot['native_bound_s'] * 1e6:.2f} us, cold "
                    f"{cold['overhead_s'] * 1e6:+.1f} us on {cold['native_bound_s'] * 1e3:.2f} ms, evidence inside {inside * 1e9:.0f} ns"}  # fmt: skip


def _inside() -> float:
    """Seconds that reading the evidence adds to the timed window itself."""
    evidence, clock = SampleEvidence(), measure.now_ns
    differences = []
    for _ in range(ROUNDS):
        with_it = measure.run_slice([_nothing], clock, evidence.read, seconds=0.05, inferences=100)
        without = measure.run_slice([_nothing], clock, lambda: (), seconds=0.05, inferences=100)
        differences.append(stats.median(with_it.wall_ns) - stats.median(without.wall_ns))
    return stats.median(differences) / 1e9


def _nothing() -> None:
    return None
