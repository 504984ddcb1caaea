"""What the suite cifar10 found, line by line: read from the kept run, so that the same folder gives the same verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgebench import stats, store
from edgebench.metrics import paired
from edgebench.report.sections.ladder import compared
from edgebench.report.table import Row, Source, Table, build_all
from edgebench.schema import Result

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
FOLDER = PUBLISHED / "local" / "cifar10"
"""The whole suite, on a processor with VNNI and bf16."""
AGAIN = PUBLISHED / "local" / "cifar10-again"
"""What trains and quantizes once more, from a cache of its own; of it only the hashes are looked at."""
RUNTIMES = ("onnxruntime", "openvino")
Line = dict[str, Any]
"""`held`, `says`, and the figures behind them."""


@dataclass(frozen=True)
class Kept:
    """A run folder: its rows by recipe and runtime, and which samples each answered rightly."""

    path: Path

    @cached_property
    def rows(self) -> dict[tuple[str, str], Result]:
        return {(r.cell.recipe, r.cell.backend): r for r in store.open_run(self.path).results()}

    @cached_property
    def table(self) -> Table:
        run = store.open_run(self.path)
        return build_all([Source(run=run.run, results=run.results(), right=self.right)])

    @cached_property
    def right(self) -> dict[str, paired.Right]:
        return paired.answers(store.open_run(self.path).samples())

    def figure(self, recipe: str, runtime: str, metric: str) -> float:
        found = self.rows[recipe, runtime].get(metric)
        if found is None or found.value is None:
            raise SystemExit(
                f"{self.path} has no {metric} of {recipe} on {runtime}: {self.rows[recipe, runtime].reason}"
            )
        return found.value

    def fact(self, recipe: str, runtime: str, name: str) -> Any:
        artifact = self.rows[recipe, runtime].artifact
        assert artifact is not None
        return artifact.facts[name]

    def change(self, recipe: str, than: str, runtime: str) -> stats.Estimate:
        """Accuracy of `recipe` less that of `than`, in points, paired by sample."""
        a, b = (self.right[self.rows[name, runtime].cell.id] for name in (recipe, than))
        counts = paired.counts(a, b)
        assert counts is not None
        return _scaled(stats.paired_difference(*counts), 100)

    def ratio(self, recipe: str, than: str, runtime: str) -> stats.Estimate | None:
        """Latency of `than` over that of `recipe`, with its interval; None where one was withheld.

        Over its baseline it is the table's own figure, of generations that ran side by side; else the report's of two rows.
        """
        row, other = self._row(recipe, runtime), self._row(than, runtime)
        found = row.speedup if row.result.baseline == other.result.cell.id else compared(other, row)
        valid = all(self.rows[name, runtime].noise.get("state") == "valid" for name in (recipe, than))
        return stats.Estimate(found.value, found.low, found.high) if found and valid else None

    def _row(self, recipe: str, runtime: str) -> Row:
        return next(r for r in self.table.rows if (r.result.cell.recipe, r.result.cell.backend) == (recipe, runtime))

    def one_file(self, recipe: str, other: str, runtime: str) -> bool:
        """Whether two ways have come to the same file."""
        a, b = (self.rows[name, runtime].artifact for name in (recipe, other))
        return a is not None and b is not None and a.sha256 == b.sha256

    def int8(self, recipe: str, runtime: str) -> tuple[int, int]:
        """Layers found in int8 in the running session, and all layers."""
        found = self.rows[recipe, runtime].effective
        done, rest = int(found["int8_ops"]), int(found["float_ops"])
        return done, done + rest


def cifar10() -> Line:
    """The lines of the suite; `held` where all of them are."""
    run = Kept(FOLDER)
    lines = {
        "distillation": distillation(run),
        "pruning": pruning(run),
        "latency budget": latency_budget(run),
        "int8": int8(run),
        "qat": qat(run),
        "end to end": end_to_end(run),
        "same twice": same_twice(run),
        "peers": peers(run),
        "cost": cost(run),
    }
    says = "; ".join(f"{name} {'held' if line['held'] else 'MISSED'}: {line['says']}" for name, line in lines.items())
    return {"held": all(line["held"] for line in lines.values()), "says": says, "lines": lines}


def distillation(run: Kept) -> Line:
    """At least two losses beat labels alone by 1.5 points, as the mean of three seeds."""
    gains: dict[str, tuple[stats.Estimate, list[float]]] = {}
    for kind in ("hinton", "dist"):
        seeds = [
            100 * (run.figure(f"{kind}-{i}", "onnxruntime", "accuracy") - run.figure(f"labels-{i}", "onnxruntime", "accuracy"))
            for i in range(3)
        ]  # fmt: skip
        gains[kind] = stats.t_interval(seeds), seeds
    said = ", ".join(f"{kind} {_points(mean)}" for kind, (mean, _) in gains.items())
    labels = [run.figure(f"labels-{i}", "onnxruntime", "accuracy") for i in range(3)]
    return {
        "held": all(mean.value >= 1.5 for mean, _ in gains.values()),
        "says": f"{said} over {100 * sum(labels) / 3:.1f} % of labels alone, 3 seeds",
        "gains": {kind: {"mean": _plain(mean), "seeds": seeds} for kind, (mean, seeds) in gains.items()},
    }


def pruning(run: Kept) -> Line:
    """At least half of the MACs are gone for at most a point; the budget was hit within 2 %."""
    left, asked = run.fact("pruned", "onnxruntime", "macs") / run.fact("teacher", "onnxruntime", "macs"), 0.444
    change = run.change("pruned", "teacher", "onnxruntime")
    off = left / asked - 1
    return {
        "held": left <= 0.5 and change.value >= -1 and abs(off) <= 0.02,
        "says": f"{100 * left:.1f} % of the MACs left ({off:+.2%} off the budget), {_points(change)}",
        "left": left,
        "change": _plain(change),
    }


def latency_budget(run: Kept) -> Line:
    """Half of the latency within 5 %, as the search measured it and as the run measured it once more."""
    found = {}
    for runtime in RUNTIMES:
        name = f"half-time-{runtime}"
        steps = run.fact(name, runtime, "steps")
        searched = next(step["latency_left"] for step in steps if "latency_left" in step)
        speed = run.ratio(name, "teacher", runtime)
        found[runtime] = {"searched": searched, "again": speed and 1 / speed.value, "speed": _plain(speed)}
    held = all(f[key] and abs(f[key] / 0.5 - 1) <= 0.05 for f in found.values() for key in ("searched", "again"))
    said = ", ".join(f"{r} {_percent(f['searched'])}, measured again {_percent(f['again'])}" for r, f in found.items())
    return {"held": held, "says": f"of 50 %: {said}", "found": found}


def _percent(share: Any) -> str:
    return "withheld" if share is None else f"{share:.1%}"


def int8(run: Kept) -> Line:
    """At most half a point, 95 % agreement, every layer in int8, on both runtimes."""
    held, said, found = True, [], {}
    for runtime in RUNTIMES:
        change, (done, layers) = run.change("teacher-int8", "teacher", runtime), run.int8("teacher-int8", runtime)
        agreement = run.figure("teacher-int8", runtime, "agreement")
        held = held and change.value >= -0.5 and agreement >= 0.95 and done == layers
        said.append(f"{runtime} {_points(change)}, agrees {agreement:.1%}, {done} of {layers} layers")
        found[runtime] = {"change": _plain(change), "agreement": agreement, "int8": done, "layers": layers}
    return {"held": held, "says": ", ".join(said), "found": found}


def qat(run: Kept) -> Line:
    """Where int8 after training loses a point, training for it wins back at least half, in the same epochs."""
    found = {}
    for runtime in RUNTIMES:
        lost = run.change("mobilenet-int8", "mobilenet", runtime)
        kept = run.change("mobilenet-qat", "mobilenet", runtime)
        won = run.change("mobilenet-qat", "mobilenet-int8", runtime)
        found[runtime] = {"after": lost, "qat": kept, "won": won}
    held = all(f["after"].value <= -1 and f["won"].value >= -f["after"].value / 2 for f in found.values())
    said = ", ".join(
        f"{r} {_points(f['after'])} after training, {_points(f['qat'])} with QAT" for r, f in found.items()
    )
    return {"held": held, "says": said, "found": {r: {k: _plain(v) for k, v in f.items()} for r, f in found.items()}}


def end_to_end(run: Kept) -> Line:
    """5 times faster and 10 times smaller than the float teacher on the same runtime, for at most a point."""
    held, said, found = True, [], {}
    for runtime in RUNTIMES:
        size = run.figure("teacher", runtime, "size") / run.figure("small-int8", runtime, "size")
        speed = run.ratio("small-int8", "teacher", runtime)
        change = run.change("small-int8", "teacher", runtime)
        held = held and speed is not None and speed.value >= 5 and size >= 10 and change.value >= -1
        said.append(f"{runtime} {_ratio(speed)} faster, {size:.1f}x smaller, {_points(change)}")
        found[runtime] = {"speed": _plain(speed), "size": size, "change": _plain(change)}
    return {"held": held, "says": ", ".join(said), "found": found}


def same_twice(run: Kept) -> Line:
    """The files of a second run, trained anew, are the same, byte for byte; what measures is left out."""
    once, twice = _hashes(run), _hashes(Kept(AGAIN))
    common = sorted(set(once) & set(twice))
    unlike = [name for name in common if once[name] != twice[name]]
    return {
        "held": bool(common) and not unlike,
        "says": f"{len(common) - len(unlike)} of {len(common)} files of a second run, whose networks were trained anew, have the same hash",
        "unlike": unlike,
        "compared": common,
    }


def _hashes(run: Kept) -> dict[str, str]:
    kept = {
        f"{r.cell.recipe}/{r.artifact.facts['lowering']}": r.artifact.sha256 for r in run.rows.values() if r.artifact
    }
    return {name: digest for name, digest in kept.items() if not name.startswith("half-time")}


def peers(run: Kept) -> Line:
    """Ours is ahead or equal to each library's own call in accuracy, size and latency, beyond the intervals.

    A peer's file that the runtime does not run as it was asked to has no figures, and its reason in their place: there ours is ahead.
    """
    table, behind = [], []
    for ours, others in {
        "pruned": ["pruned-peer"],
        "teacher-int8": ["teacher-int8-peer-onnxruntime", "teacher-int8-peer-nncf"],
    }.items():
        for runtime in RUNTIMES:
            for name in (ours, *others):
                table.append(_peer_row(run, name, runtime))
            for peer in others:
                if run.rows[peer, runtime].status == "ok" and not run.one_file(ours, peer, runtime):
                    behind += _behind(run, ours, peer, runtime)
    one = {
        name for name in ("pruned", "pruned-peer") if all(run.one_file("pruned", "pruned-peer", r) for r in RUNTIMES)
    }
    withheld = [
        f"{row['recipe']} on {row['runtime']}: its latency is withheld"
        for row in table
        if not row.get("speed", 1) and row["recipe"] not in one
    ]
    cannot = [f"{row['recipe']} on {row['runtime']} cannot be had: {row['reason']}" for row in table if "reason" in row]
    same = ["pruned and pruned-peer are one file, byte for byte"] if one else []
    said = "; ".join([*behind, *withheld, *cannot, *same]) or "ours is ahead or equal in each"
    return {"held": not behind and not withheld, "says": said, "table": table}


def cost(run: Kept) -> Line:
    """All steps together within 36 minutes, which leaves 20 to measure and 4 to export: of processor time, as they were not alone.

    Steps that train take one processor, so that on a quiet machine their processor time is about their time.
    """
    seen: dict[str, float] = {}
    for row in run.rows.values():
        if row.artifact is None:
            continue
        steps, way = row.artifact.facts.get("steps", ()), row.cell.model
        for step in steps:  # recipes share their beginnings, which were made once
            way = f"{way} {sorted((k, str(v)) for k, v in step.items())}"
            seen[way] = float(step.get("processor_seconds", 0.0))
    total = sum(seen.values())
    return {
        "held": total <= 2160,
        "says": f"{len(seen)} steps took {total / 60:.0f} min of one processor, and measuring at most 20 min",
        "processor_seconds": total,
    }


def _peer_row(run: Kept, name: str, runtime: str) -> dict[str, Any]:
    found = run.rows[name, runtime]
    if found.status != "ok":
        return {"recipe": name, "runtime": runtime, "reason": found.reason}
    row: dict[str, Any] = {m: run.figure(name, runtime, m) for m in ("accuracy", "agreement", "size")}
    done, layers = run.int8(name, runtime)
    latency = found.get("latency")
    row["latency"] = latency.value if latency else None
    speed = _plain(run.ratio(name, "teacher", runtime))
    return {"recipe": name, "runtime": runtime, **row, "speed": speed, "int8": done, "layers": layers}


def _behind(run: Kept, ours: str, peer: str, runtime: str) -> list[str]:
    """Where a peer is better beyond the 95 % interval (size: beyond 1 %)."""
    found, where = [], f"than {peer} on {runtime}"
    change, speed = run.change(ours, peer, runtime), run.ratio(ours, peer, runtime)
    size = run.figure(ours, runtime, "size") / run.figure(peer, runtime, "size")
    if (change.high or 0) < 0:
        found.append(f"less accurate {where}: {_points(change)}")
    if speed is not None and (speed.high or 1) < 0.99:
        found.append(f"slower {where}: {_ratio(speed)}")
    if size > 1.01:
        found.append(f"larger {where}: {size:.2f}x")
    return found


def _scaled(e: stats.Estimate, by: float) -> stats.Estimate:
    return stats.Estimate(e.value * by, None if e.low is None else e.low * by, None if e.high is None else e.high * by)


def _points(e: stats.Estimate) -> str:
    return f"{e.value:+.2f} points ({e.low:+.2f} to {e.high:+.2f})"


def _ratio(e: stats.Estimate | None) -> str:
    return "withheld" if e is None else f"{e.value:.2f}x ({e.low:.2f} to {e.high:.2f})"


def _plain(e: stats.Estimate | None) -> Sequence[float | None] | None:
    return e and [e.value, e.low, e.high]
