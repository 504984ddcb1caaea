"""ncnn's .param (text, github.com/Tencent/ncnn/wiki/param-and-model-file-structure) with its .bin, or both in a zip.

The file has no shapes but hints at its inputs; those of the blobs between are what one inference of ncnn, where it is installed,
gives on zeros. It happens in a process of its own: a layer that is given a shape it does not expect may end the process.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebench.errors import ModelError
from edgebench.inspect import layers
from edgebench.inspect.graph import Network, Node, Shape, Tensor
from edgebench.schema import TensorSpec

MAGIC = "7767517"
HALVED = 0.75
"""A .bin that is smaller than this share of its weights in float32 holds them in half precision."""
HINT = "-23330"
CONVOLUTIONS = {"Convolution", "ConvolutionDepthWise", "Convolution1D", "ConvolutionDepthWise1D", "Convolution3D"}
DECONVOLUTIONS = {"Deconvolution", "DeconvolutionDepthWise"}
RECURRENT = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""The gates of each."""
LAYERS = {*CONVOLUTIONS, *DECONVOLUTIONS, *RECURRENT, "InnerProduct", "Gemm", "MatMul", "MultiHeadAttention"}
VIEWS = {"Split", "Reshape", "Flatten", "Squeeze", "ExpandDims", "Noop", "Dropout"}
TIMEOUT = 60.0
FIX = "Convert it again with pnnx, and keep the .bin beside the .param."
FIX_ZIP = "Copy it again whole, or make it again: edgebench convert MODULE:CALLABLE --to ncnn."


@dataclass(frozen=True)
class Layer:
    """One line of the file."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: Mapping[str, int]
    hint: Shape | None


def read(path: Path, shapes: Mapping[str, Sequence[int]]) -> Network:
    """The network of a .param or zip, for one sample. Raises ModelError: damaged, foreign, or without its .bin."""
    with files(path) as (param, weights):
        lines = _lines(path, param)
        stored = weights.stat().st_size
        ends = _ends(lines)
        fed = {name: tuple(shapes[name][1:]) if name in shapes else hint for name, hint in ends[0].items()}
        found, strange = _tried(param, weights, fed, lines)
        size = path.stat().st_size + (weights.stat().st_size if weights.parent == path.parent else 0)
    tensors = {name: Tensor(dtype="float32", shape=(1, *shape)) for name, shape in found.items()}
    for name in (name for line in lines for name in line.outputs):
        tensors.setdefault(name, Tensor(dtype="float32", shape=None))
    # Some layers keep float32 in a file of halves: what most of its bytes are is told by their number.
    half = stored < HALVED * 4 * sum(_weights(line)[0] for line in lines)
    for number, line in enumerate(lines):
        count, int8 = _weights(line)
        if count:
            dtype = "int8" if int8 else "float16" if half else "float32"
            tensors[f"weights of {number}"] = Tensor(dtype=dtype, shape=(count,), constant=True, weight=True)
    return Network(
        path=path,
        format="ncnn",
        inputs=tuple(_spec(name, fed[name]) for name in ends[0]),
        outputs=tuple(_spec(name, found.get(name)) for name in ends[1]),
        tensors=tensors,
        nodes=[_node(line, tensors) for line in lines if line.kind != "Input"],
        notes=_notes(found, strange),
        custom=tuple(strange or ()),
        size=size,
    )


def _notes(found: Mapping[str, Shape], strange: Sequence[str] | None) -> tuple[str, ...]:
    if strange is None:
        return ("Without ncnn neither MACs nor activations can be told, nor whether it knows each of these layers.",)
    if strange or found:
        return ()
    return ("Neither MACs nor activations can be told: an input has no shape, or ncnn does not run the network.",)


@contextmanager
def files(path: Path) -> Iterator[tuple[Path, Path]]:
    """The .param and the .bin of a zip, or side by side. Raises ModelError."""
    zipped = path.suffix.lower() == ".ncnn"  # edgebench's own
    if zipped and not zipfile.is_zipfile(path):
        raise ModelError(f"{path} is no zip of a .param and a .bin, or is cut short.", FIX_ZIP)
    if not zipfile.is_zipfile(path):
        weights = path.with_suffix(".bin")
        with path.open("rb") as file:
            if not file.read(64).lstrip().startswith(MAGIC.encode()):
                raise ModelError(f"{path} is no ncnn network: its first line is no {MAGIC}.", FIX)
        if not weights.is_file():
            raise ModelError(f"The weights of {path.name} are in {weights.name}, which is not beside it.", FIX)
        yield path, weights
        return
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            names = {Path(n).suffix: n for n in archive.namelist() if n.endswith((".bin", ".param"))}
            if set(names) != {".bin", ".param"}:
                raise ModelError(f"{path} holds no .param and .bin.", FIX_ZIP)
            yield Path(archive.extract(names[".param"], folder)), Path(archive.extract(names[".bin"], folder))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:
        raise ModelError(f"{path} is damaged or cut short: {str(error).rstrip('.')}.", FIX_ZIP) from error


def _lines(path: Path, param: Path) -> list[Layer]:
    try:
        text = param.read_text().split("\n")
        if text[0].strip() != MAGIC:
            raise ValueError(f"its first line is no {MAGIC}")
        found = [_layer(line.split()) for line in text[2:] if line.strip()]
        if len(found) != int(text[1].split()[0]):
            raise ValueError(f"it has {len(found)} of {text[1].split()[0]} layers")
    except (ValueError, IndexError) as error:
        raise ModelError(f"{path} is no ncnn network, or is cut short: {error}.", FIX) from error
    return found


def _layer(words: Sequence[str]) -> Layer:
    ins, outs = int(words[2]), int(words[3])
    names, rest = words[4 : 4 + ins + outs], words[4 + ins + outs :]
    if len(names) != ins + outs:
        raise ValueError(f"the layer {words[1]} is cut short")
    pairs = {key: value for key, _, value in (word.partition("=") for word in rest)}
    hint: Shape | None = None
    if HINT in pairs:
        _, axes, width, height, channels = (int(v) for v in pairs[HINT].split(",")[:5])
        hint = {1: (width,), 2: (height, width), 3: (channels, height, width)}.get(axes)
    numbers = {key: int(value) for key, value in pairs.items() if value.lstrip("-").isdigit()}
    if hint is None and words[0] == "Input":
        hint = _older_hint(*(numbers.get(key, 0) for key in "012"))
    return Layer(words[0], words[1], tuple(names[:ins]), tuple(names[ins:]), numbers, hint)


def _older_hint(width: int, height: int, channels: int) -> Shape | None:
    """The hint of ncnn's own converters: the parameters 0, 1 and 2 of an Input."""
    if width <= 0 and channels <= 0:
        return None
    shape = (channels, height, width) if channels > 0 else (height, width) if height > 0 else (width,)
    return tuple(size if size > 0 else None for size in shape)


def _ends(lines: Sequence[Layer]) -> tuple[dict[str, Shape | None], list[str]]:
    """The inputs with their hints, and the blobs that no layer reads."""
    read_by = {name for line in lines for name in line.inputs}
    fed = {line.outputs[0]: line.hint for line in lines if line.kind == "Input"}
    return fed, [name for line in lines for name in line.outputs if name not in read_by]


def _tried(
    param: Path, weights: Path, fed: Mapping[str, Shape | None], lines: Sequence[Layer]
) -> tuple[dict[str, Shape], list[str] | None]:
    """The shape of every blob by one inference, {} where that cannot be had; the kinds of layers that ncnn does not know.

    These are None where there is no ncnn to ask.
    """
    known = {name: None if shape is None or None in shape else shape for name, shape in fed.items()}
    kinds = sorted({line.kind for line in lines})
    with tempfile.TemporaryDirectory() as folder:
        asked = [str(param), str(weights), json.dumps(known), folder, json.dumps(kinds)]
        command = [sys.executable, "-m", "edgebench.inspect.ncnn_shapes", *asked]
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL)
        strange, shapes = (_answer(Path(folder, name)) for name in ("strange.json", "shapes.json"))
    return {name: tuple(shape) for name, shape in (shapes or {}).items()}, strange


def _answer(path: Path) -> Any:
    """What a child wrote; None where it ended before."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _spec(name: str, shape: Shape | None) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=(1, *(shape or ())))


def _node(line: Layer, tensors: Mapping[str, Tensor]) -> Node:
    layer = line.kind in LAYERS
    return Node(
        op=line.kind,
        name=line.name,
        inputs=line.inputs,
        outputs=line.outputs,
        macs=_macs(line, tensors) if layer else 0,
        layer=layer,
        int8=layer and _weights(line)[1],
        fuses=line.kind in VIEWS,
    )


def _weights(line: Layer) -> tuple[int, bool]:
    """How many numbers a layer has in the .bin, and whether they are int8."""
    n = line.numbers
    if line.kind in CONVOLUTIONS | DECONVOLUTIONS:
        return n.get("6", 0) + (n.get("0", 0) if n.get("5") else 0), bool(n.get("8"))
    if line.kind == "InnerProduct":
        return n.get("2", 0) + (n.get("0", 0) if n.get("1") else 0), bool(n.get("8"))
    if line.kind == "Gemm":
        sizes = (("4", "7", "9"), ("5", "9", "8"), ("6", "8", ""))
        return sum(n.get(a, 0) * n.get(b, 1) for flag, a, b in sizes if n.get(flag)), bool(n.get("18"))
    if line.kind == "MultiHeadAttention":
        return 4 * (n.get("2", 0) + n.get("0", 0)), bool(n.get("18"))
    if line.kind in RECURRENT:
        matrices, biases = _recurrent(line)
        return matrices + biases, bool(n.get("8"))
    if line.kind == "MemoryData":
        return math.prod(n[key] for key in ("0", "1", "11", "2") if n.get(key)), False
    each = {"BatchNorm": 4, "LayerNorm": 2, "GroupNorm": 2, "InstanceNorm": 2, "Scale": 2, "PReLU": 1, "Embed": 1}
    return each.get(line.kind, 0) * n.get("1" if line.kind == "GroupNorm" else "0", 0), False


def _recurrent(line: Layer) -> tuple[int, int]:
    """How many numbers its matrices and its biases are: 0 is the width of the output, 1 that of all weights of the input."""
    n, gates = line.numbers, RECURRENT[line.kind]
    outputs, ways = n.get("0", 0), 2 if n.get("2") == 2 else 1
    hidden = n.get("3", 0) or outputs if line.kind == "LSTM" else outputs
    projected = hidden * outputs if hidden != outputs else 0
    biases = 4 if line.kind == "GRU" else gates  # the new state's has two
    return n.get("1", 0) + ways * (gates * hidden * outputs + projected), ways * biases * hidden


def _macs(line: Layer, tensors: Mapping[str, Tensor]) -> int | None:
    n, output, given = line.numbers, tensors[line.outputs[0]].shape, tensors[line.inputs[0]].shape
    if not output or not given:
        return None
    if line.kind in CONVOLUTIONS:
        return layers.convolution(output, (n.get("6", 0) // max(1, n.get("0", 1)),))
    if line.kind in DECONVOLUTIONS:
        return layers.transposed_convolution(given, (n.get("6", 0) // max(1, given[1] or 1),))
    if line.kind == "InnerProduct":
        return layers.matrix(output, n.get("2", 0) // max(1, n.get("0", 1)))
    if line.kind in RECURRENT:  # (1, T, in)
        return layers.times(given[1] if len(given) > 2 else 1, _recurrent(line)[0])
    if line.kind == "MultiHeadAttention":
        keys = tensors[line.inputs[1]].shape if len(line.inputs) > 1 else given
        projections = layers.times(given[-2], 4 * n.get("2", 0))
        inner = layers.attention(given, keys[-2] if keys else None, n.get("0"))
        return None if projections is None or inner is None else projections + inner
    return layers.matrix(output, n.get("9") or given[-1])
