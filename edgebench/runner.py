"""On the host: have the files made, start the campaign where the device is, collect, store. Never dies of one cell.

Everything that can be wrong with what the user gave is found before the results folder is made (`preparing`); after that,
whatever happens becomes a row, and what was measured is on disk at once.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgebench import environment, figures, making, measure, plugins, store
from edgebench.codec import Options, from_json, to_json
from edgebench.devices import Device
from edgebench.errors import EdgebenchError, Interrupted, StoreError
from edgebench.lines import ChildDied
from edgebench.making import Progress, quiet
from edgebench.plan import Plan
from edgebench.preparing import Prepared, planned, prepare
from edgebench.schema import Artifact, Job, Result, Run, Work
from edgebench.store import RunFolder

METRICS = ("latency", "throughput", "memory", "accuracy")


DISTRIBUTIONS = ("edgebench", "numpy", "torch", "torch-pruning", "torchao", "onnx", "onnxscript")
"""Whose versions every run records, with those that the backends name."""


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
    """Go on with a run that was cut off: cells with a result are not touched again. One that is whole costs no preparing."""
    if finished(folder):
        return folder
    prepared = prepare(from_json(Plan, dict(folder.run.plan)), device)
    return fill(folder, prepared, progress)


def finished(folder: RunFolder) -> bool:
    """Whether each cell of the run's plan has its result."""
    squares = planned(from_json(Plan, dict(folder.run.plan)), folder.run.device.name)
    return {square.cell.id for square in squares} <= {r.cell.id for r in folder.results()}


def latest_unfinished(root: Path) -> RunFolder | None:
    """The newest run in `root` that can be gone on with, if there is one. Raises StoreError where there is no run at all."""
    for path in store.newest_first(root):
        with suppress(EdgebenchError):  # one that cannot be read, or whose plug-ins are gone, hides none of the others
            folder = store.open_run(path)
            if not finished(folder):
                return folder
    return None


def fill(folder: RunFolder, prepared: Prepared, progress: Progress) -> RunFolder:
    have = {r.cell.id for r in folder.results()}
    todo = [s for s in prepared.squares if s.cell.id not in have]
    try:
        for square in todo:
            if square.skip:
                folder.append(Result(cell=square.cell, status="skipped", reason=square.skip))
        works = making.works(folder, prepared, [s for s in todo if not s.skip], progress)
        if works:
            _measure(folder, prepared, works, progress)
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted: {_kept(folder, prepared)}", f"Go on with: {_resume(folder)}") from None
    except StoreError:
        raise  # it says itself what is kept, and how to go on
    except EdgebenchError as error:
        kept = f"{error.problem} {_kept(folder, prepared)}"
        raise Interrupted(kept, f"{error.fix}\n  Then go on with: {_resume(folder)}") from error
    finally:
        folder.close()
    return folder


def _kept(folder: RunFolder, prepared: Prepared) -> str:
    return f"{len(folder.results())} of {len(prepared.squares)} cells are measured and kept in {folder.path}."


def _resume(folder: RunFolder) -> str:
    return f"edgebench run --resume {shlex.quote(str(folder.path))}"


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
            "If it dies again, leave out the backend or the recipe that it died of.",
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
