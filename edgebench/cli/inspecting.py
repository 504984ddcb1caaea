"""The verbs about one model file: inspect, convert."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgebench.cli.app import cli
from edgebench.cli.screen import console, count, note, progress_bars, say, table
from edgebench.errors import ModelError

INSPECT_EXAMPLES = """
\b
Examples:
  edgebench inspect model.onnx
  edgebench inspect model.tflite --json
  edgebench inspect model.onnx --shape input=1x3x224x224    for free axes beside the batch
"""
CONVERT_EXAMPLES = """
\b
Examples:
  edgebench convert my_model:make --to litert --shape input=1x3x224x224 --out model.tflite
  edgebench convert my_model:make --to executorch --precision int8 --calibration samples.npz
  edgebench convert model.onnx --to onnxruntime --precision int8 --calibration pictures/
"""


@cli.command(epilog=INSPECT_EXAMPLES)
@click.argument("file", metavar="FILE")
@click.option("--shape", "shapes", multiple=True, metavar="NAME=AxBxC", help="Shape of an input whose axes are free.")
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def inspect(file: str, shapes: Sequence[str], as_json: bool) -> None:
    """Look into a model file: inputs, operators, arithmetic, and for which targets it is legal."""
    from edgebench import fitting, ready
    from edgebench.asked import shapes_of
    from edgebench.inspect import summary
    from edgebench.schema import TensorSpec

    path = Path(file)
    if ready.is_entry(file) and not path.exists():
        raise ModelError(
            f"{file} is a network in python, and inspect looks into files.",
            f"Make a file of it: edgebench convert {file} --to onnxruntime --shape NAME=1xAxB, then inspect that file.",
        )
    ready.check_there(path)
    found = summary.summary(path, ready.format_of(path), shapes_of(shapes))
    specs = [TensorSpec(name=s["name"], dtype=s["dtype"], shape=tuple(s["shape"])) for s in found["inputs"]]
    try:
        fitting.check_inputs(path, specs, ())
    except ModelError as error:
        found["notes"].append(f"bench does not feed it: {error.problem}")
    if as_json:
        say(json.dumps(found, indent=1))
    else:
        _show(found)


def _show(found: Mapping[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from edgebench.report.text import plain

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for title, text in _lines(found):
        grid.add_row(title, escape(plain(text)))
    console().print(grid)
    say()
    table(
        ("target", "legal", "why not, or what to know"),
        [
            [t["target"], "yes" if t["legal"] else "no", escape(plain("; ".join(t["reasons"])))]
            for t in found["targets"]
            if not t["other_format"]
        ],
    )
    others = [t["target"] for t in found["targets"] if t["other_format"]]
    if others:
        how = (
            f"{found['file']} --to RUNTIME" if found["format"] == "onnx" else "MODEL --to RUNTIME, from .onnx or python"
        )
        say()
        note(f"Of another format: {', '.join(others)}.", f"Make the file with: edgebench convert {how}")


_LAYER, _LAYERS = "convolution, matrix product or recurrent layer", "convolutions, matrix products and recurrent layers"


def _lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    from edgebench.report import text

    made = f", made by {found['made_by']}" if found["made_by"] else ""
    layers, int8 = found["layers"], found["int8_layers"]
    share = f", {int8} of them int8 ({text.percent(int8 / layers, 0)})" if layers else ""
    arena = "–" if found["activation_arena"] is None else _memory(found["activation_arena"])
    rows = [("file", f"{found['file']} ({found['format']}, {text.file_size(found['size'])}{made})")]
    for kind in ("inputs", "outputs"):
        rows += [(kind.removesuffix("s"), _tensor(spec)) for spec in found[kind]]
    rows += [
        ("layers", f"{layers} {_LAYER if layers == 1 else _LAYERS}{share}"),
        ("MACs", f"{count(found['macs'])} a call, at batch {found['batch']}"),
        ("parameters", f"{count(found['parameters'])}{_weights(found['weights'])}"),
        ("activations", f"{arena} alive at once at most, estimated; tensors: {_counted(found['activations']) or '–'}"),
        ("operators", _counted(found["operators"])),
    ]
    return rows + [("note", said) for said in found["notes"]]


def _memory(size: int) -> str:
    from edgebench.report import text

    if size >= 2**20:
        return text.memory(size)
    return f"{text.significant(size / 2**10)} KiB" if size >= 2**10 else f"{size} B"


def _tensor(spec: Mapping[str, Any]) -> str:
    names = spec.get("axes") or [""] * len(spec["shape"])
    shape = " x ".join(
        str(size) if size is not None else name or ("?" if axis else "N")
        for axis, (size, name) in enumerate(zip(spec["shape"], names, strict=True))
    )
    taken = f", taken as {' x '.join(map(str, spec['taken_as']))}" if "taken_as" in spec else ""
    return f"{spec['name']}: {spec['dtype']} {shape or 'a single number'}{taken}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())


def _weights(sizes: Mapping[str, int]) -> str:
    from edgebench.report import text

    return f": {', '.join(f'{name} {text.file_size(size)}' for name, size in sizes.items())}" if sizes else ""


@cli.command(epilog=CONVERT_EXAMPLES)
@click.argument("source", metavar="FILE.onnx|MODULE:CALLABLE")
@click.option("--to", "backend", required=True, metavar="RUNTIME", help="For which runtime: see edgebench backends.")
@click.option("--precision", default="fp32", metavar="P", show_default=True, help="fp32, fp16, bf16 or int8.")
@click.option(
    "--calibration", default="", metavar="DATA", help="Samples for int8: .npz, pictures, digits or module:callable."
)
@click.option(
    "--shape", "shapes", multiple=True, metavar="NAME=AxBxC", help="Shape of the input, where there are no samples."
)
@click.option("--weights", default="", metavar="FILE", help="Weights of a network in python (safetensors).")
@click.option(
    "--out", default="", metavar="FILE", help="Where to; named after the network, the runtime and the precision."
)
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def convert(source: str, backend: str, shapes: Sequence[str], as_json: bool, **asked: Any) -> None:
    """Make the file that a runtime wants, and measure nothing.

    An ONNX file becomes one for runtimes that open ONNX; a network in python of one input, one for any runtime.
    """
    from edgebench import convert as converting
    from edgebench.asked import shapes_of
    from edgebench.codec import to_json
    from edgebench.report import text

    with progress_bars(as_json=as_json) as progress:
        made = converting.convert(source, backend, shapes=shapes_of(shapes), progress=progress, **asked)
    if as_json:
        say(json.dumps(to_json(made), indent=1, sort_keys=True))
    else:
        if "replaced" in made.facts:
            say(f"{made.path} replaces another file: {made.facts['replaced']}.")
        say(f"{made.path}: {made.format}, {text.file_size(made.size)}. {_next(made.path, backend, asked['precision'])}")


def _next(path: str, backend: str, precision: str) -> str:
    """How the file is measured; and where a half precision is what the runtime does and not what the file holds, that."""
    from edgebench import ready

    half = precision in ("fp16", "bf16") and ready.own_precision(Path(path), (backend,)) != precision
    told = f"It holds fp32: {precision} is what {backend} computes in, a setting of its session. " if half else ""
    here = ready.is_here(backend)
    where = "" if here else f", on a machine that has {backend},"
    named = "" if here and not half else f" --backend {backend}"
    return f"{told}Measure it{where} with: edgebench bench {path}{named}{f' --precision {precision}' if half else ''}"
