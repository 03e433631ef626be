"""Kernels of portfolios: who is held of the names of one bar, and how much of each.

A row is one bar that decides. Ties of the score go to the name that stands first, and the sums that weights are
divided by run from the best name to the worst. What is chosen follows from the row alone.
"""

import math

import numpy as np

from agents.strategy.kernels import NAN
from backtesting.bars import BoolArray, FloatArray, IntArray
from backtesting.kernel import Kernel

LONG, SHORT, BOTH = 1, -1, 0
EQUAL, BY_SCORE, INVERSE = range(3)


def _largest(values: FloatArray, n: int, count: int) -> float:
    """The count-th largest of the first n values, which are moved about (quickselect; 1 <= count <= n)."""
    low = 0
    high = n
    while high - low > 8:
        a, b, c = values[low], values[(low + high) // 2], values[high - 1]
        pivot = max(min(a, b), min(max(a, b), c))
        # Without a branch that nobody can foresee: each value is swapped to the border, which moves or not.
        border = low
        equal = 0
        for i in range(low, high):
            value = values[i]
            values[i] = values[border]
            values[border] = value
            border += int(value > pivot)
            equal += int(value == pivot)
        above = border - low
        if count <= above:
            high = border
            continue
        if count <= above + equal:
            return float(pivot)
        low = border
        count -= above + equal
        for i in range(border, high):
            value = values[i]
            values[i] = values[low]
            values[low] = value
            low += int(value == pivot)
    for i in range(low + 1, high):
        value = values[i]
        at = i
        while at > low and values[at - 1] < value:
            values[at] = values[at - 1]
            at -= 1
        values[at] = value
    found: float = values[low + count - 1]
    return found


def _best(keys: FloatArray, n: int, count: int, guess: float, work: FloatArray, chosen: IntArray) -> float:
    """The places of the `count` largest of n keys, in their order, of equal ones the first; returns the least of them.

    `guess` is where that may lie, any number; a good one, like that of the row before, spares most of the search.
    """
    m = 0
    for i in range(n):
        work[m] = keys[i]
        m += int(keys[i] > guess)
    if m < count:
        for i in range(n):
            work[i] = keys[i]
        m = n
    least = _largest(work, m, count)
    above = 0
    equal = 0
    for i in range(n):
        above += int(keys[i] > least)
        equal += int(keys[i] == least)
    # Written at every place and kept where it counts: no branch that nobody can foresee.
    at = 0
    if above + equal == count:
        for i in range(n):
            chosen[at] = i
            at += int(keys[i] >= least)
        return least
    ties = count - above
    for i in range(n):
        chosen[at] = i
        if keys[i] == least:
            at += int(ties > 0)
            ties -= 1
        else:
            at += int(keys[i] > least)
        if at == count:
            break
    return least


def _sort(chosen: IntArray, count: int, keys: FloatArray) -> None:
    """From the largest key to the smallest, equals by place: a total order, so any sort gives it (this is Shell's)."""
    step = 1
    while step < count // 3:
        step = 3 * step + 1
    while step > 0:
        for i in range(step, count):
            place = chosen[i]
            at = i
            while at >= step:
                other = chosen[at - step]
                if keys[other] > keys[place] or (keys[other] == keys[place] and other < place):
                    break
                chosen[at] = other
                at -= step
            chosen[at] = place
        step //= 3


def _share_out(raw: FloatArray, n: int, gross: float, cap: float, weights: FloatArray) -> None:
    """Weights in proportion to n numbers that are not negative, `gross` together and none above `cap`.

    What is cut off goes to the others; `raw` is zero afterwards where it was cut. The sum is below `gross` where all
    that are not zero are at the cap, and 0 where all are zero.
    """
    for i in range(n):
        weights[i] = 0.0
    left = gross
    while left > 0.0:
        total = 0.0
        for i in range(n):
            total += raw[i]
        if not total > 0.0:
            return
        n_over = 0
        for i in range(n):
            # Divided first: the smallest numbers would vanish in the product.
            if raw[i] > 0.0 and left * (raw[i] / total) > cap:
                n_over += 1
        if n_over == 0:
            for i in range(n):
                if raw[i] > 0.0:
                    weights[i] = left * (raw[i] / total)
            return
        for i in range(n):
            if raw[i] > 0.0 and left * (raw[i] / total) > cap:
                weights[i] = cap
                raw[i] = 0.0
        left -= cap * n_over


def _chosen_rows(
    score: FloatArray,
    priced: BoolArray,
    admitted: BoolArray,
    unsure: BoolArray,
    volatility: FloatArray,
    direction: int,
    count: int,
    share: float,
    weighing: int,
    gross: float,
    cap: float,
) -> FloatArray:
    n_rows, n_assets = score.shape
    out = np.full((n_rows, n_assets), NAN)
    # One more than there are names: some loops write to the next place before they know whether it counts.
    names = np.empty(n_assets + 1, np.int64)
    keys = np.empty(n_assets)
    work = np.empty(n_assets + 1)
    chosen = np.empty(n_assets + 1, np.int64)
    weights = np.empty(n_assets)
    n_sides = 2 if direction == BOTH else 1
    guesses = np.full(2, -math.inf)
    for t in range(n_rows):
        row = score[t]
        n = 0
        for k in range(n_assets):
            n += int(admitted[t, k] & (abs(row[k]) < math.inf))
        # Nearly always everybody, which is several at a time.
        everybody = n == n_assets
        at = 0
        for k in range(n_assets):
            names[at] = k
            at += 1 if everybody else int(admitted[t, k] & (abs(row[k]) < math.inf))
        if n == 0:
            n_unsure = 0
            for k in range(n_assets):
                n_unsure += int(unsure[t, k])
            if n_unsure > 0:
                continue
        for k in range(n_assets):
            if priced[t, k]:
                out[t, k] = 0.0
        most = n // n_sides
        # A share of 0.29 of 100 names is 29 names, though 0.29 * 100 is a little less in floating point.
        n_chosen = min(count if count > 0 else max(1, int(share * n + 1e-9)), most)
        if n_chosen == 0:
            continue
        middle = 0.0
        if weighing == BY_SCORE:
            for i in range(n):
                middle += row[names[i]]
            middle /= n
        for turn in range(n_sides):
            side = -1.0 if direction == SHORT or turn == 1 else 1.0
            if everybody:
                for i in range(n):
                    keys[i] = side * row[i]
            else:
                for i in range(n):
                    keys[i] = side * row[names[i]]
            guesses[turn] = _best(keys, n, n_chosen, guesses[turn], work, chosen)
            if weighing != EQUAL:
                _sort(chosen, n_chosen, keys)
            for i in range(n_chosen):
                work[i] = 1.0
                if weighing == BY_SCORE:
                    work[i] = max(side * (row[names[chosen[i]]] - middle), 0.0)
                elif weighing == INVERSE:
                    moved = volatility[t, names[chosen[i]]]
                    work[i] = 1.0 / moved if moved > 0.0 else 0.0
            _share_out(work, n_chosen, gross / n_sides, cap, weights)
            for i in range(n_chosen):
                out[t, names[chosen[i]]] += side * weights[i]
    return out


# (n_rows, n_assets) scores, whether there is a price, whether the name may be held, whether that is not known, and
# volatilities or (0, 0); LONG, SHORT or BOTH; how many, or 0 and the share; EQUAL, BY_SCORE or INVERSE; gross and cap
# -> (n_rows, n_assets) weights: NaN without a price, and where nobody can be held but it is not known of all.
chosen_rows = Kernel(_chosen_rows, (_largest, _best, _sort, _share_out))
