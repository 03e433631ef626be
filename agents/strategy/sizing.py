"""Sizing: how large a position entered at a bar would be, as a fraction of equity; causal like every indicator.

A size is NaN where what it is computed from is not known, and an engine does not enter on NaN. Kelly sizing is not
there yet: it needs past trades, which a size that depends on prices alone cannot see.
"""

import numpy as np

from agents.strategy.expression.evaluate import EvaluationCache, numbers
from agents.strategy.expression.nodes import Node
from agents.strategy.spec import AtrRiskSizing, FractionSizing, VolatilitySizing
from backtesting.bars import Bars, FloatArray


def sizes(
    sizing: FractionSizing | VolatilitySizing | AtrRiskSizing, measure: Node | None, bars: Bars, cache: EvaluationCache
) -> FloatArray:
    """(n_bars, n_assets) size as a fraction of equity, at most the cap; NaN where volatility is unknown or zero.

    `measure` is the tree that the sizing reads (`derived_nodes(spec)["sizing"]`), None for a fixed fraction.
    """
    if isinstance(sizing, FractionSizing) or measure is None:
        fraction = sizing.fraction if isinstance(sizing, FractionSizing) else np.nan
        return np.where(np.isnan(bars.close), np.nan, fraction)
    moved = numbers(measure, bars, cache)
    if isinstance(sizing, VolatilitySizing):
        wanted = _over(np.full(moved.shape, sizing.annual), moved)
    else:
        wanted = _over(sizing.risk * bars.close, sizing.multiple * moved)
    return np.minimum(wanted, sizing.cap)


def _over(over: FloatArray, under: FloatArray) -> FloatArray:
    out = np.full(under.shape, np.nan)
    np.divide(over, under, out=out, where=under > 0)
    return out
