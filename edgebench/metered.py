"""The log of an outside power meter, joined to a run by the windows that its energy records kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from edgebench import runner
from edgebench.devices.sensors.meter_csv import MeterCsv
from edgebench.errors import DataError
from edgebench.store import RunFolder

STEPS = 20
"""A window's energy is kept at so many steps; its end is the area under the whole log within it."""


class Joined(NamedTuple):
    """The cells whose windows the log was joined to: how many have a total now, and why the others have none."""

    given: int
    lacking: tuple[str, ...]


def join(folder: RunFolder, log: MeterCsv) -> Joined:
    """Put the energy of the log into the run, and say for which cells that gave a figure.

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
    return _outcome(folder, set(kept), f"energy_{log.scope}")


def _outcome(folder: RunFolder, cells: set[str], metric: str) -> Joined:
    given, lacking = 0, []
    for result in folder.results():
        if result.cell.id not in cells:
            continue
        found = result.get(metric)
        if found is not None and found.value is not None:
            given += 1
        else:
            why = found.note if found is not None and found.note else result.reason or "it has no such figure"
            lacking.append(f"{result.cell.recipe} on {result.cell.backend}: {why}")
    return Joined(given, tuple(lacking))


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
