"""How much each layer loses in int8 alone, and which layers stay in float for it: mixed precision by sensitivity.

Each layer in turn is the only one quantized, with the ranges of one calibration, and the network's outputs are compared
with those in float. Sources: Schaefer et al., "Mixed precision post training quantization of neural networks with sensitivity
guided search" (2023, arXiv:2302.01382); Nagel et al., "A white paper on neural network quantization" (2021, arXiv:2106.08295).
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgebench.compress.lowering import lower_onnx
from edgebench.compress.quantization import calibration
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import EdgebenchError, ModelError, PlanError

if TYPE_CHECKING:
    from edgebench.compress.quantization.quantize import Quantize
    from edgebench.data import DataSet, Split

Report = Callable[[int, int, str], None]
SWEPT = 256
"""Samples of the sweep: noise over the outputs is known well from fewer than an accuracy is."""


@dataclass(frozen=True)
class Sensitivity:
    """One layer quantized alone: the outputs' signal-to-noise ratio in dB, and the share of answers that stayed."""

    layer: str
    sqnr_db: float
    agreement: float


@dataclass(kw_only=True)
class Trial:
    """A float graph, calibrated once, that is lowered again and again with other layers in float."""

    prepared: Path
    asked: Quantize
    limits: calibration.Limits
    folder: Path

    def outputs(self, samples: NDArray[Any], *, keep: Sequence[str] = (), only: Sequence[str] = ()) -> NDArray[Any]:
        """The first output in int8 for every sample, (N, ...)."""
        path = self.folder / "trial.onnx"
        lower_onnx.write(self.prepared, self.limits, self.asked, path, keep=keep, only=only)
        return run(path, samples)

    def layers(self) -> list[str]:
        import onnx

        return list(lower_onnx.layers_of(onnx.load(self.prepared).graph))


def run(path: Path, samples: NDArray[Any]) -> NDArray[Any]:
    """The first output of an ONNX file for samples (N, ...)."""
    from edgebench.compress.lowering.export import open_session

    session = open_session(path)
    name, batch = calibration.input_of(path)
    parts = calibration.batches(samples, batch)
    return np.concatenate([session.run(None, {name: part})[0] for part in parts])


def sweep(trial: Trial, samples: NDArray[Any], report: Report) -> list[Sensitivity]:
    """Quantize each layer alone; the most sensitive comes first."""
    wanted = run(trial.prepared, samples)
    names = trial.layers()
    found = []
    for done, name in enumerate(names):
        given = trial.outputs(samples, only=[name])
        found.append(Sensitivity(name, sqnr(wanted, given), agreement(wanted, given)))
        report(done + 1, len(names), f"sensitivity of {name}")
    return sorted(found, key=lambda row: (row.sqnr_db, row.layer))


def sqnr(wanted: NDArray[Any], given: NDArray[Any]) -> float:
    """10 log10 of signal over noise; at most 200 dB, where there is no noise."""
    noise = float(np.square(wanted.astype(np.float64) - given).sum())
    signal = float(np.square(wanted.astype(np.float64)).sum())
    return min(200.0, 10 * math.log10(max(signal, 1e-30) / noise)) if noise > 0 else 200.0


def agreement(wanted: NDArray[Any], given: NDArray[Any]) -> float:
    """The share of samples (rows) whose greatest output is the same."""
    flat, other = wanted.reshape(len(wanted), -1), given.reshape(len(given), -1)
    return float((flat.argmax(1) == other.argmax(1)).mean())


def drop(wanted: NDArray[Any], given: NDArray[Any], labels: NDArray[Any] | None) -> float:
    """How much accuracy is lost; without labels the share of changed answers, which bounds it from above."""
    if labels is None:
        return 1 - agreement(wanted, given)
    right, kept = (scores.argmax(1) == labels[: len(scores)] for scores in (wanted, given))
    return float(right.mean() - kept.mean())


def choose(
    source: Path,
    asked: Quantize,
    data: DataSet,
    report: Report,
    exact: Path | None = None,
) -> dict[str, Any]:
    """Which layers of a float ONNX file stay in float, and why, by the calibration split and the one that is judged on.

    `exact` is the same network before its weights were rounded, if they were: the float that all is compared with. Returns
    `float_layers`, `sensitivity` (rows) and, with max_drop, `budget`: the accuracy lost after each layer restored. Raises
    PlanError for a layer that is not there, or a budget that cannot be held, naming the nearest that can; ModelError.
    """
    samples = data.calibration.inputs
    calibration.check_samples(samples)
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            rounded = _trial(source, asked, samples, Path(folder, "rounded"))
            unrounded = _trial(exact, asked, samples, Path(folder, "exact")) if exact else rounded
            return _choose(rounded, unrounded, samples, judged_by(asked, data), bool(data.classes), report)
        except EdgebenchError:
            raise
        except Exception as error:
            raise ModelError(
                f"onnxruntime cannot quantize this network: {first_line(error)}.", "Leave the quantize step out."
            ) from error


def _trial(source: Path, asked: Quantize, samples: NDArray[Any], folder: Path) -> Trial:
    folder.mkdir()
    prepared = folder / "prepared.onnx"
    lower_onnx.prepare(source, prepared)
    limits = lower_onnx.limits(prepared, samples, asked, asked.weight_bits)
    return Trial(prepared=prepared, asked=asked, limits=limits, folder=folder)


def judged_by(asked: Quantize, data: DataSet) -> Split:
    """The samples that a budget is judged on."""
    return data.evaluation if asked.judge == "evaluation" else data.calibration


def _choose(
    rounded: Trial, exact: Trial, samples: NDArray[Any], judged: Split, classes: bool, report: Report
) -> dict[str, Any]:
    asked = exact.asked
    rows = sweep(exact, samples[:SWEPT], report)
    order = [row.layer for row in rows if row.layer not in asked.float_names]
    most = math.ceil(asked.mixed * len(rows) - 1e-9)
    kept = [*asked.float_names, *order[:most]]
    made: dict[str, Any] = {"sensitivity": [dataclasses.asdict(row) for row in rows]}
    if asked.max_drop is not None:
        wanted = run(exact.prepared, judged.inputs)
        if judged.labels is None and (wanted.ndim != 2 or not classes):
            raise PlanError(
                "max_drop was asked of a network without class scores, on samples without labels.",
                "Give labelled samples, or data that names its classes; else choose layers with mixed or float_layers.",
            )
        rest = [name for name in order if name not in kept]
        kept, made["budget"] = restore(rounded, wanted, judged, kept, rest, report)
    return {**made, "float_layers": kept, "layers_in_all": len(rows)}


def lost(
    source: Path, exact: Path, asked: Quantize, samples: NDArray[Any], judged: Split, keep: Sequence[str]
) -> float:
    """The accuracy that a float ONNX file loses in int8, its layers `keep` in float, against the file `exact` in float."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        given = _trial(source, asked, samples, Path(folder, "trial")).outputs(judged.inputs, keep=keep)
        return drop(run(exact, judged.inputs), given, judged.labels)


def restore(
    trial: Trial, wanted: NDArray[Any], judged: Split, kept: Sequence[str], rest: Sequence[str], report: Report
) -> tuple[list[str], list[dict[str, Any]]]:
    """Put layers of `rest` back to float, in their order, until at most `max_drop` is lost; one stays in int8 at least.

    `wanted` are the float network's outputs for the judged samples.
    Returns the layers in float, and what was lost after each. Raises PlanError with the nearest budget that can be held.
    """
    most = trial.asked.max_drop
    assert most is not None
    kept, tried, drops = list(kept), [], []
    for count in range(len(rest) or 1):
        points = drop(wanted, trial.outputs(judged.inputs, keep=[*kept, *rest[:count]]), judged.labels)
        drops.append(points)
        tried.append({"float": len(kept) + count, "restored": rest[count - 1] if count else "", "drop": points})
        report(count + 1, len(rest), f"{len(kept) + count} layers in float: {100 * points:.2f} points lost")
        if points <= most + 1e-9:
            return [*kept, *rest[:count]], tried
    nearest = min(drops)
    left = len(kept) + drops.index(nearest)
    raise PlanError(
        f"max_drop = {most:g} cannot be held with any layer in int8: the nearest that can is {nearest:.4f}, with "
        f"{left} layers in float.",
        f"Ask for max_drop = {math.ceil(nearest * 1e4) / 1e4:g}, or add adaround, bias_correction or qat.",
    )
