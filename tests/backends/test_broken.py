"""The contract suite catches each kind of broken backend: by the right check, in words, and by no other check."""

from __future__ import annotations

from pathlib import Path

import broken
import numpy as np
import pytest

from edgebench.schema import TensorSpec
from edgebench.testing import Case, fake_artifact, fake_outputs, run_checks
from edgebench.testing.checks import CHECKS


@pytest.fixture(scope="module")
def arguments(nets: Path) -> dict[str, object]:
    specs = [TensorSpec(name=name, dtype="float32", shape=(None, 4)) for name in ("first", "second")]
    artifact = fake_artifact(nets, outputs=specs, name="broken")
    feeds = {"input": np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)}
    return {"artifact": artifact, "feeds": feeds, "expected": fake_outputs(artifact, feeds), "timeout": 20}


SLOW = {"leak", "threads"}

CAUGHT = [
    (broken.WrongOutputs, "outputs", "wrong outputs: output 0 is off by 0.5"),
    (broken.SwappedOutputs, "order", "swapped outputs: what came as output 0 is output 1"),
    (broken.StaleBuffers, "stale", "stale buffers"),
    (broken.ReadOnlyRefused, "inputs", "array is not writeable"),
    (broken.ClockRead, "clock", "perf_counter() in run() of broken"),
    (broken.Prints, "silent", "prints to standard output: b'inferring"),
    (broken.PrintsNatively, "silent", "prints to standard output: b'inferring"),
    (broken.ThreadsIgnored, "threads", "asked for 1, effective() says 4"),
    (broken.ThreadsLied, "threads", "threads ignored: 1 was asked for, and"),
    (broken.PrecisionOther, "precision", "fp32 was asked for, effective() says bf16"),
    (broken.PrecisionUntold, "told", "does not say the precision"),
    (broken.Leak, "leak", "memory leak: 1000 inferences by run()"),
    (broken.LeakWhenBound, "leak", "memory leak: 1000 inferences by a bound call"),
    (broken.CrashAtClose, "close", "died of SIGSEGV"),
    (broken.CrashAtExit, "close", "died of SIGABRT"),
    (broken.Cached, "fresh", "cached outputs"),
    (broken.BoundToOthers, "bind", "answers differently from run()"),
    (broken.WrongSpecs, "specs", "declared as float32[None, 4] and is float64[3, 4]"),
    (broken.TakesAnyInput, "misfits", "dtype float64 for input 'input' was answered without complaint"),
    (broken.ProfileWithoutTime, "profile", "needs name, op and seconds"),
    (broken.OptionUntold, "told", "['mode']"),
    (broken.StrangeEnding, "declared", "endings {'.acme': 'acme'} must be like"),
    (broken.NoHelp, "declared", "must not declare ['threads']"),
    (broken.CrashOnGarbage, "corrupt", "died of SIGABRT"),
    (broken.TracebackOnGarbage, "corrupt", "must be a ModelError, not RuntimeError('bad magic')"),
]


@pytest.mark.parametrize(("backend", "check", "words"), CAUGHT, ids=[b.__name__ for b, _, _ in CAUGHT])
def test_a_broken_backend_fails_its_check_and_no_other(
    backend: type[broken.Broken], check: str, words: str, arguments: dict[str, object]
) -> None:
    checks = [name for name in CHECKS if name == check or name not in SLOW]
    found = run_checks(backend, Case(**arguments), checks)  # type: ignore[arg-type]
    assert list(found) == checks
    failed = {name: verdict.message for name, verdict in found.items() if verdict.outcome != "passed"}
    assert list(failed) == [check], failed
    assert words in failed[check]


def test_mutated_inputs_are_named(arguments: dict[str, object]) -> None:
    found = run_checks(broken.MutatedInputs, Case(**arguments), ["inputs"])  # type: ignore[arg-type]
    assert "mutated inputs: ['input']" in found["inputs"].message


def test_int8_that_rounds_nothing_is_a_lie(arguments: dict[str, object]) -> None:
    case = Case(**{**arguments, "precision": "int8"})  # type: ignore[arg-type]
    found = run_checks(broken.PrecisionLied, case)
    assert [name for name, verdict in found.items() if verdict.outcome != "passed"] == ["precision"]
    assert "nothing was rounded" in found["precision"].message


def test_fp32_that_rounds_is_a_lie(arguments: dict[str, object]) -> None:
    found = run_checks(broken.PrecisionLowered, Case(**arguments), ["precision"])  # type: ignore[arg-type]
    assert "a lower precision ran" in found["precision"].message


def test_a_hang_costs_one_check(arguments: dict[str, object]) -> None:
    case = Case(**{**arguments, "timeout": 2})  # type: ignore[arg-type]
    found = run_checks(broken.HangAtClose, case, ["close", "outputs"])
    assert found["close"].message == "the process did not end within 2 s"
    assert found["outputs"].outcome == "passed"


def test_an_exit_costs_one_check(arguments: dict[str, object]) -> None:
    found = run_checks(broken.ExitsAtOpen, Case(**arguments), ["outputs", "declared"])  # type: ignore[arg-type]
    assert found["outputs"].message == "the process exited with status 7"
    assert found["declared"].outcome == "passed"


def test_a_probe_may_not_raise(arguments: dict[str, object]) -> None:
    found = run_checks(broken.ProbeRaises, Case(**arguments), ["probe"])  # type: ignore[arg-type]
    assert "it raised ImportError" in found["probe"].message


def test_without_its_runtime_everything_is_skipped_with_the_reason(arguments: dict[str, object]) -> None:
    found = run_checks(broken.NotHere, Case(**arguments))  # type: ignore[arg-type]
    assert {verdict.outcome for verdict in found.values()} == {"skipped"}
    assert found["outputs"].message == "the acme chip is not in this machine. Plug it in."
