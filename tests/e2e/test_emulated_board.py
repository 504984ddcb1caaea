"""A board that is another machine: arm64 code under emulation behind an sshd of its own, with the real aarch64 runtimes.

It needs root, Debian's emulator and its mirror; where it cannot be made, these tests skip with the reason. What is measured
there is function, never speed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from edgebench.codec import from_json
from edgebench.devices.emulation import TRUE_ANYWHERE
from edgebench.errors import EdgebenchError
from edgebench.schema import QUICK, Result
from edgebench.testing import fake_artifact

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.board import emulated, trials

pytestmark = pytest.mark.slow
MOST_SECONDS = 300
TOLERANCE = 0.01
RUNTIMES = ("onnxruntime", "openvino", "litert")


@pytest.fixture(scope="module")
def made() -> Iterator[None]:
    lacking = [tool for tool in ("mmdebstrap", "qemu-aarch64-static", "rsync", "ssh", "ip") if not shutil.which(tool)]
    if lacking:
        pytest.skip(f"the emulated board needs {', '.join(lacking)} (scripts/board make)")
    if os.getuid():
        pytest.skip("the emulated board needs root")
    yield
    with emulated.alone():
        emulated.script("stop.sh")


@pytest.fixture
def board(made: None, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment in which a device `emulated` is the board, which is this test's alone."""
    with emulated.alone():
        try:
            emulated.started()
        except RuntimeError as error:
            pytest.skip(f"the emulated board cannot be had: {error}")
        monkeypatch.setenv("EDGEBENCH_CACHE", str(cache))
        env = emulated.environment(tmp_path)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        yield env


@contextmanager
def started(arguments: list[str], folder: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, which outlives no test: the board would be busy for the next one."""
    command = [sys.executable, "-m", "edgebench", *arguments]
    process = subprocess.Popen(
        command, cwd=folder, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def said_by(arguments: list[str], folder: Path, env: Mapping[str, str]) -> str:
    """What a command prints, which must succeed."""
    with started(arguments, folder, env) as process:
        said, _ = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 0, said
    return said


def results(folder: Path, device: str = "*") -> list[Result]:
    found = [path.read_text().splitlines() for path in folder.glob(f"results/*-{device}/results.jsonl")]
    return [from_json(Result, json.loads(line)) for lines in found for line in lines]


def test_the_board_is_added_and_listed(tmp_path: Path, board: dict[str, str]) -> None:
    said = said_by(["device", "add", "pi-7", "emulated"], tmp_path, board)
    assert "Raspberry Pi 5 Model B Rev 1.0" in said
    assert "emulated by qemu-aarch64" in said
    found = {d["name"]: d for d in json.loads(said_by(["devices", "--json"], tmp_path, board))}
    assert found["pi-7"]["ok"]
    assert found["pi-7"]["identity"]["emulated"] == "qemu-aarch64-static"


NETWORK = """\
import torch
from torch import nn


def make() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()


def load() -> dict:
    x = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = make()(x).argmax(1)
    y[::5] += 1  # a fifth of the labels is wrong: an accuracy that no runtime gets by chance
    x, y = x.numpy(), (y % 10).numpy()
    return {"x_train": x[:100], "y_train": y[:100], "x_eval": x[100:], "y_eval": y[100:]}
"""


def test_the_real_aarch64_runtimes_answer_as_here_and_give_no_figure_of_speed(
    tmp_path: Path, board: dict[str, str]
) -> None:
    if find_spec("litert_torch") is None:  # to import it here would take longer than what it is needed for
        pytest.skip("litert_torch is not installed, which makes the LiteRT file")
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "plan.toml").write_text(
        'name = "three"\nmodel = { source = "net:make" }\ndata = { source = "net:load" }\n'
        f'[run]\nbackends = {json.dumps(RUNTIMES)}\n[[recipe]]\nname = "net"\n'
    )
    for device in ("emulated", "local"):
        said_by(["run", "plan.toml", "--quick", "--device", device], tmp_path, board)
    there, here = ({r.cell.backend: r for r in results(tmp_path, device)} for device in ("emulated", "local"))
    assert there.keys() == here.keys() == set(RUNTIMES)
    for name, result in there.items():
        assert result.status == here[name].status == "ok", result.reason
        assert (result.environment["machine"], result.environment["emulated"]) == ("aarch64", "qemu-aarch64-static")
        assert result.environment["identity"]["model"] == "Raspberry Pi 5 Model B Rev 1.0"
        assert result.noise["state"] == "emulated"
        with_value = {m.metric for m in result.measurements if m.value is not None or m.samples}
        assert with_value <= TRUE_ANYWHERE
        theirs, ours = (found[name].get("accuracy") for found in (there, here))
        assert theirs is not None
        assert ours is not None
        assert ours.value == pytest.approx(0.8)
        assert theirs.value == pytest.approx(ours.value, abs=TOLERANCE)
        assert result.effective["version"] == here[name].effective["version"]
    (page,) = tmp_path.glob("results/*-emulated/report.html")
    assert "emulated" in page.read_text()


def test_crash_hang_and_out_of_memory_are_a_row_each(tmp_path: Path, board: dict[str, str], cache: Path) -> None:
    protocol = replace(QUICK, command_timeout=15.0, memory_limit=1 << 30)
    given = trials.works(tmp_path, "segfault_at", "hang_at", "eat_at")
    there, job = trials.job(f"ruin-{tmp_path.name}", given, cache, protocol)
    events: list[Mapping[str, Any]] = []
    there.conduct(job, (), events.append)
    rows = {r.cell.recipe: r for r in (from_json(Result, e["result"]) for e in events if e["event"] == "result")}
    assert {name: r.status for name, r in rows.items()} == {
        "good": "ok", "segfault_at": "failed", "hang_at": "failed", "eat_at": "failed",
    }  # fmt: skip
    assert "SIGSEGV" in rows["segfault_at"].reason
    assert "no answer within 15 s" in rows["hang_at"].reason
    assert "of memory, over the limit" in rows["eat_at"].reason
    again: list[Mapping[str, Any]] = []
    begun = time.monotonic()
    same = trials.device()
    same._trees, same._pushed = there._trees, there._pushed
    same.conduct(job, (), again.append)
    assert [e["result"] for e in again if e["event"] == "result"] == [
        e["result"] for e in events if e["event"] == "result"
    ]
    assert time.monotonic() - begun < 15, "it is told once more, and not done once more"


def test_a_killed_controller_leaves_an_idle_and_unlocked_board(tmp_path: Path, board: dict[str, str]) -> None:
    seconds = trials.killed_controller(tmp_path, board)
    assert seconds <= trials.IDLE_BAR
    said_by(["run", "--resume"], tmp_path, board)
    assert sorted((r.cell.batch, r.status) for r in results(tmp_path)) == [(1, "ok"), (2, "ok")]


def test_a_run_whose_link_is_cut_ends_complete_by_itself(tmp_path: Path, board: dict[str, str]) -> None:
    model = fake_artifact(tmp_path, {"sleep": 0.01}, name="net").path
    arguments = ["bench", model, "--backend", "fake", "--batch", "1", "--batch", "2", "--device", "emulated", "--quick"]
    with started(arguments, tmp_path, board) as process:
        for _ in range(2):
            assert emulated.wait_until(lambda: emulated.measuring() and emulated.kill_connections(), 90)
            assert emulated.wait_until(lambda: not emulated.measuring(), 10)
        said, _ = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 0, said
    assert sorted((r.cell.batch, r.status) for r in results(tmp_path)) == [(1, "ok"), (2, "ok")]


def test_a_push_that_was_cut_sends_the_rest_only(tmp_path: Path, board: dict[str, str]) -> None:
    try:
        assert trials.retry(tmp_path, board) <= trials.RETRY_BAR
    except RuntimeError as error:
        pytest.skip(str(error))


def test_a_black_hole_is_noticed(board: dict[str, str]) -> None:
    noticed, _ = trials.black_hole()
    assert noticed <= trials.HOLE_BAR
    assert trials.device().hello()["machine"] == "aarch64"


def test_an_environment_that_is_there_is_not_sent_again(board: dict[str, str], cache: Path) -> None:
    found = trials.second_push(cache, *RUNTIMES)
    assert found["size"] > 100_000_000
    assert found["sent"] < 200_000


def test_a_host_key_that_changed_is_refused(
    tmp_path: Path, board: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tempfile.TemporaryDirectory(prefix="eb")  # no connection that was made before
    monkeypatch.setenv("XDG_RUNTIME_DIR", own.name)
    known = emulated.FOLDER / "known_hosts"
    right = known.read_text()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    try:
        known.write_text("emulated " + " ".join((tmp_path / "other.pub").read_text().split()[:2]) + "\n")
        found = trials.device().check()
        assert "The host key of emulated has changed" in found.reason
        known.write_text("")
        assert "is not known here" in trials.device().check().reason
        with pytest.raises(EdgebenchError, match="is not known here"):
            trials.device().furnish({}, tmp_path)
    finally:
        known.write_text(right)
        own.cleanup()


def test_our_presence_costs_next_to_nothing(tmp_path: Path, board: dict[str, str], cache: Path) -> None:
    # Another test runs on the sibling core: it makes our instructions dearer, never cheaper, so the least of three counts, and
    # against twice the bar, whose clock ticks are a tenth of a percent each. `scripts/bars board-presence` holds the bar itself.
    for _ in range(3):
        found = trials.presence(tmp_path, cache)
        if found["cpu"] <= trials.CPU_BAR:
            break
    assert found["seconds"] >= trials.SLICE_SECONDS
    assert found["cpu"] <= 2 * trials.CPU_BAR, f"{found['cpu']:.2%} of a core"
    assert found["wakes"] <= trials.WAKES_BAR, f"{found['wakes']:.1f} wake-ups/s"
