"""Ready model files: what `edgebench bench` measures as it is; and a network in python, which it builds first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgebench import inspect, plugins, store
from edgebench import plan as plans
from edgebench.codec import Options
from edgebench.errors import DataError, MissingRuntime, ModelError, PlanError
from edgebench.inspect import full_weights
from edgebench.inspect.graph import UnknownKind
from edgebench.parts import beside
from edgebench.plan import Plan
from edgebench.plugins import FLOOR
from edgebench.schema import Artifact, DeviceProfile, ModelSpec, Recipe, TensorSpec

HERE = DeviceProfile(name="local")
WHOLE = 1.0
"""The share of the pictures that a ready file is evaluated on: it was trained elsewhere."""
RANDOM_SAMPLES = "edgebench.given:samples"


def file_format(plan: Plan) -> str:
    """The format of a ready model file that is measured as it is; "" for a plan that has to make its files."""
    whole = plan.data_options.get("evaluation") == WHOLE
    ready = plan.data == "random" or plan.data.endswith(".npz") or whole
    no_steps = not any(r.steps for r in plan.recipes) and set(plan.precisions) <= {"fp32", "bf16", "fp16"}
    own = any(r.model or r.data for r in plan.recipes)
    return known_format(Path(plan.model.source)) if ready and no_steps and not own else ""


def is_entry(text: str) -> bool:
    """Whether `module:callable` was given, and no file."""
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def bench_plan(
    source: str,
    backends: Sequence[str],
    data: str = "",
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    against: str = "",
    data_options: Mapping[str, Any] | None = None,
    **axes: Any,
) -> Plan:
    """The plan of `edgebench bench`: a file as it is, or a python entry's network, on random or given inputs.

    `against` is a second file whose answers are compared with; `data_options` are those of pictures. Raises PlanError.
    """
    if is_entry(source):
        return _entry_plan(source, backends, data, shapes or {}, against, data_options or {}, axes)
    path, is_npz = Path(source), data.endswith(".npz")
    if "int8" in axes.get("precisions", ()):
        raise PlanError(
            "bench measures a file as it is, and int8 was asked for.",
            f'Write a plan with source = "{path.name}" and a quantize step, or bench a file that is quantized already.',
        )
    if data_options and (not data or is_npz):
        raise PlanError(
            "--data-option is about pictures, and there are none.", "Give a folder of pictures with --data."
        )
    options: dict[str, Any] = {} if data else {"shapes": {k: list(v) for k, v in (shapes or {}).items()}, "count": 16}
    if data and not is_npz:
        _check_pictures(Path(data))
        options = {**(data_options or {}), "evaluation": WHOLE}
    if against:
        options["against"] = str(Path(against).resolve())
    # A runtime whose files may not say the shapes of their inputs is opened with them.
    asked = {k: list(v) for k, v in (shapes or {}).items()}
    opened = {name: {"shapes": asked} for name in backends if asked and "shapes" in plugins.backend(name).options}
    if shapes and data and not opened:
        raise PlanError("--shape is for random inputs, and the data has a shape.", "Leave it out.")
    return Plan(
        name="bench",
        model=ModelSpec(name=path.stem, source=str(path.resolve())),
        base=str(Path.cwd()),
        data=str(Path(data).resolve()) if data else "random",
        data_options=Options(options),
        recipes=(Recipe(name="as given"),),
        backends=tuple(backends),
        backend_options=Options(opened),
        metrics=("parity",) if against else (),
        **axes,
    )


def _check_pictures(path: Path) -> None:
    if not path.exists():
        raise DataError(
            f"There is no data at {path}.", "Give an .npz, or a folder or .tar of pictures in class folders."
        )
    if not path.is_dir() and not path.name.endswith((".tar", ".tar.gz", ".tgz")):
        raise DataError(
            f"{path} is no kind of data that bench knows.",
            "Give an .npz, or a folder or .tar of pictures in class folders.",
        )


def _entry_plan(
    entry: str,
    backends: Sequence[str],
    data: str,
    shapes: Mapping[str, Sequence[int]],
    against: str,
    data_options: Mapping[str, Any],
    axes: Mapping[str, Any],
) -> Plan:
    """Of a network in python: every runtime's file is made from it, as a plan without steps would."""
    if against:
        raise PlanError(
            "--against compares two files, and a network in python is compared with itself in torch already.",
            "Leave it out, or make a file first: edgebench convert.",
        )
    if "int8" in axes.get("precisions", ()) and not data:
        raise PlanError("int8 needs samples to calibrate on, and none were given.", "Give them with --data.")
    require_makers(entry)
    source, options = data_source(data, shapes, entry, axes.get("batches", (1,)))
    return Plan(
        name="bench",
        model=ModelSpec(name=plans.model_name(entry), source=entry),
        base=str(Path.cwd()),
        data=source,
        data_options=Options({**options, **data_options}),
        recipes=(Recipe(name="as given"),),
        backends=tuple(backends),
        **axes,
    )


def data_source(
    data: str,
    shapes: Mapping[str, Sequence[int]],
    network: str,
    batches: Sequence[int] = (1,),
    *,
    option: str = "--data",
) -> tuple[str, dict[str, Any]]:
    """A plan's data source and its options, from what the command line gave: a path, an entry, or shapes alone.

    `option` is what the command calls the data, for its hints.
    """
    from edgebench import given

    if not data:
        return RANDOM_SAMPLES, {"shape": given.sample_shape(shapes, network, batches, option)}
    if shapes:
        raise PlanError(
            f"--shape is for a network without samples, and those of {option} have a shape.", "Leave it out."
        )
    if data.endswith(".npz"):
        return "edgebench.given:data_set", {"file": str(Path(data).resolve())}
    return (data if data == "digits" or is_entry(data) else str(Path(data).resolve())), {}


def check_there(path: Path) -> None:
    """Refuse a model file that is missing, a folder, unreadable or empty. Raises ModelError."""
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


def check_file(path: Path) -> tuple[TensorSpec, ...]:
    """Refuse a model file that is missing, unreadable, empty or (ONNX, where the onnx package is there) damaged.

    The inputs of an ONNX file; () where they are not known before a runtime opens it.
    """
    check_there(path)
    if path.suffix.lower() == ".onnx":
        try:
            import onnx  # noqa: F401
        except ImportError:
            return ()  # a board without onnx: the runtime itself will say what is wrong with the file
        from edgebench.compress.model_file import check_onnx

        return check_onnx(path)
    return _looked_into(path)


def _looked_into(path: Path) -> tuple[TensorSpec, ...]:
    """The inputs of a file that is whole, where its format can be read here. Raises ModelError for a damaged one."""
    form = known_format(path)
    if not inspect.readable(form):
        return ()
    try:
        return inspect.look(path, form).inputs
    except (MissingRuntime, UnknownKind):
        return ()  # the runtime itself will say what is wrong with the file, if anything is


def known_format(path: Path) -> str:
    """The format of a model file by its ending; "" for an ending that no backend names."""
    return plugins.endings().get(path.suffix.lower(), "")


def format_of(path: Path) -> str:
    """The format of a model file by its ending. Raises ModelError for an ending that no format has."""
    form = known_format(path)
    if not form:
        raise ModelError(
            f"No runtime is known for {path.suffix or 'a file without an ending'}: {path}.",
            f"Give one of {', '.join(ending for ending, kind in plugins.endings().items() if kind != FLOOR)}.",
        )
    return form


def own_batch(inputs: Sequence[TensorSpec]) -> int:
    """The batch that a network is fixed to; 1 where it is free."""
    fixed = {spec.shape[0] for spec in inputs if len(spec.shape) > 1}
    return next(iter(fixed)) or 1 if len(fixed) == 1 else 1


def network_of(path: Path) -> inspect.Network | None:
    """What a model file says of itself; None where that cannot be had before a runtime opens it."""
    try:
        return inspect.look(path, format_of(path))
    except (MissingRuntime, UnknownKind):
        return None


def inputs_of(path: Path) -> tuple[TensorSpec, ...]:
    """The inputs of a model file as it says them itself; () where that cannot be had before a runtime opens it."""
    network = network_of(path)
    return network.inputs if network else ()


def as_made(path: Path, asked: tuple[str, ...]) -> tuple[str, ...]:
    """The precisions that were asked of a file; fp32 of one whose numbers are halves is a PlanError: it cannot be had back."""
    network = network_of(path) if "fp32" in asked else None
    found = network.precision() if network else ""
    if found in ("fp16", "bf16"):
        raise PlanError(
            f"bench measures a file as it is: {path.name} is of {found}, and fp32 was asked for.",
            "Leave --precision out, or give the float file that it was made from.",
        )
    return asked


def own_precision(path: Path, backends: Sequence[str]) -> str:
    """The float precision to ask for: fp16 or bf16 where the file is made of it and every runtime has that, else fp32."""
    network = network_of(path)
    found = network.precision() if network else "fp32"
    has = all(found in plugins.backend(name).precisions for name in backends)
    return found if found in ("fp16", "bf16") and has else "fp32"


def backends_for(path: Path, device: DeviceProfile = HERE) -> tuple[str, ...]:
    """Every backend that opens this kind of file and can run here; for another machine, of those that its profile names.

    Raises MissingRuntime when there is none.
    """
    form = format_of(path)
    able = {name: made for name, made in plugins.backends().items() if name != FLOOR and form in made.accepts}
    suited = tuple(name for name in able if name in device.backends)
    if device.transport != HERE.transport and suited:
        return suited
    found = {name: made.probe() for name, made in able.items()}
    here = tuple(name for name in able if found[name].ok)
    if not here:
        missing = next(iter(found.values()), None)
        raise MissingRuntime(
            f"No runtime here opens {form} files.",
            missing.fix if missing else "Install one: pip install edgebench[onnxruntime].",
        )
    return here


@cache
def is_here(backend: str) -> bool:
    """Whether a runtime can run on this machine; asked once in a process, since it takes a second."""
    return plugins.backend(backend).probe().ok


def require_makers(source: str) -> None:
    """Raise MissingRuntime where files cannot be made from this source: a board needs none of what that takes."""
    needed = ("torch", "onnx", "onnxscript") if is_entry(source) else ("onnx", "onnxruntime")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise MissingRuntime(
            f"Making files from {source} takes packages that are not installed here: {', '.join(missing)}.",
            'Install it with: pip install "edgebench[compress]"',
        )


def entry_backends(device: DeviceProfile = HERE) -> tuple[str, ...]:
    """Every backend that can run here: a file is made for each of them. For another machine, those that its profile names."""
    if device.transport != HERE.transport and device.backends:
        return device.backends
    return tuple(name for name, made in plugins.backends().items() if name != FLOOR and made.probe().ok)


def artifact(plan: Plan) -> Artifact:
    """The file that a plan measures as it is. Of an ONNX file its facts hold, where there are any, how many weights fill 8 bits
    (`full_weights`): a row says so where its processor overflows with them.
    """
    made = artifact_of(Path(plan.base, plan.model.source))
    full = full_weights.of_file(Path(made.path)) if made.format == "onnx" else 0
    return replace(made, facts=Options({**made.facts, "full_weights": full})) if full else made


def artifact_of(path: Path) -> Artifact:
    """A ready file, with what belongs to it counted in its size and named, with its hash, in its facts."""
    parts = beside(path)
    facts = {"beside": {os.path.relpath(part, path.parent): store.sha256(part) for part in parts}} if parts else {}
    return Artifact(
        format=format_of(path),
        path=str(path),
        sha256=store.sha256(path),
        size=sum(part.stat().st_size for part in (path, *parts)),
        facts=Options(facts),
    )
