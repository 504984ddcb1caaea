"""Everything that needs an NVIDIA GPU, in one go: python -m tests.gpu [--make FOLDER] [--cases FOLDER] [--out FOLDER]

Runs the backend contract, parity, latencies, the layer report, CUDA graphs, both memory shims, trtexec and the refusals on
every network and precision, and writes report.json and report.md. --make only writes the networks, for a board without
torch, where --cases then reads them. Exit code 0 all passed, 1 something failed, 3 there is no GPU: nothing was checked.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgebench_tensorrt import TensorRtBackend, machine

from edgebench.testing import Case
from edgebench.testing.contract import run_checks
from tests.gpu import cases as networks
from tests.gpu.checks import EVERY, ONCE, Skip

Row = dict[str, Any]


def carry_out(backend: type[TensorRtBackend], found: Mapping[str, Case], say: Callable[[str], None]) -> list[Row]:
    """One row for each check of each case: case, check, outcome, message, figures."""
    rows: list[Row] = []
    seen: set[str] = set()
    for name, case in found.items():
        once = case.precision not in seen
        seen.add(case.precision)
        for check, function in {**EVERY, **(ONCE if once else {})}.items():
            rows.append({"case": name, "check": check, **_one(function, backend(), case)})
            say(f"{rows[-1]['outcome']:>8}  {name}  {check}  {rows[-1]['message']}")
        for check, verdict in run_checks(backend, case).items() if once else ():
            rows.append({"case": name, "check": f"contract: {check}", **vars(verdict), "figures": {}})
            say(f"{verdict.outcome:>8}  {name}  contract: {check}  {verdict.message}")
    return rows


def _one(function: Callable[..., dict[str, Any]], backend: TensorRtBackend, case: Case) -> Row:
    try:
        return {"outcome": "passed", "message": "", "figures": function(backend, case)}
    except Skip as why:
        return {"outcome": "skipped", "message": str(why), "figures": {}}
    except Exception as error:  # a report of everything: one crash must not hide the rest
        last = traceback.format_exception_only(type(error), error)[-1].strip()
        return {"outcome": "failed", "message": last[:1000], "figures": {}}


def write(out: Path, rows: list[Row], here: Mapping[str, Any]) -> None:
    """report.json with all of it, report.md for people."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": here, "rows": rows}, indent=1, sort_keys=True, default=str)
    (out / "report.json").write_text(text + "\n")
    counts = {o: sum(r["outcome"] == o for r in rows) for o in ("passed", "failed", "skipped")}
    lines = [
        "# GPU check", "", f"{here.get('gpu')}", "", ", ".join(f"{n} {o}" for o, n in counts.items()), "",
        "| network | definition | latency | compute | CV | n |", "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for row in (r for r in rows if r["check"] == "latencies"):
        for name, f in row["figures"].items():
            lines.append(
                f"| {row['case']} | {name} | {f['latency_s'] * 1e6:.1f} µs | {f['compute_s'] * 1e6:.1f} µs "
                f"| {f['compute_cv']:.1%} | {f['n']} |"
            )
    lines += ["", *(f"- {r['outcome']}: {r['case']}, {r['check']}: {r['message']}" for r in rows if r["message"])]
    (out / "report.md").write_text("\n".join(lines) + "\n")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/gpu-check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--make", type=Path, help="only write the networks into this folder")
    parser.add_argument("--cases", type=Path, help="networks that --make wrote")
    parser.add_argument("--out", type=Path, default=Path("results/gpu-check"))
    asked = parser.parse_args(arguments)
    if asked.make:
        networks.make(asked.make)
        return 0
    here = machine.asked()
    available = machine.judge(here)
    if not available.ok:
        write(asked.out, [], {**here, "reason": available.reason})
        print(f"Nothing was checked: {available.reason}. {available.fix}")
        return 3
    with tempfile.TemporaryDirectory() as folder:
        given = asked.cases or Path(folder)
        if not asked.cases:
            networks.make(given)
        rows = carry_out(TensorRtBackend, networks.read(given), print)
    write(asked.out, rows, here)
    print(f"The report is in {asked.out}.")
    return 1 if any(row["outcome"] == "failed" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
