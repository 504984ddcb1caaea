"""The helper process of the contract suite: forks one process for each check and writes down how it ended."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

from edgebench.testing.checks import CHECKS, RuntimeAbsentError
from edgebench.testing.contract import Case


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    sys.path[:] = job["path"]
    case = Case.read(folder)
    module, name = job["backend"]
    backend: Any = reduce(getattr, name.split("."), importlib.import_module(module))
    if backend.fork_safe and backend.module:
        importlib.import_module(backend.module)
    probed = _verdict("probe", backend, case)
    for check in job["checks"]:
        known = check == "probe" or probed["outcome"] == "skipped"
        verdict = probed if known else _verdict(check, backend, case)
        with (folder / "verdicts.jsonl").open("a") as out:
            out.write(json.dumps({**verdict, "check": check}) + "\n")


def _verdict(check: str, backend: type[Any], case: Case) -> dict[str, str]:
    """Run one check in a fork of this process, and read the message that it left or the way it died."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of the idle threads that numpy's BLAS has
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _be_the_check(CHECKS[check], backend, case, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        left = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    verdict = json.loads(left) if left else {"outcome": "failed", "message": ""}
    if code:
        verdict = {
            "outcome": "failed",
            "message": f"{verdict['message']} {_death(code, case.timeout)}".strip(),
        }
    return dict(verdict)


def _be_the_check(check: Callable[[Any, Case], None], backend: type[Any], case: Case, writing: int) -> None:
    """Never returns. The process ends as Python does, so that a crash in a runtime's clean-up shows."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(case.timeout)  # the default action ends the process even inside native code
    os.dup2(2, 1)
    verdict = {"outcome": "passed", "message": ""}
    try:
        check(backend(), case)
    except RuntimeAbsentError as reason:
        verdict = {"outcome": "skipped", "message": str(reason)}
    except AssertionError as error:
        verdict = {"outcome": "failed", "message": str(error)}
    except Exception as error:
        where = traceback.format_exc(limit=-3)
        verdict = {"outcome": "failed", "message": f"it raised {error!r}\n{where}"}
    os.write(writing, json.dumps(verdict).encode())
    os.close(writing)
    if check is CHECKS["close"]:
        sys.exit(0)
    os._exit(0)


def _death(code: int, timeout: int) -> str:
    if code == -signal.SIGALRM:
        return f"the process did not end within {timeout} s"
    return f"the process died of {signal.Signals(-code).name}" if code < 0 else f"the process exited with status {code}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
