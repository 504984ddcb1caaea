"""B13, B14: meters and throttling, on trees of machines that are not at hand."""

from __future__ import annotations

import math
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgebench import figures, measure, metered
from edgebench.backend import Feeds, Outputs, Session
from edgebench.codec import Options
from edgebench.devices import sensors
from edgebench.devices.evidence import SliceEvidence
from edgebench.devices.sensors.meter_csv import MeterCsv
from edgebench.metrics import Subject
from edgebench.metrics.energy import Energy
from edgebench.metrics.latency import Latency
from edgebench.schema import DEFAULT, Artifact, Cell, TensorSpec, Work

sys.path.insert(0, str(Path(__file__).parents[1] / "data/sysfs"))
import boards  # type: ignore[import-not-found]

CELL = Cell(model="bar", recipe="r", backend="fake", device="local")
FILE = Artifact(format="fake", path="", sha256="0", size=1)
WORK = Work(cell=CELL, artifact=FILE, data=FILE)
IDLE_WATTS, LOAD_WATTS = 4.0, 9.0
RIPPLE = 0.02
"""No supply stands still, and a meter that does is taken for a broken one."""


class Resting(Session):
    """Infers by waiting a millisecond, and counts how often: the board's power follows it."""

    inputs = outputs = (TensorSpec(name="x", dtype="float32", shape=(None, 1)),)

    def __init__(self) -> None:
        self.last = 0.0

    def run(self, feeds: Feeds) -> Outputs:
        measure.pause(0.001)
        self.last = measure.monotonic()
        return [feeds["x"]]

    @property
    def watts(self) -> float:
        now = measure.monotonic()
        level = LOAD_WATTS if now - self.last < 0.05 else IDLE_WATTS
        return level * (1 + RIPPLE * math.sin(50 * now))


@contextmanager
def _board(session: Resting, show: Callable[[float, float], None], log: Path) -> Iterator[None]:
    """A board whose meter is written 50 times a second, and an outside meter that logs the same power, 10 times."""
    over, joules, ticks = threading.Event(), 0.0, 0
    lines = []

    def live() -> None:
        nonlocal joules, ticks
        last = measure.monotonic()
        while not over.wait(0.02):
            now = measure.monotonic()
            joules += session.watts * (now - last)
            last = now
            show(joules, session.watts)
            ticks += 1
            if ticks % 5 == 0:
                lines.append(f"{measure.epoch():.3f},{session.watts}")

    thread = threading.Thread(target=live)
    thread.start()
    try:
        measure.pause(0.5)
        yield
        measure.pause(0.5)
    finally:
        over.set()
        thread.join()
        log.write_text("\n".join(lines) + "\n")


def _rapl(root: Path) -> tuple[str, Callable[[float, float], None]]:
    boards.xeon(root)
    file = root / "sys/class/powercap/intel-rapl:0/energy_uj"

    def show(joules: float, watts: float) -> None:
        part = file.with_name("part")
        part.write_text(f"{int(1e6 + joules * 1e6)}\n")
        part.replace(file)

    return "energy_package", show


def _ina3221(root: Path) -> tuple[str, Callable[[float, float], None]]:
    boards.orin_nano(root)
    rail = root / "sys/bus/i2c/devices/1-0040/hwmon/hwmon3"

    def show(joules: float, watts: float) -> None:
        part = rail / "part"
        part.write_text(f"{round(watts / 4.912 * 1000)}\n")
        part.replace(rail / "curr1_input")

    return "energy_module", show


def b13() -> dict[str, Any]:
    """Our energy against an outside meter's log of the same power, windows of 10 s: within 5 %; both figures printed."""
    import numpy as np

    rows: dict[str, dict[str, float]] = {}
    for name, board in (("RAPL", _rapl), ("INA3221", _ina3221)):
        with tempfile.TemporaryDirectory() as folder:
            metric, show = board(Path(folder) / "root")
            session, log = Resting(), Path(folder) / "meter.csv"
            subject = Subject(
                cell=CELL, session=session, inputs={"x": np.zeros((16, 1), np.float32)}, labels=None, reference=(), parent=(),
                baseline={},
            )  # fmt: skip
            energy = Energy(lambda root=folder: sensors.find(Path(root) / "root"))  # type: ignore[misc]
            with _board(session, show, log):
                record = {"cell": CELL.id, "generation": -1, "slices": [], "energy": energy.observe(subject)}
            ours = {m.metric: m.value for m in energy.figures(WORK, [record], DEFAULT)}
            outside = {
                m.metric: m.value for m in energy.figures(WORK, [metered.joined(record, MeterCsv(log))], DEFAULT)
            }
            rows[name] = {
                "ours_J": ours.get(metric) or 0.0,
                "ours_above_idle_J": ours.get(f"{metric}_above_idle") or 0.0,
                "outside_J": outside.get("energy_wall") or 0.0,
                "outside_above_idle_J": outside.get("energy_wall_above_idle") or 0.0,
            }
    off = [
        abs(r[f"ours{k}"] / r[f"outside{k}"] - 1) if r[f"outside{k}"] else 1.0
        for r in rows.values()
        for k in ("_J", "_above_idle_J")
    ]
    shown = "; ".join(
        f"{n}: {r['ours_J'] * 1e3:.2f} mJ against {r['outside_J'] * 1e3:.2f}, above idle {r['ours_above_idle_J'] * 1e3:.2f} against "
        f"{r['outside_above_idle_J'] * 1e3:.2f}" for n, r in rows.items()
    )  # fmt: skip
    return {"held": max(off) <= 0.05, "rows": rows, "worst": max(off), "made_trees": True,
            "says": f"{shown}; worst {max(off):.1%} (on made trees, no board at hand)"}  # fmt: skip


def _record(generation: int, evidence: dict[str, Any]) -> dict[str, Any]:
    slices = [
        {"wall_ns": [1_000_000 + i for i in range(30)], "groups": [[1, i % 16, 10**6, 0, 0, 0] for i in range(30)], "drop": 0,
         "evidence": evidence, "window": [0.0, 1.0]}
        for _ in range(4)
    ]  # fmt: skip
    return {"cell": CELL.id, "generation": generation, "slices": slices, "load_s": 0.1}


def _throttled(root: Path, change: Callable[[], None]) -> tuple[str, str]:
    """The state of a cell whose third generation saw the board throttle, and of one that saw nothing."""
    around = SliceEvidence(root)
    before = around.snapshot()
    calm = SliceEvidence.difference(before, around.snapshot())
    before = around.snapshot()
    change()
    hot = SliceEvidence.difference(before, around.snapshot())
    found = []
    for third in (hot, calm):
        records = [_record(g, third if g == 3 else calm) for g in range(1, 7)]
        (result,) = figures.conclude(
            [WORK], figures.Book(records), {"latency": Latency()}, replace(DEFAULT), Options(isolation="R2")
        )
        found.append(str(result.noise["state"]))
    return found[0], found[1]


def b14() -> dict[str, Any]:
    """A throttle bit or event during one slice: the cell is never valid. Without one it is."""
    rows: dict[str, tuple[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        pi, cool_pi, jetson, warm_jetson, server = (Path(folder) / n for n in "abcde")
        boards.pi5(pi)
        bits = pi / "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
        rows["Pi, throttled"] = _throttled(pi, lambda: _write(bits, "50004"))
        boards.pi5(cool_pi)
        bits_too = cool_pi / bits.relative_to(pi)
        rows["Pi, throttled for a moment"] = _throttled(cool_pi, lambda: _write(bits_too, "d0000"))
        boards.orin_nano(jetson)
        rows["Jetson, over-current"] = _throttled(
            jetson, lambda: _write(jetson / "sys/class/hwmon/hwmon2/oc3_event_cnt", "27391")
        )
        boards.orin_nano(warm_jetson)
        rows["Jetson, cpufreq cooling"] = _throttled(
            warm_jetson, lambda: _write(warm_jetson / "sys/class/thermal/cooling_device1/cur_state", "1")
        )
        boards.xeon(server)
        count = server / "sys/devices/system/cpu/cpu2/thermal_throttle/core_throttle_count"
        rows["x86, core throttled"] = _throttled(server, lambda: _write(count, "9"))
    held = all(hot == "throttled" and calm == "valid" for hot, calm in rows.values())
    return {"held": held, "rows": rows, "made_trees": True,
            "says": ", ".join(f"{n}: {hot}" for n, (hot, _) in rows.items()) + " (on made trees, no board at hand)"}  # fmt: skip


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n")
