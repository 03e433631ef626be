"""Look-ahead audit: does a decision change when the future is taken away, and does the engine fill before it may.

Two questions, because there are two ways to know tomorrow. A signal that uses later bars decides otherwise once they
are cut off: `audit_signals` cuts at many places and compares every decision before the cut. An engine that fills on the
bar whose close decides needs no such signal: `same_bar_sharpe` trades the sign of the bar's own return on pure noise,
which earns nothing if fills wait for the next bar and an annual Sharpe ratio near 21 if they do not.

It says nothing about data that was revised after the fact: prices and features are taken as the bars have them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import sqrt

import numpy as np

from backtesting.backtest import Strategy
from backtesting.bars import Bars, FloatArray
from backtesting.decisions import Signals, TargetDecisions

N_CUTS = 40
NOISE_BARS = 2520


@dataclass(frozen=True)
class Leak:
    """One decision that knew more than it should: `field` at bar `bar` changed when the bars after `cut` came in."""

    field: str
    bar: int
    cut: int
    session: str

    def __str__(self) -> str:
        return f"{self.field} of {self.session} (bar {self.bar}) changes once bars after bar {self.cut - 1} are known"


def audit_signals(strategy: Strategy, bars: Bars, cuts: Sequence[int]) -> tuple[Leak, ...]:
    """The first leak of every decision field, over all cuts; empty for a causal strategy.

    Args:
        cuts: numbers of bars, each from 1 to one below all; `spread_cuts` gives some.
    """
    whole = strategy.generate_signals(bars).decisions
    found: dict[str, Leak] = {}
    for cut in cuts:
        part = strategy.generate_signals(bars.upto(cut)).decisions
        if type(part) is not type(whole):
            return (Leak("the kind of decision", cut - 1, cut, str(bars.sessions[cut - 1])),)
        for item in fields(whole):
            before, after = getattr(part, item.name), getattr(whole, item.name)
            if not isinstance(before, np.ndarray):
                differs = np.array([before != after])
            else:
                differs = _differs(before, after[:cut])
            if differs.any() and item.name not in found:
                bar = int(np.argmax(differs))
                found[item.name] = Leak(item.name, bar, cut, str(bars.sessions[bar]))
    return tuple(found.values())


def spread_cuts(n_bars: int, warmup: int, rng: np.random.Generator, count: int = N_CUTS) -> tuple[int, ...]:
    """`count` different cuts, most of them behind the warm-up, where a rule has something to say."""
    first = min(max(warmup, 1), max(1, n_bars - count - 1))
    later = np.arange(first, n_bars)
    drawn = rng.choice(later, size=min(count, len(later)), replace=False)
    # The cut just before the last bar catches what peeks one bar ahead, wherever the others fall.
    return tuple(sorted({*(int(cut) for cut in drawn), n_bars - 1}))


def same_bar_sharpe(run: Callable[[Signals], FloatArray], rng: np.random.Generator) -> float:
    """Sharpe ratio, in standard errors, of trading each bar's own direction on noise without costs.

    `run` gives the (n,) returns a bar of signals. Within 3 of zero if fills come after the bar that decides.
    """
    close = 100.0 * np.exp(np.cumsum(0.01 * rng.normal(size=NOISE_BARS)))
    opened = np.concatenate([[100.0], close[:-1]])
    columns = {
        "open": opened,
        "high": np.maximum(opened, close),
        "low": np.minimum(opened, close),
        "close": close,
        "volume": np.full(NOISE_BARS, 1e6),
    }
    bars = Bars(
        symbols=("NOISE",),
        sessions=np.datetime64("2000-01-01") + np.arange(NOISE_BARS),
        source="noise",
        **{name: values[:, None] for name, values in columns.items()},
    )
    target = np.sign(close / opened - 1.0)[:, None]
    returns = run(Signals("the bar's own direction", bars, TargetDecisions(target)))
    return float(returns.mean() / returns.std() * sqrt(len(returns)))


def _differs(before: FloatArray, after: FloatArray) -> FloatArray:
    """(n,) True where any asset's decision differs; NaN equals NaN, and one part in 1e9 is a rounding."""
    if before.dtype == np.bool_:
        unequal = before != after
    else:
        unequal = ~np.isclose(before, after, rtol=1e-9, atol=1e-12, equal_nan=True)
    rows: FloatArray = unequal.reshape(len(unequal), -1).any(axis=1)
    return rows
