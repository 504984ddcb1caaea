"""What one would otherwise call directly, as recipes beside ours: the libraries' own results, unchanged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from compress_helpers import SPEC, context, network, stripes
from torch import nn

from edgebench.codec import Options
from edgebench.compress import methods, pipeline
from edgebench.compress.cache import sha256
from edgebench.compress.peers.pruner import TorchPruning
from edgebench.errors import MissingRuntime, ModelError, PlanError
from edgebench.schema import ModelSpec, Recipe, Step

QUANTIZERS = ("peer-onnxruntime", "peer-nncf")


def built(tmp_path: Path, method: str, lowering: str = "onnx-u8s8", spec: ModelSpec = SPEC, **options: Any) -> Any:
    recipe = Recipe(name="peer", steps=(Step(method=method, options=Options(options)),))
    return pipeline.build(spec, recipe, (lowering,), stripes(), base=tmp_path, cache=tmp_path / "cache")


@pytest.mark.parametrize("method", QUANTIZERS)
def test_a_peer_writes_what_its_library_writes(method: str, tmp_path: Path) -> None:
    made = built(tmp_path, method, samples=16).artifacts["onnx-u8s8"]
    assert made.facts["quantizer"] == method.removeprefix("peer-")
    assert 0 < made.facts["int8_coverage"] <= 1
    graph = onnx.load(made.path).graph
    kinds = {t.name: t.data_type for t in graph.initializer}
    zeros = {kinds[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"}
    unsigned = onnx.TensorProto.UINT8 in zeros
    assert unsigned == (method == "peer-nncf"), "onnxruntime's default is signed, ours and NNCF's is not"
    inputs = stripes().evaluation.inputs
    session = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: inputs})
    with torch.no_grad():
        wanted = network().eval()(torch.from_numpy(inputs)).numpy()
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 0.2


@pytest.mark.parametrize("method", QUANTIZERS)
def test_a_peers_file_is_the_same_twice_and_not_ours(method: str, tmp_path: Path) -> None:
    twice = [built(tmp_path / str(i), method).artifacts["onnx-u8s8"].sha256 for i in range(2)]
    ours = built(tmp_path, "quantize").artifacts["onnx-u8s8"].sha256
    assert twice[0] == twice[1] != ours
    kept = built(tmp_path / "0", method).artifacts["onnx-u8s8"]
    assert sha256(Path(kept.path)) == twice[0]


def test_two_peers_of_the_same_options_share_no_file(tmp_path: Path) -> None:
    made = [built(tmp_path, method, samples=16).artifacts["onnx-u8s8"] for method in QUANTIZERS]
    assert [artifact.facts["quantizer"] for artifact in made] == ["onnxruntime", "nncf"]
    assert made[0].sha256 != made[1].sha256


def test_onnxruntimes_call_is_the_one_that_its_user_would_make(tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    plain = built(tmp_path, "train", lowering="onnx", epochs=1).artifacts["onnx"].path
    made = pipeline.build(
        ModelSpec(name="file", source=plain),
        Recipe(name="peer", steps=(Step(method="peer-onnxruntime", options=Options(samples=8)),)),
        ("onnx-u8s8",),
        stripes(),
        base=tmp_path,
        cache=tmp_path / "cache",
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        rows = iter(stripes().calibration.inputs[:8])

        def get_next(self) -> dict[str, Any] | None:
            row = next(self.rows, None)
            return None if row is None else {"input": row[None]}

    quantize_static(plain, str(tmp_path / "own.onnx"), Reader())
    assert made.artifacts["onnx-u8s8"].sha256 == sha256(tmp_path / "own.onnx")


def test_a_peer_of_onnx_is_refused_where_no_onnx_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r'"peer-nncf" writes ONNX files, and this runtime takes pt2\. Name runtimes'):
        built(tmp_path, "peer-nncf", lowering="pt2-int8-x86")


def test_a_library_that_is_not_there_or_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nncf

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such operator.\nmore")

    monkeypatch.setattr(nncf, "quantize", broken)
    with pytest.raises(ModelError, match=r"nncf cannot quantize this network: RuntimeError: no such operator\. Leave"):
        built(tmp_path, "peer-nncf")
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingRuntime, match=r'"peer-nncf" needs nncf, which is not installed\. Install it with'):
        built(tmp_path, "peer-nncf", samples=20)


def test_torch_prunings_example_halves_channels_and_leaves_the_classes() -> None:
    told = context()
    pruned = TorchPruning(round_to=1).apply(network(), told)
    widths = [m.out_channels for m in pruned.modules() if isinstance(m, nn.Conv2d)]
    before = [m.out_channels for m in network().modules() if isinstance(m, nn.Conv2d)]
    assert widths == [w // 2 for w in before]
    with torch.no_grad():
        assert pruned(torch.zeros(2, 1, 12, 12)).shape == (2, 3)
    assert told.facts["macs_left"] == pytest.approx(0.27, abs=0.04)


def test_what_torch_pruning_does_not_follow_is_told(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("not today")

    with pytest.raises(
        ModelError, match=r"torch-pruning's example does not prune this network: RuntimeError: not today"
    ):
        TorchPruning().apply(Odd(), context())


@pytest.mark.parametrize(
    ("method", "options", "says"),
    [
        ("peer-torch-pruning", {"pruning_ratio": 1.0}, r"pruning_ratio of \"peer-torch-pruning\" cannot be 1\.0"),
        ("peer-torch-pruning", {"round_to": 0}, r"round_to of \"peer-torch-pruning\" cannot be 0"),
        ("peer-nncf", {"samples": 0}, r"samples of \"peer-nncf\" cannot be 0"),
    ],
)
def test_wrong_options_are_refused(method: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        methods.parse(Step(method=method, options=Options(options)))
