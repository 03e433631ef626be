"""Null markets: returns without any edge, and one edge planted among them, for measuring what the gate lets through.

Pure functions of a generator; no prices, no files. The families differ in tails, in clusters of volatility and in how
much of a real series they keep. All but two have an expected return of zero whatever came before, so no rule earns
anything.

The surprising ones are those that resample a real series. Its days are then all the days there are: a rule that by
luck earned something on them earns it in that world for ever, and the best of fifty has a true Sharpe ratio of 0.35
there. So `bootstrap` is no null, whatever is done to the market's own mean. `bootstrap-centred` is: the same markets,
and each rule's own expected return in that world, from 500 years of it, taken out of its stream.

The streams of many rules come in two ways. `factor_streams` draws them directly, with the correlations that searches
have. `timing_streams` lets random timing rules loose on one market, which is what a search really does: the same
returns, held or not.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import sqrt

import numpy as np

from backtesting.bars import FloatArray
from backtesting.resampling import stationary_bootstrap

DAILY = 0.01
# Log-volatility of one market: AR(1) with a half-life of 34 days and a standard deviation of 0.4.
PERSISTENCE, LOG_VOLATILITY = 0.98, 0.4
TAIL_DEGREES = 6.0
REAL_BLOCK = 40.0
LONGEST_WINDOW = 250
WITHIN_FAMILY, ACROSS_FAMILIES = 0.6, 0.1

VOLATILITY, COIN = 2, 3
EXPECTED_BARS = 500 * 252

Expected = Mapping[tuple[int, int], tuple[float, float]]
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


NULL_MARKETS: dict[str, NullMarket] = {
    "random-walk": random_walk,
    "garch": garch,
    "sign-flip": sign_flipped,
    "bootstrap": bootstrapped,
    "bootstrap-centred": bootstrapped,
}
NO_NULL = "bootstrap"
CENTRED = "bootstrap-centred"


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


def timing_streams(
    returns: FloatArray, count: int, rng: np.random.Generator, expected: Expected | None = None
) -> FloatArray:
    """(n, count) what random timing rules earn on one market of n returns, without costs.

    Position at the close from the past alone, return of the next bar: trend, reversal and volatility rules over windows
    of 2 to 250 bars, long, short or both, and coins held for a while. Costs are left out because they would make the
    null easier to hold: with them every rule loses.

    Args:
        expected: see `expected_returns`; taken out of each stream. None where no rule can expect anything.
    """
    n = len(returns)
    paths = _paths(returns)
    streams = np.zeros((n, count))
    for rule in range(count):
        kind = int(rng.integers(4))
        window = int(2.0 * (LONGEST_WINDOW / 2.0) ** rng.random())
        if kind == COIN:
            throws = rng.choice([-1.0, 1.0], size=n // window + 1)
            signal = np.repeat(throws, window)[:n]
        else:
            signal = _signal(kind, window, paths)
        sign = rng.choice([-1.0, 1.0])
        signal = signal * sign
        side = int(rng.integers(3))
        position = np.maximum(signal, 0.0) if side == 0 else np.minimum(signal, 0.0) if side == 1 else signal
        # `path[t]` holds the returns before bar t, so the position is already that of the close before.
        streams[:, rule] = position * returns
        if expected is not None and kind != COIN:
            up, down = expected[kind, window] if sign > 0.0 else expected[kind, window][::-1]
            streams[:, rule] -= (up if side != 1 else 0.0) - (down if side != 0 else 0.0)
    return streams


def expected_returns(history: FloatArray) -> Expected:
    """What a bar of `bootstrapped` is worth to each rule of `timing_streams`, by kind and window.

    Two numbers each: the mean of return times "the signal is up", and of return times "the signal is down".
    """
    return _expected_returns(np.ascontiguousarray(history).tobytes())


@lru_cache(maxsize=1)
def _expected_returns(history: bytes) -> Expected:
    # The seed is fixed: this is a property of the history, and every process has to find the same.
    returns = bootstrapped(EXPECTED_BARS, np.random.default_rng(0), np.frombuffer(history))
    paths = _paths(returns)
    found = {}
    for kind in range(COIN):
        for window in range(2, LONGEST_WINDOW + 1):
            signal = _signal(kind, window, paths)
            found[kind, window] = (
                float(np.mean(returns * (signal > 0.0))),
                float(np.mean(returns * (signal < 0.0))),
            )
    return found


def _paths(returns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n + 1,) cumulated returns, and squared returns, before each bar."""
    return np.concatenate([[0.0], np.cumsum(returns)]), np.concatenate([[0.0], np.cumsum(returns**2)])


def _signal(kind: int, window: int, paths: tuple[FloatArray, FloatArray]) -> FloatArray:
    """(n,) -1, 0 or 1 of a trend (0), reversal (1) or volatility (2) rule; 0 on the first `window` bars."""
    path = paths[1] if kind == VOLATILITY else paths[0]
    n = len(path) - 1
    slow, fast = np.zeros(n), np.zeros(n)
    slow[window:] = (path[window:-1] - path[: -window - 1]) / window
    if kind == 0:
        return np.sign(slow)
    short = max(1, window // 5)
    fast[window:] = (path[window:-1] - path[window - short : -short - 1]) / short
    return np.sign(fast - slow) if kind == VOLATILITY else np.sign(slow - 0.5 * fast)


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
