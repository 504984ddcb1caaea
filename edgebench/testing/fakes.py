"""A clock that goes only when told, and networks whose right answers are known without any runtime."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.codec import Options, to_json
from edgebench.schema import Artifact, TensorSpec

INPUTS = (TensorSpec(name="input", dtype="float32", shape=(None, 8)),)
OUTPUTS = (TensorSpec(name="output", dtype="float32", shape=(None, 4)),)


class FakeClock:
    """A clock for `edgebench.measure`, in nanoseconds: moves by `advance`, and by `tick` s per reading."""

    def __init__(self, start: float = 0.0, tick: float = 0.0) -> None:
        self._now = round(start * 1e9)
        self._tick = round(tick * 1e9)
        self.readings = 0

    def __call__(self) -> int:
        now = self._now
        self._now += self._tick
        self.readings += 1
        return now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass. Raises ValueError for a negative time: this clock is monotonic too."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-seconds} s")
        self._now += round(seconds * 1e9)


def fake_artifact(
    folder: Path,
    behave: Mapping[str, Any] | None = None,
    *,
    inputs: Sequence[TensorSpec] = INPUTS,
    outputs: Sequence[TensorSpec] = OUTPUTS,
    seed: int = 0,
    name: str = "model",
) -> Artifact:
    """Write `folder`/`name`.fake, a network for the fake backend; its module says what `behave` may hold."""
    model = {
        "inputs": to_json(inputs),
        "outputs": to_json(outputs),
        "seed": seed,
        "behave": dict(behave or {}),
    }
    content = json.dumps(model, indent=1).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.fake"
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    made_by = Options(tool="edgebench.testing.fake_artifact")
    return Artifact(format="fake", path=str(path), sha256=sha256, size=len(content), made_by=made_by)


def fake_outputs(artifact: Artifact, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The right answers of a fake network, whatever its `behave` does; computed apart from the backend."""
    model = json.loads(Path(artifact.path).read_text(encoding="utf-8"))
    rows = np.hstack([feeds[spec["name"]].reshape(len(feeds[spec["name"]]), -1) for spec in model["inputs"]])
    answers = []
    for k, spec in enumerate(model["outputs"]):
        width = int(np.prod(spec["shape"][1:]))
        weights = np.random.default_rng((model["seed"], k)).standard_normal((rows.shape[1], width))
        answers.append((rows @ weights).astype(spec["dtype"]).reshape(-1, *spec["shape"][1:]))
    return answers
