"""The log of an outside power meter, joined to a run by the windows that its energy records kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgebench import runner
from edgebench.devices.sensors.meter_csv import MeterCsv
from edgebench.errors import DataError
from edgebench.store import RunFolder

STEPS = 20
"""A window's energy is kept at so many steps; its end is the area under the whole log within it."""


def join(folder: RunFolder, log: MeterCsv) -> int:
    """Put the energy of the log into the run, and say for how many cells.

    The joined windows are kept as raw records, and the results that change are written again: every figure can be made anew.
    Raises DataError when no cell kept windows, or the log does not cover them; then nothing is written.
    """
    kept = {r["cell"]: r for r in folder.samples() if r.get("energy", {}).get("epochs")}
    if not kept:
        raise DataError(
            f"The run {folder.path} kept no windows for an outside meter.",
            "Measure while the meter logs: edgebench run --external-meter",
        )
    made = [joined(record, log) for record in kept.values()]
    before = {r.cell.id: r for r in folder.results()}
    for record in made:
        folder.append_samples(record)
    for result in runner.rebuild(folder):
        if before.get(result.cell.id) != result:
            folder.append(result)
    folder.close()
    return len(made)


def joined(record: Mapping[str, Any], log: MeterCsv) -> dict[str, Any]:
    """The energy record with what the log saw in its windows."""
    energy = record["energy"]
    windows = [_energy_so_far(log, start, end) for start, end in energy["epochs"]]
    meter = {"name": log.name, "scope": log.scope, "kind": "counter", "period": log.period, "windows": windows}
    return {
        "cell": record["cell"],
        "generation": record["generation"],
        "slices": [],
        "energy": {"inferences": energy["inferences"], "epochs": energy["epochs"], "meters": [meter]},
    }


def _energy_so_far(log: MeterCsv, start: float, end: float) -> list[tuple[float, float]]:
    """(seconds since 1970, joules since the start of the window): the area under the log, as a counter."""
    times = [start + (end - start) * i / STEPS for i in range(1, STEPS + 1)]
    return [(start, 0.0), *((t, log.joules(start, t)) for t in times)]
