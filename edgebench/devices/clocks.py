"""Clocks set to their highest while we measure, and put back: when it was asked for, and where it is allowed.

On a Jetson by NVIDIA's own `jetson_clocks`, which knows memory and fan too; elsewhere by the kernel's cpufreq and
devfreq (admin-guide/pm/cpufreq). What was in force is on disk before anything is changed, and a guard process puts it
back when we end, however we end (devices/unlock.py). What a guard that was killed as well left behind is put back by
the next campaign, unless the machine was started anew: then it is gone anyway.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgebench import measure
from edgebench.devices import files, identity, unlock

JETSON_CLOCKS = "usr/bin/jetson_clocks"

GUARD_STEP, GUARD_STEPS = 0.1, 20
"""Seconds, and how often, a guard is waited for that may be just putting back the clocks of a campaign that ended."""


def state_file() -> Path:
    """Where it is written what to put back: in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgebench/clocks.json"


def locked(root: Path = Path("/")) -> bool | None:
    """Whether CPU and graphics clocks have no room to move (lowest = highest); None where the system does not say."""
    limits = identity.clocks(root)
    pairs = [*limits.get("cpu", []), *([limits["gpu"]] if "gpu" in limits else [])]
    return all(low == high for low, high in pairs) if pairs else None


class Lock:
    """Clocks at their highest between `take` and `give_back`."""

    def __init__(self, root: Path = Path("/"), state: Path | None = None) -> None:
        self._root, self._state = root, state or state_file()
        self._guard: subprocess.Popen[bytes] | None = None

    def mend(self) -> bool:
        """Put back what a killed campaign and its killed guard left behind; whether there was something."""
        left = self._left()
        for _ in range(GUARD_STEPS):
            if left is None or not _alive(left.get("guard")):
                break
            measure.pause(GUARD_STEP)
            left = self._left()
        if left is None or _alive(left.get("guard")):
            return False
        same_boot = bool(left["boot"] == _boot(self._root))
        if same_boot:
            unlock.put_back(left)
        self._state.unlink(missing_ok=True)
        return same_boot

    def take(self) -> str:
        """Set the clocks. "" when that worked; else why not, in one clause: nothing is changed then."""
        if self._left() is not None:
            return "another run on this machine holds them"
        tool = self._root / JETSON_CLOCKS
        plan = self._by_jetson_clocks(tool) if tool.is_file() else self._by_files()
        if isinstance(plan, str):
            return plan
        undo, do = plan
        undo["boot"] = _boot(self._root)
        try:
            self._write(undo)
            self._start_guard(undo)
            do()
        except (OSError, subprocess.SubprocessError) as error:
            self.give_back()
            return f"they could not be set: {error}"
        return ""

    def give_back(self) -> None:
        """Put the clocks back and wait until they are."""
        guard, self._guard = self._guard, None
        if guard is not None:
            assert guard.stdin is not None
            with contextlib.suppress(OSError):
                guard.stdin.write(b".")
                guard.stdin.close()
            guard.wait()

    def _by_files(self) -> tuple[dict[str, Any], Callable[[], None]] | str:
        changes = [*self._cpu_changes(), *self._gpu_changes()]
        if not changes:
            return "this system lets nobody set them"
        refused = next((path for path, _ in changes if not os.access(path, os.W_OK)), None)
        if refused is not None:
            return f"{refused} may be written by root only"
        undo = {"files": [[str(path), files.text(path) or ""] for path, _ in changes], "commands": []}

        def do() -> None:
            for path, value in changes:
                path.write_text(value)

        return undo, do

    def _cpu_changes(self) -> list[tuple[Path, str]]:
        """The governor `performance`, and the lowest clock as high as the highest."""
        found = []
        for policy in files.matches(self._root / "sys/devices/system/cpu/cpufreq", "policy*"):
            most = files.text(policy / "scaling_max_freq")
            if most and files.text(policy / "scaling_min_freq") is not None:
                if "performance" in (files.text(policy / "scaling_available_governors") or "performance").split():
                    found.append((policy / "scaling_governor", "performance"))
                found.append((policy / "scaling_min_freq", most))
        return found

    def _gpu_changes(self) -> list[tuple[Path, str]]:
        gpu = identity.gpu_folder(self._root)
        most = None if gpu is None else files.text(gpu / "max_freq")
        return [(gpu / "min_freq", most)] if gpu is not None and most else []

    def _by_jetson_clocks(self, tool: Path) -> tuple[dict[str, Any], Callable[[], None]] | str:
        store = self._state.with_name("jetson_clocks.store")
        with contextlib.suppress(OSError):
            self._state.parent.mkdir(parents=True, exist_ok=True)
            store.unlink(missing_ok=True)  # jetson_clocks refuses to write over an older one
        try:
            done = subprocess.run(
                [str(tool), "--store", str(store)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
            )
        except (OSError, subprocess.SubprocessError) as error:
            return f"jetson_clocks cannot be run: {error}"
        if done.returncode or not store.is_file():
            said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it stored nothing"]
            return f"jetson_clocks refused: {said[0].rstrip('.')}"

        def do() -> None:
            subprocess.run([str(tool)], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True)

        return {"files": [], "commands": [[str(tool), "--restore", str(store)]]}, do

    def _left(self) -> dict[str, Any] | None:
        """What the state file says; None if there is none that can be used."""
        try:
            found = json.loads(self._state.read_text())
            return found if {"files", "commands", "boot"} <= found.keys() else None
        except (OSError, ValueError, AttributeError):
            return None

    def _write(self, state: dict[str, Any]) -> None:
        self._state.parent.mkdir(parents=True, exist_ok=True)
        part = self._state.with_suffix(".part")
        with part.open("w") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self._state)

    def _start_guard(self, undo: dict[str, Any]) -> None:
        """A process of its own session: neither Ctrl-C nor the end of our process group reaches it."""
        argv = [sys.executable, "-IS", unlock.__file__, str(self._state)]
        self._guard = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._write({**undo, "guard": self._guard.pid})


def _boot(root: Path) -> str:
    return files.first(root / "proc/sys/kernel/random/boot_id")


def _alive(pid: object) -> bool:
    """Whether that process is a guard of ours: a number may have been given to another process since."""
    return isinstance(pid, int) and Path(unlock.__file__).name in (files.text(Path(f"/proc/{pid}/cmdline")) or "")
