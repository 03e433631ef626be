"""Accounts: the kernels for many candidates on many assets, an account for each pair: rows in, curves out.

A curve is the equity of an account at every close. `sweep` stores none; here the curves of one candidate are added up
over the assets, so that what is kept is one curve a candidate and not one an account: what is held bar by bar, and of
T0, whose cash is all or nothing, cash as its steps, which whoever adds up all assets sums up once. The curves are the
engine's to rounding; sums run in the order of the assets.

Nothing is checked here. The kernels hold no state and release the GIL.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numba.cpython.unsafe.numbers import trailing_zeros

from backtesting.bars import FloatArray, IntArray
from backtesting.sweep import Table, Words

# numba's own intrinsic, which the type checker knows nothing of.
_trailing_zeros: Any = trailing_zeros

# Columns and codes of `sweep` and places in `result.REASONS`, written out because numba's cache does not notice a
# change in another file.
_ENTER_LONG, _EXIT_LONG, _MAX_BARS = 0, 1, 12
_OPEN, _BANKRUPT = 6, 7


@njit(cache=True, nogil=True, error_model="numpy")
def put_columns(values: FloatArray, rows: FloatArray, known: Words, at: int) -> None:
    """Column k of (n_bars, n_assets) numbers into row `at` of asset k: (n_assets, n_rows, n_words * 64) and its bits.

    NaN behind the last bar; known is (n_assets, n_rows, n_words): the bars that are not NaN.
    """
    n_bars, n_assets = values.shape
    n_words = known.shape[2]
    for w in range(n_words):
        first = 64 * w
        size = min(64, n_bars - first)
        for k in range(n_assets):
            row = rows[k, at, first : first + 64]
            for b in range(size):
                row[b] = values[first + b, k]
            for b in range(size, 64):
                row[b] = math.nan
            word = np.uint64(0)
            for b in range(64):
                word |= np.uint64(row[b] == row[b]) << np.uint64(b)
            known[k, at, w] = word


@njit(cache=True, nogil=True, error_model="numpy")
def _next_bit(words: Words, begin: int, end: int) -> int:
    """`sweep._next_bit`, once more: numba's cache would not notice a change over there."""
    if begin >= end:
        return end
    w = np.uint64(begin) >> np.uint64(6)
    last = np.uint64(end - 1) >> np.uint64(6)
    word = words[w] & (~np.uint64(0) << np.uint64(begin & 63))
    while word == 0 and w < last:
        w += np.uint64(1)
        word = words[w]
    at = np.int64(w << np.uint64(6)) + np.int64(_trailing_zeros(word))
    return min(int(at), end)


@njit(cache=True, nogil=True, error_model="numpy")
def add_held(
    rows: FloatArray,
    open_row: int,
    close_row: int,
    words: Words,
    whole: Table,
    chosen: IntArray,
    assets: IntArray,
    start: int,
    stop: int,
    capital: float,
    adverse: float,
    commission: float,
    held: FloatArray,
    cash_steps: FloatArray,
) -> None:
    """Add the equity of the `chosen` candidates of T0 on some assets: what they hold to their rows of `held`, and by
    how much their cash changes at a bar to those of `cash_steps`, both (n_candidates, n_bars of the window). The
    arithmetic of a trade is that of `sweep.simulate_t0`.

    rows: (n_assets, n_rows, >= n_bars), the prices among them; words: (n_assets, n_rows, n_words). One candidate on all
    assets before the next, so that its curve stays in the nearest cache.
    """
    opens = np.empty(words.shape[2], np.uint64)
    better = 1.0 + adverse
    worse = 1.0 - adverse
    for candidate in chosen:
        curve = held[candidate]
        steps = cash_steps[candidate]
        max_bars = whole[candidate, _MAX_BARS]
        for asset in assets:
            enter = words[asset, whole[candidate, _ENTER_LONG]]
            leaves = words[asset, whole[candidate, _EXIT_LONG]]
            opened = rows[asset, open_row]
            closed = rows[asset, close_row]
            for w in range(len(opens)):
                opens[w] = enter[w] & ~leaves[w]
            cash = capital
            steps[0] += cash
            decided = _next_bit(opens, start, stop - 1)
            while decided < stop - 1:
                entry = decided + 1
                # Unsigned, so that no place is taken for one counted from the end.
                steps[np.uint64(entry - start)] -= cash
                units = cash / (opened[np.uint64(entry)] * better * (1.0 + commission))
                last = _next_bit(leaves, entry, stop - 1)
                if max_bars > 0:
                    last = min(last, entry + max_bars - 1)
                n_held = last + 1 - entry
                # So many bars that none is left over when several are added with one instruction, for which they have
                # to be slices too; those behind the last one are of no units.
                n_added = min((n_held + 15) & ~15, stop - entry)
                inside = curve[entry - start : entry - start + n_added]
                marks = closed[entry : entry + n_added]
                for t in range(n_added):
                    inside[t] += (units if t < n_held else 0.0) * marks[t]
                leave = last + 1
                if leave == stop:
                    break
                cash = units * (opened[np.uint64(leave)] * worse) * (1.0 - commission)
                steps[np.uint64(leave - start)] += cash
                decided = _next_bit(opens, leave, stop - 1)


@njit(cache=True, nogil=True, error_model="numpy")
def add_traded(
    close: FloatArray,
    trade_whole: IntArray,
    trade_real: FloatArray,
    n_trades: int,
    start: int,
    stop: int,
    capital: float,
    commission: float,
    borrow_rate: float,
    financing_rate: float,
    curve: FloatArray,
) -> None:
    """Add the equity that follows from the trades of one candidate, as `sweep` writes them, to a curve."""
    cash = capital
    at = start
    for k in range(n_trades):
        side, entry, leave, reason = trade_whole[k, 0], trade_whole[k, 1], trade_whole[k, 2], trade_whole[k, 3]
        for t in range(at, entry):
            curve[t - start] += cash
        units = side * trade_real[k, 2]
        notional = trade_real[k, 2] * trade_real[k, 0]
        inside = cash - notional * (1.0 + commission) if side > 0 else cash + notional * (1.0 - commission)
        # The bar of an exit belongs to what follows.
        end = stop if reason == _OPEN else leave
        for t in range(entry, end):
            if units < 0.0:
                inside -= borrow_rate * (-units * close[t])
            if inside < 0.0:
                inside -= financing_rate * -inside
            curve[t - start] += inside + units * close[t]
        cash += trade_real[k, 3]
        at = end
        if reason == _BANKRUPT:
            return
    for t in range(at, stop):
        curve[t - start] += cash
