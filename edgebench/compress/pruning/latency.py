"""The search for the cut whose measured latency hits a budget.

Latency is no known function of the network, but it falls with its multiply-accumulates: each round cuts to a share of these,
measures the result beside the whole network, and aims the next cut by the line through the two nearest points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgebench.compress import values
from edgebench.compress.load_model import macs, tensor
from edgebench.compress.pruning import shares
from edgebench.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from edgebench.compress.context import Context
    from edgebench.compress.pruning.prune import Prune
    from edgebench.compress.timing import Timing

TOLERANCE = 0.05
"""Of the budget."""
GOOD = 0.025
"""Near enough to stop; a search that never comes so near takes the best within the tolerance."""
ROUNDS = 7
FINE = 0.002
"""Of the share of MACs that is aimed at, where a coarser cut there was measured already."""
LEAST = 0.02
"""Of the multiply-accumulates: no cut goes below."""


@dataclass(frozen=True, kw_only=True)
class Try:
    """One cut that was measured: what it left of the MACs, and its latency over the budget's unit (see `_Budget`)."""

    left: float
    cost: float
    timing: Timing | None
    network: nn.Module


def to_latency(model: nn.Module, asked: Prune, context: Context) -> nn.Module:
    """A pruned copy whose latency is the budget within 5 %. Raises ModelError, naming the nearest that was measured."""
    search = _Search(model, asked, context)
    best = search.run()
    if asked.steps > 1:
        best = search.measured(_in_steps(model, asked, context, best.left), best.left)
    if abs(best.cost / search.target - 1) > TOLERANCE:
        word = search.words(best.cost)
        raise ModelError(
            f"Pruning does not bring the latency on {asked.backend} to {search.words(search.target)}; the nearest that was"
            f" measured is {word}.",
            f"Ask for latency = {word if search.absolute else f'{best.cost:.2f}'}, or another round_to or ranking.",
        )
    context.remember(**search.found(best), **shares.head_counts(model, best.network))
    return best.network


def _in_steps(model: nn.Module, asked: Prune, context: Context, left: float) -> nn.Module:
    """The cut that was found, once more as a schedule of cuts with training in between."""
    plain = replace(asked, latency=None, macs=left, backend="", device="", batch=1, threads=1)
    return shares.to_budget(model, plain, context)


class _Search:
    """`target` and all costs are shares of the whole network's latency, or seconds where the budget is a time."""

    def __init__(self, model: nn.Module, asked: Prune, context: Context) -> None:
        if context.measure is None:
            raise ModelError(
                'The method "prune" has a latency budget, but here is nothing to measure with.',
                "Carry the recipe out with edgebench run or edgebench compress.",
            )
        assert asked.latency is not None
        assert asked.measured_on is not None
        self.model, self.asked, self.context = model, asked, context
        self.measure, self.place = context.measure, asked.measured_on
        self.absolute = isinstance(asked.latency, str)
        self.target = (
            values.seconds("prune", "latency", asked.latency) if isinstance(asked.latency, str) else asked.latency
        )
        self.whole = macs(model, tensor(context.data.evaluation.inputs[:1]))
        self.tries: list[Try] = []

    def run(self) -> Try:
        """The cut whose latency came nearest."""
        share = self.target
        if self.absolute:
            (timing,) = self.measure([self.model], self.place)
            if timing.seconds <= self.target * (1 + TOLERANCE):
                raise ModelError(
                    f"The network takes {self.words(timing.seconds)} on {self.asked.backend} already, and the budget is"
                    f" {self.words(self.target)}.",
                    "Leave the prune step out, or ask for a shorter time.",
                )
            self.tries.append(Try(left=1.0, cost=timing.seconds, timing=timing, network=self.model))
            share = self.target / timing.seconds
        else:
            self.tries.append(Try(left=1.0, cost=1.0, timing=None, network=self.model))
        for round_ in range(ROUNDS):
            cut = self._new_cut(share)
            if cut is None:
                break
            found = self.measured(*cut)
            self.tries.append(found)
            self.context.report(round_ + 1, ROUNDS, f"{self.words(found.cost)} at {found.left:.1%} of the MACs")
            if abs(found.cost / self.target - 1) <= GOOD or (share <= LEAST and found.cost > self.target):
                break
            share = aim([(t.left, t.cost) for t in self.tries], self.target)
        self.context.report(ROUNDS, ROUNDS)
        return min(self.tries[1:], key=lambda t: abs(t.cost - self.target))

    def _new_cut(self, share: float) -> tuple[nn.Module, float] | None:
        """A cut that was not measured yet: near `share`, or else in the middle between the neighbours of the budget."""
        middle = halfway([(t.left, t.cost) for t in self.tries], self.target)
        for wanted, tolerance in ((share, shares.TOLERANCE), (share, FINE), (middle, FINE)):
            network, left = shares.nearest(
                self.model, self.asked, self.context, by="macs", target=wanted, whole=self.whole, tolerance=tolerance
            )
            if all(abs(left - t.left) > 1e-9 for t in self.tries):
                return network, left
        return None

    def measured(self, network: nn.Module, left: float) -> Try:
        timing = self.measure([self.model, network], self.place)[1]
        return Try(left=left, cost=timing.seconds if self.absolute else timing.share, timing=timing, network=network)

    def words(self, cost: float) -> str:
        return f"{cost * 1e3:.3g} ms" if self.absolute else f"{cost:.1%} of what it was"

    def found(self, best: Try) -> dict[str, Any]:
        """For the record: where, what came out, and the way there."""
        assert best.timing is not None
        return {
            "macs_left": best.left,
            "latency_left": best.timing.share,
            "latency_interval": [best.timing.share_low, best.timing.share_high],
            "latency_seconds": best.timing.seconds,
            "latency_place": dict(self.place),
            "latency_tries": [[t.left, t.cost] for t in self.tries],
        }


def aim(points: Sequence[tuple[float, float]], target: float) -> float:
    """The share of MACs at which the line through the two points next to `target` has that cost.

    Between two points where there are some on both sides; else beyond the nearest.
    """
    above = sorted((p for p in points if p[1] > target), key=lambda p: p[1])
    below = sorted((p for p in points if p[1] <= target), key=lambda p: -p[1])
    high = above[0] if above else (1.0, max(p[1] for p in points))
    # Under the least point nothing is known but that no work takes no time, or nearly.
    low = below[0] if below else (0.0, 0.0) if len(above) < 2 else _beyond(above[0], above[1])
    if high[1] == low[1]:
        return max(LEAST, (high[0] + low[0]) / 2)
    part = (target - low[1]) / (high[1] - low[1])
    return min(0.99, max(LEAST, low[0] + part * (high[0] - low[0])))


def halfway(points: Sequence[tuple[float, float]], target: float) -> float:
    """The middle of the shares of the two points whose costs are next to `target`; nothing is beyond the least share."""
    above = min((p for p in points if p[1] > target), key=lambda p: p[1], default=(1.0, 0.0))
    below = max((p for p in points if p[1] <= target), key=lambda p: p[1], default=(LEAST, 0.0))
    return (above[0] + below[0]) / 2


def _beyond(near: tuple[float, float], far: tuple[float, float]) -> tuple[float, float]:
    """Where the line through two points comes to no work at all; its cost is what does not shrink."""
    slope = (far[1] - near[1]) / (far[0] - near[0]) if far[0] != near[0] else 0.0
    return 0.0, max(0.0, near[1] - slope * near[0])
