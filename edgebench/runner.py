"""On the host: check, compress, start the campaign where the device is, collect, store. Never dies of one cell.

Everything that can be wrong with what the user gave is found before the results folder is made; after that, whatever
happens becomes a row, and what was measured is on disk at once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgebench import environment, figures, fitting, given, measure, plugins, ready, store
from edgebench import plan as plans
from edgebench.backend import Backend
from edgebench.devices import Device
from edgebench.errors import EdgebenchError, Interrupted, MissingRuntime, PlanError, StoreError
from edgebench.lines import ChildDied
from edgebench.parts import packed
from edgebench.plan import Plan, Square
from edgebench.report import cards
from edgebench.schema import (
    Artifact,
    Job,
    Options,
    Recipe,
    Result,
    Run,
    Work,
    from_json,
    to_json,
)
from edgebench.stopwatch import Stopwatch
from edgebench.store import RunFolder

if TYPE_CHECKING:
    from edgebench.compress.pipeline import Variant

Progress = Callable[[str, int, int, str], None]
"""(stage, done, total, note); total 0 where it is not known."""

Made = TypeVar("Made")

METRICS = ("latency", "throughput", "memory", "accuracy")
DISTRIBUTIONS = ("edgebench", "numpy", "torch", "torch-pruning", "torchao", "onnx", "onnxscript")
"""Whose versions every run records, with those that the backends name."""


def quiet(stage: str, done: int, total: int, note: str) -> None:
    """The progress of a script: none."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A plan that was checked whole against this host and the device; nothing is written yet."""

    plan: Plan
    device: Device
    squares: tuple[Square, ...]
    data: Any = None
    own_data: Mapping[str, Any] = field(default_factory=dict)
    """By their names, the data of the recipes that bring some."""
    began: float = field(default_factory=measure.monotonic)
    """When the checking of the plan began: from then on its budget is spent."""


def cache_folder() -> Path:
    """Where compressed networks are kept between runs: $EDGEBENCH_CACHE, else the user's cache folder."""
    given = os.environ.get("EDGEBENCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "edgebench"


def recipe_precision(recipe: Recipe) -> str | None:
    """The precision that the recipe's own last quantizing step gives, or None."""
    from edgebench.compress import methods

    found = [methods.parse(step).precision for step in recipe.steps]
    return next((p for p in reversed(found) if p), None)


def prepare(plan: Plan, device: Device) -> Prepared:
    """Check everything that the user gave. Raises EdgebenchError; writes nothing."""
    began = measure.monotonic()
    _check_cache()
    backends = {name: plugins.backend(name) for name in plan.backends}
    if device.profile.transport == "local":
        fitting.check_threads(plan.threads)
        with ThreadPoolExecutor() as several:  # each imports its runtime in a process of its own
            for _ in several.map(_require, backends.values()):
                pass
    plans.check_backend_options(plan, backends)
    for name in plan.metrics:  # an unknown one is refused now
        plugins.load("edgebench.metrics", name)
    plan = _with_application(plan, device)
    form = ready.file_format(plan)
    expand = partial(plans.expand, plan, device.profile.name, backends, recipe_precision, form)
    expand()  # what is wrong with the axes is said before the device is touched
    data: Any = None
    own: dict[str, Any] = {}
    if form:
        ready.check_file(Path(plan.base, plan.model.source))
        data = given.read(plan)
    else:
        from edgebench.data import load

        data = load(plan.data, plan.data_options, Path(plan.base))
        fitting.check_batches(data.evaluation.inputs[0].nbytes, plan.batches)
        own = _check_networks(plan, data)
    device.furnish(backends, cache_folder())
    squares = expand(device.processor())
    return Prepared(plan=plan, device=device, squares=squares, data=data, own_data=own, began=began)


def _check_networks(plan: Plan, data: Any) -> dict[str, Any]:
    """Try each network of the plan on its data, once; the data of the recipes that bring some, by their names."""
    from edgebench.compress import pipeline
    from edgebench.data import load

    base, own = Path(plan.base), {}
    groups: dict[tuple[Any, Options], list[Recipe]] = {}
    for recipe in plan.recipes:
        groups.setdefault((recipe.model or plan.model, recipe.data), []).append(recipe)
    for (model, source), recipes in groups.items():
        options = {k: v for k, v in source.items() if k != "source"}
        found = load(source["source"], options, base) if source else data
        own.update({recipe.name: found for recipe in recipes if source})
        pipeline.check(model, found, base=base, recipes=recipes)
    return own


def _check_cache() -> None:
    """A cache that cannot be written would cost every row: refused now, with what to set."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise StoreError(
            f"The cache folder {folder} cannot be written.", "Make it writable, or name another: EDGEBENCH_CACHE=FOLDER"
        )


def _with_application(plan: Plan, device: Device) -> Plan:
    """Where the plan names what the application does around the network, that is tried now and measured later."""
    if not plan.application:
        return plan
    if device.profile.transport != "local":
        raise PlanError(
            "[application] names python functions of this machine, and the device is another one.",
            "Run edgebench on the device itself, or leave [application] out.",
        )
    from edgebench.metrics import application

    application.check({**plan.application, "base": plan.base})
    return replace(plan, metrics=tuple(dict.fromkeys((*plan.metrics, "application"))))


def _require(backend: Backend) -> None:
    found = backend.probe()
    if not found.ok:
        raise MissingRuntime(f'Backend "{backend.name}" cannot run here: {found.reason}.', found.fix)


def run(prepared: Prepared, *, root: Path, progress: Progress = quiet) -> RunFolder:
    """Make a results folder and fill it. Raises Interrupted on Ctrl-C, with what was measured kept."""
    plan, device = prepared.plan, prepared.device
    stamp = measure.utc_stamp()
    record = Run(
        id=f"{stamp}-{device.profile.name}",
        started=stamp,
        versions=Options(environment.versions(tuple(dict.fromkeys((*DISTRIBUTIONS, *plugins.packages()))))),
        plan=Options(to_json(plan)),
        device=device.profile,
        host=Options(environment.preflight()),
        commit=environment.commit(Path(__file__).parent),
    )
    folder = store.create(root, record)
    return fill(folder, prepared, progress)


def resume(folder: RunFolder, device: Device, progress: Progress = quiet) -> RunFolder:
    """Go on with a run that was cut off: cells with a result are not touched again."""
    prepared = prepare(from_json(Plan, dict(folder.run.plan)), device)
    return fill(folder, prepared, progress)


def fill(folder: RunFolder, prepared: Prepared, progress: Progress) -> RunFolder:
    have = {r.cell.id for r in folder.results()}
    todo = [s for s in prepared.squares if s.cell.id not in have]
    try:
        for square in todo:
            if square.skip:
                folder.append(Result(cell=square.cell, status="skipped", reason=square.skip))
        works = _make(folder, prepared, [s for s in todo if not s.skip], progress)
        if works:
            _measure(folder, prepared, works, progress)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted: {len(folder.results())} of {len(prepared.squares)} cells are measured and kept in {folder.path}.",
            f"Go on with: edgebench run --resume {folder.path}",
        ) from None
    finally:
        folder.close()
    return folder


def _make(folder: RunFolder, prepared: Prepared, squares: Sequence[Square], progress: Progress) -> list[Work]:
    """The files of every cell. A recipe or a lowering that cannot be made costs its own rows, not the run."""
    works: list[Work] = []
    for group in _by_recipe(squares):
        found, failed = _attempt(group, lambda part: _works(folder, prepared, part, progress))
        works += [work for each in found for work in each]
        for square, error in failed:
            folder.append(Result(cell=square.cell, status="failed", reason=error.problem, fix=error.fix))
    return works


def _works(folder: RunFolder, prepared: Prepared, group: Sequence[Square], progress: Progress) -> list[Work]:
    artifacts, data = _variant(folder, prepared, group, progress)
    return [
        Work(
            cell=square.cell,
            artifact=artifacts[square.lowering],
            data=data,
            baseline=square.baseline,
            application=_application(prepared.plan),
        )
        for square in group
    ]


def _attempt(
    group: Sequence[Square], make: Callable[[Sequence[Square]], Made]
) -> tuple[list[Made], list[tuple[Square, EdgebenchError]]]:
    """What `make` gives of a recipe's squares together or, where that fails, of each lowering alone; and what failed, and why.

    What two of them say in the same words is the recipe's own failure, and is not asked for a third time.
    """
    try:
        return [make(group)], []
    except EdgebenchError as together:
        error = together
    made: list[Made] = []
    failed: list[tuple[Square, EdgebenchError]] = []
    parts: dict[str, list[Square]] = {}
    for square in group:
        parts.setdefault(square.lowering, []).append(square)
    alike, problem = 0, error.problem
    for part in parts.values():
        if len(parts) > 1 and alike < 2:
            try:
                made.append(make(part))
                continue
            except EdgebenchError as own:
                alike += own.problem == problem
                error, problem = own, own.problem
        failed += [(square, error) for square in part]
    return made, failed


def _application(plan: Plan) -> Options:
    return Options({**plan.application, "base": str(Path(plan.base).resolve())}) if plan.application else Options()


def _variant(
    folder: RunFolder, prepared: Prepared, group: Sequence[Square], progress: Progress
) -> tuple[dict[str, Artifact], Artifact]:
    plan, recipe = prepared.plan, group[0].recipe
    if ready.file_format(plan):
        made, local = ready.artifact(plan), prepared.device.profile.transport == "local"
        model = made if local else packed(made, cache_folder())
        return {group[0].lowering: model}, given.artifact(plan, prepared.data, cache_folder())
    variant = _compressed(prepared, group, progress)
    shipped = {name: _ship(folder, recipe, name, artifact) for name, artifact in variant.artifacts.items()}
    return shipped, variant.data


def _compressed(prepared: Prepared, group: Sequence[Square], progress: Progress) -> Variant:
    """The files of one recipe, a lowering each, made or taken from the cache."""
    from edgebench.compress import pipeline

    plan, recipe = prepared.plan, group[0].recipe
    return pipeline.build(
        recipe.model or plan.model,
        recipe,
        tuple(dict.fromkeys(s.lowering for s in group)),
        prepared.own_data.get(recipe.name, prepared.data),
        base=Path(plan.base),
        cache=cache_folder(),
        seed=plan.seed,
        progress=progress,
        stopwatch=Stopwatch(device=prepared.device, options=plan.backend_options),
    )


def _by_recipe(squares: Iterable[Square]) -> list[list[Square]]:
    groups: dict[str, list[Square]] = {}
    for square in squares:
        groups.setdefault(f"{square.recipe.name}/{square.recipe.id}", []).append(square)
    return list(groups.values())


def _file_name(recipe: Recipe, lowering: str, source: Path) -> str:
    """`pruned.onnx`, `pruned.onnx-u8s8.onnx`: what a person will look for and ship."""
    kind = "" if f".{lowering}" == source.suffix else f".{lowering}"
    return f"{plans.file_name(recipe.name)}{kind}{source.suffix}"


def _ship(folder: RunFolder, recipe: Recipe, lowering: str, artifact: Artifact) -> Artifact:
    """Put the file into the results folder under a name that a person knows: it is what they will ship."""
    source = Path(artifact.path)
    target = folder.path / "artifacts" / _file_name(recipe, lowering, source)
    with store.writing(folder.path):
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            part = target.with_name(target.name + ".part")
            shutil.copyfile(source, part)
            os.replace(part, target)
    return replace(artifact, path=str(target))


def _measure(folder: RunFolder, prepared: Prepared, works: Sequence[Work], progress: Progress) -> None:
    """Start the campaign on the device, hand it the job, and store what it says as it says it."""
    device = prepared.device
    _check_same(folder, prepared.plan, works)
    pushed = [replace(w, artifact=device.push(w.artifact), data=_push_data(device, w.data)) for w in works]
    earlier_campaigns = {r.campaign for r in folder.results()} - {""}
    job = Job(
        id=f"{folder.run.id}.{len(earlier_campaigns) + 1}",
        work=tuple(pushed),
        metrics=tuple(dict.fromkeys((*METRICS, *prepared.plan.metrics))),
        protocol=replace(prepared.plan.protocol, sensors=device.profile.sensors),
        care=device.profile.care,
        spent_seconds=measure.monotonic() - prepared.began,
    )
    wanted = {w.cell.id for w in works} | {w.baseline for w in works}
    earlier = (record for record in folder.samples() if record.get("cell") in wanted)
    try:
        conduct(device, job, earlier, lambda event: _store(folder, works, event, progress))
    except ChildDied as death:
        last_words = death.stderr.splitlines()[-1:]
        raise EdgebenchError(
            " ".join([f"The campaign on {device.profile.name} {death.reason}.", *last_words]),
            f"What was measured is kept; go on with: edgebench run --resume {folder.path}",
        ) from death


def _check_same(folder: RunFolder, plan: Plan, works: Sequence[Work]) -> None:
    """Raise StoreError where a run that goes on would measure another network than it began with."""
    earlier = {r.artifact.path: r.artifact.sha256 for r in folder.results() if r.artifact}
    models = {recipe.name: recipe.model or plan.model for recipe in plan.recipes}
    for work in works:
        path, now = Path(work.artifact.path), work.artifact.sha256
        made = path.is_relative_to(folder.path)
        if (store.sha256(path) if made else earlier.get(str(path), now)) == now:
            continue
        source = models.get(work.cell.recipe, plan.model).source
        what = f'What the recipe "{work.cell.recipe}" makes of {source}' if made else source
        raise StoreError(
            f"{what} has changed since this run began, and {folder.path} holds what came before.",
            "Put it back as it was and go on, or begin a new run.",
        )


def conduct(
    device: Device, job: Job, earlier: Iterable[Mapping[str, Any]], on_event: Callable[[Mapping[str, Any]], None]
) -> None:
    """Run a job's campaign on the device and hand over its events. Raises ChildDied if it ends before it is done."""
    device.conduct(job, earlier, on_event)


def rebuild(folder: RunFolder) -> tuple[Result, ...]:
    """The results of a run with every figure made anew from its raw samples: the same, bit for bit."""
    plan = from_json(Plan, dict(folder.run.plan))
    names = dict.fromkeys((*METRICS, *plan.metrics))
    metrics = {name: plugins.load("edgebench.metrics", name)() for name in names}
    return figures.rebuild(folder.results(), folder.samples(), metrics, plan.protocol)


def _push_data(device: Device, data: Artifact) -> Artifact:
    return data if data.format == "random" else device.push(data)


def _store(folder: RunFolder, works: Sequence[Work], event: Mapping[str, Any], progress: Progress) -> None:
    kind = event["event"]
    if kind == "record":
        folder.append_samples(event["record"])
    elif kind == "progress":
        left = f"about {_minutes(event['left_s'])} left: " if "left_s" in event else ""
        progress("measure", event["done"], event["total"], left + event["note"])
    elif kind == "result":
        result = from_json(Result, event["result"])
        # The device's own paths mean nothing later: a result names the file as it lies beside it.
        local = next(w.artifact for w in works if w.cell.id == result.cell.id)
        inside = Path(local.path).is_relative_to(folder.path)
        path = str(Path(local.path).relative_to(folder.path)) if inside else local.path
        folder.append(replace(result, artifact=replace(local, path=path)))


def _minutes(seconds: float) -> str:
    """`40 s`, `2 min 10 s`, `1 h 5 min`: as finely as an estimate deserves."""
    tens = max(10, 10 * round(seconds / 10))
    if tens < 60:
        return f"{tens} s"
    if tens < 3600:
        return f"{tens // 60} min {tens % 60} s".removesuffix(" 0 s")
    return f"{tens // 3600} h {tens % 3600 // 60} min".removesuffix(" 0 min")


def compress(
    prepared: Prepared, out: Path, progress: Progress = quiet
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Make every file of the plan in the folder `out`. As plain JSON what was made, and what was not and why.

    Raises EdgebenchError where nothing could be made at all.
    """
    made: list[dict[str, Any]] = []
    refused = [_refused(s, s.skip) for s in prepared.squares if s.skip]
    with store.writing(out):
        out.mkdir(parents=True, exist_ok=True)
    errors: list[EdgebenchError] = []
    for group in _by_recipe(s for s in prepared.squares if not s.skip):
        found, failed = _attempt(group, lambda part: _compressed(prepared, part, progress).artifacts)
        made += [_kept(prepared, out, group[0].recipe, *file) for files in found for file in files.items()]
        refused += [_refused(square, f"{error.problem} {error.fix}") for square, error in failed]
        errors += [error for _, error in failed]
    if errors and not made:
        raise errors[0]
    return made, [row for i, row in enumerate(refused) if row not in refused[:i]]


def _kept(prepared: Prepared, out: Path, recipe: Recipe, lowering: str, artifact: Artifact) -> dict[str, Any]:
    """Put a file and its card into the folder; what was made, as plain JSON."""
    target = out / _file_name(recipe, lowering, Path(artifact.path))
    with store.writing(out):
        shutil.copyfile(artifact.path, target)
        card = cards.text(to_json(prepared.plan), recipe.name, replace(artifact, path=target.name))
        target.with_name(target.name + cards.SUFFIX).write_text(card, encoding="utf-8")
    return {"recipe": recipe.name, "lowering": lowering, "facts": {}, **to_json(replace(artifact, path=str(target)))}


def _refused(square: Square, why: str) -> dict[str, Any]:
    """What no file is made of: recipe, backend, precision, and the reason."""
    cell = square.cell
    return {"recipe": square.recipe.name, "backend": cell.backend, "precision": cell.precision, "refused": why}
