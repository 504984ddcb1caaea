"""Ten thousand rows: the time and the memory of `report`, and of the choice among them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edgebench.decide import rows
from edgebench.decide.choose import choose
from edgebench.decide.need import need
from edgebench.store import open_run

ROWS = 10_000
REPORT_SECONDS, REPORT_BYTES, CHOICE_SECONDS = 5.0, 500e6, 1.0
PUBLISHED = Path(__file__).parents[2] / "results" / "published" / "local" / "quick"


def grown(folder: Path) -> Path:
    """The published run, its rows repeated under other names and with other figures until there are enough."""
    run = folder / "grown"
    run.mkdir()
    shutil.copy(PUBLISHED / "run.json", run)
    own = [json.loads(line) for line in (PUBLISHED / "results.jsonl").read_text().splitlines()]
    with (run / "results.jsonl").open("w") as file:
        for i in range(ROWS):
            result, copy = own[i % len(own)], i // len(own)
            result = json.loads(json.dumps(result))
            result["cell"]["recipe"] += f"-{copy}"
            for m in result["measurements"]:
                for place in (m, m.get("interval") or {}):
                    for key in ("value", "low", "high"):
                        if m["unit"] == "s" and isinstance(place.get(key), float):
                            place[key] *= 1 + copy * 1e-3
            file.write(json.dumps(result) + "\n")
    return run


def _taken(*command: str) -> dict[str, float]:
    """Wall seconds, CPU seconds and peak memory of a command."""
    begun = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "edgebench", *command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begun
    if child.returncode:
        raise RuntimeError(f"edgebench {command[0]} ended with {child.returncode}")
    return {"seconds": wall, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * 1024.0}


def _deciding(path: Path) -> float:
    """The choice alone, its rows being read."""
    run = open_run(path)
    table = rows.rows(run.run, run.results(), None)
    begun = time.perf_counter()
    choose(table, need({"--max-latency": "100us"}))
    return time.perf_counter() - begun


def scale() -> dict[str, Any]:
    """`report` over 10,000 rows in at most 5 s and 500 MB; the choice among them, once they are read, in at most 1 s."""
    with tempfile.TemporaryDirectory() as made:
        run = grown(Path(made))
        report = _taken("report", str(run))
        choice = _taken("choose", str(run), "--max-latency", "100us", "--json")
        choice["deciding_seconds"] = _deciding(run)
    held = report["seconds"] <= REPORT_SECONDS and report["peak_bytes"] <= REPORT_BYTES
    return {
        "held": held and choice["deciding_seconds"] <= CHOICE_SECONDS, "rows": ROWS, "report": report, "choose": choice,
        "says": f"{ROWS:,} rows: report {report['seconds']:.1f} s and {report['peak_bytes'] / 1e6:.0f} MB, "
                f"choose {choice['seconds']:.1f} s, both as whole commands; the choice alone {choice['deciding_seconds']:.2f} s",
    }  # fmt: skip
