"""Portfolio decisions: which names of a panel are held, and how much of each, bar by bar.

Everything of one bar is computed from that bar's row alone, so nothing looks ahead. A target row is written every
`every_bars` bars and NaN (keep what is held) between them. Ties of the score go to the asset that stands first.
"""

import numpy as np

from agents.strategy.expression.canonical import invert
from agents.strategy.expression.evaluate import EvaluationCache, condition, numbers
from agents.strategy.expression.nodes import Node
from agents.strategy.functions.cross_section import neutral_to
from agents.strategy.spec import CountSelection, PortfolioSpec
from backtesting.bars import Bars, BoolArray, FloatArray, IntArray
from backtesting.decisions import TargetDecisions
from backtesting.errors import DataError


def portfolio_targets(
    spec: PortfolioSpec, nodes: dict[str, Node], bars: Bars, cache: EvaluationCache
) -> TargetDecisions:
    """Targets as fractions of equity.

    An asset without a price keeps what is held; one that may not be held gets 0. A bar on which nobody can be held,
    but for some asset the universe or the score is unknown, decides nothing (NaN).

    Raises:
        DataError: the bars lack a feature that the spec names.
    """
    score = numbers(nodes["score"], bars, cache)
    if spec.neutralise is not None:
        if spec.neutralise not in bars.features:
            raise DataError(
                f"{bars.source} has no feature {spec.neutralise!r} to neutralise by",
                next_step="add the feature to the market or drop neutralise",
            )
        score = neutral_to(score, bars.features[spec.neutralise])
    priced = np.isfinite(bars.close)
    admitted = open_question = priced
    if "universe" in nodes:
        admitted = priced & condition(nodes["universe"], bars, cache)
        open_question = priced & ~condition(invert(nodes["universe"]), bars, cache)
    volatility = numbers(nodes["weight"], bars, cache) if "weight" in nodes else None
    target = np.full(bars.close.shape, np.nan)
    for t in range(0, bars.n_bars, spec.rebalance.every_bars):
        eligible = admitted[t] & np.isfinite(score[t])
        if eligible.any() or not open_question[t].any():
            moved = None if volatility is None else volatility[t]
            target[t] = np.where(priced[t], _row(spec, score[t], eligible, moved), np.nan)
    return TargetDecisions(target=target, band=spec.rebalance.band)


def _row(spec: PortfolioSpec, score: FloatArray, eligible: BoolArray, volatility: FloatArray | None) -> FloatArray:
    weights = np.zeros(score.shape)
    names = np.flatnonzero(eligible)
    sides = {"long": (1.0,), "short": (-1.0,), "both": (1.0, -1.0)}[spec.direction]
    most = len(names) // len(sides)
    if isinstance(spec.select, CountSelection):
        count = min(spec.select.count, most)
    else:
        # A share of 0.29 of 100 names is 29 names, though 0.29 * 100 is a little less in floating point.
        count = min(max(1, int(spec.select.share * len(names) + 1e-9)), most)
    if count == 0:
        return weights
    middle = float(np.add.accumulate(score[names])[-1]) / len(names)
    for side in sides:
        chosen = names[np.argsort(-side * score[names], kind="stable")[:count]]
        raw = _raw(spec, side * (score[chosen] - middle), chosen, volatility)
        weights[chosen] += side * capped(raw, spec.gross / len(sides), spec.cap)
    return weights


def _raw(spec: PortfolioSpec, distance: FloatArray, chosen: IntArray, volatility: FloatArray | None) -> FloatArray:
    if spec.weight.kind == "score":
        return np.maximum(distance, 0.0)
    if volatility is None:
        return np.ones(len(chosen))
    moved = volatility[chosen]
    known = moved > 0
    return np.where(known, 1.0 / np.where(known, moved, 1.0), 0.0)


def capped(raw: FloatArray, gross: float, cap: float) -> FloatArray:
    """Weights in proportion to `raw`, `gross` together and none above `cap`; what is cut off goes to the others.

    raw: not negative. The sum is below `gross` where all that are not zero are at the cap, and 0 where all are zero.
    """
    weights = np.zeros(raw.shape)
    free = raw > 0
    left = gross
    while free.any() and left > 0:
        shares = np.where(free, raw, 0.0)
        # Divided first: the smallest numbers would vanish in the product.
        shares = left * (shares / float(np.add.accumulate(shares)[-1]))
        over = free & (shares > cap)
        if not over.any():
            return np.where(free, shares, weights)
        weights[over] = cap
        free &= ~over
        left -= cap * int(over.sum())
    return weights
