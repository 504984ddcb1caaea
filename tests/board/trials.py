"""One trial each of what a board must stand, against the emulated one: the figure that was found, in seconds, bytes or shares.

Tests hold them against their bars, and scripts/bars publishes them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgebench import plugins, runner
from edgebench.codec import Options
from edgebench.devices import profiles
from edgebench.devices.ssh import SshDevice
from edgebench.schema import QUICK, Artifact, Cell, Job, Protocol, Work
from edgebench.testing import fake_artifact
from tests.board import emulated

RETRY_BAR = 0.65
HOLE_BAR = 20.0
IDLE_BAR = 5.0
PUSH_BAR = 1.0
CPU_BAR, WAKES_BAR = 0.005, 5.0
SLICE_SECONDS = 5.0
LOOK_SECONDS = 0.25
CUT_AT = 0.45
PUSH_BYTES = 60_000_000
PUSH_MEGABITS = 60
ASLEEP = "import time; print('{}', flush=True); time.sleep(80)"
Costs = dict[int, tuple[int, int]]
"""pid -> (clock ticks, wake-ups)."""

PUSH = """\
import sys
from pathlib import Path
from edgebench.devices import profiles
from edgebench.schema import Artifact
path, sha256 = sys.argv[1:]
profiles.resolve("emulated").push(Artifact(format="onnx", path=path, sha256=sha256, size=Path(path).stat().st_size))
"""


def device() -> SshDevice:
    found = profiles.resolve("emulated")
    assert isinstance(found, SshDevice)
    return found


def retry(scratch: Path, env: Mapping[str, str]) -> float:
    """A push of 60 MB loses its connection at 45 %: the bytes that go over the cable from then on, as a share of the file.

    Raises RuntimeError where the kernel cannot slow the cable down, which is too fast to be cut in time.
    """
    given = scratch / "big.onnx"
    content = np.random.default_rng(0).bytes(PUSH_BYTES - 8) + os.urandom(8)  # no board has it yet
    given.write_bytes(content)
    device().hello()
    with emulated.limited(PUSH_MEGABITS):
        begun = emulated.sent()
        argv = [sys.executable, "-c", PUSH, given, hashlib.sha256(content).hexdigest()]
        push = subprocess.Popen(argv, env=dict(env))
        assert emulated.wait_until(lambda: emulated.sent() - begun >= CUT_AT * PUSH_BYTES, 240)
        assert emulated.kill_connections() > 0
        before = emulated.sent()
        assert push.wait(300) == 0
        return (emulated.sent() - before) / PUSH_BYTES


@contextmanager
def asleep(name: str) -> Iterator[Iterator[dict[str, Any]]]:
    """A job on the board that only sleeps; what it answers from now on."""
    request = {"do": "run", "job": name, "digest": "", "controller": "x", "who": "t", "seconds": 90, "lease": 20}
    wire = device()._wire({**request, "paths": [], "files": [], "argv": ["-c", ASLEEP]})
    wire.send(b"\n")
    try:
        with wire.beating():
            answers = wire.answers()
            assert next(answers) == {}
            yield answers
    finally:
        wire.close()


def black_hole() -> tuple[float, float]:
    """The cable is pulled in the middle of a job: seconds until this side knows, and until the board is idle."""
    with asleep("hole") as answers:
        emulated.link("down")
        begun = time.monotonic()
        try:
            assert list(answers) == []
            noticed = time.monotonic() - begun
            assert emulated.wait_until(lambda: not emulated.campaigns(), 30), "the board ends it when its lease is over"
            return noticed, time.monotonic() - begun
        finally:
            emulated.link("up")


def killed_controller(scratch: Path, env: Mapping[str, str]) -> float:
    """A run's process here is killed with -9 while the board measures: seconds until that is idle and unlocked."""
    model = fake_artifact(scratch, {"sleep": 0.01}, name="net").path
    argv = [
        sys.executable,
        "-m",
        "edgebench",
        "bench",
        model,
        "--backend",
        "fake",
        "--batch",
        "1",
        "--batch",
        "2",
        "--quick",
    ]
    process = subprocess.Popen([*argv, "--device", "emulated"], cwd=scratch, env=dict(env), stdout=subprocess.DEVNULL)
    assert emulated.wait_until(emulated.measuring, 120)
    assert not emulated.unlocked()
    process.send_signal(signal.SIGKILL)
    begun = time.monotonic()
    process.wait()
    assert emulated.wait_until(lambda: not emulated.campaigns() and emulated.unlocked(), 30), emulated.processes()
    return time.monotonic() - begun


def second_push(cache: Path, *names: str) -> dict[str, float]:
    """The device is furnished with some runtimes twice: the environment's bytes; seconds and bytes of the second time.

    `push` is the time of pushing what is there already, `seconds` that of all, with the question what board it is.
    """
    backends = {name: plugins.backend(name) for name in names}
    first = device()
    first.furnish(backends, cache)
    files = [p for tree in first._trees for p in Path(f"{emulated.FOLDER}/root{tree}").rglob("*") if p.is_file()]
    begun, before = time.monotonic(), emulated.sent()
    device().furnish(backends, cache)
    seconds, sent = time.monotonic() - begun, emulated.sent() - before
    begun = time.monotonic()
    asked = device().ask({"do": "ask", "trees": [Path(tree).name for tree in first._trees]})
    push = time.monotonic() - begun
    assert asked["trees"] == list(first._trees)
    return {
        "size": sum(p.stat().st_size for p in files),
        "files": len(files),
        "push": push,
        "seconds": seconds,
        "sent": sent,
    }


def works(folder: Path, *behaviours: str) -> tuple[Work, ...]:
    """A good network of the fake runtime, and one for each of these behaviours."""
    data = Artifact(format="random", path="", sha256="0", size=0, facts=Options(seed=0, count=16))
    made = []
    for name in ("good", *behaviours):
        behave = {"sleep": 0.001} if name == "good" else {name: "run"}
        cell = Cell(model="fake", recipe=name, backend="fake", device="emulated")
        made.append(Work(cell=cell, artifact=fake_artifact(folder, behave, name=name), data=data))
    return tuple(made)


def job(name: str, given: tuple[Work, ...], cache: Path, protocol: Protocol) -> tuple[SshDevice, Job]:
    """A furnished device, and the job with its files pushed there."""
    there = device()
    there.furnish({"fake": plugins.backend("fake")}, cache)
    pushed = tuple(replace(w, artifact=there.push(w.artifact)) for w in given)
    return there, Job(id=name, work=pushed, metrics=runner.METRICS, protocol=protocol)


def presence(scratch: Path, cache: Path) -> dict[str, float]:
    """What we cost the board while a network runs there: the connection, the runner and the campaign, all but the worker.

    `cpu` is the share of one core and `wakes` the wake-ups a second during two slices of 5 s, by the kernel's own counts;
    emulation makes each instruction of ours many times as dear as it is on a board.
    """
    protocol = replace(QUICK, slice_seconds=SLICE_SECONDS, rounds=1, least_generations=2, most_generations=2)
    # A job is done once: under a name that the board knows, it would tell what it found another day.
    there, made = job(f"presence-{secrets.token_hex(4)}", works(scratch), cache, protocol)
    records: list[Mapping[str, Any]] = []
    looks: list[tuple[float, Costs]] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            looks.append((time.time(), {pid: found for pid in bystanders() if (found := cost(pid))}))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        there.conduct(made, (), lambda event: records.append(event.get("record") or {}))
    finally:
        ended.set()
        thread.join()
    spans = [slice_["window"] for record in records for slice_ in record.get("slices", ())]
    return share([[look for look in looks if begin <= look[0] <= end] for begin, end in spans])


def bystanders() -> list[int]:
    """Every process of the board but those that the campaign has started: its workers."""
    found = emulated.processes()
    return [pid for pid in found if not any("edgebench.campaign" in found.get(p, "") for p in [parent(pid)])]


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def share(spans: list[list[tuple[float, Costs]]]) -> dict[str, float]:
    """What some processes cost over some spans of time, from the counts that were read in each."""
    ticks = wakes = seconds = 0.0
    for looks in spans:
        (begin, first), (end, last) = looks[0], looks[-1]
        there = first.keys() & last.keys()  # one that came or went between was none of those that wait
        ticks += sum(last[pid][0] - first[pid][0] for pid in there)
        wakes += sum(last[pid][1] - first[pid][1] for pid in there)
        seconds += end - begin
    return {"cpu": ticks / os.sysconf("SC_CLK_TCK") / seconds, "wakes": wakes / seconds, "seconds": seconds}


def cost(pid: int) -> tuple[int, int] | None:
    """(clock ticks on a CPU, voluntary context switches) of all threads of a process; None of one that has ended."""
    ticks, wakes = 0, 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
            wakes += int((task / "status").read_text().partition("voluntary_ctxt_switches:")[2].split()[0])
    except OSError:
        return None
    return ticks, wakes
