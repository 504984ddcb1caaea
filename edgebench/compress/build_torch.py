"""Building from a torch network: each step gives a checkpoint, from which all else is made in any process."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgebench import plugins
from edgebench.codec import Options, from_json, to_json
from edgebench.compress import cache as kept
from edgebench.compress import code, methods
from edgebench.compress.build import Build
from edgebench.compress.context import Architecture, Context
from edgebench.compress.lowering import lower
from edgebench.compress.timing import Place, cost, measuring
from edgebench.compress.training.learning import Learning
from edgebench.entries import resolve
from edgebench.errors import ModelError
from edgebench.schema import Step

if TYPE_CHECKING:
    from torch import nn

EXAMPLES = 8
"""Evaluation samples that a network is exported with and checked on."""
Made = tuple["nn.Module", Architecture, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A float network somewhere along a recipe: the folder of its checkpoint, and the key that names it."""

    key: str
    folder: Path
    facts: Mapping[str, Any]


@dataclass(kw_only=True)
class TorchBuild(Build):
    """A torch network: `now` is where the recipe has come to, `parent` what its last compressing step was given."""

    now: Network | None = None
    parent: Network | None = None
    first: Network | None = None
    model: Any = None
    exported: bool = False
    """Whether it will have to be exported, which is then tried before it is trained."""
    trail: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """What each step came to: its method, MACs and parameters, and what it remembered (a budget, a search's way)."""

    def working(self) -> AbstractContextManager[None]:
        from edgebench.compress.threads import threads_for

        return threads_for(0)

    def carry_out(self) -> None:
        network = self.parent = self._root()
        for step in self.recipe.steps:
            method = methods.parse(step)
            if method.compresses:
                self.parent = network
                self.first = self.first or network
            if method.precision and not getattr(method, "prepares", False):
                context = self._context(step, network)
                method.apply(self._load(network), context)
                self.quantization = context.quantization
            else:
                network = self._step(step, method, network)
                self.trail.append({"method": step.method, **network.facts})
                if method.precision:  # work of its own, which is kept; the lowerings follow what it settled
                    self.quantization = method.settled(network.facts)  # type: ignore[attr-defined]
        if not any(methods.parse(step).compresses for step in self.recipe.steps):
            self.parent = network
        self.now = network

    def _root(self) -> Network:
        """The network as it was given: its code, options and weights."""
        weights = Path(self.base, self.spec.weights) if self.spec.weights else None
        key = kept.key_of(
            source=self.spec.source,
            options=self.spec.options,
            code=_code([self.spec.source], self.base),
            weights=kept.sha256(weights) if weights and weights.is_file() else None,
            data=self.data.sha256,
            seed=self.seed,
            by=code.of_training(),  # which loads it
        )

        def make() -> Made:
            from edgebench.compress.load_model import check_fit, load_module
            from edgebench.compress.quantization import layers

            model = load_module(self.spec, self.base, seed=self.seed)
            check_fit(model, self.data, self.spec.task)
            if self.exported and any(isinstance(methods.parse(step), Learning) for step in self.recipe.steps):
                layers.trace(copy.deepcopy(model), self._example())
            return model, Architecture(entry=self.spec.source, options=self.spec.options), {}

        return self._network(key, make)

    def _step(self, step: Step, method: methods.Method, before: Network) -> Network:
        key = kept.key_of(
            parent=before.key,
            step=step.method,
            options=to_json(dataclasses.asdict(method)),  # type: ignore[call-overload]
            method=plugins.origin(methods.GROUP, step.method),
            by=code.of_step(method),
            entries=_code(getattr(method, "entries", ()), self.base),
            files=[kept.sha256(p) if (p := Path(self.base, f)).is_file() else "" for f in getattr(method, "files", ())],
            **self._measured(method),
        )
        scratch = self.cache / "trainings" / key

        def make() -> Made:
            context = self._context(step, before)
            context.scratch = scratch
            with measuring(self.stopwatch, self._example(), self.data.calibration.inputs) as context.measure:
                model = method.apply(self._load(before), context)
            return model, context.architecture, context.facts

        made = self._network(key, make)
        shutil.rmtree(scratch, ignore_errors=True)  # it has served: the network is kept
        return made

    def _measured(self, method: methods.Method) -> dict[str, Any]:
        """What the result of a step depends on that measures: the place, and what machine and versions are there."""
        place = getattr(method, "measured_on", None)
        if place is None or self.stopwatch is None:
            return {}
        return {"measured": self.stopwatch.fingerprint(Place(**place))}

    def _context(self, step: Step, before: Network) -> Context:
        described = from_json(Architecture, json.loads((before.folder / "network.json").read_text()))
        return Context(
            data=self.data,
            base=self.base,
            architecture=dataclasses.replace(described, changes=Options()),
            seed=self.seed,
            stage=f"{self.recipe.name}: {step.method}",
            progress=self.progress,
            ancestors={
                name: partial(self._load, network)
                for name, network in (("parent", self.parent), ("first", self.first))
                if network and self.first
            },
        )

    def _network(self, key: str, make: Callable[[], Made]) -> Network:
        folder = self.cache / "networks" / key

        def fill(part: Path) -> Mapping[str, Any]:
            from edgebench.compress import checkpoint

            begin = self.stopwatch.spent() if self.stopwatch else None
            model, architecture, facts = make()
            spent = cost(self.stopwatch, begin)
            example = self._example()
            checkpoint.save(model, architecture, part, self.base, example)
            return {**facts, **checkpoint.facts(model, example), **spent}

        note = kept.once(folder, fill)
        return Network(key=key, folder=folder, facts=note["facts"])

    def _example(self) -> Any:
        from edgebench.compress.load_model import tensor

        samples = self.data.evaluation.inputs
        # torch.export takes a batch of one for a constant
        return tensor(samples[:EXAMPLES] if len(samples) > 1 else np.repeat(samples, 2, axis=0))

    def _load(self, network: Network) -> nn.Module:
        from edgebench.compress import checkpoint

        return checkpoint.load(network.folder, self.base)

    def key(self) -> str:
        assert self.now is not None
        return self.now.key

    def parent_key(self) -> str:
        assert self.parent is not None
        return self.parent.key

    def facts(self) -> dict[str, Any]:
        assert self.now is not None
        return {**self.now.facts, "steps": self.trail} if self.trail else {**self.now.facts}

    def origin(self) -> str:
        assert self.now is not None
        return kept.sha256(self.now.folder / "network.safetensors")

    def request(self) -> lower.Request:
        assert self.now is not None
        if self.model is None:
            self.model = self._load(self.now)
        return lower.Request(
            model=self.model,
            example=self._example(),
            calibration=self.data.calibration.inputs,
            onnx=self._float_onnx,
            quantize=self.quantization,
        )

    def _float_onnx(self) -> Path:
        """The float ONNX file of this network, shared by every lowering that starts from it."""
        return Path(dataclasses.replace(self, quantization=None).artifact("onnx").path)

    def arrays(self) -> dict[str, NDArray[Any]]:
        from edgebench.compress.load_model import tensor
        from edgebench.compress.training.loop import outputs_of

        assert self.now is not None
        assert self.parent is not None
        held_out = self.data.evaluation
        inputs = tensor(held_out.inputs)
        made: dict[str, NDArray[Any]] = {"input:input": held_out.inputs}
        if held_out.labels is not None:
            made["labels"] = held_out.labels
        made["reference"] = outputs_of(self._load(self.now), inputs).numpy()
        same = self.parent.key == self.now.key
        made["parent"] = made["reference"] if same else outputs_of(self._load(self.parent), inputs).numpy()
        return made


def _code(entries: Sequence[str], base: Path) -> list[str]:
    return [code.of(resolve(entry, base, ModelError)) for entry in entries]
