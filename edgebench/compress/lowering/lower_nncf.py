"""Static int8 on an ONNX graph by NNCF, OpenVINO's own quantizer, with the calibration that all lowerings share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench.compress.lowering import lower_onnx, onnx_int8
from edgebench.compress.lowering.counted import int8_facts
from edgebench.compress.quantization import calibration
from edgebench.compress.quantization.calibration import Samples
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import MissingRuntime, ModelError

if TYPE_CHECKING:
    from edgebench.compress.quantization.quantize import Quantize

_TRANSFORMER = {"LayerNormalization", "Softmax", "Attention"}


def quantize(source: Path, samples: Samples, asked: Quantize, path: Path) -> dict[str, Any]:
    """Write the int8 form of a float ONNX file as NNCF places its quantizers: for OpenVINO, which fuses all of them.

    Of the settings it takes the samples: ranges are NNCF's own. Returns facts, `int8_coverage` among them. Raises ModelError,
    DataError, or MissingRuntime without nncf.
    """
    _check_settings(asked)
    lower_onnx.check_samples(samples)
    lower_onnx.check_float(source)
    try:
        import nncf
    except ImportError as error:
        raise MissingRuntime(
            "Quantizing by NNCF needs nncf, which is not installed.", "Install it with: pip install nncf"
        ) from error
    import onnx

    with quiet():
        try:
            made = _quantized(nncf, onnx.load(source), calibration.first(samples, asked.samples))
        except Exception as error:
            raise ModelError(
                f"NNCF cannot quantize this network: {first_line(error)}.", 'Leave quantizer = "nncf" out.'
            ) from error
    path.write_bytes(made.SerializeToString(deterministic=True))
    return {"quantizer": "nncf", **int8_facts(*onnx_int8.coverage(made))}


def _check_settings(asked: Quantize) -> None:
    """Refuse what NNCF would leave aside without a word."""
    plain = {"ranges": "minmax", "per_channel": True, "weight_bits": 8, "activations": "static", "float_layers": ""}
    set_otherwise = [name for name, value in plain.items() if getattr(asked, name) != value]
    if set_otherwise:
        raise ModelError(
            f"NNCF has rules of its own, and the quantize step sets {set_otherwise[0]}.",
            f'Leave {set_otherwise[0]} out, or quantizer = "nncf".',
        )


def _quantized(nncf: Any, model: Any, samples: Samples) -> Any:
    weights = {tensor.name for tensor in model.graph.initializer}
    name = next(given.name for given in model.graph.input if given.name not in weights)
    named = samples if isinstance(samples, Mapping) else {name: samples}
    count = len(next(iter(named.values())))
    attends = any(node.op_type in _TRANSFORMER for node in model.graph.node)
    return nncf.quantize(
        model,
        nncf.Dataset([{key: array[i : i + 1] for key, array in named.items()} for i in range(count)]),
        subset_size=count,
        # Its rules for attention: without them, int8 around softmax and layer norm ruins a transformer.
        model_type=nncf.ModelType.TRANSFORMER if attends else None,
    )
