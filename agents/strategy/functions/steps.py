"""Steps: the plain series operations that functions of several families are made of.

All take and give (n_bars, n_assets) float64 arrays and are causal; NaN rules as in entry.py.
"""

import numpy as np

from agents.strategy import kernels
from backtesting.bars import Bars, FloatArray


def quotient(over: FloatArray, under: FloatArray) -> FloatArray:
    """over / under, NaN where `under` is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        out: FloatArray = over / under
    zero = np.broadcast_to(under == 0, out.shape)
    # Nearly always there is none, and looking costs less than dividing only where there is not.
    if zero.any():
        out[zero] = np.nan
    return out


def lagged(x: FloatArray, bars_ago: int) -> FloatArray:
    """x of `bars_ago` bars ago."""
    out = np.full(x.shape, np.nan)
    if bars_ago < len(x):
        out[bars_ago:] = x[: len(x) - bars_ago]
    return out


def growth(now: FloatArray, before: FloatArray) -> FloatArray:
    """now over before, less 1."""
    return quotient(now, before) - 1.0


def log_growth(now: FloatArray, before: FloatArray) -> FloatArray:
    """Logarithm of now over before."""
    return kernels.logarithm(quotient(now, before))


def stepped(x: FloatArray, bars_ago: int = 1) -> FloatArray:
    """x less x of `bars_ago` bars ago."""
    return x - lagged(x, bars_ago)


def grown(x: FloatArray, bars_ago: int = 1) -> FloatArray:
    """x over x of `bars_ago` bars ago, less 1."""
    return growth(x, lagged(x, bars_ago))


def log_grown(x: FloatArray, bars_ago: int = 1) -> FloatArray:
    """Logarithm of x over x of `bars_ago` bars ago."""
    return log_growth(x, lagged(x, bars_ago))


def ema(x: FloatArray, window: int) -> FloatArray:
    """Exponential average with weight 2 / (window + 1)."""
    return kernels.smoothed(x, window, 2.0 / (window + 1))


def rma(x: FloatArray, window: int) -> FloatArray:
    """Exponential average with weight 1 / window."""
    return kernels.smoothed(x, window, 1.0 / window)


def highest(x: FloatArray, window: int) -> FloatArray:
    """Largest of the window."""
    return kernels.extreme(x, window, 1.0)


def lowest(x: FloatArray, window: int) -> FloatArray:
    """Smallest of the window."""
    return kernels.extreme(x, window, -1.0)


def true_range(bars: Bars) -> FloatArray:
    """max(high, close before) - min(low, close before)."""
    before = lagged(bars.close, 1)
    return np.maximum(bars.high, before) - np.minimum(bars.low, before)


def atr(bars: Bars, window: int) -> FloatArray:
    """rma of the true range."""
    return rma(true_range(bars), window)


def annual(bars: Bars, per_bar: FloatArray) -> FloatArray:
    """A standard deviation a bar as one a year."""
    return per_bar * float(np.sqrt(bars.periods_per_year))


def root(x: FloatArray) -> FloatArray:
    """Square root, NaN where x is negative."""
    return np.sqrt(np.where(x >= 0, x, np.nan))
