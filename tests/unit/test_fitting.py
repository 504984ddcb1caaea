"""Whether a ready file can be fed what was asked for, said before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebench import convert, fitting, given, ready
from edgebench.errors import DataError, EdgebenchError, PlanError
from edgebench.inspect import Network
from edgebench.schema import TensorSpec

FILE = Path("m.onnx")


def spec(*shape: int | None, name: str = "x", dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@pytest.mark.parametrize(
    ("found", "batches", "match"),
    [
        (spec(1, 8), (1, 4), "fixed to a batch of 1, and 4 was asked for.*Ask for batch 1"),
        (spec(0, 8), (1,), "0 x 8: an axis of 0 holds no number"),
        (spec(), (1,), "is a scalar"),
        (spec(1, dtype="object"), (1,), "takes text"),
    ],
)
def test_inputs_that_cannot_be_fed(found: TensorSpec, batches: Sequence[int], match: str) -> None:
    with pytest.raises(EdgebenchError, match=match):
        fitting.check_inputs(FILE, (found,), batches)


def test_a_free_batch_and_the_own_batch_are_fed() -> None:
    fitting.check_inputs(FILE, (spec(None, 8), spec(3, 8)), (3,))
    fitting.check_inputs(FILE, (spec(None, 8),), (1, 7))


@pytest.mark.parametrize(
    ("found", "shapes", "match"),
    [
        (spec(1, 8), {"q": [1, 8]}, "no input 'q' to give a shape to"),
        (spec(None, 3, None, None), {}, "free axes: N x 3 x [?] x [?].*--shape x=1x3x8x8"),
        (spec(None, 3, None), {"x": [1, 3]}, "is N x 3 x [?], and --shape says 1 x 3"),
        (spec(None, 3, None), {"x": [1, 4, 9]}, "--shape says 1 x 4 x 9"),
        (spec(None, 3, None), {"x": [8, 3, 9]}, "says a batch of 8, and 1 is measured.*x=1x3x9.*--batch 8"),
        (spec(1, 1024, 8192, 8192), {}, "take 4,096 GiB.*smaller"),
    ],
)
def test_random_inputs_that_cannot_be_drawn(found: TensorSpec, shapes: Mapping[str, list[int]], match: str) -> None:
    with pytest.raises(EdgebenchError, match=match):
        fitting.check_shapes(FILE, (found,), shapes, (1,), 16)


def test_the_shape_of_a_network_in_python_may_be_that_of_the_batch_that_is_asked_for() -> None:
    assert given.sample_shape({"x": [1, 3, 9]}, "my:net", (8,)) == [3, 9]
    assert given.sample_shape({"x": [8, 3, 9]}, "my:net", (8,)) == [3, 9]
    with pytest.raises(EdgebenchError, match=r"one sample, and x=4x3x9 has 4.*--shape x=1x3x9.*--batch 4"):
        given.sample_shape({"x": [4, 3, 9]}, "my:net", (8,))


def test_random_inputs_that_can_be_drawn() -> None:
    fitting.check_shapes(FILE, (spec(None, 3, None), spec(1, 2, name="y")), {"x": [1, 3, 9]}, (1,), 16)
    fitting.check_shapes(FILE, (spec(None, 3, None),), {"x": [8, 3, 9]}, (8,), 16)
    fitting.check_shapes(FILE, (spec(1),), {"x": [1, 3, 9]}, (1,), 16)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"q": np.zeros((4, 8))}, 'wants "x", and the data has "q"'),
        ({"x": np.zeros((4, 9))}, "1 x 8, and the data has 4 x 9"),
        ({"x": np.zeros((4, 8, 1))}, "the data has 4 x 8 x 1"),
        ({"x": np.zeros((4, 8))}, 'Input "x" of m.onnx is float32, and the data has float64.*astype'),
        ({"x": np.zeros((4, 8)), "z": np.zeros((4, 8))}, 'the data has "x", "z"'),
    ],
)
def test_arrays_that_are_not_the_inputs(arrays: Mapping[str, Any], match: str) -> None:
    with pytest.raises(EdgebenchError, match=match):
        fitting.check_arrays(FILE, (spec(1, 8),), {f"input:{name}": array for name, array in arrays.items()})


@pytest.mark.parametrize("name", ["pixels", *fitting.COMMON])
def test_the_only_input_may_have_a_common_name(name: str) -> None:
    arrays = {f"input:{name}": np.zeros((4, 8), np.float32), "labels": np.zeros(4)}
    fitting.check_arrays(FILE, (spec(None, 8, name="pixels"),), arrays)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (
            np.array([[0], [np.nan], [1]]),
            'Input "x" of the data holds NaN or infinity in 1 of 3 samples, first in sample 1',
        ),
        (np.array([[np.inf], [1]], np.float16), "in 1 of 2 samples"),
        (np.array([["a"]]), "is of type <U1, and networks take numbers"),
        (np.array([[1j]]), "is of type complex128"),
    ],
)
def test_samples_that_are_no_numbers(array: Any, match: str) -> None:
    with pytest.raises(EdgebenchError, match=match):
        fitting.check_numbers({"input:x": array})


def test_minus_infinity_masks() -> None:
    fitting.check_numbers({"input:mask": np.array([[-np.inf, 0]]), "input:ids": np.array([[1]]), "labels": np.zeros(1)})


def test_labels_that_the_network_has_no_class_for() -> None:
    labels, given = np.array([0, 10]), (spec(None, 8),)
    with pytest.raises(EdgebenchError, match=r"go up to 10, and m\.onnx has 10 classes, from 0 to 9"):
        fitting.check_labels(FILE, given, (spec(None, 10),), labels)
    fitting.check_labels(FILE, given, (spec(None, 11),), labels)
    fitting.check_labels(FILE, given, (spec(None, None),), labels)  # a worker may find how many there are
    fitting.check_labels(FILE, given, (spec(3, 2),), labels)  # an axis of its own, no batch


def test_the_inputs_of_every_format_are_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("m.tflite")
    network = Network(path=path, format="tflite", inputs=(spec(1, 8),), outputs=(), tensors={}, nodes=())
    monkeypatch.setattr(ready, "network_of", lambda path: network)
    for name, known in (("x", True), ("q", False)):
        plan = ready.bench_plan(str(path), ("litert",), shapes={name: [1, 8]})
        with nullcontext() if known else pytest.raises(EdgebenchError, match=r"no input 'q'.*Known: x"):
            assert given.read(plan) is None


def test_a_batch_that_no_machine_holds() -> None:
    fitting.check_batches(4096, (1, 64))
    with pytest.raises(EdgebenchError, match=r"A batch of 1,000,000,000 samples takes 3,815 GiB"):
        fitting.check_batches(4096, (1, 10**9))


def test_far_too_many_threads_are_refused_and_somewhat_too_many_are_a_row() -> None:
    fitting.check_threads((1,))
    with pytest.raises(EdgebenchError, match=r"9999999 threads were asked for, and .* CPUs may be used here"):
        fitting.check_threads((1, 9999999))


def test_a_hint_names_the_option_of_its_own_command_and_a_batch_that_is_fixed() -> None:
    with pytest.raises(PlanError) as error:
        given.sample_shape({}, "my:net", option="--calibration")
    assert error.value.fix.endswith("or give samples with --calibration.")
    with pytest.raises(PlanError, match="2 shapes, and a network in python is fed one input"):
        given.sample_shape({"a": [1, 3], "b": [1, 4]}, "my:net")
    with pytest.raises(DataError) as other:
        fitting.check_shapes(Path("net.onnx"), [spec(4, 5, None)], {}, (4,), 16)
    assert "--shape x=4x5x8" in other.value.fix


@pytest.mark.parametrize("names", [("x", "labels"), ("x_calib", "x_eval")])
def test_numbers_that_are_none_are_said_of_the_users_own_file(tmp_path: Path, names: tuple[str, str]) -> None:
    arrays = {name: np.arange(10) if name == "labels" else np.full((10, 3), np.nan, np.float32) for name in names}
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(DataError) as error:
        given.data_set(str(tmp_path / "mine.npz"))
    assert "edgebench" not in error.value.problem
    assert "NaN" in f"{error.value.problem} {error.value.fix}"


def test_where_nothing_is_trained_calibration_is_not_sparing(tmp_path: Path) -> None:
    x = np.random.RandomState(0).rand(202, 3)
    np.savez(tmp_path / "mine.npz", x_train=x[2:], x_eval=x[:2])
    assert len(given.data_set(str(tmp_path / "mine.npz")).calibration) == 100
    assert convert._data(str(tmp_path), {}, "my:net") == (str(tmp_path), {"calibration": 200})
    assert convert._data("digits", {}, "my:net") == ("digits", {})
    assert convert._data("my:data", {}, "my:net") == ("my:data", {})
    assert convert._data("", {"x": [1, 3]}, "my:net")[1] == {"shape": [3]}


def test_a_shape_that_nothing_would_read_is_refused(tmp_path: Path) -> None:
    for network in (str(tmp_path / "net.onnx"), "my:net"):
        with pytest.raises(PlanError, match=r"--shape is for .* (has|have) a shape"):
            ready.bench_plan(network, ("onnxruntime",), str(tmp_path / "x.npz"), {"x": [1, 3]})
