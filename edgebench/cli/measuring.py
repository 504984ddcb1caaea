"""The verbs that make something: run, bench, compress, selfcheck."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgebench.cli.app import cli
from edgebench.cli.options import axes, measuring
from edgebench.cli.results import finish, open_run
from edgebench.cli.screen import count, progress_bars, say, table
from edgebench.cli.verb import Verb

if TYPE_CHECKING:
    from edgebench.plan import Plan
    from edgebench.schema import DeviceProfile

RUN_EXAMPLES = """
\b
Examples:
  edgebench run                              the quick suite, on this machine
  edgebench run my.toml                      your own plan
  edgebench run --backend onnxruntime --json one runtime, for a script
  edgebench run --resume                     go on with the latest run that was cut off
"""
BENCH_EXAMPLES = """
\b
Examples:
  edgebench bench model.onnx
  edgebench bench model.onnx --backend openvino --batch 1 --batch 8
  edgebench bench model.onnx --data samples.npz
  edgebench bench model.tflite --data pictures/ --data-option mean=0.5 --data-option std=0.5
  edgebench bench int8.onnx --against fp32.onnx
  edgebench bench my_model:make --shape input=1x3x224x224
  edgebench bench model.onnx --shape input=1x3x224x224
"""


class _WithSuites(Verb):
    """Its help ends with the plans that come with edgebench."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from edgebench import suites

        super().format_epilog(ctx, formatter)
        with formatter.section("Suites"):
            formatter.write_dl([(name, suites.about(name)) for name in suites.names()])


@cli.command(cls=_WithSuites, epilog=RUN_EXAMPLES)
@click.argument("plan", default="quick", metavar="[PLAN.toml | SUITE]")
@axes
@click.option(
    "--recipe", "recipes", multiple=True, metavar="NAME", help="Only this recipe of the plan; may be repeated."
)
@measuring
@click.option(
    "--resume", is_flag=False, flag_value="latest", metavar="[RUN]", help="Go on with a run that was cut off."
)
def run(plan: str, device: str, results: str, as_json: bool, resume: str | None, **asked: Any) -> None:
    """Compress, compile and measure everything in a plan, and print the comparison."""
    from edgebench import runner, suites
    from edgebench.asked import asked_for
    from edgebench.devices import profiles
    from edgebench.preparing import prepare

    if resume is not None:
        _alone(click.get_current_context())
        unfinished = runner.latest_unfinished(Path(results)) if resume == "latest" else None
        folder = unfinished or open_run(resume, results)
        before = len(folder.results())
        place = profiles.resolve(folder.run.device.name, beside=Path(str(folder.run.plan.get("base") or ".")))
        with progress_bars(place, as_json=as_json) as progress:
            runner.resume(folder, place, progress)
        if len(folder.results()) == before:
            every = f": every run in {results} is finished, and this is the latest" if resume == "latest" else ""
            say(f"Nothing was left to do in {folder.path}{every}.", err=True)
    else:
        chosen = asked_for(suites.read(plan), **asked)
        place = profiles.resolve(device, beside=Path(chosen.base))
        with progress_bars(place, as_json=as_json) as progress:
            prepared = prepare(chosen, place)
            folder = runner.run(prepared, root=Path(results), progress=progress)
    finish(folder, as_json)


def _alone(context: click.Context) -> None:
    """Refuse what a run that goes on would ignore: it has its plan already."""
    from click.core import ParameterSource

    from edgebench.errors import PlanError

    given = [
        parameter
        for parameter in context.command.params
        if parameter.name not in ("resume", "results", "as_json")
        and context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    ]
    if given:
        what = ", ".join(p.opts[0] if isinstance(p, click.Option) else f'"{context.params["plan"]}"' for p in given)
        raise PlanError(
            f"--resume goes on with a run by its own plan, and {what} would be ignored.",
            "Give --resume alone, or the path of the run behind it, or leave it out to begin a new run.",
        )


@cli.command(epilog=BENCH_EXAMPLES)
@click.argument("file", metavar="FILE|MODULE:CALLABLE")
@axes
@measuring
@click.option(
    "--data",
    metavar="DATA",
    help="Inputs by name, and labels for accuracy (.npz), or pictures in class folders; random inputs without it.",
)
@click.option(
    "--data-option",
    "data_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="How pictures are read: mean, std (of each channel, of pixels from 0 to 1), limit (pictures of each class), size.",
)
@click.option(
    "--against", metavar="FILE", help="Another model file: how far the answers differ, and how often they agree."
)
@click.option("--shape", "shapes", multiple=True, metavar="NAME=AxBxC", help="Shape of an input whose axes are free.")
@click.option("--samples", metavar="MODULE:NAME", help="Your function that gives raw samples, for --before.")
@click.option("--before", metavar="MODULE:NAME", help="Your pre-processing: measured beside the inference.")
@click.option("--after", metavar="MODULE:NAME", help="Your post-processing: measured beside the inference.")
def bench(
    file: str,
    device: str,
    results: str,
    as_json: bool,
    backends: Sequence[str],
    samples: str | None,
    before: str | None,
    after: str | None,
    **asked: Any,
) -> None:
    """Measure a ready model file on every runtime that opens it, or a network in python on every runtime."""
    from dataclasses import replace

    from edgebench import runner
    from edgebench.asked import asked_for
    from edgebench.codec import Options
    from edgebench.devices import profiles
    from edgebench.preparing import prepare

    where = profiles.resolve(device)
    given = _given(file, backends, asked, where.profile)
    around = {"samples": samples, "before": before, "after": after}
    plan = replace(given, application=Options({k: v for k, v in around.items() if v}))
    with progress_bars(where, as_json=as_json) as progress:
        prepared = prepare(asked_for(plan, **asked), where)
        folder = runner.run(prepared, root=Path(results), progress=progress)
    finish(folder, as_json)


def _given(file: str, backends: Sequence[str], asked: dict[str, Any], device: DeviceProfile) -> Plan:
    """The plan of what bench was given; its own options are taken out of `asked`."""
    from edgebench import given, ready
    from edgebench.asked import shapes_of

    path, precisions = Path(file), asked["precisions"]
    words: dict[str, Any] = {
        "data": asked.pop("data") or "",
        "shapes": shapes_of(asked.pop("shapes")),
        "against": asked.pop("against") or "",
        "data_options": given.picture_options(asked.pop("data_options")),
    }
    if ready.is_entry(file) and not path.exists():
        names = tuple(backends) or ready.entry_backends(device)
        batches = tuple(asked["batches"]) or (1,)
        return ready.bench_plan(file, names, precisions=precisions or ("fp32",), batches=batches, **words)
    inputs = ready.check_file(path)
    names = tuple(backends) or ready.backends_for(path, device)
    precisions = ready.as_made(path, precisions) or (ready.own_precision(path, names),)
    return ready.bench_plan(file, names, precisions=precisions, batches=(ready.own_batch(inputs),), **words)


@cli.command()
@click.argument("plan", default="quick", metavar="[PLAN.toml | SUITE]")
@axes
@click.option(
    "--recipe", "recipes", multiple=True, metavar="NAME", help="Only this recipe of the plan; may be repeated."
)
@click.option("--out", default="compressed", metavar="FOLDER", show_default=True, help="Where the model files go.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def compress(plan: str, out: str, as_json: bool, **asked: Any) -> None:
    """Make the compressed networks of a plan as files, and measure nothing. Exit code 1 if a recipe gave no file."""
    from edgebench import making, suites
    from edgebench.asked import asked_for
    from edgebench.devices import profiles
    from edgebench.preparing import prepare

    with progress_bars(as_json=as_json) as progress:
        prepared = prepare(asked_for(suites.read(plan), **asked), profiles.resolve("local"))
        made, refused = making.compress(prepared, Path(out), progress)
    if as_json:
        say(json.dumps([*made, *refused], indent=1, sort_keys=True))
    else:
        _show_files(made, refused)
    if {row["recipe"] for row in refused} - {m["recipe"] for m in made}:
        sys.exit(1)


def _show_files(made: Sequence[Mapping[str, Any]], refused: Sequence[Mapping[str, str]]) -> None:
    from edgebench.report.made import notes as made_notes
    from edgebench.report.text import file_size, percent

    table(
        ("recipe", "lowering", "file", "size", "MACs", "parameters", "accuracy in float"),
        [
            [
                m["recipe"],
                m["lowering"],
                m["path"],
                file_size(m["size"]),
                count(m["facts"].get("macs")),
                count(m["facts"].get("parameters")),
                "–" if (right := m["facts"].get("float_accuracy")) is None else percent(right),
            ]
            for m in made
        ],
    )
    said: dict[str, list[str]] = {}
    for m in made:
        for note in made_notes(m["facts"]):
            said.setdefault(note, []).append(m["recipe"])
    for note, recipes in said.items():
        say(f"{', '.join(dict.fromkeys(recipes))}: {note}")
    if any("int8_coverage" in m["facts"] for m in made):
        say("Accuracy in float is the network's as its steps left it; edgebench run measures what each file answers.")
    for line in dict.fromkeys(f"refused: {row['recipe']} in {row['precision']}. {row['refused']}" for row in refused):
        say(line)


@cli.command()
@click.option("--device", default="local", metavar="NAME", show_default=True, help="Where: see edgebench devices.")
@click.option("--precise", is_flag=True, help="Until ratios are known to 1 %.")
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def selfcheck(device: str, precise: bool, as_json: bool) -> None:
    """Say whether a machine can be trusted to measure, and how finely. Exit code 1 if it cannot."""
    from edgebench import selfcheck as check
    from edgebench.devices import profiles
    from edgebench.schema import PROTOCOLS

    place = profiles.resolve(device)
    with progress_bars(place, as_json=as_json) as progress:
        report = check.run(place, PROTOCOLS["precise" if precise else "default"], progress)
    if as_json:
        say(json.dumps(report, indent=1, sort_keys=True))
    else:
        for line in check.sentences(report):
            say(line)
    sys.exit(0 if report["trusted"] else 1)
