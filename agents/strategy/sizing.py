"""Sizing: how large a position entered at a bar would be, as a fraction of equity; causal like every indicator.

A size is NaN where what it is computed from is not known, and an engine does not enter on NaN. Kelly sizing needs what
the rule has earned so far; it takes it from the sides the rule would have held, on paper and at full size, without
protective exits and costs: a size that read the account would no longer be a function of the bars.
"""

from collections.abc import Callable

import numpy as np

from agents.strategy.expression.evaluate import EvaluationCache, numbers
from agents.strategy.expression.nodes import Node
from agents.strategy.spec import AtrRiskSizing, FractionSizing, KellySizing, VolatilitySizing
from backtesting.bars import Bars, BoolArray, FloatArray

# Bars with a position below which a mean is no estimate.
LEAST_BARS = KellySizing.LEAST_BARS

Sizings = FractionSizing | VolatilitySizing | AtrRiskSizing | KellySizing


def sizes(
    sizing: Sizings, measure: Node | None, sides: Callable[[], FloatArray], bars: Bars, cache: EvaluationCache
) -> FloatArray:
    """(n_bars, n_assets) size as a fraction of equity, at most the cap; NaN where volatility is unknown or zero.

    Args:
        measure: the tree that the sizing reads (`derived_nodes(spec)["sizing"]`), None where it reads none.
        sides: gives the (n_bars, n_assets) side that the rule wants from each close on; asked by Kelly sizing only.
    """
    if isinstance(sizing, KellySizing):
        return kelly_sizes(sides(), bars, window=sizing.window, share=sizing.share, cap=sizing.cap)
    if isinstance(sizing, FractionSizing) or measure is None:
        fraction = sizing.fraction if isinstance(sizing, FractionSizing) else np.nan
        return np.where(np.isnan(bars.close), np.nan, fraction)
    moved = numbers(measure, bars, cache)
    if isinstance(sizing, VolatilitySizing):
        wanted = _over(np.full(moved.shape, sizing.annual), moved)
    else:
        wanted = _over(sizing.risk * bars.close, sizing.multiple * moved)
    return np.minimum(wanted, sizing.cap)


def largest(sizing: Sizings) -> float:
    """The largest size it can come to, as a fraction of equity."""
    return sizing.fraction if isinstance(sizing, FractionSizing) else sizing.cap


def paper_sides(
    enter_long: BoolArray, exit_long: BoolArray, enter_short: BoolArray, exit_short: BoolArray
) -> FloatArray:
    """(n_bars, n_assets) side that is wanted from the close of each bar on: 1, -1 or 0, by the engine's rules.

    All arrays are (n_bars, n_assets). Stops, targets and time exits are left out: they depend on fills.
    """
    wants_long, wants_short = enter_long & ~enter_short, enter_short & ~enter_long
    long = _since_last(wants_long & ~exit_long, exit_long | wants_short)
    short = _since_last(wants_short & ~exit_short, exit_short | wants_long)
    return long.astype(np.float64) - short.astype(np.float64)


def kelly_sizes(sides: FloatArray, bars: Bars, *, window: int, share: float, cap: float) -> FloatArray:
    """(n_bars, n_assets) `share` of mean over variance of what the sides earned a bar, 0 to `cap`.

    Kelly (1956) in the continuous form of Thorp (2006), section 7.1. What the side decided at bar t - 2 earned over
    bar t is the first return after its fill, so the size of bar t uses nothing later than its close. Only bars with a
    side count, of the last `window` bars; NaN while they are fewer than `LEAST_BARS` or all equal, 0 where the mean
    is not positive.

    Args:
        sides: (n_bars, n_assets); see `paper_sides`.
        window: bars, at least `LEAST_BARS`.
        share: fraction of full Kelly, 0.5 is half Kelly.
        cap: largest size, as a fraction of equity.
    """
    earned = np.zeros(sides.shape)
    held = np.zeros(sides.shape)
    with np.errstate(invalid="ignore"):
        earned[2:] = np.nan_to_num(sides[:-2] * (bars.close[2:] / bars.close[1:-1] - 1.0), nan=0.0)
        held[2:] = (sides[:-2] != 0.0) & np.isfinite(bars.close[2:] / bars.close[1:-1])
    n_held, total, squares = (_rolling_sum(values, window) for values in (held, earned, earned * earned))
    known = n_held >= LEAST_BARS
    mean = np.divide(total, n_held, out=np.full(sides.shape, np.nan), where=known)
    variance = np.divide(squares, n_held, out=np.full(sides.shape, np.nan), where=known) - mean * mean
    # A variance below this is the rounding of the sums.
    size = np.divide(share * mean, variance, out=np.full(sides.shape, np.nan), where=variance > 1e-18)
    clipped: FloatArray = np.clip(size, 0.0, cap)
    return np.where(np.isnan(bars.close), np.nan, clipped)


def _since_last(on: BoolArray, off: BoolArray) -> BoolArray:
    """True from a bar that switches on until one that switches off; off only counts where on is False."""
    switched = on | off
    rows = np.arange(len(on))[:, None]
    last = np.maximum.accumulate(np.where(switched, rows, -1), axis=0)
    return np.take_along_axis(on, np.maximum(last, 0), axis=0) & (last >= 0)


def _rolling_sum(values: FloatArray, window: int) -> FloatArray:
    sums = np.cumsum(np.vstack((np.zeros((1, values.shape[1])), values)), axis=0)
    first = np.maximum(np.arange(1, len(values) + 1) - window, 0)
    return sums[1:] - sums[first]


def _over(over: FloatArray, under: FloatArray) -> FloatArray:
    out = np.full(under.shape, np.nan)
    np.divide(over, under, out=out, where=under > 0)
    return out
