"""A board reached by the system's own OpenSSH: ~/.ssh/config, agents, jump hosts and known_hosts all hold.

The remote shell gets the profile's own `setup` lines and one constant program (receive.py); all that varies goes over stdin.
A host key that is not known, or that has changed, is refused. The board needs ssh, rsync and a Python: edgebench and the
runtimes are pushed (board_env.py).
"""

from __future__ import annotations

import getpass
import json
import secrets
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any, NoReturn

from edgebench.backend import Backend
from edgebench.codec import Options, digest, to_json
from edgebench.devices import Device, Event, board_env, openssh, push
from edgebench.devices.link import LEASE_SECONDS, LinkLost, RemoteError, Wire, loader
from edgebench.devices.local import verify
from edgebench.errors import EdgebenchError
from edgebench.lines import ChildDied, exit_reason
from edgebench.measure import pause
from edgebench.schema import Artifact, Availability, Job

WORKDIR = "~/.cache/edgebench"
"""Where files go on a board whose profile names no `workdir`."""

CHECK_SECONDS = 30.0
TAKE_SECONDS = 600.0
CELL_SECONDS = 7200
"""A board ends a campaign by itself after so long a cell: the last line of defence, behind the lease."""

BACK_OFF = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 30.0, 30.0)
"""Pauses between tries when the link broke; they begin anew whenever something got through."""
LOST = "link lost, trying again"


class SshDevice(Device):
    """One board at `profile.address` = [user@]host[:port], or a Host of ~/.ssh/config."""

    _reached = False
    """Once its runner has answered, a link that does not come up is one that broke."""
    _trees: tuple[str, ...] = ()
    """Where the pushed environment and edgebench lie there."""
    _pushed: tuple[Artifact, ...] = ()
    _found: Mapping[str, Any] | None = None
    """What its runner said of it last."""

    def check(self) -> Availability:
        try:
            found = self.hello()
            version, details = f"Python {found['python']}", Options(found)
            board_env.target(found, self.profile.address)
        except EdgebenchError as error:
            return Availability(ok=False, reason=error.problem, fix=error.fix)
        if not found["rsync"]:
            reason, fix = f"There is no rsync on {self.profile.address}.", "Install it there: apt-get install rsync."
            return Availability(ok=False, version=version, reason=reason, fix=fix, details=details)
        return Availability(ok=True, version=version, details=details)

    def hello(self, modules: Sequence[str] = (), **also: Any) -> Mapping[str, Any]:
        """What its runner says of the board: Python, libc, machine, workdir, and which modules its Python has.

        Raises RemoteError.
        """
        self._found = self.ask({"do": "hello", "modules": list(modules), **also})
        return self._found

    def processor(self) -> Mapping[str, Any]:
        found = self._found or self.hello()
        return {"machine": found["machine"], "flags": found["flags"]}

    def command(self, argv: Sequence[str]) -> list[str]:
        host, options = openssh.reach(self.profile.address, self.name)
        # exec: the shell makes way, so that the end of the link ends the program and not a shell around it.
        line = " && ".join([*self.profile.setup, f"exec {shlex.join(argv)}"])
        return ["ssh", "-T", *options, "--", host, line]

    def furnish(self, backends: Mapping[str, Backend], cache: Path) -> None:
        """Resolve the board's environment here, and push it and edgebench there."""
        had = push.Remembered(cache, self.profile.address, self.profile.workdir, sorted(backends))
        self.tell("asking what it has")
        own = [*(b.module for b in backends.values() if b.module), board_env.CORE]
        found = self.hello(own, trees=had.keys)
        target = board_env.target(found, self.profile.address)
        if not found["rsync"]:
            raise RemoteError(f"There is no rsync on {self.profile.address}.", "Install it there, then run again.")
        wanted = board_env.requirements(backends.values(), found["modules"], target)
        self.tell("gathering its packages")
        environment = board_env.wheels(wanted, target, cache)
        trees = [board_env.code(backends, cache), *([environment] if environment else [])]
        self._trees = self._push_trees(trees, dict(zip(had.keys, found["stock"]["trees"], strict=True)))
        had.keep([push.digest_of(tree) for tree in trees])

    def push(self, artifact: Artifact) -> Artifact:
        """Bring the file into <workdir>/store/<sha256>/<name>, unless the board has it already."""
        verify(artifact)
        file = {"sha256": artifact.sha256, "name": Path(artifact.path).name}
        for there in self._pushed:  # the cells of a run share their data
            if (there.sha256, Path(there.path).name) == (file["sha256"], file["name"]):
                return replace(artifact, path=there.path)
        asked = self._ask_for({"files": [file]}, {artifact.sha256: Path(artifact.path)})
        place = asked["files"][0] or self._bring(
            Path(artifact.path), asked["incoming"], artifact.sha256, {"file": file}
        )
        there = replace(artifact, path=place)
        self._pushed = (*self._pushed, there)
        return there

    def _push_trees(self, trees: Sequence[Path], known: Mapping[str, str | None]) -> tuple[str, ...]:
        """Where each tree lies there, after it was brought where it lacked; `known` was told with the hello."""
        keys = [push.digest_of(tree) for tree in trees]
        if all(known.get(key) for key in keys):
            return tuple(str(known[key]) for key in keys)
        asked = self._ask_for({"trees": keys}, dict(zip(keys, trees, strict=True)))
        return tuple(
            place or self._bring(tree, asked["incoming"], key, {"tree": key})
            for tree, key, place in zip(trees, keys, asked["trees"], strict=True)
        )

    def _ask_for(self, wanted: Mapping[str, Any], sources: Mapping[str, Path]) -> dict[str, Any]:
        """What lies there already. Raises RemoteError where what lacks has no room on the board's disk."""
        asked = self.ask({"do": "ask", **wanted, "sizes": {key: push.size_of(path) for key, path in sources.items()}})
        if "need" in asked:
            need, free = (f"{asked[key] / 1e6:.1f} MB" for key in ("need", "free"))
            raise RemoteError(
                f"{need} do not fit on {self.profile.address}: {free} are free in {Path(asked['incoming']).parent}.",
                "Free some space there, or name a workdir on another disk in the profile: workdir = ...",
            )
        return asked

    def _bring(self, source: Path, incoming: str, key: str, taken: Mapping[str, Any]) -> str:
        """Bring a file or a folder, and return its path there; a link that breaks is gone on with."""
        host, options = openssh.reach(self.profile.address, self.name)
        ssh = shlex.join(["ssh", "-T", *options])
        for _ in range(2):  # what came damaged is sent once more, from the beginning
            self.tell(f"bringing {push.size_of(source) / 1e6:.1f} MB")
            self._again(lambda: self._rsync(push.rsync(ssh, host, source, f"{incoming}/{key}")))
            self.tell("checking what arrived")
            answer = self.ask({"do": "take", **taken}, TAKE_SECONDS)
            if "path" in answer:
                return str(answer["path"])
        raise RemoteError(
            f"{source.name} arrived damaged on {self.profile.address}, twice.", "Check the board's memory and disk."
        )

    def _rsync(self, command: Sequence[str]) -> None:
        try:
            done = subprocess.run(list(command), capture_output=True, stdin=subprocess.DEVNULL)
        except FileNotFoundError:
            raise RemoteError("There is no rsync on this machine.", "Install rsync.") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()
            if refusal := openssh.refused(self.profile.address, said):
                raise refusal
            kind = LinkLost if done.returncode in push.RETRIED and "No space left" not in said else RemoteError
            last = said.splitlines()[0] if said else f"exit status {done.returncode}"
            raise kind(
                f"Files could not be brought to {self.profile.address}: {last.rstrip('.')}.",
                "Check the free space and the rights of its workdir, then run the same command again.",
            )

    def ask(self, request: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """One request to the board's runner, tried again when the link breaks. Raises RemoteError."""
        found: dict[str, Any] = self._again(lambda: self._ask_once(request, timeout or CHECK_SECONDS))
        return found

    def _ask_once(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        wire = self._wire(request)
        watch = Timer(timeout, wire.kill)
        watch.start()
        try:
            found = next(iter(list(wire.answers())), None)
        finally:
            late = not watch.is_alive()
            watch.cancel()
            wire.close()
        if found is None:
            if late:
                raise openssh.unreachable(self.profile.address, f"no answer within {timeout:g} s")
            raise self._ended(wire)
        self._reached = True
        if "error" in found:
            raise RemoteError(
                f"{self.profile.address} refused: {found['error']}.",
                "Check the free space and the rights of its workdir, then run the same command again.",
            )
        return found

    def _ended(self, wire: Wire) -> RemoteError:
        setup = () if self._reached else self.profile.setup
        found = (self.profile.address, self.python, wire.code, wire.said)
        return openssh.ended(*found, reached=self._reached, setup=setup)

    def _wire(self, request: Mapping[str, Any]) -> Wire:
        return Wire(self.command(loader(self.python)), self.profile.workdir or WORKDIR, request)

    def _again(self, step: Callable[[], Any]) -> Any:
        """Do a step, and once more after a pause as often as the link breaks; on the first contact there is no link yet."""
        for seconds in BACK_OFF:
            try:
                return step()
            except LinkLost:
                if not self._reached:
                    raise
                self.tell(LOST)
                pause(seconds)
        return step()

    def conduct(self, job: Job, earlier: Iterable[Event], on_event: Callable[[Event], None]) -> None:
        """Run the campaign under the board's runner; when the link breaks, connect again and go on with what is known."""
        request = self._request(job)
        known = {digest(record): record for record in earlier}
        results: set[str] = set()
        tries = 0
        self.tell("checking the runtimes")
        while True:
            before = len(known) + len(results)
            try:
                return self._campaign(request, job, known, results, on_event)
            except LinkLost:
                tries = 0 if len(known) + len(results) > before else tries + 1
                if tries >= len(BACK_OFF):
                    raise
                self.tell(LOST)
                pause(BACK_OFF[tries])

    def _request(self, job: Job) -> dict[str, Any]:
        files = {a.sha256: a.path for a in self._pushed}
        return {
            "do": "run",
            "job": job.id,
            "digest": digest(job),
            "controller": secrets.token_hex(8),
            "who": f"{getpass.getuser()}@{socket.gethostname()}",
            "seconds": (1 + len(job.work)) * (CELL_SECONDS + int(job.protocol.sustained_seconds)),
            "lease": LEASE_SECONDS,
            "argv": ["-m", "edgebench.campaign"],
            "paths": list(self._trees),
            "files": [{"sha256": sha256, "path": path} for sha256, path in files.items()],
        }

    def _campaign(
        self,
        request: Mapping[str, Any],
        job: Job,
        known: dict[str, Event],
        results: set[str],
        on_event: Callable[[Event], None],
    ) -> None:
        """One connection's part of a campaign: each record and each result is handed over once, whoever tells it again."""
        wire = self._wire(request)
        try:
            for line in (to_json(job), *known.values()):
                wire.send(json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n")
            wire.send(b"\n")
            with wire.beating():
                for event in wire.answers():
                    self._reached = True
                    if "runner" in event or "error" in event:
                        self._raise_runner(event)
                    if event["event"] == "done":
                        return
                    if event["event"] == "failed":
                        raise EdgebenchError(event["reason"], event["fix"])
                    if _is_new(event, known, results):
                        on_event(event)
            raise self._ended(wire)
        finally:
            wire.close()

    def _raise_runner(self, event: Event) -> NoReturn:
        if event.get("runner") == "busy":
            holder = event["holder"]
            raise RemoteError(
                f"{self.profile.address} is busy: {holder.get('who', 'someone')} measures {holder.get('job', 'there')}.",
                "Wait until that has ended.",
            )
        if event.get("runner") == "ended":
            raise ChildDied(exit_reason(int(event["code"])), str(event["stderr"]))
        what = f"{event['path']} is not what was pushed" if "path" in event else str(event.get("error"))
        raise RemoteError(
            f"{self.profile.address} refused: {what}.", "Check its disk, then run the same command again."
        )


def _is_new(event: Event, known: dict[str, Event], results: set[str]) -> bool:
    """Whether an event was not handed over before; keeps it in mind."""
    if event["event"] == "record":
        key = digest(event["record"])
        if key in known:
            return False
        known[key] = event["record"]
    elif event["event"] == "result":
        key = digest(event["result"]["cell"])
        if key in results:
            return False
        results.add(key)
    return True
