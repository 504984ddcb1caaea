"""Cut the link to the emulated board again and again while runs are made: `python tests/board/cuts.py FOLDER [CUTS]`.

FOLDER is a board that runs (scripts/board start). A cut is one of: the connection's sshd killed, the link down for a moment,
the link down until it is noticed. Each run must end complete by itself or by `run --resume`, with each row once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from edgebench.testing import fake_artifact

BENCH = ("--backend", "fake", "--batch", "1", "--batch", "2", "--quick", "--device", "emulated")
ROWS = 2
PROFILE = 'address = "emulated"\ntransport = "ssh"\ndescription = "the emulated board of the tests"\n'


def environment(board: Path, scratch: Path) -> dict[str, str]:
    """What reaches the board: its ssh first in PATH, a profile "emulated", sockets and a cache of one's own."""
    profiles = scratch / "config/edgebench/devices"
    profiles.mkdir(parents=True, exist_ok=True)
    (profiles / "emulated.toml").write_text(PROFILE)
    (scratch / "run").mkdir(exist_ok=True)
    return {
        **os.environ,
        "PATH": f"{board / 'bin'}:{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(scratch / "config"),
        "XDG_RUNTIME_DIR": str(scratch / "run"),
        "EDGEBENCH_CACHE": os.environ.get("EDGEBENCH_CACHE") or str(scratch / "cache"),
    }


def children(pid: int) -> list[int]:
    """Of every thread: the kernel lists a child with the thread that made it."""
    try:
        return [int(p) for path in Path(f"/proc/{pid}/task").glob("*/children") for p in path.read_text().split()]
    except OSError:
        return []


def processes(board: Path) -> dict[int, str]:
    """The processes in the board's namespace, below its sshd: pid -> command line."""
    found: dict[int, str] = {}
    todo = children(int((board / "pid").read_text()))[:1]  # unshare's child: the first sshd
    sshd = todo[0] if todo else 0
    for pid in todo:
        for child in children(pid):
            todo.append(child)
    for pid in todo:
        try:
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
    found.pop(sshd, None)
    return found


def campaigns(board: Path) -> list[int]:
    """The programs of ours that run there."""
    words = ("edgebench.", "-IS")
    return [pid for pid, command in processes(board).items() if any(word in command for word in words)]


def kill_connections(board: Path) -> int:
    """Kill the sshd processes of every connection, and say how many there were."""
    found = [pid for pid, command in processes(board).items() if command.rstrip().endswith("sshd_config -R")]
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(found)


def link(board: Path, state: str) -> None:
    subprocess.run(["ip", "link", "set", (board / "netns").read_text().strip(), state], check=True)


def cut(board: Path, draw: random.Random) -> str:
    kind = draw.choice(["sshd", "sshd", "sshd", "blink", "black hole"])
    if kind == "sshd":
        return f"sshd ({kill_connections(board)} killed)"
    link(board, "down")
    threading.Event().wait(1.0 if kind == "blink" else 25.0)
    link(board, "up")
    return kind


def rows(folder: Path) -> list[str]:
    lines = [
        json.loads(line) for path in folder.glob("results/*/results.jsonl") for line in path.read_text().splitlines()
    ]
    return [f"{line['status']} {line['cell'].get('batch', 1)}" for line in lines]


def one_run(
    board: Path, scratch: Path, env: Mapping[str, str], draw: random.Random, cuts: int
) -> tuple[int, list[str]]:
    """One run under so many cuts, resumed if it gave up: (cuts made, its rows)."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    model = fake_artifact(folder, {"sleep": 0.01}, name="net").path
    command = [sys.executable, "-m", "edgebench"]
    made, arguments = 0, ["bench", model, *BENCH]
    for _ in range(10):
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen([*command, *arguments], cwd=folder, env=dict(env), stdout=log, stderr=log)
            while process.poll() is None:
                try:
                    process.wait(draw.uniform(0.5, 9.0))
                except subprocess.TimeoutExpired:
                    if made < cuts:
                        made += 1
                        print(f"  {cut(board, draw)}", flush=True)
        begun = any(folder.glob("results/*/run.json"))
        if process.returncode == 0 and len(rows(folder)) >= ROWS:
            break
        arguments = ["run", "--resume"] if begun else arguments
    return made, rows(folder)


def main(board: Path, wanted: int) -> int:
    seed = random.randrange(1 << 30)
    draw, made, runs, wrong = random.Random(seed), 0, 0, 0
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="edgebench-cuts-") as scratch:
        env = environment(board, Path(scratch))
        while made < wanted:
            cuts, found = one_run(board, Path(scratch), env, draw, min(5, wanted - made))
            made, runs = made + cuts, runs + 1
            right = sorted(found) == ["ok 1", "ok 2"]
            wrong += not right
            print(f"run {runs}: {cuts} cuts, {'complete, each row once' if right else f'WRONG: {found}'}", flush=True)
    print(f"{made} cuts in {runs} runs, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 100))
