"""What a ready model file is fed: random inputs, an .npz, or labelled pictures; and the answers of the file to compare with."""

from __future__ import annotations

import math
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench import fitting, layouts, lines, ready, store
from edgebench.codec import Options, digest, to_json
from edgebench.errors import DataError, ModelError, PlanError
from edgebench.plan import Plan
from edgebench.schema import Artifact, Cell, Protocol, TensorSpec, Work

if TYPE_CHECKING:
    from edgebench.data import DataSet

Arrays = dict[str, Any]
"""`input:NAME` (N, ...), `labels` (N,), and the other file's answers: `parent`, or `parent:0`, `parent:1`, ..."""
TIMEOUT = 600.0
SCALED = ("tflite",)
"""Formats whose bytes at the ends may stand for real numbers: the worker turns these into the bytes."""


def read(plan: Plan) -> Arrays | None:
    """The arrays of a plan for a ready file; None for random ones, which each worker draws. Raises DataError, ModelError."""
    path, against = Path(plan.base, plan.model.source), plan.data_options.get("against")
    network = ready.network_of(path)
    specs = network.inputs if network else ()
    known = specs if ready.format_of(path) == "onnx" else ()  # others say how they are fed when a runtime opens them
    fitting.check_inputs(path, known, plan.batches)
    if plan.data == "random":
        options = plan.data_options
        if specs:  # else a worker says what does not fit, once its runtime has opened the file
            fitting.check_shapes(path, specs, options.get("shapes", {}), plan.batches, int(options.get("count", 16)))
        if not against:
            return None
        arrays = drawn(path, specs, plan)
    elif plan.data.endswith(".npz"):
        arrays = from_npz(Path(plan.base, plan.data), specs)
    else:
        arrays = pictures(plan, specs, path)
    layouts.check_layout(path, specs, arrays)
    fitting.check_numbers(arrays)
    fitting.check_batches(sum(a[0].nbytes for name, a in arrays.items() if name.startswith("input:")), plan.batches)
    if known:
        fitting.check_arrays(path, known, arrays)
    if network and "labels" in arrays:
        fitting.check_labels(path, network.inputs, network.outputs, arrays["labels"])
    if against:
        made = answers(Path(plan.base, against), arrays)
        _check_answers(path, network.outputs if network else (), Path(against), len(made))
        arrays |= made
    return arrays


def _check_answers(path: Path, outputs: Sequence[TensorSpec], other: Path, count: int) -> None:
    """Raise DataError where the other file has more or fewer outputs, so that there is nothing to compare."""
    if outputs and len(outputs) != count:
        raise DataError(
            f"{path.name} has {_counted(len(outputs))}, and {other.name}, which --against compares it with, {count}.",
            "Compare with a file of the same network.",
        )


def _counted(outputs: int) -> str:
    return f"{outputs} output{'' if outputs == 1 else 's'}"


def artifact(plan: Plan, arrays: Mapping[str, Any] | None, cache: Path) -> Artifact:
    """The data of the workers: a file of the arrays, or what each of them draws."""
    import numpy as np

    if arrays is None:
        facts = Options({**plan.data_options, "seed": plan.seed})
        return Artifact(format="random", path="", sha256=digest(facts), size=0, facts=facts)

    folder = cache / "data"
    with store.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".npz", delete=False) as file:
            np.savez(file, **arrays)
        path = folder / f"{store.sha256(Path(file.name))}.npz"
        Path(file.name).replace(path)
    return Artifact(format="npz", path=str(path), sha256=path.stem, size=path.stat().st_size)


def drawn(path: Path, specs: Sequence[TensorSpec], plan: Plan) -> Arrays:
    """Random inputs, here rather than in each worker: two files are to get the same. Floats are normal, others 0 or 1."""
    import numpy as np

    shapes, count = plan.data_options.get("shapes", {}), int(plan.data_options.get("count", 16))
    if not specs:
        raise DataError(
            f"The inputs of {path.name} are not known before a runtime opens it, so none can be drawn for two files.",
            "Give them with --data.",
        )
    rng, made = np.random.default_rng(plan.seed), {}
    for spec in specs:
        shape = list(shapes.get(spec.name) or spec.shape)
        if not shape or any(size is None for size in shape[1:]):
            said = layouts.typed(spec.name, spec.shape)
            raise DataError(
                f'Input "{spec.name}" has free axes: {list(spec.shape)}.', f"Say its shape: --shape {said}."
            )
        shape[0] = max(plan.batches) * count
        dtype = np.dtype(spec.dtype)
        if dtype.kind in "iu" and dtype.itemsize == 1 and ready.format_of(path) in SCALED:
            dtype = np.dtype(np.float32)
        values = rng.standard_normal(shape, dtype=np.float32) if dtype.kind == "f" else rng.integers(0, 2, shape)
        made[f"input:{spec.name}"] = values.astype(dtype)
    return made


def from_npz(path: Path, specs: Sequence[TensorSpec]) -> Arrays:
    """Inputs by name and `labels`; or a data set's own x_eval and y_eval. Raises DataError."""
    import numpy as np

    if not path.exists():
        raise DataError(f"There is no file {path}.", "Check the path.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        from edgebench.data.arrays import npz_reason

        raise DataError(
            f"{path} cannot be read as .npz: {npz_reason(path, error)}.",
            "Save it with numpy.savez: inputs by name, and labels.",
        ) from error
    if "x_eval" in arrays and "x_eval" not in {spec.name for spec in specs}:
        named = {"input": arrays["x_eval"]}
        arrays = {**named, "labels": arrays["y_eval"]} if "y_eval" in arrays else named
    inputs = {k.removeprefix("input:"): v for k, v in arrays.items() if k != "labels"}
    if not inputs or any(a.ndim == 0 or len(a) == 0 for a in inputs.values()):
        raise DataError(
            f"{path} holds no samples.", "Save at least one sample of each input, the first axis counting samples."
        )
    if len({len(a) for a in arrays.values() if a.ndim}) > 1:
        raise DataError(
            f"The arrays of {path} differ in length.", "Give every input and the labels the same number of samples."
        )
    found: Arrays = {f"input:{name}": array for name, array in inputs.items()}
    if "labels" in arrays:
        found["labels"] = _labels(path, arrays["labels"])
    return found


def _labels(path: Path, labels: Any) -> Any:
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
        raise DataError(
            f"The labels of {path} are {labels.dtype} of shape {list(labels.shape)}, no class numbers.",
            "Give one whole number from 0 up for each sample.",
        )
    return labels


def pictures(plan: Plan, specs: Sequence[TensorSpec], path: Path) -> Arrays:
    """Every picture of the class folders, in the size and layout that the network takes. Raises DataError."""
    import numpy as np

    from edgebench.data.pictures import read_all

    if len(specs) != 1:
        known = f"{len(specs)} inputs" if specs else "inputs that are not known before a runtime opens it"
        raise DataError(f"{path.name} has {known}, and pictures are one.", "Give its inputs as an .npz.")
    layout, channels, height, width = layouts.picture_layout(specs[0], path)
    asked = {k: v for k, v in plan.data_options.items() if k not in ("against", "shapes", "count", "evaluation")}
    size = {"size": height} if height else {}
    wide = width if width != height else None
    given = {**size, "channels": channels, **asked}
    images, labels = read_all(plan.data, given, Path(plan.base), width=wide)
    if layout == "NHWC":
        images = np.ascontiguousarray(images.transpose(layouts.LAYOUTS["NHWC"]))
    kind = np.dtype(specs[0].dtype) if specs[0].dtype != "bfloat16" else np.dtype(np.float32)
    return {f"input:{specs[0].name}": images.astype(kind if kind.kind == "f" else np.float32), "labels": labels}


def answers(path: Path, arrays: Mapping[str, Any]) -> Arrays:
    """What another model file answers to the same inputs, on the first runtime here that opens it. Raises ModelError."""
    import numpy as np

    ready.check_file(path)
    specs = ready.inputs_of(path)
    fed = {name: array for name, array in arrays.items() if name.startswith("input:")}
    for spec, name in layouts.paired(specs, fed):
        wanted = layouts.layout_of(spec, fed[name].shape)
        if wanted:  # the same network from another framework: its axes are in the other order
            fed[name] = np.ascontiguousarray(fed[name].transpose(layouts.LAYOUTS[wanted]))
    count = len(next(iter(fed.values())))
    batch = ready.own_batch(specs)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "data.npz"), **fed)
        data = Artifact(format="npz", path=f"{folder}/data.npz", sha256="", size=0)
        backend = ready.backends_for(path)[0]
        precision = ready.own_precision(path, [backend])
        cell = Cell(
            model=path.stem, recipe="as given", backend=backend, device="local", precision=precision, batch=batch
        )
        work = Work(cell=cell, artifact=ready.artifact_of(path), data=data)
        made = _run(work, Path(folder, "answers.npz"), Protocol(gate_buffers=math.ceil(count / batch)), path)
    names = ["parent"] if len(made) == 1 else [f"parent:{i}" for i in range(len(made))]
    return dict(zip(names, made, strict=True))


def _run(work: Work, out: Path, protocol: Protocol, path: Path) -> list[Any]:
    """Every output for every sample, by a worker of its own: what a runtime does to its process stays there."""
    import numpy as np

    child = lines.spawn([sys.executable, "-m", "edgebench.worker"])
    messages = (
        {"do": "prepare", "work": to_json(work), "protocol": to_json(protocol)},
        {"do": "open"},
        {"do": "observe", "metric": "accuracy", "save": str(out)},
    )
    try:
        for message in messages:
            event = child.ask(message, TIMEOUT)
            if event["event"] == "failed":
                raise ModelError(f"{path.name} gives nothing to compare with: {event['reason']}", event["fix"])
        child.ask({"do": "close"}, TIMEOUT)
    except lines.ChildDied as death:
        raise ModelError(
            f"{path.name} gives nothing to compare with: {work.cell.backend} {death.reason}.",
            "Compare with a file that its runtime runs.",
        ) from death
    finally:
        child.kill()
        child.close()
    with np.load(out, allow_pickle=False) as archive:
        return [archive[f"out{i}"] for i in range(len(archive.files))]


def samples(shape: Sequence[int], count: int = 64, seed: int = 0) -> dict[str, Any]:
    """A data set of random samples of this shape, for a network that is measured without data of its own."""
    import numpy as np

    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2 * count, *shape), dtype=np.float32)
    return {"x_calib": x[:count], "x_eval": x[count:]}


def data_set(file: str) -> DataSet:
    """A data set from an .npz of one input and labels: a fifth to calibrate on, the rest to evaluate on. Raises DataError.

    One that is a data set already (x_eval, ...) stays as it is.
    """
    import numpy as np

    from edgebench.data.arrays import cut, from_arrays
    from edgebench.data.split import CALIBRATION

    arrays = from_npz(Path(file), ())
    fitting.check_numbers(arrays)
    with np.load(file, allow_pickle=False) as archive:
        if "x_eval" in archive.files:
            arrays = {name: archive[name] for name in archive.files}
            return from_arrays(Path(file).name, arrays, CALIBRATION)  # nothing is trained: no need to be sparing
    inputs = [name for name in arrays if name.startswith("input:")]
    if len(inputs) > 1:
        raise DataError(
            f"{file} has {len(inputs)} inputs, and the network is fed one here.",
            "Save one, and labels; a network in python of several inputs is to be exported first (torch.onnx.export):"
            " bench and convert feed an .onnx file all of them.",
        )
    x = arrays[inputs[0]]
    if len(x) < 2:
        raise DataError(f"{file} has {len(x)} sample.", "Give two or more: one to calibrate on, one to evaluate on.")
    name, labels = Path(file).name, arrays.get("labels")
    return from_arrays(name, cut(name, inputs[0].removeprefix("input:"), x, labels))


def sample_shape(
    shapes: Mapping[str, Sequence[int]], entry: str, batches: Sequence[int] = (1,), option: str = "--data"
) -> list[int]:
    """Of one sample of a python entry's network, from --shape NAME=1xAxB or of a batch that is asked for. Raises PlanError.

    `option` is what the command calls the data.
    """
    if len(shapes) > 1:
        raise PlanError(
            f"{entry} is given {len(shapes)} shapes, and a network in python is fed one input here.",
            "Export it with all of its inputs (torch.onnx.export), and give the .onnx file: bench feeds any number of them, and"
            " convert makes of it what onnxruntime, openvino and tensorrt want, int8 too.",
        )
    if not shapes or len(next(iter(shapes.values()))) < 2:
        raise PlanError(
            f"{entry} is a network without data, so the shape of its input is not known.",
            f"Say it: --shape input=1x3x224x224, or give samples with {option}.",
        )
    [(name, shape)] = shapes.items()
    if shape[0] not in (1, *batches):
        one, many = (layouts.typed(name, [first, *shape[1:]]) for first in (1, shape[0]))
        raise PlanError(
            f"--shape is that of one sample, and {many} has {shape[0]}.",
            f"Write --shape {one}; a batch is asked for when the network is measured: --batch {shape[0]}.",
        )
    return list(shape)[1:]


def picture_options(texts: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` texts, numbers as such and several with commas between them as lists. Raises PlanError."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals or not value:
            raise PlanError(
                f'"{text}" is no option of the data.', "Write KEY=VALUE: --data-option mean=0.485,0.456,0.406."
            )
        parts = [_number(part) for part in value.split(",")]
        found[key] = parts if len(parts) > 1 or key in ("mean", "std") else parts[0]
    return found


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
