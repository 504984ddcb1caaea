"""Our own speed: the default grid, --quick, and how much of a CPU the processes that wait for a worker take."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgebench import measure
from edgebench.campaign import Campaign
from edgebench.schema import DEFAULT, Job
from edgebench.track import Track
from tests.bars.common import campaign, squeezenet, work

GRID_BAR, QUICK_BAR, PARENT_BAR = 120.0, 30.0, 0.005


def _run(*options: str) -> dict[str, Any]:
    """The main job with everything compressed beforehand: what is left is the measuring."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edgebench"]
        subprocess.run([*command, "compress"], cwd=folder, check=True, capture_output=True)
        start = measure.monotonic()
        done = subprocess.run([*command, "run", "--json", *options], cwd=folder, capture_output=True, text=True)
        seconds = measure.monotonic() - start
        rows = json.loads(done.stdout)["rows"]
    states = [r["noise"].get("state", r["status"]) for r in rows]
    return {"seconds": seconds, "rows": len(rows), "states": {s: states.count(s) for s in sorted(set(states))}}


def grid() -> dict[str, Any]:
    """Five variants on three runtimes by the default protocol, in at most 120 s."""
    found = _run()
    return {"held": found["seconds"] <= GRID_BAR, **found,
            "says": f"{found['rows']} cells by the default protocol in {found['seconds']:.0f} s: {found['states']}"}  # fmt: skip


def quick() -> dict[str, Any]:
    """The same with --quick, in at most 30 s."""
    found = _run("--quick")
    return {"held": found["seconds"] <= QUICK_BAR, **found,
            "says": f"{found['rows']} cells with --quick in {found['seconds']:.0f} s: {found['states']}"}  # fmt: skip


def parent() -> dict[str, Any]:
    """While a worker measures, the campaign and the host that wait for it take at most 0.5 % of a core each."""
    protocol = replace(DEFAULT, slice_seconds=2.0, least_generations=1, most_generations=1, attempts=1)
    works = [work(squeezenet()[0], "fp32")]
    spent: list[tuple[int, int]] = []
    plain = Track.ask

    def watched(track: Track, message: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        answer = plain(track, message, timeout)
        if message["do"] == "slice":
            spent.append((time.process_time_ns() - cpu, time.perf_counter_ns() - wall))
        return answer

    Track.ask = watched  # type: ignore[method-assign, assignment]
    try:
        with tempfile.TemporaryDirectory() as scratch:
            job = Job(id="bar", work=tuple(works), metrics=("latency",), protocol=protocol)
            Campaign(job, (), lambda event: None, Path(scratch)).run()
    finally:
        Track.ask = plain  # type: ignore[method-assign]
    busy, wall = (sum(column) for column in zip(*spent, strict=True))
    cpu, start = time.process_time_ns(), time.perf_counter_ns()
    campaign(works, protocol)
    host = (time.process_time_ns() - cpu) / (time.perf_counter_ns() - start)
    return {"held": busy <= PARENT_BAR * wall and host <= PARENT_BAR, "campaign": busy / wall, "host": host, "slices": len(spent),
            "says": f"campaign {busy / wall:.3%} of a core while {len(spent)} slices of 2 s ran, host {host:.3%} over a campaign"}  # fmt: skip
