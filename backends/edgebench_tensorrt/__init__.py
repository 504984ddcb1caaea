"""TensorRT 8.5 to 11 and TensorRT-RTX on NVIDIA GPUs and Jetson boards: typed ONNX files, and plans.

A plan is built once for a place (product, full version, kind of GPU, L4T) and kept; open() of an ONNX file builds or finds it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgebench.backend import Artifact, Availability, Backend, EdgebenchError, MissingRuntime, Options, Session
from edgebench_tensorrt import cuda, engine, machine, plan_file
from edgebench_tensorrt.api import MODULES, TrtApi, complaint
from edgebench_tensorrt.asked import OPTIONS, Asked


class TensorRtBackend(Backend):
    name = "tensorrt"
    accepts = frozenset({"onnx", plan_file.FORMAT})
    endings = {".plan": plan_file.FORMAT, ".engine": plan_file.FORMAT}
    precisions = {"fp32": "onnx", "fp16": "onnx-typed-fp16", "int8": "onnx-typed-int8"}
    refused = {"bf16": "numpy and the exporters here have no bf16, which its typed graph would need"}
    options = OPTIONS
    module = "edgebench_tensorrt.runtime"
    extra = machine.EXTRA
    distributions = ("tensorrt", "tensorrt-rtx", "cuda-bindings", "pycuda")

    def probe(self) -> Availability:
        return machine.judge(machine.asked())

    def check(self, options: Mapping[str, Any]) -> None:
        # Of a batch of one: what max_batch is too small for is told by its own row, and so are threads.
        asked = Asked.of({"precision": "fp32", **options, "threads": 1, "batch": 1})
        if asked.product not in ("", *MODULES):
            raise EdgebenchError(f"product cannot be {asked.product!r}.", f"Use one of {', '.join(MODULES)}.")

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        from edgebench_tensorrt.session import TrtSession

        asked = Asked.of(options)
        api, shim = TrtApi(module(asked.product)), cuda.shim(asked.cuda)
        here = place(api)
        path = Path(artifact.path)
        if artifact.format == "onnx":
            path = engine.cached(api, path, asked, here, _memory(shim))
        content, facts = plan_file.load(path)
        plan_file.check(facts, here, path)
        return TrtSession(api, loaded(api, content, path), shim, asked, facts)

    def build(self, artifact: Artifact, options: Mapping[str, Any], out: Path) -> Artifact:
        """The plan for this device, in `out`, with its sidecar; a plan stays as it is."""
        if artifact.format != "onnx":
            return artifact
        asked = Asked.of(options)
        api = TrtApi(module(asked.product))
        here = place(api)
        plan = engine.cached(api, Path(artifact.path), asked, here, _memory(cuda.shim(asked.cuda)) if here["sm"] else 0)
        made = out / "model.plan"
        for source, copy in ((plan, made), (plan_file.sidecar(plan), plan_file.sidecar(made))):
            _linked(source, copy)
        _, facts = plan_file.load(made)
        return Artifact(
            format=plan_file.FORMAT,
            path=str(made),
            sha256=facts["plan_sha256"],
            size=made.stat().st_size,
            made_by=Options({name: str(here[name]) for name in plan_file.PLACE}),
            parent=artifact.sha256 or None,
            facts=Options(
                {**artifact.facts, "weights_bytes": facts.get("weights_bytes"), "lowering": plan_file.FORMAT}
            ),
        )


def module(name: str = "") -> Any:
    """The TensorRT module of this name, or the first that is installed. Raises MissingRuntime or EdgebenchError."""
    if name and name not in MODULES:
        raise EdgebenchError(f"product cannot be {name!r}.", f"Use one of {', '.join(MODULES)}.")
    home = machine.JETPACK if machine.l4t() else machine.DESKTOP
    for known in MODULES:
        if name in ("", known) and importlib.util.find_spec(known):
            try:
                return importlib.import_module(known)
            except Exception as error:
                words = " ".join(str(error).split())[:200]
                raise MissingRuntime(f"{known} does not import: {words}.", f"{home}.") from error
    raise MissingRuntime(f"{name or 'TensorRT'} is not installed.", f"{home}.")


def place(api: TrtApi) -> dict[str, Any]:
    """What a plan made here is bound to, and the GPU's name."""
    gpu = machine.gpu()
    return {
        "product": api.product, "version": api.version, "sm": gpu.get("sm", ""), "l4t": machine.l4t(),
        "device": gpu.get("name", ""),
    }  # fmt: skip


def loaded(api: TrtApi, content: bytes, path: Path) -> Any:
    """The engine of a plan. Raises ModelError: malformed, of another version or GPU, too big, no driver."""
    with api.listening() as lines:
        try:
            runtime = api.runtime
        except TypeError as error:  # "factory function returned nullptr"
            raise plan_file.refused(path, f"no CUDA driver or GPU: {complaint(lines) or error}", api.product) from error
        found = runtime.deserialize_cuda_engine(content)
        if found is None:
            words = "; ".join(filter(None, (api.validity(runtime, content), complaint(lines))))
            raise plan_file.refused(path, words, api.product)
    return found


def _memory(shim: cuda.Cuda) -> int:
    """Bytes that building may take. A Jetson's GPU shares the host's memory, and counts what caches hold as taken."""
    return machine.memory_available() if machine.gpu().get("integrated") else shim.memory()


def _linked(source: Path, copy: Path) -> None:
    with suppress(OSError):
        os.link(source, copy)
        return
    shutil.copyfile(source, copy)
