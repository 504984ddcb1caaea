"""The files of a board: what lies under its final name has been checked by its sha256.

incoming/      what rsync brings, in part or whole
store/<sha256>/<name>       one file
trees/<digest>/             a folder with a MANIFEST.json {path: [size, sha256]}, whose own sha256 is the digest
trees/<digest>.seen         size and time of each file when it was checked
"""

import hashlib
import json
import os
import shutil
from typing import Any

MANIFEST = "MANIFEST.json"


def sha256_of(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def is_right(path: str, sha256: str) -> bool:
    """Whether the file is there and is the one; one that a failing disk has changed is as good as none."""
    try:
        return sha256_of(path) == sha256
    except OSError:
        return False


def ask(request: "dict[str, Any]", workdir: str, _say: object) -> "dict[str, object]":
    """Where each asked file and tree lies, None for those that are not here; and where rsync may bring them."""
    incoming = os.path.join(workdir, "incoming")
    os.makedirs(incoming, exist_ok=True)
    files = [(file["sha256"], _file(workdir, file)) for file in request.get("files", [])]
    trees = [(digest, os.path.join(workdir, "trees", str(digest))) for digest in request.get("trees", [])]
    here = [(key, path if is_right(path, key) else None) for key, path in files]
    grown = [(key, path if unchanged(path) else None) for key, path in trees]
    lacking = [key for key, place in here + grown if place is None]
    room = _room(incoming, lacking, request.get("sizes", {}))
    return {"incoming": incoming, "files": [place for _, place in here], "trees": [place for _, place in grown], **room}


def _room(incoming: str, lacking: "list[str]", sizes: "dict[str, int]") -> "dict[str, int]":
    """{"need", "free"} in bytes where what lacks does not fit on the disk; then what was half brought of it is removed."""
    half = [os.path.join(incoming, key) for key in lacking]
    need = sum(sizes.get(key, 0) for key in lacking) - sum(size_of(path) for path in half)
    if need <= _free(incoming):
        return {}
    for path in half:
        remove(path)
    return {"need": sum(sizes.get(key, 0) for key in lacking), "free": _free(incoming)}


def _free(path: str) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def size_of(path: str) -> int:
    """The bytes of a file, or of all that a folder holds; 0 for what is not there."""
    if not os.path.isdir(path):
        return os.path.getsize(path) if os.path.exists(path) else 0
    return sum(size_of(os.path.join(path, name)) for name in os.listdir(path))


def take(request: "dict[str, Any]", workdir: str, _say: object) -> "dict[str, object]":
    """Check what has arrived and move it to its place; {"path": ...}, or {"wrong": true} and it is gone."""
    if "tree" in request:
        digest = str(request["tree"])
        staged, target = os.path.join(workdir, "incoming", digest), os.path.join(workdir, "trees", digest)
        right = unchanged(target) or check_tree(staged, digest)
    else:
        file = request["file"]
        staged, target = os.path.join(workdir, "incoming", file["sha256"]), _file(workdir, file)
        right = is_right(staged, file["sha256"])
    if not right:
        remove(staged)
        return {"wrong": True}
    if os.path.exists(staged):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        remove(target)
        os.rename(staged, target)
    if "tree" in request:
        write(target + ".seen", stamps(target))
    return {"path": target}


def check_tree(path: str, digest: str) -> bool:
    """Whether a tree holds exactly what its manifest says, and that is the right manifest."""
    if not is_right(os.path.join(path, MANIFEST), digest):
        return False
    files = _read(os.path.join(path, MANIFEST)) or {}
    return all(is_right(os.path.join(path, name), sha256) for name, (_, sha256) in files.items())


def unchanged(path: str) -> bool:
    """Whether a tree was checked, and no file of it has another size or time since. Hashing it all would take seconds."""
    seen = _read(path + ".seen")
    return seen is not None and seen == stamps(path)


def stamps(path: str) -> "dict[str, list[int]]":
    """[size, time of change] of the files of a tree's manifest; those that are missing have none."""
    out = {}
    for name in _read(os.path.join(path, MANIFEST)) or {}:
        try:
            found = os.stat(os.path.join(path, name))
        except OSError:
            continue
        out[name] = [found.st_size, found.st_mtime_ns]
    return out


def remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.exists(path):
        os.unlink(path)


def _file(workdir: str, file: "dict[str, str]") -> str:
    return os.path.join(workdir, "store", file["sha256"], os.path.basename(file["name"]))


def _read(path: str) -> "dict[str, Any] | None":
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write(path: str, value: object) -> None:
    """In one step, and on the disk: a reader after a power cut sees all of it or none."""
    part = f"{path}.{os.getpid()}.part"
    with open(part, "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
