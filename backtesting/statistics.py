"""Statistics of return streams: how sure one may be that a mean is above zero, and how lucky the best of many looks.

Functions of arrays only; randomness comes in as a generator. Nothing here decides: `gates` does.
A stream is (n,) or (n, N) simple returns a bar, one column a candidate. A stream that is constant (standard
deviation at or below `FLAT`), shorter than `MIN_BARS` or not finite has no statistic: NaN and a p-value of 1.

The surprising choice: a statistic is shrunk before it is compared with the bootstrap, as Student's t is against the
normal (`small_sample`). Without it a test at 5 % lets 6 to 8 % of worthless markets through on histories of a few
years, because a variance estimated from n bars in blocks of b is only as good as one from n / b independent bars.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, log, sqrt

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import ndtri, stdtr, stdtrit

from backtesting.bars import BoolArray, FloatArray
from backtesting.kernel import Kernel
from backtesting.resampling import (
    LARGE_CHUNK,
    SMALL_CHUNK,
    Blocks,
    draw_blocks,
    null_statistics,
    step_down,
    studentise,
)

MIN_BARS = 20
FLAT = 1e-10
EULER_GAMMA = 0.5772156649015329
SHORTEST_BLOCK = 10.0
BLOCK_STEP = 1.25
_WIDTH = 64


def newey_west_variance(x: FloatArray, lags: int | None = None) -> float:
    """Long-run variance of a stream: Bartlett-weighted autocovariances; its mean has variance `this / n`.

    `lags=None` takes the rule of thumb floor(4 (n/100)^(2/9)). Newey & West 1987, 1994. NaN without statistic.
    """
    if not _usable(x[:, None])[0]:
        return float("nan")
    n = len(x)
    lags = int(4.0 * (n / 100.0) ** (2.0 / 9.0)) if lags is None else lags
    centred = x - x.mean()
    total = float(centred @ centred) / n
    for k in range(1, min(lags, n - 1) + 1):
        total += 2.0 * (1.0 - k / (lags + 1.0)) * float(centred[k:] @ centred[:-k]) / n
    return total


def hac_t(x: FloatArray) -> float:
    """t-statistic of the mean under autocorrelation and changing volatility (Newey-West). NaN if undefined."""
    variance = newey_west_variance(x)
    return float(np.mean(x)) / sqrt(variance / len(x)) if variance > 0.0 else float("nan")


def hac_ts(streams: FloatArray) -> FloatArray:
    """(N,) `hac_t` of every column of (n, N)."""
    usable = _usable(streams)
    n = len(streams)
    lags = min(int(4.0 * (n / 100.0) ** (2.0 / 9.0)), n - 1)
    t = np.full(streams.shape[1], np.nan)
    if usable.any():
        mean, squares = _window_squares(_columns(streams, usable), lags + 1)
        t[usable] = mean / np.sqrt(np.where(squares > 0.0, squares, np.nan) / ((lags + 1.0) * n)) * sqrt(n)
    return t


def block_length(x: FloatArray) -> float:
    """Mean block length of the stationary bootstrap that suits a stream.

    Politis & White 2004 with the correction of Patton, Politis & White 2009. NaN for a stream without statistic.
    Written here because importing `arch` costs over a second; a test compares the two.
    """
    if not _usable(x[:, None])[0]:
        return float("nan")
    n = len(x)
    centred = x - x.mean()
    run = max(5, int(np.log10(n)))
    longest = int(np.ceil(np.sqrt(n))) + run
    if n <= longest + 1:
        return float(min(n / 3.0, n ** (1.0 / 3.0)))
    band = 2.0 * np.sqrt(np.log10(n) / n)
    padded = next_fast_len(n + longest, real=True)
    product = irfft(np.abs(rfft(centred, padded)) ** 2, padded)[: longest + 1]
    autocovariance = product / n
    # arch leaves one more bar out of both norms; followed here so that the two agree.
    squares = np.concatenate([[0.0], np.cumsum(centred * centred)])
    k = np.arange(longest + 1)
    norm = (squares[n] - squares[k + 1]) * squares[n - k - 1]
    small = np.abs(product) < band * np.sqrt(norm)
    # The first lag after which `run` autocorrelations in a row are insignificant.
    quiet = (m for m in range(longest - run + 1) if small[m : m + run].all())
    first = next(quiet, None)
    bandwidth = longest if first is None else min(2 * max(first, 1), longest)
    return min(block_from_autocovariance(autocovariance, bandwidth, n), float(np.ceil(min(3.0 * np.sqrt(n), n / 3.0))))


def block_from_autocovariance(autocovariance: FloatArray, bandwidth: int, n: int) -> float:
    """The optimal mean block (g / s)^(2/3) n^(1/3), from autocovariances at lags 0 to `bandwidth`.

    g and s are the flat-top weighted sums of |k| times the autocovariance and of the autocovariance. For AR(1) it is
    (2 rho / (1 - rho^2))^(2/3) n^(1/3).
    """
    k = np.arange(1, bandwidth + 1)
    weight = np.minimum(1.0, 2.0 * (1.0 - k / bandwidth))
    g = 2.0 * float(np.sum(weight * k * autocovariance[1 : bandwidth + 1]))
    s = float(autocovariance[0]) + 2.0 * float(np.sum(weight * autocovariance[1 : bandwidth + 1]))
    return float((g * g / (s * s)) ** (1.0 / 3.0) * n ** (1.0 / 3.0)) if s != 0.0 else float("nan")


def common_block(streams: FloatArray) -> float:
    """One mean block length for many streams (n, N): the upper quartile of theirs, within 10 to max(10, sqrt(n) / 2).

    The maximum over hundreds of estimates would be an outlier, and blocks that are too long make the variance a rough
    guess; streams of daily returns seldom need more than 10.
    """
    usable = np.flatnonzero(_usable(streams))
    # Fifty or so of the columns are enough for a quartile.
    lengths = [block_length(streams[:, i].copy()) for i in usable[:: max(1, len(usable) // 50)]]
    lengths = [length for length in lengths if np.isfinite(length)]
    upper = float(np.quantile(lengths, 0.75)) if lengths else SHORTEST_BLOCK
    return float(min(max(SHORTEST_BLOCK, upper), _longest_block(len(streams))))


def step_up(block: float, n: int) -> float:
    """A mean block length on n bars, rounded up to one of a few, a quarter apart: 10, 12.5, 15.6, ...

    So that streams that are asked about one after the other can share resamples. A longer block is the careful side.
    """
    steps = ceil(log(max(block / SHORTEST_BLOCK, 1.0)) / log(BLOCK_STEP) - 1e-9)
    return min(SHORTEST_BLOCK * BLOCK_STEP**steps, _longest_block(n))


def small_sample(t: FloatArray, n: int, block: float) -> FloatArray:
    """Statistics (N,) of n bars in blocks of mean length `block`, shrunk to where the normal scale holds them.

    Two corrections. Demeaning makes the variance too small by about (2 block - 1) / n (the weights of
    `bootstrap_variance` sum to 2 block - 1, each autocovariance loses variance / n). Its own error is that of
    n / block independent bars, so t is mapped from Student's t with n / block degrees of freedom to the normal.
    """
    degrees = n / block
    tail = stdtr(degrees, -np.abs(t) * sqrt(1.0 - (2.0 * block - 1.0) / n))
    shrunk: FloatArray = -np.sign(t) * ndtri(np.maximum(tail, 1e-300))
    return shrunk


@dataclass(frozen=True, eq=False)
class MaxT:
    """Outcome of `max_t` for N streams.

    Attributes:
        statistic: (N,) studentised mean on the normal scale (`small_sample`); NaN for a stream without one.
        p_adjusted: (N,) step-down p-value, adjusted for all N streams; 1 where the statistic is NaN.
        null_maximum: (reps,) the largest statistic plus offset in each resample of a world without any edge, ascending.
        n_effective: how many independent streams would be worth these N, from their average correlation.
    """

    statistic: FloatArray
    p_adjusted: FloatArray
    null_maximum: FloatArray
    n_effective: float

    def critical_value(self, alpha: float) -> float:
        """What the best statistic plus offset must exceed for p_adjusted <= alpha < 1; NaN if that is not resolved."""
        reps = len(self.null_maximum)
        # p = (1 + count) / (reps + 1) <= alpha; the small term undoes the rounding of 0.05 * 2000.
        count = int(np.floor(alpha * (reps + 1.0) + 1e-9)) - 1
        return float(self.null_maximum[reps - 1 - count]) if reps and count >= 0 else float("nan")


def max_t(
    streams: FloatArray,
    *,
    block: float,
    reps: int,
    rng: np.random.Generator,
    offsets: FloatArray | None = None,
    enough: float | None = None,
) -> MaxT:
    """Which of N streams (n, N) have a mean above zero, when all N were looked at: step-down, one-sided.

    Romano & Wolf 2005. All streams share the same resamples, so their correlation is respected;
    p = (1 + count) / (reps + 1). The family-wise error is held whichever of the streams have an edge. Streams without
    statistic take no part in the maximum.

    Args:
        offsets: (N,) what is added to each statistic, observed and resampled alike, before the maximum is taken; must
            not depend on `streams`. -inf leaves a stream out, with a p-value of 1. None is 0 for all.
        enough: stop drawing once it is certain that no p-value is at or below this; those given are then lower bounds
            above it, and `null_maximum` holds the draws made. Which streams are at or below it is never changed
            (Besag & Clifford 1991). None draws all.
    """
    usable = _usable(streams)
    shift = np.zeros(streams.shape[1]) if offsets is None else offsets
    usable &= np.isfinite(shift)
    statistic = np.full(streams.shape[1], np.nan)
    p_adjusted = np.ones(streams.shape[1])
    x = _columns(streams, usable)
    if x.shape[1] == 0:
        return MaxT(statistic, p_adjusted, np.empty(0), float("nan"))
    ready = studentise(x, block)
    observed = small_sample(ready.mean / ready.error, len(x), block)
    weighted = observed + shift[usable]
    order = np.argsort(-weighted, kind="stable")
    exceeding = np.zeros(len(order), dtype=np.int64)
    null_maximum = []
    at_once = LARGE_CHUNK if enough is None else SMALL_CHUNK
    for blocks in draw_blocks(len(x), block, reps, rng, at_once):
        largest, found = step_down(
            null_statistics(ready, blocks), shift[usable].astype(np.float32), order, weighted[order]
        )
        exceeding += found
        null_maximum.append(largest)
        if enough is not None and 1.0 + exceeding[0] > enough * (reps + 1.0):
            break
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate((1.0 + exceeding) / (reps + 1.0))
    statistic[usable] = observed
    p_adjusted[usable] = adjusted
    maximum = np.sort(np.concatenate(null_maximum)).astype(np.float64)
    return MaxT(statistic, p_adjusted, maximum, _effective(x, ready.deviation))


def mean_intervals(
    streams: FloatArray, *, level: float, block: float, resamples: Iterable[Blocks]
) -> tuple[FloatArray, FloatArray]:
    """Studentised stationary-bootstrap interval, equal-tailed, for the mean of each of N streams (n, N).

    Two (N,) arrays, low and high; NaN if undefined.

    Args:
        resamples: with that mean block length, as `draw_blocks` and `shared_blocks` give them.
    """
    usable = _usable(streams)
    low, high = np.full(streams.shape[1], np.nan), np.full(streams.shape[1], np.nan)
    x = _columns(streams, usable)
    if x.shape[1] == 0:
        return low, high
    ready = studentise(x, block)
    null = np.concatenate([null_statistics(ready, blocks) for blocks in resamples])
    n, tail = len(x), (1.0 - level) / 2.0
    # `small_sample` the other way round, at the two ends of the interval.
    wider = float(stdtrit(n / block, tail) / ndtri(tail)) / sqrt(1.0 - (2.0 * block - 1.0) / n)
    reach = wider * ready.error
    low[usable] = ready.mean - np.quantile(null, 1.0 - tail, axis=0) * reach
    high[usable] = ready.mean - np.quantile(null, tail, axis=0) * reach
    return low, high


def minimum_detectable_sharpe(
    n_bars: int, periods_per_year: float, n_candidates: int, alpha: float, power: float = 0.8
) -> float:
    """Annual Sharpe ratio that a one-sided test over `n_candidates` finds with probability `power` on `n_bars`.

    A planning value: normal returns, Bonferroni, (z(1 - alpha/N) + z(power)) / sqrt(years). The max-t test does a
    little better when candidates are correlated, fat tails do a little worse.
    """
    return _noncentrality(n_candidates, alpha, power) / sqrt(n_bars / periods_per_year)


def years_needed(sharpe: float, n_candidates: int, alpha: float, power: float = 0.8) -> float:
    """Years of data on which `sharpe` (annual) would be found with probability `power`: that value turned round.

    NaN for a Sharpe ratio that is not positive: no amount of data shows it.
    """
    return (_noncentrality(n_candidates, alpha, power) / sharpe) ** 2 if sharpe > 0.0 else float("nan")


def expected_max_sharpe(n_trials: int, n_bars: int, periods_per_year: float) -> float:
    """Annual Sharpe ratio that the best of `n_trials` worthless, independent strategies shows by luck on `n_bars`.

    False Strategy theorem (Bailey & Lopez de Prado 2014) with the variance of a zero Sharpe ratio, 1 / n_bars a bar.
    0 for a single trial.
    """
    if n_trials < 2:
        return 0.0
    quantiles = -ndtri([1.0 / n_trials, 1.0 / (n_trials * np.e)])
    luck = (1.0 - EULER_GAMMA) * quantiles[0] + EULER_GAMMA * quantiles[1]
    return float(luck) * sqrt(periods_per_year / n_bars)


def effective_trials(streams: FloatArray) -> float:
    """How many independent streams would be worth these N: r + (1 - r) N, r their average correlation, in 1 to N.

    Shown beside the true count, never used in its place. NaN without a usable stream.
    """
    x = _columns(streams, _usable(streams))
    return _effective(x, x.std(axis=0)) if x.shape[1] else float("nan")


def _noncentrality(n_candidates: int, alpha: float, power: float) -> float:
    if n_candidates < 1 or not 0.0 < alpha < 1.0 or not 0.0 < power < 1.0:
        raise ValueError(f"planning needs N >= 1, 0 < alpha < 1, 0 < power < 1, got {n_candidates}, {alpha}, {power}")
    return float(-ndtri(alpha / n_candidates) + ndtri(power))


def _usable(streams: FloatArray) -> BoolArray:
    if len(streams) < MIN_BARS:
        return np.zeros(streams.shape[1], dtype=np.bool_)
    with np.errstate(invalid="ignore"):
        reach = streams.max(axis=0) - streams.min(axis=0)
    # Two bars that far apart make a standard deviation of at least this; the others are worth a closer look.
    usable: BoolArray = np.isfinite(reach) & (reach / sqrt(2.0 * len(streams)) > FLAT)
    doubtful = np.flatnonzero(np.isfinite(reach) & ~usable)
    if len(doubtful):
        usable[doubtful] = streams[:, doubtful].std(axis=0) > FLAT
    return usable


def _effective(x: FloatArray, deviation: FloatArray) -> float:
    """`effective_trials` of streams (n, N) that all move, with standard deviations (N,)."""
    count = len(deviation)
    if count < 2:
        return float(count)
    # The variance of the sum of N standardised streams is N + N (N - 1) r.
    average = (float(np.var(x @ (1.0 / deviation))) - count) / (count * (count - 1.0))
    return float(min(max(average + (1.0 - average) * count, 1.0), count))


def _columns(streams: FloatArray, chosen: BoolArray) -> FloatArray:
    """The chosen columns of (n, N); the streams themselves, not a copy, where all are."""
    return streams if chosen.all() else streams[:, chosen]


def _longest_block(n: int) -> float:
    """What blocks are cut at, because a variance from a handful of them is a guess."""
    return max(SHORTEST_BLOCK, sqrt(n) / 2.0)


def _window_squares_loop(streams: FloatArray, window: int) -> FloatArray:
    """(2, N) of streams (n, N): mean, and sum of the squared sums of every `window` bars in a row, less the mean.

    Windows that begin before the stream or end after it count too, so two bars share window - lag of them: that is
    Bartlett's weight of their product.
    """
    n, count = streams.shape
    found = np.empty((2, count))
    # A copy of some streams stays in the cache; one array for all sums is what the compiler can see through.
    tile = np.empty((n, _WIDTH))
    work = np.empty(3 * _WIDTH)
    for at in range(0, count, _WIDTH):
        width = min(_WIDTH, count - at)
        work[:] = 0.0
        for t in range(n):
            for j in range(width):
                tile[t, j] = streams[t, at + j]
                work[j] += tile[t, j]
        for j in range(width):
            work[j] /= n
        for t in range(n + window - 1):
            if t < n:
                for j in range(width):
                    tile[t, j] -= work[j]
                    work[_WIDTH + j] += tile[t, j]
            if t >= window:
                for j in range(width):
                    work[_WIDTH + j] -= tile[t - window, j]
            for j in range(width):
                work[2 * _WIDTH + j] += work[_WIDTH + j] * work[_WIDTH + j]
        for j in range(width):
            found[0, at + j] = work[j]
            found[1, at + j] = work[2 * _WIDTH + j]
    return found


_window_squares = Kernel(_window_squares_loop)
