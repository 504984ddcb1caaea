"""MLPerf Tiny submissions: results/<system>/<benchmark>/{performance,accuracy,energy}/results.txt, systems/<system>.json.

The layout and the words are those of the runner of mlcommons/tiny as found in mlcommons/tiny_results_v1.2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgebench.errors import StoreError
from edgebench.imports.foreign import Source, figure, loaded, number, precision_in, row
from edgebench.schema import Cell, Result

NAME = "mlperf-tiny"
NETWORKS = {
    "ad": "ad, ToyADMOS autoencoder",
    "ic": "ic, CIFAR-10 ResNet-8",
    "kws": "kws, Speech Commands DS-CNN",
    "vww": "vww, Visual Wake Words MobileNetV1",
    "sww": "sww, streaming wake word",
}
_MEDIAN = re.compile(r"Median throughput is\s+(\S+)\s+inf")
_WINDOW = re.compile(r"# Inferences\s*:\s*(\S+).*?Runtime\s*:\s*(\S+)\s*sec", re.DOTALL)
_TOP1 = re.compile(r"Top-1:\s*([^\s%]+)\s*%")
_AUC = re.compile(r"AUC:\s*(\S+)")
_ENERGY = re.compile(r"Median energy cost is\s+(\S+)\s+uJ/inf")


def recognizes(source: Source) -> bool:
    if source.path.is_dir():
        return next(_measured(source.path), None) is not None
    return "Median throughput is" in source.text


def read(source: Source) -> list[Result]:
    """A row for each system and benchmark below the folder, or the one that a results.txt is about."""
    if not source.path.is_dir():
        return [_row(source, source.path, source.text)]
    return [_row(source, path, source.open(path)) for path in sorted(_measured(source.path))]


def _measured(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("results.txt") if path.parent.name == "performance")


def _row(source: Source, path: Path, text: str) -> Result:
    benchmark, system = _at(path, 1), _at(path, 2)
    facts = _system(source, path, system)
    division, submitter = _entered(path)
    said = f"MLPerf Tiny, {facts.get('Submitter') or submitter or 'submitter not named'}"
    said += f", {facts.get('Division') or division or 'division not named'}"
    said += f", {system or source.path.name}"
    median, found = _MEDIAN.search(text), []
    windows = [
        _told(path, w, 2, "a runtime") / _told(path, w, 1, "a number of inferences") for w in _WINDOW.finditer(text)
    ]
    if median:
        throughput = _told(path, median, 1, "a throughput")
        why = f"{said}; 1 / median throughput of {len(windows) or 'its'} windows"
        found = [
            figure("latency", "s", 1 / throughput, why, samples=windows),
            figure("throughput", "1/s", throughput, f"{said}; median of its windows", n=len(windows)),
        ]
    found += _beside(source, path, said)
    framework = str(facts.get("Inference Framework") or facts.get("ML Model Compiler(s)") or "not named").strip()
    precision = source.known.precision or precision_in(f"{facts.get('Quantization Method') or ''} {system}")
    cell = Cell(
        model=source.known.model or NETWORKS.get(benchmark, benchmark or source.path.stem),
        recipe="as published",
        backend=framework,
        device=source.known.device or str(facts.get("Board Name") or system or "unknown"),
        precision=precision,
    )
    effective = {
        "version": framework, "precision": precision, "processor": facts.get("Processor(s) Name"),
        "clock": facts.get("Processor(s) Frequencies"), "accelerator": facts.get("Accelerator"),
    }  # fmt: skip
    return row(cell, found, source=said, effective=effective)


def _told(path: Path, found: re.Match[str], group: int, what: str, most: float = math.inf) -> float:
    """A number above zero and at most `most`. Raises StoreError, which names the line, for any other and for what is none."""
    value = number(found[group])
    if value is None or not 0 < value <= most:
        line = found.string.count("\n", 0, found.start(group)) + 1
        raise StoreError(
            f'Line {line} of {path} holds "{found[group]}", which cannot be {what}.',
            "Mend that line by the submission's own results, and import it again.",
        )
    return value


def _at(path: Path, up: int) -> str:
    """`ic` and `NUCLEO_L4R5ZI` of results/NUCLEO_L4R5ZI/ic/performance/results.txt; empty for a file that lies elsewhere."""
    parts = path.resolve().parts
    inside = len(parts) > up + 2 and parts[-2] in ("performance", "accuracy", "energy")
    return parts[-2 - up] if inside else ""


def _entered(path: Path) -> tuple[str, str]:
    """`closed` and `STMicroelectronics` of closed/STMicroelectronics/results/...; empty for a file that lies elsewhere."""
    parts = path.resolve().parts
    for place in range(len(parts) - 2, 1, -1):
        if parts[place] == "results" and parts[place - 2].lower() in ("open", "closed"):
            return parts[place - 2].lower(), parts[place - 1]
    return "", ""


def _system(source: Source, path: Path, system: str) -> dict[str, Any]:
    """The system's description, from the folder `systems` beside `results`; empty where there is none."""
    for folder in path.resolve().parents:
        described = folder / "systems" / f"{system}.json"
        if system and described.is_file():
            data = loaded(source.open(described))
            return data if isinstance(data, dict) else {}
    return {}


def _beside(source: Source, path: Path, said: str) -> list[Any]:
    """Accuracy and energy, from the folders beside `performance`. AUC is a metric of its own: it is no share of right answers."""
    out: list[Any] = []
    accuracy, energy = (path.parent.parent / kind / "results.txt" for kind in ("accuracy", "energy"))
    if path.parent.name != "performance":
        return out
    if accuracy.is_file():
        text = source.open(accuracy)
        if top := _TOP1.search(text):
            share = _told(accuracy, top, 1, "an accuracy in percent", most=100) / 100
            out.append(figure("accuracy", "1", share, f"{said}; top-1 of its accuracy run"))
        if auc := _AUC.search(text):
            out.append(
                figure("auc", "1", _told(accuracy, auc, 1, "an AUC", most=1), f"{said}; AUC of its accuracy run")
            )
    if energy.is_file() and (cost := _ENERGY.search(source.open(energy))):
        joules = _told(energy, cost, 1, "an energy") / 1e6
        out.append(figure("energy_board", "J", joules, f"{said}; median of its energy run"))
    return out
