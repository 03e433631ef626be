"""Concentration: does a profit hang on one day or one trade?

A quarter of the profit in one of them is much, unless so few have earned so little that the largest is that large by
luck: the best trade of an honest rule with a Sharpe ratio of 1 carried more than a quarter of five and a half years in
two of five simulated markets. So what is allowed is a quarter, or where that is more what the largest of as many days
or trades is once in a hundred times. Its scale is taken without the largest one, so that no stroke of luck allows
itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.special import stdtrit

from backtesting.bars import FloatArray

MAX_PROFIT_SHARE = 0.25
TAIL_DEGREES = 4.0
CHANCE = 0.01


@dataclass(frozen=True)
class Concentration:
    """The largest part of a profit.

    Attributes:
        share: of the whole; NaN where there was no profit.
        allowed: what it is held against; NaN likewise.
    """

    share: float
    allowed: float

    @property
    def held(self) -> bool:
        """Whether the profit is spread; never for one that is not there."""
        return self.share <= self.allowed


def concentration(kinds: Iterable[FloatArray], total: float) -> Concentration:
    """The largest part of `total` among several kinds of parts (days, trades), each (m,); the worst of them.

    Parts of 0 are none: days out of the market tell nothing about those in it.
    """
    if not total > 0.0:
        return Concentration(float("nan"), float("nan"))
    found = []
    for parts in kinds:
        moved = parts[parts != 0.0]
        if len(moved):
            allowed = max(MAX_PROFIT_SHARE, largest_by_chance(moved) / total)
            found.append(Concentration(float(moved.max()) / total, allowed))
    # Parts of no kind at all, and a profit: it came from nowhere that can be named.
    return max(found, key=lambda one: one.share - one.allowed, default=Concentration(1.0, MAX_PROFIT_SHARE))


def largest_by_chance(parts: FloatArray) -> float:
    """What the largest of so many parts exceeds once in a hundred times; 0 for a single one.

    Student's t with 4 degrees of freedom, the tail of daily returns (Cont 2001), scaled by all parts but the largest.
    """
    if len(parts) < 2:
        return 0.0
    others = np.delete(parts, int(np.argmax(parts)))
    scale = sqrt(float(np.mean(others**2)) * (TAIL_DEGREES - 2.0) / TAIL_DEGREES)
    return scale * float(stdtrit(TAIL_DEGREES, (1.0 - CHANCE) ** (1.0 / len(parts))))
