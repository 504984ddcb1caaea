"""On the board: take one file from stdin into the content-addressed store; never half a file by its name.

Its text is run there with `python3 -c`, before anything of edgebench is needed: standard library, Python >=
3.6. Arguments: the store, the file's sha256, its name, and "ask" or "take". The answer is one line of JSON:
{"path": ...} when the file is there and is the right one, {"missing": true}, or {"error": ...}.
"""

import hashlib
import json
import os
import sys
import tempfile
from typing import Any, Dict  # noqa: UP035  (Python 3.6)

Answer = Dict[str, Any]  # noqa: UP006


def sha256_of(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def ask(target: str, sha256: str) -> Answer:
    """Whether the file is there; one that a failing disk has changed is as good as none."""
    if os.path.isfile(target) and sha256_of(target) == sha256:
        return {"path": target}
    return {"missing": True}


def take(target: str, sha256: str) -> Answer:
    """Write stdin beside the target, check it, and only then give it its name."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    handle, part = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            for chunk in iter(lambda: sys.stdin.buffer.read(1 << 20), b""):
                file.write(chunk)
        if sha256_of(part) != sha256:
            return {"error": "what arrived is not what was sent"}
        os.replace(part, target)
        return {"path": target}
    finally:
        if os.path.exists(part):
            os.unlink(part)


def main() -> None:
    store, sha256, name, verb = sys.argv[1:5]
    target = os.path.join(os.path.expanduser(store), sha256, os.path.basename(name))
    try:
        answer = ask(target, sha256) if verb == "ask" else take(target, sha256)
    except OSError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
