"""The quantize step as a whole: its options in every lowering, recipes of it, and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from compress_helpers import SPEC, context, network, stripes
from compress_networks import Depthwise, Transformer
from torch import nn

from edgebench.codec import Options
from edgebench.compress import methods, pipeline
from edgebench.compress.cache import sha256
from edgebench.compress.load_model import tensor
from edgebench.compress.lowering import export, lower
from edgebench.compress.quantization import calibration
from edgebench.compress.quantization.quantize import Quantize
from edgebench.errors import DataError, ModelError, PlanError
from edgebench.schema import ModelSpec, Recipe, Step

EXAMPLE = tensor(stripes().evaluation.inputs[:4])
INPUTS = stripes().evaluation.inputs


@lru_cache(maxsize=1)
def model() -> nn.Module:
    torch.manual_seed(0)
    return network().eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("quantize")
    export.export_onnx(model(), EXAMPLE, made / "float.onnx")
    return made


def lowered(name: str, folder: Path, given: nn.Module | None = None, **asked: Any) -> tuple[Path, Mapping[str, Any]]:
    path = folder / f"q.{lower.get(name).format}"
    request = lower.Request(
        model=given or model(),
        example=EXAMPLE,
        calibration=stripes().calibration.inputs,
        onnx=lambda: folder / "float.onnx",
        quantize=Quantize(**asked),
    )
    return path, lower.get(name).write(request, path)


@pytest.mark.parametrize(
    "name",
    [
        "onnx-u8s8",
        "onnx-s8s8",
        "pt2-int8-x86",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("pte-int8", "tflite-int8")),
    ],
)
def test_named_layers_stay_in_float_on_every_target(name: str, folder: Path) -> None:
    path, facts = lowered(name, folder, float_layers="stem.0, blocks.1.conv2, classifier")
    assert (facts["int8_layers"], facts["layers"]) == (7, 10)
    if path.suffix == ".pt2":
        with torch.no_grad():
            found = torch.export.load(path).module()(tensor(INPUTS)).numpy()
            wanted = model()(tensor(INPUTS)).numpy()
        assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 0.1
    with pytest.raises(PlanError, match=r'no layer "stem.1" to keep in float\. Did you mean "stem.0"\?'):
        lowered(name, folder, float_layers="stem.1")


def test_float_layers_keep_their_float_weights(folder: Path) -> None:
    path, _ = lowered("onnx-u8s8", folder, float_layers="blocks.0.conv1")
    stored = {t.name: t.data_type for t in onnx.load(path).graph.initializer}
    assert stored["blocks.0.conv1.weight"] == onnx.TensorProto.FLOAT
    assert "blocks.0.conv2.weight" not in stored


def test_dynamic_int8_needs_no_ranges_and_is_refused_where_they_must_be_fixed(folder: Path) -> None:
    path, facts = lowered("onnx-u8s8", folder, activations="dynamic")
    assert facts["int8_coverage"] == 1
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert "DynamicQuantizeLinear" in kinds
    assert "QuantizeLinear" not in kinds
    found = export.open_session(path).run(None, {"input": INPUTS})[0]
    with torch.no_grad():
        wanted = model()(tensor(INPUTS)).numpy()
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 0.05
    for name in ("onnx-s8s8", "pt2-int8-x86"):
        with pytest.raises(PlanError, match=r'activations = "static"'):
            lowered(name, folder, activations="dynamic")


@pytest.mark.parametrize("name", ["onnx-u8s8", "onnx-s8s8", "onnx-typed-int8"])
def test_a_file_that_is_int8_already_is_not_quantized_again(name: str, folder: Path) -> None:
    once, _ = lowered("onnx-u8s8", folder)
    twice = once.rename(folder / "int8.onnx")
    request = lower.Request(
        model=None, example=None, calibration=INPUTS, onnx=lambda: twice, quantize=Quantize(samples=8)
    )
    with pytest.raises(ModelError, match=r"int8\.onnx is int8 already") as said:
        lower.get(name).write(request, folder / "again.onnx")
    assert "edgebench bench int8.onnx" in said.value.fix


def test_a_graph_that_onnxruntime_refuses_is_a_model_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise RuntimeError("two nodes with the same name")

    monkeypatch.setattr(export, "open_session", refuse)
    with pytest.raises(ModelError, match=r"cannot quantize this network.*two nodes"):
        lowered("onnx-u8s8", folder)


def test_a_linear_layer_of_a_transformer_is_known_by_its_module(tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = Transformer().eval()
    export.export_onnx(given, EXAMPLE, tmp_path / "float.onnx")
    _, facts = lowered("onnx-u8s8", tmp_path, given, float_layers="block.qkv")
    _, whole = lowered("onnx-u8s8", tmp_path, given)
    assert whole["int8_layers"] - facts["int8_layers"] == 1


def test_calibration_is_done_once_for_all_targets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    collected = calibration._collected
    monkeypatch.setattr(calibration, "_kept", {})
    monkeypatch.setattr(calibration, "_collected", lambda *given: runs.append(given[2]) or collected(*given))
    for name in ("onnx-u8s8", "onnx-s8s8"):
        lowered(name, folder)
    assert runs == ["minmax"]
    lowered("onnx-u8s8", folder, ranges="mse")
    assert runs == ["minmax", "mse"]


def step(**options: Any) -> Step:
    return Step(method="quantize", options=Options(options))


def build(cache: Path, *steps: Step, spec: ModelSpec = SPEC) -> pipeline.Variant:
    recipe = Recipe(name="r", steps=steps)
    return pipeline.build(spec, recipe, ("onnx-u8s8", "onnx-s8s8"), stripes(), base=cache, cache=cache)


def test_a_recipe_of_everything_is_kept_and_byte_reproducible(tmp_path: Path) -> None:
    asked = step(
        equalise=True, rounding="adaround", rounding_steps=5, bias_correction=True, max_drop=0.5, mixed=0.1, samples=16
    )
    first = build(tmp_path / "a", asked)
    artifact = first.artifacts["onnx-u8s8"]
    assert artifact.facts["equalised_pairs"] == 3
    assert len(artifact.facts["sensitivity"]) == artifact.facts["layers_in_all"] == 10
    assert len(artifact.facts["float_layers"]) == 1
    assert artifact.facts["int8_layers"] == 9
    assert all(row["adaround"] <= row["nearest"] for row in artifact.facts["rounding"])
    second = build(tmp_path / "b", asked)
    assert {n: a.sha256 for n, a in first.artifacts.items()} == {n: a.sha256 for n, a in second.artifacts.items()}
    networks = tmp_path / "a" / "networks"
    before = {p: p.stat().st_mtime_ns for p in networks.rglob("*.safetensors")}
    build(tmp_path / "a", asked)
    assert {p: p.stat().st_mtime_ns for p in networks.rglob("*.safetensors")} == before


def test_layers_of_an_onnx_file_are_chosen_too_but_its_weights_stay(tmp_path: Path, folder: Path) -> None:
    spec = ModelSpec(name="file", source=str(folder / "float.onnx"))
    made = build(tmp_path, step(mixed=0.2), spec=spec).artifacts["onnx-u8s8"]
    assert made.facts["int8_layers"] == 8
    assert len(made.facts["sensitivity"]) == 10
    with pytest.raises(ModelError, match=r"asks quantize to change the weights of float.onnx.*module:callable"):
        build(tmp_path, step(equalise=True), spec=spec)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"smooth": 0.5}, "smooth was asked for, but this network has no layer norm"),
        (
            {"float_layers": "blocks.0.conv3", "equalise": True},
            r'no layer "blocks.0.conv3".*Did you mean "blocks.0.conv',
        ),
    ],
)
def test_what_cannot_be_done_to_this_network_is_said(options: dict[str, Any], match: str) -> None:
    with pytest.raises(PlanError, match=match):
        Quantize(**options).apply(model(), context())


def test_a_network_without_pairs_cannot_be_equalised() -> None:
    with pytest.raises(PlanError, match="no two layers in a row"):
        Quantize(equalise=True).apply(Depthwise(nn.ReLU6).eval(), context())


def test_constant_samples_calibrate_nothing() -> None:
    given = context()
    flat = type(given.data.calibration)(np.zeros_like(given.data.calibration.inputs), None)
    given.data = type(given.data)(**{**vars(given.data), "calibration": flat})
    with pytest.raises(DataError, match="all the same"):
        Quantize(bias_correction=True).apply(model(), given)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"smooth": 1.5}, "smooth .* from 0 to 1"),
        ({"mixed": 1.0}, "mixed"),
        ({"max_drop": -0.1}, "max_drop"),
        ({"rounding_steps": 0}, "rounding_steps"),
        ({"rounding_steps": 50}, "rounding learns nothing.*adaround"),
        ({"judge": "evaluation"}, "no budget to judge.*max_drop"),
        ({"activations": "dynamic", "ranges": "mse"}, "calibrates nothing"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(PlanError, match=match):
        methods.parse(step(**options))


def test_the_lowerings_follow_what_was_settled() -> None:
    asked = Quantize(samples=8, ranges="mse", max_drop=0.01, equalise=True, mixed=0.2, float_layers="a")
    assert asked.settled({"float_layers": ["b", "a"]}) == Quantize(samples=8, ranges="mse", float_layers="b, a")
    assert asked.settled({}) == Quantize(samples=8, ranges="mse", float_layers="a")
    assert not Quantize(ranges="mse").prepares


def test_same_file_every_time(folder: Path) -> None:
    hashes = {sha256(lowered("onnx-u8s8", folder, ranges="mse", float_layers="stem.0")[0]) for _ in range(2)}
    assert len(hashes) == 1
