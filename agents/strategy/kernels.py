"""Kernels: the loops under the indicators, over (n_bars, n_assets) float64, asset by asset, oldest bar first.

Rules that all of them keep:
- Causal, bit for bit: row t depends on rows 0..t alone, so a kernel on the first t rows equals the first t rows of it.
- One order of summation: left to right in time, where a kernel does not state another one. No fast-math, no fused or
  reordered sums, no threads.
- A running sum is taken relative to a bar of its window and taken afresh every `window` bars, so an outlier leaves no
  rounding behind for ever; and a window of equal values gives exactly that value, and exactly zero dispersion.
- A NaN spoils the windows that hold it. A recursion skips it: NaN at that bar, the state is kept.
- Never infinite: where a quotient is undefined the result is NaN.

Importing this module imports no numba; `backtesting.kernel` says when a loop is compiled.
"""

import math
from typing import Any

import numpy as np

from backtesting.bars import FloatArray
from backtesting.kernel import Kernel

NAN = math.nan
_unsigned: Any = np.uint64
_ONE = _unsigned(1)


def _rolling_mean(rows: FloatArray, window: int) -> FloatArray:
    """Mean of the last `window` bars, of (n_assets, n_bars).

    The bars are cut into blocks as long as the window, so a window is the end of one block and the beginning of the
    next (van Herk's way with minima). Both ends are running sums of differences from the first bar of the later block,
    which every such window holds: nothing is ever subtracted again, no bar outside a window can leave a rounding in
    it, and a window of equal values is a sum of zeros.
    """
    n_bars = rows.shape[1]
    out = np.empty(rows.shape)
    out[:, : window - 1] = NAN
    if n_bars < window:
        return out
    length = float(window)
    # before[i]: of the last window - 1 - i bars of the earlier block; since[i]: of the first i + 1 of the later one.
    before = np.zeros(window)
    since = np.zeros(window)
    newest = _unsigned(window - 1)
    for k in range(rows.shape[0]):
        row, means = rows[k], out[k]
        base = row[0]
        total = 0.0
        for t in range(window):
            total += row[t] - base
        means[window - 1] = _finite(base + total / length)
        for start in range(window, n_bars, window):
            # Places without a sign: none can be meant from the end, so that LLVM takes several bars at a time.
            first, size = _unsigned(start), _unsigned(min(window, n_bars - start))
            base = row[first]
            total = 0.0
            behind = 0.0
            # Two sums that do not wait for each other. The first difference of the later block is zero, unless it
            # is NaN; the oldest bar of the earlier block is in no window that ends in the later one.
            since[0] = base - base
            for i in range(_ONE, size):
                total += row[first + i] - base
                since[i] = total
                behind += row[first - i] - base
                before[newest - i] = behind
            for i in range(size, _unsigned(window)):
                behind += row[first - i] - base
                before[newest - i] = behind
            for i in range(size):
                means[first + i] = _finite(base + (before[i] + since[i]) / length)
    return out


def _finite(value: float) -> float:
    return value if abs(value) < math.inf else NAN


def _rolling_means(x: FloatArray, window: int) -> FloatArray:
    """`_rolling_mean` of many assets, the same operations on each, bar by bar over all of them.

    Side by side they are in one line of the cache and in one instruction; one after another each of them would wait for
    its own sums and for every line.
    """
    n_bars, n_assets = x.shape
    out = np.empty(x.shape)
    out[: window - 1] = NAN
    if n_bars < window:
        return out
    length = float(window)
    base = x[0].copy()
    total = np.zeros(n_assets)
    for t in range(window):
        now = x[t]
        for k in range(n_assets):
            total[k] += now[k] - base[k]
    for k in range(n_assets):
        out[window - 1, k] = _finite(base[k] + total[k] / length)
    before = np.zeros((window, n_assets))
    behind = np.zeros(n_assets)
    for first in range(window, n_bars, window):
        size = min(window, n_bars - first)
        for k in range(n_assets):
            base[k] = x[first, k]
            total[k] = base[k] - base[k]
            behind[k] = 0.0
        for i in range(1, window):
            now = x[first - i]
            sums = before[window - 1 - i]
            for k in range(n_assets):
                behind[k] += now[k] - base[k]
                sums[k] = behind[k]
        for i in range(size):
            now = x[first + i]
            means = out[first + i]
            earlier = before[i]
            for k in range(n_assets):
                total[k] += now[k] - base[k]
                means[k] = _finite(base[k] + (earlier[k] + total[k]) / length)
    return out


def _rolling_sum(x: FloatArray, window: int) -> FloatArray:
    """Sum of the last `window` bars."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        streak = 0
        turn = 0
        total = 0.0
        for t in range(x.shape[0]):
            value = x[t, k]
            if math.isnan(value):
                streak = 0
                continue
            streak += 1
            if streak < window:
                continue
            turn = turn + 1 if streak > window and turn < window - 1 else 0
            if turn == 0:
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
        turn = 0
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
            turn = turn + 1 if streak > window and turn < window - 1 else 0
            if turn == 0:
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


def _relative_strength(x: FloatArray, window: int) -> FloatArray:
    """Smoothed gain over smoothed gain and loss, as `_smoothed` with weight 1 / window, both in one walk."""
    out = np.full(x.shape, NAN)
    weight = 1.0 / window
    for k in range(x.shape[1]):
        seen = 0
        first_gain = 0.0
        first_loss = 0.0
        gains = 0.0
        losses = 0.0
        before = NAN
        for t in range(x.shape[0]):
            step = x[t, k] - before
            before = x[t, k]
            if math.isnan(step):
                continue
            gain = max(step, 0.0)
            loss = max(-step, 0.0)
            seen += 1
            if seen > window:
                gains += weight * (gain - gains)
                losses += weight * (loss - losses)
            else:
                if seen == 1:
                    first_gain = gain
                    first_loss = loss
                if seen < window:
                    gains += gain - first_gain
                    losses += loss - first_loss
                    continue
                gains = first_gain + (gains + (gain - first_gain)) / window
                losses = first_loss + (losses + (loss - first_loss)) / window
            both = gains + losses
            out[t, k] = gains / both if both != 0.0 else NAN
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


def _line(x: FloatArray, window: int, which: int) -> FloatArray:
    """The last `window` bars and the straight line through them, by least squares on time.

    which: 0 slope a bar; 1 r squared; 2 newest bar less the line there; 3 the line there; 4 mean with weights
    1, 2, ..., window from the oldest to the newest. O(1) a bar: the sums are taken relative to a bar of the window and
    taken afresh every `window` bars, and at once where what is left is small beside what has passed through.
    """
    out = np.full(x.shape, NAN)
    middle = (window - 1) / 2.0
    spread = window * (window * window - 1.0) / 12.0
    for k in range(x.shape[1]):
        streak = 0
        turn = 0
        equal = 0
        base = 0.0
        plain = 0.0
        timed = 0.0
        squares = 0.0
        largest = 0.0
        for t in range(x.shape[0]):
            value = x[t, k]
            if math.isnan(value):
                streak = 0
                continue
            equal = equal + 1 if streak > 0 and value == x[t - 1, k] else 1
            streak += 1
            if streak < window:
                continue
            turn = turn + 1 if streak > window and turn < window - 1 else 0
            fresh = turn == 0
            if not fresh:
                gained = value - base
                lost = x[t - window, k] - base
                timed += (window - 1) * gained - (plain - lost)
                plain += gained - lost
                squares += gained * gained - lost * lost
                largest = max(largest, gained * gained)
                fresh = squares - plain * plain / window < 1e-6 * largest
            if fresh:
                base = value
                plain = 0.0
                timed = 0.0
                squares = 0.0
                largest = 0.0
                for i in range(window):
                    gap = x[t - window + 1 + i, k] - base
                    plain += gap
                    timed += i * gap
                    squares += gap * gap
                    largest = max(largest, gap * gap)
            if which == 4:
                weights = window * (window + 1) / 2.0
                out[t, k] = value if equal >= window else base + (timed + plain) / weights
                continue
            if equal >= window:
                if which != 1:
                    out[t, k] = value if which == 3 else 0.0
                continue
            slope = (timed - middle * plain) / spread
            ending = base + plain / window + slope * middle
            if which == 0:
                out[t, k] = slope
            elif which == 1:
                total = squares - plain * plain / window
                if total > 0.0:
                    out[t, k] = min(1.0, slope * slope * spread / total)
            elif which == 2:
                out[t, k] = value - ending
            else:
                out[t, k] = ending
    return out


def _comoment(x: FloatArray, y: FloatArray, window: int, which: int) -> FloatArray:
    """How x and y moved together over the last `window` bars.

    which: 0 Pearson correlation, NaN where one of the two does not move; 1 sample covariance; 2 slope of x on y, NaN
    where y does not move. O(1) a bar, under the rule of `_line`.
    """
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        streak = 0
        turn = 0
        equal_x = 0
        equal_y = 0
        base_x = 0.0
        base_y = 0.0
        sum_x = 0.0
        sum_y = 0.0
        xx = 0.0
        yy = 0.0
        xy = 0.0
        largest_x = 0.0
        largest_y = 0.0
        for t in range(x.shape[0]):
            a = x[t, k]
            b = y[t, k]
            if math.isnan(a) or math.isnan(b):
                streak = 0
                continue
            equal_x = equal_x + 1 if streak > 0 and a == x[t - 1, k] else 1
            equal_y = equal_y + 1 if streak > 0 and b == y[t - 1, k] else 1
            streak += 1
            if streak < window:
                continue
            turn = turn + 1 if streak > window and turn < window - 1 else 0
            fresh = turn == 0
            if not fresh:
                a_in = a - base_x
                b_in = b - base_y
                a_out = x[t - window, k] - base_x
                b_out = y[t - window, k] - base_y
                sum_x += a_in - a_out
                sum_y += b_in - b_out
                xx += a_in * a_in - a_out * a_out
                yy += b_in * b_in - b_out * b_out
                xy += a_in * b_in - a_out * b_out
                largest_x = max(largest_x, a_in * a_in)
                largest_y = max(largest_y, b_in * b_in)
                fresh = xx - sum_x * sum_x / window < 1e-6 * largest_x or yy - sum_y * sum_y / window < 1e-6 * largest_y
            if fresh:
                # The mean of this window is the best reference for the next ones: nothing cancels.
                base_x = 0.0
                base_y = 0.0
                for i in range(t - window + 1, t + 1):
                    base_x += x[i, k] - a
                    base_y += y[i, k] - b
                base_x = a + base_x / window
                base_y = b + base_y / window
                sum_x = 0.0
                sum_y = 0.0
                xx = 0.0
                yy = 0.0
                xy = 0.0
                largest_x = 0.0
                largest_y = 0.0
                for i in range(t - window + 1, t + 1):
                    gap_x = x[i, k] - base_x
                    gap_y = y[i, k] - base_y
                    sum_x += gap_x
                    sum_y += gap_y
                    xx += gap_x * gap_x
                    yy += gap_y * gap_y
                    xy += gap_x * gap_y
                    largest_x = max(largest_x, gap_x * gap_x)
                    largest_y = max(largest_y, gap_y * gap_y)
            still_x = equal_x >= window
            still_y = equal_y >= window
            together = 0.0 if still_x or still_y else xy - sum_x * sum_y / window
            if which == 1:
                out[t, k] = together / (window - 1)
                continue
            own_x = xx - sum_x * sum_x / window
            own_y = yy - sum_y * sum_y / window
            if which == 2:
                if not still_y and own_y > 0.0:
                    out[t, k] = together / own_y
            elif window == 2 and not still_x and not still_y:
                # Two points always lie on a line; the sums would say so but for a rounding.
                out[t, k] = 1.0 if (a > x[t - 1, k]) == (b > y[t - 1, k]) else -1.0
            elif not still_x and not still_y and own_x > 0.0 and own_y > 0.0:
                out[t, k] = min(1.0, max(-1.0, together / (math.sqrt(own_x) * math.sqrt(own_y))))
    return out


def _in_order(x: FloatArray, window: int, share: float) -> FloatArray:
    """What a sorted window says of its newest bar, or the value at a place in it.

    share: 0 to 1 gives that quantile, between two bars by straight line; -1 gives the share of the other bars that are
    below the newest, an equal one counting half. The window is kept sorted; a bar moves those between its own place
    and that of the bar it replaces.
    """
    out = np.full(x.shape, NAN)
    ordered = np.empty(window)
    for k in range(x.shape[1]):
        streak = 0
        for t in range(x.shape[0]):
            value = x[t, k]
            if math.isnan(value):
                streak = 0
                continue
            held = min(streak, window)
            streak += 1
            hole = held
            if held == window:
                lost = x[t - window, k]
                low = 0
                high = window
                while low < high:
                    mid = (low + high) // 2
                    if ordered[mid] < lost:
                        low = mid + 1
                    else:
                        high = mid
                hole = low
            while hole > 0 and ordered[hole - 1] > value:
                ordered[hole] = ordered[hole - 1]
                hole -= 1
            last = window - 1 if held == window else held
            while hole < last and ordered[hole + 1] < value:
                ordered[hole] = ordered[hole + 1]
                hole += 1
            ordered[hole] = value
            if streak < window:
                continue
            if share < 0.0:
                below = hole
                while below > 0 and ordered[below - 1] == value:
                    below -= 1
                equal = hole - below
                while hole + 1 < window and ordered[hole + 1] == value:
                    hole += 1
                    equal += 1
                out[t, k] = (below + 0.5 * equal) / (window - 1)
            else:
                place = share * (window - 1)
                under = int(place)
                over = min(under + 1, window - 1)
                out[t, k] = ordered[under] + (place - under) * (ordered[over] - ordered[under])
    return out


def _shape(x: FloatArray, window: int, which: int) -> FloatArray:
    """Sample skewness (which 3) or excess kurtosis (which 4) of the last `window` bars; NaN where nothing moves."""
    out = np.full(x.shape, NAN)
    n = float(window)
    for k in range(x.shape[1]):
        streak = 0
        for t in range(x.shape[0]):
            if math.isnan(x[t, k]):
                streak = 0
                continue
            streak += 1
            if streak < window:
                continue
            mean = 0.0
            for i in range(t - window + 1, t + 1):
                mean += x[i, k] - x[t, k]
            mean = x[t, k] + mean / window
            second = 0.0
            higher = 0.0
            for i in range(t - window + 1, t + 1):
                gap = x[i, k] - mean
                square = gap * gap
                second += square
                higher += square * (gap if which == 3 else square)
            if second <= 0.0:
                continue
            if which == 3:
                ratio = (higher / n) / (second / n * math.sqrt(second / n))
                out[t, k] = ratio * math.sqrt(n * (n - 1.0)) / (n - 2.0)
            else:
                ratio = (higher / n) / (second / n * (second / n)) - 3.0
                out[t, k] = ((n + 1.0) * ratio + 6.0) * (n - 1.0) / ((n - 2.0) * (n - 3.0))
    return out


def _extreme_age(x: FloatArray, window: int, sign: float) -> FloatArray:
    """Bars since the largest (sign 1) or smallest (sign -1) of the last `window`; 0 is now, the newest of equals."""
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
                out[t, k] = float(t - at)
    return out


def _rolling_product(x: FloatArray, window: int) -> FloatArray:
    """Product of the last `window` bars, oldest first."""
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
            total = 1.0
            for i in range(t - window + 1, t + 1):
                total *= x[i, k]
            out[t, k] = total
    return out


def _weighted_window(x: FloatArray, weights: FloatArray) -> FloatArray:
    """Sum of the last bars times `weights` (oldest first, together 1), taken relative to the newest bar."""
    out = np.full(x.shape, NAN)
    window = weights.shape[0]
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
                total += weights[i] * (x[t - window + 1 + i, k] - x[t, k])
            out[t, k] = x[t, k] + total
    return out


def _entropy(x: FloatArray, window: int, bins: int) -> FloatArray:
    """Shannon entropy of the last `window` bars over `bins` equal intervals of their range, as a share of its maximum.

    0 where nothing moves.
    """
    out = np.full(x.shape, NAN)
    counts = np.zeros(bins)
    for k in range(x.shape[1]):
        streak = 0
        for t in range(x.shape[0]):
            if math.isnan(x[t, k]):
                streak = 0
                continue
            streak += 1
            if streak < window:
                continue
            low = x[t, k]
            high = x[t, k]
            for i in range(t - window + 1, t):
                low = min(low, x[i, k])
                high = max(high, x[i, k])
            out[t, k] = 0.0
            if high <= low or math.isinf(high - low):
                continue
            counts[:] = 0.0
            for i in range(t - window + 1, t + 1):
                counts[min(int((x[i, k] - low) / (high - low) * bins), bins - 1)] += 1.0
            total = 0.0
            for i in range(bins):
                if counts[i] > 0.0:
                    total -= counts[i] / window * math.log(counts[i] / window)
            out[t, k] = total / math.log(float(bins))
    return out


def _roughness(x: FloatArray, window: int) -> FloatArray:
    """Generalised Hurst exponent of order 2: half the slope of log mean (x[t] - x[t - lag])^2 on log lag.

    Lags 1, 2, 4, ... up to a quarter of the window; NaN where some lag saw no move.
    """
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
            n = 0.0
            a = 0.0
            b = 0.0
            aa = 0.0
            ab = 0.0
            known = True
            lag = 1
            while 4 * lag <= window:
                total = 0.0
                for i in range(t - window + 1 + lag, t + 1):
                    gap = x[i, k] - x[i - lag, k]
                    total += gap * gap
                if total <= 0.0 or math.isinf(total):
                    known = False
                    break
                over = math.log(float(lag))
                up = math.log(total / (window - lag))
                n += 1.0
                a += over
                b += up
                aa += over * over
                ab += over * up
                lag *= 2
            if known:
                out[t, k] = 0.5 * (n * ab - a * b) / (n * aa - a * a)
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


def _mapped(x: FloatArray, which: int) -> FloatArray:
    """A function of each number: 0 exp, 1 tanh, 2 logistic, 3 arctan. Scalar on purpose, like the logarithm."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        for t in range(x.shape[0]):
            value = x[t, k]
            if math.isnan(value):
                continue
            if which == 0:
                out[t, k] = math.exp(value) if value < 709.0 else NAN
            elif which == 1:
                out[t, k] = math.tanh(value)
            elif which == 2:
                out[t, k] = 1.0 / (1.0 + math.exp(-value)) if value > -700.0 else 0.0
            else:
                out[t, k] = math.atan(value)
    return out


def _raised(x: FloatArray, y: FloatArray) -> FloatArray:
    """x to the power y; NaN where that is no real number or infinite; 0 ** 0 is 1."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        for t in range(x.shape[0]):
            a = x[t, k]
            b = y[t, k]
            if math.isnan(a) or math.isnan(b) or (a < 0.0 and b != math.floor(b)) or (a == 0.0 and b < 0.0):
                continue
            value = a**b
            if not math.isinf(value):
                out[t, k] = value
    return out


rolling_mean_alone = Kernel(_rolling_mean, (_finite,))
rolling_mean_together = Kernel(_rolling_means, (_finite,))
# Assets above which they are faster side by side.
TOGETHER = 16


def rolling_mean(x: FloatArray, window: int) -> FloatArray:
    """Mean of the last `window` bars, never infinite; see `_rolling_mean`."""
    return rolling_mean_together(x, window) if x.shape[1] >= TOGETHER else rolling_mean_alone(x.T, window).T


rolling_sum = Kernel(_rolling_sum)
rolling_stdev = Kernel(_rolling_stdev)
smoothed = Kernel(_smoothed)
relative_strength = Kernel(_relative_strength)
extreme = Kernel(_extreme)
line = Kernel(_line)
comoment = Kernel(_comoment)
in_order = Kernel(_in_order)
shape = Kernel(_shape)
extreme_age = Kernel(_extreme_age)
rolling_product = Kernel(_rolling_product)
weighted_window = Kernel(_weighted_window)
entropy = Kernel(_entropy)
roughness = Kernel(_roughness)
mean_deviation = Kernel(_mean_deviation)
cumulative = Kernel(_cumulative)
logarithm = Kernel(_logarithm)
mapped = Kernel(_mapped)
raised = Kernel(_raised)
run_length = Kernel(_run_length)
bars_since = Kernel(_bars_since)

KERNELS = {name: value for name, value in list(globals().items()) if isinstance(value, Kernel)}
