"""Int8 forms of a float ONNX graph, by onnxruntime: static as quantize-dequantize pairs (QDQ), or dynamic."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgebench.compress.lowering import onnx_weights
from edgebench.compress.lowering.counted import int8_facts
from edgebench.compress.lowering.onnx_int8 import coverage
from edgebench.compress.lowering.onnx_lean import lean
from edgebench.compress.quantization import calibration, grid
from edgebench.compress.quantization.calibration import Limits, Samples, check_samples
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import EdgebenchError, ModelError, PlanError, did_you_mean

if TYPE_CHECKING:
    from edgebench.compress.quantization.quantize import Quantize

__all__ = ["check_samples", "copy", "layers_of", "prepare", "quantize", "write"]

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
DYNAMIC = ("Conv", "Gemm", "MatMul")
OLDEST = 13
"""Per-channel scales came with opset 13; older graphs are converted first."""
CONVERTED = 17
_INTEGER = {"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QGemm"}
_USE = "::use"
"""Between the name of a weight and the number of the layer that reads this copy of it."""
_KEPT_EXACT = {
    "LayerNormalization", "Softmax", "SkipLayerNormalization", "Attention", "InstanceNormalization", "GroupNormalization",
}  # fmt: skip
"""What has no int8 kernel on any target, and measures its operand: norms of each sample, and softmax."""


def quantize(
    source: Path, samples: Samples, asked: Quantize, path: Path, *, signed: bool, narrow: bool = False
) -> dict[str, Any]:
    """Write the int8 form of a float ONNX file: s8 weights, and activations u8 or, if `signed`, symmetric s8.

    u8 is what x86 kernels fuse (with s8 activations onnxruntime's are slower than float there); symmetric s8 is
    what TensorRT and ARM take. `narrow` weights have 7 bits at most, as an x86 without VNNI needs.

    Layers that `asked` keeps in float have no quantizers of their own. Returns facts,
    `int8_coverage` among them. Raises ModelError, DataError, or PlanError for a layer that is not there.
    """
    if asked.activations == "dynamic" and signed:
        raise PlanError(
            "Dynamic int8 finds its ranges while it runs, and a target of symmetric s8 takes fixed ones only.",
            'Give the quantize step activations = "static" for this target.',
        )
    check_samples(samples)
    check_float(source)
    bits, told = grid.narrowed(asked.weight_bits, narrow)
    with quiet(), tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder, "prepared.onnx")
        try:
            prepare(source, prepared)
            found = limits(prepared, samples, asked, bits)
            write(prepared, found, asked, path, signed=signed, keep=asked.float_names, bits=bits)
            facts = _finish(path)
        except EdgebenchError:
            raise
        except Exception as error:
            raise ModelError(
                f"onnxruntime cannot quantize this network: {first_line(error)}.", "Leave the quantize step out."
            ) from error
    return {**facts, **told}


def check_float(source: Path) -> None:
    """Raise ModelError for an ONNX file that computes with whole numbers already: int8 is made from a float network."""
    import onnx

    graph = onnx.load(source, load_external_data=False).graph
    if any("Quantize" in node.op_type or node.op_type in _INTEGER for node in graph.node):
        raise ModelError(
            f"{source.name} is int8 already, and int8 is made from a float network.",
            f"Give the float file that it came from, or measure this one as it is: edgebench bench {source.name}",
        )


def copy(source: Path, path: Path) -> None:
    """Copy an ONNX file, taking weights that lie beside it into it."""
    import onnx

    from edgebench.compress.model_file import external_files

    if external_files(source):
        path.write_bytes(onnx.load(source).SerializeToString(deterministic=True))
    else:
        shutil.copyfile(source, path)


def prepare(source: Path, path: Path) -> None:
    """Fold batch norms and constants, infer every shape, and give each layer a weight of its own."""
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization.shape_inference import quant_pre_process

    whole = path.with_name("whole.onnx")
    copy(source, whole)
    model = onnx.load(whole)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST:
        onnx.save(version_converter.convert_version(model, CONVERTED), whole)
    quant_pre_process(str(whole), str(path), skip_symbolic_shape=True)
    prepared = onnx.load(path)
    separate(prepared.graph)
    onnx.save(prepared, path)


def separate(graph: Any) -> None:
    """Give each layer that reads a shared weight a copy of its own: onnxruntime opens no file of a shared one in int8."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    uses: dict[str, int] = {}
    for node in _weighted(graph):
        weight = node.input[1]
        uses[weight] = uses.get(weight, 0) + 1
        if uses[weight] > 1:
            node.input[1] = f"{weight}{_USE}{uses[weight]}"
            copied = graph.initializer.add()
            copied.CopyFrom(stored[weight])
            copied.name = node.input[1]


def _weighted(graph: Any) -> list[Any]:
    """The nodes of layers with stored weights, in the order of the graph."""
    stored = {tensor.name for tensor in graph.initializer}
    return [n for n in graph.node if n.op_type in LAYERS and len(n.input) > 1 and n.input[1] in stored]


def layers_of(graph: Any) -> dict[str, list[str]]:
    """The layers with weights, as a user knows them -> the names of their nodes, in the order of the graph.

    A layer is named as its torch module ("blocks.0.conv1") where the exporter kept that in the weight's name, else as
    its first node. One that runs several times has a node for each.
    """
    uses: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    found: dict[str, list[Any]] = {}
    for node in _weighted(graph):
        found.setdefault(node.input[1].partition(_USE)[0], []).append(node)
    return {
        weight.removesuffix(".weight")
        if weight.endswith(".weight") and uses[weight] <= len(nodes)
        else nodes[0].name: [node.name for node in nodes]
        for weight, nodes in found.items()
    }


def nodes_named(graph: Any, names: Sequence[str]) -> list[str]:
    """The nodes of these layers. Raises PlanError for a layer that is not there."""
    layers = layers_of(graph)
    for name in names:
        if name not in layers:
            raise PlanError(f'The network has no layer "{name}" to keep in float.', did_you_mean(name, layers))
    return [node for name in names for node in layers[name]]


def limits(prepared: Path, samples: Samples, asked: Quantize, bits: int) -> Limits:
    """The ranges of a prepared graph over its samples, as it will be: with its weights on the grid of fewer bits than 8."""
    import onnx

    if asked.activations == "dynamic":
        return {}
    chosen = calibration.first(samples, asked.samples)
    if bits == grid.MOST_BITS:
        return calibration.limits(prepared, chosen, asked.ranges)
    model = onnx.load(prepared)
    left = set(nodes_named(model.graph, asked.float_names))
    onto = [node for node in _weighted(model.graph) if node.name not in left]
    onnx_weights.put(model.graph, onnx_weights.scales(onto, model.graph, _by_channel(asked), bits), grid.steps(bits))
    with tempfile.TemporaryDirectory() as folder:
        rounded = Path(folder, "rounded.onnx")
        onnx.save(model, rounded)
        return calibration.limits(rounded, chosen, asked.ranges)


def _by_channel(asked: Quantize) -> Sequence[str]:
    """The kinds of layers with a scale for each channel: a convolution that finds its ranges as it runs has one for all."""
    if not asked.per_channel:
        return ()
    return DYNAMIC[1:] if asked.activations == "dynamic" else LAYERS


def write(
    prepared: Path,
    limits: Mapping[str, tuple[float, float]],
    asked: Quantize,
    path: Path,
    *,
    signed: bool = False,
    keep: Sequence[str] = (),
    only: Sequence[str] = (),
    bits: int | None = None,
) -> None:
    """Lower a prepared graph with the ranges of its calibration: the layers `keep` stay in float; with `only`, all others do.

    `bits` of each weight, if other than the settings'.
    """
    import onnx

    graph = onnx.load(prepared).graph
    left, chosen = nodes_named(graph, keep), nodes_named(graph, only)
    scales = onnx_weights.scales(_weighted(graph), graph, _by_channel(asked), bits or asked.weight_bits)
    if asked.activations == "dynamic":
        _dynamic(prepared, asked, path, left, chosen, scales)
    else:
        # Around these int8 costs more accuracy than it saves time: there, weighted layers only.
        weighted = any(node.op_type in _KEPT_EXACT for node in graph.node)
        _static(prepared, dict(limits), asked, path, signed, left, chosen, weighted, scales)


def _dynamic(
    prepared: Path, asked: Quantize, path: Path, keep: list[str], only: list[str], scales: onnx_weights.Scales
) -> None:
    """s8 weights; u8 activations whose range each inference finds anew, so that no calibration can be wrong."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(prepared),
        str(path),
        op_types_to_quantize=list(DYNAMIC),
        per_channel=asked.per_channel,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=only,
        nodes_to_exclude=keep,
        extra_options={"TensorQuantOverrides": scales},
    )


def _static(
    prepared: Path,
    limits: Limits,
    asked: Quantize,
    path: Path,
    signed: bool,
    keep: list[str],
    only: list[str],
    weighted: bool,
    scales: onnx_weights.Scales,
) -> None:
    """What onnxruntime's quantize_static does after its calibration, with the ranges of ours."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
    from onnxruntime.quantization.registry import QDQRegistry

    seen = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in limits.items()}
    quantizer = QDQQuantizer(
        load_model_with_shape_infer(prepared),
        asked.per_channel,
        False,
        QuantType.QInt8,
        QuantType.QInt8 if signed else QuantType.QUInt8,
        TensorsData(CalibrationMethod.MinMax, seen),
        only,
        keep,
        list(LAYERS) if weighted else list(QDQRegistry),
        {"ActivationSymmetric": signed, "WeightSymmetric": True, "TensorQuantOverrides": scales},
    )
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(path), False)


def _finish(path: Path) -> dict[str, Any]:
    import onnx

    from edgebench.compress.lowering.export import clean, open_session

    model = onnx.load(path)
    clean(model)
    lean(model.graph)
    path.write_bytes(model.SerializeToString(deterministic=True))
    open_session(path)  # a graph that onnxruntime itself refuses must not leave the house
    return int8_facts(*coverage(model))
