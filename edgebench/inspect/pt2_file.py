"""torch's exported programs (.pt2, torch/export/pt2_archive): a zip whose models/model.json is the graph. No torch, no pickle."""

from __future__ import annotations

import ast
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench.errors import ModelError
from edgebench.inspect import layers
from edgebench.inspect.graph import Network, Node, Shape, Tensor, UnknownKind, product
from edgebench.schema import TensorSpec

DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64", 12: "bool",
    13: "bfloat16",
}  # fmt: skip
"""torch/_export/serde/schema.py: ScalarType."""
VIEWS = (
    "view",
    "reshape",
    "flatten",
    "squeeze",
    "unsqueeze",
    "alias",
    "detach",
    "dropout",
    "contiguous",
    "to",
    "_to_copy",
)
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution", "qconv_pointwise", "qconv2d_pointwise")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
MATRICES = ("linear", "addmm", "mm", "bmm", "baddbmm", "matmul", "qlinear_pointwise")
ATTENTION = "scaled_dot_product"
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
QUANTIZERS = ("quantize_per_tensor", "quantize_per_channel", "dequantize_per_tensor", "dequantize_per_channel")
BYTES = ("int8", "uint8")
FIX = "Save the program again with torch.export.save."


def read(path: Path, shapes: Mapping[str, Sequence[int]]) -> Network:
    """The network of a program saved by torch.export, its free batch counted as 1. Raises ModelError."""
    document = _document(path)
    try:
        return _network(path, document)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise UnknownKind(f"{path} is a program of a kind that is not known here: {error!r}.", FIX) from error


def _document(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if "/models/" in n and n.endswith(".json")]
            if not names and any("aotinductor" in n for n in archive.namelist()):
                raise UnknownKind(
                    f"{path} is compiled (AOTInductor): its operators are machine code.",
                    "Look at the .pt2 of torch.export that it was compiled from.",
                )
            if not names:
                raise ModelError(f"{path} holds no exported program.", FIX)
            return json.loads(archive.read(names[0]))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError) as error:
        raise ModelError(
            f"{path} is no .pt2 file, or is damaged or cut short: {str(error).rstrip('.')}.", FIX
        ) from error


def _network(path: Path, document: Mapping[str, Any]) -> Network:
    graph, signature = document["graph_module"]["graph"], document["graph_module"]["signature"]
    fed = [s["user_input"]["arg"]["as_tensor"]["name"] for s in signature["input_specs"] if "as_tensor" in _arg(s)]
    answers = [name for argument in graph["outputs"] for name in _names(argument)]
    values = graph["tensor_values"]
    ones = {symbol for name in fed for symbol in _symbols(values[name]["sizes"][:1])}
    kinds = {
        name: (DTYPES.get(v["dtype"], ""), tuple(_size(s, ones) for s in v["sizes"])) for name, v in values.items()
    }
    stored = {name for s in signature["input_specs"] for name in _stored(s)}
    origin = {name: name for name in stored}
    for node in graph["nodes"]:
        given = [name for i in node["inputs"] for name in _names(i["arg"])]
        if given and all(name in origin for name in given):
            origin.update({name: origin[given[0]] for made in node["outputs"] for name in _names(made)})
    nodes = [node for node in graph["nodes"] if not _folded(node, origin) and "_assert" not in node["target"]]
    made_by = {name: node for node in graph["nodes"] for made in node["outputs"] for name in _names(made)}
    weights = {origin[name] for node in nodes for name in _weights_of(node) if name in origin}
    tensors = {
        name: Tensor(dtype=dtype, shape=shape, constant=name in origin, weight=name in weights and bool(shape))
        for name, (dtype, shape) in kinds.items()
    }
    ends = tuple(tuple(_spec(name, kinds[name], values[name]) for name in names) for names in (fed, answers))
    return Network(
        path=path,
        format="pt2",
        inputs=ends[0],
        outputs=ends[1],
        tensors=tensors,
        nodes=[_node(node, tensors, origin, made_by) for node in nodes],
        made_by=f"torch {document['torch_version']}" if document.get("torch_version") else "torch",
        size=path.stat().st_size,
    )


def _arg(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return (spec.get("user_input") or {}).get("arg") or {}


def _stored(spec: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("parameter", "buffer", "tensor_constant"):
        if spec.get(kind):
            yield spec[kind]["arg"]["name"]


def _names(argument: Mapping[str, Any]) -> Iterator[str]:
    """The tensors of an argument, be it one or a list."""
    for kind, value in argument.items():
        if kind == "as_tensor":
            yield value["name"]
        elif kind == "as_tensors":
            yield from (v["name"] for v in value)
        elif kind == "as_optional_tensors":
            yield from (v["as_tensor"]["name"] for v in value if v.get("as_tensor"))


def _folded(node: Mapping[str, Any], origin: Mapping[str, str]) -> bool:
    made = [name for output in node["outputs"] for name in _names(output)]
    return bool(made) and all(name in origin for name in made)


def _weights_of(node: Mapping[str, Any]) -> Iterator[str]:
    """The operands of a node that can be weights: not those of quantizers, nor the scales of quantized layers."""
    if _op(node).startswith(QUANTIZERS):
        return
    for given in node["inputs"]:
        if "scale" not in given["name"] and "zero" not in given["name"] and not given["name"].endswith("zp"):
            yield from _names(given["arg"])


def _op(node: Mapping[str, Any]) -> str:
    """`conv2d` of `torch.ops.aten.conv2d.default`."""
    parts = str(node["target"]).split(".")
    return parts[3] if len(parts) > 3 else parts[-1]


def _symbols(sizes: Sequence[Mapping[str, Any]]) -> set[str]:
    return {s["as_expr"]["expr_str"] for s in sizes if "as_expr" in s}


def _size(size: Mapping[str, Any], ones: set[str]) -> int | None:
    """An axis: a number, or an expression in which the free batch is 1; None for any other unknown."""
    if "as_int" in size:
        return int(size["as_int"])
    return _value(
        ast.parse(size["as_expr"]["expr_str"], mode="eval").body, {ast.dump(ast.parse(o).body[0]) for o in ones}
    )


def _value(tree: ast.expr, ones: set[str]) -> int | None:
    """Of what sympy's srepr wrote: Mul(Integer(65), Symbol('s0', integer=True))."""
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        return None
    if tree.func.id == "Symbol":
        return 1 if ast.dump(ast.Expr(tree)) in ones else None
    if tree.func.id == "Integer":
        return ast.literal_eval(tree.args[0]) if tree.args else None
    parts = [_value(argument, ones) for argument in tree.args]
    if any(p is None for p in parts):
        return None
    known = [p for p in parts if p is not None]
    return {"Mul": product(known), "Add": sum(known)}.get(tree.func.id)


def _spec(name: str, kind: tuple[str, Shape], value: Mapping[str, Any]) -> TensorSpec:
    shape = tuple(int(s["as_int"]) if "as_int" in s else None for s in value["sizes"])
    return TensorSpec(name=name, dtype=kind[0], shape=shape)


def _node(
    node: Mapping[str, Any], tensors: Mapping[str, Tensor], origin: Mapping[str, str], made_by: Mapping[str, Any]
) -> Node:
    op = _op(node)
    inputs = [name for i in node["inputs"] for name in _names(i["arg"])]
    outputs = [name for made in node["outputs"] for name in _names(made)]
    layer = op in (*CONVOLUTIONS, *TRANSPOSED, *MATRICES, *RECURRENT) or _attends(op)
    return Node(
        op=op,
        name=node.get("name") or "",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        macs=_macs(op, node, tensors, origin, outputs[0]) if layer else 0,
        layer=layer,
        int8=layer and _is_int8(op, node, tensors, made_by),
        fuses=op in VIEWS or op.startswith(QUANTIZERS),
    )


def _operands(op: str, node: Mapping[str, Any]) -> list[str]:
    """Data and weight, or the two matrices."""
    named = {i["name"]: name for i in node["inputs"] for name in _names(i["arg"])}
    for keys in (("input", "weight"), ("qx", "qw"), ("mat1", "mat2"), ("self", "mat2"), ("batch1", "batch2")):
        if set(keys) <= set(named):
            return [named[key] for key in keys]
    return [name for i in node["inputs"] for name in _names(i["arg"])][:2]


def _macs(
    op: str, node: Mapping[str, Any], tensors: Mapping[str, Tensor], origin: Mapping[str, str], output: str
) -> int | None:
    names = _operands(op, node)
    shapes = [tensors[origin.get(name, name)].shape for name in names]
    made = tensors[output].shape
    given = [tensors[name].shape for i in node["inputs"] for name in _names(i["arg"])]
    if op in RECURRENT:  # input, states, and the weights of each layer: matrices, beside biases of one axis
        return layers.recurrence(made, [shape for shape in given[1:] if shape and len(shape) == 2])
    if _attends(op):
        keys, values = given[1], given[2]
        return layers.attention(given[0], keys[-2], values[-1]) if keys and values else None
    if len(shapes) < 2 or not shapes[0] or not shapes[1] or not made:
        return None
    data, weight = shapes[0], shapes[1]
    transposed = op in TRANSPOSED or (op == "convolution" and _flag(node, "transposed"))
    if transposed:
        return layers.transposed_convolution(data, weight[1:])
    if op in CONVOLUTIONS:
        return layers.convolution(made, weight[1:])
    return layers.matrix(made, data[-1])


def _attends(op: str) -> bool:
    """scaled_dot_product_attention, or one of the kernels that it is decomposed to (_scaled_dot_product_flash_attention...)."""
    return op.lstrip("_").startswith(ATTENTION)


def _flag(node: Mapping[str, Any], name: str) -> bool:
    return any(i["name"] == name and i["arg"].get("as_bool") for i in node["inputs"])


def _is_int8(op: str, node: Mapping[str, Any], tensors: Mapping[str, Tensor], made_by: Mapping[str, Any]) -> bool:
    """An operator of oneDNN's quantized ones, or one whose operands were just dequantized."""
    if op.startswith("q"):
        return all(tensors[name].dtype in BYTES for name in _operands(op, node))
    return all(name in made_by and _op(made_by[name]).startswith("dequantize_per") for name in _operands(op, node)[:2])
