"""Model files of several parts: all are counted, hashed and looked after, and a board is sent one."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgebench import parts, ready
from edgebench.devices.local import verify
from edgebench.errors import EdgebenchError

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def external(folder: Path) -> Path:
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.weights", size_threshold=0)
    return path


def test_weights_beside_an_onnx_file_count_and_are_looked_after(tmp_path: Path) -> None:
    path = external(tmp_path)
    made = ready.artifact_of(path)
    assert made.size == path.stat().st_size + 64
    assert list(made.facts["beside"]) == ["net.weights"]
    verify(made)
    (tmp_path / "net.weights").write_bytes(b"\0" * 64)
    with pytest.raises(EdgebenchError, match=r"net\.weights has changed"):
        verify(made)


def test_an_onnx_file_is_packed_with_its_weights_once(tmp_path: Path) -> None:
    made = ready.artifact_of(external(tmp_path))
    whole = parts.packed(made, tmp_path / "cache")
    verify(whole)
    assert whole.parent == made.sha256
    model = onnx.load(whole.path, load_external_data=False)
    assert len(model.graph.initializer[0].raw_data) == 64
    assert parts.packed(made, tmp_path / "cache") == whole
    assert parts.packed(whole, tmp_path / "cache") is whole


@pytest.mark.parametrize(("name", "ending"), [("net.xml", ".xml.zip"), ("net.param", ".ncnn")])
def test_a_graph_and_its_bin_are_packed_as_they_are(tmp_path: Path, name: str, ending: str) -> None:
    path = tmp_path / name
    path.write_text("graph")
    path.with_suffix(".bin").write_bytes(b"weights")
    made = ready.artifact_of(path)
    whole = parts.packed(made, tmp_path / "cache")
    assert (made.size, Path(whole.path).name) == (12, f"net{ending}")
    with zipfile.ZipFile(whole.path) as archive:
        assert [archive.read(part) for part in sorted(archive.namelist())] == [b"weights", b"graph"]
    again = parts.packed(made, tmp_path / "other")
    assert again.sha256 == whole.sha256


def test_a_file_that_is_whole_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(b"whole")
    made = ready.artifact_of(path)
    assert "beside" not in made.facts
    assert parts.packed(made, tmp_path) is made
