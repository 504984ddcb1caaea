"""Low-rank factorization: one layer becomes two thinner ones. A whole method in one file, as a new one would be."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgebench.codec import Options, to_json
from edgebench.compress import values
from edgebench.compress.context import Context
from edgebench.errors import ModelError, PlanError, did_you_mean
from edgebench.schema import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

REBUILT = "edgebench.compress.pruning.factorize:rebuilt"
TOLERANCE = 0.02
"""Of a budget of MACs or parameters."""
BISECTIONS = 20


@dataclass(frozen=True, kw_only=True)
class Factorize:
    """Replace convolutions and linear layers by two of lower rank, where that saves: by `energy`, or to a budget.

    The truncated singular value decomposition, the best approximation of its rank (Eckart and Young, 1936): a k x k convolution
    to r channels, then a 1 x 1 (Denton et al., 2014, arXiv:1404.0736; Zhang et al., 2015, arXiv:1505.06798). `energy` is the
    share of the squared singular values that each layer keeps; `macs` or `parameters` the share of the whole network that is
    left, within 2 %, for which the same energy in all layers is searched. `keep` names layers that stay, with commas between;
    so do layers that share their weights, and those that the network's code reads without calling them.
    """

    name: ClassVar[str] = "factorize"
    example: ClassVar[str] = '{ method = "factorize", energy = 0.9, keep = "stem, head" }'
    precision: ClassVar[str | None] = None
    compresses: ClassVar[bool] = True
    rewrites: ClassVar[bool] = True

    energy: float | None = None
    macs: float | None = None
    parameters: float | None = None
    keep: str = ""

    def __post_init__(self) -> None:
        given = [k for k in ("energy", "macs", "parameters") if getattr(self, k) is not None]
        if len(given) != 1:
            wrong = f"was given {' and '.join(given)}" if given else "needs the option energy, macs or parameters"
            raise PlanError(f'The method "factorize" {wrong}.', "Give it one of them, as in energy = 0.95.")
        values.between(self.name, given[0], getattr(self, given[0]), 0, 1)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Return a factorized copy. Raises ModelError when no layer gains, or the budget cannot be hit."""
        from edgebench.compress.load_model import answer, tensor

        example = tensor(context.data.evaluation.inputs[:2])
        alone = left_alone(model, example)
        spectra = spectra_of(model, self.keep, alone)
        ranks = ranks_by_energy(spectra, self.energy) if self.energy else self._to_budget(model, spectra, context)
        if not ranks:
            raise ModelError(
                "No layer of the network becomes cheaper by factorization at this energy"
                + "".join(f"; {name} {why}" for name, why in alone.items())
                + ".",
                "Lower energy, or leave the factorize step out.",
            )
        made = factorized(model, ranks, spectra)
        answer(made, example)
        before = context.architecture
        context.described(REBUILT, {"entry": before.entry, "options": to_json(before.options), "ranks": ranks})
        context.remember(ranks=ranks, **({"left_alone": alone} if alone else {}))
        return made

    def _to_budget(self, model: nn.Module, spectra: Mapping[str, Spectrum], context: Context) -> dict[str, int]:
        from edgebench.compress.load_model import macs, parameters, tensor
        from edgebench.compress.pruning.shares import WORDS

        word = "macs" if self.macs is not None else "parameters"
        target = self.macs or self.parameters or 0.0
        example = tensor(context.data.evaluation.inputs[:1])

        def cost(ranks: Mapping[str, int]) -> int:
            network = factorized(model, ranks, spectra, filled=False)
            return macs(network, example) if word == "macs" else parameters(network)

        whole = cost({})
        best, left = nearest(spectra, lambda ranks: cost(ranks) / whole, target)
        if abs(left - target) > TOLERANCE * target:
            raise ModelError(
                f"Factorization cannot leave {target:.1%} of the {WORDS[word]} of this network; the nearest is {left:.1%}.",
                f"Ask for {word} = {left:.3f}, or leave the step out." if best else "Leave the step out.",
            )
        context.report(1, 1, f"{left:.1%} of the {WORDS[word]}")
        context.remember(**{f"{word}_left": left})
        return best


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """The singular value decomposition of one layer's weight as a matrix (out, inner), in double precision."""

    u: Tensor
    s: Tensor
    v: Tensor
    out: int
    inner: int

    def rank(self, energy: float) -> int:
        """The least rank that keeps this share of the squared singular values."""
        squares = self.s.square().cumsum(0)
        return min(len(self.s), 1 + int((squares < energy * squares[-1]).sum()))

    def saves(self, rank: int) -> bool:
        return rank * (self.out + self.inner) < self.out * self.inner


def left_alone(model: nn.Module, example: Tensor) -> dict[str, str]:
    """The layers that cannot be two, and why: tied ones would come apart, and some are read without being called.

    `example` (B, ...) is what the network is tried on.
    """
    from edgebench.compress.pruning import pair, ties

    layers = _layers(model)
    found = {
        n: "shares its weights with another layer" for n in (*ties.tied(model), *ties.renamed(model)) if n in layers
    }
    rest = [name for name in layers if name not in found]
    return {**found, **dict.fromkeys(pair.not_called(model, rest, example), "is not called in the forward")}


def _layers(model: nn.Module) -> dict[str, Any]:
    """Plain linear layers and convolutions without groups: subclasses may be read in ways of their own."""
    from torch import nn

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return {n: m for n, m in model.named_modules() if type(m) in kinds and getattr(m, "groups", 1) == 1}


def spectra_of(model: nn.Module, keep: str, alone: Collection[str] = ()) -> dict[str, Spectrum]:
    """The decomposition of every layer that may be factorized: all but those of `keep` and `alone`. Raises ModelError."""
    import torch

    layers = _layers(model)
    kept = values.names(keep)
    for name in kept:
        if name not in layers:
            raise ModelError(f'The network has no layer "{name}" that can be factorized.', did_you_mean(name, layers))
    found = {}
    for name, layer in layers.items():
        if name not in kept and name not in alone:
            matrix = layer.weight.detach().double().flatten(1)
            u, s, v = torch.linalg.svd(matrix, full_matrices=False)
            found[name] = Spectrum(u=u, s=s, v=v, out=matrix.shape[0], inner=matrix.shape[1])
    return found


def ranks_by_energy(spectra: Mapping[str, Spectrum], energy: float) -> dict[str, int]:
    """The rank of each layer that becomes cheaper at this energy."""
    found = {name: spectrum.rank(energy) for name, spectrum in spectra.items()}
    return {name: rank for name, rank in found.items() if spectra[name].saves(rank)}


def nearest(
    spectra: Mapping[str, Spectrum], cost: Callable[[Mapping[str, int]], float], target: float
) -> tuple[dict[str, int], float]:
    """Ranks whose cost is nearest to `target`: one energy for all by bisection, then rank by rank."""
    best: tuple[dict[str, int], float] = ({}, 1.0)

    def tried(ranks: dict[str, int]) -> float:
        nonlocal best
        left = cost(ranks)
        best = (ranks, left) if abs(left - target) < abs(best[1] - target) else best
        return left

    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        if abs(best[1] - target) <= TOLERANCE / 20 * target:
            return best
        middle = (low + high) / 2
        low, high = (low, middle) if tried(ranks_by_energy(spectra, middle)) > target else (middle, high)
    for name in list(best[0]):
        if abs(best[1] - target) > TOLERANCE * target:
            step = 1 if best[1] < target else -1
            rank = best[0][name] + step
            if rank >= 1 and spectra[name].saves(rank):
                tried({**best[0], name: rank})
    return best


def factorized(
    model: nn.Module, ranks: Mapping[str, int], spectra: Mapping[str, Spectrum], *, filled: bool = True
) -> nn.Module:
    """A copy of the network with those layers in two; `filled` False leaves their weights at random."""
    made = copy.deepcopy(model)
    for name, rank in ranks.items():
        parent, _, child = name.rpartition(".")
        setattr(
            made.get_submodule(parent), child, two(made.get_submodule(name), rank, spectra[name] if filled else None)
        )
    return made.eval()


def two(layer: Any, rank: int, spectrum: Spectrum | None) -> nn.Module:
    """The layer as one to `rank` channels and one from there; the singular values are shared out between both."""
    import torch
    from torch import nn

    from edgebench.compress.pruning.pair import Pair

    first: Any
    second: Any
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        first = nn.Linear(layer.in_features, rank, bias=False)
        second = nn.Linear(rank, layer.out_features, bias=bias)
    else:
        around = {k: getattr(layer, k) for k in ("stride", "padding", "dilation", "padding_mode")}
        first = type(layer)(layer.in_channels, rank, layer.kernel_size, bias=False, **around)
        second = type(layer)(rank, layer.out_channels, 1, bias=bias)
    if spectrum is not None:
        with torch.no_grad():
            root = spectrum.s[:rank].sqrt()
            first.weight.copy_((root[:, None] * spectrum.v[:rank]).view_as(first.weight))
            second.weight.copy_((spectrum.u[:, :rank] * root).view_as(second.weight))
            if bias:
                second.bias.copy_(layer.bias)
    return Pair(first, second)


def rebuilt(entry: str, options: Mapping[str, Any], ranks: Mapping[str, int]) -> nn.Module:
    """The python entry of a factorized network: what `entry` builds, with those layers in two; its weights come later."""
    from edgebench.compress.load_model import BASE, load_module

    model = load_module(ModelSpec(name="network", source=entry, options=Options(options)), BASE.get())
    return factorized(model, ranks, {}, filled=False)
