"""When a campaign has measured enough, and what it costs its intervals that it looked at them to decide. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgebench import robust, stats

LEAST = 5
"""Generations before which no campaign of the default protocol stops (item 9)."""
NOMINAL, NOMINAL_TRIMMED = 0.97, 0.98
"""A campaign that may stop at any generation stops more readily where chance made its interval narrow. Of ratios that scatter by
1.5 to 5 % from generation to generation, the plain 95 % interval then covers 93 to 94 %; one made at 97 %, and at 98 % where the
outermost are left out, covers 94 to 96 % (simulated with our rule, `tests/unit/test_stopping.py`). Up to `LEAST` generations
nothing was looked at, and 95 % are 95 %."""


def enough(
    half_widths: Sequence[Sequence[float]], *, target: float = 0.02, least: int = LEAST, spent: float = 0.0,
    cap: float = 60.0,
) -> Literal["go on", "reached", "capped"]:  # fmt: skip
    """Whether to measure another generation (item 9).

    `half_widths[g]` holds the `stats.half_width` of every published ratio after g + 1 generations. Enough is at
    least `least` generations with all of them within `target` twice in a row, for one narrow interval may be
    luck; a first look, of two generations, is content with once. `spent` and `cap` are seconds a cell.
    """
    looked = half_widths[-2 if least > 2 else -1 :]
    if len(half_widths) >= max(least, 2) and all(h <= target for widths in looked for h in widths):
        return "reached"
    return "capped" if spent >= cap else "go on"


def interval(ratios: Sequence[float]) -> stats.Estimate:
    """The ratio of a campaign, from each generation's (> 0), with an interval that covers 95 %, however it stopped."""
    return stats.ratio_interval(ratios, [1.0] * len(ratios), _nominal(len(ratios)))


def p_value(ratios: Sequence[float]) -> float:
    """The two-sided p of `interval`'s ratio beyond `stats.MARGIN`: < 0.05 where its verdict is faster or slower."""
    p = stats.ratio_p(ratios, [1.0] * len(ratios))
    return min(1.0, p * 0.05 / (1 - _nominal(len(ratios))))


def _nominal(generations: int) -> float:
    if generations <= LEAST:
        return 0.95
    return NOMINAL_TRIMMED if robust.left_out(generations) else NOMINAL
