"""trtexec, NVIDIA's own benchmark, as a program: the way where Python is too old (JetPack 5), and a cross-check elsewhere.

    python -m edgebench_tensorrt.trtexec MODEL.onnx|MODEL.plan OUT [PRECISION]

writes OUT/times.json (which `edgebench import` reads), profile.json, layers.json and log.txt, and prints a summary as JSON.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebench.backend import EdgebenchError, MissingRuntime, ModelError
from edgebench_tensorrt import machine, timing

FILES = {"times": "--exportTimes", "profile": "--exportProfile", "layers": "--exportLayerInfo"}
PARTS = {"h2d": "h2dMs", "compute": "computeMs", "d2h": "d2hMs", "latency": "latencyMs"}
BANNER = re.compile(r"\[TensorRT v(\d+)\]")
"""TensorRT v8602, v100300 or v101303: from 10 on two digits each for minor and patch, before one for the minor version."""
MEMORY = re.compile(r"(GPU|CPU|Weights|Activation|Device)[^:]*[Mm]emory[^:]*: *([\d.]+) *(MiB|bytes)")


@dataclass(frozen=True, kw_only=True)
class Program:
    """A trtexec by what its own help names: options came and went."""

    path: str
    options: frozenset[str]

    @classmethod
    def find(cls, path: str = "") -> Program:
        """Raises MissingRuntime where there is none, and EdgebenchError where it does not start."""
        path = path or machine.trtexec()
        if not path:
            raise MissingRuntime(
                "trtexec is not here.", f"{machine.JETPACK}; elsewhere it is in NVIDIA's TensorRT package."
            )
        try:
            done = subprocess.run(
                [path, "--help"], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EdgebenchError(f"{path} does not start: {error}.", "Install TensorRT again.") from error
        return cls(path=path, options=frozenset(re.findall(r"--[A-Za-z][A-Za-z0-9]*", done.stdout + done.stderr)))

    def command(
        self,
        model: Path,
        out: Path,
        *,
        precision: str = "fp32",
        shapes: Mapping[str, Sequence[int]] | None = None,
        definition: str = "",
        seconds: float = 3.0,
    ) -> list[str]:
        """The line that measures `model` by a definition of timing.DEFINITIONS; by default that of this trtexec."""
        engine = model.suffix in (".plan", ".engine")
        line = [self.path, f"--{'loadEngine' if engine else 'onnx'}={model}", f"--duration={seconds:g}"]
        if not engine:
            line += self._typing(precision)
        if shapes:
            line.append("--shapes=" + ",".join(f"{n}:{'x'.join(map(str, s))}" for n, s in shapes.items()))
        if definition:
            line += self._definition(definition)
        line += ["--separateProfileRun"] if "--separateProfileRun" in self.options else []
        line += ["--profilingVerbosity=detailed", "--dumpProfile"]
        return line + [f"{option}={out / name}.json" for name, option in FILES.items()]

    def _typing(self, precision: str) -> list[str]:
        """Strong typing where it is an option; nothing where it is the only way; flags of old where it is unknown."""
        if "--stronglyTyped" in self.options and "--fp16" in self.options:
            return ["--stronglyTyped", *(["--noTF32"] if "--noTF32" in self.options else [])]
        if "--fp16" not in self.options:
            return ["--noTF32"] if "--noTF32" in self.options else []
        return {"fp16": ["--fp16"], "int8": ["--int8", "--fp16"]}.get(precision, []) + ["--noTF32"]

    def _definition(self, name: str) -> list[str]:
        if name not in timing.DEFINITIONS:
            raise EdgebenchError(
                f"{name!r} is no definition of latency.", f"Use one of {', '.join(timing.DEFINITIONS)}."
            )
        asked = timing.DEFINITIONS[name]
        # From 11 on the defaults are the other way round, and so are the names of the options.
        options = {
            "--noDataTransfers": not asked.transfers, "--includeDataTransfers": asked.transfers,
            "--useCudaGraph": asked.graph, "--noCudaGraph": not asked.graph,
        }  # fmt: skip
        chosen = [option for option, wanted in options.items() if wanted and option in self.options]
        return chosen + ([] if asked.in_flight == 2 else ["--exposeDMA"])


def run(command: Sequence[str], out: Path, timeout: float = 3600.0) -> dict[str, Any]:
    """Run it, keep what it says, and read what it wrote. Raises ModelError in its own words."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EdgebenchError(f"{command[0]} did not end: {error}.", "Look at the device, and try again.") from error
    log = done.stdout + done.stderr
    (out / "log.txt").write_text(log)
    if done.returncode:
        raise ModelError(
            f"trtexec failed: {errors(log) or f'exit status {done.returncode}'}.", f"See {out / 'log.txt'}."
        )
    return {"command": " ".join(command), "version": version(log), "memory": memory(log), **read(out)}


def read(out: Path) -> dict[str, Any]:
    """What --exportTimes and --exportProfile left: lists of seconds by part, and (layer, mean seconds)."""
    times = json.loads((out / "times.json").read_text())
    found: dict[str, Any] = {part: [row[key] / 1e3 for row in times] for part, key in PARTS.items()}
    span = times[-1]["endD2hMs"] - times[0]["startH2dMs"]
    found["throughput"] = len(times) / (span / 1e3) if span > 0 else 0.0
    profile = out / "profile.json"
    rows = json.loads(profile.read_text()) if profile.exists() else []
    found["layers"] = [(row["name"], row["averageMs"] / 1e3) for row in rows if "name" in row]
    return found


def version(log: str) -> str:
    """The version in its banner ("10.3.0"); "" without one."""
    match = BANNER.search(log)
    if not match:
        return ""
    digits = int(match[1])
    parts = (digits // 10000, digits // 100 % 100, digits % 100) if digits >= 100000 else (
        digits // 1000, digits // 100 % 10, digits % 100
    )  # fmt: skip
    return ".".join(map(str, parts))


def memory(log: str) -> dict[str, float]:
    """The memory that it tells of, in bytes, by its own words; the last of each."""
    return {f"{m[1].lower()}_memory": float(m[2]) * (1 if m[3] == "bytes" else 1 << 20) for m in MEMORY.finditer(log)}


def errors(log: str) -> str:
    """Its last two lines of complaint, without dates."""
    lines = [re.sub(r"^(\[[^\]]*\] )+", "", line) for line in log.splitlines() if "[E]" in line]
    return "; ".join(lines[-2:])[:400].rstrip(".")


def main(arguments: Sequence[str]) -> int:
    if not 2 <= len(arguments) <= 3:
        sys.stderr.write((__doc__ or "") + "\n")
        return 2
    model, out, *precision = arguments
    try:
        found = run(Program.find().command(Path(model), Path(out), precision=(precision or ["fp32"])[0]), Path(out))
    except EdgebenchError as error:
        sys.stderr.write(f"{error.problem} {error.fix}\n")
        return 2
    parts = {part: timing.median(found[part]) for part in PARTS}
    sys.stdout.write(
        json.dumps({**parts, **{k: found[k] for k in ("throughput", "version", "command", "memory")}}) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
