"""Runs that are cut off: what was measured is kept, and going on gives each row once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgebench import runner, store
from edgebench.errors import StoreError
from edgebench.testing import fake_artifact

KILLS = 10
BENCH = ("--backend", "fake", "--batch", "1", "--batch", "2", "--batch", "3", "--generations", "6")
IDS = {f"net/as given/fp32/fake@local/b{n}t1" for n in (1, 2, 3)}


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return Path(fake_artifact(tmp_path, {"sleep": 0.002}, name="net").path)


def start(arguments: list[str], folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edgebench", *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A background job of a shell is born deaf to Ctrl-C; a user's terminal is not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def until(reached: Callable[[], object], process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Waits for what the test is about, however slow the machine is; or for the end of the process."""
    end = time.monotonic() + seconds
    while not reached() and process.poll() is None:
        assert time.monotonic() < end, f"not reached within {seconds} s"
        time.sleep(0.02)


def begun(results: Path) -> list[Path]:
    return [*results.glob("*/run.json")]


def workers_left(environment: Mapping[str, str]) -> list[str]:
    """The processes of a run with this environment: other tests may be measuring beside this one."""
    own = f"EDGEBENCH_CACHE={environment['EDGEBENCH_CACHE']}".encode()
    left = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            named = b"edgebench.worker" in command or b"edgebench.campaign" in command
            if named and own in (entry / "environ").read_bytes().split(b"\0"):
                left.append(entry.name)
        except OSError:
            continue
    return left


def test_ten_kills_at_random_moments_and_each_row_is_there_once(
    tmp_path: Path, network: Path, environment: dict[str, str], edgebench: Callable[..., Any]
) -> None:
    draw = random.Random(7)
    runs = ["bench", str(network), *BENCH]
    results = tmp_path / "results"
    for _ in range(KILLS):
        process = start(["run", "--resume"] if begun(results) else runs, tmp_path, environment)
        until(lambda: begun(results), process)
        threading.Event().wait(draw.uniform(0.3, 3.0))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = edgebench("run", "--resume")
    assert done.returncode == 0, done.stderr
    (folder,) = results.iterdir()
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert len(lines) == len(IDS)
    assert {r.cell.id for r in store.open_run(folder).results()} == IDS
    # Of the workers that only weigh memory (-1) there are several.
    records = [(r["cell"], r["generation"]) for r in store.open_run(folder).samples() if r["generation"] >= 0]
    assert len(records) == len(set(records)), "a generation was measured twice"


def test_a_killed_run_leaves_no_process_behind(tmp_path: Path, network: Path, environment: dict[str, str]) -> None:
    before = set(workers_left(environment))
    process = start(["bench", str(network), *BENCH], tmp_path, environment)
    until(lambda: set(workers_left(environment)) - before, process)
    assert set(workers_left(environment)) - before, "nothing was running yet"
    process.kill()
    process.communicate()
    for _ in range(50):
        if not set(workers_left(environment)) - before:
            return
        threading.Event().wait(0.1)
    pytest.fail("a worker or campaign lives on")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_the_end_of_a_job_keep_what_was_measured_and_say_how_to_go_on(
    tmp_path: Path, network: Path, environment: dict[str, str], edgebench: Callable[..., Any], number: signal.Signals
) -> None:
    process = start(["bench", str(network), *BENCH], tmp_path, environment)
    until(lambda: begun(tmp_path / "results") and workers_left(environment), process)
    os.kill(process.pid, number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "Traceback" not in stderr
    assert "Interrupted" in stderr
    assert "edgebench run --resume" in stderr
    assert not workers_left(environment)
    assert edgebench("run", "--resume").returncode == 0


def test_a_run_does_not_go_on_with_another_network(
    tmp_path: Path, network: Path, environment: dict[str, str], edgebench: Callable[..., Any]
) -> None:
    assert edgebench("bench", network, "--backend", "fake", "--batch", "1", "--batch", "2", "--quick").returncode == 0
    (folder,) = (tmp_path / "results").iterdir()
    kept = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    (folder / "results.jsonl").write_text(kept[0])
    fake_artifact(network.parent, {"sleep": 0.003}, name="net")
    done = edgebench("run", "--resume")
    assert done.returncode == 2
    assert f"{network.name} has changed since this run began" in done.stderr
    assert (folder / "results.jsonl").read_text() == kept[0], "nothing is lost, and nothing added"


def test_a_file_in_the_results_that_its_network_no_longer_makes_names_the_network(tmp_path: Path) -> None:
    made = tmp_path / "artifacts.onnx"
    made.write_bytes(b"old")
    plan: Any = SimpleNamespace(recipes=(), model=SimpleNamespace(source="nets:make"))
    work: Any = SimpleNamespace(
        artifact=SimpleNamespace(path=str(made), sha256="new"), cell=SimpleNamespace(recipe="plain")
    )
    folder: Any = SimpleNamespace(path=tmp_path, results=lambda: ())
    with pytest.raises(StoreError, match='the recipe "plain" makes of nets:make has changed'):
        runner._check_same(folder, plan, [work])
    work.artifact.sha256 = store.sha256(made)
    runner._check_same(folder, plan, [work])


def test_report_gives_the_same_bytes_again(
    tmp_path: Path, network: Path, edgebench: Callable[..., Any], warm: Callable[..., Any]
) -> None:
    assert edgebench("bench", network, *BENCH).returncode == 0
    (folder,) = (tmp_path / "results").iterdir()
    tables = {name: (folder / name).read_bytes() for name in ("table.md", "table.csv", "table.json")}
    for name in tables:
        (folder / name).unlink()
    assert edgebench("report").returncode == 0
    assert {name: (folder / name).read_bytes() for name in tables} == tables
    for form, name in (("markdown", "table.md"), ("csv", "table.csv"), ("json", "table.json")):
        rebuilt = warm("report", "--from-samples", "--format", form)
        assert rebuilt.stdout.encode() == tables[name], "the raw samples give another table"
