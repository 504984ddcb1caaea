"""ExecuTorch on the CPU: programs (.pte) whose operators XNNPACK takes, with portable kernels for the rest."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench.backend import (
    FALLBACK,
    Artifact,
    Availability,
    Backend,
    EdgebenchError,
    Feeds,
    ModelError,
    OpProfile,
    Outputs,
    Session,
    TensorSpec,
    check_fallback,
    np,
    probe_import,
)

IDENTIFIER = slice(4, 8)
"""Where a flatbuffer says what it is. A foreign file is refused here: the runtime prints those bytes as text, and aborts."""

DTYPES = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64"}
DTYPES |= {11: "bool"}
"""numpy's name of each ScalarType (executorch/exir/scalar_type.fbs) that numpy has."""

HEAVY_OPS = ("convolution", "fully connected", "linear", "addmm", "mm.out", "matmul", "matrix multiply")
"""What the precision of a network is judged by: the operators whose name contains one of these."""

COMPLAINT = r"\[(?!cpuinfo|threadpool)\w+\.cpp:\d+\] (.*)"
PORTABLE = "native_call_"
PROFILED_RUNS = 3
FIX = "Export it again for this version of ExecuTorch, or take the whole file."


class ExecuTorchBackend(Backend):
    name = "executorch"
    accepts = frozenset({"pte"})
    endings = {".pte": "pte"}
    precisions = {"fp32": "pte", "int8": "pte-int8"}
    refused = {"fp16": "on x86 its fp16 took twice the time of fp32, so edgebench makes no such programs"}
    options = {**FALLBACK}
    module = "torch"  # nearly all of the import: the runtime itself is one small library that needs it
    fork_safe = True
    extra = "edgebench[executorch]"
    distributions = ("executorch", "torch", "torchao")

    def lowering(self, precision: str, options: Mapping[str, Any]) -> str | None:
        """A program has one size of batch."""
        found = self.precisions.get(precision)
        return f"{found}@{options['batch']}" if found and options["batch"] != 1 else found

    def probe(self) -> Availability:
        runtime = "import torch; from executorch.extension.pybindings import _C"
        return probe_import("executorch.version", self.extra, before=runtime)

    def check(self, options: Mapping[str, Any]) -> None:
        check_fallback("XNNPACK", 0.0, options)

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        self.check(options)
        return ExecuTorchSession(artifact.path, options)


class ExecuTorchSession(Session):
    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        import torch

        self._torch, self._path, self._options = torch, path, dict(options)
        self._method, self._program = _load(path, options["threads"])
        about = self._method.method_meta()
        told = [about.input_tensor_meta(i) for i in range(about.num_inputs())]
        self.inputs = tuple(_spec(path, f"input{i}" if i else "input", t) for i, t in enumerate(told))
        if len(self.inputs) == 1 and self.inputs[0].shape[:1] not in ((), (1,), (options["batch"],)):
            self.inputs = (self._freed(self.inputs[0]),)
        self._refuse_batch(options["batch"])
        made = [about.output_tensor_meta(i) for i in range(about.num_outputs())]
        outputs = [_spec(path, f"output{i}" if i else "output", t) for i, t in enumerate(made)]
        free = any(spec.shape and spec.shape[0] is None for spec in self.inputs)
        self.outputs = tuple(_of_batch(spec, None) if free else spec for spec in outputs)

    def run(self, feeds: Feeds) -> Outputs:
        tensors = self._tensors(feeds)
        try:
            return [answer.numpy() for answer in self._method(tensors)]
        except RuntimeError as error:
            with _heard() as words, contextlib.suppress(RuntimeError):  # again, to hear why
                self._method(tensors)
            raise ModelError(f"ExecuTorch cannot run {self._path}: {_reason(words, error)}.", FIX) from error

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        tensors, method = self._tensors(feeds), self._method
        # False: the outputs are not copied, and the next call overwrites them.
        return lambda: [answer.numpy() for answer in method(tensors, False)]

    def effective(self) -> Mapping[str, Any]:
        """What a profiled inference on zeros ran, in a program loaded for this: its place and precision by its kernels."""
        from executorch.extension.pybindings import _C
        from executorch.version import __version__

        batch = self._options["batch"]
        ops = self.profile({s.name: np.zeros([d or batch for d in s.shape], s.dtype) for s in self.inputs})
        heavy = [op["precision"] for op in ops if any(word in op["name"].lower() for word in HEAVY_OPS)]
        taken = sum(op["device"] != "portable" for op in ops)
        share = 1 - taken / len(ops) if ops else 0.0
        return {
            # What most of the heavy operators ran in: an int8 file that runs mostly in float is not int8.
            "precision": max(sorted(set(heavy)), key=heavy.count) if heavy else "fp32",
            "threads": _C._threadpool_get_thread_count(),
            "version": __version__,  # the module that is imported is torch
            "int8_ops": heavy.count("int8"),
            "float_ops": len(heavy) - heavy.count("int8"),
            "delegated_ops": taken,
            "portable_ops": len(ops) - taken,
            "delegated_share": 1 - share,
            "fallback_share": share,
            "max_fallback": check_fallback("XNNPACK", share, self._options),
        }

    def profile(self, feeds: Feeds) -> Sequence[OpProfile]:
        """By ExecuTorch's own events, in a program loaded for this."""
        return _profiled(self._path, self._options["threads"], self._tensors(feeds))

    def close(self) -> None:
        del self._method, self._program

    def _freed(self, spec: TensorSpec) -> TensorSpec:
        """With a free first axis if the runtime takes a batch of one there: a program does not say so, and tells the largest."""
        one = self._torch.zeros([1, *(d or 1 for d in spec.shape[1:])], dtype=getattr(self._torch, spec.dtype))
        with contextlib.suppress(RuntimeError), _heard():
            self._method.set_inputs([one])
            return _of_batch(spec, None)
        return spec

    def _refuse_batch(self, batch: int) -> None:
        fixed = [spec for spec in self.inputs if spec.shape and spec.shape[0] not in (None, batch)]
        if fixed:
            raise EdgebenchError(
                f"This ExecuTorch program takes a batch of {fixed[0].shape[0]}, not {batch}.",
                f"Ask for batch = {fixed[0].shape[0]}, or export a program for {batch}.",
            )

    def _tensors(self, feeds: Feeds) -> list[Any]:
        for spec in self.inputs:
            array = feeds.get(spec.name)
            given = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
            if array is None or not spec.takes(array):
                raise ModelError(
                    f"Input {spec.name!r} must be {spec.dtype}{list(spec.shape)} and is {given}.",
                    "Give inputs of the program's types and shapes, or export it for these.",
                )
        # Shared with numpy; torch asks that it could write there, although no inference does.
        return [self._torch.from_numpy(np.require(feeds[s.name], requirements=["C", "W"])) for s in self.inputs]


def _load(path: str, threads: int, *, events: bool = False) -> tuple[Any, Any]:
    """The program's method, and the program. The pool of threads is the process's own: there is one."""
    import torch  # noqa: F401  (the library needs it loaded)
    from executorch.extension.pybindings import _C

    words = io.StringIO()
    try:
        with Path(path).open("rb") as file:
            kind = file.read(IDENTIFIER.stop)[IDENTIFIER]
        if not kind.startswith(b"ET"):
            raise RuntimeError("it does not say that it is an ExecuTorch program")
        with _heard() as words:
            _C._unsafe_reset_threadpool(threads)
            checked = _C.Verification.InternalConsistency
            # 0: no room for values in between, which would be kept beside the events and end the process when it is full.
            program = _C._load_program(path, events, 0, checked)
            return program.load_method("forward"), program
    except (OSError, RuntimeError) as error:
        raise ModelError(f"ExecuTorch cannot load {path}: {_reason(words, error)}.", FIX) from error


@contextlib.contextmanager
def _heard() -> Iterator[io.StringIO]:
    """Collect what the runtime logs: the reasons are there, its exceptions have numbers."""
    words = io.StringIO()
    with contextlib.redirect_stderr(words):
        yield words


def _reason(words: io.StringIO, error: Exception) -> str:
    return " ".join(re.findall(COMPLAINT, words.getvalue()) or [str(error)])[:300].rstrip(".")


def _profiled(path: str, threads: int, tensors: Sequence[Any]) -> list[dict[str, Any]]:
    """The operators of the last of a few inferences, in the order in which they ran."""
    method, program = _load(path, threads, events=True)
    for _ in range(PROFILED_RUNS):
        method(list(tensors))
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/events"
        program.write_etdump_result_to_file(path, f"{folder}/debug")
        return [_operator(*event) for event in _events(Path(path).read_bytes())]


def _events(dump: bytes) -> list[tuple[str, bool, float]]:
    """Name, whether a delegate ran it, and seconds of each operator of the last inference in an ETDump.

    A flatbuffer (devtools/etdump/etdump_schema_flatcc.fbs); its numbers of fields stay as they are. ExecuTorch's own
    reader would import its whole compiler, pandas with it.
    """
    from flatbuffers import encode, number_types, table

    def field(of: Any, number: int) -> int:
        return int(of.Offset(4 + 2 * number))

    def tables(of: Any, number: int) -> list[Any]:
        at = field(of, number)
        return [table.Table(dump, of.Indirect(of.Vector(at) + 4 * i)) for i in range(of.VectorLen(at))] if at else []

    def text(of: Any, number: int) -> str:
        at = field(of, number)
        return of.String(of.Pos + at).decode() if at else ""

    def time(of: Any, number: int) -> int:
        at = field(of, number)
        return int(of.Get(number_types.Uint64Flags, of.Pos + at)) if at else 0

    dump = dump[4:]  # its own length stands in front
    root = table.Table(dump, encode.Get(number_types.UOffsetTFlags.packer_type, dump, 0))
    runs = [run for run in tables(root, 1) if text(run, 0) == "Execute"]
    found = []
    for event in tables(runs[-1], 3) if runs else []:
        at = field(event, 0)
        if at:
            timed = table.Table(dump, event.Indirect(event.Pos + at))
            name, kernel = text(timed, 0), text(timed, 4)
            if kernel or name.startswith(PORTABLE):
                found.append((kernel or name, bool(kernel), (time(timed, 7) - time(timed, 6)) / 1e9))
    return found


def _operator(name: str, delegated: bool, seconds: float) -> dict[str, Any]:
    name = name.removeprefix(PORTABLE)
    kernel = re.search(r"\b(Q[A-Z]*8|F16)", name)
    return {
        "name": name,
        "op": re.split(r" \(| #", name)[0],
        "seconds": max(0.0, seconds),
        "device": "XNNPACK" if delegated else "portable",
        "precision": "fp32" if not kernel else "fp16" if kernel[1] == "F16" else "int8",
    }


def _spec(path: str, name: str, told: Any) -> TensorSpec:
    if told.dtype() not in DTYPES:
        raise ModelError(f"{path} has a tensor of ExecuTorch's type {told.dtype()}, which numpy has not.", FIX)
    return TensorSpec(name=name, dtype=DTYPES[told.dtype()], shape=tuple(told.sizes()))


def _of_batch(spec: TensorSpec, batch: int | None) -> TensorSpec:
    return TensorSpec(name=spec.name, dtype=spec.dtype, shape=(batch, *spec.shape[1:]))
