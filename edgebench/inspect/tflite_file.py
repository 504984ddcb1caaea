"""LiteRT's .tflite files (tensorflow/lite/schema/schema.fbs), read with the schema that comes with the runtime."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgebench.compress.lowering import tflite_file
from edgebench.compress.quiet import first_line
from edgebench.errors import MissingRuntime, ModelError
from edgebench.inspect import layers
from edgebench.inspect.graph import Network, Node, Shape, Tensor
from edgebench.schema import TensorSpec

IDENTIFIER = slice(4, 8)
VIEWS = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "QUANTIZE", "DEQUANTIZE"}
MLIR, CONVERTER = b"MLIR Converted", "the MLIR converter of TensorFlow"
"""What the converter writes of itself, and who that is."""
FIX = "Give a whole .tflite file: convert or copy it again."


def read(path: Path, shapes: Mapping[str, Sequence[int]]) -> Network:
    """The network of a .tflite file at the batch that it was made with. Raises ModelError, MissingRuntime."""
    model = _parse(path)
    try:
        return _network(path, model)
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is damaged: {type(error).__name__}: {first_line(error)}.", FIX) from error


def _network(path: Path, model: Any) -> Network:
    graph = model.subgraphs[0]
    words = _words()
    tensors = {f"{i}": _tensor(model, tensor, words) for i, tensor in enumerate(graph.tensors)}
    nodes = [_node(name, op, model, tensors) for name, op in _named(model)]
    folded = {name for node in nodes if all(tensors[i].constant for i in node.inputs) for name in node.outputs}
    tensors |= {
        name: replace(tensors[name], constant=True, weight=False) for name in folded
    }  # fp16 weights made float32
    weights = {name for node in nodes for place, name in enumerate(node.inputs) if _is_weight(node.op, place)} - folded
    tensors = {name: _weighed(tensor, name in weights) for name, tensor in tensors.items()}
    notes = () if len(model.subgraphs) == 1 else (f"Of its {len(model.subgraphs)} graphs this is the first.",)
    return Network(
        path=path,
        format="tflite",
        inputs=tuple(_end(model, i, words) for i in graph.inputs),
        outputs=tuple(_end(model, i, words) for i in graph.outputs),
        tensors=tensors,
        nodes=nodes,
        ends=(tuple(str(i) for i in graph.inputs), tuple(str(i) for i in graph.outputs)),
        made_by=CONVERTER
        if MLIR in (said := model.description or b"")
        else said.decode(errors="replace").strip("\0. "),
        notes=notes,
        size=path.stat().st_size,
        custom=tuple(sorted({n.op.removeprefix("CUSTOM ") for n in nodes if n.op.startswith("CUSTOM ")})),
    )


def _parse(path: Path) -> Any:
    content = path.read_bytes()
    if content[IDENTIFIER] != b"TFL3":
        raise ModelError(f"{path} is no .tflite file: it does not say TFL3.", FIX)
    try:
        model = tflite_file.parse(content)
        if not model.subgraphs or model.subgraphs[0].tensors is None:
            raise ValueError("it holds no graph")
    except ImportError as error:
        raise MissingRuntime(
            "Looking into a .tflite file needs ai-edge-litert, which is not installed.",
            'Install it with: pip install "edgebench[litert]"',
        ) from error
    except struct.error as error:
        raise ModelError(f"{path} is cut short: a part of it lies beyond its {len(content)} bytes.", FIX) from error
    except Exception as error:  # whatever a reader meets in a damaged file: no common base
        raise ModelError(f"{path} is damaged: {first_line(error)}.", FIX) from error
    return model


def _words() -> dict[int, str]:
    """The name of each type, as numpy has it."""
    from ai_edge_litert import schema_py_generated as schema

    return {value: name.lower() for name, value in vars(schema.TensorType).items() if not name.startswith("_")}


def _tensor(model: Any, tensor: Any, words: Mapping[int, str]) -> Tensor:
    data = model.buffers[tensor.buffer].data
    constant = (data is not None and len(data) > 0) or bool(getattr(model.buffers[tensor.buffer], "offset", 0))
    scaled = tensor.quantization is not None and tensor.quantization.scale is not None
    shape = () if tensor.shape is None else tuple(int(axis) for axis in tensor.shape)
    dtype = words.get(tensor.type, "")
    return Tensor(dtype=dtype, shape=shape, constant=constant, weight=constant and ("float" in dtype or scaled))


def _weighed(tensor: Tensor, layer: bool) -> Tensor:
    """A weight is a number that stands for a trained real one, and no single number."""
    weight = tensor.constant and bool(tensor.shape) and (tensor.weight or layer)
    return Tensor(dtype=tensor.dtype, shape=tensor.shape, constant=tensor.constant, weight=weight)


def _named(model: Any) -> list[tuple[str, Any]]:
    """Each operator of the first graph with its name, "CUSTOM name" for one that is not the format's own."""
    found = []
    for name, op in tflite_file._named(model):
        custom = model.operatorCodes[op.opcodeIndex].customCode
        found.append((f"CUSTOM {custom.decode(errors='replace')}" if name == "CUSTOM" and custom else name, op))
    return found


def _node(name: str, op: Any, model: Any, tensors: Mapping[str, Tensor]) -> Node:
    inputs = [int(i) for i in (op.inputs if op.inputs is not None else ())]
    outputs = tuple(str(int(i)) for i in (op.outputs if op.outputs is not None else ()))
    layer = name in tflite_file.LAYERS
    return Node(
        op=name,
        name="",
        inputs=tuple(str(i) for i in inputs if i >= 0),
        outputs=outputs,
        macs=_macs(name, [tensors[str(i)] for i in inputs if i >= 0], tensors[outputs[0]].shape) if layer else 0,
        layer=layer,
        int8=layer and tensors[str(inputs[tflite_file.weight_place(name)])].dtype == "int8",
        fuses=name in VIEWS,
    )


def _macs(name: str, given: list[Tensor], output: Shape | None) -> int | None:
    shapes = [tensor.shape or () for tensor in given]
    if name in tflite_file.RECURRENT:  # every weight matrix once a step
        steps = 1
        for axis in shapes[0][:-1]:
            steps *= axis or 1
        matrices = [t.count or 0 for t in given[1:] if t.constant and len(t.shape or ()) == 2]
        return steps * sum(matrices)
    if len(shapes) < 2 or not shapes[1]:
        return None
    weight = shapes[1]
    if name == "TRANSPOSE_CONV":  # target shape, weights (out, height, width, in), data
        return layers.transposed_convolution(shapes[2], weight[:3]) if len(shapes) > 2 else None
    if name == "DEPTHWISE_CONV_2D":  # (1, height, width, out)
        return layers.convolution(output, weight[1:3])
    if name == "CONV_3D":  # (depth, height, width, in, out)
        return layers.convolution(output, weight[:4])
    if name == "BATCH_MATMUL":
        return layers.matrix(output, shapes[0][-1])
    return layers.convolution(output, weight[1:])  # (out, height, width, in), or (out, in)


def _is_weight(op: str, place: int) -> bool:
    return place == 1 and op in tflite_file.LAYERS


def _name(model: Any, index: int) -> str:
    graph = model.subgraphs[0]
    for signature in model.signatureDefs or ():
        for end in (*(signature.inputs or ()), *(signature.outputs or ())):
            if end.tensorIndex == index:
                return str(end.name.decode(errors="replace"))
    name = graph.tensors[index].name
    return name.decode(errors="replace") if name else f"tensor {index}"


def _end(model: Any, index: int, words: Mapping[int, str]) -> TensorSpec:
    tensor = model.subgraphs[0].tensors[index]
    free = tensor.shapeSignature
    sizes = tensor.shape if free is None or not len(free) else free
    shape = tuple(None if axis < 0 else int(axis) for axis in (() if sizes is None else sizes))
    return TensorSpec(name=_name(model, int(index)), dtype=words.get(tensor.type, ""), shape=shape)
