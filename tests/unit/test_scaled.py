"""Integers that stand for real numbers: turned in the worker, outside of what is timed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebench.codec import from_json, to_json
from edgebench.feeding import subject_of
from edgebench.metrics.accuracy import run_all
from edgebench.metrics.application import _fed
from edgebench.scaled import Scaled, fed, told
from edgebench.schema import Artifact, Cell, TensorSpec, Work

HALF = Scaled(scale=0.5, zero_point=-3)
TAKES = TensorSpec(name="x", dtype="int8", shape=(None, 3), scaled=HALF)
GIVES = TensorSpec(name="y", dtype="int8", shape=(None, 3), scaled=HALF)
DATA = np.array([[0.0, 1.0, -0.6], [2.0, 1000.0, -1000.0]], np.float32)


def test_real_numbers_and_integers() -> None:
    assert HALF.codes(DATA, "int8").tolist() == [[-3, -1, -4], [1, 127, -128]]
    assert HALF.numbers(np.array([-3, -1, 127], np.int8)).tolist() == [0.0, 1.0, 65.0]
    assert HALF.numbers(np.array([0], np.int8)).dtype == np.float32
    assert from_json(TensorSpec, to_json(TAKES)) == TAKES


@given(st.integers(-128, 127), st.floats(1e-6, 1e3), st.integers(-128, 127))
def test_an_integer_comes_back_from_the_number_that_it_stands_for(code: int, scale: float, zero_point: int) -> None:
    scaled = Scaled(scale=scale, zero_point=zero_point)
    assert scaled.codes(scaled.numbers(np.array([code], np.int8)), "int8").tolist() == [code]


class Echo:
    """A session that takes int8 and gives it back."""

    inputs, outputs = (TAKES,), (GIVES,)

    def run(self, feeds: Any) -> list[Any]:
        assert feeds["x"].dtype == np.int8
        return [feeds["x"]]


@pytest.mark.parametrize("data", [DATA, HALF.codes(DATA, "int8")])
def test_the_worker_feeds_integers_and_reads_numbers_whichever_the_data_has(data: Any) -> None:
    nothing = Artifact(format="npz", path="", sha256="", size=0)
    cell = Cell(model="m", recipe="as given", backend="fake", device="local", batch=1)
    session: Any = Echo()
    subject = subject_of(Work(cell=cell, artifact=nothing, data=nothing), session, {"input:x": data}, {})
    assert subject.inputs["x"].dtype == np.int8
    assert run_all(subject)[0].tolist() == [[0, 1, -0.5], [2, 65, -62.5]]


def test_random_inputs_are_real_numbers_first() -> None:
    cell = Cell(model="m", recipe="as given", backend="fake", device="local", batch=1)
    data = Artifact(format="random", path="", sha256="", size=0)
    fine: Any = SimpleNamespace(
        inputs=(TensorSpec(name="x", dtype="int8", shape=(None, 300), scaled=Scaled(scale=0.02, zero_point=0)),),
        outputs=(GIVES,),
    )
    drawn = subject_of(Work(cell=cell, artifact=data, data=data), fine, {}, {}).inputs["x"]
    assert drawn.dtype == np.int8
    assert drawn.min() == -128 or drawn.std() > 30, "normal numbers, and not zeros and ones"


def test_the_application_turns_what_it_made() -> None:
    subject: Any = SimpleNamespace(session=Echo())
    assert _fed({"x": DATA}, subject)["x"].dtype == np.int8
    plain = TensorSpec(name="x", dtype="float32", shape=(None, 3))
    assert fed(plain, DATA) is DATA
    assert told([plain], [DATA])[0] is DATA
