"""Layers on tokens (three axes) are fused to int8 like layers on pictures, and the file needs torch alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")


def test_every_layer_of_a_transformer_is_fused_and_near_the_float_network(tmp_path: Path) -> None:
    from edgebench import zoo
    from edgebench.backend import saturates
    from edgebench.compress.lowering import lower_x86
    from edgebench.compress.quantization.quantize import Quantize

    if not hasattr(torch.ops.onednn, "qconv_prepack"):
        pytest.skip("this torch has no oneDNN int8 kernels")
    torch.manual_seed(0)
    model = zoo.vit(in_channels=1, size=24, patch=12, width=48, depth=1, heads=3).eval()
    samples = np.random.default_rng(0).standard_normal((32, 1, 24, 24)).astype(np.float32)
    x, path = torch.from_numpy(samples[:2]), tmp_path / "vit.pt2"
    facts = lower_x86.quantize(model, x, samples, Quantize(), path, narrow=saturates({}))
    assert (facts["int8_layers"], facts["layers"], facts["int8_coverage"]) == (8, 8, 1.0)
    np.save(tmp_path / "x.npy", samples[:2])
    code = (
        "import sys, numpy as np, torch; from edgebench_torch import TorchBackend; from edgebench.schema import Artifact\n"
        "a = Artifact(format='pt2', path=sys.argv[1], sha256='', size=0)\n"
        "s = TorchBackend().open(a, {'threads': 1, 'batch': 1, 'precision': 'int8'})\n"
        "assert 'torchao' not in sys.modules and s.effective()['precision'] == 'int8'\n"
        "x = np.load(sys.argv[2]); np.save(sys.argv[3], s.run({s.inputs[0].name: x})[0])"
    )
    files = [str(path), str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    subprocess.run([sys.executable, "-c", code, *files], check=True, capture_output=True)
    with torch.no_grad():
        wanted = model(x).numpy()
    off = np.linalg.norm(np.load(tmp_path / "y.npy") - wanted) / np.linalg.norm(wanted)
    assert 1e-4 < off < 0.1


@pytest.mark.parametrize("name", ["onnx-u8s8", "pt2-int8-x86", "pte-int8", "tflite-int8", "ncnn"])
def test_a_network_of_whole_numbers_becomes_every_file_that_can_take_them(tmp_path: Path, name: str) -> None:
    from edgebench.compress.lowering import export, lower
    from edgebench.compress.quantization.quantize import Quantize
    from edgebench.errors import ModelError
    from edgebench.inspect import look

    for package in {"pte-int8": ["executorch"], "tflite-int8": ["litert_torch"]}.get(name, []):
        pytest.importorskip(package)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(30, 8), torch.nn.Flatten(), torch.nn.Linear(40, 3)).eval()
    tokens = np.random.default_rng(0).integers(0, 30, (32, 5))
    example, source, how = torch.from_numpy(tokens[:2]), tmp_path / "float.onnx", lower.get(name)
    export.export_onnx(model, example, source)
    path = tmp_path / f"made.{how.format}"
    given = lower.Request(
        model=model, example=example, calibration=tokens, onnx=lambda: source, quantize=Quantize(samples=16)
    )
    if name == "ncnn":
        with pytest.raises(ModelError, match="fed real numbers"):
            how.write(given, path)
        return
    assert how.write(given, path)["int8_layers"] == 1
    assert look(path, how.format).inputs[0].dtype == ("int32" if name == "tflite-int8" else "int64")
