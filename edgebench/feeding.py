"""What a worker measures: a session with the inputs of the data file, or with made ones, and whether the two fit."""

from __future__ import annotations

from typing import Any

from edgebench import layouts
from edgebench.backend import ModelError, Session, TensorSpec
from edgebench.errors import DataError, did_you_mean
from edgebench.metrics import Subject
from edgebench.scaled import fed
from edgebench.schema import Artifact, Cell, Work


def load_arrays(data: Artifact) -> dict[str, Any]:
    """The arrays of a data file by name; none where the inputs are to be made up. DataError where it cannot be read."""
    import numpy as np

    if data.format == "random":
        return {}
    try:
        with np.load(data.path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"The data file {data.path} cannot be read: {error}.", "Delete it and run again.") from error


def subject_of(work: Work, session: Session, arrays: dict[str, Any], baseline: dict[str, int]) -> Subject:
    """The session with its inputs, labels and references; DataError or ModelError where the two do not fit together."""
    inputs = {k.removeprefix("input:"): v for k, v in arrays.items() if k.startswith("input:")}
    if work.data.format == "random":
        inputs = random_inputs(session.inputs, work)
    names = [spec.name for spec in session.inputs]
    if len(inputs) == 1 and len(names) == 1:
        # One input needs no name: data sets say "input", model files say what they like.
        inputs = {names[0]: next(iter(inputs.values()))}
    missing = [name for name in names if name not in inputs]
    if missing:
        raise DataError(
            f"The network wants an input named {missing[0]!r}, and the data has {', '.join(map(repr, sorted(inputs)))}.",
            "Name the arrays of the data after the inputs of the network.",
        )
    for spec in session.inputs:
        _check_shape(spec, inputs[spec.name], work.cell)
    _check_outputs(session.outputs)
    return Subject(
        cell=work.cell,
        session=session,
        inputs={spec.name: _of_width(spec, fed(spec, inputs[spec.name])) for spec in session.inputs},
        labels=arrays.get("labels"),
        reference=_numbered(arrays, "reference"),
        parent=_numbered(arrays, "parent"),
        baseline=baseline,
    )


def _numbered(arrays: dict[str, Any], name: str) -> list[Any]:
    """`reference`, or `reference:0`, `reference:1`, ... where the network has several outputs."""
    if name in arrays:
        return [arrays[name]]
    keys = sorted((k for k in arrays if k.startswith(f"{name}:")), key=lambda k: int(k.split(":")[1]))
    return [arrays[k] for k in keys]


def _check_outputs(specs: tuple[TensorSpec, ...]) -> None:
    """Text can neither be kept in place between inferences nor compared with the accuracy run's."""
    for spec in specs:
        if spec.dtype.startswith(("str", "bytes", "object")):
            raise ModelError(
                f"Output {spec.name!r} of the network is text, and only numbers can be measured here.",
                "Export the network without the step that makes text: with the numbers that step takes.",
            )


def _of_width(spec: TensorSpec, array: Any) -> Any:
    """Whole numbers in the width that a runtime has for them: LiteRT takes int32 where torch had int64."""
    if spec.dtype not in ("int32", "int64") or array.dtype.kind not in "iu" or array.dtype == spec.dtype:
        return array
    made = array.astype(spec.dtype)
    return made if (made == array).all() else array


def _check_shape(spec: TensorSpec, array: Any, cell: Cell) -> None:
    if len(spec.shape) == 1 and spec.shape[0] not in (None, 1):
        raise ModelError(
            f"Input {spec.name!r} of the network is {list(spec.shape)}: one axis, and so none for the batch.",
            "Export the network with a batch axis in front.",
        )
    wanted = [cell.batch, *spec.shape[1:]]
    found = [cell.batch, *array.shape[1:]]
    if len(wanted) != len(found) or any(w not in (None, f) for w, f in zip(wanted, found, strict=True)):
        raise DataError(
            f"Input {spec.name!r} of the network has the shape {list(spec.shape)}, and the data has {list(array.shape)}.",
            "Give data of the network's shape, or a network for data of this shape.",
        )
    if spec.shape and spec.shape[0] not in (None, cell.batch):
        raise ModelError(
            f"The network is fixed to a batch of {spec.shape[0]}, and {cell.batch} was asked for.",
            f"Ask for batch {spec.shape[0]}, or export the network with a free batch axis.",
        )


def random_inputs(specs: tuple[TensorSpec, ...], work: Work) -> dict[str, Any]:
    """Seeded inputs for a ready model: normal floats, small non-negative integers; shapes may be given by name."""
    import numpy as np

    facts = work.data.facts
    shapes = facts.get("shapes", {})
    for name in shapes:
        if name not in {spec.name for spec in specs}:
            raise DataError(
                f"The network has no input {name!r} to give a shape to.", did_you_mean(name, [s.name for s in specs])
            )
    rng = np.random.default_rng(facts.get("seed", 0))
    out = {}
    for spec in specs:
        given = shapes.get(spec.name)
        shape = list(given or spec.shape)
        if not shape or any(d is None for d in shape[1:]):
            raise DataError(
                f"Input {spec.name!r} has free axes: {list(spec.shape)}.",
                f"Say its shape: --shape {layouts.typed(spec.name, spec.shape)}, for example.",
            )
        shape[0] = work.cell.batch * facts.get("count", 16)
        dtype = np.dtype(np.float32 if spec.scaled else spec.dtype)
        draw = rng.standard_normal(shape, dtype=np.float32) if dtype.kind == "f" else rng.integers(0, 2, shape)
        out[spec.name] = draw.astype(dtype)
    return out
