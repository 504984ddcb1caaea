"""One file for one runtime, and nothing measured: `edgebench convert`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench import layouts, opening, plugins, ready, store
from edgebench import plan as plans
from edgebench.backend import Backend
from edgebench.codec import Options, digest, to_json
from edgebench.environment import cache_folder
from edgebench.errors import DataError, MissingRuntime, ModelError, PlanError, StoreError, did_you_mean
from edgebench.making import Progress, quiet
from edgebench.parts import beside
from edgebench.report import cards
from edgebench.schema import Artifact, ModelSpec, Recipe, Step, TensorSpec

if TYPE_CHECKING:
    from edgebench.compress.lowering.lower import Lowering

QUANTIZE = Step(method="quantize")


def convert(
    source: str,
    backend: str,
    *,
    precision: str = "fp32",
    calibration: str = "",
    shapes: Mapping[str, Sequence[int]] | None = None,
    weights: str = "",
    out: str = "",
    progress: Progress = quiet,
) -> Artifact:
    """Make the file that `backend` wants from an ONNX file or a network in python, and put it at `out`.

    int8 is calibrated on `calibration` (.npz, pictures, "digits" or an entry). Without `out` it is named after the source,
    the runtime and the precision. Where `out` replaces what was made from another network, the fact `replaced` says so.
    Raises EdgebenchError in two sentences, before anything is made where that can be told.
    """
    runtime = plugins.backend(backend)
    lowering = _lowering(runtime, precision)
    spec, inputs = _source(source, weights)
    ready.require_makers(source)
    how = _maker(runtime, lowering)
    if how.needs_torch and not ready.is_entry(source):
        raise PlanError(
            f"{backend} wants a {how.format} file, which is made from the network in torch and not from an ONNX file.",
            f"Give the network as module:callable: edgebench convert my_model:make --to {backend}",
        )
    int8 = how.precision == "int8"
    _check_used(source, precision, calibration, shapes or {}, file=bool(inputs), int8=int8)
    target = Path(out) if out else Path(_name(spec, inputs, backend, precision, how))
    _check_ending(target, how.format, runtime)
    _check_not_read(target, source, weights, calibration)
    replaced = _replaced(target, spec)
    if replaced and not out:
        raise StoreError(
            f"{target} is there already, and it was not made from {source}: {replaced}.",
            "Name another file with --out, or the same one, if it is to be replaced.",
        )
    here = ready.is_here(backend)
    if inputs:
        _check_file(source, backend, here, int8)
    recipe = Recipe(name=precision, steps=(QUANTIZE,) if int8 else ())
    if inputs and (not int8 or len(inputs) > 1):
        samples = _samples(Path(spec.source), inputs, calibration) if int8 else {}
        made = _lowered(Path(spec.source), lowering, samples)
    else:
        made = _built(spec, inputs, recipe, lowering, _data(calibration, shapes or {}, source), progress)
    if made.format == "onnx" and not here:
        _check_legal(Path(made.path), runtime, source)
    made = _put(made, runtime, precision, target, {"model": spec, "recipes": [recipe], "data": calibration or None})
    return replace(made, facts=Options({**made.facts, "replaced": replaced})) if replaced else made


def _check_used(
    source: str, precision: str, calibration: str, shapes: Mapping[str, Sequence[int]], *, file: bool, int8: bool
) -> None:
    """Refuse samples and shapes of a file that nothing would read, and int8 without samples."""
    if int8 and not calibration:
        raise DataError(
            "int8 needs samples to calibrate on, and none were given.", "Give them with --calibration DATA."
        )
    if file and calibration and not int8:
        raise PlanError(
            f"{precision} of an ONNX file is not calibrated, and --calibration was given.",
            "Leave it out, or ask for --precision int8.",
        )
    if file and shapes:
        raise PlanError(f"--shape is for a network in python, and {source} says its own.", "Leave it out.")


def _check_file(source: str, backend: str, here: bool, int8: bool) -> None:
    """Refuse an ONNX file that the runtime does not open where it is here, or that is int8 and is to become so."""
    from edgebench.compress.lowering import lower_onnx

    if here:
        opening.check_opens(ready.artifact_of(Path(source)), backend, {"threads": 1, "batch": 1, "precision": "fp32"})
    if int8:
        lower_onnx.check_float(Path(source))


def _data(calibration: str, shapes: Mapping[str, Sequence[int]], source: str) -> tuple[str, dict[str, Any]]:
    """Where the samples come from, and the options of that: nothing is trained on pictures, so many may calibrate."""
    found, options = ready.data_source(calibration, shapes, source, option="--calibration")
    pictures = calibration and found != "digits" and not ready.is_entry(found)
    return found, {"calibration": 200} if pictures else options


def _built(
    spec: ModelSpec,
    inputs: Sequence[TensorSpec],
    recipe: Recipe,
    lowering: str,
    source: tuple[str, Mapping[str, Any]],
    progress: Progress,
) -> Artifact:
    """The file of a lowering as a plan would make it, from a data set: its source, and its options."""
    from edgebench.compress import methods, pipeline
    from edgebench.data import load

    base, cache = Path.cwd(), cache_folder()
    data = load(*source, base)
    layouts.check_layout(Path(spec.source), inputs, {"input:samples": data.evaluation.inputs})
    methods.check_recipe(recipe)
    pipeline.check(spec, data, base=base, recipes=(recipe,))
    made = pipeline.build(spec, recipe, (lowering,), data, base=base, cache=cache, progress=progress)
    return made.artifacts[lowering]


def _check_legal(path: Path, backend: Backend, source: str) -> None:
    """Refuse an ONNX file that the rules of a runtime which is not here say it cannot run."""
    from edgebench.inspect import look, targets

    judged = [t for t in targets.judge(look(path, "onnx")) if t.name.split()[0] == backend.name]
    if judged and not any(t.legal for t in judged):
        raise ModelError(
            f"{backend.name} does not run {source}: {'; '.join(judged[0].reasons)}.",
            f"Write the network in operators that it has, or see which runtimes have them: edgebench inspect {source}",
        )


def _samples(path: Path, inputs: Sequence[TensorSpec], calibration: str) -> Mapping[str, Any]:
    """What an ONNX file of several inputs is calibrated on: the arrays of an .npz, one for each input by its name."""
    from edgebench import fitting, given

    if not calibration.endswith(".npz"):
        names = ", ".join(f'"{spec.name}"' for spec in inputs)
        raise DataError(
            f"{path.name} has {len(inputs)} inputs, {names}, and {calibration} are samples of one.",
            "Give them all as an .npz: numpy.savez with one array for each input, by its name.",
        )
    arrays = given.from_npz(Path(calibration), inputs)
    layouts.check_layout(path, inputs, arrays)
    fitting.check_numbers(arrays)
    fitting.check_arrays(path, inputs, arrays)
    return {spec.name: arrays[f"input:{spec.name}"] for spec in inputs}


def _lowered(path: Path, lowering: str, samples: Mapping[str, Any]) -> Artifact:
    """The file of a lowering, whatever the inputs of the ONNX file are; `samples` are those of int8 by input."""
    from edgebench.compress import cache as kept
    from edgebench.compress.lowering import lower
    from edgebench.compress.model_file import external_files
    from edgebench.compress.quantization.quantize import Quantize

    how, files = lower.get(lowering), [kept.sha256(part) for part in (path, *external_files(path))]
    data = digest(
        [[name, str(a.dtype), a.shape, hashlib.sha256(a.tobytes()).hexdigest()] for name, a in samples.items()]
    )
    quantize = Quantize() if samples else None
    asked = asdict(quantize) if quantize else None
    folder = cache_folder() / "files" / kept.key_of(files=files, lowering=lowering, quantize=asked, calibration=data)
    request = lower.Request(model=None, example=None, calibration=samples, onnx=lambda: path, quantize=quantize)
    note = kept.once(folder, lambda part: how.write(request, part / f"model.{how.format}"))
    facts = {**note["facts"], "lowering": lowering}
    if quantize:
        count = min(quantize.samples, *map(len, samples.values()))
        facts |= {"calibration_samples": count, "data_sha256": data}
    return kept.artifact(folder / f"model.{how.format}", note, format=how.format, parent=files[0], facts=facts)


def _lowering(backend: Backend, precision: str) -> str:
    if precision not in plans.PRECISIONS:
        raise PlanError(f'There is no precision "{precision}".', did_you_mean(precision, plans.PRECISIONS))
    lowering = backend.lowering(precision, {"batch": 1, "threads": 1})
    if lowering is None:
        why = f": {backend.refused[precision]}" if precision in backend.refused else ""
        raise PlanError(
            f"{backend.name} has no {precision}{why}.", f"Ask for one that it has: {', '.join(backend.precisions)}."
        )
    return lowering


def _maker(backend: Backend, lowering: str) -> Lowering:
    """What makes the file. A vendor's runtime may want one that only the vendor's own tools make."""
    from edgebench.compress.lowering import lower

    if lowering.partition("@")[0] in lower.LOWERINGS:
        return lower.get(lowering)
    wants = " or ".join(sorted(backend.accepts))
    raise PlanError(
        f"{backend.name} wants a {wants} file, and nothing here makes one.",
        f"Make it with the tools of {backend.name}, and measure it: edgebench bench FILE --backend {backend.name}",
    )


def _name(spec: ModelSpec, inputs: Sequence[TensorSpec], backend: str, precision: str, how: Lowering) -> str:
    """After the source, the runtime and the precision; a file that is only copied keeps the precision that it has."""
    if inputs and precision == "fp32":
        from edgebench.inspect import look

        precision = look(Path(spec.source), "onnx").precision() or precision
    return f"{plans.file_name(spec.name)}-{backend}-{precision}.{how.format}"


def _source(source: str, weights: str) -> tuple[ModelSpec, tuple[TensorSpec, ...]]:
    """The network, and the inputs of a file."""
    if ready.is_entry(source) and not Path(source).exists():
        return ModelSpec(name=plans.model_name(source), source=source, weights=weights or None), ()
    path = Path(source)
    ready.check_there(path)
    if path.suffix.lower() != ".onnx":
        raise ModelError(
            f"{path} is a finished file of its runtime, and convert starts from the network.",
            "Give an .onnx file or module:callable.",
        )
    if weights:
        raise PlanError("--weights are those of a network in python, and an ONNX file has its own.", "Leave it out.")
    inputs = ready.check_file(path)
    return ModelSpec(name=path.stem, source=str(path.resolve())), inputs


def _check_ending(target: Path, form: str, backend: Backend) -> None:
    """Refuse a name that says another format than what will be in it."""
    asked = ready.known_format(target)
    builds = type(backend).build is not Backend.build
    if asked == form or (builds and asked in backend.accepts):
        return
    raise PlanError(
        f"{backend.name} is given a .{form} file here, and {target.name} does not end so.",
        f"Name it {target.stem}.{form}.",
    )


def _check_not_read(target: Path, source: str, *others: str) -> None:
    """Refuse to write over what is read: the network, the weights beside it, and what is given with it."""
    path = Path(source)
    read = [path, *map(Path, filter(None, others))]
    if path.is_file():
        read += beside(path)
    for file in read:
        if target.exists() and file.exists() and os.path.samefile(target, file):
            name = f"{file}" if file == target else f"{target} is {file}, which"
            raise PlanError(
                f"{name} is what the file is made from, and would be lost.", "Name another file with --out."
            )


def _replaced(target: Path, spec: ModelSpec) -> str:
    """What a file that is there already was made from, where that is not this network; "" where nothing is lost."""
    if not target.exists():
        return ""
    try:
        card = json.loads(target.with_name(target.name + cards.SUFFIX).read_text(encoding="utf-8"))
        source = str(card["model"]["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return "it has no card that says where it is from"
    return "" if source == spec.source else f"its card says {source}"


def _put(artifact: Artifact, backend: Backend, precision: str, target: Path, asked: Mapping[str, Any]) -> Artifact:
    """Lay the file where it was asked for, whole or not at all, and its card beside it; compiled where the name asks for that.

    `asked` is what the card takes of a plan: model, recipes, data.
    """
    with tempfile.TemporaryDirectory() as folder:
        if ready.known_format(target) != artifact.format:
            found = backend.probe()
            if not found.ok:
                raise MissingRuntime(f"{backend.name} cannot compile here: {found.reason}.", found.fix)
            artifact = backend.build(artifact, {"threads": 1, "batch": 1, "precision": precision}, Path(folder))
        with store.writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + ".part")
            shutil.copyfile(artifact.path, part)
            os.replace(part, target)
            made = replace(artifact, path=str(target))
            card = cards.text(to_json(asked), precision, made, {"backend": backend.name, "precision": precision})
            target.with_name(target.name + cards.SUFFIX).write_text(card, encoding="utf-8")
    return made
