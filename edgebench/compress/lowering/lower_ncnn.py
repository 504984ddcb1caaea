"""ncnn's networks: TorchScript through the program pnnx, in float, or with the weights stored in half precision.

ncnn keeps a network in two files, .param (text: the layers) and .bin (their weights). A lowering writes one: a zip that
holds both as they are, so that one file is hashed, cached and sent to a board, and `unzip` gives what ncnn's tools take.
int8 is not here: no wheel carries ncnn's quantization tools (ncnn2table, ncnn2int8).
"""

from __future__ import annotations

import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import MissingRuntime, ModelError

FIX = "Write the forward in plain operators of at most four axes, or leave ncnn out."


def convert(model: nn.Module, example: Tensor, path: Path, *, half: bool = False) -> dict[str, Any]:
    """Write the network for one sample at a time; `half` stores the weights as fp16. `example` is (B, ...).

    Returns facts. Raises ModelError: cannot be traced, or an operator is left that ncnn does not have.
    """
    if not example.is_floating_point():
        raise ModelError("ncnn is fed real numbers, and this network takes whole ones.", "Leave ncnn out.")
    one = example[:1].clone()
    with quiet(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        try:
            traced = torch.jit.trace(model.eval(), one, check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, f"{folder}/model.pt")
            answers = traced(one)
        except Exception as error:
            raise ModelError(f"The network cannot be traced: {first_line(error)}.", FIX) from error
        outputs = [answers] if isinstance(answers, Tensor) else list(answers)
        param, weights = _pnnx(Path(folder), list(one.shape), half)
        layers = _checked(param)
    _pack(path, _with_shapes(layers, one, outputs), weights)
    return {"layers": len(layers)}


def _pnnx(folder: Path, shape: list[int], half: bool) -> tuple[str, bytes]:
    """Run pnnx in the folder. It is a program: what it prints, writes beside its input, or dies of stays there."""
    try:
        import pnnx
    except ImportError as error:
        fix = 'Install it with: pip install "edgebench[host]".'
        raise MissingRuntime("Converting to ncnn needs pnnx.", fix) from error
    asked = [pnnx.EXEC_PATH, "model.pt", f"inputshape={str(shape).replace(' ', '')}f32", f"fp16={int(half)}"]
    done = subprocess.run(asked, cwd=folder, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    try:
        return (folder / "model.ncnn.param").read_text(), (folder / "model.ncnn.bin").read_bytes()
    except OSError as error:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ModelError(f"pnnx cannot convert this network: {last[:300].rstrip('.')}.", FIX) from error


def _checked(param: str) -> list[list[str]]:
    """The layers, split into words. pnnx passes on what it cannot convert under torch's own name: that is refused here."""
    import ncnn

    layers = [line.split() for line in param.splitlines()[2:]]
    unknown = sorted({layer[0] for layer in layers if ncnn.create_layer(layer[0]) is None})
    if unknown:
        raise ModelError(f"ncnn has no layer for {', '.join(unknown)}, which pnnx left in the network.", FIX)
    return layers


def _with_shapes(layers: list[list[str]], example: Tensor, outputs: list[Tensor]) -> str:
    """The .param text with shape hints (array 30) at inputs and outputs: ncnn takes any shape and reads past its end."""
    sizes = {"in0": example.shape[1:], **{f"out{i}": out.shape[1:] for i, out in enumerate(outputs)}}
    shapes = {name: size for name, size in sizes.items() if 1 <= len(size) <= 3}  # a hint has room for no more
    blobs = {name for layer in layers for name in _tops(layer)}
    lines = []
    for layer in layers:
        tops = _tops(layer)
        known = [shapes[name] for name in tops if name in shapes]
        if layer[0] == "Split":  # copies, of which one may be an output
            known = known[:1] * len(tops)
        hints = [number for shape in known for number in _hint(shape)] if len(known) == len(tops) else []
        given = [f"-23330={','.join(map(str, [len(hints), *hints]))}"] if hints else []
        lines.append(" ".join([*layer, *given]))
    return "\n".join(["7767517", f"{len(layers)} {len(blobs)}", *lines, ""])


def _tops(layer: list[str]) -> list[str]:
    """The blobs that a layer makes: type, name, how many in, how many out, their names."""
    below, above = int(layer[2]), int(layer[3])
    return layer[4 + below : 4 + below + above]


def _hint(shape: Any) -> list[int]:
    """How many axes, then width, height and channels: ncnn counts from the last axis."""
    return [len(shape), *[*map(int, reversed(shape)), 1, 1][:3]]


def _pack(path: Path, param: str, weights: bytes) -> None:
    """A zip without compression and without the time of day: its bytes depend on the network alone."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (("model.param", param.encode()), ("model.bin", weights)):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
