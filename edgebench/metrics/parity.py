"""How far a file's answers are from those of the network that it is compared with, number by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from edgebench.metrics import Metric, Record, Subject
from edgebench.schema import Measurement, Protocol, Work

NOTHING = "there is nothing to compare with"


class Parity(Metric):
    """Compares the answers of the accuracy run with the parent's: the other file's in `edgebench bench --against`."""

    name: ClassVar[str] = "parity"
    observes: ClassVar[bool] = True

    def observe(self, subject: Subject) -> dict[str, Any]:
        return compare(subject.outputs, subject.parent)

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        seen = [r["parity"] for r in records if r.get("parity")]
        if not seen:
            return ()
        found, out = seen[-1], []
        for key, source in (
            ("max_abs_error", "greatest difference of any output from the other file's"),
            ("max_rel_error", "greatest difference over the greatest value of that output"),
        ):
            note = "" if found.get(key) is not None else str(found.get("why", NOTHING))
            out.append(
                Measurement(
                    metric=key,
                    unit="1",
                    phase="accuracy",
                    source=source,
                    value=found.get(key),
                    n=int(found.get("n", 0)),
                    note=note,
                )
            )
        return tuple(out)


def compare(outputs: Sequence[Any], parent: Sequence[Any]) -> dict[str, Any]:
    """The greatest difference over all outputs, as it is and relative to the greatest value of its output.

    Values that are not finite in the parent are left out; a value that is not finite only here has no figure, and says why.
    """
    import numpy as np

    if not parent:
        return {"why": NOTHING}
    if len(outputs) != len(parent):
        return {"why": f"{len(outputs)} outputs, and the other has {len(parent)}"}
    absolute = relative = 0.0
    count = 0
    for i, (found, wanted) in enumerate(zip(outputs, parent, strict=True)):
        if found.size != wanted.size:
            return {"why": f"output {i} is {list(found.shape)}, and the other's {list(wanted.shape)}"}
        a, b = found.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
        finite = np.isfinite(b)
        if not np.isfinite(a[finite]).all():
            return {"why": f"output {i} holds values that are not finite, where the other's are"}
        a, b = a[finite], b[finite]
        count += a.size
        if not a.size:
            continue
        worst = float(np.abs(a - b).max())
        absolute = max(absolute, worst)
        relative = max(relative, worst / max(float(np.abs(b).max()), 1e-12))
    return {"max_abs_error": absolute, "max_rel_error": relative, "n": count}
