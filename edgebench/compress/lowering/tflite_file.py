"""What is done to a .tflite file itself: names, a free batch axis, and a count of the layers that are quantized."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

RECURRENT = (
    "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN",
    "BIDIRECTIONAL_SEQUENCE_RNN", "SVDF",
)  # fmt: skip
LAYERS = ("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL", *RECURRENT)


def parse(content: bytes) -> Any:
    """The model as a tree of objects that can be changed."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(bytearray(content), 0)


def pack(model: Any) -> bytes:
    """The bytes of a model; equal models give equal bytes."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def name_ends(model: Any) -> None:
    """Call a single input "input" and a single output "output", as the ONNX files do."""
    for signature in model.signatureDefs:
        for ends, name in ((signature.inputs, b"input"), (signature.outputs, b"output")):
            if len(ends) == 1:
                ends[0].name = name


def free_batch(model: Any, other: Any) -> bool:
    """Let the batch axis of `model` (batch 1) be resized; `other` is the same network made for another batch.

    What differs between the two is what depends on the batch. If that is one number in each of some RESHAPE targets,
    it becomes -1 ("whatever is left"), and so does the batch in the shape signatures. Anything else, a constant that
    was expanded to the batch say, cannot be freed: then nothing is changed, and the answer is False.
    """
    if len(model.subgraphs) != 1 or len(other.subgraphs) != 1:
        return False
    graph, twin = model.subgraphs[0], other.subgraphs[0]
    if _operators(model) != _operators(other) or len(graph.tensors) != len(twin.tensors):
        return False
    freed: dict[int, Any] = {}
    for index, (a, b) in enumerate(zip(graph.tensors, twin.tensors, strict=True)):
        ours, theirs = model.buffers[a.buffer].data, other.buffers[b.buffer].data
        if ours is None or theirs is None:
            if (ours is None) != (theirs is None):
                return False
        elif not np.array_equal(ours, theirs):
            target = _with_one_free(ours, theirs)
            if target is None or not all(_reshapes_to(model, index)):
                return False
            freed[a.buffer] = target
    for op_name, op in _named(model):
        if op_name == "RESHAPE":
            op.builtinOptions = None  # holds the target a second time
            op.builtinOptionsType = 0
    for buffer, target in freed.items():
        model.buffers[buffer].data = target
    for index in (*graph.inputs, *graph.outputs):
        shape = graph.tensors[index].shape
        if len(shape) and shape[0] == 1 and twin.tensors[index].shape[0] != 1:
            graph.tensors[index].shapeSignature = np.array([-1, *shape[1:]], np.int32)
    return True


def _reshapes_to(model: Any, index: int) -> Iterator[bool]:
    """For each use of a tensor as an operand: whether it is the target of a RESHAPE."""
    for name, op in _named(model):
        for place, operand in enumerate(op.inputs):
            if operand == index:
                yield name == "RESHAPE" and place == 1


def _with_one_free(ours: Any, theirs: Any) -> Any:
    """The bytes of a shape with -1 where two shapes differ; None if they differ in more than one place."""
    if len(ours) != len(theirs) or len(ours) % 4:
        return None
    a, b = (np.frombuffer(np.asarray(x, np.uint8).tobytes(), np.int32).copy() for x in (ours, theirs))
    if np.count_nonzero(a != b) != 1:
        return None
    a[a != b] = -1
    return np.frombuffer(a.tobytes(), np.uint8)


def _named(model: Any) -> Iterator[tuple[str, Any]]:
    """Each operator of the first subgraph with its name."""
    from ai_edge_litert import schema_py_generated as schema

    words = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    for op in model.subgraphs[0].operators:
        code = model.operatorCodes[op.opcodeIndex]
        # Codes above 127 do not fit the old field, which then says 127.
        yield words[max(code.builtinCode, code.deprecatedBuiltinCode)], op


def _operators(model: Any) -> list[tuple[str, list[int], list[int]]]:
    return [(name, list(op.inputs), list(op.outputs)) for name, op in _named(model)]


def operators(model: Any) -> list[str]:
    """The names of the operators in the order in which they run."""
    return [name for name, _ in _named(model)]


def weight_place(name: str) -> int:
    """The operand of a layer that is its weights; a recurrent one may be without those of its first gate."""
    return 2 if name in RECURRENT else 1


def coverage(model: Any) -> tuple[int, int]:
    """How many of the layers (convolutions, matrix products, recurrent layers) have int8 weights, of how many.

    Layers with float activations and int8 weights count: their activations are quantized as they come (dynamic).
    """
    from ai_edge_litert import schema_py_generated as schema

    tensors = model.subgraphs[0].tensors
    weights = [op.inputs[weight_place(name)] for name, op in _named(model) if name in LAYERS]
    return sum(tensors[index].type == schema.TensorType.INT8 for index in weights), len(weights)
