"""ONNX files (https://onnx.ai/onnx/repo-docs/IR.html): shapes by ONNX's own inference, constants followed through the graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgebench.compress.lowering import onnx_int8
from edgebench.compress.model_file import check_onnx, external_files
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import MissingRuntime
from edgebench.inspect import onnx_layers, onnx_standins
from edgebench.inspect.graph import Network, Node, Shape, Tensor
from edgebench.schema import TensorSpec

VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "QuantizeLinear", "DequantizeLinear"}
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
OWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")


def read(path: Path, shapes: Mapping[str, Sequence[int]]) -> Network:
    """The network of an ONNX file; `shapes` are those of inputs whose axes are free. A free first axis counts as 1.

    Raises ModelError for a damaged file, MissingRuntime where the package onnx is not installed.
    """
    model = load(path)
    inputs, misfit = check_onnx(path), _misfit(model)
    outputs = tuple(_spec(value) for value in model.graph.output)
    notes: list[str] = []
    axes = {
        v.name: tuple(d.dim_param for d in v.type.tensor_type.shape.dim)
        for v in (*model.graph.input, *model.graph.output)
    }
    tensors, known = _tensors(_inferred(model, inputs, shapes, notes))
    tensors = _with_batch(tensors, inputs, notes)
    nodes, inner = _nodes(model.graph, tensors, known)
    if inner:
        notes.append("It has inner graphs (If, Loop, Scan): each of their operators is counted once.")
    folded = _folded(model.graph, known)
    if folded:
        notes.append(f"Folded on loading, and not among the operators: {folded}.")
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    custom = {
        f"{node.domain}.{node.op_type}"
        for node in model.graph.node
        if node.domain not in (*OWN_DOMAINS, "com.microsoft")
    }
    producer = " ".join(filter(None, (model.producer_name, model.producer_version)))
    return Network(
        path=path,
        format="onnx",
        inputs=inputs,
        outputs=outputs,
        tensors=tensors,
        nodes=nodes,
        made_by=f"{producer or 'an unnamed tool'}, opset {opsets.get('ai.onnx', '?')}",
        notes=tuple(notes),
        size=sum(p.stat().st_size for p in (path, *external_files(path))),
        custom=tuple(sorted(custom)),
        misfit=misfit,
        axes={name: names for name, names in axes.items() if any(names)},
    )


def load(path: Path) -> Any:
    """The model with its functions put in place of their calls. Raises MissingRuntime."""
    try:
        import onnx
    except ImportError as error:
        raise MissingRuntime(
            "Looking into an ONNX file needs the package onnx, which is not installed.",
            'Install it with: pip install "edgebench[compress]", or: pip install onnx',
        ) from error
    from onnx.inliner import inline_local_functions

    check_onnx(path)
    model = onnx.load(path)
    return inline_local_functions(model) if model.functions else model


def _spec(value: Any) -> TensorSpec:
    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    return TensorSpec(name=value.name, dtype=_dtype(kind.elem_type), shape=shape)


def _dtype(code: int) -> str:
    import onnx

    name = str(onnx.TensorProto.DataType.Name(code)).lower()
    return {"float": "float32", "double": "float64", "undefined": ""}.get(name, name)


def _inferred(model: Any, inputs: Sequence[TensorSpec], shapes: Mapping[str, Sequence[int]], notes: list[str]) -> Any:
    """The graph with the shape of every tensor that ONNX can tell, for a batch of one or the given shapes."""
    import onnx

    for spec in inputs:
        value = next(v for v in model.graph.input if v.name == spec.name)
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            given = shapes.get(spec.name)
            free = spec.shape[axis] is None
            size = given[axis] if given and len(given) == len(dims) else 1 if free and axis == 0 else None
            if free and size is not None:
                dim.dim_value = size
    graph = model.graph
    nodes = [*graph.node]
    standins = [onnx_standins.standard(node) for node in nodes]
    if all(node.domain in OWN_DOMAINS for node in standins):
        _forget(graph)  # what it says of a free batch would stand in the way
        del graph.node[:]
        graph.node.extend(standins)
    try:
        with quiet():
            found = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # a file of more than 2 GB, or an operator whose inference is wrong
        notes.append("ONNX cannot tell the shapes of this graph.")
        found = graph
    for each in {id(found): found, id(graph): graph}.values():
        del each.node[:]
        each.node.extend(nodes)
    return found


def _misfit(model: Any) -> str:
    """What ONNX has against the shapes and types of the operators; "" for nothing.

    What the file itself says of the tensors between is left out: where it is wrong, runtimes warn and go on.
    """
    import onnx

    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    _forget(bare.graph)
    try:
        with quiet():
            onnx.shape_inference.infer_shapes(bare, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        words = first_line(error).replace("[ShapeInferenceError] ", "").replace("[TypeInferenceError] ", "")
        return f"shapes or types that do not fit: {words.removeprefix('Inference error(s): ').rstrip('.')}"
    except Exception:  # a file of more than 2 GB
        pass
    return ""


def _forget(graph: Any) -> None:
    """Take out what a graph says of the shapes of its tensors, but for the inputs."""
    del graph.value_info[:]
    for value in graph.output:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.ClearField("shape")


Sizes = dict[str, tuple[str, Shape | None]]


def _tensors(
    graph: Any, around: Sizes | None = None, outer: Mapping[str, str] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor by name, and for each constant the one that it was made from.

    Of inner graphs (If, Loop, Scan) the constants alone; these see the sizes `around` them and the `outer` constants.
    """
    types = {v.name: v.type.tensor_type for v in (*graph.value_info, *graph.input, *graph.output)}
    sizes: Sizes = {**(around or {}), **{name: _typed(kind) for name, kind in types.items()}}
    sizes |= {w.name: (_dtype(w.data_type), tuple(w.dims)) for w in graph.initializer}
    origin = {**(outer or {}), **{w.name: w.name for w in graph.initializer}}
    for node in graph.node:
        given = [name for name in node.input if name]
        if all(name in origin for name in given) and node.op_type not in RANDOM:
            for name in node.output:
                origin[name] = origin[given[0]] if given and node.op_type != "ConstantOfShape" else name
        if node.op_type == "Constant":
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            if value is not None:
                sizes[node.output[0]] = (_dtype(value.data_type), tuple(value.dims))
    weights = onnx_layers.weights(graph, origin, sizes)
    names = {*sizes, *origin, *(name for node in graph.node for name in (*node.input, *node.output) if name)}
    made = {}
    for name in names:
        dtype, shape = sizes.get(name, ("", None))
        made[name] = Tensor(dtype=dtype, shape=shape, constant=name in origin, weight=name in weights)
    for part in (part for node in graph.node for part in _inner(node)):
        found, _ = _tensors(part, sizes, origin)
        known = {name for name, tensor in made.items() if tensor.weight}
        made |= {name: tensor for name, tensor in found.items() if tensor.constant and name not in known}
    return made, origin


def _inner(node: Any) -> list[Any]:
    """The graphs within an operator: the branches of If, the body of Loop and Scan."""
    return [part for attribute in node.attribute for part in (attribute.g, *attribute.graphs) if part.node]


def _with_batch(tensors: dict[str, Tensor], inputs: Sequence[TensorSpec], notes: list[str]) -> dict[str, Tensor]:
    """A first axis that ONNX cannot tell is the batch, where the batch is all that is free in the inputs."""
    if any(size is None for spec in inputs for size in (tensors[spec.name].shape or ())):
        return tensors
    batch = (tensors[inputs[0].name].shape or (1,))[0]
    lost = {
        name: replace(tensor, shape=(batch, *tensor.shape[1:]))
        for name, tensor in tensors.items()
        if tensor.shape and tensor.shape[0] is None and None not in tensor.shape[1:]
    }
    if lost:
        notes.append(f"ONNX cannot tell the first axis of {len(lost)} tensors: it is taken for the batch of {batch}.")
    return {**tensors, **lost}


def _typed(kind: Any) -> tuple[str, Shape | None]:
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    return _dtype(kind.elem_type), shape if kind.HasField("shape") else None


def _nodes(graph: Any, tensors: Mapping[str, Tensor], origin: Mapping[str, str]) -> tuple[list[Node], bool]:
    """The operators that run: those whose result depends on an input. Whether some are in inner graphs."""
    made_by = {name: node for node in graph.node for name in node.output}
    found, inner = [], False
    for node in graph.node:
        if node.output and all(name in origin for name in node.output if name):
            continue  # folded when it is loaded
        found.append(_node(node, tensors, made_by))
        for part in _inner(node):
            inner = True
            found += _nodes(part, tensors, {w.name: w.name for w in part.initializer})[0]
    return found, inner


def _folded(graph: Any, origin: Mapping[str, str]) -> str:
    """The operators on constants, with their numbers; Constant itself computes nothing."""
    runs = (node for node in graph.node if node.op_type != "Constant")
    counted = Counter(node.op_type for node in runs if node.output and all(n in origin for n in node.output if n))
    return ", ".join(f"{name} {number}" for name, number in sorted(counted.items()))


def _node(node: Any, tensors: Mapping[str, Tensor], made_by: Mapping[str, Any]) -> Node:
    layer = onnx_int8.is_layer(node)
    return Node(
        op=node.op_type if node.domain in OWN_DOMAINS else f"{node.domain}.{node.op_type}",
        name=node.name,
        inputs=tuple(name for name in node.input if name),
        outputs=tuple(name for name in node.output if name),
        macs=onnx_layers.macs(node, tensors) if layer else 0,
        layer=layer,
        int8=layer and onnx_int8.is_int8(node, made_by, lambda name: tensors[name].dtype),
        fuses=node.op_type in VIEWS,
    )
