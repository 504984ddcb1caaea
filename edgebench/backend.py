"""The plug-in surface: all that the author of a backend imports.

A backend names itself, says what files it accepts, and opens sessions on them. It never times, prints, or picks
a hidden default: the options it is given are data, they are recorded, and `Session.effective` says what the
runtime made of them. See backends/README.md for a complete backend in 40 lines.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgebench.codec import Options, digest
from edgebench.errors import EdgebenchError, MissingRuntime, ModelError
from edgebench.scaled import Scaled
from edgebench.schema import Artifact, Availability, TensorSpec

Tensor = NDArray[Any]
Feeds = Mapping[str, Tensor]
Outputs = list[Tensor]

MOST_FALLBACK = 0.5
FALLBACK = {"max_fallback": "the largest share of operators that may fall back (default 0.5): with more, the row fails"}
"""An option of backends that have somewhere to fall back to."""

__all__ = [
    "FALLBACK",
    "Artifact",
    "Availability",
    "Backend",
    "EdgebenchError",
    "Feeds",
    "MissingRuntime",
    "ModelError",
    "OpProfile",
    "Options",
    "Outputs",
    "Scaled",
    "Session",
    "Tensor",
    "TensorSpec",
    "check_fallback",
    "cpu_key",
    "digest",
    "kept",
    "named_nodes",
    "np",
    "probe_import",
]

OpProfile = Mapping[str, Any]
"""One operator of a per-layer profile: name, op, seconds (float), device, precision."""


class Session(ABC):
    """One network, loaded and ready. Used as a context manager; one thread at a time."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @abstractmethod
    def run(self, feeds: Feeds) -> Outputs:
        """Infer once. `feeds` maps input name to array; blocks until the outputs are on the host.

        The outputs come in the order of `self.outputs` and stay valid after the next call.
        """

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        """Return a call without arguments that infers on these feeds. Override to keep buffers in place.

        The outputs may be overwritten by the next call of the same or another thunk of this session.
        """
        return lambda: self.run(feeds)

    def effective(self) -> Mapping[str, Any]:
        """What is in force: at least `precision` and `threads` where the runtime tells; never what was asked."""
        return {}

    def profile(self, feeds: Feeds) -> Sequence[OpProfile]:
        """Per-operator time and place of one inference; empty when the runtime offers none."""
        return ()

    def close(self) -> None:  # noqa: B027  (optional)
        """Free what the runtime holds. Called once."""

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Backend(ABC):
    """One runtime. Constructing it does nothing: no import, no look at the machine."""

    name: ClassVar[str]
    accepts: ClassVar[frozenset[str]]
    """File formats it opens: "onnx", "pt2", "openvino-ir", ..."""

    endings: ClassVar[Mapping[str, str]] = {}
    """The ending of a file -> its format, for those that `bench` and `inspect` are to know by it: {".rknn": "rknn"}."""

    precisions: ClassVar[Mapping[str, str]] = {"fp32": "onnx", "int8": "onnx-u8s8"}
    """Each precision it can be asked for -> the lowering that the artifact must come from (edgebench.compress)."""

    refused: ClassVar[Mapping[str, str]] = {}
    """A precision that users look for and it cannot have -> the reason, said where a plan asks for it."""

    options: ClassVar[Mapping[str, str]] = {}
    """Options beyond threads, batch and precision: name -> one line of help. An unknown option is a plan error."""

    module: ClassVar[str] = ""
    """The runtime's import name. The worker imports it apart, so that load time is not import time."""

    fork_safe: ClassVar[bool] = False
    """True if a process may import `module`, then fork, and the children open sessions: no threads, no device touched.

    It saves the import of a heavy runtime in every worker but the first of a generation.
    """

    extra: ClassVar[str] = ""
    """What to install for it: the extra of edgebench, or the vendor's own package."""

    distributions: ClassVar[tuple[str, ...]] = ()
    """The packages whose versions shape its files and its figures, as pip calls them: recorded with every run."""

    def lowering(self, precision: str, options: Mapping[str, Any]) -> str | None:
        """The lowering that a file for this precision comes from; None where the runtime does not have it.

        `options` are those of the cell, with batch and threads, and as `cpu` the processor that it will run on (`processor`).
        Override it where one of them asks for another file. Raises EdgebenchError for a value that means nothing.
        """
        return self.precisions.get(precision)

    def check(self, options: Mapping[str, Any]) -> None:  # noqa: B027  (most need none)
        """Raise EdgebenchError for a value that means nothing, of the options that a user set, before anything is measured.

        It is asked where the runtime need not be installed: what takes the runtime to know, `open` says.
        """

    @abstractmethod
    def probe(self) -> Availability:
        """Say whether it can run here. Never raises; risky imports happen in a child process."""

    @abstractmethod
    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        """Load a model. `options` always has threads (int), batch (int) and precision (str).

        Raises ModelError when the runtime refuses the file: problem in its own words, and the fix.
        """

    def build(self, artifact: Artifact, options: Mapping[str, Any], out: Path) -> Artifact:
        """Compile `artifact` into the folder `out` on this device (engines). Default: nothing to build."""
        return artifact

    def builds(self, options: Mapping[str, Any]) -> bool:
        """Whether `build` has something to do for these options. It gets a process of its own, which costs a second."""
        return type(self).build is not Backend.build


def kept(name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """The file `name` that is made from what `key` says: from the cache of this machine, else made now by `make(path)`.

    It appears whole or not at all. The cache is $EDGEBENCH_CACHE, else the user's cache folder.
    """
    given = os.environ.get("EDGEBENCH_CACHE")
    cache = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgebench"
    folder = cache / "built" / digest(key)
    if not (folder / name).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as part:
            made = Path(part, "made")
            made.mkdir()
            make(made / name)
            with contextlib.suppress(OSError):  # another process was faster
                os.replace(made, folder)
    return folder / name


def check_fallback(runtime: str, share: float, options: Mapping[str, Any]) -> float:
    """The share of operators that may fall back: the option `max_fallback`, one half by default.

    Raises ModelError when more of them ran elsewhere than was asked for.

    A backend with places to fall back to calls it with what it found, and declares the option with `FALLBACK`.
    """
    most = options.get("max_fallback", MOST_FALLBACK)
    if isinstance(most, bool) or not isinstance(most, (int, float)) or not 0 <= most <= 1:
        raise EdgebenchError(f"max_fallback cannot be {most!r}.", "Give a share from 0 to 1.")
    if share > most:
        raise ModelError(
            f"{runtime} left {share:.0%} of the operators to its fallback, more than {most:.0%}.",
            "Use a network whose operators it takes, or allow more with max_fallback.",
        )
    return float(most)


def named_nodes(path: str, operators: Collection[str], most: int = 3) -> str:
    """Where an ONNX file has these operators, `Det "determinant", ... and 2 more`, for an error to name.

    "" where there are none, or the onnx package is not here. An operator is named by its type, without its domain.
    """
    try:
        import onnx
    except ImportError:
        return ""
    nodes = onnx.load(path, load_external_data=False).graph.node
    said = {n.output[0]: f'"{n.name}"' if n.name else f'that makes "{n.output[0]}"' for n in nodes}
    found = [f"{n.op_type} {said[n.output[0]]}" for n in nodes if n.op_type in operators]
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def processor(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a file is lowered for: `machine` ("x86_64") and `flags` (["avx2", ...]; none where they are not known).

    The device's, where the options of `lowering` say them as `cpu`; else those of this machine.
    """
    told: Mapping[str, Any] = options.get("cpu") or {}
    if told:
        return told
    flags = next((line.split()[2:] for line in _cpuinfo() if line.startswith(("flags", "Features"))), [])
    return {"machine": platform.machine(), "flags": flags}


def saturates(options: Mapping[str, Any]) -> bool:
    """Whether int8 weights want 7 bits there: an x86 without VNNI, whose kernels add two products of u8 and s8 in 16 bits.

    Weights of 8 bits overflow those silently (vpmaddubsw), in ONNX Runtime's kernels, in OpenVINO's, and in oneDNN's as torch
    calls them.
    `options` are those of `lowering`. An x86 of unknown flags is taken for one.
    """
    cpu = processor(options)
    on_x86 = str(cpu["machine"]).lower() in ("x86_64", "amd64", "i686", "x86")
    return on_x86 and not {"avx_vnni", "avx512_vnni"} & set(cpu["flags"])


def cpu_key() -> str:
    """What a file that was optimized for this CPU depends on: its architecture, name and instructions."""
    lines = _cpuinfo() or [platform.processor()]
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return digest([platform.machine(), *told])


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def probe_import(module: str, extra: str, timeout: float = 60.0, before: str = "") -> Availability:
    """Import `module` in a child process and report its `__version__`: a crash there is an answer, not our crash.

    `before` is Python to run first.
    """
    code = f"{before}\nimport {module} as m; print('\\n' + str(getattr(m, '__version__', 'unknown')))"
    fix = f'Install it with: pip install "{extra}".'
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Availability(ok=False, reason=f"importing {module} did not end: {error}", fix=fix)
    if done.returncode == 0:
        return Availability(ok=True, version=done.stdout.strip().splitlines()[-1])
    last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    missing = f"No module named {module.split('.')[0]!r}" in last
    return Availability(
        ok=False, reason=f"{module} is not installed" if missing else f"importing {module} failed: {last}", fix=fix
    )
