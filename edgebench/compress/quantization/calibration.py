"""Calibrating once: what every activation of a float ONNX graph held, from which each target's int8 file is lowered."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.compress.quantization import ranges
from edgebench.errors import DataError

Samples = NDArray[Any] | Mapping[str, NDArray[Any]]
"""(N, ...) for a network's one input, or each input's by its name: all of the same N."""
Feeds = Mapping[str, NDArray[Any]]
Limits = dict[str, ranges.Range]
_kept: dict[str, Limits] = {}
_KEPT_AT_MOST = 4


def check_samples(samples: Samples) -> None:
    """Refuse samples that give no range. Raises DataError."""
    parts = samples.values() if isinstance(samples, Mapping) else [samples]
    # One of several inputs may be the same in all samples, as the mask of sentences of one length is.
    if all(not len(part) or float(part.min()) == float(part.max()) for part in parts):
        raise DataError(
            "The calibration samples are all the same, which gives no range to quantize to.",
            "Calibrate on real samples: check the data set.",
        )


def first(samples: Samples, count: int) -> Samples:
    """At most so many of the samples."""
    if isinstance(samples, Mapping):
        return {name: array[:count] for name, array in samples.items()}
    return samples[:count]


def limits(model: Path, samples: Samples, method: str) -> Limits:
    """The range of every activation of `model` over the samples, by the name of its tensor.

    `method` is minmax or one of `ranges.METHODS`. The same graph, samples and method are run once in a process, however
    many targets they are lowered for.
    """
    named = samples if isinstance(samples, Mapping) else {input_of(model)[0]: samples}
    text = hashlib.sha256(model.read_bytes())
    for name, array in named.items():
        text.update(f"{name}{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    key = f"{method}/{text.hexdigest()}"
    if key not in _kept:
        while len(_kept) >= _KEPT_AT_MOST:
            del _kept[next(iter(_kept))]
        with tempfile.TemporaryDirectory() as folder:
            _kept[key] = _collected(model, named, method, Path(folder))
    return dict(_kept[key])


def _collected(model: Path, samples: Feeds, method: str, folder: Path) -> Limits:
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    extremes = method == "minmax"
    calibrator = create_calibrator(
        model,
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=CalibrationMethod.MinMax if extremes else CalibrationMethod.Entropy,
        extra_options={} if extremes else {"num_bins": ranges.BINS},
    )
    batch = input_of(model)[1]
    parts = {name: batches(array, batch) for name, array in samples.items()}
    for feeds in zip(*parts.values(), strict=True):  # one at a time: its histograms take parts of one size only
        calibrator.collect_data(reader([dict(zip(parts, feeds, strict=True))]))
    if extremes:
        found = calibrator.compute_data().items()
        return {tensor: (float(np.min(seen.lowest)), float(np.max(seen.highest))) for tensor, seen in found}
    return {
        tensor: ranges.METHODS[method](counts, edges, float(low), float(high))
        for tensor, (counts, edges, low, high, _) in calibrator.collector.histogram_dict.items()
    }


def input_of(model: Path) -> tuple[str, int | None]:
    """The name of the graph's first real input, and its batch if that is fixed."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    weights = {w.name for w in graph.initializer}
    given = next(i for i in graph.input if i.name not in weights)
    return given.name, given.type.tensor_type.shape.dim[0].dim_value or None


def batches(samples: NDArray[Any], batch: int | None) -> list[NDArray[Any]]:
    """Whole batches of a fixed size, or of 32 and the rest. Raises DataError for fewer samples than one batch."""
    size = batch or 32
    parts = [np.ascontiguousarray(samples[i : i + size]) for i in range(0, len(samples), size)]
    whole = [part for part in parts if batch is None or len(part) == batch]
    if not whole:
        raise DataError(
            f"The network takes batches of {batch}, and there are {len(samples)} calibration samples.",
            f"Calibrate on at least {batch} samples, or export the network with a free batch.",
        )
    return whole


def reader(feeds: Sequence[Feeds]) -> Any:
    """Hands the feeds out one by one, as the calibrator wants it."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Feeds] = iter(feeds)

        def get_next(self) -> Feeds | None:
            return next(self.left, None)

    return Reader()
