"""The suite `backends` as it was published: every row there or refused, parity, agreement, and what int8 brings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebench import store
from edgebench.schema import Result

PUBLISHED = Path(__file__).parents[2] / "results" / "published" / "local" / "backends"
FASTER = {"onnxruntime": 1.5, "openvino": 1.5, "litert": 2.5}
"""How much faster than fp32 the int8 of ResNet-8 must be."""
MOST_ERROR, MOST_ERROR_ATTENTION = 1e-4, 1e-3
"""Relative L2 error of fp32 outputs against torch: of convolutional networks, and of a transformer."""
LEAST_AGREEMENT = 0.95


def runtimes() -> dict[str, Any]:
    """Hold the published run against the bars of the runtimes; nothing is measured here."""
    rows = {(r.cell.model, r.cell.backend, r.cell.precision): r for r in store.open_run(PUBLISHED).results()}
    failed = [" ".join(key) for key, row in rows.items() if row.status == "failed"]
    ok = {key: row for key, row in rows.items() if row.status == "ok"}
    errors = {key: row.effective["gate"]["error"] for key, row in ok.items() if key[2] == "fp32"}
    most = {key: MOST_ERROR_ATTENTION if key[0] == "vit" else MOST_ERROR for key in errors}
    agreement = {key: _figure(row, "agreement") for key, row in ok.items() if key[2] == "int8"}
    gains = {name: _gain(ok, "resnet8", name) for name in FASTER}
    withheld = sum(_figure(row, "latency") is None for row in ok.values())
    held = (
        not failed
        and not withheld
        and all(errors[key] < most[key] for key in errors)
        and all(share is not None and share >= LEAST_AGREEMENT for share in agreement.values())
        and all(gain is not None and gain >= FASTER[name] for name, gain in gains.items())
    )
    others = {
        f"{m} {b}": _gain(ok, m, b) for m, b, p in ok if p == "int8" and (m, b) not in {("resnet8", n) for n in FASTER}
    }
    shown = ", ".join(f"{name} {gain:.2f}x" if gain else f"{name} –" for name, gain in gains.items())
    worst = min((share for share in agreement.values() if share is not None), default=None)
    return {
        "held": held,
        "failed": failed,
        "int8_over_fp32": {**{f"resnet8 {name}": gain for name, gain in gains.items()}, **others},
        "fp32_error": {" ".join(key): error for key, error in errors.items()},
        "int8_agreement": {" ".join(key): share for key, share in agreement.items()},
        "withheld": withheld,
        "says": f"{len(ok)} rows ({withheld} latencies withheld as too noisy), {len(rows) - len(ok) - len(failed)} refused with the "
        f"reason, {len(failed)} failed; int8 of ResNet-8 {shown}; worst fp32 error {max(errors.values()):.1e}, least int8 "
        f"agreement {worst:.1%}",
    }


def _figure(row: Result, metric: str) -> float | None:
    found = row.get(metric)
    return found.value if found else None


def _gain(rows: Mapping[tuple[str, str, str], Result], model: str, backend: str) -> float | None:
    """The speed-up of int8 over fp32, paired by generation; None where it is withheld."""
    return _figure(rows[model, backend, "int8"], "speedup") if (model, backend, "int8") in rows else None
