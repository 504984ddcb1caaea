"""What the bars share: networks, load made on purpose, and one campaign's ratio."""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgebench import runner
from edgebench.codec import Options, from_json
from edgebench.devices import profiles
from edgebench.schema import Artifact, Cell, Job, Protocol, Result, Work

FOLDER = Path(os.environ.get("EDGEBENCH_CACHE", Path.home() / ".cache" / "edgebench")) / "bars"
RANDOM = Artifact(format="random", path="", sha256="0", size=0, facts=Options(seed=0, count=16))
SPIN = "while True: pass"
COPY = "a = bytearray(1 << 26)\nwhile True: b = bytes(a)"


@contextmanager
def hogs(spinners: int, copiers: int = 0) -> Iterator[None]:
    """Other programs that want the machine: endless loops, and endless copies of 64 MiB."""
    commands = [SPIN] * spinners + [COPY] * copiers
    running = [subprocess.Popen([sys.executable, "-c", c], start_new_session=True) for c in commands]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def squeezenet() -> tuple[Path, Path]:
    """SqueezeNet from the onnx package with He-normal weights, as fp32 and as static int8. Made once."""
    float_file, int8_file = FOLDER / "squeezenet-ir8.onnx", FOLDER / "squeezenet-ir8-int8.onnx"
    if not int8_file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        _seed_weights(float_file)
        _quantize(float_file, int8_file)
    return float_file, int8_file


def _seed_weights(target: Path) -> None:
    import numpy as np
    import onnx
    from onnx import numpy_helper, version_converter

    source = Path(onnx.__file__).parent / "backend/test/data/light/light_squeezenet.onnx"
    model = version_converter.convert_version(onnx.load(str(source)), 17)
    shapes = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    rng = np.random.default_rng(0)
    kept = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = shapes[node.input[0]]
        scale = (2 / max(1, int(np.prod(shape[1:])))) ** 0.5 if len(shape) > 1 else 0.0
        weight = (rng.standard_normal(shape) * scale).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    weights = [i for i in model.graph.initializer if not i.name.endswith("__SHAPE")]
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)
    data = [i for i in model.graph.input if i.name == "data_0"]
    del model.graph.input[:]
    model.graph.input.extend(data)
    model.ir_version = 8  # weights that are no inputs came with version 4
    onnx.save(model, str(target))


def _quantize(source: Path, target: Path) -> None:
    import numpy as np
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    rng = np.random.default_rng(1)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        batches = iter([{"data_0": rng.standard_normal((1, 3, 224, 224)).astype(np.float32)} for _ in range(8)])

        def get_next(self) -> Any:
            return next(self.batches, None)

    quantize_static(
        str(source), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip


def work(path: Path, name: str, backend: str = "onnxruntime", form: str = "onnx", baseline: str | None = None) -> Work:
    artifact = Artifact(
        format=form, path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), size=path.stat().st_size
    )
    cell = Cell(model="bar", recipe=name, backend=backend, device="local")
    return Work(cell=cell, artifact=artifact, data=RANDOM, baseline=baseline or cell.id)


def pair(backend: str = "onnxruntime") -> list[Work]:
    """The fp32 network and its int8 form."""
    float_file, int8_file = squeezenet()
    base = work(float_file, "fp32", backend)
    return [base, work(int8_file, "int8", backend, baseline=base.cell.id)]


def campaign(
    works: Sequence[Work], protocol: Protocol, metrics: Sequence[str] = ("latency",)
) -> tuple[dict[str, Result], list[dict[str, Any]]]:
    """Results by recipe name, and the raw records."""
    results: dict[str, Result] = {}
    records: list[dict[str, Any]] = []

    def on_event(event: Mapping[str, Any]) -> None:
        if event["event"] == "result":
            result = from_json(Result, event["result"])
            results[result.cell.recipe] = result
        elif event["event"] == "record":
            records.append(dict(event["record"]))

    job = Job(id="bar", work=tuple(works), metrics=tuple(metrics), protocol=protocol)
    runner.conduct(profiles.resolve("local"), job, (), on_event)
    return results, records


def ratio(result: Result) -> float | None:
    """The speed-up of a result, or None where it was withheld."""
    found = result.get("speedup")
    return None if found is None else found.value


def latency(result: Result) -> float | None:
    found = result.get("latency")
    return None if found is None else found.value


def spread(values: Sequence[float]) -> float:
    """Standard deviation of the logarithms: the relative scatter."""
    import math

    return statistics.stdev([math.log(v) for v in values]) if len(values) > 1 else float("nan")


def state(result: Result) -> str:
    return str(result.noise.get("state", result.status))
