"""What the checks of the contract measure with: distances, memory, working threads, clock readings."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import psutil

from edgebench.backend import Backend, Feeds, Outputs, Session

SAME = 1e-5
"""Repeating an inference may change the order of a sum (relative L2), and nothing else."""

BUSY_CPU_SECONDS = 0.3
BUSY_SHARE = 0.2
"""A thread works when it takes this share of the process's CPU time."""


def require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def describe(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"


def distance(found: Any, wanted: Any) -> float:
    """Relative L2 error; infinite where shapes differ or a number is not finite."""
    if np.shape(found) != np.shape(wanted):
        return float("inf")
    a, b = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    error = float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-30))
    return error if np.isfinite(error) else float("inf")


def copied(arrays: Sequence[Any]) -> Outputs:
    return [np.array(a) for a in arrays]


def identical(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(some, others, strict=True))


def alike(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(distance(a, b) <= SAME for a, b in zip(some, others, strict=True))


def different(feeds: Feeds) -> dict[str, Any]:
    """Different inputs made of the same values, so that indices stay legal."""
    return {name: np.roll(array, array.size // 3 + 1) for name, array in feeds.items()}


def is_json(value: Any) -> bool:
    try:
        json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def repeat(call: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        call()


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def busy_threads(call: Callable[[], Any], times: int) -> int:
    """How many threads of this process work during at most so many calls, by their CPU time."""
    process = psutil.Process()
    before = {t.id: t.user_time + t.system_time for t in process.threads()}
    start = sum(process.cpu_times()[:2])
    for _ in range(times):
        call()
        if sum(process.cpu_times()[:2]) - start > BUSY_CPU_SECONDS:
            break
    # Under a tenth of a second there is nothing to tell: the kernel counts in hundredths.
    used = [t.user_time + t.system_time - before.get(t.id, 0.0) for t in process.threads()]
    return sum(u > BUSY_SHARE * sum(used) for u in used) if sum(used) >= 0.1 else 0


@contextmanager
def watched_clocks(backend: Backend, readings: list[str], session: Session | None = None) -> Iterator[None]:
    """Note each clock that the backend's own packages read, by the interpreter's profiling hook."""
    classes = [*type(backend).__mro__, *type(session).__mro__]
    roots = {c.__module__.partition(".")[0] for c in classes} - {"edgebench", "abc", "builtins"}

    def hook(frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call" or str(frame.f_globals.get("__name__")).partition(".")[0] not in roots:
            return
        of_time = getattr(function, "__module__", None) == "time" and function.__name__ != "sleep"
        owner = getattr(function, "__self__", None)
        of_date = owner is datetime.datetime or owner is datetime.date
        if of_time or (of_date and function.__name__ in ("now", "utcnow", "today")):
            readings.append(f"{function.__name__}() in {frame.f_code.co_name}() of {frame.f_globals['__name__']}")

    sys.setprofile(hook)
    try:
        yield
    finally:
        sys.setprofile(None)
