"""Cut the link to the emulated board again and again while runs are made.

A run begins with an empty workdir on the board, so that its environment, its model and its data are all pushed. Some cuts
come at any moment, some amid a push, some amid a campaign, each a random while after that has begun. A cut is one of: the
connection's sshd killed, the link down for a second, the link down until it is noticed. Each run must end complete, by
itself or by `run --resume`: each row once, each sample once, the answers those of its own model (every run has another
one), and on the board nothing under a final name that is not what the name says.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from edgebench.testing import fake_artifact, fake_outputs
from tests.board import emulated

WORKDIR = "cuts"
MODEL_BYTES = 4_000_000
MEGABITS = 60
AMID = ("anything", "anything", "a push", "a push", "a push", "a push", *["a campaign"] * 4)
"""What the cuts of one run are to interrupt, in the order in which a run comes to it."""
LATEST = {"anything": 9.0, "a push": 2.0, "a campaign": 6.0}
"""Seconds within which a cut comes after that has begun."""
MOST_TRIES = 15
KINDS = {"sshd killed": 7, "link down 1 s": 2, "link down 25 s": 1}
ROWS = [("ok", 1), ("ok", 2)]


def stage() -> str:
    """What a cut interrupts."""
    commands = " ".join(emulated.processes().values())
    if "rsync --server" in commands:
        return "a push"
    if "edgebench.campaign" in commands:
        return "a campaign"
    return "a question" if "-IS" in commands else "nothing"


def cut(draw: random.Random) -> tuple[str, str]:
    """(what was done, what it interrupted)."""
    kind = draw.choices(list(KINDS), list(KINDS.values()))[0]
    what = stage()
    if kind == "sshd killed":
        emulated.kill_connections()
    else:
        emulated.link("down")
        Event().wait(25.0 if "25" in kind else 1.0)
        emulated.link("up")
    return kind, what


def material(folder: Path, seed: int) -> list[str]:
    """A model of its own, some megabytes long, and data to which only this model has all the answers."""
    given = fake_artifact(folder, {"sleep": 0.01}, name="net", seed=seed)
    model = Path(given.path)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((100, 8)).astype(np.float32)
    np.savez(folder / "samples.npz", x=x, labels=fake_outputs(given, {"input": x})[0].argmax(1))
    content = json.loads(model.read_text()) | {"ballast": rng.bytes(MODEL_BYTES // 2).hex()}
    model.write_text(json.dumps(content))
    return ["bench", str(model), "--data", str(folder / "samples.npz"), "--backend", "fake", "--batch", "1", "--batch", "2",
            "--quick", "--device", "emulated"]  # fmt: skip


def disturbed(folder: Path, env: Mapping[str, str], draw: random.Random, cuts: int) -> list[tuple[str, str]]:
    """One run under so many cuts, resumed whenever it gives up; the cuts made."""
    arguments, made = material(folder, draw.randrange(1 << 30)), []
    for _ in range(MOST_TRIES):
        with (folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "edgebench", *arguments]
            process = subprocess.Popen(command, cwd=folder, env=dict(env), stdout=log, stderr=log)
            while len(made) < cuts and come(process, AMID[len(made)]):
                Event().wait(draw.uniform(0.0, LATEST[AMID[len(made)]]))
                made.append(cut(draw))
            if process.wait() == 0:
                break
        arguments = ["run", "--resume"] if any(folder.glob("results/*/run.json")) else arguments
    return made


def come(process: subprocess.Popen[bytes], what: str) -> bool:
    """Wait until a run is where it is to be cut, or beyond; False when it has ended."""
    while process.poll() is None:
        if what == "anything" or stage() in (what, "a campaign"):
            return True
        Event().wait(0.1)
    return False


def faults(folder: Path) -> list[str]:
    """What is wrong with a finished run; nothing, as it should be."""
    rows = [
        json.loads(line) for path in folder.glob("results/*/results.jsonl") for line in path.read_text().splitlines()
    ]
    found = sorted((row["status"], row["cell"].get("batch", 1)) for row in rows)
    wrong = [] if found == ROWS else [f"rows {found}"]
    for row in rows:
        answers = next((m.get("value") for m in row["measurements"] if m["metric"] == "accuracy"), None)
        if answers != 1.0:
            wrong.append(f"accuracy {answers}: another model answered")
    samples = Counter()
    for path in folder.glob("results/*/samples.jsonl.gz"):
        with gzip.open(path, "rt") as file:
            samples.update((s["cell"], s["generation"]) for s in map(json.loads, file))
    wrong += [f"{key} was kept {n} times" for key, n in samples.items() if n > 1]
    return wrong + misnamed(emulated.FOLDER / "root/root" / WORKDIR)


def misnamed(workdir: Path) -> list[str]:
    """What lies on the board under a final name and is something else: files by their sha256, trees by their manifest."""
    wrong = [f"store/{p.parent.name}" for p in workdir.glob("store/*/*") if sha256(p) != p.parent.name]
    for tree in (p for p in workdir.glob("trees/*") if p.is_dir()):
        text = (tree / "MANIFEST.json").read_bytes()
        listed = json.loads(text)
        if hashlib.sha256(text).hexdigest() != tree.name or any(sha256(tree / n) != s for n, (_, s) in listed.items()):
            wrong.append(f"trees/{tree.name}")
    return wrong


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def many(wanted: int, seed: int) -> dict[str, Any]:
    """So many cuts in as many runs as they take: the counts, and what was wrong."""
    draw, made, wrong, runs = random.Random(seed), [], [], 0
    with tempfile.TemporaryDirectory(prefix="edgebench-cuts-") as scratch, emulated.limited(MEGABITS):
        env = emulated.environment(Path(scratch), f"~/{WORKDIR}")
        while len(made) < wanted:
            shutil.rmtree(emulated.FOLDER / "root/root" / WORKDIR, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(dir=scratch))
            cuts = disturbed(folder, env, draw, min(len(AMID), wanted - len(made)))
            found = faults(folder)
            made, runs, wrong = made + cuts, runs + 1, wrong + [f"run {runs + 1}: {f}" for f in found]
            print(f"run {runs}: {len(cuts)} cuts, {'; '.join(found) or 'complete'}", file=sys.stderr, flush=True)
            if found:
                print((folder / "log").read_text()[-4000:], file=sys.stderr, flush=True)
    kinds, stages = Counter(kind for kind, _ in made), Counter(what for _, what in made)
    return {"seed": seed, "cuts": len(made), "runs": runs, "wrong": wrong, "kinds": dict(kinds), "cut": dict(stages)}
