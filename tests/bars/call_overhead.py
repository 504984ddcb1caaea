"""What a bound call of ours costs beside the runtime's own minimal loop in Python: in one process, in turn, call for call."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgebench import measure, plugins, stats
from edgebench.compress.lowering import lower
from edgebench.schema import Artifact
from tests.bars.common import FOLDER

ROUNDS = 400
ROUND_NS = 300_000
"""Each round holds as many calls of either as take about so long: long beside the clock, short beside a neighbour's visit."""

ALLOWED_S, ALLOWED_SHARE = 1e-6, 0.01
NETWORKS = {"tiny": (1, 4, 4), "resnet8": (3, 32, 32)}


def calls() -> dict[str, Any]:
    """Every backend's bound call within 1 us + 1 % of its runtime's own loop."""
    rows = {}
    for name in NATIVE:
        if not plugins.backend(name).probe().ok:
            continue
        for network in NETWORKS:
            path = network_file(name, network)
            done = subprocess.run(
                [sys.executable, "-m", __name__, name, str(path), network], capture_output=True, text=True, check=True
            )
            rows[f"{name} {network}"] = json.loads(done.stdout.splitlines()[-1])
    over = {k: r["ours_s"] - r["native_s"] - ALLOWED_S - ALLOWED_SHARE * r["native_s"] for k, r in rows.items()}
    shown = ", ".join(
        f"{k} {(r['ours_s'] - r['native_s']) * 1e6:+.2f} us on {r['native_s'] * 1e6:.1f}" for k, r in rows.items()
    )
    return {"held": max(over.values()) <= 0, "rows": rows, "says": shown}


def network_file(name: str, network: str) -> Path:
    """The fp32 file that the backend opens, of a network with random weights. Made once."""
    import numpy as np
    import torch

    from edgebench import zoo

    how = lower.get(plugins.backend(name).precisions["fp32"])
    path = FOLDER / "calls" / f"{network}-{name}.{how.format}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        tiny = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.ReLU())
        model = (zoo.resnet8() if network == "resnet8" else tiny).eval()
        example = torch.from_numpy(np.random.default_rng(0).standard_normal((2, *NETWORKS[network])).astype(np.float32))
        onnx_file = path.with_suffix(".float.onnx")

        def as_onnx() -> Path:
            lower.get("onnx").write(request, onnx_file)
            return onnx_file

        request = lower.Request(model=model, example=example, calibration=example.numpy(), onnx=as_onnx, quantize=None)
        how.write(request, path)
    return path


def compare(name: str, path: str, network: str) -> dict[str, float]:
    """Seconds of a call of ours and of the runtime's own, by the median difference of interleaved rounds."""
    import numpy as np

    x = np.random.default_rng(0).standard_normal((1, *NETWORKS[network])).astype(np.float32)
    artifact = Artifact(format="", path=path, sha256="", size=0)
    backend = plugins.backend(name)
    session = backend.open(artifact, {"threads": 1, "batch": 1, "precision": "fp32"})
    ours, theirs = session.bind({session.inputs[0].name: x}), NATIVE[name](path, x)
    np.testing.assert_allclose(np.ravel(ours()[0]), np.ravel(theirs()), rtol=1e-3, atol=1e-5)
    both: tuple[Callable[[], Any], ...] = (ours, theirs)
    for call in both:
        for _ in range(50):
            call()
    count = max(1, ROUND_NS // max(1, min(_took(theirs, 20) for _ in range(5)) // 20))
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(ROUNDS):
        for which in (0, 1) if turn % 2 else (1, 0):
            taken[which].append(_took(both[which], count) / count / 1e9)
    apart = stats.median([a - b for a, b in zip(*taken, strict=True)])
    native = stats.median(taken[1])
    return {"native_s": native, "ours_s": native + apart, "calls_a_round": float(count)}


def _took(call: Callable[[], Any], count: int) -> int:
    start = measure.now_ns()
    for _ in range(count):
        call()
    return measure.now_ns() - start


def _onnxruntime(path: str, x: Any) -> Callable[[], Any]:
    import numpy as np
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    answer = session.run(None, {session.get_inputs()[0].name: x})[0]
    binding = session.io_binding()
    binding.bind_input(session.get_inputs()[0].name, "cpu", 0, np.float32, x.shape, x.ctypes.data)
    binding.bind_output(session.get_outputs()[0].name, "cpu", 0, np.float32, answer.shape, answer.ctypes.data)

    def call() -> Any:
        session.run_with_iobinding(binding)
        return answer

    return call


def _openvino(path: str, x: Any) -> Callable[[], Any]:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(x.shape)
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    settings |= {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))

    def call() -> Any:
        request.infer()
        return request.get_output_tensor(0).data

    return call


def _torch(path: str, x: Any) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(1)
    module, tensor = torch.export.load(path).module(), torch.from_numpy(x)

    def call() -> Any:
        with torch.inference_mode():
            return module(tensor).numpy()

    return call


def _litert(path: str, x: Any) -> Callable[[], Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    given, answer = (d()[0]["index"] for d in (interpreter.get_input_details, interpreter.get_output_details))

    def call() -> Any:
        interpreter.set_tensor(given, x)
        interpreter.invoke()
        return interpreter.get_tensor(answer)

    return call


def _executorch(path: str, x: Any) -> Callable[[], Any]:
    import torch
    from executorch.extension.pybindings import _C

    program = _C._load_program(path)
    method, given = program.load_method("forward"), [torch.from_numpy(x)]

    def call(_alive: Any = program) -> Any:
        return method(given, False)[0].numpy()

    return call


def _ncnn(path: str, x: Any) -> Callable[[], Any]:
    import tempfile
    import zipfile

    import ncnn
    import numpy as np

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
        net.load_param(str(next(Path(folder).glob("*.param"))))
        net.load_model(str(next(Path(folder).glob("*.bin"))))
    given, answer, mat = net.input_indexes()[0], net.output_indexes()[0], ncnn.Mat(x[0]).clone()

    def call() -> Any:
        extractor = net.create_extractor()
        extractor.input(given, mat)
        return np.array(extractor.extract(answer)[1])

    return call


NATIVE: Mapping[str, Callable[[str, Any], Callable[[], Any]]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "torch": _torch,
    "litert": _litert,
    "executorch": _executorch,
    "ncnn": _ncnn,
}

if __name__ == "__main__":
    print(json.dumps(compare(*sys.argv[1:])))
