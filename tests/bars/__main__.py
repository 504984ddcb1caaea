"""python -m tests.bars NAME...: run bars, print what they found, keep it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edgebench import environment
from edgebench.measure import monotonic, utc_stamp
from tests.bars import (
    board,
    call_overhead,
    cifar10,
    machines,
    native,
    noise,
    overhead,
    runtimes,
    scale,
    series,
    small,
    speed,
)

OUT = Path(__file__).parents[2] / "results" / "published" / "bars"
BARS = {
    "B1": noise.b1, "B2": noise.b2, "B3": series.b3, "B4": series.b4, "B5": noise.b5, "B6": series.b6, "B7": overhead.b7,
    "B8": native.native, "B9": noise.b9, "B10": small.b10, "B11": small.b11, "B12": small.b12,
    "B13": machines.b13, "B14": machines.b14, "B15": small.b15, "B16": small.b16,
    "grid": speed.grid, "quick": speed.quick, "parent": speed.parent, "scale": scale.scale,
    "cifar10": cifar10.cifar10, "calls": call_overhead.calls, "board-cuts": board.cuts, "board-push": board.push, "board-presence": board.presence,
    "runtimes": runtimes.runtimes,
}  # fmt: skip


def main() -> int:
    names = sys.argv[1:] or list(BARS)
    unknown = [n for n in names if n not in BARS]
    if unknown:
        print(f"There is no bar {unknown[0]}. Known: {', '.join(BARS)}.", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    ok = True
    for name in names:
        begun, stamp, facts = monotonic(), utc_stamp(), environment.preflight()
        found: dict[str, Any] = BARS[name]()
        machine = {k: facts.get(k) for k in ("cpu_model", "cores", "kernel", "hypervisor", "load", "clocksource")}
        kept = {"bar": name, **found, "at": stamp, "seconds": round(monotonic() - begun, 1), "machine": machine}
        kept["source_hash"] = environment.source_hash()
        (OUT / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
        print(f"{name}  {'held' if found['held'] else 'MISSED'}  {found['says']}")
        ok = ok and bool(found["held"])
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
