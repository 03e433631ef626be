"""Resampling: streams drawn again in blocks, and what their resamples amount to, for many streams at once.

Stationary bootstrap (Politis & Romano 1994): blocks of geometric length, wrapped around the end, so that what is
correlated over time stays so. All streams share the same resamples, so that what is correlated between them stays so
too. Randomness comes in as a generator; nothing here decides.

The surprising choice: no resample is ever written out. The sum over a block is the difference of two prefix sums, so
a resample costs two rows of a table for each of its blocks instead of one for each of its bars. Prefix sums of a
standardised stream end where they began, at 0, which makes a block around the end no special case.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from backtesting.bars import FloatArray, IntArray
from backtesting.kernel import Kernel

IndexArray = npt.NDArray[np.int32]
SingleArray = npt.NDArray[np.float32]

# Resamples at a time: many are quicker a resample, few are over sooner.
LARGE_CHUNK, SMALL_CHUNK = 500, 100
# Bars of all of them at most, at 16 bytes each while they are drawn.
_MOST_BARS = 1_250_000
# Streams that are summed together: the table of so many stays in the processor's cache.
_WIDTH = 64


@dataclass(frozen=True, eq=False)
class Blocks:
    """Some resamples of n bars, as the blocks that each is made of.

    Attributes:
        first: (rows + 1,) number of the first block of each resample, and how many blocks there are.
        start: (blocks,) bar that each begins with.
        stop: (blocks,) bar after its last one; counted from 0 again after bar n - 1.
    """

    first: IntArray
    start: IndexArray
    stop: IndexArray


def draw_blocks(
    n: int, block: float, reps: int, rng: np.random.Generator, at_once: int = LARGE_CHUNK
) -> Iterator[Blocks]:
    """The resamples of `stationary_bootstrap`, so many at a time, fewer on long streams; the same whatever that is."""
    for rows, place, origin in _block_chunks(n, block, reps, rng, at_once):
        first = np.searchsorted(place, n * np.arange(rows + 1))
        stop = (origin + np.diff(place, append=rows * n)) % n
        yield Blocks(first, origin.astype(np.int32), stop.astype(np.int32))


@lru_cache(maxsize=4)
def shared_blocks(n: int, block: float, reps: int, seed: int) -> tuple[Blocks, ...]:
    """`draw_blocks` of a stream of random numbers that the arguments alone decide; kept, and read-only.

    Whoever asks for the same window gets the same resamples, so two candidates differ by their returns and not by
    their draws; and drawing is most of what an interval costs.
    """
    rng = np.random.default_rng([seed, n, reps, round(1e6 * block)])
    drawn = tuple(draw_blocks(n, block, reps, rng))
    for blocks in drawn:
        for numbers in (blocks.first, blocks.start, blocks.stop):
            numbers.flags.writeable = False
    return drawn


def stationary_bootstrap(n: int, block: float, reps: int, rng: np.random.Generator) -> IndexArray:
    """(reps, n) int32 indices: blocks of geometric length with mean `block`, wrapped around the end.

    Politis & Romano 1994. Rows are drawn one after the other, so the first rows do not depend on `reps`.
    """
    position = np.arange(n, dtype=np.int32)
    chunks = []
    for rows, place, origin in _block_chunks(n, block, reps, rng, SMALL_CHUNK):
        # Within a block, index minus position is constant.
        shift = (origin - place % n).astype(np.int32)
        chunk = np.repeat(shift, np.diff(place, append=rows * n)).reshape(rows, n) + position
        chunk[chunk >= n] -= n
        chunks.append(chunk)
    return np.concatenate(chunks)


def bootstrap_variance(streams: FloatArray, block: float) -> FloatArray:
    """(N,) variance of sqrt(n) times the mean under the stationary bootstrap, in closed form; see `moments`."""
    variance: FloatArray = moments(streams, block)[2]
    return variance


def moments(streams: FloatArray, block: float) -> FloatArray:
    """(3, N) of streams (n, N): mean, variance, and variance of sqrt(n) times the mean under the stationary bootstrap.

    The last is the bootstrap's own variance without drawing: c_0 + 2 sum of (1 - k/n) (1 - 1/block)^k c_k over the lags
    k = 1 to n - 1, c_k the autocovariance of the stream as a circle. Politis & Romano 1994, Hansen 2005.
    """
    stay = 1.0 - 1.0 / block
    return _moments(streams, stay, stay ** len(streams))


@dataclass(frozen=True, eq=False)
class Studentised:
    """Streams (n, N) made ready for resampling, by `studentise`.

    Attributes:
        mean: (N,) a bar.
        deviation: (N,) standard deviation of a bar.
        error: (N,) standard error of the mean, by the variance of its bootstrap.
        prefixes: single-precision sums of the standardised streams and of their squares less 1 over the bars before
            each, `_WIDTH` streams to a table.
    """

    mean: FloatArray
    deviation: FloatArray
    error: FloatArray
    prefixes: SingleArray


def studentise(streams: FloatArray, block: float) -> Studentised:
    """Streams (n, N), finite and each of them moving, made ready for resamples with that mean block length.

    Raises:
        ValueError: blocks shorter than a bar or longer than half of the streams.
    """
    n = len(streams)
    if not 1.0 <= block <= n / 2.0:
        raise ValueError(f"the mean block length has to be within 1 and half of the {n} bars, got {block}")
    mean, variance, long_run = moments(streams, block)
    deviation = np.sqrt(variance)
    return Studentised(mean, deviation, np.sqrt(long_run / n), _prefix_sums(streams, mean, deviation))


def null_statistics(streams: Studentised, blocks: Blocks) -> SingleArray:
    """(rows, N) statistics of resamples in which no stream has an edge: each mean over its standard error.

    Each resampled mean is divided by the spread of its own resample, as the observed one is by that of the sample: a
    resample that holds a crash more often has a larger error too. Single precision is enough for a rank.
    """
    unit = (streams.deviation / streams.error).astype(np.float32)
    return _null_statistics(streams.prefixes, unit, blocks.first, blocks.start, blocks.stop)


def _block_chunks(
    n: int, block: float, reps: int, rng: np.random.Generator, at_once: int
) -> Iterator[tuple[int, IntArray, IntArray]]:
    """The blocks of some resamples at a time: rows, place of each block's first bar in them, bar that it begins with.

    Places count through the rows, n to a row; every row begins with a block.
    """
    if n < 1 or reps < 1 or not block >= 1.0:
        raise ValueError(f"a bootstrap needs n >= 1, reps >= 1 and block >= 1, got {n}, {reps}, {block}")
    chunk = max(1, min(at_once, reps, _MOST_BARS // n))
    uniform = np.empty((chunk, 2, n))
    for at in range(0, reps, chunk):
        drawn = rng.random(out=uniform[: reps - at])
        begins = drawn[:, 0] < 1.0 / block
        begins[:, 0] = True
        place = np.flatnonzero(begins)
        # The second number of a bar is n further on than its first.
        origin = drawn.ravel()[place + (place // n + 1) * n]
        yield len(drawn), place, (origin * n).astype(np.int64)


def _moments_loop(streams: FloatArray, stay: float, round_trip: float) -> FloatArray:
    """`moments`; stay is 1 - 1 / block, round_trip that to the power of n.

    The sums over lags are two recursions along each stream, taken round and round: with lag k weighted by stay^k, and
    by k stay^k. A lag beyond n is one below n again and weighs round_trip times as much, which is divided out.
    """
    n, count = streams.shape
    found = np.empty((3, count))
    once = 1.0 - round_trip
    tile = np.empty((n, _WIDTH))
    # One array for all sums, or the compiler would have too many to tell apart: mean, the two recursions, and the sums
    # of squares and of products with the two.
    work = np.empty(6 * _WIDTH)
    for at in range(0, count, _WIDTH):
        width = min(_WIDTH, count - at)
        work[:] = 0.0
        for t in range(n):
            for j in range(width):
                tile[t, j] = streams[t, at + j]
                work[j] += tile[t, j]
        for j in range(width):
            work[j] /= n
        for t in range(n):
            for j in range(width):
                tile[t, j] -= work[j]
                near = stay * (work[_WIDTH + j] + tile[t, j])
                work[_WIDTH + j] = near
                work[2 * _WIDTH + j] = stay * work[2 * _WIDTH + j] + near
        for j in range(width):
            near = work[_WIDTH + j] / once
            work[_WIDTH + j] = near
            work[2 * _WIDTH + j] = (work[2 * _WIDTH + j] + n * round_trip * near) / once
        for t in range(n):
            for j in range(width):
                bar, near, far = tile[t, j], work[_WIDTH + j], work[2 * _WIDTH + j]
                work[3 * _WIDTH + j] += bar * bar
                work[4 * _WIDTH + j] += bar * near
                work[5 * _WIDTH + j] += bar * far
                near = stay * (near + bar)
                work[_WIDTH + j] = near
                work[2 * _WIDTH + j] = stay * far + near
        for j in range(width):
            products = work[4 * _WIDTH + j] - once * work[5 * _WIDTH + j] / n
            found[0, at + j] = work[j]
            found[1, at + j] = work[3 * _WIDTH + j] / n
            found[2, at + j] = (work[3 * _WIDTH + j] + 2.0 * products) / n
    return found


def _prefix_loop(streams: FloatArray, mean: FloatArray, deviation: FloatArray) -> SingleArray:
    """(tables, n, 2 width) float32: see `Studentised.prefixes`; sums first, then squares, 0 where streams are missing.

    Summed in double precision and stored in single: what is stored is as large as a random walk of n steps.
    """
    n, count = streams.shape
    width = min(_WIDTH, count)
    prefixes = np.zeros((-(-count // width), n, 2 * width), dtype=np.float32)
    work = np.empty(4 * _WIDTH)
    for table in range(len(prefixes)):
        at = table * width
        here = min(width, count - at)
        work[:] = 0.0
        for j in range(here):
            work[2 * _WIDTH + j] = mean[at + j]
            work[3 * _WIDTH + j] = 1.0 / deviation[at + j]
        for t in range(n - 1):
            for j in range(here):
                z = (streams[t, at + j] - work[2 * _WIDTH + j]) * work[3 * _WIDTH + j]
                work[j] += z
                work[_WIDTH + j] += z * z - 1.0
            for j in range(here):
                prefixes[table, t + 1, j] = work[j]
            for j in range(here):
                prefixes[table, t + 1, width + j] = work[_WIDTH + j]
    return prefixes


def _null_loop(
    prefixes: SingleArray, unit: SingleArray, first: IntArray, start: IndexArray, stop: IndexArray
) -> SingleArray:
    """`null_statistics`; unit (N,) is what a Sharpe ratio a bar is multiplied by."""
    n, double = prefixes.shape[1:]
    width, count = double // 2, len(unit)
    statistic = np.empty((len(first) - 1, count), dtype=np.float32)
    total = np.empty(double, dtype=np.float32)
    bars, one, least = np.float32(n), np.float32(1.0), np.float32(1e-6)
    for table in range(len(prefixes)):
        at = table * width
        for row in range(len(first) - 1):
            total[:] = 0.0
            block = first[row]
            # Four blocks at a time, because the running totals have to be read and written each time.
            while block + 3 < first[row + 1]:
                a, b, c, d = start[block], start[block + 1], start[block + 2], start[block + 3]
                e, f, g, h = stop[block], stop[block + 1], stop[block + 2], stop[block + 3]
                for j in range(double):
                    total[j] += (
                        (prefixes[table, e, j] - prefixes[table, a, j])
                        + (prefixes[table, f, j] - prefixes[table, b, j])
                    ) + (
                        (prefixes[table, g, j] - prefixes[table, c, j])
                        + (prefixes[table, h, j] - prefixes[table, d, j])
                    )
                block += 4
            while block < first[row + 1]:
                a, e = start[block], stop[block]
                for j in range(double):
                    total[j] += prefixes[table, e, j] - prefixes[table, a, j]
                block += 1
            for j in range(min(width, count - at)):
                mean = total[j] / bars
                spread = total[width + j] / bars + one - mean * mean
                # A resample may hold the same bar only, in theory; it then counts as an ordinary one.
                statistic[row, at + j] = mean / np.sqrt(spread if spread > least else one) * unit[at + j]
    return statistic


def _step_down_loop(
    null: SingleArray, shift: SingleArray, order: IntArray, observed: FloatArray
) -> tuple[SingleArray, IntArray]:
    """Largest statistic plus shift of each resample (rows, N), and how often each stream is exceeded: (rows,), (N,).

    A stream, in this order from the strongest to the weakest, is exceeded where the largest among it and all weaker
    ones reaches its observed value, which is in the same order and holds its shift.
    """
    largest = np.empty(len(null), dtype=np.float32)
    exceeding = np.zeros(len(order), dtype=np.int64)
    for row in range(len(null)):
        running = np.float32(-np.inf)
        for place in range(len(order) - 1, -1, -1):
            value = null[row, order[place]] + shift[order[place]]
            running = max(running, value)
            if running >= observed[place]:
                exceeding[place] += 1
        largest[row] = running
    return largest, exceeding


_moments = Kernel(_moments_loop)
_prefix_sums = Kernel(_prefix_loop)
_null_statistics = Kernel(_null_loop)
step_down = Kernel(_step_down_loop)
