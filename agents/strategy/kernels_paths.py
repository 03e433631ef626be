"""Kernels of paths: loops whose bar depends on a state, and sums across the assets of one bar.

The rules are those of kernels.py: causal bit for bit, one order (oldest bar first; across assets the first asset
first), NaN skipped by a state, never infinite.
"""

import math

import numpy as np

from agents.strategy.kernels import NAN
from backtesting.bars import FloatArray, IntArray
from backtesting.kernel import Kernel


def _adaptive(x: FloatArray, weight: FloatArray) -> FloatArray:
    """state += weight * (x - state), started at the value before the first known weight."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        started = False
        state = NAN
        for t in range(x.shape[0]):
            value = x[t, k]
            if math.isnan(value):
                continue
            if math.isnan(weight[t, k]) or math.isnan(state):
                if not started:
                    state = value
                continue
            started = True
            state += weight[t, k] * (value - state)
            out[t, k] = state
    return out


def _super_trend(middle: FloatArray, close: FloatArray, distance: FloatArray) -> FloatArray:
    """The band that trails the close: below it while it rises, above it while it falls; it flips when crossed."""
    out = np.full(close.shape, NAN)
    for k in range(close.shape[1]):
        upper = math.inf
        lower = -math.inf
        before = NAN
        rising = True
        for t in range(close.shape[0]):
            if math.isnan(close[t, k]) or math.isnan(distance[t, k]):
                continue
            if math.isnan(before):
                before = close[t, k]
            over = middle[t, k] + distance[t, k]
            under = middle[t, k] - distance[t, k]
            if over < upper or before > upper:
                upper = over
            if under > lower or before < lower:
                lower = under
            if rising and close[t, k] < lower:
                rising = False
            elif not rising and close[t, k] > upper:
                rising = True
            before = close[t, k]
            out[t, k] = lower if rising else upper
    return out


def _parabolic(high: FloatArray, low: FloatArray, step: float, most: float) -> FloatArray:
    """Wilder's stop and reverse: the level at which the position of this bar would be reversed."""
    out = np.full(high.shape, NAN)
    for k in range(high.shape[1]):
        seen = 0
        rising = True
        level = 0.0
        best = 0.0
        speed = step
        high_1 = 0.0
        low_1 = 0.0
        for t in range(high.shape[0]):
            up = high[t, k]
            down = low[t, k]
            if math.isnan(up) or math.isnan(down):
                continue
            seen += 1
            if seen == 1:
                high_1, low_1 = up, down
                continue
            if seen == 2:
                rising = not (low_1 - down > up - high_1 and low_1 - down > 0.0)
                level = low_1 if rising else high_1
                best = up if rising else down
                # TA-Lib calls the second bar the one before, too.
                high_1, low_1 = up, down
            if rising and down <= level:
                rising = False
                level = max(best, high_1, up)
                out[t, k] = level
                speed = step
                best = down
                level = max(level + speed * (best - level), high_1, up)
            elif not rising and up >= level:
                rising = True
                level = min(best, low_1, down)
                out[t, k] = level
                speed = step
                best = up
                level = min(level + speed * (best - level), low_1, down)
            else:
                out[t, k] = level
                if rising:
                    if up > best:
                        best = up
                        speed = min(speed + step, most)
                    level = min(level + speed * (best - level), low_1, down)
                else:
                    if down < best:
                        best = down
                        speed = min(speed + step, most)
                    level = max(level + speed * (best - level), high_1, up)
            high_1, low_1 = up, down
    return out


def _compounded(x: FloatArray) -> FloatArray:
    """1000 grown by x, a fraction a bar; a NaN is skipped."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        level = 1000.0
        for t in range(x.shape[0]):
            if not math.isnan(x[t, k]):
                level *= 1.0 + x[t, k]
                out[t, k] = level
    return out


def _signed_run(x: FloatArray) -> FloatArray:
    """Bars in a row with x above zero, negative below it; 0 at zero, NaN at NaN, which keeps the run."""
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        run = 0.0
        for t in range(x.shape[0]):
            value = x[t, k]
            if math.isnan(value):
                continue
            if value > 0.0:
                run = run + 1.0 if run > 0.0 else 1.0
            elif value < 0.0:
                run = run - 1.0 if run < 0.0 else -1.0
            else:
                run = 0.0
            out[t, k] = run
    return out


def _since_event(event: FloatArray, x: FloatArray, which: int) -> FloatArray:
    """For events of 1, 0 and NaN: x at the last event (which 0), or the largest (1) or smallest (-1) x since it.

    The bar of the event counts; NaN before the first; a missing x is skipped.
    """
    out = np.full(x.shape, NAN)
    for k in range(x.shape[1]):
        seen = False
        kept = NAN
        for t in range(x.shape[0]):
            value = x[t, k]
            if event[t, k] == 1.0:
                seen = True
                kept = value
            elif which != 0 and seen and not math.isnan(value) and (math.isnan(kept) or which * (value - kept) > 0.0):
                kept = value
            if seen:
                out[t, k] = kept
    return out


def _group_sum(x: FloatArray, group: IntArray, n_groups: int) -> FloatArray:
    """Sum of x over the assets of the same group in the same bar, at each of them; missing x count nothing.

    group: whole numbers from 0, negative for none.
    """
    out = np.full(x.shape, NAN)
    totals = np.zeros(n_groups)
    for t in range(x.shape[0]):
        totals[:] = 0.0
        for k in range(x.shape[1]):
            if group[t, k] >= 0 and not math.isnan(x[t, k]):
                totals[group[t, k]] += x[t, k]
        for k in range(x.shape[1]):
            if group[t, k] >= 0 and not math.isnan(x[t, k]):
                out[t, k] = totals[group[t, k]]
    return out


def _held_target(target: FloatArray, band: float) -> FloatArray:
    """What is held where targets are followed: moved only if further than `band` from it, or to flat; 0 before any."""
    out = np.zeros(target.shape)
    for k in range(target.shape[1]):
        held = 0.0
        for t in range(target.shape[0]):
            wanted = target[t, k]
            if not math.isnan(wanted) and (wanted == 0.0 or abs(wanted - held) > band):
                held = wanted
            out[t, k] = held
    return out


def _held_signals(
    open_: FloatArray,
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    enter_long: FloatArray,
    exit_long: FloatArray,
    enter_short: FloatArray,
    exit_short: FloatArray,
    size: FloatArray,
    stop_distance: FloatArray,
    trail_distance: FloatArray,
    target_distance: FloatArray,
    max_bars: float,
) -> FloatArray:
    """What will be held after the next open where entries and exits are followed, as a signed size; 0 for flat.

    The rules are those of the engine without costs. Everything of a short is that of a long with prices negated.
    """
    out = np.zeros(close.shape)
    for k in range(close.shape[1]):
        held = 0.0
        wanted = 0.0
        entry_bar = -1
        decided = -1
        stop = NAN
        trail = NAN
        target = NAN
        best = NAN
        for t in range(close.shape[0]):
            if math.isnan(close[t, k]):
                out[t, k] = wanted
                continue
            if wanted != held:
                held = wanted
                if held != 0.0:
                    side = 1.0 if held > 0.0 else -1.0
                    entry_bar = t
                    best = side * open_[t, k]
                    trail = trail_distance[decided, k] if trail_distance[decided, k] > 0.0 else NAN
                    stop = best - stop_distance[decided, k] if stop_distance[decided, k] > 0.0 else NAN
                    target = best + target_distance[decided, k] if target_distance[decided, k] > 0.0 else NAN
            if held != 0.0:
                side = 1.0 if held > 0.0 else -1.0
                under = best - trail
                level = under if under > stop or math.isnan(stop) else stop
                worst = low[t, k] if side > 0.0 else -high[t, k]
                peak = high[t, k] if side > 0.0 else -low[t, k]
                if worst <= level or peak >= target or side * open_[t, k] <= level:
                    held = 0.0
                best = max(best, side * close[t, k])
            wanted = held
            longs = enter_long[t, k] == 1.0 and enter_short[t, k] != 1.0
            shorts = enter_short[t, k] == 1.0 and enter_long[t, k] != 1.0
            late = max_bars > 0.0 and t - entry_bar + 1 >= max_bars
            if (held > 0.0 and (exit_long[t, k] == 1.0 or shorts or late)) or (
                held < 0.0 and (exit_short[t, k] == 1.0 or longs or late)
            ):
                wanted = 0.0
            if wanted == 0.0 and size[t, k] > 0.0 and not math.isinf(size[t, k]):
                if longs and exit_long[t, k] != 1.0 and held <= 0.0:
                    wanted = size[t, k]
                elif shorts and exit_short[t, k] != 1.0 and held >= 0.0:
                    wanted = -size[t, k]
            decided = t
            out[t, k] = wanted
    return out


adaptive = Kernel(_adaptive)
held_target = Kernel(_held_target)
held_signals = Kernel(_held_signals)
super_trend = Kernel(_super_trend)
parabolic = Kernel(_parabolic)
compounded = Kernel(_compounded)
signed_run = Kernel(_signed_run)
since_event = Kernel(_since_event)
group_sum = Kernel(_group_sum)

KERNELS = {name: value for name, value in list(globals().items()) if isinstance(value, Kernel)}
