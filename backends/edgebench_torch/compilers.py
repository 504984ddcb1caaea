"""torch's own compilers: Inductor when the network is first called (torch.compile), or ahead of time (AOTInductor)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgebench.backend import MissingRuntime, ModelError

MODES = ("eager", "compile", "aot")


def check_compiler(mode: str) -> None:
    """Raise MissingRuntime unless there is a C++ compiler that Inductor takes."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        raise MissingRuntime(
            f"The mode {mode!r} of torch needs a C++ compiler, and there is none here: {words}",
            'Install g++, or use mode = "eager".',
        ) from error


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Weights are constants, so that they can be packed and int8 layers fused; and no pool of processes beside a measurement."""
    from torch._inductor import config

    with config.patch(freezing=True, compile_threads=1):
        yield


def just_in_time(module: Any) -> Any:
    """What compiles the module when it is first called, for the shapes that come."""
    import torch

    compile_: Any = torch.compile
    compiled = compile_(module, dynamic=False)

    def call(*tensors: Any) -> Any:
        with _settings():
            return compiled(*tensors)

    return call


def ahead_of_time(module: Any, tensors: Sequence[Any], path: Path) -> None:
    """Write the compiled package for inputs of these shapes. Raises ModelError."""
    import torch

    try:
        with torch.no_grad(), _settings(), contextlib.redirect_stdout(io.StringIO()):
            program = torch.export.export(module, tuple(tensors))
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    except Exception as error:  # the compiler's, the tracer's: no common base
        words = " ".join(str(error).split())[:300]
        raise ModelError(
            f"torch {torch.__version__} cannot compile this network ahead of time: {words}",
            'Use mode = "eager", or report the network to the authors of torch.',
        ) from error


def load_package(path: str) -> Any:
    """The compiled network. Raises ModelError."""
    import torch

    try:
        return torch._inductor.aoti_load_package(path)
    except Exception as error:
        words = " ".join(str(error).split())[:300]
        raise ModelError(
            f"torch {torch.__version__} cannot load the compiled package {path}: {words}",
            "Compile it again on this machine, with this version of torch.",
        ) from error
