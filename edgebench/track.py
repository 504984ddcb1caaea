"""One cell on its way through a campaign: its work, the worker that runs for it now, and what its workers wrote down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgebench import lines
from edgebench.codec import to_json
from edgebench.lines import Child, ChildDied
from edgebench.metrics.accuracy import gate
from edgebench.schema import Protocol, Work


class CellFailed(Exception):
    """One cell is out: the reason for its row. The campaign goes on."""

    def __init__(self, reason: str, fix: str = "", stderr: str = "", *, missing: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.fix, self.stderr = reason, fix, stderr
        self.missing = missing
        """Whether something is not installed here, rather than wrong: the row is skipped."""


@dataclass
class Track:
    """Every method that talks to the worker raises CellFailed when that says no, dies, or does not answer in time."""

    work: Work
    protocol: Protocol
    child: Child | None = None
    current: dict[str, Any] = field(default_factory=dict)
    """What the worker of now has told: see results/README.md for the keys."""
    expected: str = ""
    """The file with the outputs of the accuracy run, which timed inferences must repeat."""

    @property
    def id(self) -> str:
        return self.work.cell.id

    @property
    def label(self) -> str:
        """What a person calls it."""
        cell = self.work.cell
        return f"{cell.recipe} on {cell.backend}"

    def begin(self, child: Child) -> None:
        """Take a fresh worker and set it to importing; `prepared` waits for it, so that several can import at once."""
        self.child = child
        child.send({"do": "prepare", "work": to_json(self.work), "protocol": to_json(self.protocol)})

    def prepared(self, generation: int, attempt: int = 0) -> None:
        answer = self.answered()
        self.current = {"cell": self.id, "generation": generation, "slices": [], **answer}
        if attempt:
            self.current["attempt"] = attempt

    def open(self) -> None:
        check = self.current["generation"] == 0
        self.current.update(self.ask({"do": "open", "expected": self.expected, "check": check}))

    def ask(self, message: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        self.send(message)
        return self.answered(timeout)

    def send(self, message: Mapping[str, Any]) -> None:
        """The first half of `ask`: several workers may be at it at once."""
        assert self.child is not None
        self.child.send(message)

    def answered(self, timeout: float | None = None) -> dict[str, Any]:
        """The worker's next answer without its event name."""
        assert self.child is not None
        try:
            answer = self.child.receive(timeout or self.protocol.command_timeout)
        except ChildDied as death:
            raise CellFailed(f"The worker {death.reason}.", death.fix, death.stderr) from death
        if answer.pop("event") == "failed":
            missing = bool(answer.get("missing"))
            raise CellFailed(answer["reason"], answer["fix"], self.child.stderr_tail(), missing=missing)
        return answer

    def close(self) -> None:
        """End the worker. A crash at the end is a failure too: it would be one in the field."""
        self.ask_to_close()
        self.closed()

    def ask_to_close(self) -> None:
        """The first half of `close`."""
        self.send({"do": "close"})

    def closed(self) -> None:
        assert self.child is not None
        self.answered()
        child, self.child = self.child, None
        stderr = child.stderr_tail()
        code = child.close()
        if code != 0:
            raise CellFailed(f"The worker {lines.exit_reason(code)} while it closed the model.", stderr=stderr)

    def stop(self) -> None:
        """End the worker at once, if there is one."""
        if self.child is not None:
            self.child.kill()
            self.child.close()
            self.child = None

    def pass_gate(self) -> None:
        """Refuse a cell whose outputs do not match its reference (protocol, item 3)."""
        verdict = self.current.get("accuracy", {}).get("gate", {})
        if not verdict.get("ok", True):
            raise CellFailed(
                f"The correctness gate refused it: {verdict['why']}.",
                "Check the export and the precision, or use another runtime for this variant.",
            )

    def pass_gate_against(self, first: Track) -> None:
        """The same with the outputs of another runtime on the same file as the reference."""
        precision = str(self.current["effective"].get("precision", self.work.cell.precision))
        verdict = gate(_outputs(self.expected), _outputs(first.expected), precision)
        if not verdict["ok"]:
            raise CellFailed(
                f"The correctness gate refused it, with {first.work.cell.backend} as the reference: {verdict['why']}.",
                "Check which of the two is right before using either.",
            )


def _outputs(path: str) -> Sequence[Any]:
    import numpy as np

    with np.load(Path(path), allow_pickle=False) as archive:
        return [archive[f"out{i}"] for i in range(len(archive.files))]
