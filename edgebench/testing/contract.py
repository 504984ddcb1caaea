"""The contract suite from outside: what it is given, how it is started, and its pytest face.

Every check runs in a process of its own, so that a backend that crashes, hangs or exits costs one check. A
helper process (`edgebench.testing.child`) forks them, after it imported the runtime of a `fork_safe` backend.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from edgebench.backend import Backend
from edgebench.codec import from_json, to_json
from edgebench.schema import Artifact

TOLERANCE = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 2e-2, "bf16": 6e-2, "int8": 0.35}
"""Relative L2 error allowed against the fp32 network, by precision; a right int8 lowering stays far below."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One network that a backend is tried on. Make it small: the suite infers a few thousand times.

    `feeds` is one batch (input name -> array whose first axis is the batch), and `expected` the outputs that
    the *fp32* network gives for it, in their order: a lower precision must be near, and may not be equal.
    """

    artifact: Artifact
    feeds: Mapping[str, NDArray[Any]]
    expected: Sequence[NDArray[Any]]
    precision: str = "fp32"
    threads: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float | None = None
    """Relative L2 error allowed; by default that of the precision."""
    calls: int = 1000
    """How many inferences the leak check makes, once through `run` and once through `bind`."""
    timeout: int = 120
    """Seconds after which one check counts as hung."""

    @property
    def allowed(self) -> float:
        return TOLERANCE.get(self.precision, 0.35) if self.tolerance is None else self.tolerance

    def asked(self, **changed: Any) -> dict[str, Any]:
        """The options that a worker would open the network with."""
        batch = len(next(iter(self.feeds.values())))
        return {
            **self.options,
            "threads": self.threads,
            "batch": batch,
            "precision": self.precision,
            **changed,
        }

    def save(self, folder: Path) -> None:
        """Write the case for another process."""
        arrays: dict[str, Any] = {f"feed{i}": a for i, a in enumerate(self.feeds.values())}
        arrays |= {f"expected{i}": a for i, a in enumerate(self.expected)}
        np.savez(folder / "arrays.npz", **arrays)
        plain = {k: v for k, v in vars(self).items() if k not in ("artifact", "feeds", "expected")}
        text = {"plain": plain, "artifact": to_json(self.artifact), "feeds": list(self.feeds)}
        (folder / "case.json").write_text(json.dumps(text))

    @classmethod
    def read(cls, folder: Path) -> Case:
        """Read what `save` wrote."""
        text = json.loads((folder / "case.json").read_text())
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            feeds = {name: arrays[f"feed{i}"] for i, name in enumerate(text["feeds"])}
            expected = [arrays[f"expected{i}"] for i in range(len(arrays.files) - len(feeds))]
        return cls(artifact=from_json(Artifact, text["artifact"]), feeds=feeds, expected=expected, **text["plain"])


@dataclass(frozen=True)
class Verdict:
    """How one check ended; `message` says what is wrong, or why it was skipped."""

    outcome: Literal["passed", "failed", "skipped"]
    message: str = ""


def run_checks(backend: type[Backend], case: Case, checks: Sequence[str] | None = None) -> dict[str, Verdict]:
    """Judge `backend` on `case`: name of the check -> verdict; all of `edgebench.testing.checks` by default.

    `backend` must be importable by name from another process (not defined inside a function).
    """
    from edgebench.testing.checks import CHECKS

    names = list(CHECKS if checks is None else checks)
    with tempfile.TemporaryDirectory() as folder:
        case.save(Path(folder))
        job = {"backend": [backend.__module__, backend.__qualname__], "checks": names, "path": sys.path}
        (Path(folder) / "job.json").write_text(json.dumps(job))
        done = subprocess.run(
            [sys.executable, "-m", "edgebench.testing.child", folder],
            capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
            timeout=case.timeout * (len(names) + 1),
        )  # fmt: skip
        results = Path(folder) / "verdicts.jsonl"
        lines = results.read_text().splitlines() if results.exists() else []
    found = {line["check"]: Verdict(line["outcome"], line["message"]) for line in map(json.loads, lines)}
    tail = "\n".join(done.stderr.strip().splitlines()[-20:])
    lost = Verdict("failed", f"the backend's module cannot be imported (exit status {done.returncode}):\n{tail}")
    return {name: found.get(name, lost) for name in names}


_judged = lru_cache(maxsize=None)(run_checks)


class BackendContract:
    """Subclass it in a test file, name the `backend`, and have a fixture `case` that returns a Case.

    Its scope must be wider than a function ("module", say): all checks of a case are made at once.
    """

    backend: ClassVar[type[Backend]]

    def pytest_generate_tests(self, metafunc: Any) -> None:
        from edgebench.testing.checks import CHECKS

        if "check" in metafunc.fixturenames:
            metafunc.parametrize("check", list(CHECKS))

    def test_contract(self, check: str, case: Case) -> None:
        import pytest

        verdict = _judged(self.backend, case)[check]
        if verdict.outcome == "skipped":
            pytest.skip(verdict.message)
        assert verdict.outcome == "passed", f"{check}: {verdict.message}"
