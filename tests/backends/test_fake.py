"""The fake runtime misbehaves exactly as its file says, and its helpers know the right answers."""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgebench_fake import FakeBackend

from edgebench.backend import ModelError, Session
from edgebench.schema import TensorSpec
from edgebench.testing import Case, FakeClock, fake_artifact, fake_outputs, run_checks

FEEDS = {"input": np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)}


def opened(folder: Path, **behave: Any) -> Session:
    return FakeBackend().open(fake_artifact(folder, behave), {"threads": 2, "batch": 3, "precision": "fp32"})


def test_answers_are_the_linear_map_that_the_file_names(tmp_path: Path) -> None:
    weights = np.random.default_rng((0, 0)).standard_normal((8, 4))
    (answer,) = opened(tmp_path).run(FEEDS)
    np.testing.assert_allclose(answer, FEEDS["input"] @ weights, rtol=1e-5)
    assert answer.dtype == np.float32


def test_several_inputs_and_outputs_of_any_shape(tmp_path: Path) -> None:
    specs = (
        TensorSpec(name="image", dtype="float32", shape=(None, 2, 3)),
        TensorSpec(name="age", dtype="int64", shape=(None,)),
    )
    outputs = (TensorSpec(name="a", dtype="float64", shape=(None, 2, 2)), specs[1])
    artifact = fake_artifact(tmp_path, inputs=specs, outputs=outputs, seed=5)
    feeds = {"image": np.ones((2, 2, 3), np.float32), "age": np.array([3, 40])}
    found = FakeBackend().open(artifact, {"threads": 1, "batch": 2, "precision": "fp32"}).run(feeds)
    for answer, wanted in zip(found, fake_outputs(artifact, feeds), strict=True):
        np.testing.assert_allclose(answer, wanted)
    assert [(a.dtype.name, a.shape) for a in found] == [("float64", (2, 2, 2)), ("int64", (2,))]


def test_wrong_and_cached_answers(tmp_path: Path) -> None:
    (right,) = opened(tmp_path).run(FEEDS)
    (wrong,) = opened(tmp_path, wrong=0.1).run(FEEDS)
    np.testing.assert_allclose(wrong, 1.1 * right, rtol=1e-5)
    session = opened(tmp_path, cached=True)
    session.run(FEEDS)
    np.testing.assert_array_equal(session.run({"input": -FEEDS["input"]})[0], right)


@pytest.mark.parametrize("behave", [{"sleep": 0.02}, {"sleep": 0.01, "slow": 2.0}])
def test_sleep_is_the_least_latency(tmp_path: Path, behave: dict[str, float]) -> None:
    session = opened(tmp_path, **behave)
    start = time.perf_counter()
    session.run(FEEDS)
    assert time.perf_counter() - start >= 0.02


def test_spin_takes_cpu_time_in_proportion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = []
    plain = hashlib.pbkdf2_hmac

    def counted(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        rounds.append(iterations)
        return plain(name, password, salt, iterations)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted)
    start = time.thread_time()
    opened(tmp_path, spin=200_000).run(FEEDS)
    assert time.thread_time() - start > 0.005
    opened(tmp_path, spin=200_000, slow=2.0).run(FEEDS)
    assert rounds == [200_000, 400_000]


def test_what_it_says_was_in_force(tmp_path: Path) -> None:
    assert opened(tmp_path).effective() == {"precision": "fp32", "threads": 2}
    assert opened(tmp_path, precision="bf16", threads=7).effective() == {"precision": "bf16", "threads": 7}


def test_it_strikes_after_so_many_inferences(tmp_path: Path) -> None:
    session = opened(tmp_path, raise_at="run", after=2)
    session.run(FEEDS)
    session.run(FEEDS)
    with pytest.raises(RuntimeError, match="told to fail"):
        session.run(FEEDS)


@pytest.mark.parametrize(
    ("behave", "check", "words"),
    [
        ({"print_at": "run"}, "silent", "garbage from the fake runtime"),
        ({"raise_at": "open"}, "outputs", "told to fail"),
        ({"exit_at": "run"}, "outputs", "exited with status 3"),
        ({"segfault_at": "open"}, "outputs", "died of SIGSEGV"),
        ({"abort_at": "close"}, "close", "died of SIGABRT"),
        ({"hang_at": "run"}, "outputs", "did not end within 1 s"),
    ],
    ids=str,
)
def test_mischief(tmp_path: Path, behave: dict[str, str], check: str, words: str) -> None:
    artifact = fake_artifact(tmp_path, behave)
    case = Case(artifact=artifact, feeds=FEEDS, expected=fake_outputs(artifact, FEEDS), timeout=1)
    found = run_checks(FakeBackend, case, [check, "declared"])
    assert words in found[check].message
    assert found["declared"].outcome == "passed"


def test_eating_memory_ends_at_the_limit(tmp_path: Path) -> None:
    path = fake_artifact(tmp_path, {"eat_at": "open"}).path
    code = (
        "import resource, sys; from edgebench_fake import FakeBackend; from edgebench.backend import Artifact\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (2**30, {resource.RLIM_INFINITY}))\n"
        "file = Artifact(format='fake', path=sys.argv[1], sha256='', size=0)\n"
        "FakeBackend().open(file, {'threads': 1, 'batch': 1, 'precision': 'fp32'})"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"inputs": [], "outputs": [], "behave": {"sleeep": 1}}'])
def test_a_bad_file_is_a_model_error(tmp_path: Path, text: str) -> None:
    artifact = fake_artifact(tmp_path)
    Path(artifact.path).write_text(text)
    with pytest.raises(ModelError, match=r"no model of the fake runtime.* Write it again"):
        FakeBackend().open(artifact, {"threads": 1, "batch": 1, "precision": "fp32"})


def test_the_artifact_is_named_by_its_content(tmp_path: Path) -> None:
    first, again = fake_artifact(tmp_path, {"spin": 1}), fake_artifact(tmp_path / "b", {"spin": 1})
    assert first.sha256 == again.sha256 != fake_artifact(tmp_path, {"spin": 2}, name="c").sha256
    assert first.size == Path(first.path).stat().st_size


def test_the_clock_goes_only_when_told() -> None:
    clock = FakeClock(start=1.0)
    assert clock() == clock() == 1_000_000_000
    clock.advance(0.25)
    assert clock() == 1_250_000_000
    assert clock.readings == 3
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)


def test_the_clock_ticks_at_each_reading() -> None:
    clock = FakeClock(tick=0.001)
    assert [clock() for _ in range(3)] == [0, 1_000_000, 2_000_000]


def test_importing_the_testing_package_needs_no_pytest() -> None:
    code = "import sys, edgebench.testing; print({'pytest', 'torch', 'onnx', 'edgebench_fake'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
