"""Benchmark: what holding the market earned a bar, for alpha, beta and the captures.

It is no strategy: nothing is paid, nothing is filled, and nothing is decided. Every close is worth what it says.
"""

import numpy as np

from backtesting.bars import Bars, FloatArray
from backtesting.splits import Window


def held_returns(bars: Bars, window: Window) -> FloatArray:
    """(n,) simple returns from close to close over the window, finite: of the asset, or of the panel in equal shares.

    A bar's return is the mean over the assets with a price on it and an earlier one, against their last close: shares
    are evened out every bar, and what is not listed is not held. 0 where there is none, as on the first bar of all.
    """
    close = bars.close[: window.stop]
    traded = np.isfinite(close)
    rows = np.arange(len(close))[:, None]
    last = np.maximum.accumulate(np.where(traded, rows, -1), axis=0)
    before = np.full(close.shape, np.nan)
    before[1:] = np.where(last[:-1] >= 0, np.take_along_axis(close, np.maximum(last[:-1], 0), axis=0), np.nan)
    moved = (close / before - 1.0)[window.start :]
    known = np.isfinite(moved)
    total: FloatArray = np.where(known, moved, 0.0).sum(axis=1)
    mean: FloatArray = total / np.maximum(known.sum(axis=1), 1)
    return mean
