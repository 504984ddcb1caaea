"""Ready ONNX files: what is wrong with them before anything is measured, and inputs made up for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import ModelError
from edgebench.schema import TensorSpec

AGAIN = "Export or copy the model again."


def check_onnx(path: Path) -> tuple[TensorSpec, ...]:
    """The inputs of an ONNX file that is whole. Raises ModelError.

    Missing, unreadable, empty, truncated or damaged; external data that is not there (named); an opset that is newer
    than the installed onnx knows; a graph that breaks ONNX's rules.
    """
    import onnx

    model = _parse(path)
    _check_external(model, path)
    _check_opset(model, path)
    try:
        with quiet():
            onnx.checker.check_model(str(path))
    except Exception as error:
        context = str(error).partition("==> Context: ")[2].split("\n")[0]  # the node, where there is one to name
        where = f" ({context.strip()})" if context else ""
        raise ModelError(f"{path} is no valid ONNX model: {first_line(error)}{where}.", AGAIN) from error
    specs = inputs_of(model)
    if not specs or not model.graph.output:
        raise ModelError(f"The graph of {path} has no {'inputs' if not specs else 'outputs'}.", AGAIN)
    return specs


def _parse(path: Path) -> Any:
    import onnx

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"There is no file {path}.", "Check the path.") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from error
    if not content:
        raise ModelError(f"{path} is empty.", AGAIN)
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:
        raise ModelError(f"{path} is no ONNX model, or is damaged or cut short: {first_line(error)}.", AGAIN) from error
    if not model.ir_version or not model.graph.node:
        raise ModelError(f"{path} is no ONNX model, or holds no operators.", AGAIN)
    return model


def _tensors(graph: Any) -> Iterator[Any]:
    """Every stored tensor: weights and constants, those of inner graphs too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def external_files(path: Path) -> list[Path]:
    """The files beside an ONNX file that hold its weights; none if it holds them itself."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    return sorted({path.parent / where.get("location", "") for where in _external(model)})


def _external(model: Any) -> Iterator[dict[str, str]]:
    import onnx

    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield {entry.key: entry.value for entry in tensor.external_data}


def _check_external(model: Any, path: Path) -> None:
    for where in _external(model):
        file = path.parent / where.get("location", "")
        end = int(where.get("offset", 0)) + int(where.get("length", 0))
        if not file.is_file():
            raise ModelError(
                f"The weights of {path.name} are in {where.get('location')}, which is not beside it.",
                f"Put {where.get('location')} beside {path}, or export with external_data=False.",
            )
        if file.stat().st_size < end:
            raise ModelError(f"{file} is too short for the weights of {path.name}.", "Copy both files again.")


def _check_opset(model: Any, path: Path) -> None:
    import onnx

    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and not 1 <= entry.version <= newest:
            raise ModelError(
                f"{path} is of ONNX opset {entry.version}; onnx {onnx.__version__} knows 1 to {newest}.",
                f"Export it again with opset_version={min(newest, 20)}.",
            )


def inputs_of(model: Any) -> tuple[TensorSpec, ...]:
    """What must be fed: graph inputs that are no weights. A free or named axis is None."""
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    specs = []
    for value in model.graph.input:
        if value.name in weights:
            continue
        kind = value.type.tensor_type
        shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in kind.shape.dim)
        try:
            dtype = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)))
        except KeyError:
            raise ModelError(
                f'The input "{value.name}" is no tensor of a known type.', "Give a model that takes tensors."
            ) from None
        specs.append(TensorSpec(name=value.name, dtype=dtype, shape=shape))
    return tuple(specs)


def random_inputs(inputs: Sequence[TensorSpec], count: int, seed: int) -> dict[str, NDArray[Any]]:
    """`count` samples for each input by name, (count, ...): the first axis counts, other free axes are 1 long.

    Floats are standard normal, whole numbers 0 or 1 (valid as any index), flags random. The same for the same seed.
    """
    random = np.random.RandomState(seed)
    made: dict[str, NDArray[Any]] = {}
    for spec in inputs:
        shape = (count, *(d or 1 for d in spec.shape[1:]))
        kind = np.dtype(spec.dtype).kind
        if kind in "iub":
            made[spec.name] = random.randint(0, 2, shape).astype(spec.dtype)
        elif kind in "fV":  # V: the small floats of ml_dtypes
            made[spec.name] = random.standard_normal(shape).astype(spec.dtype)
        else:
            raise ModelError(f'No inputs can be made up for "{spec.name}" of type {spec.dtype}.', "Give them as .npz.")
    return made
