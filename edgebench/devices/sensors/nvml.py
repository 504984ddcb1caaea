"""Energy of an NVIDIA graphics board by NVML's total-energy counter (Volta and newer), through ctypes.

Source: NVML API reference, nvmlDeviceGetTotalEnergyConsumption: millijoules since the driver was loaded. The
counter has a new value about every 100 ms. Jetson's NVML does not offer it: there the INA3221 rails are the
meter.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from edgebench.devices.sensors import Kind, Scope, Sensor

LIBRARY = "libnvidia-ml.so.1"


class Nvml(Sensor):
    """One graphics board, by its index in NVML."""

    scope: Scope = "gpu"
    kind: Kind = "counter"
    period = 0.1

    def __init__(self, library: Any, index: int) -> None:
        self.name = f"nvml GPU {index}"
        self._library = library
        self._device = ctypes.c_void_p()
        self._known = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(self._device)) == 0

    def read(self) -> float | None:
        """Joules since the driver was loaded."""
        energy = ctypes.c_ulonglong()
        if not self._known:
            return None
        code = self._library.nvmlDeviceGetTotalEnergyConsumption(self._device, ctypes.byref(energy))
        return energy.value / 1e3 if code == 0 and energy.value > 0 else None


def find(root: Path = Path("/"), library: Any = None) -> tuple[Sensor, ...]:
    """Every graphics board with the counter. NVML is a library, no file tree: only the root / has it."""
    try:
        if library is None:
            if root != Path("/"):
                return ()
            library = ctypes.CDLL(LIBRARY)
        count = ctypes.c_uint()
        if library.nvmlInit_v2() != 0 or library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return ()
        found = [Nvml(library, index) for index in range(count.value)]
    except (OSError, AttributeError):  # no driver here, or one from before the counter
        return ()
    return tuple(sensor for sensor in found if sensor.read() is not None)
