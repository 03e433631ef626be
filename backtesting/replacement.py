"""Replacement: the claim that a candidate should stand where one incumbent stands, as a paired difference of returns.

"Add to the book" asks what a candidate earns that the incumbents do not explain; a near-copy of one of them has nothing
of its own and cannot pass there. "Replace" asks of the same days, after costs: candidate minus incumbent, is it more?

A difference can be had for nothing in two ways, and both are taken out. Whoever holds the incumbent's positions three
times as large earns more: a candidate that moves more than the incumbent did on the open window is scaled down to it,
by a factor that is frozen there. And whoever is in the market longer earns what the market gives: the difference has to
hold a second time after what a constant position explains of it is taken out. The claim is as strong as the weaker of
the two streams.
"""

from dataclasses import dataclass, replace
from math import isfinite, sqrt
from typing import Any

import numpy as np

from backtesting.bars import FloatArray
from backtesting.concentration import Concentration, concentration
from backtesting.evaluation import FOLDS, residual, residual_hedge
from backtesting.folds import walk_forward
from backtesting.statistics import FLAT, hac_t


@dataclass(frozen=True)
class Replacement:
    """What the open window says about one candidate in the place of one incumbent.

    Attributes:
        incumbent: its name.
        scale: what the candidate's returns are multiplied with before the incumbent's are taken off, 0 to 1.
        mean_annual, volatility_annual: of the difference, a year, as fractions.
        t: HAC t-statistic of the difference, the lesser one of as it is and without a constant position's share.
        doubled_costs_annual: the mean where both pay every cost twice.
        concentration: the largest day's share of the whole difference, and what is allowed.
        fold_means: of the difference by walk-forward part, a year, oldest first.
        neighbours_t, dropped_t: `t` of the candidate slightly changed, and on the panel without a symbol.
    """

    incumbent: str
    scale: float
    mean_annual: float
    volatility_annual: float
    t: float
    doubled_costs_annual: float
    concentration: Concentration
    fold_means: tuple[float, ...]
    neighbours_t: tuple[float, ...] = ()
    dropped_t: tuple[tuple[str, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-like; NaN is None."""
        return {
            "incumbent": self.incumbent,
            "scale": self.scale,
            "mean_annual": _number(self.mean_annual),
            "volatility_annual": _number(self.volatility_annual),
            "t": _number(self.t),
            "doubled_costs_annual": _number(self.doubled_costs_annual),
            "concentration": [_number(self.concentration.share), _number(self.concentration.allowed)],
            "fold_means": [_number(mean) for mean in self.fold_means],
            "neighbours_t": [_number(t) for t in self.neighbours_t],
            "dropped_t": [[symbol, _number(t)] for symbol, t in self.dropped_t],
        }


def risk_scale(own: FloatArray, incumbent: FloatArray) -> float:
    """What a candidate is scaled with so that it moves no more than the incumbent did; both (n,) open-window returns.

    At most 1: who takes less risk is not lifted. 0 beside an incumbent that never moved: there is nothing to compare.
    """
    theirs, mine = float(np.std(incumbent)), float(np.std(own))
    if not theirs > FLAT:
        return 0.0
    return min(1.0, theirs / mine) if mine > FLAT else 1.0


def differences(
    own: FloatArray, incumbent: FloatArray, market: FloatArray, scale: float
) -> tuple[FloatArray, FloatArray]:
    """The two streams (n,) of the claim: candidate minus incumbent, and that without a constant position's share."""
    plain = scale * own - incumbent
    hedge = market[:, None]
    return plain, residual(plain, hedge, residual_hedge(plain, hedge))


def difference_t(own: FloatArray, incumbent: FloatArray, market: FloatArray, scale: float) -> float:
    """The lesser HAC t-statistic of the two streams; NaN where one has none, as for a copy of the incumbent."""
    found = [hac_t(stream) for stream in differences(own, incumbent, market, scale)]
    return min(found) if all(isfinite(t) for t in found) else float("nan")


def difference_concentration(stream: FloatArray) -> Concentration:
    """The largest day's share of the sum of a stream (n,)."""
    return concentration((stream,), float(np.sum(stream)))


def replacement_of(
    incumbent: str,
    own: FloatArray,
    other: FloatArray,
    market: FloatArray,
    *,
    doubled: tuple[FloatArray, FloatArray],
    periods_per_year: float,
) -> Replacement:
    """The evidence of one window, without neighbours.

    Args:
        own, other, market: (n,) net returns of candidate and incumbent, and those of a constant position.
        doubled: those of candidate and incumbent with every cost doubled.
    """
    scale = risk_scale(own, other)
    plain, _ = differences(own, other, market, scale)
    part = max(1, len(plain) // FOLDS)
    return Replacement(
        incumbent=incumbent,
        scale=scale,
        mean_annual=float(np.mean(plain)) * periods_per_year,
        volatility_annual=float(np.std(plain)) * sqrt(periods_per_year),
        t=difference_t(own, other, market, scale),
        doubled_costs_annual=float(np.mean(scale * doubled[0] - doubled[1])) * periods_per_year,
        concentration=difference_concentration(plain),
        fold_means=tuple(
            float(np.mean(plain[fold.test])) * periods_per_year
            for fold in walk_forward(len(plain), train=part, test=part)
        ),
    )


def with_neighbours(
    found: Replacement, neighbours_t: tuple[float, ...], dropped_t: tuple[tuple[str, float], ...]
) -> Replacement:
    """The same evidence with what became of the candidate's neighbours."""
    return replace(found, neighbours_t=neighbours_t, dropped_t=dropped_t)


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None
