"""A board that is another machine: arm64 code under emulation behind an sshd of its own, with the real aarch64 runtimes.

It needs root, Debian's emulator and its mirror; where it cannot be made, these tests skip with the reason. What is measured
there is function, never speed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebench import plugins, runner
from edgebench.devices import profiles
from edgebench.devices.emulation import TRUE_ANYWHERE
from edgebench.devices.ssh import SshDevice
from edgebench.errors import EdgebenchError
from edgebench.schema import QUICK, Artifact, Cell, Job, Options, Result, Work, from_json
from edgebench.testing import fake_artifact

sys.path.insert(0, str(Path(__file__).parents[1] / "board"))
import cuts

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
FOLDER = Path(
    os.environ.get("EDGEBENCH_BOARD")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgebench-board"
)
MOST_SECONDS = 300


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """There is one board, and several workers run tests."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def script(name: str) -> None:
    done = subprocess.run([ROOT / "tests/board" / name, FOLDER], capture_output=True, text=True, timeout=MOST_SECONDS)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no word"]
        pytest.skip(f"the emulated board cannot be had: {name}: {said[-1]}")


@pytest.fixture(scope="module")
def made() -> Iterator[None]:
    lacking = [tool for tool in ("mmdebstrap", "qemu-aarch64-static", "rsync", "ssh", "ip") if not shutil.which(tool)]
    if lacking:
        pytest.skip(f"the emulated board needs {', '.join(lacking)} (scripts/board make)")
    if os.getuid():
        pytest.skip("the emulated board needs root")
    with alone():
        script("make.sh")
    yield
    with alone():
        script("stop.sh")


@pytest.fixture
def board(made: None, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment in which a device `emulated` is the board, which is this test's alone."""
    with alone():
        known = (FOLDER / "bin/ssh").exists() and (FOLDER / "pid").exists()
        if not known or subprocess.run([FOLDER / "bin/ssh", "emulated", "true"], capture_output=True).returncode:
            script("start.sh")
        monkeypatch.setenv("EDGEBENCH_CACHE", str(cache))
        env = cuts.environment(FOLDER, tmp_path)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        yield env


def device() -> SshDevice:
    found = profiles.resolve("emulated")
    assert isinstance(found, SshDevice)
    return found


def start(arguments: list[str], folder: Path, env: Mapping[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgebench", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def results(folder: Path) -> list[Result]:
    found = [path.read_text().splitlines() for path in folder.glob("results/*/results.jsonl")]
    return [from_json(Result, json.loads(line)) for lines in found for line in lines]


def wait_until(true: Callable[[], Any], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.05)
    return False


def measuring() -> bool:
    return any("edgebench.campaign" in command for command in cuts.processes(FOLDER).values())


def unlocked() -> bool:
    with (FOLDER / "root/run/lock/edgebench-board.lock").open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((100, 1, 32, 32)).astype("float32"), rng.integers(0, 10, 100)
    np.savez(tmp_path / "samples.npz", x=x, labels=labels)
    return tmp_path / "samples.npz"


def bench(model: Path, data: Path, *more: str) -> list[str]:
    return ["bench", str(model), "--data", str(data), "--quick", *more]


def test_the_board_is_added_and_listed(tmp_path: Path, board: dict[str, str]) -> None:
    added = start(["device", "add", "pi-7", "emulated"], tmp_path, board)
    said, _ = added.communicate(timeout=MOST_SECONDS)
    assert added.returncode == 0, said
    assert "Raspberry Pi 5 Model B Rev 1.0" in said
    assert "emulated by qemu-aarch64" in said
    listed = start(["devices"], tmp_path, board)
    said, _ = listed.communicate(timeout=MOST_SECONDS)
    (line,) = [line for line in said.splitlines() if line.startswith("pi-7 ")]
    assert line.split()[1] == "ready"


def test_the_real_aarch64_runtimes_answer_as_here_and_give_no_figure_of_speed(
    tmp_path: Path, board: dict[str, str], tiny_onnx: Path, samples: Path
) -> None:
    both = ("--backend", "onnxruntime", "--backend", "openvino")
    there, here = tmp_path / "there", tmp_path / "here"
    for folder, more in ((there, ("--device", "emulated")), (here, ())):
        folder.mkdir()
        process = start(bench(tiny_onnx, samples, *both, *more), folder, board)
        said, _ = process.communicate(timeout=MOST_SECONDS)
        assert process.returncode == 0, said
    found, own = results(there), {r.cell.backend: r for r in results(here)}
    assert sorted(r.cell.backend for r in found) == ["onnxruntime", "openvino"]
    for result in found:
        assert result.status == "ok", result.reason
        assert (result.environment["machine"], result.environment["emulated"]) == ("aarch64", "qemu-aarch64-static")
        assert result.environment["identity"]["model"] == "Raspberry Pi 5 Model B Rev 1.0"
        assert result.noise["state"] == "emulated"
        with_value = {m.metric for m in result.measurements if m.value is not None or m.samples}
        assert with_value <= TRUE_ANYWHERE
        theirs, ours = result.get("accuracy"), own[result.cell.backend].get("accuracy")
        assert theirs is not None
        assert ours is not None
        assert abs((theirs.value or 0) - (ours.value or 0)) <= 0.01
        assert result.effective["version"] == own[result.cell.backend].effective["version"]
    (page,) = there.glob("results/*/report.html")
    assert "emulated" in page.read_text()


def test_litert_runs_there_too(tmp_path: Path, board: dict[str, str]) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("litert_torch")
    from edgebench.compress.lowering import lower_litert

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 10))
    x = torch.randn(32, 1, 8, 8)
    lower_litert.convert(net.eval(), x[:1], tmp_path / "net.tflite")
    labels = net(x).argmax(1).numpy()
    np.savez(tmp_path / "s.npz", x=x.numpy(), labels=labels)
    more = ("--backend", "litert", "--device", "emulated")
    process = start(bench(tmp_path / "net.tflite", tmp_path / "s.npz", *more), tmp_path, board)
    said, _ = process.communicate(timeout=MOST_SECONDS)
    (result,) = results(tmp_path)
    assert result.status == "ok", result.reason + said
    accuracy = result.get("accuracy")
    assert accuracy is not None
    assert accuracy.value == 1.0
    assert result.get("latency").value is None  # type: ignore[union-attr]


def works(folder: Path, *behaviours: str) -> tuple[Work, ...]:
    data = Artifact(format="random", path="", sha256="0", size=0, facts=Options(seed=0, count=16))
    made = []
    for name in ("good", *behaviours):
        behave = {"sleep": 0.001} if name == "good" else {name: "run"}
        cell = Cell(model="fake", recipe=name, backend="fake", device="emulated")
        made.append(Work(cell=cell, artifact=fake_artifact(folder, behave, name=name), data=data))
    return tuple(made)


def test_crash_hang_and_out_of_memory_are_a_row_each(tmp_path: Path, board: dict[str, str], cache: Path) -> None:
    there = device()
    there.furnish({"fake": plugins.backend("fake")}, cache)
    pushed = [replace(w, artifact=there.push(w.artifact)) for w in works(tmp_path, "segfault_at", "hang_at", "eat_at")]
    protocol = replace(QUICK, command_timeout=20.0, memory_limit=1 << 30)
    job = Job(id=f"ruin-{tmp_path.name}", work=tuple(pushed), metrics=runner.METRICS, protocol=protocol)
    events: list[Mapping[str, Any]] = []
    there.conduct(job, (), events.append)
    rows = {r.cell.recipe: r for r in (from_json(Result, e["result"]) for e in events if e["event"] == "result")}
    assert {name: r.status for name, r in rows.items()} == {
        "good": "ok", "segfault_at": "failed", "hang_at": "failed", "eat_at": "failed",
    }  # fmt: skip
    assert "SIGSEGV" in rows["segfault_at"].reason
    assert "no answer within 20 s" in rows["hang_at"].reason
    assert "of memory, over the limit" in rows["eat_at"].reason
    again: list[Mapping[str, Any]] = []
    begun = time.monotonic()
    device_again = device()
    device_again._trees, device_again._pushed = there._trees, there._pushed
    device_again.conduct(job, (), again.append)
    assert [e["result"] for e in again if e["event"] == "result"] == [
        e["result"] for e in events if e["event"] == "result"
    ]
    assert time.monotonic() - begun < 15, "it is told once more, and not done once more"


def test_a_killed_controller_leaves_an_idle_and_unlocked_board(tmp_path: Path, board: dict[str, str]) -> None:
    model = fake_artifact(tmp_path, {"sleep": 0.01}, name="net").path
    arguments = ["bench", model, "--backend", "fake", "--batch", "1", "--batch", "2", "--device", "emulated", "--quick"]
    process = start(arguments, tmp_path, board)
    assert wait_until(measuring, 90)
    assert not unlocked()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert wait_until(lambda: not cuts.campaigns(FOLDER) and unlocked(), 5), cuts.processes(FOLDER)
    resumed = start(["run", "--resume"], tmp_path, board)
    said, _ = resumed.communicate(timeout=MOST_SECONDS)
    assert resumed.returncode == 0, said
    assert sorted((r.cell.batch, r.status) for r in results(tmp_path)) == [(1, "ok"), (2, "ok")]


def test_a_run_whose_link_is_cut_ends_complete_by_itself(tmp_path: Path, board: dict[str, str]) -> None:
    model = fake_artifact(tmp_path, {"sleep": 0.01}, name="net").path
    arguments = ["bench", model, "--backend", "fake", "--batch", "1", "--batch", "2", "--device", "emulated", "--quick"]
    process = start(arguments, tmp_path, board)
    for _ in range(2):
        assert wait_until(measuring, 90)
        assert cuts.kill_connections(FOLDER) > 0
        assert wait_until(lambda: not measuring(), 10)
    said, _ = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 0, said
    assert sorted((r.cell.batch, r.status) for r in results(tmp_path)) == [(1, "ok"), (2, "ok")]


def sent(name: str) -> int:
    return int(Path(f"/sys/class/net/{name}/statistics/tx_bytes").read_text())


def big_file(path: Path, size: int) -> Artifact:
    content = np.random.default_rng(0).bytes(size - 8) + os.urandom(8)
    path.write_bytes(content)
    return Artifact(format="onnx", path=str(path), sha256=hashlib.sha256(content).hexdigest(), size=size)


def test_a_push_that_was_cut_sends_the_rest_only(tmp_path: Path, board: dict[str, str]) -> None:
    size, name = 60_000_000, (FOLDER / "netns").read_text().strip()
    limit = ["tc", "qdisc", "add", "dev", name, "root", "tbf", "rate", "60mbit", "burst", "64k", "latency", "50ms"]
    if subprocess.run(limit, capture_output=True).returncode:
        pytest.skip("this kernel cannot limit a link's rate (tbf)")
    there, given = device(), big_file(tmp_path / "big.onnx", size)
    there.hello()
    try:
        begun = sent(name)
        push = subprocess.Popen([sys.executable, "-c", PUSH, given.path, given.sha256], env=board)
        assert wait_until(lambda: sent(name) - begun >= 0.45 * size, 60)
        assert cuts.kill_connections(FOLDER) > 0
        before_retry = sent(name)
        assert push.wait(120) == 0
        retry = sent(name) - before_retry
    finally:
        subprocess.run(["tc", "qdisc", "del", "dev", name, "root"], check=True)
    assert retry <= 0.65 * size, f"the retry sent {retry / size:.0%}"


PUSH = """\
import sys
from pathlib import Path
from edgebench.devices import profiles
from edgebench.schema import Artifact
device = profiles.resolve("emulated")
path, sha256 = sys.argv[1:]
device.push(Artifact(format="onnx", path=path, sha256=sha256, size=Path(path).stat().st_size))
"""


def test_a_black_hole_is_noticed(tmp_path: Path, board: dict[str, str]) -> None:
    there = device()
    there.hello()
    request = {"do": "run", "job": "hole", "digest": "", "controller": "x", "who": "t", "seconds": 90, "lease": 20}
    request |= {"paths": [], "files": [], "argv": ["-c", "import time; print('{}', flush=True); time.sleep(80)"]}
    wire = there._wire(request)
    wire.send(b"\n")
    with wire.beating():
        answers = wire.answers()
        assert next(answers) == {}
        cuts.link(FOLDER, "down")
        begun = time.monotonic()
        try:
            assert list(answers) == []
            assert time.monotonic() - begun <= 20
            assert wait_until(lambda: not cuts.campaigns(FOLDER), 30), "the board ends it when its lease is over"
        finally:
            cuts.link(FOLDER, "up")
            wire.close()
    assert there.hello()["machine"] == "aarch64"


def test_an_environment_that_is_there_is_not_sent_again(tmp_path: Path, board: dict[str, str], cache: Path) -> None:
    there, name = device(), (FOLDER / "netns").read_text().strip()
    backends = {"onnxruntime": plugins.backend("onnxruntime")}
    there.furnish(backends, cache)
    begun = sent(name)
    there.furnish(backends, cache)
    assert sent(name) - begun < 200_000


def test_a_host_key_that_changed_is_refused(
    tmp_path: Path, board: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tempfile.TemporaryDirectory(prefix="eb")  # no connection that was made before
    monkeypatch.setenv("XDG_RUNTIME_DIR", own.name)
    known = FOLDER / "known_hosts"
    right = known.read_text()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    try:
        known.write_text("emulated " + " ".join((tmp_path / "other.pub").read_text().split()[:2]) + "\n")
        found = device().check()
        assert "The host key of emulated has changed" in found.reason
        known.write_text("")
        assert "is not known here" in device().check().reason
        with pytest.raises(EdgebenchError, match="is not known here"):
            device().furnish({}, tmp_path)
    finally:
        known.write_text(right)
        own.cleanup()


def test_our_presence_costs_next_to_nothing(tmp_path: Path, board: dict[str, str]) -> None:
    """The runner's share of a core and its wake-ups while a campaign measures, from the kernel's own counts."""
    there = device()
    seconds = 20.0
    request = {"do": "run", "job": "quiet", "digest": "", "controller": "x", "who": "t", "seconds": 90, "lease": 20}
    request |= {"paths": [], "files": [], "argv": ["-c", "import time; print('{}', flush=True); time.sleep(60)"]}
    wire = there._wire(request)
    wire.send(b"\n")
    with wire.beating():
        assert next(wire.answers()) == {}
        pids = [
            pid for pid, command in cuts.processes(FOLDER).items() if "-IS" in command or "sshd_config -R" in command
        ]
        before = [cost(pid) for pid in pids]
        time.sleep(seconds)
        after = [cost(pid) for pid in pids]
    wire.close()
    cpu = sum(b[0] - a[0] for a, b in zip(before, after, strict=True)) / os.sysconf("SC_CLK_TCK") / seconds
    wakes = sum(b[1] - a[1] for a, b in zip(before, after, strict=True)) / seconds
    assert pids
    assert cpu <= 0.005, f"{cpu:.2%} of a core"
    assert wakes <= 5, f"{wakes:.1f} wake-ups/s"


def cost(pid: int) -> tuple[int, int]:
    """(clock ticks on a CPU, voluntary context switches) of all threads of a process."""
    ticks, wakes = 0, 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
        wakes += int((task / "status").read_text().partition("voluntary_ctxt_switches:")[2].split()[0])
    return ticks, wakes
