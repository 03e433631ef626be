"""Null markets: returns without any edge, and one edge planted among them, for measuring what the gate lets through.

Pure functions of a generator; no prices, no files. The families differ in tails, in clusters of volatility and in how
much of a real series they keep. All but one have an expected return of zero whatever came before, so no rule earns
anything. The exception is `bootstrapped`: it keeps how the real series' direction goes with its volatility, and the
same days may come back, so a search has something to find there, and more than the nominal share of its runs pass.

The streams of many rules come in two ways. `factor_streams` draws them directly, with the correlations that searches
have. `timing_streams` lets random timing rules loose on one market, which is what a search really does: the same
returns, held or not.
"""

from collections.abc import Callable
from math import sqrt

import numpy as np

from backtesting.bars import FloatArray
from backtesting.statistics import stationary_bootstrap

DAILY = 0.01
# Log-volatility of one market: AR(1) with a half-life of 34 days and a standard deviation of 0.4.
PERSISTENCE, LOG_VOLATILITY = 0.98, 0.4
TAIL_DEGREES = 6.0
REAL_BLOCK = 40.0
LONGEST_WINDOW = 250
WITHIN_FAMILY, ACROSS_FAMILIES = 0.6, 0.1

NullMarket = Callable[[int, np.random.Generator, FloatArray], FloatArray]


def random_walk(n: int, rng: np.random.Generator, history: FloatArray) -> FloatArray:
    """(n,) independent Student returns with 6 degrees of freedom."""
    drawn: FloatArray = DAILY * sqrt((TAIL_DEGREES - 2.0) / TAIL_DEGREES) * rng.standard_t(TAIL_DEGREES, n)
    return drawn


def garch(n: int, rng: np.random.Generator, history: FloatArray) -> FloatArray:
    """(n,) GARCH(1,1) with Student shocks, figures usual for daily stock indices (Bollerslev 1986, 1987)."""
    shocks = sqrt((TAIL_DEGREES - 2.0) / TAIL_DEGREES) * rng.standard_t(TAIL_DEGREES, n)
    returns = np.empty(n)
    variance = DAILY**2
    for t in range(n):
        returns[t] = sqrt(variance) * shocks[t]
        variance = 0.02 * DAILY**2 + 0.08 * returns[t] ** 2 + 0.90 * variance
    return returns


def bootstrapped(n: int, rng: np.random.Generator, history: FloatArray) -> FloatArray:
    """(n,) a real series in stationary blocks of 40 days, without its mean and what its last 10 days foretell.

    That part is a real edge: with it, a reversal rule earns something. What is left is still no strict null, see above.
    """
    return _blocks(n, rng, unforeseen(history))


def unforeseen(history: FloatArray, lags: int = 10) -> FloatArray:
    """(n - lags,) residuals of an autoregression with a mean, by least squares."""
    past = np.column_stack([history[lags - k : len(history) - k] for k in range(1, lags + 1)])
    columns = np.column_stack([np.ones(len(past)), past])
    residuals: FloatArray = history[lags:] - columns @ np.linalg.lstsq(columns, history[lags:], rcond=None)[0]
    return residuals


def sign_flipped(n: int, rng: np.random.Generator, history: FloatArray) -> FloatArray:
    """(n,) the same with a coin thrown for the sign of every day: all of the volatility, none of the direction."""
    flipped: FloatArray = _blocks(n, rng, history) * rng.choice([-1.0, 1.0], size=n)
    return flipped


def block_flipped(n: int, rng: np.random.Generator, history: FloatArray) -> FloatArray:
    """(n,) as `bootstrapped`, but every block with a sign of its own and no day used twice before all are used.

    What the level of volatility says about the next day's direction is gone with it, and so is a stretch of days that
    comes back in the sealed window after a search has seen it in the open one.
    """
    left = unforeseen(history)
    drawn: list[FloatArray] = []
    while sum(map(len, drawn)) < n:
        rolled = np.roll(left, int(rng.integers(len(left))))
        blocks = np.split(rolled, np.flatnonzero(rng.random(len(rolled)) < 1.0 / REAL_BLOCK))
        drawn += [blocks[i] * rng.choice([-1.0, 1.0]) for i in rng.permutation(len(blocks))]
    return np.concatenate(drawn)[:n]


NULL_MARKETS: dict[str, NullMarket] = {
    "random-walk": random_walk,
    "garch": garch,
    "bootstrap": bootstrapped,
    "sign-flip": sign_flipped,
    "block-flip": block_flipped,
}


def factor_streams(n: int, count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """(n, count) streams of worthless strategies, and (n,) the market that all of them lean on a little.

    Families of Zipf size, correlation 0.6 inside and 0.1 across, one changing volatility for all, Student tails (6).
    The correlation across families is the market's, so a hedge against it takes that part out.
    """
    from scipy.signal import lfilter  # half a second, and only simulated markets need it

    families = max(3, int(sqrt(count)))
    weight = 1.0 / np.arange(1, families + 1)
    family = rng.choice(families, size=count, p=weight / weight.sum())
    market = rng.standard_normal(n)
    streams = sqrt(1.0 - WITHIN_FAMILY) * rng.standard_normal((n, count), dtype=np.float32).astype(np.float64)
    streams += sqrt(WITHIN_FAMILY - ACROSS_FAMILIES) * rng.standard_normal((n, families))[:, family]
    streams += sqrt(ACROSS_FAMILIES) * market[:, None]
    shock = LOG_VOLATILITY * sqrt(1.0 - PERSISTENCE**2) * rng.standard_normal(n + 500)
    scale = np.exp(lfilter([1.0], [1.0, -PERSISTENCE], shock)[500:]) / np.sqrt(
        rng.chisquare(TAIL_DEGREES, n) / TAIL_DEGREES
    )
    scale *= DAILY
    streams *= scale[:, None]
    return streams, market * scale


def timing_streams(returns: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """(n, count) what random timing rules earn on one market of n returns, without costs.

    Position at the close from the past alone, return of the next bar: trend, reversal and volatility rules over windows
    of 2 to 250 bars, long, short or both, and coins held for a while. Costs are left out because they would make the
    null easier to hold: with them every rule loses.
    """
    n = len(returns)
    level = np.concatenate([[0.0], np.cumsum(returns)])
    squares = np.concatenate([[0.0], np.cumsum(returns**2)])
    streams = np.zeros((n, count))
    for rule in range(count):
        kind = int(rng.integers(4))
        window = int(2.0 * (LONGEST_WINDOW / 2.0) ** rng.random())
        if kind == 3:
            throws = rng.choice([-1.0, 1.0], size=n // window + 1)
            signal = np.repeat(throws, window)[:n]
        else:
            path = squares if kind == 2 else level
            slow = np.zeros(n)
            slow[window:] = (path[window:-1] - path[: -window - 1]) / window
            short = max(1, window // 5)
            fast = np.zeros(n)
            fast[window:] = (path[window:-1] - path[window - short : -short - 1]) / short
            signal = np.sign(fast - slow) if kind == 2 else np.sign(slow if kind == 0 else slow - 0.5 * fast)
        signal = signal * rng.choice([-1.0, 1.0])
        side = int(rng.integers(3))
        position = np.maximum(signal, 0.0) if side == 0 else np.minimum(signal, 0.0) if side == 1 else signal
        # `path[t]` holds the returns before bar t, so the position is already that of the close before.
        streams[:, rule] = position * returns
    return streams


def plant(streams: FloatArray, column: int, annual_sharpe: float, periods_per_year: float) -> FloatArray:
    """The streams with a constant added to one of them that gives it this expected annual Sharpe ratio."""
    planted = streams.copy()
    planted[:, column] += annual_sharpe / sqrt(periods_per_year) * streams[:, column].std()
    return planted


def _blocks(n: int, rng: np.random.Generator, history: FloatArray) -> FloatArray:
    centred = history - history.mean()
    rows = -(-n // len(centred))
    chosen = stationary_bootstrap(len(centred), REAL_BLOCK, rows, rng).ravel()[:n]
    drawn: FloatArray = centred[chosen]
    return drawn
