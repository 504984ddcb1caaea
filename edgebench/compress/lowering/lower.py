"""Lowerings: how a network becomes the file that a kind of runtime wants. Backends name the one they need.

There is no one int8 file that is right and fast everywhere: x86 kernels want unsigned activations, TensorRT and ARM
signed ones, torch its own graph. Each is made from the same float network and the same calibration samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench.errors import PlanError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from edgebench.compress.quantization.quantize import Quantize


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a lowering works from. Of `model` and `onnx` it uses one; a network that came as a file has no model.

    `example` is (B, ...), B >= 2; `calibration` (N, ...), or for an ONNX file of several inputs that of each by its name;
    `onnx` gives the path of the float ONNX file.
    """

    model: nn.Module | None
    example: Tensor | None
    calibration: NDArray[Any] | Mapping[str, NDArray[Any]]
    onnx: Callable[[], Path]
    quantize: Quantize | None

    @property
    def samples(self) -> NDArray[Any]:
        """The calibration of a network of one input, as those of torch are."""
        assert not isinstance(self.calibration, Mapping)
        return self.calibration


@dataclass(frozen=True, kw_only=True)
class Lowering:
    """One kind of file: its format and suffix, the precision it gives, and what writes it and returns its facts."""

    format: str
    precision: str
    write: Callable[..., Mapping[str, Any]]
    needs_torch: bool = False
    fixed_batch: bool = False
    """Whether the file is for one size of batch: `name@8` is the lowering for eight, `name` for one."""
    exported: bool = True
    """Whether it starts from the network as torch exports it; ncnn's traces it."""


def get(name: str) -> Lowering:
    """The lowering of this name. Raises PlanError when there is none."""
    known, _, batch = name.partition("@")
    if known not in LOWERINGS:
        raise PlanError(f'There is no lowering "{name}".', did_you_mean(known, LOWERINGS))
    found = LOWERINGS[known]
    if not batch:
        return found
    if not found.fixed_batch or not batch.isdigit() or int(batch) < 1:
        raise PlanError(f'There is no lowering "{name}": {known} is not made for a batch.', f'Use "{known}".')
    return replace(found, write=partial(found.write, batch=int(batch)))


def _onnx(request: Request, path: Path) -> Mapping[str, Any]:
    if request.model is None or request.example is None:
        from edgebench.compress.lowering import lower_onnx

        lower_onnx.copy(request.onnx(), path)
        return {}
    from edgebench.compress.lowering import export

    export.export_onnx(request.model, request.example, path)
    return {"opset": export.OPSET}


def _pt2(request: Request, path: Path) -> Mapping[str, Any]:
    from edgebench.compress.lowering import export

    assert request.model is not None
    assert request.example is not None
    export.export_pt2(request.model, request.example, path)
    return {}


def _onnx_int8(request: Request, path: Path, *, signed: bool = False, narrow: bool = False) -> Mapping[str, Any]:
    from edgebench.compress.lowering import lower_onnx

    assert request.quantize is not None
    return lower_onnx.quantize(
        request.onnx(), request.calibration, request.quantize, path, signed=signed, narrow=narrow
    )


def _onnx_nncf(request: Request, path: Path) -> Mapping[str, Any]:
    from edgebench.compress.lowering import lower_nncf

    assert request.quantize is not None
    return lower_nncf.quantize(request.onnx(), request.calibration, request.quantize, path)


def _onnx_typed_fp16(request: Request, path: Path) -> Mapping[str, Any]:
    from edgebench.compress.lowering import lower_trt

    return lower_trt.halve(request.onnx(), path)


def _onnx_typed_int8(request: Request, path: Path) -> Mapping[str, Any]:
    from edgebench.compress.lowering import lower_trt

    assert request.quantize is not None
    return lower_trt.quantize(request.onnx(), request.calibration, request.quantize, path)


def _pt2_int8_x86(request: Request, path: Path, *, fused: bool = True, narrow: bool = False) -> Mapping[str, Any]:
    from edgebench.compress.lowering import lower_x86

    assert request.model is not None
    assert request.example is not None
    assert request.quantize is not None
    model, example, samples = request.model, request.example, request.samples
    return lower_x86.quantize(model, example, samples, request.quantize, path, fused=fused, narrow=narrow)


def _tflite(request: Request, path: Path) -> Mapping[str, Any]:
    from edgebench.compress.lowering import lower_litert

    assert request.model is not None
    assert request.example is not None
    return lower_litert.convert(request.model, request.example, path)


def _tflite_fp16(request: Request, path: Path) -> Mapping[str, Any]:
    from edgebench.compress.lowering import lower_litert

    assert request.model is not None
    assert request.example is not None
    return lower_litert.halve(request.model, request.example, path)


def _tflite_int8(request: Request, path: Path, *, dynamic: bool = False) -> Mapping[str, Any]:
    from edgebench.compress.lowering import lower_litert

    assert request.model is not None
    assert request.example is not None
    assert request.quantize is not None
    model, example, samples = request.model, request.example, request.samples
    return lower_litert.quantize(model, example, samples, request.quantize, path, dynamic=dynamic)


def _pte(request: Request, path: Path, *, batch: int = 1) -> Mapping[str, Any]:
    from edgebench.compress.lowering import lower_executorch

    assert request.model is not None
    assert request.example is not None
    return lower_executorch.export(request.model, request.example, path, batch)


def _pte_int8(request: Request, path: Path, *, batch: int = 1) -> Mapping[str, Any]:
    from edgebench.compress.lowering import lower_executorch

    assert request.model is not None
    assert request.example is not None
    assert request.quantize is not None
    model, example, samples = request.model, request.example, request.samples
    return lower_executorch.quantize(model, example, samples, request.quantize, path, batch)


def _ncnn(request: Request, path: Path, *, half: bool = False) -> Mapping[str, Any]:
    from edgebench.compress.lowering import lower_ncnn

    assert request.model is not None
    assert request.example is not None
    return lower_ncnn.convert(request.model, request.example, path, half=half)


LOWERINGS: Mapping[str, Lowering] = {
    "onnx": Lowering(format="onnx", precision="fp32", write=_onnx),
    "onnx-u8s8": Lowering(format="onnx", precision="int8", write=_onnx_int8),
    # For an x86 that adds products of u8 and s8 in 16 bits: with weights of 7 bits the sum of two fits.
    "onnx-u8s7": Lowering(format="onnx", precision="int8", write=partial(_onnx_int8, narrow=True)),
    "onnx-s8s8": Lowering(format="onnx", precision="int8", write=partial(_onnx_int8, signed=True)),
    "onnx-nncf": Lowering(format="onnx", precision="int8", write=_onnx_nncf),
    "onnx-typed-fp16": Lowering(format="onnx", precision="fp32", write=_onnx_typed_fp16),
    "onnx-typed-int8": Lowering(format="onnx", precision="int8", write=_onnx_typed_int8),
    "pt2": Lowering(format="pt2", precision="fp32", write=_pt2, needs_torch=True),
    "pt2-int8-x86": Lowering(format="pt2", precision="int8", write=_pt2_int8_x86, needs_torch=True),
    "pt2-int8-x86-s7": Lowering(
        format="pt2", precision="int8", write=partial(_pt2_int8_x86, narrow=True), needs_torch=True
    ),
    "pt2-int8-qdq": Lowering(
        format="pt2", precision="int8", write=partial(_pt2_int8_x86, fused=False), needs_torch=True
    ),
    "pt2-int8-qdq-s7": Lowering(
        format="pt2", precision="int8", write=partial(_pt2_int8_x86, fused=False, narrow=True), needs_torch=True
    ),
    "tflite": Lowering(format="tflite", precision="fp32", write=_tflite, needs_torch=True),
    # Of the float network: fp16 is a way to store it, without a step of the recipe or calibration.
    "tflite-fp16": Lowering(format="tflite", precision="fp32", write=_tflite_fp16, needs_torch=True),
    "tflite-int8": Lowering(format="tflite", precision="int8", write=_tflite_int8, needs_torch=True),
    "tflite-int8-dynamic": Lowering(
        format="tflite", precision="int8", write=partial(_tflite_int8, dynamic=True), needs_torch=True
    ),
    "pte": Lowering(format="pte", precision="fp32", write=_pte, needs_torch=True, fixed_batch=True),
    "pte-int8": Lowering(format="pte", precision="int8", write=_pte_int8, needs_torch=True, fixed_batch=True),
    "ncnn": Lowering(format="ncnn", precision="fp32", write=_ncnn, needs_torch=True, exported=False),
    "ncnn-fp16": Lowering(
        format="ncnn", precision="fp32", write=partial(_ncnn, half=True), needs_torch=True, exported=False
    ),
}
