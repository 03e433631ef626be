"""Kernels: the loops under the indicators, over (n_bars, n_assets) float64, asset by asset, oldest bar first.

Rules that all of them keep:
- Causal, bit for bit: row t depends on rows 0..t alone, so a kernel on the first t rows equals the first t rows of it.
- One order of summation: left to right in time. No fast-math, no fused or reordered sums, no threads.
- A running sum is taken relative to a bar of its window and taken afresh every `window` bars, so an outlier leaves no
  rounding behind for ever; and a window of equal values gives exactly that value, and exactly zero dispersion.
- A NaN spoils the windows that hold it. A recursion skips it: NaN at that bar, the state is kept.
- Never infinite: where a quotient is undefined the result is NaN.

numba compiles a kernel at its first call and keeps it on disk; importing this module imports no numba.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from backtesting.bars import FloatArray

NAN = math.nan


class Kernel:
    """A loop and, from its first call on, its compiled form. `loop` is the plain twin that tests compare with."""

    def __init__(self, loop: Callable[..., Any]) -> None:
        self.loop = loop
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, *args: FloatArray | float) -> FloatArray:
        """Run the compiled loop; every array is made contiguous first."""
        if self._compiled is None:
            from numba import njit

            try:
                self._compiled = njit(cache=True)(self.loop)
            except RuntimeError:
                # No folder for numba's cache can be written: compile in memory, once a process.
                self._compiled = njit(self.loop)
        result: FloatArray = self._compiled(*(_plain(arg) for arg in args))
        return result


def _plain(arg: FloatArray | float) -> FloatArray | float:
    # Contiguous and read-only always, so that numba sees one type and compiles once.
    if not isinstance(arg, np.ndarray):
        return arg
    view = np.ascontiguousarray(arg).view()
    view.flags.writeable = False
    return view


def _rolling_mean(x: FloatArray, window: int) -> FloatArray:
    """Mean of the last `window` bars."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        streak = 0
        equal = 0
        base = 0.0
        total = 0.0
        for t in range(x.shape[0]):
            value = x[t, k]
            if math.isnan(value):
                streak = 0
                continue
            equal = equal + 1 if streak > 0 and value == x[t - 1, k] else 1
            streak += 1
            if streak < window:
                continue
            if (streak - window) % window == 0:
                base = value
                total = 0.0
                for i in range(t - window + 1, t + 1):
                    total += x[i, k] - base
            else:
                total += (value - base) - (x[t - window, k] - base)
            out[t, k] = value if equal >= window else base + total / window
    return out


def _rolling_sum(x: FloatArray, window: int) -> FloatArray:
    """Sum of the last `window` bars."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        streak = 0
        total = 0.0
        for t in range(x.shape[0]):
            value = x[t, k]
            if math.isnan(value):
                streak = 0
                continue
            streak += 1
            if streak < window:
                continue
            if (streak - window) % window == 0:
                total = 0.0
                for i in range(t - window + 1, t + 1):
                    total += x[i, k]
            else:
                total += value - x[t - window, k]
            out[t, k] = total
    return out


def _rolling_stdev(x: FloatArray, window: int, freedom: int) -> FloatArray:
    """Standard deviation of the last `window` bars, divided by window - freedom."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        streak = 0
        equal = 0
        base = 0.0
        first = 0.0
        second = 0.0
        for t in range(x.shape[0]):
            value = x[t, k]
            if math.isnan(value):
                streak = 0
                continue
            equal = equal + 1 if streak > 0 and value == x[t - 1, k] else 1
            streak += 1
            if streak < window:
                continue
            if (streak - window) % window == 0:
                # The mean of this window is the best reference for the next `window` bars: nothing cancels.
                total = 0.0
                for i in range(t - window + 1, t + 1):
                    total += x[i, k] - value
                base = value + total / window
                first = 0.0
                second = 0.0
                for i in range(t - window + 1, t + 1):
                    gap = x[i, k] - base
                    first += gap
                    second += gap * gap
            else:
                gained = value - base
                lost = x[t - window, k] - base
                first += gained - lost
                second += gained * gained - lost * lost
            if equal >= window:
                out[t, k] = 0.0
            else:
                out[t, k] = math.sqrt(max(second - first * first / window, 0.0) / (window - freedom))
    return out


def _weighted_mean(x: FloatArray, window: int) -> FloatArray:
    """Mean of the last `window` bars, weighted 1, 2, ..., window from the oldest to the newest."""
    out = np.full(x.shape, NAN)
    weights = window * (window + 1) / 2.0
    for k in range(x.shape[1]):
        streak = 0
        for t in range(x.shape[0]):
            if math.isnan(x[t, k]):
                streak = 0
                continue
            streak += 1
            if streak < window:
                continue
            total = 0.0
            for i in range(window):
                total += (i + 1) * (x[t - window + 1 + i, k] - x[t, k])
            out[t, k] = x[t, k] + total / weights
    return out


def _smoothed(x: FloatArray, window: int, weight: float) -> FloatArray:
    """Exponential smoothing; `weight` is that of the newest bar, the start is the mean of the first `window` values."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        seen = 0
        base = 0.0
        state = 0.0
        for t in range(x.shape[0]):
            value = x[t, k]
            if math.isnan(value):
                continue
            seen += 1
            if seen == 1:
                base = value
            if seen < window:
                state += value - base
                continue
            if seen == window:
                state = base + (state + (value - base)) / window
            else:
                state += weight * (value - state)
            out[t, k] = state
    return out


def _extreme(x: FloatArray, window: int, sign: float) -> FloatArray:
    """Largest (sign 1) or smallest (sign -1) of the last `window` bars."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        streak = 0
        at = -1
        for t in range(x.shape[0]):
            if math.isnan(x[t, k]):
                streak = 0
                continue
            streak += 1
            if streak == 1:
                at = t
            start = max(t - window, t - streak) + 1
            if at < start:
                at = start
                for i in range(start, t + 1):
                    if sign * x[i, k] >= sign * x[at, k]:
                        at = i
            elif sign * x[t, k] >= sign * x[at, k]:
                at = t
            if streak >= window:
                out[t, k] = x[at, k]
    return out


def _percentile_rank(x: FloatArray, window: int) -> FloatArray:
    """Share of the other bars of the window that are below the newest; an equal one counts half."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        streak = 0
        for t in range(x.shape[0]):
            value = x[t, k]
            if math.isnan(value):
                streak = 0
                continue
            streak += 1
            if streak < window:
                continue
            below = 0.0
            for i in range(t - window + 1, t):
                if x[i, k] < value:
                    below += 1.0
                elif x[i, k] == value:
                    below += 0.5
            out[t, k] = below / (window - 1)
    return out


def _slope(x: FloatArray, window: int) -> FloatArray:
    """Least-squares slope of the last `window` bars on time, a bar."""
    out = np.full(x.shape, NAN)
    middle = (window - 1) / 2.0
    spread = window * (window * window - 1.0) / 12.0
    for k in range(x.shape[1]):
        streak = 0
        for t in range(x.shape[0]):
            if math.isnan(x[t, k]):
                streak = 0
                continue
            streak += 1
            if streak < window:
                continue
            total = 0.0
            for i in range(window):
                total += (i - middle) * (x[t - window + 1 + i, k] - x[t, k])
            out[t, k] = total / spread
    return out


def _correlation(x: FloatArray, y: FloatArray, window: int) -> FloatArray:
    """Pearson correlation of the last `window` bars; NaN where one of the two does not move."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        streak = 0
        for t in range(x.shape[0]):
            if math.isnan(x[t, k]) or math.isnan(y[t, k]):
                streak = 0
                continue
            streak += 1
            if streak < window:
                continue
            mean_x = 0.0
            mean_y = 0.0
            for i in range(t - window + 1, t + 1):
                mean_x += x[i, k] - x[t, k]
                mean_y += y[i, k] - y[t, k]
            mean_x = x[t, k] + mean_x / window
            mean_y = y[t, k] + mean_y / window
            xx = 0.0
            yy = 0.0
            xy = 0.0
            for i in range(t - window + 1, t + 1):
                xx += (x[i, k] - mean_x) * (x[i, k] - mean_x)
                yy += (y[i, k] - mean_y) * (y[i, k] - mean_y)
                xy += (x[i, k] - mean_x) * (y[i, k] - mean_y)
            if xx > 0.0 and yy > 0.0:
                out[t, k] = min(1.0, max(-1.0, xy / (math.sqrt(xx) * math.sqrt(yy))))
    return out


def _mean_deviation(x: FloatArray, window: int) -> FloatArray:
    """Mean absolute distance of the last `window` bars from their mean."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        streak = 0
        for t in range(x.shape[0]):
            if math.isnan(x[t, k]):
                streak = 0
                continue
            streak += 1
            if streak < window:
                continue
            total = 0.0
            for i in range(t - window + 1, t + 1):
                total += x[i, k] - x[t, k]
            mean = x[t, k] + total / window
            total = 0.0
            for i in range(t - window + 1, t + 1):
                total += abs(x[i, k] - mean)
            out[t, k] = total / window
    return out


def _cumulative(x: FloatArray) -> FloatArray:
    """Running total since the first bar; a NaN is skipped."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        total = 0.0
        for t in range(x.shape[0]):
            if not math.isnan(x[t, k]):
                total += x[t, k]
                out[t, k] = total
    return out


def _logarithm(x: FloatArray) -> FloatArray:
    """Natural logarithm; NaN where x is not positive. Scalar on purpose: vector libraries round by lane."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        for t in range(x.shape[0]):
            if x[t, k] > 0.0:
                out[t, k] = math.log(x[t, k])
    return out


def _run_length(x: FloatArray) -> FloatArray:
    """For a series of 1, 0 and NaN: how many bars in a row have been 1; NaN at NaN, which also ends the run."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        run = 0.0
        for t in range(x.shape[0]):
            run = run + 1.0 if x[t, k] == 1.0 else 0.0
            if not math.isnan(x[t, k]):
                out[t, k] = run
    return out


def _bars_since(x: FloatArray) -> FloatArray:
    """For a series of 1, 0 and NaN: bars since the last 1, 0 at that bar; NaN before the first."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        last = -1
        for t in range(x.shape[0]):
            if x[t, k] == 1.0:
                last = t
            if last >= 0:
                out[t, k] = float(t - last)
    return out


rolling_mean = Kernel(_rolling_mean)
rolling_sum = Kernel(_rolling_sum)
rolling_stdev = Kernel(_rolling_stdev)
weighted_mean = Kernel(_weighted_mean)
smoothed = Kernel(_smoothed)
extreme = Kernel(_extreme)
percentile_rank = Kernel(_percentile_rank)
slope = Kernel(_slope)
correlation = Kernel(_correlation)
mean_deviation = Kernel(_mean_deviation)
cumulative = Kernel(_cumulative)
logarithm = Kernel(_logarithm)
run_length = Kernel(_run_length)
bars_since = Kernel(_bars_since)

KERNELS = {name: value for name, value in list(globals().items()) if isinstance(value, Kernel)}
