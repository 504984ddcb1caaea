"""Ready model files: what `edgebench bench` measures as it is, on random or given inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench import plugins, store
from edgebench.errors import DataError, MissingRuntime, ModelError, PlanError
from edgebench.plan import Plan
from edgebench.schema import Artifact, ModelSpec, Options, Recipe, TensorSpec, digest

FORMATS = {".onnx": "onnx", ".pt2": "pt2", ".xml": "openvino-ir", ".tflite": "tflite", ".fake": "fake"}
FORMATS |= {".pte": "pte", ".param": "ncnn", ".ncnn": "ncnn"}
"""The format of a file by its ending."""


def file_format(plan: Plan) -> str:
    """The format of a ready model file that is measured as it is; "" for a plan that has to make its files."""
    ready = plan.data == "random" or plan.data.endswith(".npz")
    suffix = Path(plan.model.source).suffix.lower()
    no_steps = not any(r.steps for r in plan.recipes) and set(plan.precisions) <= {"fp32", "bf16", "fp16"}
    return FORMATS.get(suffix, "") if ready and no_steps else ""


def bench_plan(
    file: str, backends: Sequence[str], data: str = "", shapes: Mapping[str, Sequence[int]] | None = None, **axes: Any
) -> Plan:
    """The plan of `edgebench bench FILE`: the file as it is, on random or given inputs."""
    path = Path(file)
    if "int8" in axes.get("precisions", ()):
        raise PlanError(
            "bench measures a file as it is, and int8 was asked for.",
            f'Write a plan with source = "{path.name}" and a quantize step, or bench a file that is quantized already.',
        )
    options = (
        Options({"shapes": {k: list(v) for k, v in (shapes or {}).items()}, "count": 16}) if not data else Options()
    )
    return Plan(
        name="bench",
        model=ModelSpec(name=path.stem, source=str(path.resolve())),
        base=str(Path.cwd()),
        data=str(Path(data).resolve()) if data else "random",
        data_options=options,
        recipes=(Recipe(name="as given"),),
        backends=tuple(backends),
        **axes,
    )


def check_file(path: Path) -> tuple[TensorSpec, ...]:
    """Refuse a model file that is missing, unreadable, empty or (ONNX, where the onnx package is there) damaged.

    The inputs of an ONNX file; () where they are not known before a runtime opens it.
    """
    if not path.exists():
        raise ModelError(f"There is no file {path}.", "Check the path.")
    if path.is_dir():
        raise ModelError(f"{path} is a folder.", "Name a model file in it.")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    if empty:
        raise ModelError(f"{path} is empty.", "Export the model again.")
    if path.suffix.lower() == ".onnx":
        try:
            import onnx  # noqa: F401
        except ImportError:
            return ()  # a board without onnx: the runtime itself will say what is wrong with the file
        from edgebench.compress.model_file import check_onnx

        return check_onnx(path)
    return ()


def own_batch(inputs: Sequence[TensorSpec]) -> int:
    """The batch that a network is fixed to; 1 where it is free."""
    fixed = {spec.shape[0] for spec in inputs if len(spec.shape) > 1}
    return next(iter(fixed)) or 1 if len(fixed) == 1 else 1


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of an .npz for `bench --data`: inputs by name and, if there are any, `labels`."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} cannot be read as .npz: {error}.", "Save it with numpy.savez: inputs by name, and labels."
        ) from error
    inputs = {k: v for k, v in arrays.items() if k != "labels"}
    if not inputs or any(a.ndim == 0 or len(a) == 0 for a in inputs.values()):
        raise DataError(
            f"{path} holds no samples.", "Save at least one sample of each input, the first axis counting samples."
        )
    if len({len(a) for a in arrays.values()}) > 1:
        raise DataError(
            f"The arrays of {path} differ in length.", "Give every input and the labels the same number of samples."
        )
    return arrays


def backends_for(path: Path) -> tuple[str, ...]:
    """Every backend that opens this kind of file and can run here. Raises ModelError when there is none."""
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise ModelError(
            f"No runtime is known for {path.suffix or 'a file without an ending'}: {path}.",
            f"Give one of {', '.join(FORMATS)}.",
        )
    able = [
        name for name in plugins.names("edgebench.backends") if name != "fake" and form in plugins.backend(name).accepts
    ]
    found = {name: plugins.backend(name).probe() for name in able}
    here = tuple(name for name in able if found[name].ok)
    if not here:
        missing = next(iter(found.values()), None)
        raise MissingRuntime(
            f"No runtime here opens {form} files.",
            missing.fix if missing else "Install one: pip install edgebench[onnxruntime].",
        )
    return here


def artifact(plan: Plan) -> Artifact:
    path = Path(plan.base, plan.model.source)
    companions = [path, path.with_suffix(".bin")] if path.suffix in {".xml", ".param"} else [path]
    return Artifact(
        format=FORMATS[path.suffix.lower()],
        path=str(path),
        sha256=store.sha256(path),
        size=sum(p.stat().st_size for p in companions if p.exists()),
    )


def data(plan: Plan, arrays: Mapping[str, Any] | None, cache: Path) -> Artifact:
    import numpy as np

    if plan.data == "random":
        facts = Options({**plan.data_options, "seed": plan.seed})
        return Artifact(format="random", path="", sha256=digest(facts), size=0, facts=facts)
    path = cache / "data" / f"{store.sha256(Path(plan.base, plan.data))}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path, **{k if k == "labels" else f"input:{k.removeprefix('input:')}": v for k, v in (arrays or {}).items()}
    )
    return Artifact(format="npz", path=str(path), sha256=store.sha256(path), size=path.stat().st_size)
