"""OpenVINO's IR: an .xml of layers and edges with the weights in a .bin beside it. Read without OpenVINO."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgebench.errors import ModelError
from edgebench.inspect import layers
from edgebench.inspect.graph import Network, Node, Shape, Tensor, UnknownKind
from edgebench.schema import TensorSpec

DTYPES = {
    "f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "i8": "int8", "u8": "uint8", "i16": "int16",
    "u16": "uint16", "i32": "int32", "u32": "uint32", "i64": "int64", "u64": "uint64", "boolean": "bool", "i4": "int4",
    "u4": "uint4", "fp32": "float32", "fp16": "float16", "fp64": "float64",
}  # fmt: skip
LAYERS = {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"}
RECURRENT = {"LSTMSequence", "GRUSequence", "RNNSequence", "LSTMCell", "GRUCell", "RNNCell"}
LAYERS |= RECURRENT
VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "FakeQuantize"}
CARRIES = {"MaxPool", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Pad", "Concat", "Split", "VariadicSplit", "Relu"}
"""What hands quantized numbers on as they are."""
QUANTIZED = (255, 256)
"""Levels of a FakeQuantize that are 8 bits."""
DATA_OPS = {"Parameter", "Result", "Const"}
FIX = "Save the model again with openvino.save_model, and keep the .bin beside the .xml."
Element = ElementTree.Element


def read(path: Path, shapes: Mapping[str, Sequence[int]]) -> Network:
    """The network of an IR, its free batch counted as 1. Raises ModelError: damaged, or without its .bin."""
    tree = _tree(path)
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ModelError(f"The weights of {path.name} are in {weights.name}, which is not beside it.", FIX)
    try:
        elements = {e.attrib["id"]: e for e in tree.iterfind("layers/layer")}
        edges = {(e.attrib["to-layer"], e.attrib["to-port"]): e for e in tree.iterfind("edges/edge")}
        return _network(path, elements, edges, weights.stat().st_size, tree.attrib.get("version", "?"))
    except (KeyError, ValueError, IndexError) as error:
        raise UnknownKind(f"{path} is an IR of a kind that is not known here: {error!r}.", FIX) from error


def _tree(path: Path) -> Element:
    try:
        tree = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is no XML, or is cut short: {error}.", FIX) from error
    if tree.tag != "net" or tree.find("layers") is None:
        raise ModelError(f"{path} is XML, but no OpenVINO IR.", FIX)
    return tree


def _network(
    path: Path, elements: Mapping[str, Element], edges: Mapping[tuple[str, str], Element], weights: int, version: str
) -> Network:
    constants: set[str] = set()
    makers = {i: [_source(edges, i, p.attrib["id"]) for p in e.iterfind("input/port")] for i, e in elements.items()}
    for key, element in elements.items():  # the file has its layers in the order in which they run
        sources = [s.partition(".")[0] for s in makers[key]]
        if element.attrib["type"] == "Const" or (sources and set(sources) <= constants):
            constants.add(key)
    used = _weights(elements, makers, constants)
    tensors = {}
    for key, element in elements.items():
        for port in element.iterfind("output/port"):
            dtype = DTYPES.get(port.attrib.get("precision", "").lower(), "")
            name = f"{key}.{port.attrib['id']}"
            shape = _shape(port)
            weight = key in used and bool(shape)
            tensors[name] = Tensor(dtype=_stored(element, dtype), shape=shape, constant=key in constants, weight=weight)
    runs = {k: e for k, e in elements.items() if k not in constants and e.attrib["type"] not in DATA_OPS}
    ends = [[k for k, e in elements.items() if e.attrib["type"] == kind] for kind in ("Parameter", "Result")]
    fed, answers = [_first(elements[k], k) for k in ends[0]], [makers[k][0] for k in ends[1]]
    return Network(
        path=path,
        format="openvino-ir",
        inputs=tuple(_spec(elements[k].find("output/port"), elements[k]) for k in ends[0]),
        outputs=tuple(_spec(_port(elements, makers[k][0]), elements[k]) for k in ends[1]),
        tensors=tensors,
        nodes=[_node(k, e, makers, tensors, elements, constants) for k, e in runs.items()],
        made_by=f"OpenVINO, IR {version}",
        size=path.stat().st_size + weights,
        ends=(tuple(fed), tuple(answers)),
    )


def _source(edges: Mapping[tuple[str, str], Element], layer: str, port: str) -> str:
    edge = edges[(layer, port)]
    return f"{edge.attrib['from-layer']}.{edge.attrib['from-port']}"


def _stored(element: Element, dtype: str) -> str:
    """The type of what an operator gives: of a Const as it is stored, of a quantizer the bytes that run."""
    data = element.find("data")
    if element.attrib["type"] == "Const" and data is not None:
        return DTYPES.get(data.attrib.get("element_type", ""), dtype)
    return "uint8" if _levels(element) in QUANTIZED else dtype


def _shape(port: Element) -> Shape:
    """A free first axis counts as 1."""
    sizes = [int(dim.text or -1) for dim in port.iterfind("dim")]
    return tuple(1 if size < 0 and axis == 0 else None if size < 0 else size for axis, size in enumerate(sizes))


def _first(element: Element, key: str) -> str:
    port = element.find("output/port")
    return f"{key}.{port.attrib['id'] if port is not None else 0}"


def _port(elements: Mapping[str, Element], name: str) -> Element | None:
    key, _, number = name.partition(".")
    return next((p for p in elements[key].iterfind("output/port") if p.attrib["id"] == number), None)


def _spec(port: Element | None, element: Element) -> TensorSpec:
    if port is None:
        raise ValueError(f"{element.attrib.get('name')} has no port")
    sizes = tuple(None if int(dim.text or -1) < 0 else int(dim.text or -1) for dim in port.iterfind("dim"))
    name = element.attrib["name"]
    if element.attrib["type"] == "Result":
        name = (port.attrib.get("names") or name.removesuffix("/sink_port_0")).split(",")[0]
    return TensorSpec(name=name, dtype=DTYPES.get(port.attrib.get("precision", "").lower(), ""), shape=sizes)


def _weights(elements: Mapping[str, Element], makers: Mapping[str, list[str]], constants: set[str]) -> set[str]:
    """The Const at the end of each chain of constants that a running operator reads as numbers."""
    found = set()
    for key, element in elements.items():
        if key in constants or element.attrib["type"] == "FakeQuantize":
            continue
        for place, source in enumerate(makers[key]):
            start = source.partition(".")[0]
            if start not in constants or (place and element.attrib["type"] in _SHAPED):
                continue
            found.add(_chain(start, elements, makers))
    return found


_SHAPED = {
    "Reshape",
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Pad",
    "StridedSlice",
}
_SHAPED |= {"Slice", "Gather", "Split", "VariadicSplit", "Broadcast", "Interpolate", "Tile", "TopK", "Range"}


def _chain(key: str, elements: Mapping[str, Element], makers: Mapping[str, list[str]]) -> str:
    """Along the first operand: Const -> Convert -> Subtract -> Multiply -> Reshape is what a compressed weight is."""
    while elements[key].attrib["type"] != "Const" and makers[key]:
        key = makers[key][0].partition(".")[0]
    return key


def _node(
    key: str,
    element: Element,
    makers: Mapping[str, list[str]],
    tensors: Mapping[str, Tensor],
    elements: Mapping[str, Element],
    constants: set[str],
) -> Node:
    kind = element.attrib["type"]
    outputs = tuple(f"{key}.{p.attrib['id']}" for p in element.iterfind("output/port"))
    layer = kind in LAYERS
    return Node(
        op=kind,
        name=element.attrib["name"],
        inputs=tuple(makers[key]),
        outputs=outputs,
        macs=_macs(element, makers[key], tensors, outputs[0]) if layer else 0,
        layer=layer,
        int8=layer and all(_is_int8(s, elements, makers, tensors, constants) for s in _operands(kind, makers[key])),
        fuses=kind in VIEWS,
    )


def _operands(kind: str, sources: Sequence[str]) -> Sequence[str]:
    """Data and weight. A recurrent layer ends with the weights of the input, those of the state, and a bias."""
    return (sources[0], sources[-3], sources[-2]) if kind in RECURRENT else sources[:2]


def _macs(element: Element, sources: Sequence[str], tensors: Mapping[str, Tensor], output: str) -> int | None:
    kind = element.attrib["type"]
    if kind in RECURRENT:  # a sequence is (N, T, in), a cell's input (N, in); weights (directions, gates * hidden, ...)
        steps = (tensors[sources[0]].shape or ())[:-1]
        return layers.recurrence(steps, [tensors[name].shape for name in sources[-3:-1]])
    data, weight, made = tensors[sources[0]].shape, tensors[sources[1]].shape, tensors[output].shape
    if not data or not weight:
        return None
    if kind == "MatMul":
        attributes = element.find("data")
        turned = attributes is not None and attributes.attrib.get("transpose_a") == "true"
        return layers.matrix(made, data[-2] if turned else data[-1])
    kernel = weight[2 if kind.startswith("Group") else 1 :]  # (groups, out, in, ...) or (out, in, ...)
    if "Backprop" in kind:
        return layers.transposed_convolution(data, kernel)
    return layers.convolution(made, kernel)


def _is_int8(
    source: str,
    elements: Mapping[str, Element],
    makers: Mapping[str, list[str]],
    tensors: Mapping[str, Tensor],
    constants: set[str],
) -> bool:
    """Behind a FakeQuantize of 256 levels, or stored as bytes."""
    key = source.partition(".")[0]
    if key in constants:
        const = _chain(key, elements, makers)
        return any(tensors[n].dtype in ("int8", "uint8") for n in tensors if n.partition(".")[0] == const)
    while elements[key].attrib["type"] in CARRIES and makers[key]:
        key = makers[key][0].partition(".")[0]
    return _levels(elements[key]) in QUANTIZED


def _levels(element: Element) -> int:
    """Of a FakeQuantize; 0 for any other operator."""
    data = element.find("data")
    return int(data.attrib.get("levels", "0")) if data is not None and element.attrib["type"] == "FakeQuantize" else 0
