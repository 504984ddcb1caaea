"""The search for the pruning ratio that hits a budget; torch-pruning's dependency graph does the cutting.

Its ratio is of channels, and it rounds down, so that asking for a half of the channels leaves about a quarter of the
multiply-accumulates: the ratio is therefore found by bisection on what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from edgebench.compress import values
from edgebench.compress.load_model import answer, macs, parameters, tensor
from edgebench.compress.pruning import heads, ties
from edgebench.compress.pruning.cutting import Cutter, Uncuttable, outputs, prunable, shapes
from edgebench.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from edgebench.compress.context import Context
    from edgebench.compress.pruning.prune import Prune

TOLERANCE = 0.02
"""Of the budget: 50 % of the MACs may come out as 49 % to 51 %."""
ROUNDINGS = (8, 4, 2, 1)
TRIALS = 14
NUDGED = 32
"""Layers whose width is tried one by one, when nothing coarser hits the budget."""
WORDS = {"macs": "MACs", "parameters": "parameters"}


def to_budget(model: nn.Module, asked: Prune, context: Context) -> nn.Module:
    """A pruned copy of the network, in as many cuts as were asked for. Raises ModelError."""
    by = "macs" if asked.macs is not None else "parameters"
    budget = asked.macs if asked.macs is not None else asked.parameters
    assert budget is not None
    example = tensor(context.data.evaluation.inputs[:1])
    whole = cost(model, example, by)
    found, between = model, asked.finetune()
    for step in range(1, asked.steps + 1):
        target = asked.share(step, budget)
        found, left = nearest(found, asked, context, by=by, target=target, whole=whole)
        if step < asked.steps and between is not None:
            found = between.apply(found, context)
    if abs(left - budget) > TOLERANCE * budget:
        whole_ones = ", ".join(context.facts.get("kept_whole", ()))
        stay = f" with {whole_ones} whole, whose widths its code counts on" if whole_ones else ""
        free = [n for n, m in model.named_modules() if prunable(m) and n not in kept_layers(model, example, asked.keep)]
        widest = max((outputs(model.get_submodule(n)) for n in free), default=0)
        raise ModelError(
            f"Pruning cannot leave {budget:.1%} of the {WORDS[by]} of this network{stay}; the nearest it reaches is {left:.1%}.",
            _advice(budget, left, asked, by, widest),
        )
    context.report(1, 1, f"{left:.1%} of the {WORDS[by]}")
    context.remember(**{f"{by}_left": left}, **head_counts(model, found))
    return _checked(model, found, example)


def cost(model: nn.Module, example: Tensor, by: str) -> int:
    return macs(model, example) if by == "macs" else parameters(model)


def nearest(
    model: nn.Module,
    asked: Prune,
    context: Context,
    *,
    by: str,
    target: float,
    whole: int,
    tolerance: float = TOLERANCE,
) -> tuple[nn.Module, float]:
    """The pruned copy that comes nearest to `target` times `whole`, and the share of `whole` that it has.

    Finer roundings are tried until one comes within `tolerance`. Layers whose width the network's code counts on stay whole,
    and are remembered as `kept_whole`.
    """
    example = tensor(context.data.evaluation.inputs[:1])
    cutter = Cutter.of(model, example, asked, context, kept_layers(model, example, asked.keep))
    _check_free(cutter)
    while True:
        try:
            return _searched(cutter, context, by, target, whole, tolerance)
        except Uncuttable as error:
            cutter = cutter.without(error.layers)
            if not cutter.free and not cutter.attentions:
                raise
            context.remember(kept_whole=sorted({*context.facts.get("kept_whole", ()), *error.layers}))


def _searched(
    cutter: Cutter, context: Context, by: str, target: float, whole: int, tolerance: float
) -> tuple[nn.Module, float]:
    asked = cutter.asked
    best: _Search | None = None
    for round_to in (asked.round_to,) if asked.round_to else ROUNDINGS:
        search = _Search(cutter, round_to, by, target, whole, context, tolerance)
        search.run()
        if best is None or search.distance < best.distance:
            best = search
        if search.hit(tolerance):
            break
    assert best is not None
    assert best.best is not None
    return best.best, best.left


def _check_free(cutter: Cutter) -> None:
    """Raise ModelError where every layer must stay as it is."""
    if cutter.free or cutter.attentions:
        return
    if cutter.asked.keep:
        raise ModelError(
            f'There is nothing left to prune: beside the last layer, keep = "{cutter.asked.keep}" names all that could go.',
            "Take a layer out of keep, or leave the prune step out.",
        )
    raise ModelError(f"There is nothing to prune: {_why_whole(cutter)}.", "Leave the prune step out.")


def _why_whole(cutter: Cutter) -> str:
    last = "the network's last layer gives its answer, and"
    if len(cutter.kept) > 1:
        return f"{last} its other layers are tied to each other or belong to attention that cannot lose a head"
    others = {
        type(m).__name__ for m in cutter.model.modules() if not prunable(m) and any(len(s) > 1 for s in shapes(m))
    }
    if others:
        return f"{last} its other layers with weights ({', '.join(sorted(others))}) have no channels that may go"
    return "the network has one layer with weights, which gives its answer"


def _advice(budget: float, left: float, asked: Prune, by: str, widest: int) -> str:
    """What to ask for instead; `widest` is the greatest number of channels of a layer that may lose some."""
    if asked.round_to and asked.round_to >= widest > 1:
        return f"Lower round_to: no layer here that may lose channels has more than {widest}."
    finer = " or lower round_to" if (asked.round_to or 1) > 1 else ""
    if left <= 0.995:
        return f"Ask for {by} = {left:.3f}{',' + finer if finer else ''}."
    if budget > 0.9:
        return f"Ask for a smaller {by}{finer}: this network has too few channels for so small a cut."
    if asked.keep:
        return "Take layers out of keep: what it leaves is coupled with what it names, or nearly nothing."
    return f"Leave the prune step out{finer}: the channels of this network are coupled with those of its answer."


class _Search:
    """Tries prunings and keeps the one whose cost came nearest to the budget."""

    def __init__(
        self, cutter: Cutter, round_to: int, by: str, target: float, whole: int, context: Context, tolerance: float
    ) -> None:
        self.cutter, self.round_to, self.by, self.target, self.whole = cutter, round_to, by, target, whole
        self.context, self.tolerance = context, tolerance
        self.names = cutter.free
        self.best: nn.Module | None = None
        self.ratios: dict[str, float] = {}
        self.left = float("inf")
        self.trials = 0
        self.local = cutter.asked.ranking == "local"

    @property
    def distance(self) -> float:
        return abs(self.left - self.target)

    def hit(self, tolerance: float) -> bool:
        return self.distance <= tolerance * self.target

    def run(self) -> None:
        low, high = self.ratio()
        if self.hit(self.tolerance):
            return
        if self.cutter.asked.ranking == "local":
            self.mixture(low, high)
        else:
            low, self.ratios = 0.0, self.widths()
            self.local = True
        self.nudge(low)

    def widths(self) -> dict[str, float]:
        """The best cut so far as a ratio for each layer, with which a ranking within layers gives the same cut."""
        assert self.best is not None
        before, after = dict(self.cutter.model.named_modules()), dict(self.best.named_modules())
        # Half a channel, since the pruner rounds down what a layer keeps.
        return {n: max(0.0, 1 - (outputs(after[n]) + 0.5) / outputs(before[n])) for n in self.names}

    def ratio(self) -> tuple[float, float]:
        """Bisect one ratio for all layers; returns the last ratio that left too much and the first too little."""
        low, high = 0.0, 1.0
        for _ in range(TRIALS):
            if self.hit(self.tolerance / 20):
                break
            middle = (low + high) / 2
            low, high = (middle, high) if self._try(middle, {}) > self.target else (low, middle)
        return low, high

    def mixture(self, low: float, high: float) -> None:
        """Bisect how many layers take the higher of two neighbouring ratios.

        Where all widths are multiples of one number, every layer loses its next channel at the same ratio, and
        the cost falls in large steps: this fills them.
        """
        few, many = 0, len(self.names)
        while many - few > 1 and not self.hit(self.tolerance / 20):
            count = (few + many) // 2
            left = self._try(low, dict.fromkeys(self.names[:count], high))
            few, many = (count, many) if left > self.target else (few, count)

    def nudge(self, low: float) -> None:
        """From the best so far, let one layer after the other lose or keep one channel more, as long as it helps."""
        named = dict(self.cutter.model.named_modules())
        for name in self.names[:NUDGED]:
            for sign in (1, -1):
                if self.hit(self.tolerance):
                    return
                ratio = self.ratios.get(name, low) + sign * self.round_to / outputs(named[name])
                if 0 <= ratio < 1:
                    self._try(low, {**self.ratios, name: ratio})

    def _try(self, ratio: float, ratios: dict[str, float]) -> float:
        pruned = self.cutter.cut(ratio, ratios, self.round_to, self.local)
        left = cost(pruned, self.cutter.example, self.by) / self.whole
        if abs(left - self.target) < self.distance:
            self.best, self.left, self.ratios = pruned, left, ratios
        self.trials = min(self.trials + 1, TRIALS)
        self.context.report(self.trials, TRIALS + 1, f"{self.left:.1%} of the {WORDS[self.by]}")
        return left


def kept_layers(model: nn.Module, example: Tensor, names: str) -> list[str]:
    """The layers whose outputs stay: those the user named, and the last one to run, which gives the answer."""
    order: list[str] = []
    layers = {n: m for n, m in model.named_modules() if prunable(m)}
    hooks = [m.register_forward_hook(lambda *_, n=n: order.append(n)) for n, m in layers.items()]
    try:
        answer(model, example)
    finally:
        for hook in hooks:
            hook.remove()
    if not order:
        raise ModelError("The network runs no convolution or linear layer.", "Leave the prune step out.")
    kept = values.names(names)
    for name in kept:
        if name not in layers:
            raise ModelError(f'The network has no convolution or linear layer "{name}".', did_you_mean(name, layers))
    return [*kept, *order[-1:]]


def head_counts(before: nn.Module, after: nn.Module) -> dict[str, Any]:
    """For the record: by attention module, how many heads there were and are, and those whose heads nothing here can take."""
    old = {a.name: a.heads for a in heads.find(before)}
    new = {name: getattr(after.get_submodule(name), a.word) for a in heads.find(before) for name in (a.name,)}
    changed = {name: [old[name], new[name]] for name in old if old[name] != new[name]}
    whole = [name for name, module in before.named_modules() if isinstance(module, nn.MultiheadAttention)]
    return {**({"heads": changed} if changed else {}), **({"heads_kept": whole} if whole else {})}


def _checked(model: nn.Module, pruned: nn.Module, example: Tensor) -> nn.Module:
    before, after = answer(model, example), answer(pruned, example)
    if before.shape != after.shape:
        raise ModelError(
            f"Pruning changed the answer of the network from {list(before.shape[1:])} to {list(after.shape[1:])}.",
            "Name every layer that gives an answer in keep.",
        )
    if untied := sorted({*ties.tied(model)} - {*ties.tied(pruned)}):
        raise ModelError(
            f"Pruning would give the layer {untied[0]}, which shares its weights with another one, weights of its own.",
            f'Keep it whole with keep = "{untied[0]}".',
        )
    return pruned
