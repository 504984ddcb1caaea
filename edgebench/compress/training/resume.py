"""The state of a training on disk after each epoch: a killed one goes on from there, and ends in the same bytes.

One safetensors file, replaced in one move; its header says which training it belongs to. No pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgebench.codec import canonical, to_json
from edgebench.compress.cache import writing
from edgebench.compress.training.average import Average

if TYPE_CHECKING:
    from edgebench.compress.context import Context
    from edgebench.compress.training.learning import Learning


@dataclass
class State:
    """All that changes while a training runs. `epoch` counts those that are over, `note` what the last one came to."""

    model: nn.Module
    learnt: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None
    epoch: int = 0
    note: dict[str, float] | None = None

    def tensors(self) -> dict[str, Tensor]:
        made = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        made |= {f"learnt.{k}": v for k, v in self.learnt.state_dict().items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            made |= {f"optimizer.{number}.{k}": v for k, v in values.items() if isinstance(v, Tensor)}
        if self.average:
            made |= {f"average.{k}": v for k, v in self.average.values.items()}
        return made

    def restore(self, tensors: dict[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "learnt": {}, "optimizer": {}, "average": {}}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            parts[part][name] = value
        self.model.load_state_dict(parts["model"])
        self.learnt.load_state_dict(parts["learnt"])
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in parts["optimizer"].items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        if self.average:
            self.average.restore(parts["average"])


class Checkpoint:
    """Where one training keeps its state; nowhere when its context has no scratch folder."""

    def __init__(self, context: Context, how: Learning, state: State) -> None:
        self.state = state
        self.identity = _identity(context, how, state)
        self.path = context.scratch / f"{self.identity[:16]}.safetensors" if context.scratch else None

    def load(self) -> None:
        """Bring the state to where it was kept; leave it as it is where nothing fitting was."""
        from safetensors import SafetensorError, safe_open

        if self.path is None or not self.path.is_file():
            return
        try:
            with safe_open(self.path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("identity") != self.identity:
                    return
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError):
            return  # a damaged state costs its epochs, not the run
        self.state.restore(tensors)
        self.state.epoch = int(header["epoch"])
        self.state.note = json.loads(header["note"])

    def save(self) -> None:
        """Keep the state; whole or not at all."""
        header = {
            "identity": self.identity,
            "epoch": str(self.state.epoch),
            "note": json.dumps(self.state.note, sort_keys=True),
        }
        self._write(self.path, self.state.tensors(), header)

    def last_good(self) -> Path | None:
        """Write the network of the last kept epoch as weights that a plan can name; None when none was kept."""
        from safetensors.torch import load_file

        if self.path is None or not self.path.is_file():
            return None
        network = {k.removeprefix("model."): v for k, v in load_file(self.path).items() if k.startswith("model.")}
        path = self.path.with_name("last-good.safetensors")
        self._write(path, network, {})
        return path

    def _write(self, path: Path | None, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
        from safetensors.torch import save_file

        if path is None:
            return
        # Tied weights share memory, which safetensors refuses: each is written by itself.
        alone = {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
        part = path.with_suffix(f".{os.getpid()}.part")
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(alone, part, metadata=header)
            os.replace(part, path)


def _identity(context: Context, how: Learning, state: State) -> str:
    """A digest of what a training starts from: its weights, data, options and seed."""
    text = hashlib.sha256()
    for key, value in {**state.model.state_dict(), **state.learnt.state_dict()}.items():
        text.update(f"{key}{value.dtype}{tuple(value.shape)}".encode())
        text.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    about: dict[str, Any] = {"how": to_json(asdict(how)), "data": context.data.sha256, "seed": context.seed}
    text.update(canonical(about).encode())
    return text.hexdigest()
