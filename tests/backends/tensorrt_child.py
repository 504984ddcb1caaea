"""What the TensorRT tests do in a process of their own: python tensorrt_child.py MODULE FUNCTION ARGUMENTS, answers in JSON.

The real modules cannot be shared by processes of a test run: each version needs one to itself, and one may crash.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from edgebench_tensorrt import engine, loaded, plan_file
from edgebench_tensorrt.api import OPTIONAL, REQUIRED, TrtApi
from edgebench_tensorrt.asked import Asked

from edgebench.backend import EdgebenchError

API: TrtApi


def contract() -> dict[str, Any]:
    """Every name that the backend touches, with what this version has of it."""
    flags = API.trt.NetworkDefinitionCreationFlag
    return {
        "version": API.version,
        "product": API.product,
        "missing": [f"{k}.{n}" for k, names in REQUIRED.items() for n in names if not API.has(k, n)],
        "optional": {f"{k}.{n}": API.has(k, n) for k, names in OPTIONAL.items() for n in names},
        "typed": API.typed,
        "network_flags": API.network_flags(),
        "strongly_typed_bit": 1 << int(flags.STRONGLY_TYPED) if API.typed else 0,
        "dtypes": {n: API.dtype(getattr(API.trt.DataType, n)) for n in ("FLOAT", "HALF", "INT8", "INT32", "BOOL")},
    }


def classes() -> dict[str, list[str]]:
    """Every public attribute of every class of the module."""
    kinds = {n: getattr(API.trt, n) for n in dir(API.trt) if isinstance(getattr(API.trt, n), type)}
    return {name: [a for a in dir(kind) if not a.startswith("_")] for name, kind in kinds.items()}


def flags_set() -> dict[str, list[str]]:
    """What set_precision does to a builder configuration that only takes notes."""

    class Notes:
        def __init__(self) -> None:
            self.flags = {API.trt.BuilderFlag.TF32}

        def set_flag(self, flag: Any) -> None:
            self.flags.add(flag)

        def clear_flag(self, flag: Any) -> None:
            self.flags.discard(flag)

    found = {}
    for precision in ("fp32", "fp16", "int8"):
        notes = Notes()
        API.set_precision(notes, precision)
        found[precision] = sorted(str(flag).rpartition(".")[2] for flag in notes.flags)
    return found


def logged() -> list[list[str]]:
    with API.listening() as lines:
        for level in ("VERBOSE", "INFO", "WARNING", "ERROR"):
            API.logger.log(getattr(API.trt.ILogger, level), f"a line of {level}\nand its end")
        API.logger.log(API.trt.ILogger.VERBOSE, "Skipping tactic 0x1 for lack of memory")
    with API.listening() as others:
        pass
    assert not others
    return [list(line) for line in lines]


def build(path: str, precision: str, options: dict[str, Any]) -> dict[str, Any]:
    """Build through the cache; what the sidecar says, or how it was refused."""
    try:
        asked = Asked.of({"threads": 1, "batch": 1, "precision": precision, **options})
        here = {"product": API.product, "version": API.version, "sm": "", "l4t": ""}
        plan = engine.cached(API, Path(path), asked, here)
    except EdgebenchError as error:
        return {"problem": error.problem, "fix": error.fix, "kind": type(error).__name__}
    content, facts = plan_file.load(plan)
    return {**facts, "path": str(plan), "head": content[:4].hex(), "changed": plan.stat().st_mtime_ns}


def load(path: str) -> dict[str, str]:
    """Why a plan cannot be loaded here."""
    content, _ = plan_file.load(Path(path))
    try:
        loaded(API, content, Path(path))
    except EdgebenchError as error:
        return {"problem": error.problem, "fix": error.fix}
    return {"problem": "", "fix": ""}


if __name__ == "__main__":
    name, function, arguments = sys.argv[1:]
    if name:
        API = TrtApi(importlib.import_module(name))
    answer = globals()[function](*json.loads(arguments))
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
