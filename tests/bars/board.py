"""The bars of a board: its link, its lock and our presence on it, against the emulated arm64 board (scripts/board).

What is timed here is this machine, the network and our own programs under emulation; no figure is one of a board's speed.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bars.common import FOLDER
from tests.board import cuts as link_cuts
from tests.board import emulated, trials

CUTS = int(os.environ.get("EDGEBENCH_CUTS", "100"))


@contextmanager
def board() -> Iterator[tuple[Path, dict[str, str]]]:
    """The board, started; a folder to work in, and the environment in which it is the device `emulated`."""
    own = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="edgebench-board-") as scratch, emulated.alone():
        for name in ("make.sh", "stop.sh", "start.sh"):  # a fresh one, whatever disturbed it before
            emulated.script(name)
        env = emulated.environment(Path(scratch))
        os.environ.update(env)
        try:
            yield Path(scratch), env
        finally:
            os.environ.clear()
            os.environ.update(own)
            emulated.script("stop.sh")


def cuts() -> dict[str, Any]:
    """A hundred cuts at random moments: every run complete, no wrong artifact, no row twice."""
    with board():
        found = link_cuts.many(CUTS, random.randrange(1 << 30))
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(found["kinds"].items()))
    amid = ", ".join(f"{n} amid {what}" for what, n in sorted(found["cut"].items()))
    return {"held": not found["wrong"] and found["cuts"] == CUTS, **found,
            "says": f"{found['cuts']} cuts ({kinds}; {amid}) in {found['runs']} runs, {len(found['wrong'])} faults"}  # fmt: skip


def push() -> dict[str, Any]:
    """An unchanged environment is not sent again; a push that was cut sends the rest only."""
    with board() as (scratch, env):
        retry, again = trials.retry(scratch, env), trials.second_push(FOLDER, "onnxruntime")
    held = retry <= trials.RETRY_BAR and again["seconds"] <= trials.PUSH_BAR
    says = (
        f"cut at {trials.CUT_AT:.0%} of 60 MB, the retry sends {retry:.1%}; second push of {again['size'] / 1e6:.0f} MB "
        f"in {again['files']:.0f} files: {again['push']:.2f} s, {again['sent'] / 1e3:.1f} kB, {again['seconds']:.2f} s with the probe"
    )
    return {"held": held, "retry": retry, "again": again, "says": says}


def presence() -> dict[str, Any]:
    """A dead link and a dead controller are noticed, and what waits on the board costs it next to nothing."""
    with board() as (scratch, env):
        noticed, idle = trials.black_hole()
        killed = trials.killed_controller(scratch, env)
        cost = trials.presence(scratch, FOLDER)
    held = noticed <= trials.HOLE_BAR and killed <= trials.IDLE_BAR
    held = held and cost["cpu"] <= trials.CPU_BAR and cost["wakes"] <= trials.WAKES_BAR
    says = (
        f"black hole noticed in {noticed:.1f} s, board idle in {idle:.1f} s; controller killed -9: idle and unlocked in "
        f"{killed:.1f} s; while measuring {cost['cpu']:.2%} of a core, {cost['wakes']:.1f} wake-ups/s"
    )
    return {"held": held, "noticed": noticed, "idle": idle, "killed": killed, "cost": cost, "says": says}
