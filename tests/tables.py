"""The tables of the README and of results/published are generated from published results: this writes them, a test compares."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgebench import runner, store

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PUBLISHED = sorted(path.parent for path in ROOT.glob("results/published/local/*/run.json"))
RUN = "results/published/local/quick"
CHOOSE = shlex.split(
    f"edgebench choose {RUN} --max-latency-p99 100us --max-accuracy-drop 3% --max-size 500kB "
    "--runtime onnxruntime --runtime openvino"
)
BARS = ROOT / "results/published/bars"
NATIVE = BARS / "B8.json"
NATIVE_TABLE = ROOT / "results/published/native.md"
CIFAR10 = BARS / "cifar10.json"
CIFAR10_TABLE = ROOT / "results/published/cifar10.md"


def printed(*arguments: str) -> str:
    """What `edgebench` prints of the published run into a file (120 columns)."""
    command = [sys.executable, "-m", "edgebench", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "\n".join(line for line in lines if not line.startswith("Kept in")).strip()


def judge_again(run: Path) -> None:
    """Write a published run's results from its samples, by the rules of today, and what is made from them."""
    folder = store.open_run(run)
    found = runner.rebuild(folder)
    if found != folder.results():
        (run / store.RESULTS).write_bytes(b"".join(map(store._line, found)))
    printed("report", str(run))


def with_tables(readme: str, *where: str) -> str:
    """The README with the table of the published run, and with what `choose` says of it; `where` says --out for the report."""
    command = shlex.join(CHOOSE).replace(" --runtime", " \\\n      --runtime", 1)
    shown = {"table": printed("report", RUN, *where), "choose": f"$ {command}\n{printed(*CHOOSE[1:])}"}
    for name, text in shown.items():
        block = f"<!-- {name}: quick -->\n```text\n{text}\n```\n<!-- end -->"
        readme = re.sub(rf"<!-- {name}: quick -->.*?<!-- end -->", lambda _, b=block: b, readme, flags=re.DOTALL)
    return readme


def native_table(found: dict[str, Any]) -> str:
    """Our figures beside the runtimes' own tools, as Markdown."""
    machine = f"{found['machine']['cpu_model']}, {found['machine']['cores']} CPUs"
    head = f"""# Beside the runtimes' own tools

`scripts/bars B8` measured this at {found["at"]} on {machine}: {len(found["rows"][0]["rounds"]["ours"])} rounds. In each, one
generation of ours, the same on one repeated input (as the tools feed it), and one run of the tool, in random order; one thread,
batch 1, no isolation. Each counts by the lower quartile of its rounds, what it says when the neighbours leave it alone; the
intervals are of 95 %, from drawing the rounds anew. The scatter is the greatest over the least of the rounds.

| network | tool | tool says | ours | ours / tool | on one input | scatter of tool | of ours |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""
    return head + "".join(_native_row(row) for row in found["rows"])


def cifar10_table(found: dict[str, Any]) -> str:
    """What the suite cifar10 found, line by line, and ours beside its peers, as Markdown."""
    lines = [
        f"| {name} | {'held' if line['held'] else '**missed**'} | {line['says']} |"
        for name, line in found["lines"].items()
    ]
    return f"""# Compression on CIFAR-10

`edgebench run cifar10` gave [this run](local/cifar10/table.md) on a processor with VNNI and bf16, and `scripts/bars cifar10`
read it at {found["at"]}. `same twice` compares it with [a second one](local/cifar10-again/table.md) whose networks were
trained anew. Ten of the recipes ran [on a processor with AVX2 alone](local/cifar10-avx2/table.md) too, which trains in fp32 and
gains less from int8. Accuracy is on 5,000 pictures that were never trained on, and its changes are paired by picture; all
intervals are of 95 %.

| | | found |
| --- | --- | --- |
{chr(10).join(lines)}

What one would otherwise call directly, on the same teacher, data and epochs:

| recipe | runtime | accuracy | agreement | size | latency | against the teacher | int8 layers |
| --- | --- | ---: | ---: | ---: | ---: | --- | ---: |
""" + "".join(_peer_row(row) for row in found["lines"]["peers"]["table"])


def _peer_row(row: dict[str, Any]) -> str:
    if "reason" in row:
        return f"| {row['recipe']} | {row['runtime']} | {row['reason']} | | | | | |\n"
    speed, latency = row["speed"], row["latency"]
    cells = [row["recipe"], row["runtime"], f"{row['accuracy']:.2%}", f"{row['agreement']:.1%}"]
    cells += [f"{row['size'] / 1e3:.1f} kB", f"{latency * 1e6:.1f} µs" if latency else "withheld"]
    cells += [f"{speed[0]:.2f}x ({speed[1]:.2f}–{speed[2]:.2f})" if speed else "–", f"{row['int8']} of {row['layers']}"]
    return f"| {' | '.join(cells)} |\n"


def _native_row(row: dict[str, Any]) -> str:
    if "ratio" not in row:
        return f"| {row['network']} | {row['tool']} | withheld in too many rounds | | | | | |\n"

    def ratio(key: str, interval: str) -> str:
        low, high = row[interval]
        return f"{row[key]:.3f} ({low:.3f}–{high:.3f})"

    return (
        f"| {row['network']} | {row['tool']} | {row['theirs_s'] * 1e3:.3f} ms | {row['ours_s'] * 1e3:.3f} ms | "
        f"{ratio('ratio', 'interval')} | {ratio('ratio_one_input', 'interval_one_input')} | "
        f"{row['scatter_theirs']:.1%} | {row['scatter_ours']:.1%} |\n"
    )


def bars_table() -> str:
    """What each bar found when it was last run, as Markdown."""
    files = sorted(
        BARS.glob("*.json"), key=lambda p: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", p.stem)]
    )
    rows = [json.loads(path.read_text()) for path in files]
    lines = [f"| {r['bar']} | {'held' if r['held'] else '**missed**'} | {r['says']} | {r['at'][:8]} |" for r in rows]
    return (
        "# The bars by which the measuring is judged\n\n"
        "Written by `scripts/tables` from what `scripts/bars NAME` left here; each file holds the figures behind its line, "
        "and the machine.\n\n| bar | | found | on |\n| --- | --- | --- | --- |\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    for published in PUBLISHED:
        judge_again(published)
    README.write_text(with_tables(README.read_text()))
    if NATIVE.exists():
        NATIVE_TABLE.write_text(native_table(json.loads(NATIVE.read_text())))
    if CIFAR10.exists():
        CIFAR10_TABLE.write_text(cifar10_table(json.loads(CIFAR10.read_text())))
    (BARS / "README.md").write_text(bars_table())
