"""The files of a plan: a recipe or a lowering that cannot be made costs its own rows, not the run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgebench import given, ready, store
from edgebench.codec import Options, to_json
from edgebench.devices.link import RemoteError
from edgebench.environment import cache_folder
from edgebench.errors import EdgebenchError
from edgebench.parts import packed
from edgebench.plan import Plan, file_name
from edgebench.preparing import Prepared
from edgebench.report import cards
from edgebench.schema import Artifact, Recipe, Result, Work
from edgebench.squares import Square
from edgebench.stopwatch import Stopwatch
from edgebench.store import RunFolder

if TYPE_CHECKING:
    from edgebench.compress.pipeline import Variant

Progress = Callable[[str, int, int, str], None]
"""(stage, done, total, note); total 0 where it is not known."""


Made = TypeVar("Made")


def quiet(stage: str, done: int, total: int, note: str) -> None:
    """The progress of a script: none."""


def works(folder: RunFolder, prepared: Prepared, squares: Sequence[Square], progress: Progress) -> list[Work]:
    """The files of every cell. A recipe or a lowering that cannot be made costs its own rows, not the run."""
    made: list[Work] = []
    for group in _by_recipe(squares):
        found, failed = _attempt(group, lambda part: _works(folder, prepared, part, progress))
        made += [work for each in found for work in each]
        for square, error in failed:
            folder.append(Result(cell=square.cell, status="failed", reason=error.problem, fix=error.fix))
    return made


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
    Raises RemoteError: a device that is gone or busy costs no rows.
    """
    try:
        return [make(group)], []
    except RemoteError:
        raise  # the board of a latency search is gone or busy: that is no fault of the recipe, and the run can be gone on with
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
            except RemoteError:
                raise
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
    return f"{file_name(recipe.name)}{kind}{source.suffix}"


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
