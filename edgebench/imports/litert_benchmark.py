"""The text that LiteRT's (TensorFlow Lite's) benchmark_model prints: times in microseconds, memory in MiB.

The lines are those of tensorflow/lite/tools/benchmark/benchmark_model.cc; newer versions add p5, median and p95.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from edgebench.codec import Options
from edgebench.imports.foreign import Source, figure, number, precision_in, row
from edgebench.schema import Cell, Result

NAME = "litert"
_SUMMARY = re.compile(
    r"Inference timings in us: Init: ([\d.e+]+), First inference: ([\d.e+]+), "
    r"Warmup \(avg\): ([\d.e+]+), Inference \(avg\): ([\d.e+]+)"
)
_COUNT = re.compile(r"count=(\d+) first=.*?avg=([\d.e+]+).*?std=\d+(?:.*?median=([\d.e+]+))?")
_MEMORY = re.compile(
    r"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): .*?overall=([\d.e+]+)"
)
_SIZE = re.compile(r"input model file size \(MB\): ([\d.e+]+)")
_SETTING = re.compile(
    r"(Graph|Num threads|#threads used for CPU inference|Use gpu|Use NNAPI|Use xnnpack|Use Hexagon): \[([^\]]*)\]", re.I
)
ACCELERATORS = {"use gpu": "gpu", "use nnapi": "nnapi", "use hexagon": "hexagon", "use xnnpack": "xnnpack"}


def recognizes(source: Source) -> bool:
    return "Inference timings in us:" in source.text


def read(source: Source) -> list[Result]:
    """A row for each run whose output the text holds."""
    ends = [match.end() for match in _SUMMARY.finditer(source.text)]
    starts, nexts = [0, *ends][: len(ends)], [*ends, len(source.text)][1:]
    # Memory is printed after the summary: it belongs to the run before it, up to where the next one begins.
    return [
        _row(source, source.text[start:end], _until_next(source.text[end:after]))
        for start, end, after in zip(starts, ends, nexts, strict=True)
    ]


def _until_next(tail: str) -> str:
    return tail.partition("STARTING!")[0]


def _row(source: Source, text: str, tail: str) -> Result:
    summary, counted = _SUMMARY.search(text), list(_COUNT.finditer(text))
    last = counted[-1] if counted else None
    median = number(last[3]) if last and last[3] else None
    n = int(last[1]) if last else 0
    said = f"LiteRT benchmark_model, {source.path.name}, one process"
    init, first, mean = (number(summary[i]) if summary else None for i in (1, 2, 4))
    value, kind = (median, "median") if median is not None else (mean, "mean, for no median is printed")
    memory, size = _MEMORY.search(tail), _SIZE.search(text)
    settings = {name.lower(): words for name, words in _SETTING.findall(text)}
    figures = [
        figure("latency", "s", _scaled(value, 1e-6), f"{said}; {kind}", n=n),
        figure("load", "s", _scaled(init, 1e-6), f"{said}; Init"),
        figure("first_inference", "s", _scaled(first, 1e-6), f"{said}; First inference"),
        figure("memory_peak", "B", _scaled(number(memory[1]), 2**20), f"{said}; overall footprint") if memory else None,
        figure("size", "B", _scaled(number(size[1]), 1e6), f"{said}; file size in MB, rounded") if size else None,
    ]
    return row(_cell(source, settings), figures, source=said, effective=_effective(text, settings))


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _cell(source: Source, settings: dict[str, str]) -> Cell:
    graph = PurePosixPath(settings.get("graph", "").replace("\\", "/")).stem
    threads = settings.get("num threads") or settings.get("#threads used for cpu inference") or ""
    used = [name for key, name in ACCELERATORS.items() if settings.get(key) == "1"]
    return Cell(
        model=source.known.model or graph or source.path.stem,
        recipe="as published",
        backend="litert",
        device=source.device,
        precision=source.known.precision or precision_in(graph),
        threads=int(threads) if threads.isdecimal() and int(threads) > 0 else 1,
        options=Options(delegate=" ".join(used)) if used else Options(),
    )


def _effective(text: str, settings: dict[str, str]) -> dict[str, object]:
    """What the log says was in force; a delegate that took nothing is told apart from one that ran."""
    declined = "will not be executed by the delegate" in text
    applied = re.search(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \(([^)]*)\)", text)
    return {
        "delegate": f"{applied[3]}: {applied[1]} of {applied[2]} nodes"
        if applied
        else "none: it declined"
        if declined
        else None,
        "xnnpack": settings.get("use xnnpack"),
    }
