"""A torch network as a file: ONNX, and torch's own exported program. The same network gives the same bytes."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgebench.compress.lowering.culprit import cannot
from edgebench.compress.quiet import quiet
from edgebench.errors import ModelError

OPSET = 20
"""The exporter's own; asking for an older one gives another than was asked, without an error."""
PARITY = 1e-4
"""Greatest difference to eager torch, relative to the greatest output if that is above 1."""
_TRACES = ("stack_trace", "from_node", "source_fn_stack", "torch_fn")
"""Where each node came from: paths and addresses of this machine, which no file should carry."""


def export_onnx(model: nn.Module, example: Tensor, path: Path) -> None:
    """Write an ONNX file with a free batch axis, input "input", output "output", all weights inside.

    `example` is (B, ...), B >= 2. Raises ModelError: cannot be traced, another opset came out, or onnxruntime's answer
    differs from eager torch's by more than 1e-4.
    """
    import onnx

    with quiet():
        program = _exported(model, example)
        try:
            made = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["output"],
                external_data=False,
                verbose=False,
            )
        except Exception as error:
            raise cannot(error, "ONNX", model, example) from error
        assert made is not None
        graph = made.model_proto
    found = {entry.domain: entry.version for entry in graph.opset_import}
    if found.get("") != OPSET or len(found) > 1:
        raise ModelError(
            f"The exported graph is of opset {found}, not {OPSET}.", "Use operators that ONNX knows in the network."
        )
    name_weights(graph.graph)
    clean(graph)
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString(deterministic=True))
    check_parity(path, example, eager(model, example))


def export_pt2(model: nn.Module, example: Tensor, path: Path) -> None:
    """Write torch's exported program with a free batch axis, for `torch.export.load`. Raises ModelError."""
    with quiet():
        save_program(_exported(model, example), path)


def save_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Save without traces of this machine; the bytes depend on the program alone."""
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            for key in _TRACES:
                node.meta.pop(key, None)
    # Example inputs would be pickled into the file, whole storage and all.
    program._example_inputs = None
    # Into memory, because the archive's inner folder is named after the file.
    memory = io.BytesIO()
    torch.export.save(program, memory)
    path.write_bytes(memory.getvalue())


def _exported(model: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    try:
        with torch.no_grad():
            return torch.export.export(model.eval(), (example.clone(),), dynamic_shapes=({0: batch},))
    except Exception as error:
        raise cannot(error, "a graph", model, example) from error


def name_weights(graph: Any) -> None:
    """Call the transposed weight of a linear layer as torch does, "fc1.weight": a layer must be known by one name everywhere."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[Any]] = {}
    named = set[str]()
    for node in graph.node:
        for given in node.input:
            readers.setdefault(given, []).append(node)
    for node in graph.node:
        notes = {prop.key: prop.value for prop in node.metadata_props}
        scopes = re.findall(r"'([^']*)'", notes.get("pkg.torch.onnx.name_scopes", ""))
        weight = node.input[1] if len(node.input) > 1 else ""
        if node.op_type != "MatMul" or "aten.linear" not in notes.get("namespace", "") or weight not in stored:
            continue
        name = f"{scopes[-2]}.weight" if len(scopes) > 1 and scopes[-2] else ""
        told = weight in named or name in stored
        if name and not told and all(r.op_type == "MatMul" and r.input[1] == weight for r in readers[weight]):
            stored[name] = stored.pop(weight)
            stored[name].name = name
            named.add(name)
            for reader in readers[weight]:  # several where the layer runs several times
                reader.input[1] = name


def clean(graph: Any) -> None:
    """Drop names of files and lines, and what the rewriter did: they differ from machine to machine."""
    for part in (
        graph,
        graph.graph,
        *graph.graph.node,
        *graph.graph.value_info,
        *graph.graph.initializer,
        *graph.functions,
    ):
        for field in ("metadata_props", "doc_string"):
            if field in part.DESCRIPTOR.fields_by_name:
                part.ClearField(field)


def eager(model: nn.Module, example: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(example.clone())  # type: ignore[no-any-return]


def check_parity(path: Path, example: Tensor, wanted: Tensor) -> None:
    """Raise ModelError unless onnxruntime gives the wanted outputs, for this batch and for one sample."""
    import numpy as np

    session = open_session(path)
    for count in (len(example), 1):
        found = session.run(None, {"input": example[:count].numpy()})[0]
        reference = wanted[:count].numpy()
        off = float(np.abs(found - reference).max()) / max(1.0, float(np.abs(reference).max()))
        if not off < PARITY:
            raise ModelError(
                f"The exported network differs from torch by {off:.1e} on a batch of {count}, more than {PARITY:g}.",
                "Look for an operator whose result depends on order or on the batch size.",
            )


def open_session(path: Path) -> Any:
    """An onnxruntime session on the CPU that says nothing, and computes what the file says on every CPU.

    Without VNNI its fast kernels overflow where weights have 8 bits; whether a file is right for a device is not asked here.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
