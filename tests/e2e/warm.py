"""A process that has torch in it already, and forks for each command: `python warm.py`, asked by JSON lines.

What a command says about a mistake, or about a file, does not depend on who imported torch for it; starting a fresh python with
torch for each of a few hundred commands took minutes. Whatever is measured still runs in fresh processes of its own.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn


class Warm:
    """The other end: `warm(arguments, cwd, env, folder)` is the finished process, with stdout and stderr as text."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(
        self, arguments: list[str], cwd: Path, env: dict[str, str], folder: Path
    ) -> subprocess.CompletedProcess[str]:
        said = [folder / "stdout", folder / "stderr"]
        asked = {"arguments": arguments, "cwd": str(cwd), "env": env, "said": [str(path) for path in said]}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, *(path.read_text() for path in said))

    def close(self) -> None:
        self.process.communicate()


def run(asked: dict[str, Any]) -> NoReturn:
    """In the child: what `python -m edgebench ...` would be, and its end."""
    signal.alarm(300)  # a command that hangs fails its test
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for descriptor, path in enumerate(asked["said"], 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = ["edgebench", *asked["arguments"]]
    sys.path[0] = asked["cwd"]  # as `-m` has it
    code: Any = 0
    try:
        runpy.run_module("edgebench", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def main() -> None:
    import onnx
    import sklearn.datasets
    import torch

    import edgebench.cli

    assert all((onnx, sklearn.datasets, torch, edgebench.cli))
    answers = os.fdopen(os.dup(1), "w")
    os.set_inheritable(answers.fileno(), False)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(line))
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        answers.flush()


if __name__ == "__main__":
    main()
