"""Summary: every metric of a report in a few compiled passes, for reports by the thousand.

What the metrics mean is written in `metrics.py`, one function each; a property test holds the two equal to rounding.
Nothing is checked here. A sum over bars has 64 accumulators, one for each place of a bar in its block of 64, and adds
them up at the end: always in the same order, so the same inputs give the same bytes.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backtesting.bars import FloatArray, IntArray
from backtesting.kernel import Kernel
from backtesting.metrics import METRICS

Places = npt.NDArray[np.uint16]

# Written out and not taken from `metrics.py` and `result.py`, because numba's cache does not notice a change there.
_FLAT = 1e-12
_TAIL = 0.05
_OPEN = 6
# Buckets in which the order statistics are looked for.
_BUCKETS = 1024
_NAMES = tuple(METRICS)
# Of all runs of bars under a peak: lowest fall, sum of each one's lowest, longest, bars, how many; and of the one that
# has not ended: the peak, the lowest account under it, bars.
_WORST, _LOWS, _LONGEST, _UNDER, _N_RUNS, _PEAK, _LOWEST, _RUN = range(8)
# Accumulators of a sum, one for each place of a number in its block: LLVM adds several of them with one instruction,
# provided that places are counted without a sign, so that none can be meant from the end. In plain Python, a range of
# these gives plain numbers.
_unsigned: Any = np.uint64
_LANES, _NONE = _unsigned(64), _unsigned(0)
_BUT_THE_SIGN = 0x7FFF_FFFF_FFFF_FFFF
# Bars of an account that are summed up together.
_STRETCH = 1_024
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


def _surface(falls: FloatArray) -> None:
    """End the run of bars under a peak, if there is one."""
    if falls[_RUN] > 0.0:
        fall = falls[_LOWEST] / falls[_PEAK] - 1.0
        falls[_WORST] = min(falls[_WORST], fall)
        falls[_LOWS] += fall
        falls[_LONGEST] = max(falls[_LONGEST], falls[_RUN])
        falls[_UNDER] += falls[_RUN]
        falls[_N_RUNS] += 1.0
        falls[_RUN] = 0.0


def _fall(account: FloatArray, begin: int, end: int, falls: FloatArray, squares: FloatArray) -> None:
    """Go on with the runs of bars under a peak from bar `begin` to before `end`; squares of all falls to the lanes."""
    bits = account.view(np.int64)
    stop = _unsigned(end)
    for first in range(_unsigned(begin), stop, _LANES):
        after = min(first + _LANES, stop)
        peak = falls[_PEAK]
        part = 1.0 / peak
        lowest, highest = _extremes(bits, first, after)
        if highest < peak:
            # Nearly always: new peaks are rare, and come together.
            for t in range(first, after):
                fall = (account[t] - peak) * part
                squares[t - first] += fall * fall
            falls[_LOWEST] = min(falls[_LOWEST], lowest) if falls[_RUN] > 0.0 else lowest
            falls[_RUN] += after - first
            continue
        for t in range(first, after):
            value = account[t]
            if value < peak:
                fall = (value - peak) * part
                squares[t - first] += fall * fall
                falls[_LOWEST] = min(falls[_LOWEST], value) if falls[_RUN] > 0.0 else value
                falls[_RUN] += 1.0
                continue
            _surface(falls)
            falls[_PEAK] = peak = value
            part = 1.0 / peak


def _of_falls(n: int, falls: FloatArray, squares: FloatArray, values: FloatArray) -> None:
    """Drawdowns and their runs; after `_of_returns`, whose growth the Calmar ratio divides."""
    _surface(falls)
    n_runs = falls[_N_RUNS]
    values[5] = _ratio(values[1], -falls[_WORST], _FLAT)
    values[7] = falls[_WORST]
    values[8] = falls[_LONGEST]
    values[9] = falls[_LOWS] / n_runs if n_runs > 0.0 else 0.0
    values[10] = falls[_UNDER] / n_runs if n_runs > 0.0 else 0.0
    values[11] = math.sqrt(_total(squares) / n)


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


def _extremes(bits: IntArray, begin: int, end: int) -> tuple[float, float]:
    """Lowest and highest over some bars (at least one) of numbers that are not negative.

    They are given by their bits, which are in the order of the numbers: LLVM compares several integers at a time, but
    one float after another.
    """
    lowest = highest = bits[begin]
    for t in range(_unsigned(begin), _unsigned(end)):
        lowest = min(lowest, bits[t])
        highest = max(highest, bits[t])
    return np.int64(lowest).view(np.float64), np.int64(highest).view(np.float64)


def _in_order(bits: int) -> int:
    """Integers in the order of the numbers that the bits are of, and back: below zero, all but the sign turned over."""
    return bits ^ ((bits >> 63) & _BUT_THE_SIGN)


def _blank(capital: float) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    """What `_fall` and `_take` add to."""
    falls = np.zeros(8)
    falls[_PEAK] = capital
    return falls, np.zeros(_LANES), np.zeros((3, _LANES)), np.array([_BUT_THE_SIGN, -_BUT_THE_SIGN])


def _take(moved: FloatArray, begin: int, end: int, signs: FloatArray, ends: IntArray) -> None:
    """Sums of the gains, of the losses and of their squares to three rows of lanes; least and best, see `_in_order`."""
    bits = moved.view(np.int64)
    gained, fallen, squares = signs[0], signs[1], signs[2]
    least, best = ends[0], ends[1]
    stop = _unsigned(end)
    for first in range(_unsigned(begin), stop, _LANES):
        after = min(first + _LANES, stop)
        for t in range(first, after):
            lane = t - first
            r = moved[t]
            # Without a branch that nobody can foresee; what is added is 0 where it was nothing.
            fall = r if r < 0.0 else 0.0
            gained[lane] += r - fall
            fallen[lane] += fall
            squares[lane] += fall * fall
        for t in range(first, after):
            here = _in_order(bits[t])
            least = min(least, here)
            best = max(best, here)
    ends[0], ends[1] = least, best


def _tails(
    moved: FloatArray,
    m: int,
    n_zeros: int,
    middle: int,
    ranks: IntArray,
    places: Places,
    counts: IntArray,
    room: FloatArray,
    found: FloatArray,
) -> float:
    """The values of ascending ranks, two and two neighbours or equal, among the first m values and `n_zeros` zeros.

    Args:
        middle: the bucket of a zero, if there are any.
        places, counts: (>= m,) buckets of the values, in their order, and how many there are in each.
        room: (>= m,) space.

    Returns:
        The sum of the values below the first one found; `found[4]` says how many they are.
    """
    stop = _unsigned(m)
    for tail in range(2):
        rank, next_rank = ranks[2 * tail], ranks[2 * tail + 1]
        first_bucket, before = _bucket_of(rank, 0, 0, counts)
        # What lies between the buckets of two neighbours is empty.
        last_bucket, _ = _bucket_of(next_rank, first_bucket, before, counts)
        first, last = np.uint16(first_bucket), np.uint16(last_bucket)
        size = 0
        for begin in range(_NONE, stop, _LANES):
            after = min(begin + _LANES, stop)
            hits = 0
            for t in range(begin, after):
                hits += (first <= places[t]) & (places[t] <= last)
            if hits > 0:
                for t in range(begin, after):
                    if first <= places[t] <= last:
                        room[size] = moved[t]
                        size += 1
        zeros = n_zeros if first_bucket <= middle <= last_bucket else 0
        found[2 * tail] = _rank_with_zeros(room, size, zeros, rank - before)
        found[2 * tail + 1] = _rank_with_zeros(room, size, zeros, next_rank - before)
    floor = found[0]
    beyond = np.zeros(_LANES)
    n_beyond = n_zeros if floor > 0.0 else 0
    for begin in range(_NONE, stop, _LANES):
        after = min(begin + _LANES, stop)
        for t in range(begin, after):
            beyond[t - begin] += moved[t] if moved[t] < floor else 0.0
        for t in range(begin, after):
            n_beyond += moved[t] < floor
    found[4] = n_beyond
    return _total(beyond)


def _of_stream(
    moved: FloatArray,
    m: int,
    n: int,
    signs: FloatArray,
    ends: IntArray,
    periods: float,
    grown: float,
    places: Places,
    room: FloatArray,
    values: FloatArray,
) -> float:
    """What follows from n returns, of which the first m of `moved` are given and the others are zero; their mean.

    Order statistics by counting into buckets and sorting out two of them.

    Args:
        signs, ends: of `_take`, over all of them.
        places, room: (>= m,) space.
    """
    n_zeros = n - m
    gains, losses = _total(signs[0]), -_total(signs[1])
    total = gains - losses
    mean = total / n
    least, best = 0.0, 0.0
    if m > 0:
        least, best = np.int64(_in_order(ends[0])).view(np.float64), np.int64(_in_order(ends[1])).view(np.float64)
    if n_zeros > 0:
        least, best = min(least, 0.0), max(best, 0.0)
    width = best - least
    scale = (_BUCKETS - 1) / width if width > 0.0 else 0.0
    if not scale < math.inf:
        scale = 0.0
    middle = _place(0.0, least, scale)
    counts = np.zeros(_BUCKETS, np.int64)
    counts[middle if n_zeros > 0 else 0] += n_zeros
    seconds, thirds, fourths = np.zeros(_LANES), np.zeros(_LANES), np.zeros(_LANES)
    stop = _unsigned(m)
    for begin in range(_NONE, stop, _LANES):
        after = min(begin + _LANES, stop)
        for t in range(begin, after):
            lane = t - begin
            centred = moved[t] - mean
            square = centred * centred
            seconds[lane] += square
            thirds[lane] += square * centred
            fourths[lane] += square * square
        for t in range(begin, after):
            places[t] = np.uint16(_place(moved[t], least, scale))
        for t in range(begin, after):
            counts[places[t]] += 1
    of_zeros = n_zeros * (mean * mean)
    second = _total(seconds) + of_zeros
    third = _total(thirds) - of_zeros * mean
    fourth = _total(fourths) + of_zeros * (mean * mean)
    _of_returns(n, periods, grown, total, gains, losses, _total(signs[2]), second, third, fourth, values)

    low_place = _TAIL * (n - 1)
    high_place = (1.0 - _TAIL) * (n - 1)
    n_worst = int(low_place) + 1
    ranks = np.empty(4, np.int64)
    ranks[0] = int(low_place)
    ranks[1] = min(ranks[0] + 1, n - 1)
    ranks[2] = int(high_place)
    ranks[3] = min(ranks[2] + 1, n - 1)
    found = np.empty(5)
    beyond = _tails(moved, m, n_zeros, middle, ranks, places, counts, room, found)
    floor = _between(found[0], found[1], low_place - ranks[0])
    values[12] = floor
    values[13] = (beyond + (n_worst - found[4]) * found[0]) / n_worst
    values[14] = _ratio(abs(_between(found[2], found[3], high_place - ranks[2])), abs(floor), _FLAT)
    values[17] = best
    values[18] = least
    return mean


def _place(value: float, least: float, scale: float) -> int:
    """The bucket of a value. Returns that overflowed are in the first, and never in one that is not there."""
    place = (value - least) * scale
    return int(place if 0.0 <= place < _BUCKETS else 0.0)


def _bucket_of(rank: int, bucket: int, before: int, counts: IntArray) -> tuple[int, int]:
    """The bucket of a rank, from one that does not lie beyond it, and how many values lie before that."""
    while before + counts[bucket] <= rank:
        before += counts[bucket]
        bucket += 1
    return bucket, before


def _total(lanes: FloatArray) -> float:
    total = 0.0
    for lane in range(_LANES):
        total += lanes[lane]
    return total


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
    exposed = traded = 0.0
    for t in range(n):
        # A ruined account stays at 0 and returns 0, not 0/0.
        returns[t] = (equity[t] - before) / before if before > 0.0 else 0.0
        before = equity[t]
        exposed += gross[t]
        traded += turnover[t]
    falls, squares, signs, ends = _blank(capital)
    _take(returns, 0, n, signs, ends)
    _fall(equity, 0, n, falls, squares)
    grown = equity[n - 1] / capital
    places, room = np.empty(n, np.uint16), np.empty(n)
    mean = _of_stream(returns, n, n, signs, ends, periods, grown, places, room, values)
    _of_falls(n, falls, squares, values)
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
    edges: IntArray,
    whole: IntArray,
    real: FloatArray,
    start: int,
    stop: int,
    capital: float,
    commission: float,
    periods: float,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Equity, excursions and metrics of candidates whose trades are long, all of the account, one after another.

    Only held bars are looked at; a stretch without a position returns nothing on each of its bars. From one held close
    to the next the account returns what the price does.

    Args:
        edges: (n_candidates + 1,) the trades of a candidate are those from its edge to before the next.

    Returns:
        (n_candidates, n), (n_trades, 2) and (n_candidates, n_metrics).
    """
    n = stop - start
    n_candidates = edges.shape[0] - 1
    curves = np.empty((n_candidates, n))
    moves = np.empty((whole.shape[0], 2))
    rows = np.full((n_candidates, _N_METRICS), math.nan)
    # Space that all of them use, so that it stays in the nearest caches.
    moved, places, room = np.empty(n), np.empty(n, np.uint16), np.empty(n)
    low_bits, high_bits = low.view(np.int64), high.view(np.int64)
    for candidate in range(n_candidates):
        equity, values = curves[candidate], rows[candidate]
        cash = capital
        traded = costs_paid = 0.0
        exposed = 0
        falls, squares, signs, ends = _blank(capital)
        m = done = m_done = 0
        at = start
        for k in range(edges[candidate], edges[candidate + 1] + 1):
            is_end = k == edges[candidate + 1]
            first = stop if is_end else whole[k, 1]
            # Without a position, at the cash.
            for t in range(at - start, first - start):
                equity[np.uint64(t)] = cash
            if is_end or first - start - done > _STRETCH:
                # While it is still in the nearest cache.
                _fall(equity, done, first - start, falls, squares)
                _take(moved, m_done, m, signs, ends)
                done, m_done = first - start, m
            if is_end:
                break
            units = real[k, 2]
            entry = real[k, 0]
            leave = real[k, 1]
            open_end = whole[k, 3] == _OPEN
            # The bar after the last one held: that of the exit.
            at = whole[k, 2] + 1 if open_end else whole[k, 2]
            exposed += at - first
            traded += units * entry / cash
            costs_paid += real[k, 4]
            # By their bits, see `_extremes`.
            lowest, highest = low_bits[first], high_bits[first]
            for t in range(first, at):
                now, before = close[np.uint64(t)], close[np.uint64(t - 1)]
                equity[np.uint64(t - start)] = units * now
                moved[np.uint64(m - first + t)] = (now - before) / before
                lowest = min(lowest, low_bits[np.uint64(t)])
                highest = max(highest, high_bits[np.uint64(t)])
            bottom, top = np.int64(lowest).view(np.float64), np.int64(highest).view(np.float64)
            moved[m] = (equity[first - start] - cash) / cash
            m += at - first
            cash = equity[at - 1 - start]
            moves[k, 0] = min(bottom, entry, leave) / entry - 1.0
            moves[k, 1] = max(top, entry, leave) / entry - 1.0
            if not open_end:
                traded += units * leave / (units * open_[at])
                held = cash
                cash = units * leave * (1.0 - commission)
                equity[at - start] = cash
                moved[m] = (cash - held) / held
                m += 1
                at += 1
        grown = equity[n - 1] / capital
        _of_stream(moved, m, n, signs, ends, periods, grown, places, room, values)
        _of_falls(n, falls, squares, values)
        values[19] = exposed / n
        values[20] = traded / n * periods
        its = slice(edges[candidate], edges[candidate + 1])
        _of_trades(whole[its], real[its], moves[its], np.ones(1), equity[n - 1] - capital, costs_paid, values)
        # Of an account that overflowed nothing is known.
        for i in range(_N_METRICS):
            values[i] = _finite(values[i]) if abs(grown) < math.inf else math.nan
    return curves, moves, rows


_HELPERS = (
    _finite, _ratio, _total, _extremes, _in_order, _kth, _rank_with_zeros, _bucket_of, _place, _tails, _between,
    _blank, _take, _surface, _fall, _of_returns, _of_stream, _of_falls, _of_trades,
)  # fmt: skip
measure = Kernel(_measure, _HELPERS)
measure_held = Kernel(_measure_held, _HELPERS)
