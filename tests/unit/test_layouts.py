"""NCHW against NHWC: found, and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgebench import layouts
from edgebench.errors import DataError
from edgebench.schema import TensorSpec


def spec(*shape: int | None) -> TensorSpec:
    return TensorSpec(name="input", dtype="float32", shape=shape)


def test_the_other_layout_is_named_with_both_shapes_and_the_way_back() -> None:
    arrays = {"input:input": np.zeros((5, 32, 40, 3), np.float32)}
    with pytest.raises(DataError) as found:
        layouts.check_layout(Path("m.onnx"), [spec(None, 3, 32, 40)], arrays)
    assert 'Input "input" of m.onnx is NCHW, N x 3 x 32 x 40' in found.value.problem
    assert "NHWC, 5 x 32 x 40 x 3" in found.value.problem
    assert arrays["input:input"].transpose(0, 3, 1, 2).shape == (5, 3, 32, 40)
    assert "transpose(0, 3, 1, 2)" in found.value.fix


def test_the_way_back_for_a_network_of_channels_last() -> None:
    assert layouts.layout_of(spec(1, 32, 40, 3), (9, 3, 32, 40)) == "NHWC"
    assert np.zeros((9, 3, 32, 40)).transpose(layouts.LAYOUTS["NHWC"]).shape == (9, 32, 40, 3)


def test_what_fits_or_cannot_is_left_to_the_runtime() -> None:
    assert layouts.layout_of(spec(None, 3, 32, 32), (5, 3, 32, 32)) == ""
    assert layouts.layout_of(spec(None, 3, 32, 32), (5, 3, 16, 16)) == ""
    assert layouts.layout_of(spec(None, 3), (5, 4)) == ""
    layouts.check_layout(Path("m.onnx"), [], {"input:x": np.zeros((2, 2))})


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((None, 3, 32, 40), ("NCHW", 3, 32, 40)),
        ((1, 32, 40, 1), ("NHWC", 1, 32, 40)),
        ((None, 3, None, None), ("NCHW", 3, None, None)),
        ((1, 1, 28, 28), ("NCHW", 1, 28, 28)),
    ],
)
def test_what_a_picture_is_for_a_network(shape: tuple[int | None, ...], found: tuple[object, ...]) -> None:
    assert layouts.picture_layout(spec(*shape), Path("m.onnx")) == found


@pytest.mark.parametrize("shape", [(None, 10), (1, 16, 8, 8), ()])
def test_what_takes_no_pictures(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(DataError, match="no picture"):
        layouts.picture_layout(spec(*shape), Path("m.onnx"))
