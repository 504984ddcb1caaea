"""A torch network from the user's python entry and, if there are any, safetensors weights. Never from a pickle."""

from __future__ import annotations

import math
import re
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgebench.compress.quiet import first_line
from edgebench.data import DataSet
from edgebench.entries import call, resolve
from edgebench.errors import EdgebenchError, ModelError, said_of
from edgebench.schema import ModelSpec

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
CONVERT = (
    'Convert it once, where you trust it: python -c "import torch, safetensors.torch as s; '
    "s.save_file(torch.load('{name}', weights_only=True), 'weights.safetensors')\"."
)

BASE: ContextVar[Path] = ContextVar("base", default=Path())
"""Within an entry of our own that builds on another one: where that one is found from."""


_WHOLE = re.compile(r"indices.*\b(long|int)\b|scalar type (Long|Int)\b", re.IGNORECASE | re.DOTALL)
"""What torch says of an embedding or an index that is given floats."""


_REAL = re.compile(r"\bdtype|scalar type|\bLong|\bInt\b|long int", re.IGNORECASE)
"""What torch says of a layer that is given whole numbers."""


def load_module(spec: ModelSpec, base: Path, *, seed: int = 0) -> nn.Module:
    """Call the entry (its options as keywords; `base` on the path) and load the weights, if any; eval mode.

    A network without weights is initialised from `seed`. Raises ModelError: an entry that does not import or returns
    no Module or is one, weights that are missing, a pickle, or do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _check_maker(spec.source, base)
        token = BASE.set(base)
        try:
            made = call(spec.source, spec.options, base, ModelError)
        finally:
            BASE.reset(token)
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"The python entry {spec.source} returned {said_of(made)}, no torch.nn.Module.",
            "Make it return the network itself.",
        )
    if spec.weights:
        load_weights(made, Path(base, spec.weights))
    return made.float().eval()


def _check_maker(entry: str, base: Path) -> None:
    """Refuse an entry that is a network: calling it would be its forward."""
    if isinstance(resolve(entry, base, ModelError), nn.Module):
        raise ModelError(
            f"The python entry {entry} is a network already, and an entry is what makes one.",
            f"Name a function that returns it: def make(): return {entry.partition(':')[2]}.",
        )


def load_weights(model: nn.Module, path: Path) -> None:
    """Load safetensors into the network, every key and shape matching. Raises ModelError."""
    state = read_safetensors(path)
    wanted = model.state_dict()
    problem = _misfit(wanted, state)
    if problem:
        raise ModelError(
            f"The weights {path.name} do not fit the network: {problem}.", "Give the weights of this network."
        )
    model.load_state_dict(state)


def _misfit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """The first thing that does not fit, or nothing."""
    missing = [key for key in wanted if key not in found]
    unexpected = [key for key in found if key not in wanted]
    shapes = [key for key in wanted if key in found and wanted[key].shape != found[key].shape]
    if shapes:
        key = shapes[0]
        return f"{key} is {list(found[key].shape)} there and {list(wanted[key].shape)} here"
    if missing:
        return f"{missing[0]} is missing" + (f", and {len(missing) - 1} more" if len(missing) > 1 else "")
    if unexpected:
        return f"{unexpected[0]} is not known" + (f", nor {len(unexpected) - 1} more" if len(unexpected) > 1 else "")
    return ""


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file (https://github.com/huggingface/safetensors). Raises ModelError; refuses pickles."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ModelError(f"The weights {path} cannot be read: {error.strerror}.", "Check the path.") from error
    if path.suffix.lower() in (".npz", ".h5", ".onnx"):
        raise ModelError(
            f"{path.name} is no safetensors file.",
            "Save the weights with safetensors.torch.save_file(model.state_dict(), ...).",
        )
    if (
        path.suffix.lower() in PICKLES
        or start[:2] == b"PK"
        # A safetensors file begins with the length of its JSON, which may look like a pickle's first bytes.
        or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05" and start[8:9] != b"{")
    ):
        raise ModelError(
            f"{path.name} is a pickle, which can run any code when it is loaded, so edgebench does not.",
            CONVERT.format(name=path.name),
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} is no safetensors file: {first_line(error)}.",
            "Save the weights with safetensors.torch.save_file.",
        ) from error


def tensor(array: NDArray[Any]) -> Tensor:
    """The array as a tensor, sharing memory where it may be written to (torch cannot hold a read-only one)."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def answer(model: nn.Module, inputs: Tensor) -> Tensor:
    """What the network says to some inputs (N, ...), in eval mode. Raises ModelError when it does not take them."""
    model.eval()
    try:
        with torch.no_grad():
            made = model(inputs.clone())  # it may work in place, and the samples are the user's
    except EdgebenchError:
        raise
    except Exception as error:
        raise _not_run(inputs, error) from error
    if not isinstance(made, Tensor) or made.ndim < 1 or len(made) != len(inputs):
        found = list(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise ModelError(
            f"The network answers {len(inputs)} samples with {found}, not with one tensor of {len(inputs)} rows.",
            "Make it return one tensor whose first axis is the batch.",
        )
    return made


def _not_run(inputs: Tensor, error: Exception) -> ModelError:
    """What the network itself said of some inputs, and in which line of the user's."""
    line = own_line(error)
    said = f"{first_line(error)}{f', at {line}' if line else ''}"
    if _WHOLE.search(str(error)):
        return ModelError(
            f"The network wants whole numbers, and its samples are {str(inputs.dtype).removeprefix('torch.')}: {said}.",
            "Save them as int64, or make them whole in its forward: x.long().",
        )
    if not inputs.is_floating_point() and _REAL.search(str(error)):
        return ModelError(
            f"The network wants real numbers, and its samples are {str(inputs.dtype).removeprefix('torch.')}: {said}.",
            "Save them as float32, or convert them in its forward: x.float().",
        )
    shape = list(inputs.shape[1:])
    if line:
        return ModelError(
            f"The network does not run on inputs of shape {shape}: {said}.",
            "Mend that line, or give it data of the shape that it was made for.",
        )
    return ModelError(
        f"The network does not take inputs of shape {shape}: {said}.",
        "Give it data of the shape that it was made for, or change its options.",
    )


def own_line(error: BaseException) -> str:
    """Where the user's own code raised: `nets.py:12, "x = self.fc(x)"`, the innermost; "" where only libraries ran."""
    libraries = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))
    ours = str(Path(__file__).parents[1])
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(("<", ours, *libraries))]
    return f'{Path(own[-1].filename).name}:{own[-1].lineno}, "{own[-1].line}"' if own else ""


def check_fit(model: nn.Module, data: DataSet, task: str) -> None:
    """Run the network on a few samples; for "classify" it must have an answer for every class of the labels."""
    made = answer(model, tensor(data.evaluation.inputs[:2]))
    if task != "classify" or data.evaluation.labels is None:
        return
    classes = int(max(split.labels.max() for split in (data.train, data.evaluation) if split.labels is not None)) + 1
    if made.ndim != 2 or made.shape[1] < classes:
        raise ModelError(
            f"The network answers {list(made.shape[1:])} per sample, but {data.name} has {classes} classes.",
            f"Give the network {classes} outputs.",
        )


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def macs(model: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates of convolutions, matrix products, attention and recurrences for one sample; `example` is (1, ...)."""
    from torch.utils.flop_counter import FlopCounterMode

    counter: Any = FlopCounterMode(display=False, custom_mapping=_uncounted())
    with torch.no_grad(), plain_attention(), counter:
        model.eval()(example.clone())
    return int(counter.get_total_flops()) // 2


@contextmanager
def plain_attention() -> Iterator[None]:
    """torch's transformer layers as the layers that they are made of, not as one fused operator of inference."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _uncounted() -> dict[Any, Callable[..., int]]:
    """The operators of a CPU that torch's counter knows nothing of: two operations a multiply-accumulate, from shapes."""
    aten = torch.ops.aten

    def attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:  # (N, heads, T, C), or fewer heads in k and v
        return int(2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1]))

    def recurrence(x: Any, inputs: Any, hidden: Any, *_: Any, **__: Any) -> int:  # x is (T, N, C)
        return int(2 * x[0] * x[1] * (math.prod(inputs) + math.prod(hidden)))

    return {
        aten._scaled_dot_product_flash_attention_for_cpu: attention,
        aten.mkldnn_rnn_layer: recurrence,
        aten.mv: lambda a, b, **_: 2 * math.prod(a),
    }
