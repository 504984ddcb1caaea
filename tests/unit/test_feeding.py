"""What a worker makes of a session and the data before anything is measured: types that fit, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edgebench.backend import Session
from edgebench.errors import ModelError
from edgebench.feeding import subject_of
from edgebench.metrics import Subject
from edgebench.schema import Artifact, Cell, TensorSpec, Work

ARTIFACT = Artifact(format="npz", path="", sha256="", size=0)
CELL = Cell(model="m", recipe="as given", backend="fake", device="local", precision="fp32", batch=1)


def subject(data: Any, took: str, gives: str = "float32") -> Subject:
    ends = [(TensorSpec(name=name, dtype=dtype, shape=(None, 3)),) for name, dtype in (("x", took), ("y", gives))]
    session = cast(Session, SimpleNamespace(inputs=ends[0], outputs=ends[1]))
    return subject_of(Work(cell=CELL, artifact=ARTIFACT, data=ARTIFACT), session, {"input:x": data}, {})


def test_whole_numbers_get_the_width_of_the_runtime_where_nothing_is_lost() -> None:
    assert subject(np.ones((4, 3), np.int64), "int32").inputs["x"].dtype == np.int32
    assert subject(np.full((4, 3), 2**40), "int32").inputs["x"].dtype == np.int64, "its own refusal follows"
    assert subject(np.ones((4, 3), np.float32), "int32").inputs["x"].dtype == np.float32


@pytest.mark.parametrize("kind", ["string", "bytes", "object"])
def test_text_that_a_network_gives_is_refused_with_the_way_out(kind: str) -> None:
    with pytest.raises(ModelError, match="'y' of the network is text") as error:
        subject(np.ones((4, 3), np.float32), "float32", kind)
    assert "without the step that makes text" in error.value.fix
