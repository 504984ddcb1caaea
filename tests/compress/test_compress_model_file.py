"""Ready ONNX files: each thing that can be wrong with one is told before anything is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgebench.compress.model_file import check_onnx, random_inputs
from edgebench.errors import ModelError
from edgebench.schema import TensorSpec


def model(opset: int = 17) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.ones((4, 3), np.float32), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def two_sentences(error: ModelError) -> None:
    assert error.problem.endswith(".")
    assert error.fix.endswith(".")
    assert "\n" not in str(error)


def test_a_whole_file_gives_its_inputs_without_the_weights(tmp_path: Path) -> None:
    made = model()
    made.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [4, 3]))  # as old files have it
    onnx.save(made, tmp_path / "m.onnx")
    assert check_onnx(tmp_path / "m.onnx") == (TensorSpec(name="x", dtype="float32", shape=(None, 4)),)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    content = model().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=r"m\.onnx") as caught:
        check_onnx(tmp_path / "m.onnx")
    two_sentences(caught.value)


@given(junk=st.binary(min_size=1, max_size=200))
def test_junk_is_refused(junk: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.onnx"
    path.write_bytes(junk)
    with pytest.raises(ModelError) as caught:
        check_onnx(path)
    assert caught.value.fix


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no file"):
        check_onnx(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"cannot be read: Is a directory"):
        check_onnx(tmp_path)


def test_external_data_that_is_missing_or_short_is_named(tmp_path: Path) -> None:
    made = model()
    onnx.save_model(made, tmp_path / "m.onnx", save_as_external_data=True, location="m.weights", size_threshold=0)
    assert check_onnx(tmp_path / "m.onnx")
    content = (tmp_path / "m.weights").read_bytes()
    (tmp_path / "m.weights").write_bytes(content[:-1])
    with pytest.raises(ModelError, match=r"m\.weights is too short"):
        check_onnx(tmp_path / "m.onnx")
    (tmp_path / "m.weights").unlink()
    with pytest.raises(ModelError, match=r"in m\.weights, which is not beside it.*external_data=False") as caught:
        check_onnx(tmp_path / "m.onnx")
    two_sentences(caught.value)


def test_an_opset_from_the_future_is_refused(tmp_path: Path) -> None:
    onnx.save(model(opset=99), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"opset 99; onnx .* knows 1 to \d+.*opset_version=20") as caught:
        check_onnx(tmp_path / "m.onnx")
    two_sentences(caught.value)


def test_a_graph_against_the_rules_is_refused(tmp_path: Path) -> None:
    made = model()
    made.graph.node[0].input[0] = "nowhere"
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"no valid ONNX model: ValidationError"):
        check_onnx(tmp_path / "m.onnx")


def test_random_inputs_are_the_same_for_the_same_seed_and_valid() -> None:
    specs = (
        TensorSpec(name="x", dtype="float32", shape=(None, 3, None)),
        TensorSpec(name="ids", dtype="int64", shape=(1, 5)),
        TensorSpec(name="mask", dtype="bool", shape=(1, 5)),
        TensorSpec(name="half", dtype="float16", shape=(2,)),
    )
    made, again, other = (random_inputs(specs, 6, seed) for seed in (0, 0, 1))
    assert {k: (v.shape, str(v.dtype)) for k, v in made.items()} == {
        "x": ((6, 3, 1), "float32"),
        "ids": ((6, 5), "int64"),
        "mask": ((6, 5), "bool"),
        "half": ((6,), "float16"),
    }
    assert set(np.unique(made["ids"])) == {0, 1}
    assert all(np.array_equal(made[k], again[k]) for k in made)
    assert not np.array_equal(made["x"], other["x"])
    with pytest.raises(ModelError, match=r'No inputs can be made up for "s"'):
        random_inputs((TensorSpec(name="s", dtype="object", shape=(1,)),), 1, 0)
