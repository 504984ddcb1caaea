"""TensorRT's trtexec --exportTimes: a JSON list with one object a call, its times in milliseconds.

The fields are those of `exportJSONTrace` in TensorRT's samples/common/sampleReporting.cpp: latencyMs = h2dMs + computeMs + d2hMs.
"""

from __future__ import annotations

from edgebench import stats
from edgebench.imports.foreign import Source, figure, loaded, number, percentiles, precision_in, row
from edgebench.schema import Cell, Result

NAME = "trtexec"


def recognizes(source: Source) -> bool:
    data = loaded(source.text) if source.text.lstrip().startswith("[") else None
    return isinstance(data, list) and bool(data) and isinstance(data[0], dict) and "latencyMs" in data[0]


def read(source: Source) -> list[Result]:
    """One row: the file is of one engine. It names neither network nor device nor precision: `--model` and others do."""
    data = loaded(source.text)
    calls = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    seconds = [ms / 1e3 for item in calls if (ms := number(item.get("latencyMs"))) is not None and ms > 0]
    compute = [ms / 1e3 for item in calls if (ms := number(item.get("computeMs"))) is not None and ms > 0]
    if not seconds:
        return []
    said = f"trtexec --exportTimes, {source.path.name}, one process"
    cell = Cell(
        model=source.model,
        recipe="as published",
        backend="tensorrt",
        device=source.device,
        precision=source.known.precision or precision_in(source.path.name),
    )
    figures = [
        figure(
            "latency", "s", stats.median(seconds), f"{said}; median of latencyMs: copies and compute", n=len(seconds)
        ),
        *percentiles(seconds, said),
        figure("compute", "s", stats.median(compute), f"{said}; median of computeMs", n=len(compute))
        if compute
        else None,
    ]
    return [row(cell, figures, source=said)]
