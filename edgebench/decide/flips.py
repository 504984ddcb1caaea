"""What would change the choice: how far each limit can move until another row is chosen, and how far behind the next one is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgebench.decide import show
from edgebench.decide.judge import Judged, slack
from edgebench.decide.need import Limit, Need
from edgebench.decide.rows import Figure
from edgebench.decide.ties import paired


def flips(
    judged: Sequence[Judged], best: Judged | None, tied: Sequence[Judged], need: Need
) -> dict[str, Any]:  # fmt: skip
    """`tighten` and `loosen`, the nearest limit first, and the `runner_up`. `judged` is in the order of the ranks."""
    passes = [j for j in judged if j.verdict == "pass"]
    tighten = [_tightened(limit, passes, best) for limit in need.limits] if best else []
    loosen = [x for limit in need.limits if (x := _loosened(limit, judged, best, tied))]
    apart = [j for j in passes[1:] if j not in tied]
    return {
        "tighten": sorted((t for t in tighten if t), key=lambda t: (t["slack"], t["option"])),
        "loosen": sorted(loosen, key=lambda t: (t["by"], t["option"])),
        "runner_up": _runner_up(best, apart[0], need) if best and apart else None,
    }


def _worst(limit: Limit, judged: Judged) -> float | None:
    figure = judged.row.figures.get(limit.figure, Figure())
    return figure.high if limit.sense == "max" else figure.low


def _tightened(limit: Limit, passes: Sequence[Judged], best: Judged | None) -> dict[str, Any] | None:
    """The value beyond which the choice does not surely keep to this limit any more, and what is chosen then."""
    edge = _worst(limit, best) if best else None
    if edge is None or best is None:
        return None
    sign = 1 if limit.sense == "max" else -1
    written = show.edge(limit.figure, edge, up=limit.sense == "min")
    if written is None or edge <= 0:
        return None  # there is no tighter limit to write
    after = next((j for j in passes if (w := _worst(limit, j)) is not None and sign * w < sign * edge), None)
    return {
        "option": limit.option, "figure": limit.figure, "to": edge, "to_text": written, "slack": slack(limit, edge),
        "gives": after.row.id if after else None,
    }  # fmt: skip


def _loosened(
    limit: Limit, judged: Sequence[Judged], best: Judged | None, tied: Sequence[Judged]
) -> dict[str, Any] | None:
    """The least loosening of this limit alone that lets in a row which would then be chosen."""
    bar = best.cost.value if best and best.cost and best.cost.value is not None else math.inf
    found: list[tuple[float, float, str, Judged, float]] = []
    for j in judged:
        others = [c for c in j.checks if c.limit is not limit]
        if j.verdict == "pass" or j.row.status != "ok" or j.cost is None or j.cost.value is None or j.cost.value >= bar:
            continue
        edge = _worst(limit, j)
        own = next(c for c in j.checks if c.limit is limit)
        if edge is None or own.missing not in ("", "straddles") or any(c.verdict != "pass" for c in others):
            continue
        found.append((-slack(limit, edge), j.cost.value, j.row.id, j, edge))
    if not found:
        return None
    by, _, _, gained, edge = min(found, key=lambda f: f[:3])
    written = show.edge(limit.figure, edge, up=limit.sense == "max")
    if written is None:
        return None
    return {
        "option": limit.option, "figure": limit.figure, "to": edge, "to_text": written, "by": by, "gives": gained.row.id,
    }  # fmt: skip


def _runner_up(best: Judged, second: Judged, need: Need) -> dict[str, Any]:
    """The next row behind the choice and its ties; `distance` is the least that it surely costs more, as a share."""
    a, b = best.cost, second.cost
    gap = None
    if a and b and a.high and b.low is not None:
        ratio = paired(best.row, second.row) if need.minimize == "latency" else None
        gap = (ratio[0] if ratio else b.low / a.high) - 1
    return {"id": second.row.id, "distance": gap}
