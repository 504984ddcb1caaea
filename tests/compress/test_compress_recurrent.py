"""Recurrent layers in int8 files: the facts of a file, what inspect finds in it and what a row says are one count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebench import plugins
from edgebench.compress.quantization.quantize import Quantize
from edgebench.inspect import look
from edgebench.schema import Artifact

torch = pytest.importorskip("torch")

STEPS = 3


class Recurrent(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A recurrent layer over (N, 3, 8) and a linear one behind its last step."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.rnn, self.fc = getattr(torch.nn, kind)(8, 16, batch_first=True), torch.nn.Linear(16, 4)

    def forward(self, x: Any) -> Any:
        return self.fc(self.rnn(x)[0][:, -1])


def lowered(kind: str, name: str, folder: Path) -> tuple[Path, str, dict[str, Any]]:
    from edgebench.compress.lowering import export, lower

    torch.manual_seed(0)
    model, how = Recurrent(kind).eval(), lower.get(name)
    samples = np.random.default_rng(0).standard_normal((16, STEPS, 8)).astype(np.float32)
    example, source, path = torch.from_numpy(samples[:2]), folder / "float.onnx", folder / f"made.{how.format}"
    export.export_onnx(model, example, source)
    given = lower.Request(
        model=model, example=example, calibration=samples, onnx=lambda: source, quantize=Quantize(samples=16)
    )
    return path, how.format, dict(how.write(given, path))


def ran(backend: str, path: Path, form: str) -> tuple[int, int]:
    artifact = Artifact(format=form, path=str(path), sha256="", size=0)
    with plugins.backend(backend).open(artifact, {"threads": 1, "batch": 1, "precision": "int8"}) as session:
        session.run({session.inputs[0].name: np.ones((1, STEPS, 8), np.float32)})
        found = session.effective()
    return found["int8_ops"], found["int8_ops"] + found["float_ops"]


@pytest.mark.parametrize(
    ("kind", "name", "backend"),
    [
        ("LSTM", "onnx-u8s8", "onnxruntime"),
        ("GRU", "onnx-u8s8", "openvino"),
        ("LSTM", "onnx-nncf", "openvino"),
        ("GRU", "pt2-int8-x86", "torch"),
        ("LSTM", "pt2-int8-qdq", ""),
        ("LSTM", "pte-int8", "executorch"),
        ("LSTM", "tflite-int8", "litert"),
    ],
)
def test_a_recurrent_layer_counts_in_the_facts_the_file_and_the_row(
    tmp_path: Path, kind: str, name: str, backend: str
) -> None:
    if backend and not plugins.backend(backend).probe().ok:
        pytest.skip(f"no {backend} here")
    path, form, facts = lowered(kind, name, tmp_path)
    counted = facts["int8_layers"], facts["layers"]
    assert counted[1] > 1, "the recurrent layer is one that could be int8"
    assert name == "tflite-int8" or counted[0] < counted[1]
    assert look(path, form).layers() == counted
    assert not backend or ran(backend, path, form) == counted
