"""Static int8 on an ONNX graph, as quantize-dequantize pairs (QDQ), with onnxruntime's quantizer."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgebench.compress import ranges
from edgebench.compress.model_file import external_files
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import DataError, ModelError

if TYPE_CHECKING:
    from edgebench.compress.quantize import Quantize

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
OLDEST = 13
"""Per-channel scales came with opset 13; older graphs are converted first."""
CONVERTED = 17
_TRANSFORMER = {"LayerNormalization", "Softmax", "SkipLayerNormalization", "Attention"}


def quantize(source: Path, samples: NDArray[Any], asked: Quantize, path: Path, *, signed: bool) -> dict[str, Any]:
    """Write the int8 form of a float ONNX file: s8 weights, and activations u8 or, if `signed`, symmetric s8.

    u8 is what x86 kernels fuse (with s8 activations onnxruntime's are slower than float there); symmetric s8 is
    what TensorRT and ARM take. Returns facts, `int8_coverage` among them. Raises ModelError or DataError.
    """
    check_samples(samples)
    with quiet(), tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder, "prepared.onnx")
        try:
            _prepare(source, prepared)
            chosen = samples[: asked.samples]
            limits = _ranges(prepared, chosen, asked.ranges, Path(folder)) if asked.ranges != "minmax" else {}
            _quantize(prepared, chosen, asked, path, signed, limits)
        except (DataError, ModelError):
            raise
        except Exception as error:
            raise ModelError(
                f"onnxruntime cannot quantize this network: {first_line(error)}.", "Leave the quantize step out."
            ) from error
    return _finish(path)


def copy(source: Path, path: Path) -> None:
    """Copy an ONNX file, taking weights that lie beside it into it."""
    import onnx

    if external_files(source):
        path.write_bytes(onnx.load(source).SerializeToString(deterministic=True))
    else:
        shutil.copyfile(source, path)


def check_samples(samples: NDArray[Any]) -> None:
    if not len(samples) or float(samples.min()) == float(samples.max()):
        raise DataError(
            "The calibration samples are all the same, which gives no range to quantize to.",
            "Calibrate on real samples: check the data set.",
        )


def _prepare(source: Path, path: Path) -> None:
    """Fold batch norms and constants, infer every shape."""
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


def _reader(name: str, parts: list[NDArray[Any]]) -> Any:
    """Hands the parts out one by one, as the quantizer wants it."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[NDArray[Any]] = iter(parts)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            part = next(self.left, None)
            return None if part is None else {name: part}

    return Reader()


def _input(model: Path) -> tuple[str, int | None]:
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    weights = {w.name for w in graph.initializer}
    given = next(i for i in graph.input if i.name not in weights)
    return given.name, given.type.tensor_type.shape.dim[0].dim_value or None


def _batches(samples: NDArray[Any], batch: int | None) -> list[NDArray[Any]]:
    """Whole batches of a fixed size, or of 32 and the rest."""
    size = batch or 32
    parts = [np.ascontiguousarray(samples[i : i + size]) for i in range(0, len(samples), size)]
    return [part for part in parts if batch is None or len(part) == batch]


def _ranges(model: Path, samples: NDArray[Any], method: str, folder: Path) -> dict[str, ranges.Range]:
    """The range of every activation, from histograms of what flowed through it."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    calibrator = create_calibrator(
        model,
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=CalibrationMethod.Entropy,
        extra_options={"num_bins": ranges.BINS},
    )
    name, batch = _input(model)
    for part in _batches(samples, batch):  # one at a time: its histograms take parts of one size only
        calibrator.collect_data(_reader(name, [part]))
    found = {}
    for name, (counts, edges, low, high, _) in calibrator.collector.histogram_dict.items():
        found[name] = ranges.METHODS[method](counts, edges, float(low), float(high))
    return found


def _quantize(
    model: Path, samples: NDArray[Any], asked: Quantize, path: Path, signed: bool, limits: dict[str, ranges.Range]
) -> None:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    name, batch = _input(model)
    graph = onnx.load(model, load_external_data=False).graph
    # Around layer norm and softmax int8 costs more accuracy than it saves time: there, weighted layers only.
    weighted_only = any(node.op_type in _TRANSFORMER for node in graph.node)
    extra: dict[str, Any] = {"ActivationSymmetric": signed, "WeightSymmetric": True}
    if limits:
        # Through the symmetric form of the range, so that an override and a calibrated range are treated alike.
        extra["TensorQuantOverrides"] = {
            tensor: [{"rmin": np.float32(low), "rmax": np.float32(high), "symmetric": signed}]
            for tensor, (low, high) in limits.items()
        }
    quantize_static(
        str(model),
        str(path),
        _reader(name, _batches(samples, batch)),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(LAYERS) if weighted_only else None,
        per_channel=asked.per_channel,
        activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options=extra,
    )


def _finish(path: Path) -> dict[str, Any]:
    import onnx

    from edgebench.compress.export import clean, open_session

    model = onnx.load(path)
    clean(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    open_session(path)  # a graph that onnxruntime itself refuses must not leave the house
    done, layers = coverage(model)
    return {"int8_layers": done, "layers": layers, "int8_coverage": done / layers if layers else 0.0}


def coverage(model: Any) -> tuple[int, int]:
    """How many convolutions and matrix products have both operands quantized, of how many.

    It is what the file asks for; what a runtime makes of it is in the row's effective configuration.
    """
    made_by = {output: node for node in model.graph.node for output in node.output}
    layers = [node for node in model.graph.node if node.op_type in LAYERS]
    done = [
        node
        for node in layers
        if all(i in made_by and made_by[i].op_type == "DequantizeLinear" for i in node.input[:2])
    ]
    return len(done), len(layers)
