"""Drawdown band: was the fall of an account within what its own stream of returns lets expect?

Resamples of a stream say how deep it falls by luck alone. An account that fell deeper than 99 of 100 of them took a
risk that its days do not show: losses that run in a row, or, on a later window, other positions than before.

The promise for a later window has no drift: it is as deep as an account with the same days and no edge falls. How much
of a selected mean lasts is the alpha test's question, and volatility that comes in bursts makes an honest stream with
an edge fall several times deeper than resamples of its quiet years, drift included, would.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import inf

import numpy as np

from backtesting.bars import FloatArray
from backtesting.kernel import Kernel
from backtesting.resampling import IndexArray, stationary_bootstrap
from backtesting.statistics import common_block, step_up

BAND_LEVEL = 0.01
BAND_REPS = 999
# The draws are the same for everybody and at all times: nobody can draw again until it fits.
_SEED = 1952
_CHUNK = 27  # a divisor of BAND_REPS; the first chunk settles most answers


@dataclass(frozen=True)
class DrawdownBand:
    """A fall beside the falls of resamples.

    Attributes:
        depth: largest loss from an earlier peak of the account, as a positive fraction; 1 for a ruined account.
        share: of the resamples that fell as deep or deeper, counted as (1 + found) / (1 + drawn), in (0, 1].
        held: share is above `BAND_LEVEL`.
    """

    depth: float
    share: float
    held: bool


def drawdown_band(promise: FloatArray, seen: FloatArray, *, drift: bool) -> DrawdownBand:
    """Hold the fall of the stream `seen` against resamples, as long as it is, of the stream `promise`.

    Stationary bootstrap of log returns (Politis and Romano 1994). Drawing stops where the answer is settled: once more
    than 1 % of all `BAND_REPS` resamples would be as deep, whatever the others are.

    Args:
        promise, seen: (n,) and (m,) simple returns a bar, finite; not shorter than two bars.
        drift: whether the promise keeps its mean log return, or has 0.
    """
    fall = _deepest(_log(seen)[None, :])[0]
    if not np.isfinite(fall):
        return DrawdownBand(1.0, 1.0 / (1 + BAND_REPS), False)
    logs = _log(promise)
    if not np.isfinite(logs).all():
        return DrawdownBand(-float(np.expm1(fall)), 1.0 / (1 + BAND_REPS), False)
    n, m = len(logs), len(seen)
    if not drift:
        logs = logs - logs.mean()
    block = step_up(common_block(promise[:, None]), n)
    enough = BAND_LEVEL * (1 + BAND_REPS)
    found = drawn = 0
    while drawn < BAND_REPS and 1 + found <= enough:
        # The same days added up in another order may differ by a rounding.
        found += int(np.count_nonzero(_falls(logs, _draws(n, m, block, drawn)) <= fall + 1e-12))
        drawn += _CHUNK
    return DrawdownBand(-float(np.expm1(fall)), (1 + found) / (1 + drawn), 1 + found > enough)


@lru_cache(maxsize=128)
def _draws(n: int, m: int, block: float, first: int) -> IndexArray:
    """(m, _CHUNK) read-only indices into n bars; kept, because drawing is most of what a band costs."""
    rows = -(-m // n)  # a longer window is made of several resamples
    rng = np.random.default_rng([_SEED, n, m, round(1e6 * block), first])
    draws = stationary_bootstrap(n, block, _CHUNK * rows, rng).reshape(_CHUNK, rows * n)[:, :m].T.copy()
    draws.flags.writeable = False
    return draws


def _fall_loop(logs: FloatArray, draws: IndexArray) -> FloatArray:
    """(R,) lowest log account value against its earlier peak, of resamples (m, R) of finite log returns (n,)."""
    n_resamples = draws.shape[1]
    path, peak, lowest = np.zeros(n_resamples), np.zeros(n_resamples), np.zeros(n_resamples)
    # Side by side, because a path by itself waits for its last bar at every bar.
    for t in range(len(draws)):
        for k in range(n_resamples):
            path[k] += logs[draws[t, k]]
        for k in range(n_resamples):
            peak[k] = max(peak[k], path[k])
            lowest[k] = min(lowest[k], path[k] - peak[k])
    return lowest


_falls = Kernel(_fall_loop)


def _log(returns: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: FloatArray = np.where(returns > -1.0, np.log1p(returns), -inf)
    return logs


def _deepest(logs: FloatArray) -> FloatArray:
    """(R,) lowest log account value against its earlier peak, 0 or less, of streams of log returns (R, n)."""
    path = np.cumsum(logs, axis=1)
    peak = np.maximum(np.maximum.accumulate(path, axis=1), 0.0)
    path -= peak
    lowest: FloatArray = np.minimum(path.min(axis=1), 0.0)
    return lowest
