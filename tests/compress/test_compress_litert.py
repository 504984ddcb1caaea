"""The .tflite lowerings: right, silent, the same bytes again, for any batch, and int8 where it should be."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compress_helpers import context, network, stripes
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgebench.compress.cache import sha256
from edgebench.compress.load_model import tensor
from edgebench.compress.lowering import lower, lower_litert, tflite_file
from edgebench.compress.quantization.quantize import Quantize
from edgebench.compress.training.train import Train
from edgebench.errors import DataError, ModelError

pytestmark = pytest.mark.skipif(
    not (find_spec("litert_torch") and find_spec("ai_edge_quantizer")),
    reason="litert-torch and ai-edge-quantizer are not installed",
)

HELD_OUT = stripes().evaluation.inputs
EXAMPLE = tensor(HELD_OUT[:4])


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return Train(epochs=3, batch_size=16, lr=0.005).apply(network(), context())


@pytest.fixture(autouse=True)
def converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The float file of one network is the same each time (a test says so), and takes seconds."""
    monkeypatch.setattr(lower_litert, "_converted", CONVERTED)


CONVERTED = lru_cache(maxsize=None)(lower_litert._converted)


def lowered(name: str, model: nn.Module, path: Path, **asked: Any) -> dict[str, Any]:
    calibration = asked.pop("calibration", stripes().calibration.inputs)
    request = lower.Request(
        model=model, example=EXAMPLE, calibration=calibration, onnx=lambda: path, quantize=Quantize(**asked)
    )
    return dict(lower.get(name).write(request, path))


def answers(path: Path, samples: Any) -> Any:
    interpreter = lower_litert._interpreter(path.read_bytes(), len(samples))
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], samples)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def agreement(path: Path, model: nn.Module) -> float:
    return float(np.mean(answers(path, HELD_OUT).argmax(1) == eager(model, HELD_OUT).argmax(1)))


def eager(model: nn.Module, samples: Any) -> Any:
    with torch.no_grad():
        return model.eval()(tensor(samples)).numpy()


class Attention(nn.Module):
    """One head over four tokens of 9 pixels each."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(36, 3 * 36)
        self.out = nn.Linear(36, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x.reshape(-1, 4, 36)).chunk(3, dim=2)
        return self.out((q @ k.transpose(1, 2)).softmax(2) @ v).mean(1)  # type: ignore[no-any-return]


class Token(nn.Module):
    """Expands a learnt token to the batch, as vision transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 144))
        self.out = nn.Linear(288, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = torch.cat([self.token.expand(len(x), -1, -1), x.reshape(len(x), 1, 144)], 1)
        return self.out(both.flatten(1))  # type: ignore[no-any-return]


def test_the_float_file_is_the_network_for_any_batch_and_silent(
    trained: nn.Module, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.tflite"
    assert lowered("tflite", trained, path) == {}
    assert capfd.readouterr() == ("", "")
    model = tflite_file.parse(path.read_bytes())
    signature = model.signatureDefs[0]
    assert [end.name for end in (*signature.inputs, *signature.outputs)] == [b"input", b"output"]
    for batch in (1, 2, 7):
        samples = HELD_OUT[:batch]
        np.testing.assert_allclose(answers(path, samples), eager(trained, samples), rtol=1e-4, atol=1e-4)


def test_the_same_network_gives_the_same_bytes(
    trained: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lower_litert, "_converted", CONVERTED.__wrapped__)
    paths = [tmp_path / f"{i}.tflite" for i in range(2)]
    for path in paths:
        lowered("tflite-int8", trained, path)
    assert sha256(paths[0]) == sha256(paths[1])


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("tflite-int8", {}),
        ("tflite-int8", {"ranges": "percentile"}),
        ("tflite-int8", {"ranges": "entropy"}),
        ("tflite-int8", {"per_channel": False}),
        ("tflite-int8-dynamic", {}),
    ],
)
def test_every_layer_is_int8_and_it_agrees(
    trained: nn.Module, tmp_path: Path, name: str, asked: dict[str, Any]
) -> None:
    path = tmp_path / "model.tflite"
    facts = lowered(name, trained, path, **asked)
    assert facts["activations"] == ("dynamic" if name.endswith("dynamic") else "static")
    assert facts["int8_coverage"] == 1.0
    assert facts["int8_layers"] == facts["layers"] == 10
    assert agreement(path, trained) >= 0.95
    assert answers(path, HELD_OUT[:2]).dtype == np.float32


def test_ranges_are_those_of_the_method(trained: nn.Module) -> None:
    content, free = lower_litert._converted(trained, EXAMPLE)
    samples = stripes().calibration.inputs
    with lower_litert.silent():
        whole = lower_litert._limits(content, samples, "minmax", free)
        one_by_one = lower_litert._limits(content, samples, "minmax", False)
        cut = lower_litert._limits(content, samples, "entropy", free)
    name = tflite_file.parse(content).subgraphs[0].tensors[0].name.decode()
    assert whole[name] == (float(samples.min()), float(samples.max()))
    assert {n: pytest.approx(r, abs=1e-3) for n, r in one_by_one.items()} == whole
    assert all(low <= cut[n][0] <= cut[n][1] <= high for n, (low, high) in whole.items())
    assert cut != whole


def test_fp16_halves_the_weights(trained: nn.Module, tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.tflite", tmp_path / "half.tflite"
    lowered("tflite", trained, whole)
    lowered("tflite-fp16", trained, half)
    assert half.stat().st_size < 0.75 * whole.stat().st_size
    off = np.abs(answers(half, HELD_OUT) - eager(trained, HELD_OUT)).max()
    assert 1e-6 < off < 0.02
    assert agreement(half, trained) == 1.0


def test_attention_is_quantized_as_it_comes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "model.tflite"
    facts = lowered("tflite-int8", Attention(), path)
    assert facts["activations"] == "dynamic"
    assert 0 < facts["int8_layers"] <= facts["layers"]


def test_a_batch_that_is_built_in_is_told_and_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path, model = tmp_path / "model.tflite", Token()
    assert lowered("tflite", model, path) == {"batch": 1}
    np.testing.assert_allclose(answers(path, HELD_OUT[:1]), eager(model, HELD_OUT[:1]), rtol=1e-4, atol=1e-4)


def test_an_answer_that_differs_from_torch_is_refused(
    trained: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lower_litert, "PARITY", 0.0)
    with pytest.raises(ModelError, match=r"differs from torch by .* on a batch of 1"):
        lowered("tflite", trained, tmp_path / "model.tflite")


def test_converting_leaves_no_warning_behind_for_those_who_fork(trained: nn.Module) -> None:
    lower_litert._converted(trained, EXAMPLE)
    child = os.fork()  # JAX, left alone, warns of this, and pytest makes an error of it
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_what_cannot_be_converted_is_said(tmp_path: Path) -> None:
    class Branches(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    with pytest.raises(ModelError, match=r"litert-torch cannot convert this network: .*Leave litert out"):
        lowered("tflite", Branches(), tmp_path / "model.tflite")


def test_samples_that_are_all_the_same_give_no_range(trained: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="all the same"):
        lowered("tflite-int8", trained, tmp_path / "m.tflite", calibration=np.zeros((8, 1, 12, 12), np.float32))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.data())
def test_one_number_that_differs_is_freed(shape: list[int], data: Any) -> None:
    def raw(numbers: list[int]) -> Any:
        return np.frombuffer(np.array(numbers, np.int32).tobytes(), np.uint8)

    axis = data.draw(st.integers(0, len(shape) - 1))
    other = [n * 3 if i == axis else n for i, n in enumerate(shape)]
    found = tflite_file._with_one_free(raw(shape), raw(other))
    assert np.frombuffer(found.tobytes(), np.int32).tolist() == [-1 if i == axis else n for i, n in enumerate(shape)]
    assert tflite_file._with_one_free(raw(shape), raw(shape)) is None
    assert tflite_file._with_one_free(raw([*shape, 1]), raw([*other, 3])) is None
