"""Measuring within a step: networks become files of a runtime, and whoever runs the recipe times them on the device.

Compression knows neither devices nor campaigns: it is handed a `Stopwatch`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgebench.codec import Options
from edgebench.compress import cache as kept
from edgebench.compress.lowering import lower
from edgebench.errors import ModelError
from edgebench.schema import Artifact

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from edgebench.compress.context import Measure


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where to measure, and how: a backend on a device ("" is the one that the recipe is run for)."""

    backend: str
    device: str = ""
    batch: int = 1
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The latency of one network in seconds, and as a share of the first one's, measured side by side; 95 % intervals."""

    seconds: float
    low: float
    high: float
    share: float = 1.0
    share_low: float = 1.0
    share_high: float = 1.0


class Stopwatch(Protocol):
    """Made by whoever knows the device."""

    def spent(self) -> tuple[float, float]:
        """Seconds of the clock and of the processor so far, to know what a step costs."""

    def lowering(self, place: Place) -> str:
        """The lowering that the backend's float files come from. Raises PlanError for a place that is not there."""

    def fingerprint(self, place: Place) -> Options:
        """What a latency there depends on beside the network: a result that was found by it is kept under this."""

    def time(self, artifacts: Sequence[Artifact], place: Place) -> Sequence[Timing]:
        """Measure the files side by side. Raises EdgebenchError when one does not run, or the device is too disturbed."""


def cost(watch: Stopwatch | None, begin: tuple[float, float] | None) -> dict[str, float]:
    """What was spent since `begin`, for the record of a step; nothing where there is no stopwatch."""
    if watch is None or begin is None:
        return {}
    wall, processor = (now - then for now, then in zip(watch.spent(), begin, strict=True))
    return {"seconds": round(wall, 3), "processor_seconds": round(processor, 3)}


@contextmanager
def measuring(watch: Stopwatch | None, example: Tensor, calibration: NDArray[Any]) -> Iterator[Measure | None]:
    """The function that a step measures networks with, while the step lasts; None where there is no stopwatch.

    `example` (B, ...) is what the networks are exported with.
    """
    if watch is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="edgebench-") as folder:
        files: dict[int, tuple[nn.Module, Artifact]] = {}

        def measure(models: Sequence[nn.Module], asked: Options) -> Sequence[Timing]:
            place = Place(**asked)
            name = watch.lowering(place)
            for model in models:
                if id(model) not in files:  # the network itself is kept beside its file, so that no other takes its id
                    made = Path(folder) / str(len(files))
                    files[id(model)] = model, _file(model, name, made, example, calibration)
            return watch.time([files[id(model)][1] for model in models], place)

        yield measure


def _file(model: nn.Module, name: str, folder: Path, example: Tensor, calibration: NDArray[Any]) -> Artifact:
    """The float file of a network for a lowering."""
    folder.mkdir()
    how = lower.get(name)
    if how.precision != "fp32":
        raise ModelError(
            f"A latency budget is of the float network, but the lowering {name} is {how.precision}.",
            "Name a backend that runs float networks.",
        )

    def onnx() -> Path:
        from edgebench.compress.lowering import export

        path = folder / "float.onnx"
        if not path.exists():
            export.export_onnx(model, example, path)
        return path

    request = lower.Request(model=model, example=example, calibration=calibration, onnx=onnx, quantize=None)
    path = folder / f"model.{how.format}"
    facts: Any = how.write(request, path)
    return Artifact(
        format=how.format,
        path=str(path),
        sha256=kept.sha256(path),
        size=path.stat().st_size,
        facts=Options({**facts, "lowering": name}),
    )
