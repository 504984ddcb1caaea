"""A process of its own in which a runtime opens a file: `python -m edgebench.opening BACKEND ARTIFACT OPTIONS ANSWER`.

ARTIFACT and OPTIONS are JSON; what the runtime refuses is written to the file ANSWER, as a problem and its fix.
A runtime may end the process that gives it a file it does not expect, and what it prints is no answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebench import plugins
from edgebench.codec import from_json, to_json
from edgebench.errors import EdgebenchError, ModelError
from edgebench.schema import Artifact

TIMEOUT = 600.0


def check_opens(artifact: Artifact, backend: str, options: Mapping[str, Any]) -> None:
    """Raise ModelError where the runtime, which must be here, does not open the file; what it says is kept."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        asked = [backend, json.dumps(to_json(artifact)), json.dumps(dict(options)), str(answer)]
        command = [sys.executable, "-m", "edgebench.opening", *asked]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL)
            died = "" if done.returncode in (0, 1) else f"it ended its process with {done.returncode}"
        except subprocess.TimeoutExpired:
            died = f"it took more than {TIMEOUT:.0f} s"
        said = json.loads(answer.read_text(encoding="utf-8")) if answer.is_file() else None
    if said:
        raise ModelError(said["problem"], said["fix"])
    if died:
        raise ModelError(
            f"{backend} does not open {Path(artifact.path).name}: {died}.", "Make the file for another runtime."
        )


def main(backend: str, artifact: str, options: str, answer: str) -> None:
    try:
        plugins.backend(backend).open(from_json(Artifact, json.loads(artifact)), json.loads(options)).close()
    except EdgebenchError as error:
        said = {"problem": error.problem, "fix": error.fix}
        Path(answer).write_text(json.dumps(said), encoding="utf-8")
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
