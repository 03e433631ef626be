"""Sweep: many candidates on one asset at once, as bits and numbers; gate metrics out, no curve is ever stored.

A condition is a row of 64-bit words, one bit a bar. Three ways to simulate, chosen a candidate, all with the meaning
of `engine_reference.py`:

    T0  long, all of equity, signal and time exits: from event to event, O(1) a trade, returns from prefix sums
        and drawdowns from a disjoint sparse table
    T1  sizes, shorts, stops, trailing stops, targets: from event to event while flat, bar by bar while held. Of
        candidates that are long only and borrow nothing, a trade is walked once for all who enter it on one bar with
        one size and protection (T1_LONG)
    T2  everything else: the engine itself (`backtest.simulate`), not in this file

T0 and T1 do the arithmetic of a fill in the engine's order, so trades and final equity are the engine's bit for bit;
mean, variance and drawdown come from other sums and agree to about 1e-12. The surprising choice: threads run the
serial kernels on blocks of candidates and no kernel is parallel inside, so results cannot depend on the number of
threads, and numba's cache cannot mix up a serial and a parallel version of one function.

Nothing is checked here: the caller hands arrays that fit. The kernels take and give plain arrays, hold no state and
release the GIL; all live in this one file because numba's cache does not notice a change in another one.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.cpython.unsafe.numbers import leading_zeros, trailing_zeros
from numba.extending import intrinsic

from backtesting.bars import FloatArray, IntArray

Words = npt.NDArray[np.uint64]
Table = npt.NDArray[np.int64]

# Columns of the whole-number part of a candidate: rows of conditions, rows and kinds of what it reads at an entry.
ENTER_LONG, EXIT_LONG, ENTER_SHORT, EXIT_SHORT = range(4)
SIZE_KIND, SIZE_ROW, STOP_KIND, STOP_ROW, TRAIL_KIND, TRAIL_ROW, TARGET_KIND, TARGET_ROW, MAX_BARS = range(4, 13)
N_WHOLE = 13
# Columns of the other part.
SIZE, SIZE_MULTIPLE, SIZE_CAP, STOP, TRAIL, TARGET = range(6)
N_REAL = 6

# Simulators.
T0, T1_LONG, T1 = range(3)

# SIZE_KIND: the size itself; size / row; size * close / (multiple * row). The last two at most the cap.
FRACTION, OVER_ROW, RISK_OVER_ROW = range(3)
# *_KIND of a distance: none; a share of the close; a multiple of a row.
NONE, SHARE, MULTIPLE = range(3)

# Columns of what a simulation gives.
FINAL_EQUITY, N_TRADES, RETURN_SUM, RETURN_SQUARES, WORST = range(5)
N_OUT = 5

# Operations on words.
AND, OR, BEFORE, RUN = range(4)

# Columns of a trade that is kept: its bar of entry, the first row of its path, the closes that it was held for, and the
# last bar for whose exits they suffice.
_ENTRY, _FIRST, _HELD, _KNOWN = range(4)
# The share of the equity, what a unit costs, and the price it is sold at by a protective exit.
_SHARE, _UNDER, _FILL_OUT = range(3)
# Columns of its path: sums of returns and of their squares, highest, lowest and last equity, lowest over earlier peak.
_TOTAL, _SQUARES, _HIGH, _LOW, _VALUE, _INSIDE = range(6)
# As much of them as the second nearest cache holds.
_KEPT_TRADES = 1 << 13
_KEPT_BARS = 1 << 16

_NO_SUMS, _NO_TABLE = np.empty((2, 0)), np.empty((0, 0, 3))
# Words of a stretch of bars: 8 KB of each row that is compared.
_STRETCH = 16

_CACHE_LINE = 64  # bytes

# numba's own intrinsics, which the type checker knows nothing of.
_trailing_zeros: Any = trailing_zeros
_leading_zeros: Any = leading_zeros

# Places in `result.REASONS`, written out for the reason given in engine.py.
_SIGNAL, _STOP, _TRAIL, _TARGET, _TIME, _REBALANCE, _OPEN, _BANKRUPT = range(8)

# Bars above which the drawdown table of T0 (24 bytes a bar and level) is not worth its memory.
MAX_TABLE_BARS = 1 << 18
# Measured nanoseconds a bar and candidate, only to decide whether threads pay.
_NS_COMPARE = 0.4
_NS_A_BAR = (0.3, 0.8, 1.5)
SERIAL_BELOW_MS = 5.0
MIN_BLOCK = 16


def number_rows(*shape: int) -> FloatArray:
    """Room for rows of numbers, the last of `shape` a multiple of 64; untouched.

    Every row begins with a line of the cache: a comparison that always reads two halves of lines takes half as long
    again.
    """
    size = math.prod(shape)
    room = np.empty(size + _CACHE_LINE // 8)
    first = -room.ctypes.data % _CACHE_LINE // 8
    return room[first : first + size].reshape(shape)


@njit(cache=True, nogil=True, error_model="numpy")
def put_row(values: FloatArray, row: FloatArray, known: Words) -> None:
    """Copy (n_bars,) numbers into a row, NaN behind the last bar, and set the bits of the bars that are not NaN."""
    n_bars = len(values)
    for w in range(len(known)):
        word = np.uint64(0)
        if 64 * (w + 1) <= n_bars:
            here = values[64 * w : 64 * (w + 1)]
            there = row[64 * w : 64 * (w + 1)]
            for b in range(64):
                there[b] = here[b]
            for b in range(64):
                word |= np.uint64(here[b] == here[b]) << np.uint64(b)
        else:
            for t in range(64 * w, 64 * (w + 1)):
                row[t] = values[t] if t < n_bars else math.nan
                word |= np.uint64(row[t] == row[t]) << np.uint64(t - 64 * w)
        known[w] = word


def _above_in_code(typing: Any, x: Any, y: Any, first: Any) -> Any:
    """Bits of x[b] > y[b] for 64 places from `first` on: a word.

    LLVM makes a few instructions of one comparison of 64 numbers, and a shift a number of a loop that says the same.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.VectorType(ir.DoubleType(), 64)

        def load(which: int) -> Any:
            data = context.make_array(signature.args[which])(context, builder, args[which]).data
            return builder.load(builder.bitcast(builder.gep(data, [args[2]]), wide.as_pointer()), align=8)

        return builder.bitcast(builder.fcmp_ordered(">", load(0), load(1)), ir.IntType(64))

    return types.uint64(x, y, first), code


# What an intrinsic is called with, the type checker knows nothing of.
_above: Any = intrinsic(_above_in_code)


@njit(cache=True, nogil=True, error_model="numpy")
def compare_rows(rows: FloatArray, known: Words, pairs: Table, words: Words) -> None:
    """Bits of x > y and of x <= y, for pairs (row of x, row of y, word row of >, word row of <=); NaN is neither."""
    n_words = words.shape[1]
    # A stretch of bars at a time for all pairs: its part of the rows stays in the nearest cache.
    for begin in range(0, n_words, _STRETCH):
        end = min(begin + _STRETCH, n_words)
        for i in range(pairs.shape[0]):
            # Slices, so that no index can be negative and LLVM compares four bars with one instruction.
            x = rows[pairs[i, 0], 64 * begin : 64 * end]
            y = rows[pairs[i, 1], 64 * begin : 64 * end]
            known_x = known[pairs[i, 0], begin:end]
            known_y = known[pairs[i, 1], begin:end]
            above = words[pairs[i, 2], begin:end]
            not_above = words[pairs[i, 3], begin:end]
            for w in range(len(above)):
                word = _above(x, y, 64 * w)
                above[w] = word
                not_above[w] = known_x[w] & known_y[w] & ~word


@njit(cache=True, nogil=True, error_model="numpy")
def compare_columns(x: FloatArray, y: FloatArray, above: Words, not_above: Words) -> None:
    """As `compare_rows`, of two series (n_bars,) that nobody has put into rows."""
    for w in range(len(above)):
        # Unsigned, so that no place is taken for one counted from the end and LLVM compares several bars at a time.
        first, size = np.uint64(64 * w), np.uint64(min(64, len(x) - 64 * w))
        over = under = np.uint64(0)
        for b in range(size):
            over |= np.uint64(x[first + b] > y[first + b]) << b
            under |= np.uint64(x[first + b] <= y[first + b]) << b
        above[w] = over
        not_above[w] = under


@njit(cache=True, nogil=True, error_model="numpy")
def combine_words(words: Words, steps: Table) -> None:
    """Steps (operation, row of the result, a, b) in order.

    AND, OR: of rows a and b. BEFORE: row a one bar ago. RUN: row a on each of the last b bars.
    """
    n_words = words.shape[1]
    for i in range(steps.shape[0]):
        operation = steps[i, 0]
        out = words[steps[i, 1]]
        a = words[steps[i, 2]]
        if operation == AND:
            b = words[steps[i, 3]]
            for w in range(n_words):
                out[w] = a[w] & b[w]
        elif operation == OR:
            b = words[steps[i, 3]]
            for w in range(n_words):
                out[w] = a[w] | b[w]
        elif operation == BEFORE:
            carried = np.uint64(0)
            for w in range(n_words):
                word = a[w]
                out[w] = (word << np.uint64(1)) | carried
                carried = word >> np.uint64(63)
        else:
            for w in range(n_words):
                out[w] = a[w]
            have = 1
            while have < steps[i, 3]:
                back = min(have, steps[i, 3] - have)
                jump, bits = back >> 6, np.uint64(back & 63)
                # From the newest word back: the older ones are still those of the shorter run.
                for w in range(n_words - 1, -1, -1):
                    shifted = np.uint64(0)
                    if w - jump >= 0:
                        shifted = out[w - jump] << bits
                        if bits > 0 and w - jump - 1 >= 0:
                            shifted |= out[w - jump - 1] >> (np.uint64(64) - bits)
                    out[w] &= shifted
                have += back


@njit(cache=True, nogil=True, error_model="numpy")
def close_steps(close: FloatArray) -> FloatArray:
    """(n_bars,) simple returns from close to close; the first bar has none, which is written as 0."""
    out = np.empty(len(close))
    out[0] = 0.0
    before, now, steps = close[:-1], close[1:], out[1:]
    for t in range(len(steps)):
        steps[t] = (now[t] - before[t]) / before[t]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def return_sums(close: FloatArray) -> FloatArray:
    """(2, n_bars) running sums of close-to-close returns and of their squares; the first bar has none."""
    out = np.zeros((2, len(close)))
    total = 0.0
    squares = 0.0
    for t in range(1, len(close)):
        step = (close[t] - close[t - 1]) / close[t - 1]
        total += step
        squares += step * step
        out[0, t] = total
        out[1, t] = squares
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def drawdown_table(close: FloatArray) -> FloatArray:
    """(levels, n_bars, 3) disjoint sparse table of highest, lowest and lowest-over-earlier-highest close.

    On level k, in blocks of 2^(k+1) bars: for a bar of the first half, of the bars from it to the middle; for one of
    the second half, of the bars from the middle to it. So any range is two entries of the level on which its ends
    differ first.
    """
    n = len(close)
    levels = 1
    while (1 << levels) < n:
        levels += 1
    out = np.empty((levels, n, 3))
    for level in range(levels):
        half = 1 << level
        for middle in range(half, n + half, 2 * half):
            high = 0.0
            low = math.inf
            worst = 1.0
            for t in range(min(middle, n) - 1, middle - half - 1, -1):
                worst = min(worst, low / close[t])
                high = max(high, close[t])
                low = min(low, close[t])
                out[level, t, 0] = high
                out[level, t, 1] = low
                out[level, t, 2] = worst
            high = 0.0
            low = math.inf
            worst = 1.0
            for t in range(middle, min(middle + half, n)):
                worst = min(worst, close[t] / high)
                high = max(high, close[t])
                low = min(low, close[t])
                out[level, t, 0] = high
                out[level, t, 1] = low
                out[level, t, 2] = worst
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _next_bit(words: Words, begin: int, end: int) -> int:
    """The first set bit of begin..end - 1, or end."""
    if begin >= end:
        return end
    # Unsigned, so that no place is taken for one counted from the end. What lies behind `end`, or nowhere, is cut off
    # last and not asked for first: nobody can foresee it, and a wrong guess of the processor costs more than the hop.
    w = np.uint64(begin) >> np.uint64(6)
    last = np.uint64(end - 1) >> np.uint64(6)
    word = words[w] & (~np.uint64(0) << np.uint64(begin & 63))
    while word == 0 and w < last:
        w += np.uint64(1)
        word = words[w]
    # 64 zeros trail a word without a bit.
    at = np.int64(w << np.uint64(6)) + np.int64(_trailing_zeros(word))
    return min(int(at), end)


@njit(cache=True, nogil=True, error_model="numpy")
def _bit(words: Words, at: int) -> bool:
    return bool((words[at >> 6] >> np.uint64(at & 63)) & np.uint64(1))


@njit(cache=True, nogil=True, error_model="numpy")
def simulate_t0(
    open_: FloatArray,
    close: FloatArray,
    sums: FloatArray,
    table: FloatArray,
    words: Words,
    whole: Table,
    chosen: IntArray,
    windows: Table,
    capital: float,
    adverse: float,
    commission: float,
    out: FloatArray,
    trade_whole: IntArray,
    trade_real: FloatArray,
) -> None:
    """The `chosen` candidates in every window, into out (n_candidates, n_windows, N_OUT).

    Trades are written instead of the sums and drawdowns if there is room for them (`trade_whole` is not empty), which
    makes sense for one candidate and one window; `sums` and `table` are not read then.
    """
    opens = np.empty(words.shape[1], np.uint64)
    record = trade_whole.shape[0] > 0
    better = 1.0 + adverse
    worse = 1.0 - adverse
    for candidate in chosen:
        enter = words[whole[candidate, ENTER_LONG]]
        leaves = words[whole[candidate, EXIT_LONG]]
        max_bars = whole[candidate, MAX_BARS]
        for w in range(len(opens)):
            opens[w] = enter[w] & ~leaves[w]
        for f in range(windows.shape[0]):
            start, stop = windows[f, 0], windows[f, 1]
            cash = capital
            peak = capital
            worst = 1.0
            total = 0.0
            squares = 0.0
            k = 0
            next_leave = -1
            decided = _next_bit(opens, start, stop - 1)
            while decided < stop - 1:
                entry = decided + 1
                # Unsigned, so that no place is taken for one counted from the end.
                at = np.uint64(entry)
                quoted = open_[at]
                outlay = cash
                fill = quoted * better
                units = outlay / (fill * (1.0 + commission))
                # The decision to leave; at stop - 1 there is no bar left to leave at.
                if next_leave < entry:
                    next_leave = _next_bit(leaves, entry, stop - 1)
                decided = next_leave
                reason = _SIGNAL
                if max_bars > 0 and entry + max_bars - 1 < decided:
                    decided = min(entry + max_bars - 1, stop - 1)
                    reason = _TIME
                last = np.uint64(decided)

                value = units * close[at]
                step = (value - outlay) / outlay
                if not record:
                    total += step + (sums[0, last] - sums[0, at])
                    squares += step * step + (sums[1, last] - sums[1, at])
                if decided == entry or record:
                    high = close[at]
                    low = high
                    inside = 1.0
                else:
                    level = np.uint64(63) - _leading_zeros(at ^ last)
                    high = max(table[level, at, 0], table[level, last, 0])
                    low = min(table[level, at, 1], table[level, last, 1])
                    inside = min(table[level, at, 2], table[level, last, 2])
                    inside = min(inside, table[level, last, 1] / table[level, at, 0])
                worst = min(worst, inside)
                if units * low < worst * peak:
                    worst = units * low / peak
                peak = max(peak, units * high)

                value = units * close[last]
                if decided == stop - 1:
                    if record:
                        notional = units * fill
                        cost = units * abs(fill - quoted) + notional * commission
                        _write(
                            trade_whole, trade_real, k, 1, entry, stop - 1, _OPEN, fill, close[last], units,
                            -outlay + value, cost,
                        )  # fmt: skip
                    k += 1
                    cash = value
                    break
                bar = decided + 1
                quoted_out = open_[np.uint64(bar)]
                fill_out = quoted_out * worse
                moved = units * fill_out * (1.0 - commission)
                cash = moved
                step = (cash - value) / value
                total += step
                squares += step * step
                if cash < worst * peak:
                    worst = cash / peak
                peak = max(peak, cash)
                if record:
                    cost = units * abs(fill - quoted) + units * fill * commission
                    cost += units * abs(fill_out - quoted_out) + units * fill_out * commission
                    _write(
                        trade_whole, trade_real, k, 1, entry, bar, reason, fill, fill_out, units, -outlay + moved, cost
                    )
                k += 1
                decided = _next_bit(opens, bar, stop - 1)
            out[candidate, f, FINAL_EQUITY] = cash
            out[candidate, f, N_TRADES] = k
            out[candidate, f, RETURN_SUM] = total
            out[candidate, f, RETURN_SQUARES] = squares
            out[candidate, f, WORST] = worst


@njit(cache=True, nogil=True, error_model="numpy")
def _share(kind: int, size: float, multiple: float, cap: float, number: float, close: float) -> float:
    """The share of the equity of an entry, NaN for none; `number` is that of the row that the size reads."""
    share = size
    if kind == OVER_ROW:
        share = size / number if number > 0.0 else math.nan
    elif kind == RISK_OVER_ROW:
        under = multiple * number
        share = size * close / under if under > 0.0 else math.nan
    # NaN compares false and stays.
    return cap if kind != FRACTION and share > cap else share


@njit(cache=True, nogil=True, error_model="numpy")
def _distance(kind: int, size: float, number: float, close: float) -> float:
    """How far a level is from the entry; 0 for a level that is not asked for, NaN for one that is not known."""
    if kind == NONE:
        return 0.0
    return size * (close if kind == SHARE else number)


@njit(cache=True, nogil=True, error_model="numpy")
def _write(
    whole: IntArray,
    real: FloatArray,
    k: int,
    side: int,
    entry_bar: int,
    exit_bar: int,
    reason: int,
    entry_price: float,
    exit_price: float,
    units: float,
    pnl: float,
    costs: float,
) -> None:
    whole[k, 0] = side
    whole[k, 1] = entry_bar
    whole[k, 2] = exit_bar
    whole[k, 3] = reason
    real[k, 0] = entry_price
    real[k, 1] = exit_price
    real[k, 2] = units
    real[k, 3] = pnl
    real[k, 4] = costs


@njit(cache=True, nogil=True, error_model="numpy")
def _follow(
    open_: FloatArray,
    low: FloatArray,
    close: FloatArray,
    highest: FloatArray,
    lowest: FloatArray,
    adverse: float,
    commission: float,
    entry: int,
    limit: int,
    fraction: float,
    stop_distance: float,
    trail_distance: float,
    target_distance: float,
    place: int,
    first: int,
    whole: Table,
    real: FloatArray,
    paths: FloatArray,
) -> None:
    """Keep a long trade from the open of bar `entry` to its protective exit, or to the close of bar `limit`.

    Row j of its path, that of an equity of 1, has the returns of its first j closes summed up and the last value.
    """
    whole[place, _ENTRY] = entry
    whole[place, _KNOWN] = len(close)
    whole[place, _HELD] = 0
    whole[place, _FIRST] = first
    real[place, _SHARE] = fraction
    if not fraction > 0.0:
        return
    fill = open_[entry] * (1.0 + adverse)
    under = fill * (1.0 + commission)
    units = fraction / under
    cash = 1.0 - fraction
    # A level that is not there is infinitely far away.
    stop_level = fill - stop_distance if stop_distance > 0.0 else -math.inf
    target_level = fill + target_distance if target_distance > 0.0 else math.inf
    trail = trail_distance if trail_distance > 0.0 else math.inf
    best = fill
    value = 1.0
    total = 0.0
    squares = 0.0
    high = 0.0
    low_value = math.inf
    inside = 1.0
    row = np.uint64(first)
    paths[row, _TOTAL] = total
    paths[row, _SQUARES] = squares
    paths[row, _HIGH] = high
    paths[row, _LOW] = low_value
    paths[row, _INSIDE] = inside
    paths[row, _VALUE] = value
    whole[place, _KNOWN] = limit
    real[place, _UNDER] = under
    real[place, _FILL_OUT] = math.nan
    for bar in range(entry, limit + 1):
        # Unsigned, so that no place is taken for one counted from the end.
        t = np.uint64(bar)
        level = max(best - trail, stop_level)
        if lowest[t] <= level or highest[t] >= target_level:
            quote = open_[t]
            if quote <= level:
                real[place, _FILL_OUT] = quote * (1.0 - adverse)
            elif quote >= target_level:
                real[place, _FILL_OUT] = quote
            elif low[t] <= level:
                real[place, _FILL_OUT] = level * (1.0 - adverse)
            else:
                real[place, _FILL_OUT] = target_level
            whole[place, _KNOWN] = len(close)
            break
        last = close[t]
        best = max(best, last)
        before = value
        value = cash + units * last
        step = (value - before) / before
        total += step
        squares += step * step
        high = max(high, value)
        low_value = min(low_value, value)
        inside = min(inside, value / high)
        row += np.uint64(1)
        paths[row, _TOTAL] = total
        paths[row, _SQUARES] = squares
        paths[row, _HIGH] = high
        paths[row, _LOW] = low_value
        paths[row, _INSIDE] = inside
        paths[row, _VALUE] = value
    whole[place, _HELD] = row - np.uint64(first)


@njit(cache=True, nogil=True, error_model="numpy")
def _same_terms(whole: Table, real: FloatArray, one: int, other: int) -> bool:
    """Whether two candidates have one size and one protection."""
    same = True
    for column in range(SIZE_KIND, MAX_BARS):
        same &= whole[one, column] == whole[other, column]
    for column in range(N_REAL):
        same &= real[one, column] == real[other, column]
    return same


@njit(cache=True, nogil=True, error_model="numpy")
def simulate_t1_long(
    open_: FloatArray,
    low: FloatArray,
    close: FloatArray,
    highest: FloatArray,
    lowest: FloatArray,
    rows: FloatArray,
    words: Words,
    whole: Table,
    real: FloatArray,
    chosen: IntArray,
    windows: Table,
    capital: float,
    adverse: float,
    commission: float,
    out: FloatArray,
) -> None:
    """As `simulate_t1`, for candidates that are never short and own at most what they have paid for.

    What becomes of such a trade depends on its entry, its size and its protection, and not on who opened it. So it is
    followed once, kept, and looked up by all neighbours in `chosen` that have the same size and protection.
    """
    n_words = words.shape[1]
    opens = np.empty(n_words, np.uint64)
    # A place is right if the trade that is kept there says so, hence nothing is ever cleared.
    place_of = np.zeros(len(close), np.uint32)
    kept_whole = np.empty((_KEPT_TRADES, 4), np.int64)
    kept_real = np.empty((_KEPT_TRADES, 3))
    paths = np.empty((max(_KEPT_BARS, len(close) + 1), 6))
    begin = 0
    while begin < len(chosen):
        end = begin + 1
        while end < len(chosen) and _same_terms(whole, real, chosen[begin], chosen[end]):
            end += 1
        n_kept = 0
        n_rows = 0
        first = chosen[begin]
        size_kind, size_row = whole[first, SIZE_KIND], whole[first, SIZE_ROW]
        size, multiple, cap = real[first, SIZE], real[first, SIZE_MULTIPLE], real[first, SIZE_CAP]
        stop_kind, stop_row, to_stop = whole[first, STOP_KIND], whole[first, STOP_ROW], real[first, STOP]
        trail_kind, trail_row, to_trail = whole[first, TRAIL_KIND], whole[first, TRAIL_ROW], real[first, TRAIL]
        target_kind, target_row, to_target = whole[first, TARGET_KIND], whole[first, TARGET_ROW], real[first, TARGET]
        for f in range(windows.shape[0]):
            start, stop = windows[f, 0], windows[f, 1]
            for candidate in chosen[begin:end]:
                enter = words[whole[candidate, ENTER_LONG]]
                leaves = words[whole[candidate, EXIT_LONG]]
                for w in range(start >> 6, (stop + 63) >> 6):
                    opens[w] = enter[w] & ~leaves[w]
                max_bars = whole[candidate, MAX_BARS]
                cash = capital
                peak = capital
                worst = 1.0
                total = 0.0
                squares = 0.0
                k = 0
                next_leave = -1
                t = _next_bit(opens, start, stop - 1) + 1
                while t < stop:
                    # What was found for an earlier trade still holds if it lies ahead.
                    if next_leave < t:
                        next_leave = _next_bit(leaves, t, stop - 1)
                    until = next_leave
                    if max_bars > 0:
                        until = min(until, t + max_bars - 1)
                    place = np.uint64(place_of[np.uint64(t)])
                    known = place < np.uint64(n_kept) and kept_whole[place, _ENTRY] == t
                    if not known or kept_whole[place, _KNOWN] < until:
                        limit = until
                        if known:
                            # Twice as far as before, so that a trade is not followed once for every exit.
                            limit = max(until, min(2 * kept_whole[place, _KNOWN] - t, len(close) - 1))
                        if n_kept == _KEPT_TRADES or n_rows + limit - t + 2 > len(paths):
                            n_kept = 0
                            n_rows = 0
                        place = np.uint64(n_kept)
                        place_of[t] = place
                        d = np.uint64(t - 1)
                        share = _share(size_kind, size, multiple, cap, rows[size_row, d], close[d])
                        stop_distance = _distance(stop_kind, to_stop, rows[stop_row, d], close[d])
                        trail_distance = _distance(trail_kind, to_trail, rows[trail_row, d], close[d])
                        target_distance = _distance(target_kind, to_target, rows[target_row, d], close[d])
                        if math.isnan(stop_distance + trail_distance + target_distance):
                            share = math.nan
                        _follow(
                            open_, low, close, highest, lowest, adverse, commission, t, limit,
                            share, stop_distance, trail_distance, target_distance,
                            n_kept, n_rows, kept_whole, kept_real, paths,
                        )  # fmt: skip
                        n_rows += kept_whole[place, _HELD] + 1
                        n_kept += 1
                    fraction = kept_real[place, _SHARE]
                    if not fraction > 0.0:
                        t = _next_bit(opens, t, stop - 1) + 1
                        continue
                    bar = t + kept_whole[place, _HELD]
                    fill = kept_real[place, _FILL_OUT]
                    # The last decision at stop - 1 finds no bar left to act on.
                    fill_after = open_[np.uint64(min(until + 1, stop - 1))] * (1.0 - adverse)
                    cut = bar > until
                    bar = until + 1 if cut else bar
                    fill = fill_after if cut else fill

                    before = cash
                    outlay = fraction * cash
                    amount = outlay / kept_real[place, _UNDER]
                    cash += -outlay
                    row = np.uint64(kept_whole[place, _FIRST] + bar - t)
                    total += paths[row, _TOTAL]
                    squares += paths[row, _SQUARES]
                    worst = min(worst, before * paths[row, _LOW] / peak)
                    worst = min(worst, paths[row, _INSIDE])
                    peak = max(peak, before * paths[row, _HIGH])
                    k += 1
                    if bar == stop:
                        cash += amount * close[stop - 1]
                        break
                    notional = amount * fill
                    moved = notional * (1.0 - commission)
                    cash += moved
                    if cash <= 0.0:
                        cash = 0.0
                        worst = 0.0
                        total -= 1.0
                        squares += 1.0
                        break
                    value = before * paths[row, _VALUE]
                    step = (cash - value) / value
                    total += step
                    squares += step * step
                    worst = min(worst, cash / peak)
                    peak = max(peak, cash)
                    t = _next_bit(opens, bar, stop - 1) + 1
                out[candidate, f, FINAL_EQUITY] = cash
                out[candidate, f, N_TRADES] = k
                out[candidate, f, RETURN_SUM] = total
                out[candidate, f, RETURN_SQUARES] = squares
                out[candidate, f, WORST] = worst
        begin = end


@njit(cache=True, nogil=True, error_model="numpy")
def simulate_t1(
    open_: FloatArray,
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    highest: FloatArray,
    lowest: FloatArray,
    rows: FloatArray,
    words: Words,
    whole: Table,
    real: FloatArray,
    chosen: IntArray,
    windows: Table,
    capital: float,
    adverse: float,
    commission: float,
    borrow_rate: float,
    financing_rate: float,
    out: FloatArray,
    trade_whole: IntArray,
    trade_real: FloatArray,
) -> None:
    """As `simulate_t0`, for every size, side and protective exit; highest and lowest include the open."""
    n_words = words.shape[1]
    open_long = np.empty(n_words, np.uint64)
    open_short = np.empty(n_words, np.uint64)
    opens = np.empty(n_words, np.uint64)
    leave_long = np.empty(n_words, np.uint64)
    leave_short = np.empty(n_words, np.uint64)
    record = trade_whole.shape[0] > 0
    for candidate in chosen:
        enter_l = words[whole[candidate, ENTER_LONG]]
        exit_l = words[whole[candidate, EXIT_LONG]]
        enter_s = words[whole[candidate, ENTER_SHORT]]
        exit_s = words[whole[candidate, EXIT_SHORT]]
        for w in range(n_words):
            wants_long = enter_l[w] & ~enter_s[w]
            wants_short = enter_s[w] & ~enter_l[w]
            open_long[w] = wants_long & ~exit_l[w]
            open_short[w] = wants_short & ~exit_s[w]
            opens[w] = open_long[w] | open_short[w]
            leave_long[w] = exit_l[w] | wants_short
            leave_short[w] = exit_s[w] | wants_long
        max_bars = whole[candidate, MAX_BARS]
        size_kind, size_row = whole[candidate, SIZE_KIND], whole[candidate, SIZE_ROW]
        size, multiple, cap = real[candidate, SIZE], real[candidate, SIZE_MULTIPLE], real[candidate, SIZE_CAP]
        stop_kind, stop_row, to_stop = whole[candidate, STOP_KIND], whole[candidate, STOP_ROW], real[candidate, STOP]
        trail_kind, trail_row = whole[candidate, TRAIL_KIND], whole[candidate, TRAIL_ROW]
        target_kind, target_row = whole[candidate, TARGET_KIND], whole[candidate, TARGET_ROW]
        to_trail, to_target = real[candidate, TRAIL], real[candidate, TARGET]
        for f in range(windows.shape[0]):
            start, stop = windows[f, 0], windows[f, 1]
            cash = capital
            equity = capital
            peak = capital
            worst = 1.0
            floor = capital
            total = 0.0
            squares = 0.0
            k = 0
            units = 0.0
            held = 0
            entry_bar = 0
            entry_price = 0.0
            flow = 0.0
            trade_costs = 0.0
            best = 0.0
            stop_level = math.nan
            trail = math.nan
            target_level = math.nan
            last = math.nan
            leave_at = 0
            next_leave_long = -1
            next_leave_short = -1
            leave_reason = _SIGNAL
            at_risk = False
            ruined = False
            t = _next_bit(opens, start, stop - 1) + 1
            while t < stop:
                d = t - 1
                side = 0
                if held != 0:
                    if at_risk and cash + units * open_[t] <= 0.0:
                        if record:
                            _write(
                                trade_whole, trade_real, k, held, entry_bar, t, _BANKRUPT, entry_price, open_[t],
                                abs(units), flow - cash, trade_costs,
                            )  # fmt: skip
                        k += 1
                        ruined = True
                        break
                    if d >= leave_at:
                        quoted = open_[t]
                        fill = quoted * (1.0 - held * adverse)
                        amount = abs(units)
                        notional = amount * fill
                        moved = notional * (1.0 - commission) if held > 0 else -(notional * (1.0 + commission))
                        cash += moved
                        if record:
                            cost = amount * abs(fill - quoted) + notional * commission
                            pnl = flow + moved
                            if cash <= 0.0:
                                pnl -= cash
                            _write(
                                trade_whole, trade_real, k, held, entry_bar, t, leave_reason, entry_price, fill,
                                amount, pnl, trade_costs + cost,
                            )  # fmt: skip
                        k += 1
                        if held > 0:
                            if _bit(open_short, d):
                                side = -1
                        elif _bit(open_long, d):
                            side = 1
                        units = 0.0
                        held = 0
                        if cash <= 0.0:
                            ruined = True
                            break
                elif _bit(open_long, d):
                    side = 1
                else:
                    side = -1

                if side != 0:
                    fraction = _share(size_kind, size, multiple, cap, rows[size_row, d], close[d])
                    stop_distance = _distance(stop_kind, to_stop, rows[stop_row, d], close[d])
                    trail_distance = _distance(trail_kind, to_trail, rows[trail_row, d], close[d])
                    target_distance = _distance(target_kind, to_target, rows[target_row, d], close[d])
                    if math.isnan(stop_distance + trail_distance + target_distance):
                        fraction = math.nan
                    if fraction > 0.0 and fraction < math.inf:
                        quoted = open_[t]
                        outlay = fraction * cash
                        fill = quoted * (1.0 + side * adverse)
                        amount = outlay / (fill * (1.0 + commission))
                        notional = amount * fill
                        moved = -outlay if side > 0 else notional * (1.0 - commission)
                        cash += moved
                        flow = moved
                        trade_costs = amount * abs(fill - quoted) + notional * commission
                        units = side * amount
                        held = side
                        entry_bar = t
                        entry_price = fill
                        best = fill
                        # A level that is not there is infinitely far away.
                        stop_level = fill - side * stop_distance if stop_distance > 0.0 else -side * math.inf
                        target_level = fill + side * target_distance if target_distance > 0.0 else side * math.inf
                        trail = trail_distance if trail_distance > 0.0 else math.inf
                        # An owner of no more than he has paid for owes nothing and cannot be ruined.
                        at_risk = side < 0 or cash < 0.0
                        # What was found for an earlier trade still holds if it lies ahead.
                        if side > 0:
                            if next_leave_long < t:
                                next_leave_long = _next_bit(leave_long, t, stop)
                            leave_at = next_leave_long
                        else:
                            if next_leave_short < t:
                                next_leave_short = _next_bit(leave_short, t, stop)
                            leave_at = next_leave_short
                        leave_reason = _SIGNAL
                        if max_bars > 0 and t + max_bars - 1 < leave_at:
                            leave_at = t + max_bars - 1
                            leave_reason = _TIME

                if held != 0:
                    reason = -1
                    quote = 0.0
                    fill = 0.0
                    if held > 0:
                        trailing = best - trail
                        cause = _STOP
                        level = stop_level
                        if trailing > stop_level:
                            cause = _TRAIL
                            level = trailing
                        # Most bars touch nothing: two comparisons instead of four.
                        if lowest[t] <= level or highest[t] >= target_level:
                            quote = open_[t]
                            fill = quote
                            if quote <= level:
                                reason, fill = cause, quote * (1.0 - adverse)
                            elif quote >= target_level:
                                reason = _TARGET
                            elif low[t] <= level:
                                reason, quote, fill = cause, level, level * (1.0 - adverse)
                            else:
                                reason, quote, fill = _TARGET, target_level, target_level
                    else:
                        trailing = best + trail
                        cause = _STOP
                        level = stop_level
                        if trailing < stop_level:
                            cause = _TRAIL
                            level = trailing
                        if highest[t] >= level or lowest[t] <= target_level:
                            quote = open_[t]
                            fill = quote
                            if quote >= level:
                                reason, fill = cause, quote * (1.0 + adverse)
                            elif quote <= target_level:
                                reason = _TARGET
                            elif high[t] >= level:
                                reason, quote, fill = cause, level, level * (1.0 + adverse)
                            else:
                                reason, quote, fill = _TARGET, target_level, target_level
                    if reason >= 0:
                        amount = abs(units)
                        notional = amount * fill
                        moved = notional * (1.0 - commission) if held > 0 else -(notional * (1.0 + commission))
                        cash += moved
                        if record:
                            cost = amount * abs(fill - quote) + notional * commission
                            pnl = flow + moved
                            if cash <= 0.0:
                                pnl -= cash
                            _write(
                                trade_whole, trade_real, k, held, entry_bar, t, reason, entry_price, fill, amount,
                                pnl, trade_costs + cost,
                            )  # fmt: skip
                        k += 1
                        units = 0.0
                        held = 0
                        if cash <= 0.0:
                            ruined = True
                            break

                last = close[t]
                marked = cash
                if held != 0:
                    if not at_risk:
                        best = max(best, last)
                        marked = cash + units * last
                    else:
                        if held > 0:
                            best = max(best, last)
                        else:
                            best = min(best, last)
                            cost = borrow_rate * (-units * last)
                            cash -= cost
                            flow -= cost
                            trade_costs += cost
                        if cash < 0.0:
                            cost = financing_rate * -cash
                            cash -= cost
                            flow -= cost
                            trade_costs += cost
                        marked = cash + units * last
                        if marked <= 0.0:
                            if record:
                                _write(
                                    trade_whole, trade_real, k, held, entry_bar, t, _BANKRUPT, entry_price, last,
                                    abs(units), flow - cash, trade_costs,
                                )  # fmt: skip
                            k += 1
                            ruined = True
                            break
                step = (marked - equity) / equity
                total += step
                squares += step * step
                equity = marked
                if marked > peak:
                    peak = marked
                    floor = peak * worst
                elif marked < floor:
                    worst = marked / peak
                    floor = marked
                if held == 0:
                    t = _next_bit(opens, t, stop - 1) + 1
                    continue
                t += 1
                if held < 0 or at_risk:
                    continue
                # The same steps on the bars at which nothing can happen but a level that is touched.
                quiet = min(stop, leave_at + 1)
                # Unsigned, so that no place is taken for one counted from the end.
                for place in range(t, quiet):
                    at = np.uint64(place)
                    level = best - trail
                    if not level > stop_level:
                        level = stop_level
                    if lowest[at] <= level or highest[at] >= target_level:
                        break
                    last = close[at]
                    best = max(best, last)
                    marked = cash + units * last
                    step = (marked - equity) / equity
                    total += step
                    squares += step * step
                    equity = marked
                    if marked > peak:
                        peak = marked
                        floor = peak * worst
                    elif marked < floor:
                        worst = marked / peak
                        floor = marked
                    t += 1
            if ruined:
                equity = 0.0
                worst = 0.0
                total -= 1.0
                squares += 1.0
            elif held != 0:
                if record:
                    _write(
                        trade_whole, trade_real, k, held, entry_bar, stop - 1, _OPEN, entry_price, last, abs(units),
                        flow + units * last, trade_costs,
                    )  # fmt: skip
                k += 1
            out[candidate, f, FINAL_EQUITY] = equity
            out[candidate, f, N_TRADES] = k
            out[candidate, f, RETURN_SUM] = total
            out[candidate, f, RETURN_SQUARES] = squares
            out[candidate, f, WORST] = worst


@njit(cache=True, nogil=True, error_model="numpy")
def simulate_t0_each(
    rows: FloatArray,
    open_row: int,
    close_row: int,
    n_bars: int,
    words: Words,
    whole: Table,
    chosen: IntArray,
    assets: IntArray,
    windows: Table,
    capital: float,
    adverse: float,
    commission: float,
    out: FloatArray,
) -> None:
    """`simulate_t0` on several assets, into out (n_assets, n_candidates, n_windows, N_OUT).

    rows: (n_assets, n_rows, >= n_bars), read-only, the prices among them; words: (n_assets, n_rows, n_words).
    """
    no_trades, no_numbers = np.empty((0, 4), np.int64), np.empty((0, 5))
    for asset in assets:
        close = rows[asset, close_row, :n_bars]
        simulate_t0(
            rows[asset, open_row], close, return_sums(close), drawdown_table(close), words[asset],
            whole, chosen, windows, capital, adverse, commission, out[asset], no_trades, no_numbers,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prices:
    """One asset as the kernels read it: (n_bars,) contiguous, every bar traded; what follows is made when asked for."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray

    @cached_property
    def highest(self) -> FloatArray:
        """Of open and high."""
        return np.maximum(self.open, self.high)

    @cached_property
    def lowest(self) -> FloatArray:
        """Of open and low."""
        return np.minimum(self.open, self.low)

    @cached_property
    def steps(self) -> FloatArray:
        """Of `close_steps`."""
        steps = close_steps(self.close)
        steps.setflags(write=False)
        return steps

    @cached_property
    def sums(self) -> FloatArray:
        """Of `return_sums`."""
        return return_sums(self.close)

    @cached_property
    def table(self) -> FloatArray:
        """Of `drawdown_table`."""
        return drawdown_table(self.close)

    @property
    def n_bytes(self) -> int:
        return sum(values.nbytes for values in self.__dict__.values())


def prices_of(open_: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray) -> Prices:
    """The four (n_bars,) series, read-only, without copies where they are contiguous."""
    columns = [np.ascontiguousarray(values, dtype=np.float64).view() for values in (open_, high, low, close)]
    for column in columns:
        # Always, so that numba sees one type and compiles once.
        column.setflags(write=False)
    return Prices(*columns)


@dataclass(frozen=True)
class Rates:
    """The costs of one run as the kernels read them: fractions a side, and a bar."""

    capital: float
    adverse: float
    commission: float
    borrow: float
    financing: float


def simulator_of(whole: Table, real: FloatArray, *, never: int) -> IntArray:
    """(n_candidates,) the simplest simulator for each: T0, T1_LONG or T1.

    `never` is the row of a condition that never holds.
    """
    protected = (whole[:, STOP_KIND] != NONE) | (whole[:, TRAIL_KIND] != NONE) | (whole[:, TARGET_KIND] != NONE)
    fixed = whole[:, SIZE_KIND] == FRACTION
    long_only = (whole[:, ENTER_SHORT] == never) & (whole[:, EXIT_SHORT] == never)
    paid = np.where(fixed, real[:, SIZE], real[:, SIZE_CAP]) <= 1.0
    all_in = fixed & (real[:, SIZE] == 1.0) & ~protected
    return np.where(long_only & all_in, T0, np.where(long_only & paid, T1_LONG, T1))


def alike(whole: Table, real: FloatArray) -> IntArray:
    """An order of candidates in which those with one size and one protection stand together, without exits first.

    Then a trade is followed to its protective exit before anybody asks for less of it.
    """
    terms = np.hstack((whole[:, SIZE_KIND:MAX_BARS], real.view(np.int64)))
    width = terms.shape[1] * terms.itemsize
    text = terms.tobytes()
    places: dict[bytes, int] = {}
    groups = [places.setdefault(text[at : at + width], len(places)) for at in range(0, len(text), width)]
    return np.lexsort((whole[:, EXIT_LONG] != 0, groups))


def compare(rows: FloatArray, known: Words, pairs: Table, words: Words, *, threads: int) -> None:
    """`compare_rows` on several threads where it pays; every pair writes rows of its own."""
    n_threads = threads if len(pairs) * rows.shape[1] * _NS_COMPARE * 1e-6 > SERIAL_BELOW_MS else 1
    size = -(-len(pairs) // (n_threads * 8)) if n_threads > 1 else len(pairs)
    _in_threads(lambda block: compare_rows(rows, known, block, words), _blocks(pairs, size), n_threads)


def _blocks(rows: IntArray, size: int) -> list[IntArray]:
    return [rows[at : at + size] for at in range(0, len(rows), max(size, 1))]


def _in_threads(function: Callable[[Any], None], blocks: list[Any], threads: int) -> None:
    if threads == 1 or len(blocks) < 2:
        for block in blocks:
            function(block)
        return
    with ThreadPoolExecutor(threads) as pool:
        # The list makes an exception of a block one of this call.
        list(pool.map(function, blocks))


def sweep(
    prices: Prices,
    rows: FloatArray,
    words: Words,
    whole: Table,
    real: FloatArray,
    windows: Table,
    rates: Rates,
    *,
    never: int,
    threads: int,
) -> FloatArray:
    """Simulate every candidate in every window, flat at its start.

    Args:
        rows: (n_rows, >= n_bars) numbers; at least one row.
        words: (n_rows, n_words) conditions; row `never` is empty.
        whole, real: (n_candidates, N_WHOLE), (n_candidates, N_REAL); the columns are named at the top of the file.
        windows: (n_windows, 2) start and stop, 0 <= start < stop <= n_bars.
        threads: at most this many; 1 if the work is too small for more.

    Returns:
        (n_candidates, n_windows, N_OUT): final equity, trades, sum and sum of squares of the returns a bar, and the
        lowest equity over its earlier peak. The same bytes for any number of threads.
    """
    out = np.empty((len(whole), len(windows), N_OUT))
    simulator = simulator_of(whole, real, never=never)
    if len(prices.close) > MAX_TABLE_BARS:
        simulator = np.maximum(simulator, T1_LONG)
    # Made here once, and not by every thread.
    if (simulator == T0).any():
        _ = prices.sums, prices.table
    if (simulator > T0).any():
        _ = prices.highest, prices.lowest
    bars = float((windows[:, 1] - windows[:, 0]).sum())
    work_ms = bars * float(np.array(_NS_A_BAR)[simulator].sum()) * 1e-6
    threads = threads if work_ms > SERIAL_BELOW_MS else 1
    jobs: list[tuple[int, IntArray]] = []
    for kind in (T1, T1_LONG, T0):
        chosen = np.flatnonzero(simulator == kind)
        if kind == T1_LONG:
            chosen = chosen[alike(whole[chosen], real[chosen])]
        # Several blocks a thread, so that a slow block or a busy core does not keep the others waiting.
        size = len(chosen) if threads == 1 else max(MIN_BLOCK, -(-len(chosen) // (threads * 8)))
        jobs.extend((kind, block) for block in _blocks(chosen, size))
    no_trades, no_numbers = np.empty((0, 4), np.int64), np.empty((0, 5))

    def run(job: tuple[int, IntArray]) -> None:
        kind, chosen = job
        simulate_block(prices, rows, words, whole, real, chosen, windows, rates, kind, out, no_trades, no_numbers)

    _in_threads(run, jobs, threads)
    return out


def simulate_block(
    prices: Prices,
    rows: FloatArray,
    words: Words,
    whole: Table,
    real: FloatArray,
    chosen: IntArray,
    windows: Table,
    rates: Rates,
    simulator: int,
    out: FloatArray,
    trade_whole: IntArray,
    trade_real: FloatArray,
) -> None:
    """The chosen candidates by a simulator that can; the one place that calls the kernels."""
    if simulator == T0:
        sums, table = (_NO_SUMS, _NO_TABLE) if len(trade_whole) else (prices.sums, prices.table)
        simulate_t0(
            prices.open, prices.close, sums, table, words, whole, chosen, windows,
            rates.capital, rates.adverse, rates.commission, out, trade_whole, trade_real,
        )  # fmt: skip
        return
    if simulator == T1_LONG and not len(trade_whole):
        simulate_t1_long(
            prices.open, prices.low, prices.close, prices.highest, prices.lowest, rows, words, whole, real, chosen,
            windows, rates.capital, rates.adverse, rates.commission, out,
        )  # fmt: skip
        return
    simulate_t1(
        prices.open, prices.high, prices.low, prices.close, prices.highest, prices.lowest,
        rows, words, whole, real, chosen, windows,
        rates.capital, rates.adverse, rates.commission, rates.borrow, rates.financing, out, trade_whole, trade_real,
    )  # fmt: skip


def warm() -> int:
    """Compile every kernel of this file, or load it from numba's cache; how many there are.

    Takes some seconds the first time on a machine and a fraction of one afterwards.
    """
    close = np.linspace(1.0, 2.0, 64)
    prices = prices_of(close, close, close, close)
    rows, words = np.zeros((1, 64)), np.zeros((4, 1), np.uint64)
    put_row(prices.close, rows[0], words[1])
    compare_rows(rows, words, np.array([[0, 0, 2, 3]], np.int64), words)
    compare_columns(prices.close, prices.close, words[2], words[3])
    combine_words(words, np.zeros((1, 4), np.int64))
    whole, real = np.zeros((3, N_WHOLE), np.int64), np.ones((3, N_REAL))
    real[:, SIZE] = 1.0, 0.5, 2.0
    windows = np.array([[0, 64]], np.int64)
    sweep(prices, rows, words, whole, real, windows, Rates(1.0, 0.0, 0.0, 0.0, 0.0), never=0, threads=1)
    _ = prices.steps
    one, out = np.zeros(1, np.int64), np.empty((1, 1, 1, N_OUT))
    simulate_t0_each(prices.close[None, None], 0, 0, 64, words[None], whole, one, one, windows, 1.0, 0.0, 0.0, out)
    return len(KERNELS)


KERNELS: tuple[Any, ...] = (
    put_row, compare_rows, compare_columns, combine_words, close_steps, return_sums, drawdown_table,
    simulate_t0, simulate_t0_each, simulate_t1_long, simulate_t1,
)  # fmt: skip
