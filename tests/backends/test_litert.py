"""LiteRT: the contract in each precision, and what the contract cannot know of .tflite files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import artifact, inputs
from edgebench_litert import LiteRtBackend
from edgebench_litert.ends import layout_hint

from edgebench.backend import EdgebenchError, ModelError, Session
from edgebench.scaled import fed, told
from edgebench.testing import BackendContract, Case

pytest.importorskip("ai_edge_litert")


def needs_converter() -> None:
    """Without importing it here, where its chatter would be heard."""
    if not (find_spec("litert_torch") and find_spec("ai_edge_quantizer")):
        pytest.skip("litert-torch and ai-edge-quantizer are not installed")


def opened(case: Case, **changed: Any) -> Session:
    return LiteRtBackend().open(case.artifact, case.asked(**changed))


@pytest.fixture(scope="session")
def tflite(nets: Path, torch_net: Any, torch_case: Case) -> Callable[[str], Case]:
    """The small network in the .tflite form of one precision, made once."""
    needs_converter()
    import torch

    from edgebench.compress.lowering import lower_litert
    from edgebench.compress.quantization.quantize import Quantize

    example = torch.from_numpy(torch_case.feeds["input"])
    made: dict[str, Case] = {}

    def make(precision: str) -> Case:
        if precision not in made:
            path = nets / f"net-{precision}.tflite"
            if precision.startswith("int8"):
                dynamic, samples = precision == "int8-dynamic", inputs(32, seed=1)["input"]
                lower_litert.quantize(torch_net, example, samples, Quantize(), path, dynamic=dynamic)
            else:
                {"fp32": lower_litert.convert, "fp16": lower_litert.halve}[precision](torch_net, example, path)
            made[precision] = replace(torch_case, artifact=artifact(path, "tflite"), precision=precision[:4])
        return made[precision]

    return make


def as_taken(case: Case) -> Case:
    """The case in what its file takes and gives: the int8 one has integers at its ends."""
    session = opened(case)
    feeds = {spec.name: fed(spec, case.feeds[spec.name]) for spec in session.inputs}
    return replace(
        case, feeds=feeds, expected=[fed(s, out) for s, out in zip(session.outputs, case.expected, strict=True)]
    )


def changed(case: Case, path: Path, change: Callable[[Any], None]) -> Case:
    """The same case on a file that `change` was let at."""
    from edgebench.compress.lowering import tflite_file

    model = tflite_file.parse(Path(case.artifact.path).read_bytes())
    change(model)
    path.write_bytes(tflite_file.pack(model))
    return replace(case, artifact=artifact(path, "tflite"))


class TestLiteRt(BackendContract):
    backend = LiteRtBackend

    @pytest.fixture(scope="class", params=["fp32", "fp16", "int8", "int8-dynamic"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest, tflite: Callable[[str], Case]) -> Case:
        return as_taken(tflite(request.param))


@pytest.mark.parametrize(("precision", "int8_ops"), [("fp32", 0), ("fp16", 0), ("int8", 2), ("int8-dynamic", 2)])
def test_it_tells_what_the_delegate_took_and_what_ran(
    tflite: Callable[[str], Case], precision: str, int8_ops: int
) -> None:
    found = opened(tflite(precision), threads=2).effective()
    assert (found["precision"], found["int8_ops"], found["float_ops"]) == (precision[:4], int8_ops, 2 - int8_ops)
    assert found["fp16_weights"] == (2 if precision == "fp16" else 0)
    assert found["delegated_ops"] == found["ops"] >= 4
    assert (found["delegate"], found["delegate_parts"], found["not_delegated"]) == ("xnnpack", 1, [])
    assert found["threads"] == 2


def test_without_the_delegate_its_own_kernels_run(tflite: Callable[[str], Case]) -> None:
    case = tflite("fp32")
    session = opened(case, delegate="none")
    found = session.effective()
    assert (found["delegate"], found["delegated_ops"], found["delegate_parts"]) == ("none", 0, 0)
    assert "CONV_2D" in found["not_delegated"]
    np.testing.assert_allclose(session.run(case.feeds)[0], case.expected[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(EdgebenchError, match=r"delegate cannot be 'gpu'\. Use one of xnnpack, none"):
        opened(case, delegate="gpu")


@pytest.mark.parametrize("batch", [1, 5])
def test_one_file_takes_any_batch(tflite: Callable[[str], Case], torch_net: Any, batch: int) -> None:
    import torch

    feeds = inputs(batch, seed=3)
    session = opened(tflite("fp32"), batch=batch)
    assert session.inputs[0].shape == (batch, 3, 12, 12)
    assert session.effective()["delegated_ops"] == session.effective()["ops"]
    with torch.inference_mode():
        wanted = torch_net(torch.from_numpy(feeds["input"]))
    for found, reference in zip(session.run(feeds), wanted, strict=True):
        np.testing.assert_allclose(found, reference.numpy(), rtol=1e-4, atol=1e-5)


def test_a_batch_that_a_file_was_not_made_for_is_refused(torch_case: Case, tmp_path: Path) -> None:
    needs_converter()
    import torch

    from edgebench.compress.lowering import lower_litert

    class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
        """The mean over the batch: for a batch of one the converter leaves it out, and LiteRT would not notice."""

        def forward(self, x: Any) -> Any:
            return x.mean(0, keepdim=True)

    path = tmp_path / "net.tflite"
    content, free = lower_litert._converted(Net(), torch.from_numpy(torch_case.feeds["input"]))
    path.write_bytes(content)
    case = replace(torch_case, artifact=artifact(path, "tflite"))
    assert not free
    assert opened(case, batch=1).inputs[0].shape == (1, 3, 12, 12)
    with pytest.raises(ModelError, match=r"was made for a batch of 1, not 2\. Ask for batch = 1"):
        opened(case)


def test_an_old_file_without_signatures_opens(tflite: Callable[[str], Case], tmp_path: Path) -> None:
    def strip(model: Any) -> None:
        model.signatureDefs = None
        model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].name = b"input_1"

    case = changed(tflite("fp32"), tmp_path / "old.tflite", strip)
    session = opened(case)
    assert [spec.name for spec in session.inputs] == ["input_1"]
    found = session.run({"input_1": case.feeds["input"]})
    np.testing.assert_allclose(found[0], case.expected[0], rtol=1e-4, atol=1e-5)


def test_another_free_axis_takes_the_size_that_comes(
    tflite: Callable[[str], Case], torch_net: Any, tmp_path: Path
) -> None:
    import torch

    def free(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.tensors[graph.inputs[0]].shapeSignature = np.array([-1, 3, -1, -1], np.int32)

    session = opened(changed(tflite("fp32"), tmp_path / "free.tflite", free))
    assert session.inputs[0].shape == (2, 3, None, None)
    for size in (12, 20, 7):
        given = np.random.default_rng(size).standard_normal((2, 3, size, size)).astype(np.float32)
        with torch.inference_mode():
            wanted = torch_net(torch.from_numpy(given))[0].numpy()
        np.testing.assert_allclose(session.run({"input": given})[0], wanted, rtol=1e-4, atol=1e-5)


def test_integers_at_the_ends_are_taken_and_given_as_they_are_with_what_they_stand_for(
    torch_net: Any, tflite: Callable[[str], Case], tmp_path: Path
) -> None:
    """A file that takes and gives int8, as TensorFlow's converter makes them for microcontrollers."""
    from ai_edge_quantizer import recipe

    from edgebench.compress.lowering import lower_litert

    case = tflite("fp32")
    content = Path(case.artifact.path).read_bytes()
    with lower_litert.silent():
        limits = lower_litert._limits(content, inputs(32, seed=1)["input"], "minmax", True)
        made = lower_litert._quantized(content, recipe.static_wi8_ai8(), lower_litert._bounds(limits))
    path = tmp_path / "ends.tflite"
    path.write_bytes(made)
    integer = replace(case, artifact=artifact(path, "tflite"), precision="int8")
    session = opened(integer)
    assert {spec.dtype for spec in (*session.inputs, *session.outputs)} == {"int8"}
    assert session.effective()["integer_ends"]["input"].startswith("int8, scale ")
    codes = {spec.name: fed(spec, case.feeds[spec.name]) for spec in session.inputs}
    answered = session.run(codes)
    assert {out.dtype.name for out in answered} == {"int8"}
    for found, wanted in zip(told(session.outputs, answered), case.expected, strict=True):
        assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 0.05
    with pytest.raises(ModelError, match=r"wants input int8.*float32"):
        session.run(case.feeds)


def test_a_custom_operator_is_named(tflite: Callable[[str], Case], tmp_path: Path) -> None:
    def strange(model: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        code = next(c for c in model.operatorCodes if c.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED)
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"HouseOp"
        for op in model.subgraphs[0].operators:
            if model.operatorCodes[op.opcodeIndex] is code:
                op.builtinOptions, op.builtinOptionsType = None, 0

    with pytest.raises(ModelError, match="has the custom operator HouseOp, which LiteRT does not have"):
        opened(changed(tflite("fp32"), tmp_path / "custom.tflite", strange))


def test_a_board_needs_neither_torch_nor_the_converter(tflite: Callable[[str], Case]) -> None:
    path = tflite("int8").artifact.path
    code = (
        "import sys; from edgebench_litert import LiteRtBackend; from edgebench.schema import Artifact; import numpy as np\n"
        f"file = Artifact(format='tflite', path={path!r}, sha256='', size=0)\n"
        "session = LiteRtBackend().open(file, {'threads': 1, 'batch': 1, 'precision': 'int8'})\n"
        "session.run({'input': np.zeros((1, 3, 12, 12), 'int8')}), session.effective()\n"
        "sys.exit(', '.join({'torch', 'jax', 'litert_torch', 'tensorflow', 'ai_edge_quantizer'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_another_layout_is_named(tflite: Callable[[str], Case]) -> None:
    case = tflite("fp32")
    with pytest.raises(ModelError, match=r"the file's layout is NCHW and the array's NHWC.*Transpose"):
        opened(case).run({"input": case.feeds["input"].transpose(0, 2, 3, 1)})
    assert layout_hint((1, 32, 32, 3), (1, 3, 32, 32)) == "the file's layout is NHWC and the array's NCHW"
    assert layout_hint((1, 3, 32, 32), (1, 3, 32, 31)) == ""
