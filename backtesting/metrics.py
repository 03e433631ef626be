"""Metrics: what a stream of returns and a list of trades amount to, as named numbers.

Each metric is one pure function and one entry of `METRICS`; the docs and the choice of an agent read the registry.
A metric that is not defined (no trade, one bar, a constant stream) is NaN, never infinite and never a guess of 0.
The risk-free rate is taken as 0 everywhere: cash earns nothing in the engine either.
It does not compare with a benchmark; alpha and beta belong to the paired evaluation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backtesting.bars import FloatArray

# A standard deviation below this is the rounding of equity ratios near 1, not risk: ratios over it are undefined.
FLAT = 1e-12


@dataclass(frozen=True)
class Metric:
    """One registered metric: what it is called, what it is counted in, what it is, and who says so."""

    name: str
    unit: str
    definition: str
    source: str


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("total_return", "fraction", "Last equity over capital, minus 1.", "GIPS 2020, time-weighted return"),
        Metric(
            "cagr",
            "fraction a year",
            "Total return as a constant growth rate a year: (last equity / capital) ^ (bars a year / bars) - 1.",
            "Bacon (2008), Practical Portfolio Performance Measurement, ch. 2",
        ),
        Metric(
            "volatility_annual",
            "fraction a year",
            "Standard deviation of returns a bar (n - 1), times the square root of bars a year.",
            "Bacon (2008), ch. 4",
        ),
        Metric(
            "sharpe_ratio",
            "a year",
            "Mean over standard deviation (n - 1) of returns a bar, times the square root of bars a year; "
            "the risk-free rate is 0.",
            "Sharpe (1994), The Sharpe Ratio",
        ),
        Metric(
            "sortino_ratio",
            "a year",
            "Mean return a bar over the root mean square of the losses (over all bars, target 0), "
            "times the square root of bars a year.",
            "Sortino and Price (1994), Performance Measurement in a Downside Risk Framework",
        ),
        Metric(
            "calmar_ratio",
            "a year",
            "CAGR over the size of the maximum drawdown, both of the whole window.",
            "Young (1991), Calmar Ratio: A Smoother Tool",
        ),
        Metric(
            "max_drawdown",
            "fraction",
            "Lowest equity over its earlier peak, minus 1: 0 is best, -1 is ruin. The capital is the first peak.",
            "Magdon-Ismail and Atiya (2004), Maximum Drawdown",
        ),
        Metric(
            "max_drawdown_bars",
            "bars",
            "Longest run of closes below the earlier peak of equity.",
            "Bacon (2008), ch. 4",
        ),
        Metric(
            "exposure", "fraction of equity", "Mean size of the position at the close, long or short.", "Touchstone"
        ),
        Metric(
            "turnover_annual",
            "equity a year",
            "Traded notional as a fraction of equity, buys and sells added, a year.",
            "Touchstone",
        ),
        Metric("n_trades", "trades", "Positions entered, the one still open included.", "Touchstone"),
        Metric("hit_rate", "fraction", "Closed trades with a profit after costs, of all closed trades.", "Touchstone"),
        Metric(
            "profit_factor",
            "ratio",
            "Profits of the closed trades over their losses, after costs; undefined without a loss.",
            "Schwager (1984), A Complete Guide to the Futures Markets",
        ),
        Metric(
            "average_bars_held",
            "bars",
            "Mean number of closes that a closed trade spent in its position.",
            "Touchstone",
        ),
        Metric(
            "cost_share",
            "fraction",
            "All costs over the profit before costs; undefined where there is no profit before costs.",
            "Touchstone",
        ),
        Metric("skew", "1", "Third standardised central moment of returns (population moments).", "Pearson (1895)"),
        Metric(
            "kurtosis",
            "1",
            "Fourth standardised central moment of returns (population moments); 3 for a Normal.",
            "Pearson (1905)",
        ),
        Metric("best_day", "fraction", "Largest return of one bar.", "Touchstone"),
        Metric("worst_day", "fraction", "Smallest return of one bar.", "Touchstone"),
    )
}


class TradeLike(Protocol):
    """What the trade metrics read of a trade."""

    @property
    def entry_bar(self) -> int:
        """Bar of the first fill."""
        ...

    @property
    def exit_bar(self) -> int:
        """Bar of the last fill, or of the mark."""
        ...

    @property
    def pnl(self) -> float:
        """Profit after all costs, account currency."""
        ...

    @property
    def reason(self) -> str:
        """Why it ended; "open" if it did not."""
        ...


def total_return(equity: FloatArray, capital: float) -> float:
    """Last equity over capital, minus 1."""
    return float(equity[-1] / capital - 1.0)


def cagr(equity: FloatArray, capital: float, periods_per_year: float) -> float:
    """Total return as a growth rate a year; -1 for a ruined account; NaN where the power overflows."""
    with np.errstate(over="ignore"):
        growth = np.power(np.float64(equity[-1] / capital), periods_per_year / len(equity))
    return _finite(growth - 1.0)


def volatility_annual(returns: FloatArray, periods_per_year: float) -> float:
    """Standard deviation (ddof 1) a year. NaN for fewer than two bars."""
    if len(returns) < 2:
        return math.nan
    return float(returns.std(ddof=1)) * math.sqrt(periods_per_year)


def sharpe_ratio(returns: FloatArray, periods_per_year: float) -> float:
    """Sharpe (1994) a year with a risk-free rate of 0. NaN for fewer than two bars or a constant stream."""
    if len(returns) < 2:
        return math.nan
    return _ratio(float(returns.mean()), float(returns.std(ddof=1))) * math.sqrt(periods_per_year)


def sortino_ratio(returns: FloatArray, periods_per_year: float) -> float:
    """Sortino and Price (1994) a year with a target of 0. NaN for fewer than two bars or without a loss."""
    if len(returns) < 2:
        return math.nan
    losses = np.minimum(returns, 0.0)
    return _ratio(float(returns.mean()), math.sqrt(float(losses @ losses) / len(returns))) * math.sqrt(periods_per_year)


def drawdowns(equity: FloatArray, capital: float) -> FloatArray:
    """(n,) equity over its peak so far, minus 1, never positive; the capital is the first peak."""
    peaks: FloatArray = np.maximum(np.maximum.accumulate(equity), capital)
    return equity / peaks - 1.0


def max_drawdown(falls: FloatArray) -> float:
    """The lowest of `drawdowns`: 0 for an account that never fell, -1 for a ruined one."""
    return float(falls.min())


def max_drawdown_bars(falls: FloatArray) -> float:
    """Longest run of `drawdowns` below 0; a run that has not ended counts as far as it goes."""
    at_peak = np.flatnonzero(falls >= 0.0)
    marks = np.concatenate(([-1], at_peak, [len(falls)]))
    return float(np.diff(marks).max() - 1)


def calmar_ratio(growth: float, worst: float) -> float:
    """CAGR over the size of the maximum drawdown, as `cagr` and `max_drawdown` give them. NaN without a drawdown."""
    return _ratio(growth, -worst)


def turnover_annual(turnover: FloatArray, periods_per_year: float) -> float:
    """Sum of `turnover` a year, in multiples of equity."""
    return float(turnover.sum()) / len(turnover) * periods_per_year


def hit_rate(trades: Sequence[TradeLike]) -> float:
    """Share of closed trades with pnl > 0. NaN without a closed trade."""
    closed = [trade.pnl for trade in trades if trade.reason != "open"]
    return sum(pnl > 0.0 for pnl in closed) / len(closed) if closed else math.nan


def profit_factor(trades: Sequence[TradeLike]) -> float:
    """Profits over losses of the closed trades. NaN without a loss."""
    closed = [trade.pnl for trade in trades if trade.reason != "open"]
    losses = -sum(pnl for pnl in closed if pnl < 0.0)
    return _finite(sum(pnl for pnl in closed if pnl > 0.0) / losses) if losses > 0.0 else math.nan


def average_bars_held(trades: Sequence[TradeLike]) -> float:
    """Mean number of closes a closed trade was held over: 0 for one that was stopped on its first bar."""
    held = [trade.exit_bar - trade.entry_bar for trade in trades if trade.reason != "open"]
    return sum(held) / len(held) if held else math.nan


def cost_share(equity: FloatArray, capital: float, costs_paid: float) -> float:
    """Costs over profit before costs. NaN where the profit before costs is not positive."""
    gross = float(equity[-1]) - capital + costs_paid
    return _finite(costs_paid / gross) if gross > 0.0 else math.nan


def skew(returns: FloatArray) -> float:
    """m3 / m2^1.5 with population moments. NaN for a constant stream."""
    centred = returns - returns.mean()
    squares = centred * centred
    deviation = math.sqrt(float(squares.mean()))
    return _ratio(float((squares * centred).mean()), deviation**3, floor=FLAT**3)


def kurtosis(returns: FloatArray) -> float:
    """m4 / m2^2 with population moments: 3 for a Normal. NaN for a constant stream."""
    centred = returns - returns.mean()
    squares = centred * centred
    return _ratio(float((squares * squares).mean()), float(squares.mean()) ** 2, floor=FLAT**4)


def summarise(
    returns: FloatArray,
    equity: FloatArray,
    exposure: FloatArray,
    turnover: FloatArray,
    trades: Sequence[TradeLike],
    periods_per_year: float,
    costs_paid: float,
    capital: float,
) -> dict[str, float]:
    """Every metric of `METRICS`, in its order, as finite numbers or NaN.

    Args:
        returns, equity, exposure, turnover: (n,) a bar of the window, n >= 1, no NaN; see `BacktestResult`.
        trades: closed ones and the open one.
        periods_per_year: bars a year.
        costs_paid, capital: in account currency; capital is positive.
    """
    falls = drawdowns(equity, capital)
    growth = cagr(equity, capital, periods_per_year)
    worst = max_drawdown(falls)
    return {
        "total_return": total_return(equity, capital),
        "cagr": growth,
        "volatility_annual": volatility_annual(returns, periods_per_year),
        "sharpe_ratio": sharpe_ratio(returns, periods_per_year),
        "sortino_ratio": sortino_ratio(returns, periods_per_year),
        "calmar_ratio": calmar_ratio(growth, worst),
        "max_drawdown": worst,
        "max_drawdown_bars": max_drawdown_bars(falls),
        "exposure": float(np.abs(exposure).mean()),
        "turnover_annual": turnover_annual(turnover, periods_per_year),
        "n_trades": float(len(trades)),
        "hit_rate": hit_rate(trades),
        "profit_factor": profit_factor(trades),
        "average_bars_held": average_bars_held(trades),
        "cost_share": cost_share(equity, capital, costs_paid),
        "skew": skew(returns),
        "kurtosis": kurtosis(returns),
        "best_day": float(returns.max()),
        "worst_day": float(returns.min()),
    }


def _ratio(above: float, below: float, floor: float = FLAT) -> float:
    """`above / below`, or NaN where `below` is only rounding."""
    return _finite(above / below) if below > floor else math.nan


def _finite(value: float) -> float:
    return float(value) if math.isfinite(value) else math.nan
