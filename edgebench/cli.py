"""The verbs. The only place that prints and exits.

Exit codes: 0 all cells ok, 1 some cells failed, 2 bad input or interrupted (two sentences on stderr: problem and fix).
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgebench.errors import EdgebenchError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgebench.runner import Progress
    from edgebench.schema import Result
    from edgebench.store import RunFolder

RUN_EXAMPLES = """
\b
Examples:
  edgebench run                              the quick suite, on this machine
  edgebench run my.toml                      your own plan
  edgebench run --backend onnxruntime --json one runtime, for a script
  edgebench run --resume                     go on with the latest run
"""
BENCH_EXAMPLES = """
\b
Examples:
  edgebench bench model.onnx
  edgebench bench model.onnx --backend openvino --batch 1 --batch 8
  edgebench bench model.onnx --data samples.npz
  edgebench bench model.onnx --shape input=1x3x224x224
"""
MAIN_EXAMPLES = """
\b
Examples:
  edgebench run                 compress, compile, measure and compare, on real data
  edgebench bench model.onnx    measure a ready model on every runtime that opens it
  edgebench report RUN          the table of an earlier run, again
  edgebench doctor              what this machine can do, and what is missing
\b
Exit codes: 0 all cells ok, 1 some cells failed, 2 bad input or interrupted.
"""


def _say(text: str = "", *, err: bool = False) -> None:
    click.echo(text, err=err)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=MAIN_EXAMPLES)
@click.version_option(version("edgebench"), prog_name="edgebench")
def cli() -> None:
    """Compress a network, compile it for every edge runtime, measure it here or on a board, and compare."""


def _axes(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `run`, `bench` and `compress` narrow a plan with."""
    for option in reversed(
        (
            click.option(
                "--backend", "backends", multiple=True, metavar="NAME", help="Only this runtime; may be repeated."
            ),
            click.option(
                "--batch", "batches", multiple=True, type=int, metavar="N", help="Batch size; may be repeated."
            ),
            click.option(
                "--threads", multiple=True, type=int, metavar="N", help="Threads per inference; may be repeated."
            ),
            click.option(
                "--precision",
                "precisions",
                multiple=True,
                metavar="P",
                help="fp32, fp16, bf16 or int8; may be repeated.",
            ),
        )
    ):
        command = option(command)
    return command


def _measuring(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of everything that measures."""
    for option in reversed(
        (
            click.option(
                "--device",
                default="local",
                metavar="NAME",
                show_default=True,
                help="Where to measure: see edgebench devices.",
            ),
            click.option(
                "--metric",
                "metrics",
                multiple=True,
                metavar="NAME",
                help="Also measure: server, multistream, offline, energy, sustained, profile.",
            ),
            click.option("--sustained", metavar="TIME", help='Also measure under load for so long, like "10m".'),
            click.option(
                "--generations", type=int, metavar="N", help="Fresh processes per cell (more: narrower intervals)."
            ),
            click.option(
                "--quick",
                is_flag=True,
                help="Two short generations: seconds, at a lower trust.",
            ),
            click.option("--precise", is_flag=True, help="Until every ratio is known to 1 %."),
            click.option("--budget", metavar="TIME", help='Time for measuring, like "5m".'),
            click.option(
                "--results",
                default="results",
                metavar="FOLDER",
                show_default=True,
                help="Where results folders are made.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print the table as JSON."),
        )
    ):
        command = option(command)
    return command


@cli.command(epilog=RUN_EXAMPLES)
@click.argument("plan", default="quick", metavar="[PLAN.toml | SUITE]")
@_axes
@click.option(
    "--recipe", "recipes", multiple=True, metavar="NAME", help="Only this recipe of the plan; may be repeated."
)
@_measuring
@click.option(
    "--resume", is_flag=False, flag_value="latest", metavar="[RUN]", help="Go on with a run that was cut off."
)
def run(plan: str, device: str, results: str, as_json: bool, resume: str | None, **asked: Any) -> None:
    """Compress, compile and measure everything in a plan, and print the comparison."""
    from edgebench import runner, suites
    from edgebench.asked import asked_for
    from edgebench.devices import profiles

    if resume is not None:
        folder = _open_latest(resume, results)
        before = len(folder.results())
        place = profiles.resolve(folder.run.device.name)
        with _progress() as progress:
            runner.resume(folder, place, progress)
        if len(folder.results()) == before:
            _say(f"Nothing was left to do in {folder.path}.", err=True)
    else:
        chosen = asked_for(suites.read(plan), **asked)
        prepared = runner.prepare(chosen, profiles.resolve(device))
        with _progress() as progress:
            folder = runner.run(prepared, root=Path(results), progress=progress)
    _finish(folder, as_json)


@cli.command(epilog=BENCH_EXAMPLES)
@click.argument("file", metavar="FILE")
@_axes
@_measuring
@click.option("--data", metavar="FILE.npz", help="Inputs by name, and labels for accuracy; random inputs without it.")
@click.option("--shape", "shapes", multiple=True, metavar="NAME=AxBxC", help="Shape of an input whose axes are free.")
def bench(
    file: str,
    device: str,
    results: str,
    as_json: bool,
    data: str | None,
    shapes: Sequence[str],
    backends: Sequence[str],
    **asked: Any,
) -> None:
    """Measure a ready model file on every runtime that opens it."""
    from edgebench import ready, runner
    from edgebench.asked import asked_for, shapes_of
    from edgebench.devices import profiles

    ready.check_file(Path(file))
    names = tuple(backends) or ready.backends_for(Path(file))
    given = ready.bench_plan(file, names, data or "", shapes_of(shapes), precisions=asked["precisions"] or ("fp32",))
    plan = asked_for(given, **asked)
    prepared = runner.prepare(plan, profiles.resolve(device))
    with _progress() as progress:
        folder = runner.run(prepared, root=Path(results), progress=progress)
    _finish(folder, as_json)


@cli.command()
@click.argument("plan", default="quick", metavar="[PLAN.toml | SUITE]")
@_axes
@click.option(
    "--recipe", "recipes", multiple=True, metavar="NAME", help="Only this recipe of the plan; may be repeated."
)
@click.option("--out", default="compressed", metavar="FOLDER", show_default=True, help="Where the model files go.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def compress(plan: str, out: str, as_json: bool, **asked: Any) -> None:
    """Make the compressed networks of a plan as files, and measure nothing."""
    from edgebench import runner, suites
    from edgebench.asked import asked_for
    from edgebench.devices import profiles

    prepared = runner.prepare(asked_for(suites.read(plan), **asked), profiles.resolve("local"))
    with _progress() as progress:
        made = runner.compress(prepared, Path(out), progress)
    if as_json:
        _say(json.dumps(made, indent=1, sort_keys=True))
        return
    _table(
        ("recipe", "lowering", "file", "size", "MACs", "parameters"),
        [
            [
                m["recipe"],
                m["lowering"],
                m["path"],
                f"{m['size'] / 1000:.1f} kB",
                _count(m["facts"].get("macs")),
                _count(m["facts"].get("parameters")),
            ]
            for m in made
        ],
    )


@cli.command()
@click.argument("run_folder", default="latest", metavar="[RUN]")
@click.option("--results", default="results", metavar="FOLDER", show_default=True, help="Where results folders lie.")
@click.option(
    "--format", "form", metavar="NAME", help="Print one format (markdown, csv, json, svg) instead of the table."
)
@click.option("--from-samples", is_flag=True, help="Make every figure anew from the raw samples, and write nothing.")
def report(run_folder: str, results: str, form: str | None, from_samples: bool) -> None:
    """Write the tables of a run again from its folder (the same bytes every time), and print one."""
    from edgebench import plugins, runner
    from edgebench.report.table import build

    folder = _open_latest(run_folder, results)
    render = plugins.load("edgebench.reports", form) if form else None
    if not from_samples:
        _write_tables(folder)
    found = runner.rebuild(folder) if from_samples else folder.results()
    if render is not None:
        _say(render(build(folder.run, found)).rstrip("\n"))
    else:
        _print_table(folder, found)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def backends(as_json: bool) -> None:
    """The runtimes: which are here, what they open, and how to get those that are missing."""
    from edgebench import listing

    found = listing.backends()
    if as_json:
        _say(json.dumps(found, indent=1, sort_keys=True))
        return
    _table(
        ("backend", "here", "version", "opens", "precisions", "from"),
        [
            [
                b["name"],
                "yes" if b["ok"] else "no",
                b["version"],
                ", ".join(b["accepts"]),
                ", ".join(b["precisions"]),
                b["origin"],
            ]
            for b in found
        ],
    )
    for b in found:
        if not b["ok"]:
            _say(f"{b['name']}: {b['reason']}. {b['fix']}")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def devices(as_json: bool) -> None:
    """The devices that can be named with --device, and whether they can be reached."""
    from edgebench import listing

    found = listing.devices()
    if as_json:
        _say(json.dumps(found, indent=1, sort_keys=True))
        return
    _table(
        ("device", "ready", "reached by", "description"),
        [[d["name"], "yes" if d["ok"] else "no", d["address"] or d["transport"], d["description"]] for d in found],
    )
    for d in found:
        if not d["ok"]:
            _say(f"{d['name']}: {d['reason']} {d['fix']}")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def methods(as_json: bool) -> None:
    """The compression methods and their options, for the steps of a recipe."""
    from edgebench.compress import methods as known

    found = known.describe()
    if as_json:
        _say(json.dumps(found, indent=1, sort_keys=True))
        return
    for method in found:
        _say(f"{method['name']}: {method['summary']}")
        for line in textwrap.wrap(method["details"], 100):
            _say(f"    {line}")
        for option in method["options"]:
            _say(f"      {option['name']} = {option['default']}   ({option['type']})")
        _say()


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def doctor(as_json: bool) -> None:
    """What this machine is, what reduces trust in its figures, and what is missing."""
    from edgebench import environment, listing

    facts = environment.preflight()
    warnings = environment.warnings(facts, 1)
    found = listing.backends()
    if as_json:
        _say(json.dumps({"machine": facts, "warnings": list(warnings), "backends": found}, indent=1, sort_keys=True))
        return
    shown = (
        "cpu_model",
        "cores",
        "flags",
        "memory_total",
        "kernel",
        "hypervisor",
        "governor",
        "clocksource",
        "python",
        "libc",
    )
    for name in shown:
        if facts.get(name) not in (None, "", []):
            value = facts[name]
            _say(f"{name:>14}  {', '.join(map(str, value)) if isinstance(value, (list, tuple)) else value}")
    for b in found:
        _say(f"{b['name']:>14}  {b['version'] if b['ok'] else b['reason'] + '. ' + b['fix']}")
    for warning in warnings:
        _say(f"       warning  {warning}")
    if not warnings:
        _say("No warnings: nothing that was looked at reduces trust in figures from this machine.")


@cli.command()
@click.option("--device", default="local", metavar="NAME", show_default=True, help="Where: see edgebench devices.")
@click.option("--precise", is_flag=True, help="Until ratios are known to 1 %.")
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def selfcheck(device: str, precise: bool, as_json: bool) -> None:
    """Say whether a machine can be trusted to measure, and how finely. Exit code 1 if it cannot."""
    from edgebench import selfcheck as check
    from edgebench.devices import profiles
    from edgebench.schema import PROTOCOLS

    with _progress() as progress:
        report = check.run(profiles.resolve(device), PROTOCOLS["precise" if precise else "default"], progress)
    if as_json:
        _say(json.dumps(report, indent=1, sort_keys=True))
    else:
        for line in check.sentences(report):
            _say(line)
    sys.exit(0 if report["trusted"] else 1)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell; for bash: eval "$(edgebench completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    _say(kind(cli, {}, "edgebench", "_EDGEBENCH_COMPLETE").source())


# helpers of the verbs


def _open_latest(name: str, results: str) -> RunFolder:
    from edgebench import store

    root = Path(results)
    if name == "latest":
        return store.open_run(store.latest(root))
    return store.open_run(Path(name) if Path(name).exists() or "/" in name else root / name)


def _write_tables(folder: RunFolder) -> None:
    from edgebench import plugins
    from edgebench.report.table import build

    table = build(folder.run, folder.results())
    for form, name in (("markdown", "table.md"), ("csv", "table.csv"), ("json", "table.json"), ("svg", "latency.svg")):
        folder.write_text(name, plugins.load("edgebench.reports", form)(table))


def _finish(folder: RunFolder, as_json: bool) -> None:
    from edgebench import plugins
    from edgebench.report.table import build

    _write_tables(folder)
    results = folder.results()
    if as_json:
        _say(plugins.load("edgebench.reports", "json")(build(folder.run, results)).rstrip("\n"))
    else:
        _print_table(folder, results)
    sys.exit(1 if any(r.status == "failed" for r in results) else 0)


def _print_table(folder: RunFolder, results: Sequence[Result]) -> None:
    from edgebench.report.table import build
    from edgebench.report.terminal import lines
    from edgebench.report.text import profile

    console = _console()
    console.print(lines(build(folder.run, results), console.width))
    for result in results:
        layers = [
            (m.metric.partition(":")[2], m.value) for m in result.measurements if m.phase == "profile" and m.value
        ]
        if layers:
            _say(f"profile of {result.cell.recipe} on {result.cell.backend}: {profile(layers)} of the operators' time")
    _say(f"\nKept in {folder.path} (table.md, table.csv, table.json, latency.svg).")


def _console(*, err: bool = False) -> Any:
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else 120, highlight=False)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    _console().print(table)


def _count(number: float | None) -> str:
    if number is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on stderr for a person; nothing when the output goes to a file or a script."""
    from edgebench.runner import quiet

    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield quiet
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=_console(err=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(stage: str, done: int, total: int, note: str) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total or None, note="")
            bars.update(tasks[stage], completed=done, total=total or None, note=note[:60])

        yield tell


def main(argv: Sequence[str] | None = None) -> None:
    """The entry point of the `edgebench` command."""
    try:
        code = cli.main(args=None if argv is None else list(argv), prog_name="edgebench", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except EdgebenchError as error:
        _fail(error.problem, error.fix)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "edgebench"
        _fail(error.format_message(), f"See: {where} --help")
    except click.ClickException as error:
        _fail(error.format_message(), "See: edgebench --help")
    except (click.Abort, KeyboardInterrupt):
        _fail("Interrupted.", "Nothing was lost: a run that had begun goes on with: edgebench run --resume")
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left; that is no error of ours
        sys.exit(0)
    except OSError as error:
        if error.errno == 28:
            failure = StoreError("The disk is full.", "Free some space, then go on with: edgebench run --resume")
            _fail(failure.problem, failure.fix)
        raise


def _fail(problem: str, fix: str) -> None:
    _say(f"Error: {problem}\n  Fix: {fix}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
