"""Summary: every metric of a report in a few compiled passes, for reports by the thousand.

What the metrics mean is written in `metrics.py`, one function each; a property test holds the two equal to rounding.
Nothing is checked here. Sums run in bar order with one accumulator each (drawdowns: one for each run under water, and
one for the runs), so the same inputs give the same bytes.
"""

import math
from collections.abc import Sequence

import numpy as np

from backtesting.bars import FloatArray, IntArray
from backtesting.kernel import Kernel
from backtesting.metrics import METRICS

# Written out and not taken from `metrics.py` and `result.py`, because numba's cache does not notice a change there.
_FLAT = 1e-12
_TAIL = 0.05
_OPEN = 6
# Buckets in which the order statistics are looked for.
_BUCKETS = 1024
_NAMES = tuple(METRICS)
# Of all runs of bars under a peak: lowest fall, sum of each one's lowest, sum of squares, longest, bars, how many.
_WORST, _LOWS, _SQUARES, _LONGEST, _UNDER, _N_RUNS = range(6)
_N_METRICS = 35


def summary(
    equity: FloatArray,
    gross: FloatArray,
    turnover: FloatArray,
    whole: IntArray,
    real: FloatArray,
    moves: FloatArray,
    multiplier: FloatArray,
    benchmark: FloatArray,
    periods_per_year: float,
    costs_paid: float,
    capital: float,
) -> tuple[FloatArray, dict[str, float]]:
    """Returns, and every metric of `METRICS` in its order, as finite numbers or NaN.

    Args:
        equity, gross, turnover: (n,) over the window, n >= 1, finite; see `inputs.Books`.
        whole, real, moves: (n_trades, 6), (n_trades, 5) and (n_trades, 2): `inputs.Books` and `engine.excursions`.
        multiplier: (n_assets,).
        benchmark: (n,) simple returns, or (0,) for none.
    """
    returns, values = measure(
        equity, gross, turnover, whole, real, moves, multiplier, benchmark, periods_per_year, costs_paid, capital
    )
    return returns, _named(values.tolist())


def _named(values: Sequence[float]) -> dict[str, float]:
    return dict(zip(_NAMES, values, strict=True))


def _finite(value: float) -> float:
    return value if abs(value) < math.inf else math.nan


def _ratio(above: float, below: float, floor: float) -> float:
    return _finite(above / below) if below > floor else math.nan


def _kth(values: FloatArray, n: int, rank: int) -> float:
    """The value of a rank among the first n, which are moved about (Hoare's selection)."""
    left = 0
    right = n - 1
    while left < right:
        pivot = values[(left + right) // 2]
        i = left
        j = right
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            right = j
        elif rank >= i:
            left = i
        else:
            break
    found: float = values[rank]
    return found


def _between(below: float, above: float, part: float) -> float:
    return below + (above - below) * part


def _of_returns(
    n: int,
    periods: float,
    grown: float,
    total: float,
    gains: float,
    losses: float,
    loss_squares: float,
    second: float,
    third: float,
    fourth: float,
    values: FloatArray,
) -> None:
    """What follows from sums over the returns (plain, positive, negative, squared negative) and centred moments."""
    root = math.sqrt(periods)
    mean = total / n
    deviation = math.sqrt(second / (n - 1)) if n > 1 else math.nan
    values[0] = grown - 1.0
    values[1] = _finite(grown ** (periods / n) - 1.0)
    values[2] = deviation * root
    values[3] = _ratio(mean, deviation, _FLAT) * root
    values[4] = _ratio(mean, math.sqrt(loss_squares / n), _FLAT) * root if n > 1 else math.nan
    values[6] = _ratio(gains, losses, _FLAT)
    spread = math.sqrt(second / n)
    values[15] = _ratio(third / n, spread * spread * spread, _FLAT**3)
    values[16] = _ratio(fourth / n, (second / n) * (second / n), _FLAT**4)


def _surface(peak: float, run: int, low: float, squares: float, falls: FloatArray) -> None:
    """End a run of bars under a peak: the lowest account below it, and the sum of the squares of all.

    Divided by the peak here, once, and not on each of its bars.
    """
    fall = low / peak
    falls[_WORST] = min(falls[_WORST], fall)
    falls[_LOWS] += fall
    falls[_SQUARES] += squares / (peak * peak)
    falls[_LONGEST] = max(falls[_LONGEST], run)
    falls[_UNDER] += run
    falls[_N_RUNS] += 1.0


def _of_falls(n: int, falls: FloatArray, values: FloatArray) -> None:
    """Drawdowns and their runs; after `_of_returns`, whose growth the Calmar ratio divides."""
    n_runs = falls[_N_RUNS]
    values[5] = _ratio(values[1], -falls[_WORST], _FLAT)
    values[7] = falls[_WORST]
    values[8] = falls[_LONGEST]
    values[9] = falls[_LOWS] / n_runs if n_runs > 0.0 else 0.0
    values[10] = falls[_UNDER] / n_runs if n_runs > 0.0 else 0.0
    values[11] = math.sqrt(falls[_SQUARES] / n)


def _of_tails(
    found: FloatArray, low_place: float, high_place: float, beyond: float, n_beyond: int, values: FloatArray
) -> None:
    """VaR, CVaR and tail ratio, from the order statistics about the two places and the returns below the first."""
    floor_value = _between(found[0], found[1], low_place - int(low_place))
    top_value = _between(found[2], found[3], high_place - int(high_place))
    n_worst = int(low_place) + 1
    values[12] = floor_value
    values[13] = (beyond + (n_worst - n_beyond) * found[0]) / n_worst
    values[14] = _ratio(abs(top_value), abs(floor_value), _FLAT)


def _of_trades(
    whole: IntArray,
    real: FloatArray,
    moves: FloatArray,
    multiplier: FloatArray,
    gained: float,
    costs_paid: float,
    values: FloatArray,
) -> None:
    """The metrics of the trades, into `values`."""
    n_trades = whole.shape[0]
    n_closed = n_hits = 0
    won = lost = expected = worst_move = best_move = notional = 0.0
    held = 0
    for k in range(n_trades):
        entered = real[k, 2] * real[k, 0] * multiplier[whole[k, 4]]
        notional += entered
        if whole[k, 3] == _OPEN:
            continue
        notional += real[k, 2] * real[k, 1] * multiplier[whole[k, 4]]
        pnl = real[k, 3]
        n_closed += 1
        if pnl > 0.0:
            n_hits += 1
            won += pnl
        elif pnl < 0.0:
            lost -= pnl
        expected += pnl / entered
        held += whole[k, 2] - whole[k, 1]
        worst_move += moves[k, 0]
        best_move += moves[k, 1]
    values[21] = float(n_trades)
    if n_closed > 0:
        values[22] = n_hits / n_closed
        values[23] = _finite(won / lost) if lost > 0.0 else math.nan
        values[24] = _finite(expected / n_closed)
        values[25] = held / n_closed
        values[26] = _finite(worst_move / n_closed)
        values[27] = _finite(best_move / n_closed)
    profit = gained + costs_paid
    values[28] = _finite(costs_paid / profit) if profit > 0.0 else math.nan
    values[29] = _finite(profit / notional * 1e4) if notional > 0.0 else math.nan


def _rank_with_zeros(values: FloatArray, n: int, n_zeros: int, rank: int) -> float:
    """The value of a rank among the first n, which are moved about, and `n_zeros` zeros beside them."""
    below = 0
    for place in range(n):
        below += values[place] < 0.0
    if rank < below:
        return _kth(values, n, rank)
    if rank < below + n_zeros:
        return 0.0
    return _kth(values, n, rank - n_zeros)


def _tails_with_zeros(
    moved: FloatArray, m: int, n_zeros: int, low: float, high: float, ranks: IntArray, found: FloatArray
) -> float:
    """The values of ascending ranks among the first m values and `n_zeros` zeros; low <= 0 <= high if there are any.

    By counting into buckets and sorting out one bucket for each rank.

    Returns:
        The sum of the values below the first one found, in bar order; `found[4]` says how many they are.
    """
    width = high - low
    scale = (_BUCKETS - 1) / width if width > 0.0 else 0.0
    if not scale < math.inf:
        scale = 0.0
    counts = np.zeros(_BUCKETS, np.int64)
    places = np.empty(m, np.uint32)
    for t in range(m):
        places[t] = np.uint32(int((moved[t] - low) * scale))
    for t in range(m):
        counts[places[t]] += 1
    middle = int((0.0 - low) * scale)
    if n_zeros > 0:
        counts[middle] += n_zeros
    buckets = np.empty(4, np.int64)
    befores = np.empty(4, np.int64)
    bucket = 0
    before = 0
    for place in range(4):
        while before + counts[bucket] <= ranks[place]:
            before += counts[bucket]
            bucket += 1
        buckets[place] = bucket
        befores[place] = before
    # Both ends in one pass. Written to the next free place whether it is wanted or not: cheaper than a branch that is
    # missed.
    lowest = np.empty(m + 1)
    highest = np.empty(m + 1)
    n_lowest = 0
    n_highest = 0
    for t in range(m):
        lowest[np.uint64(n_lowest)] = moved[t]
        n_lowest += places[t] <= buckets[1]
        highest[np.uint64(n_highest)] = moved[t]
        n_highest += places[t] >= buckets[2]
    room = np.empty(m + 1)
    gathered = -1
    size = 0
    for place in range(4):
        if buckets[place] != gathered:
            gathered = buckets[place]
            size = 0
            side, n_side = (lowest, n_lowest) if place < 2 else (highest, n_highest)
            for t in range(n_side):
                room[size] = side[t]
                size += int((side[t] - low) * scale) == gathered
        zeros = n_zeros if gathered == middle else 0
        found[place] = _rank_with_zeros(room, size, zeros, ranks[place] - befores[place])
    beyond = 0.0
    n_beyond = 0
    for t in range(n_lowest):
        if lowest[t] < found[0]:
            beyond += lowest[t]
            n_beyond += 1
    found[4] = n_beyond
    return beyond


def _of_stream(moved: FloatArray, m: int, n: int, periods: float, grown: float, values: FloatArray) -> float:
    """What follows from n returns, of which the first m of `moved` are given and the others are zero; their mean."""
    n_zeros = n - m
    total = gains = losses = loss_squares = 0.0
    best = 0.0 if n_zeros > 0 else -math.inf
    least = 0.0 if n_zeros > 0 else math.inf
    for t in range(m):
        r = moved[t]
        total += r
        # Without a branch that nobody can foresee; what is added is 0 where it was nothing.
        fallen = min(r, 0.0)
        gains += max(r, 0.0)
        losses -= fallen
        loss_squares += fallen * fallen
        best = max(best, r)
        least = min(least, r)
    mean = total / n
    second = n_zeros * (mean * mean)
    third = -second * mean
    fourth = second * (mean * mean)
    for t in range(m):
        centred = moved[t] - mean
        square = centred * centred
        second += square
        third += square * centred
        fourth += square * square
    _of_returns(n, periods, grown, total, gains, losses, loss_squares, second, third, fourth, values)

    low_place = _TAIL * (n - 1)
    high_place = (1.0 - _TAIL) * (n - 1)
    ranks = np.empty(4, np.int64)
    ranks[0] = int(low_place)
    ranks[1] = min(ranks[0] + 1, n - 1)
    ranks[2] = int(high_place)
    ranks[3] = min(ranks[2] + 1, n - 1)
    found = np.zeros(5)
    if ranks[1] <= ranks[2]:
        beyond = _tails_with_zeros(moved, m, n_zeros, least, best, ranks, found)
    else:
        # Fewer than three bars: the ranks of the two tails cross, and nothing is below the least.
        found[0], found[1], found[2], found[3] = least, best, least, best
        beyond = 0.0
    n_beyond = int(found[4])
    if found[0] > 0.0:
        n_beyond += n_zeros
    _of_tails(found, low_place, high_place, beyond, n_beyond, values)
    values[17] = best
    values[18] = least
    return mean


def _measure(
    equity: FloatArray,
    gross: FloatArray,
    turnover: FloatArray,
    whole: IntArray,
    real: FloatArray,
    moves: FloatArray,
    multiplier: FloatArray,
    benchmark: FloatArray,
    periods: float,
    costs_paid: float,
    capital: float,
) -> tuple[FloatArray, FloatArray]:
    n = equity.shape[0]
    returns = np.empty(n)
    values = np.full(_N_METRICS, math.nan)
    root = math.sqrt(periods)

    before = capital
    peak = capital
    exposed = traded = 0.0
    falls = np.zeros(6)
    run = 0
    low = squares = 0.0
    for t in range(n):
        value = equity[t]
        # A ruined account stays at 0 and returns 0, not 0/0.
        returns[t] = (value - before) / before if before > 0.0 else 0.0
        before = value
        exposed += gross[t]
        traded += turnover[t]
        below = value - peak
        if below < 0.0:
            squares += below * below
            low = min(low, below)
            run += 1
            continue
        if run > 0:
            _surface(peak, run, low, squares, falls)
            run = 0
            low = squares = 0.0
        peak = value
    if run > 0:
        _surface(peak, run, low, squares, falls)

    mean = _of_stream(returns, n, n, periods, equity[n - 1] / capital, values)
    _of_falls(n, falls, values)
    values[19] = exposed / n
    values[20] = traded / n * periods

    _of_trades(whole, real, moves, multiplier, equity[n - 1] - capital, costs_paid, values)

    if benchmark.shape[0] == 0:
        return returns, values
    bench_total = apart = 0.0
    up = down = bench_up = bench_down = 0.0
    n_up = n_down = 0
    for t in range(n):
        b = benchmark[t]
        bench_total += b
        apart += returns[t] - b
        if b > 0.0:
            n_up += 1
            up += returns[t]
            bench_up += b
        elif b < 0.0:
            n_down += 1
            down += returns[t]
            bench_down += b
    bench_mean = bench_total / n
    apart_mean = apart / n
    together = bench_squares = apart_squares = 0.0
    for t in range(n):
        centred = benchmark[t] - bench_mean
        together += (returns[t] - mean) * centred
        bench_squares += centred * centred
        distance = returns[t] - benchmark[t] - apart_mean
        apart_squares += distance * distance
    slope = _ratio(together, bench_squares, _FLAT**2 * n) if n > 1 else math.nan
    values[30] = _finite((mean - slope * bench_mean) * periods)
    values[31] = slope
    values[32] = _ratio(apart_mean, math.sqrt(apart_squares / (n - 1)), _FLAT) * root if n > 1 else math.nan
    if n_up > 0:
        values[33] = _finite((up / n_up) / (bench_up / n_up))
    if n_down > 0:
        values[34] = _finite((down / n_down) / (bench_down / n_down))
    return returns, values


def _measure_held(
    open_: FloatArray,
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    steps: FloatArray,
    whole: IntArray,
    real: FloatArray,
    start: int,
    stop: int,
    capital: float,
    commission: float,
    periods: float,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Equity, excursions and metrics of long trades that are all of the account, one after another.

    Only held bars are looked at one by one; a stretch without a position returns nothing on each of its bars. From one
    held close to the next the account returns what the price does, which `steps` has for all candidates.
    """
    n = stop - start
    n_trades = whole.shape[0]
    equity = np.empty(n)
    moves = np.empty((n_trades, 2))
    values = np.full(_N_METRICS, math.nan)
    moved = np.empty(n)
    m = 0

    cash = capital
    peak = capital
    falls = np.zeros(6)
    run = exposed = 0
    low_account = squares = traded = costs_paid = 0.0
    at = start
    for k in range(n_trades + 1):
        first = whole[k, 1] if k < n_trades else stop
        # Without a position, at the cash.
        flat = first - at
        for t in range(at - start, first - start):
            equity[t] = cash
        below = cash - peak
        if flat > 0 and below < 0.0:
            squares += flat * (below * below)
            low_account = min(low_account, below)
            run += flat
        if k == n_trades:
            break
        units = real[k, 2]
        entry = real[k, 0]
        leave = real[k, 1]
        open_end = whole[k, 3] == _OPEN
        last = whole[k, 2] if open_end else whole[k, 2] - 1
        end = last + 1 if open_end else last + 2
        bottom = min(entry, leave)
        top = max(entry, leave)
        traded += units * entry / cash
        costs_paid += real[k, 4]
        exposed += last - first + 1
        # Held, and then the bar of the exit.
        r = (units * close[first] - cash) / cash
        for t in range(first, end):
            # Unsigned, so that no place is taken for one counted from the end.
            bar = np.uint64(t)
            if t <= last:
                cash = units * close[bar]
                bottom = min(bottom, low[bar])
                top = max(top, high[bar])
                if t > first:
                    r = steps[bar]
            else:
                traded += units * leave / (units * open_[t])
                before = cash
                cash = units * leave * (1.0 - commission)
                r = (cash - before) / before
            equity[np.uint64(t - start)] = cash
            moved[np.uint64(m)] = r
            m += 1
            below = cash - peak
            if below < 0.0:
                squares += below * below
                low_account = min(low_account, below)
                run += 1
                continue
            if run > 0:
                _surface(peak, run, low_account, squares, falls)
                run = 0
                low_account = squares = 0.0
            peak = cash
        at = end
        moves[k, 0] = bottom / entry - 1.0
        moves[k, 1] = top / entry - 1.0
    if run > 0:
        _surface(peak, run, low_account, squares, falls)

    _of_stream(moved, m, n, periods, equity[n - 1] / capital, values)
    _of_falls(n, falls, values)
    values[19] = exposed / n
    values[20] = traded / n * periods
    _of_trades(whole, real, moves, np.ones(1), equity[n - 1] - capital, costs_paid, values)
    return equity, moves, values


_HELPERS = (
    _finite, _ratio, _kth, _rank_with_zeros, _tails_with_zeros, _between, _surface,
    _of_returns, _of_tails, _of_stream, _of_falls, _of_trades,
)  # fmt: skip
measure = Kernel(_measure, _HELPERS)
measure_held = Kernel(_measure_held, _HELPERS)
