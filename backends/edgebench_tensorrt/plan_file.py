"""Engine files: the plan as TensorRT wrote it, and beside it `<plan>.json` that says what it was made from, by what, for what.

Never a prefix within the plan: trtexec and every other program would refuse the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebench.backend import ModelError

FORMAT = "tensorrt-plan"
PLACE = ("product", "version", "sm", "l4t")
"""What a plan is bound to: same product and full version, same kind of GPU, and on a Jetson the same L4T."""
WORDS = {"product": "of", "version": "by version", "sm": "for compute capability", "l4t": "under L4T"}
REBUILD = "Build it again on this device from its ONNX file."


def sidecar(plan: Path) -> Path:
    return plan.with_name(plan.name + ".json")


def key(**origin: Any) -> str:
    """The name of an engine in the cache: the sha256 of all that it depends on."""
    return hashlib.sha256(json.dumps(origin, sort_keys=True, allow_nan=False).encode()).hexdigest()


def cache_folder() -> Path:
    """Where engines and timing caches are kept between runs: $EDGEBENCH_CACHE/tensorrt, else in the user's cache folder."""
    given = os.environ.get("EDGEBENCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(given) if given else Path(base) / "edgebench") / "tensorrt"


def write(path: Path, content: bytes) -> None:
    """Write a file at once or not at all: another worker may be reading it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.replace(part, path)


def save(plan: Path, content: bytes, facts: Mapping[str, Any]) -> None:
    """Write the sidecar first, so that a plan in the cache is never without one."""
    whole = {**facts, "plan_sha256": hashlib.sha256(content).hexdigest(), "plan_bytes": len(content)}
    write(sidecar(plan), (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode())
    write(plan, content)


def load(plan: Path) -> tuple[bytes, dict[str, Any]]:
    """The plan's bytes and what its sidecar says ({} without one). A foreign prefix of metadata is taken off, and told.

    Raises ModelError: missing, empty, or another file than the sidecar was written for.
    """
    try:
        content = plan.read_bytes()
    except OSError as error:
        raise ModelError(f"{plan} cannot be read: {error.strerror}.", "Check the path.") from error
    if not content:
        raise ModelError(f"{plan} is empty.", REBUILD)
    facts = _facts(sidecar(plan))
    if facts and facts.get("plan_sha256") != hashlib.sha256(content).hexdigest():
        raise ModelError(
            f"{plan} is not the file that {sidecar(plan).name} was written for: it was cut or replaced.",
            f"{REBUILD[:-1]}, or delete {sidecar(plan).name} if the plan is known to be right.",
        )
    size = prefix(content)
    return content[size:], {**facts, **({"prefix_bytes": size} if size else {})}


def prefix(content: bytes) -> int:
    """How many bytes of metadata stand before the plan: some exporters write a length (4 bytes) and so much JSON."""
    size = int.from_bytes(content[:4], "little")
    if not 2 <= size <= min(len(content) - 4, 1 << 20) or content[4:5] != b"{":
        return 0
    try:
        json.loads(content[4 : 4 + size])
    except ValueError:
        return 0
    return 4 + size


def check(facts: Mapping[str, Any], here: Mapping[str, Any], plan: Path) -> None:
    """Raise ModelError when the sidecar says that this is not the place that the plan was built for."""
    for name in PLACE:
        built, now = facts.get(name, ""), here.get(name, "")
        if name in facts and built != now:
            raise ModelError(
                f"{plan.name} was built {WORDS[name]} {built or 'none'}, and here it is {now or 'none'}.", REBUILD
            )


def refused(plan: Path, words: str, product: str) -> ModelError:
    """Why a plan could not be loaded, from what TensorRT said of it."""
    low = words.lower()
    fix = REBUILD
    if "magictag" in low or "malformed" in low:
        why = f"is no plan that {product} reads: malformed"
    elif "version tag" in low or ("serialization" in low and "version" in low):
        why = f"was made by another version of {product}"
    elif "compute capability" in low or "incompatible device" in low or "different device" in low or "platform" in low:
        why = "was made for another GPU"
    elif "out of memory" in low or "outofmemory" in low.replace(" ", ""):
        why, fix = "does not fit into the device's memory", "Free memory, or build it for a smaller batch."
    elif "no cuda" in low or "cuda initialization" in low or "error 35" in low or "driver" in low:
        why, fix = (
            "needs an NVIDIA driver and GPU",
            "Run it on a machine that has them: edgebench doctor says what is here.",
        )
    else:
        why = f"is no plan that {product} reads: malformed"
    return ModelError(f"{plan} {why}: {words or 'no further word'}".rstrip(". ") + ".", fix)


def _facts(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.", "Delete it, or build the engine again.") from error
