"""Accuracy on held-out data, agreement with the fp32 parent, and the correctness gate against the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from edgebench import stats
from edgebench.backend import ModelError
from edgebench.metrics import Metric, Record, Subject
from edgebench.scaled import told
from edgebench.schema import Interval, Measurement, Protocol, Work

TOLERANCE = {"fp32": 1e-3, "tf32": 1e-2, "fp16": 2e-2, "bf16": 6e-2, "int8": 0.35}
"""Greatest relative L2 error of the outputs against the reference, by precision.

Right int8 lowerings were seen between 0.01 and 0.16, ruined ones from 0.36 up; bf16 at 0.007, fp32 under 1e-5.
"""


SAME_AGAIN = 1e-2
"""A repeated inference may differ by the order of its sums only."""


class Accuracy(Metric):
    """Runs the whole data set through the session, once."""

    name: ClassVar[str] = "accuracy"
    observes: ClassVar[bool] = True

    def observe(self, subject: Subject) -> dict[str, Any]:
        subject.outputs = outputs = run_all(subject)
        check_finite(outputs, subject.reference or subject.parent)
        if not subject.reference:
            check_same_again(subject)
        record: dict[str, Any] = {"n": subject.size}
        if subject.labels is not None:
            answers = classes(outputs, subject.size)
            record["correct"] = int((answers == subject.labels).sum())
            record["right"] = _bits(answers == subject.labels)
        if subject.parent and _by_sample(outputs, subject.size) and _by_sample(subject.parent, subject.size):
            same = classes(outputs, subject.size) == classes(subject.parent, subject.size)
            record["agree"] = int(same.sum())
        record["gate"] = gate(outputs, subject.reference, subject.precision or subject.cell.precision)
        return record

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        seen = [r["accuracy"] for r in records if r.get("accuracy")]
        if not seen:
            return ()
        record, out = seen[-1], []
        for metric, key, source in (
            ("accuracy", "correct", "top-1 on held-out data"),
            ("agreement", "agree", "same top-1 answer as the fp32 parent, or as the file compared with"),
        ):
            if key in record:
                low, high = stats.wilson(record[key], record["n"])
                out.append(
                    Measurement(
                        metric=metric,
                        unit="1",
                        phase="accuracy",
                        source=source,
                        value=record[key] / record["n"],
                        n=record["n"],
                        interval=Interval(low=low, high=high),
                    )
                )
        return tuple(out)


def run_all(subject: Subject) -> list[Any]:
    """Infer on every sample once, batch by batch; outputs (N, ...) in the order of the session's outputs."""
    import numpy as np

    batch, session, parts = subject.cell.batch, subject.session, []
    for start in range(0, subject.size, batch):
        keep = min(batch, subject.size - start)
        outputs = told(session.outputs, session.run(subject.feeds(start)))
        parts.append([np.array(out[:keep] if _batched(out, batch) else out) for out in outputs])
    return [_joined([part[i] for part in parts]) for i in range(len(parts[0]))]


def _joined(parts: Sequence[Any]) -> Any:
    """One output of all batches, (N, ...); (1, values) where its shape depends on the input, as NonZero's does."""
    import numpy as np

    if len({part.shape[1:] for part in parts}) > 1:
        return np.concatenate([part.ravel() for part in parts])[None]
    return np.concatenate(parts) if parts[0].ndim else np.stack(parts)


def _by_sample(outputs: Sequence[Any], size: int) -> bool:
    """Whether the first output has values for each sample: an axis of them, or one of samples times steps."""
    return outputs[0].size > 0 and len(outputs[0]) % size == 0


def classes(outputs: Sequence[Any], size: int) -> Any:
    """The top class of each sample, (N,), from the first output. Raises ModelError where that holds none."""
    if not _by_sample(outputs, size):
        raise ModelError(
            f"The first output is {list(outputs[0].shape)} for {size} samples, so that no class can be read from it.",
            "Leave the labels out of the data, or export the network with a row of scores for each sample.",
        )
    return outputs[0].reshape(size, -1).argmax(1)


def _batched(out: Any, batch: int) -> bool:
    return bool(getattr(out, "ndim", 0)) and len(out) == batch


def check_finite(outputs: Sequence[Any], wanted: Sequence[Any]) -> None:
    """Refuse answers that no correctness can be judged by. Raises ModelError.

    Where the reference (or the parent) is finite, the output must be; without one no output may hold NaN, nor nothing finite.
    Single infinities are answers: masks are made of them.
    """
    import numpy as np

    for i, found in enumerate(outputs):
        if not _floats(found) or not found.size:
            continue
        finite = np.isfinite(found)
        name, bad = f"Output {i} is not finite", int(found.size - finite.sum())
        known = wanted[i] if len(wanted) == len(outputs) and wanted[i].shape == found.shape else None
        if known is not None and _floats(known) and np.isfinite(known).any():
            lost = int((~finite & np.isfinite(known)).sum())
            if lost:
                raise ModelError(
                    f"{name} in {lost} of {found.size} values where the reference is.",
                    "Use another precision or runtime for this variant, or check the export.",
                )
        elif np.isnan(found).any() or not finite.any():
            raise ModelError(
                f"{name} in {bad} of {found.size} values, so that no correctness can be judged.",
                "Give real inputs with --data FILE.npz; a network that answers so on real ones must be mended.",
            )


def check_same_again(subject: Subject) -> None:
    """Refuse a network that draws numbers: called again on its first batch, it answers something else. Raises ModelError."""
    again = told(subject.session.outputs, subject.session.run(subject.feeds(0)))
    for found, kept in zip(again, subject.outputs, strict=True):
        first = kept[: len(found)] if _batched(found, subject.cell.batch) else kept[0]
        rows = min(len(first), len(found)) if getattr(found, "ndim", 0) else 0
        if rows and found.shape[1:] == first.shape[1:] and found.dtype.kind in "fiub":
            error = relative_error(found[:rows], first[:rows])
            if error > SAME_AGAIN:
                raise ModelError(
                    f"The network itself is random: called twice on one input, it differs by {error:.2g} (relative L2).",
                    "Take its random operators out (RandomNormal, Dropout); if it has none, do not use this runtime.",
                )


def _floats(array: Any) -> bool:
    return array.dtype.kind in "fc" or array.dtype.name == "bfloat16"


def gate(outputs: Sequence[Any], reference: Sequence[Any], precision: str) -> dict[str, Any]:
    """Compare with the reference: the greatest relative L2 error over the outputs, its tolerance, and the verdict."""
    tolerance = TOLERANCE.get(precision, TOLERANCE["int8"])
    if not reference:
        return {"ok": True, "error": None, "tolerance": tolerance}
    if len(outputs) != len(reference):
        return {
            "ok": False,
            "error": None,
            "tolerance": tolerance,
            "why": f"{len(outputs)} outputs, the reference has {len(reference)}",
        }
    worst = 0.0
    for i, (found, wanted) in enumerate(zip(outputs, reference, strict=True)):
        if found.shape != wanted.shape:
            return {
                "ok": False,
                "error": None,
                "tolerance": tolerance,
                "why": f"output {i} is {list(found.shape)}, the reference {list(wanted.shape)}",
            }
        worst = max(worst, relative_error(found, wanted))
    ok = worst <= tolerance
    why = (
        ""
        if ok
        else f"outputs differ from the reference by {worst:.2g} (relative L2), more than {tolerance:g} allowed for {precision}"
    )
    return {"ok": ok, "error": worst if worst < 1e300 else None, "tolerance": tolerance, "why": why}


def relative_error(found: Any, wanted: Any) -> float:
    """|found - wanted| / |wanted| in L2; infinite when a value is not finite where the reference is."""
    import numpy as np

    a, b = found.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
    finite = np.isfinite(b)
    if not np.isfinite(a[finite]).all():
        return float("inf")
    a, b = a[finite], b[finite]
    return float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-12))


def _bits(flags: Any) -> str:
    """Right or wrong per sample as hex, so that two variants can be compared sample by sample."""
    import numpy as np

    return np.packbits(flags).tobytes().hex()
