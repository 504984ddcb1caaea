"""Structured pruning: whole channels and attention heads go, and with them their share of every layer that they feed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgebench.codec import Options
from edgebench.compress import values
from edgebench.compress.context import Context
from edgebench.errors import ModelError, PlanError
from edgebench.schema import Step

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Remove the least important channels and heads until a budget is met: one of `macs`, `parameters` or `latency`.

    `macs` and `parameters` are the share that is left (0.5), hit within 2 %. `latency` is the share of the network's own
    latency (0.5), or a time ("2.5 ms"), hit within 5 % as measured on `backend` and `device` (default: the run's device) with
    `batch` and `threads`.

    Coupled channels go together, by dependency graph (Fang et al., 2023, arXiv:2301.12900); of transformers the width of the
    MLPs, and whole heads of modules that count them in `num_heads` or a like attribute and have linear layers for query, key and
    value, apart or as one; torch.nn.MultiheadAttention has none, and keeps its heads. Importance: L1 (Li et al., 2017,
    arXiv:1608.08710) or L2 norm, BN scale (Liu et al., 2017, arXiv:1708.06519), Taylor (Molchanov et al., 2019,
    arXiv:1906.10771), LAMP (Lee et al., 2021, arXiv:2010.07611), FPGM (He et al., 2019, arXiv:1811.00250), or random as a
    baseline. `ranking` compares channels within their layer (local) or over the whole network (global). Channel counts stay
    multiples of `round_to`, if not given the greatest of 8, 4, 2 and 1 that hits the budget: vector units waste what is over.
    `keep` names layers whose outputs stay, with commas between them: those whose width the network's own code counts on stay by
    themselves. `heads = false` leaves heads alone.

    Iterative: `steps` cuts instead of one, the shares by `schedule` (cubic: Zhu and Gupta, 2017, arXiv:1710.01878), and between
    two cuts a fine-tuning with the options `between`, those of the step finetune.
    """

    name: ClassVar[str] = "prune"
    example: ClassVar[str] = '{ method = "prune", macs = 0.5, steps = 3, between = { epochs = 1, lr = 0.001 } }'
    precision: ClassVar[str | None] = None
    compresses: ClassVar[bool] = True
    resizes: ClassVar[bool] = True
    """Channels of the layers that stay go, too."""

    macs: float | None = None
    parameters: float | None = None
    latency: float | str | None = None
    backend: str = ""
    device: str = ""
    batch: int = 1
    threads: int = 1
    importance: Literal["l1", "l2", "bn", "taylor", "lamp", "fpgm", "random"] = "l2"
    ranking: Literal["local", "global"] = "local"
    round_to: int | None = None
    keep: str = ""
    heads: bool = True
    steps: int = 1
    schedule: Literal["linear", "geometric", "cubic"] = "linear"
    between: Options = Options()

    def __post_init__(self) -> None:
        given = [k for k in ("macs", "parameters", "latency") if getattr(self, k) is not None]
        if len(given) != 1:
            wrong = (
                f"was given {' and '.join(given)}" if given else 'needs the option "macs", "parameters" or "latency"'
            )
            raise PlanError(f'The method "prune" {wrong}.', "Give it one budget, as in macs = 0.5.")
        budget = getattr(self, given[0])
        if isinstance(budget, str):
            values.seconds(self.name, given[0], budget)
        else:
            values.between(self.name, given[0], budget, 0, 1)
        self._check_place()
        for option in ("batch", "threads", "steps"):
            values.at_least(self.name, option, getattr(self, option), 1)
        if self.round_to is not None:
            values.at_least(self.name, "round_to", self.round_to, 1)
        self._check_between()

    def _check_place(self) -> None:
        if self.latency is not None and not self.backend:
            raise PlanError(
                'The method "prune" has a latency budget, but no backend to measure it on.',
                'Name one, as in backend = "onnxruntime".',
            )
        if self.latency is None and (self.backend or self.device or (self.batch, self.threads) != (1, 1)):
            raise PlanError(
                'The method "prune" was told where to measure, but its budget is no latency.',
                "Give it latency, or leave out backend, device, batch and threads.",
            )

    def _check_between(self) -> None:
        if self.between and self.steps == 1:
            raise PlanError(
                'The method "prune" has a training between its cuts, but one cut only.', "Give it steps = 3, say."
            )
        self.finetune()

    def finetune(self) -> Any:
        """The method that trains between two cuts, or None."""
        from edgebench.compress import methods

        return methods.parse(Step(method="finetune", options=self.between)) if self.between else None

    @property
    def entries(self) -> tuple[str, ...]:
        """The code beside its own that the result depends on: that of the teachers of `between`."""
        return tuple(getattr(self.finetune(), "entries", ()))

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(getattr(self.finetune(), "files", ()))

    @property
    def rewrites(self) -> bool:
        """Whether weights that stay are changed, too."""
        return bool(self.between)

    @property
    def measured_on(self) -> Options | None:
        """Where this step measures: part of the name under which its result is kept. None where it does not."""
        if self.latency is None:
            return None
        return Options(backend=self.backend, device=self.device, batch=self.batch, threads=self.threads)

    def suits(self, model: nn.Module) -> None:
        """Raise ModelError for a network whose channels this importance cannot rank."""
        from edgebench.compress.pruning.importance import has_batch_norm

        if self.importance == "bn" and not has_batch_norm(model.modules()):
            raise ModelError(
                'The importance "bn" ranks channels by the scales of batch norms, and this network has none.',
                'Take another importance, "l2" say.',
            )

    def share(self, step: int, final: float) -> float:
        """What is left of the network after cut number `step` of `steps`, if `final` is left in the end."""
        done = step / self.steps
        if self.schedule == "geometric":
            return float(final**done)
        gone = done if self.schedule == "linear" else 1 - (1 - done) ** 3
        return 1 - (1 - final) * gone

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Return a smaller copy. Raises ModelError when the budget cannot be hit, naming the nearest that can."""
        if self.latency is not None:
            from edgebench.compress.pruning.latency import to_latency

            return to_latency(model, self, context)
        from edgebench.compress.pruning.shares import to_budget

        return to_budget(model, self, context)
