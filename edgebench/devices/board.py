"""Asking a board who it is, in one round trip: its small files come back as a tree, and that tree is read here.

What runs there is devices/dump.py, sent over stdin; nothing of edgebench has to be installed on the board.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgebench.codec import Options
from edgebench.devices import dump, identity, openssh
from edgebench.errors import EdgebenchError

ASK_SECONDS = 30.0

BOOT = "import sys,json;sys.path[:1]=[];job=json.loads(sys.stdin.readline());exec(compile(job['code'],'dump','exec'))"
"""The only text in the board's command line, the same for every board. The program itself comes over stdin."""


class BoardError(EdgebenchError):
    """The board could not be asked. `said` is all that ssh or the board wrote to stderr."""

    def __init__(self, problem: str, fix: str, said: str = "", *, reached: bool = False) -> None:
        super().__init__(problem, fix)
        self.said = said
        self.reached = reached
        """Whether its shell was there, and only the question had no answer."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """What a board told: its identity, what a profile's `compatible` can match, its runtimes and Pythons, its files."""

    identity: Options
    compatible: tuple[str, ...]
    machine: str
    python: str
    pythons: Options
    runtimes: Options
    rsync: bool
    trtexec: bool
    answer: Options


def question(root: str = "/") -> bytes:
    """What goes to the stdin of `python3 -c BOOT`: one line of JSON."""
    code = Path(dump.__file__).read_text(encoding="utf-8") + "\nmain(job['root'])\n"
    return json.dumps({"code": code, "root": root}).encode() + b"\n"


def ask(command: Sequence[str], address: str, root: str = "/", *, python: str = "python") -> Board:
    """Run the question by a device's `command`, which starts `python` there, and read the answer.

    Raises BoardError when there is no answer, and EdgebenchError when the answer is none.
    """
    with tempfile.TemporaryFile() as stderr:  # a pipe would be kept open by a connection that ssh leaves behind
        try:
            done = subprocess.run(
                list(command), input=question(root), stdout=subprocess.PIPE, stderr=stderr, timeout=ASK_SECONDS
            )
        except FileNotFoundError:
            raise BoardError(f"There is no {command[0]} on this machine.", "Install it.") from None
        except subprocess.TimeoutExpired:
            lost = openssh.unreachable(address, f"no answer within {ASK_SECONDS:g} s")
            raise BoardError(lost.problem, lost.fix) from None
        stderr.seek(0)
        said = stderr.read().decode("utf-8", "replace").strip()
    lines = [line for line in done.stdout.decode("utf-8", "replace").split("\n") if line.startswith(dump.SENTINEL)]
    if not lines:
        raise _silence(done.returncode, said, address, python)
    try:
        return understand(json.loads(lines[-1][len(dump.SENTINEL) :]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BoardError(
            f"{address} gave an answer that cannot be read: {error}.", "Try again; if it stays, report it."
        ) from error


def _silence(code: int, said: str, address: str, python: str) -> BoardError:
    if refusal := openssh.refused(address, said):
        return BoardError(refusal.problem, refusal.fix, said)
    last = said.splitlines()[-1].strip().rstrip(".") if said else f"exit status {code}"
    if openssh.is_missing(python, code, said):
        return BoardError(
            f"There is no such Python on {address}: {last}.",
            f"Name the one that is there (edgebench device add ... --python /usr/bin/python3), or install one: "
            f"{openssh.by_hand(address)} sudo apt-get install python3",
            said,
            reached=True,
        )
    if code == 127:
        return BoardError(*openssh.setup_failed(address, last), said, reached=True)
    if code == 255:  # ssh's own; every other status is that of the program over there
        lost = openssh.unreachable(address, last, said)
        return BoardError(lost.problem, lost.fix, said)
    return BoardError(
        f"{address} does not answer the question who it is: {last}.",
        "Check that its Python is 3.6 or newer.",
        said,
        reached=True,
    )


def understand(answer: Mapping[str, Any]) -> Board:
    """The board of an answer of dump.tell, whose identity is read from its files as it is on the board itself."""
    with tempfile.TemporaryDirectory(prefix="edgebench-board-") as folder:
        root = Path(folder)
        lay_out(answer, root)
        found, compatible = identity.identity(root), identity.compatible(root)
    if answer["emulator"]:
        found["emulated"] = str(answer["emulator"])
    architecture = f"arch:{answer['machine']}"  # where the kernel has no file for it, this machine's own was taken
    kept = (*(n for n in compatible if not n.startswith("arch:")), architecture)
    return Board(
        identity=Options(found),
        compatible=kept,
        machine=str(answer["machine"]),
        python=str(answer["python"]),
        pythons=Options(answer["pythons"]),
        runtimes=Options(dict(sorted(answer["runtimes"].items()))),
        rsync=bool(answer["rsync"]),
        trtexec=bool(answer["trtexec"]),
        answer=Options(answer),
    )


def lay_out(answer: Mapping[str, Any], root: Path) -> None:
    """Write the files of an answer below `root`. Paths that would lead out of it are left out."""
    for name, content in {**answer["files"]}.items():
        _put(root, name, content.encode("utf-8", "surrogateescape"))
    for name, target in answer["links"].items():
        if inside(name) and inside(target):
            _put(root, f"links/{target}/uevent", b"")
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(root / "links" / target)


def inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name and bool(path.parts)


def _put(root: Path, name: str, content: bytes) -> None:
    if inside(name):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def pack(board: Board, out: Path) -> int:
    """Write a board's files as a .tar.gz that a person can look through and contribute; how many files it holds.

    Beside the tree: `board.json` with what could not be read, what programs said, and the identity as it was read.
    """
    answer = board.answer
    about = {key: value for key, value in answer.items() if key not in ("files", "pythons")}
    about["identity"] = dict(board.identity)
    members = {"board.json": json.dumps(about, indent=1, sort_keys=True).encode()}
    members |= {n: c.encode("utf-8", "surrogateescape") for n, c in sorted(answer["files"].items()) if inside(n)}
    try:
        with tarfile.open(out, "w:gz") as archive:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    except OSError as error:
        raise EdgebenchError(f"{out} cannot be written: {error.strerror}.", "Name another file: --out FILE") from error
    return len(members)


def unpack(archive: Path, root: Path) -> dict[str, Any]:
    """Lay a packed dump out below `root` again and return its board.json. Raises EdgebenchError for another file."""
    try:
        with tarfile.open(archive) as packed:
            contents = {m.name: file.read() for m in packed if m.isfile() and (file := packed.extractfile(m))}
        about: dict[str, Any] = json.loads(contents.pop("board.json"))
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise EdgebenchError(
            f"{archive} is no dump of a board: {error}.", "Make one with: edgebench device dump NAME"
        ) from error
    files = {name: content.decode("utf-8", "surrogateescape") for name, content in contents.items()}
    lay_out({"files": files, "links": about.get("links", {})}, root)
    return about
