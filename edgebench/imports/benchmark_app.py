"""OpenVINO's benchmark_app: what it prints, and its -report_type files (benchmark_report.json and .csv).

Keys and lines are those of openvino/tools/benchmark/main.py (2026.4): times in milliseconds with two decimals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from edgebench.codec import Options
from edgebench.imports.foreign import Source, figure, loaded, number, precision_in, row
from edgebench.schema import Cell, Result

NAME = "benchmark_app"
_LINES = {
    "latency (ms)": r"Median:\s+([\d.]+) ms",
    "throughput": r"Throughput:\s+([\d.]+) FPS",
    "first inference time (ms)": r"First inference took ([\d.]+) ms",
    "compile model time (ms)": r"Compile model took ([\d.]+) ms",
    "read model time (ms)": r"Read model took ([\d.]+) ms",
    "total number of iterations": r"Count:\s+(\d+) iterations",
}
_PRINTED = {
    "topology": r"NETWORK_NAME:\s+(\S+)",
    "target device": r"EXECUTION_DEVICES:\s+\[?'?([\w.]+)",
    "number of parallel infer requests": r"OPTIMAL_NUMBER_OF_INFER_REQUESTS:\s+(\d+)",
    "batch size": r"Model batch size: (\d+)",
    "API": r"Start inference (asynchronously|synchronously)",
    "precision": r"INFERENCE_PRECISION_HINT:\s+<Type: '(\w+)'>",
    "threads": r"INFERENCE_NUM_THREADS:\s+(\d+)",
}


def recognizes(source: Source) -> bool:
    data = loaded(source.text) if source.text.lstrip().startswith("{") else None
    if isinstance(data, dict):
        return "execution_results" in data
    printed = re.search(r"\[ INFO \] (?:Execution Devices|Count: +\d+ iterations|Throughput: +[\d.]+ FPS)", source.text)
    start = source.text.startswith(("Command line parameters", "Configuration setup"))
    return start or printed is not None or "[Step 10/11]" in source.text


def read(source: Source) -> list[Result]:
    """One row. Under the asynchronous API several requests share the device: their number is part of the cell."""
    options, setup, found = _tables(source.text)
    said = f"OpenVINO benchmark_app, {source.path.name}, one process"
    iterations = int(number(found.get("total number of iterations")) or 0)
    requests = int(number(setup.get("number of parallel infer requests")) or 1)
    note = f"latency of one of {requests} requests at once" if requests > 1 else ""
    percentile = next((k for k in found if re.fullmatch(r"latency \(\d+ percentile\) \(ms\)", k)), "")
    figures = [
        figure("latency", "s", _ms(found.get("latency (ms)")), f"{said}; median", n=iterations, note=note),
        figure(
            "throughput", "1/s", number(found.get("throughput")), f"{said}; {requests} requests at once", n=iterations
        ),
        figure("load", "s", _ms(found.get("compile model time (ms)")), f"{said}; compiling the model"),
        figure("first_inference", "s", _ms(found.get("first inference time (ms)")), f"{said}; first inference"),
    ]
    if percentile:
        name = f"latency_{percentile.split('(')[1].split()[0]}th_percentile"
        figures.append(figure(name, "s", _ms(found[percentile]), f"{said}; {percentile}", n=iterations, note=note))
    cell, effective = _cell(source, options, setup, requests)
    if not any(f is not None for f in figures) and "error" not in found:
        return []
    return [
        row(cell, figures, source=f"{said} ({found['error']})" if found.get("error") else said, effective=effective)
    ]


def _ms(value: object) -> float | None:
    found = number(value)
    return None if found is None else found / 1e3


Facts = Mapping[str, Any]


def _tables(text: str) -> tuple[Facts, Facts, Facts]:
    """The options, the configuration and the results, of whichever of the three forms."""
    data = loaded(text) if text.lstrip().startswith("{") else None
    if isinstance(data, dict):
        parts = (data.get(key) for key in ("cmd_options", "configuration_setup", "execution_results"))
        first, second, third = (part if isinstance(part, dict) else {} for part in parts)
        return first, second, third
    if "Execution results\n" in text or "Execution results\r\n" in text:
        pairs = [line.partition(";")[::2] for line in text.splitlines() if ";" in line]
        return dict(pairs), dict(pairs), dict(pairs)
    search = {key: re.findall(pattern, text) for key, pattern in {**_LINES, **_PRINTED}.items()}
    known = {key: matches[-1] for key, matches in search.items() if matches}
    path = re.search(r"-m[ =](\S+)", text)
    return ({"m": path[1]} if path else {}), known, known


def _cell(source: Source, options: Facts, setup: Facts, requests: int) -> tuple[Cell, dict[str, Any]]:
    given = next((str(options[key]) for key in ("m", "-m", "path_to_model", "--path_to_model") if options.get(key)), "")
    model = PurePosixPath(given.replace("\\", "/")).stem or str(setup.get("topology") or "")
    where = str(setup.get("target device") or "")
    batch, threads = number(setup.get("batch size")), number(setup.get("threads") or options.get("-nthreads"))
    api = str(setup.get("API") or "").replace("hronously", "")
    told = {"api": api, "requests": requests if requests > 1 else None, "target": where}
    hinted = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}.get(str(setup.get("precision") or ""), "")
    cell = Cell(
        model=source.known.model or model or source.path.stem,
        recipe="as published",
        backend="openvino",
        device=source.device,
        precision=source.known.precision or precision_in(model),
        batch=int(batch) if batch and batch >= 1 else 1,
        threads=int(threads) if threads and threads >= 1 else 1,
        options=Options({k: v for k, v in told.items() if v}),
    )
    return cell, {"devices": where, "precision_hint": hinted}
