"""A board whose processor is emulated works as the real one does, and says nothing of its speed, memory or energy."""

from __future__ import annotations

from dataclasses import replace

from edgebench.codec import Options
from edgebench.schema import Measurement, Result

TRUE_ANYWHERE = {"accuracy", "agreement", "size"}
"""What the network and its file decide; every other figure is the emulator's."""

NO_METER = "no meter"
"""The source of a figure that nothing could read: the emulator withholds none there."""

STATE = "emulated"


def emulator(result: Result) -> str:
    """The program that stood in for the processor ("qemu-aarch64-static"), from the result's environment; "" for none."""
    return str(result.environment.get("emulated") or "")


def withhold(result: Result) -> Result:
    """The result without a figure of time, memory or energy, if an emulator ran it: its row keeps the reason."""
    name = emulator(result)
    if not name:
        return result
    why = f"{name} stood in for the processor, and no figure of it is one of a board"
    kept = tuple(_without(m, f"{STATE}: {why}") for m in result.measurements)
    noise = {**result.noise, "state": STATE, "why": why, "all_median": None}
    effective = {k: v for k, v in result.effective.items() if k not in ("layers", "repeating")}
    return replace(result, measurements=kept, noise=Options(noise), effective=Options(effective))


def _without(m: Measurement, note: str) -> Measurement:
    if m.metric in TRUE_ANYWHERE or (m.value is None and m.source == NO_METER):
        return m
    return replace(m, value=None, samples=(), interval=None, note=note)
