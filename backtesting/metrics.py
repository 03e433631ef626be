"""Metrics: what a stream of returns and a list of trades amount to, as named numbers.

Each metric is one pure function and one entry of `METRICS`; the docs and the choice of an agent read the registry.
A metric that is not defined (no trade, one bar, a constant stream) is NaN, never infinite and never a guess of 0.
The risk-free rate is taken as 0 everywhere: cash earns nothing in the engine either. Metrics against a benchmark are
NaN where none is given. `summarise` composes the functions and says what a report holds; `summary.py` is the same in
one compiled pass, and what reports are made with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backtesting.bars import BoolArray, FloatArray, IntArray

# A standard deviation below this is the rounding of equity ratios near 1, not risk: ratios over it are undefined.
FLAT = 1e-12
# The tail of value at risk, expected shortfall and tail ratio.
TAIL = 0.05


@dataclass(frozen=True)
class Metric:
    """One registered metric: what it is called, what it is counted in, what it is, and who says so.

    Attributes:
        higher_is_better: None where neither more nor less is better by itself.
    """

    name: str
    unit: str
    definition: str
    source: str
    higher_is_better: bool | None


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "total_return", "fraction", "Last equity over capital, minus 1.", "GIPS 2020, time-weighted return", True
        ),
        Metric(
            "cagr",
            "fraction a year",
            "Total return as a constant growth rate a year: (last equity / capital) ^ (bars a year / bars) - 1.",
            "Bacon (2008), Practical Portfolio Performance Measurement and Attribution, ch. 2",
            True,
        ),
        Metric(
            "volatility_annual",
            "fraction a year",
            "Standard deviation of returns a bar (n - 1), times the square root of bars a year.",
            "Bacon (2008), ch. 4",
            False,
        ),
        Metric(
            "sharpe_ratio",
            "a year",
            "Mean over standard deviation (n - 1) of returns a bar, times the square root of bars a year; "
            "the risk-free rate is 0.",
            "Sharpe (1994), The Sharpe Ratio",
            True,
        ),
        Metric(
            "sortino_ratio",
            "a year",
            "Mean return a bar over the root mean square of the losses (over all bars, target 0), "
            "times the square root of bars a year.",
            "Sortino and Price (1994), Performance Measurement in a Downside Risk Framework",
            True,
        ),
        Metric(
            "calmar_ratio",
            "a year",
            "CAGR over the size of the maximum drawdown, both of the whole window.",
            "Young (1991), Calmar Ratio: A Smoother Tool",
            True,
        ),
        Metric(
            "omega_ratio",
            "ratio",
            "Sum of the gains over sum of the losses of all bars, threshold 0.",
            "Keating and Shadwick (2002), A Universal Performance Measure",
            True,
        ),
        Metric(
            "max_drawdown",
            "fraction",
            "Lowest equity over its earlier peak, minus 1: 0 is best, -1 is ruin. The capital is the first peak.",
            "Magdon-Ismail and Atiya (2004), Maximum Drawdown",
            True,
        ),
        Metric(
            "max_drawdown_bars",
            "bars",
            "Longest run of closes below the earlier peak of equity.",
            "Bacon (2008), ch. 4",
            False,
        ),
        Metric(
            "average_drawdown",
            "fraction",
            "Mean over all runs of closes below the earlier peak of the lowest point of each.",
            "Bacon (2008), ch. 4",
            True,
        ),
        Metric(
            "average_drawdown_bars",
            "bars",
            "Mean length of the runs of closes below the earlier peak.",
            "Bacon (2008), ch. 4",
            False,
        ),
        Metric(
            "ulcer_index",
            "fraction",
            "Root mean square of equity over its earlier peak, minus 1, over all bars.",
            "Martin and McCann (1989), The Investor's Guide to Fidelity Funds",
            False,
        ),
        Metric(
            "var_95",
            "fraction",
            "Return of a bar that 5 % of the bars stay below (historical, linear between two bars).",
            "Jorion (2006), Value at Risk, ch. 5",
            True,
        ),
        Metric(
            "cvar_95",
            "fraction",
            "Mean return of the worst 5 % of the bars (historical expected shortfall).",
            "Rockafellar and Uryasev (2000), Optimization of Conditional Value-at-Risk",
            True,
        ),
        Metric(
            "tail_ratio",
            "ratio",
            "Size of the return that 5 % of the bars exceed over the size of the one that 5 % stay below.",
            "pyfolio (Quantopian), tail_ratio",
            True,
        ),
        Metric(
            "skew", "1", "Third standardised central moment of returns (population moments).", "Pearson (1895)", True
        ),
        Metric(
            "kurtosis",
            "1",
            "Fourth standardised central moment of returns (population moments); 3 for a Normal.",
            "Pearson (1905)",
            False,
        ),
        Metric("best_day", "fraction", "Largest return of one bar.", "Touchstone", True),
        Metric("worst_day", "fraction", "Smallest return of one bar.", "Touchstone", True),
        Metric(
            "exposure",
            "fraction of equity",
            "Mean over the bars of the sum of the sizes of all positions at the close, long or short.",
            "Touchstone",
            None,
        ),
        Metric(
            "turnover_annual",
            "equity a year",
            "Traded notional as a fraction of equity, buys and sells added, a year.",
            "Touchstone",
            False,
        ),
        Metric("n_trades", "trades", "Positions entered, the ones still open included.", "Touchstone", None),
        Metric(
            "hit_rate", "fraction", "Closed trades with a profit after costs, of all closed trades.", "Touchstone", True
        ),
        Metric(
            "profit_factor",
            "ratio",
            "Profits of the closed trades over their losses, after costs; undefined without a loss.",
            "Schwager (1984), A Complete Guide to the Futures Markets",
            True,
        ),
        Metric(
            "expectancy",
            "fraction",
            "Mean profit after costs of a closed trade, as a fraction of what was entered.",
            "Tharp (1998), Trade Your Way to Financial Freedom, ch. 6",
            True,
        ),
        Metric(
            "average_bars_held",
            "bars",
            "Mean number of closes that a closed trade spent in its position.",
            "Touchstone",
            None,
        ),
        Metric(
            "average_mae",
            "fraction",
            "Mean over closed trades of the worst price against the entry, as a move in the trade's favour: 0 or less.",
            "Sweeney (1996), Maximum Adverse Excursion",
            True,
        ),
        Metric(
            "average_mfe",
            "fraction",
            "Mean over closed trades of the best price against the entry, as a move in the trade's favour: 0 or more.",
            "Sweeney (1996), Maximum Adverse Excursion",
            True,
        ),
        Metric(
            "cost_share",
            "fraction",
            "All costs over the profit before costs; undefined where there is no profit before costs.",
            "Touchstone",
            False,
        ),
        Metric(
            "break_even_cost_bps",
            "basis points",
            "Cost a side, of the notional of the fills, at which the profit would be gone: "
            "profit before costs over the traded notional.",
            "Touchstone",
            True,
        ),
        Metric(
            "alpha",
            "fraction a year",
            "Mean return a bar less beta times that of the benchmark, times bars a year.",
            "Jensen (1968), The Performance of Mutual Funds",
            True,
        ),
        Metric(
            "beta",
            "1",
            "Covariance of the returns with those of the benchmark over the variance of the latter.",
            "Sharpe (1964), Capital Asset Prices",
            None,
        ),
        Metric(
            "information_ratio",
            "a year",
            "Mean over standard deviation (n - 1) of the returns less those of the benchmark, "
            "times the square root of bars a year.",
            "Grinold and Kahn (2000), Active Portfolio Management, ch. 5",
            True,
        ),
        Metric(
            "up_capture",
            "ratio",
            "Mean return on the bars on which the benchmark rose, over the mean return of the benchmark on them.",
            "Bacon (2008), ch. 3",
            True,
        ),
        Metric(
            "down_capture",
            "ratio",
            "Mean return on the bars on which the benchmark fell, over the mean return of the benchmark on them.",
            "Bacon (2008), ch. 3",
            False,
        ),
    )
}


class TradeLike(Protocol):
    """What the trade metrics read of a trade; see `backtesting.result.Trade`."""

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

    @property
    def entry_notional(self) -> float:
        """What was entered, account currency."""
        ...

    @property
    def traded_notional(self) -> float:
        """All its fills, account currency."""
        ...

    @property
    def mae(self) -> float:
        """Worst move while it was held, a fraction of the entry price."""
        ...

    @property
    def mfe(self) -> float:
        """Best move while it was held, a fraction of the entry price."""
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


def average_drawdown(falls: FloatArray) -> float:
    """Mean of the lowest points of the runs of `drawdowns` below 0: 0 for an account that never fell."""
    first, _ = _runs(falls)
    return float(np.minimum.reduceat(np.minimum(falls, 0.0), first).mean()) if len(first) else 0.0


def average_drawdown_bars(falls: FloatArray) -> float:
    """Mean length of the runs of `drawdowns` below 0: 0 for an account that never fell."""
    first, after = _runs(falls)
    return float((after - first).mean()) if len(first) else 0.0


def ulcer_index(falls: FloatArray) -> float:
    """Root mean square of `drawdowns`."""
    return math.sqrt(float(falls @ falls) / len(falls))


def calmar_ratio(growth: float, worst: float) -> float:
    """CAGR over the size of the maximum drawdown, as `cagr` and `max_drawdown` give them. NaN without a drawdown."""
    return _ratio(growth, -worst)


def omega_ratio(returns: FloatArray) -> float:
    """Keating and Shadwick (2002) with a threshold of 0. NaN without a loss."""
    return _ratio(float(np.maximum(returns, 0.0).sum()), float(-np.minimum(returns, 0.0).sum()))


def var_95(returns: FloatArray) -> float:
    """The 5 % quantile of the returns, linear between two; not turned into a positive loss."""
    return float(np.quantile(returns, TAIL))


def cvar_95(returns: FloatArray) -> float:
    """Mean of the floor(0.05 * (n - 1)) + 1 smallest returns."""
    n_worst = int(TAIL * (len(returns) - 1)) + 1
    return float(np.sort(returns)[:n_worst].mean())


def tail_ratio(returns: FloatArray) -> float:
    """Size of the 95 % quantile over that of the 5 % quantile. NaN where the latter is 0."""
    return _ratio(abs(float(np.quantile(returns, 1.0 - TAIL))), abs(float(np.quantile(returns, TAIL))))


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


def expectancy(trades: Sequence[TradeLike]) -> float:
    """Mean of pnl over what was entered, closed trades only. NaN without one."""
    closed = [trade.pnl / trade.entry_notional for trade in trades if trade.reason != "open"]
    return _finite(sum(closed) / len(closed)) if closed else math.nan


def average_mae(trades: Sequence[TradeLike]) -> float:
    """Mean of `mae` of the closed trades. NaN without one."""
    closed = [trade.mae for trade in trades if trade.reason != "open"]
    return _finite(sum(closed) / len(closed)) if closed else math.nan


def average_mfe(trades: Sequence[TradeLike]) -> float:
    """Mean of `mfe` of the closed trades. NaN without one."""
    closed = [trade.mfe for trade in trades if trade.reason != "open"]
    return _finite(sum(closed) / len(closed)) if closed else math.nan


def break_even_cost_bps(equity: FloatArray, capital: float, costs_paid: float, trades: Sequence[TradeLike]) -> float:
    """Profit before costs over the notional of all fills, times 10,000. NaN without a fill.

    The reductions of a position that is still open are not among the fills.
    """
    traded = sum(trade.traded_notional for trade in trades)
    return _finite((float(equity[-1]) - capital + costs_paid) / traded * 1e4) if traded > 0.0 else math.nan


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


def beta(returns: FloatArray, benchmark: FloatArray) -> float:
    """Covariance over the variance of the benchmark. NaN for fewer than two bars or a constant benchmark."""
    if len(returns) < 2:
        return math.nan
    centred = benchmark - benchmark.mean()
    squares = float(centred @ centred)
    return _ratio(float((returns - returns.mean()) @ centred), squares, floor=FLAT**2 * len(returns))


def alpha(returns: FloatArray, benchmark: FloatArray, periods_per_year: float) -> float:
    """Jensen (1968) a year with a risk-free rate of 0; arithmetic, not compounded. NaN where beta is."""
    return float(returns.mean() - beta(returns, benchmark) * benchmark.mean()) * periods_per_year


def information_ratio(returns: FloatArray, benchmark: FloatArray, periods_per_year: float) -> float:
    """Sharpe ratio of the returns less the benchmark. NaN for fewer than two bars or a constant difference."""
    return sharpe_ratio(returns - benchmark, periods_per_year)


def capture(returns: FloatArray, benchmark: FloatArray, chosen: BoolArray) -> float:
    """Mean return over the mean of the benchmark on the chosen bars. NaN without such a bar."""
    if not chosen.any():
        return math.nan
    below = float(benchmark[chosen].mean())
    return _finite(float(returns[chosen].mean()) / below)


def summarise(
    returns: FloatArray,
    equity: FloatArray,
    exposure: FloatArray,
    turnover: FloatArray,
    trades: Sequence[TradeLike],
    periods_per_year: float,
    costs_paid: float,
    capital: float,
    benchmark: FloatArray | None = None,
) -> dict[str, float]:
    """Every metric of `METRICS`, in its order, as finite numbers or NaN.

    Args:
        returns, equity, exposure, turnover: (n,) a bar of the window, n >= 1, no NaN; see `BacktestResult`. Over
            several assets `exposure` is the sum of the sizes of the positions.
        trades: closed ones and the open ones.
        periods_per_year: bars a year.
        costs_paid, capital: in account currency; capital is positive.
        benchmark: (n,) simple returns to compare with, no NaN; None for none.
    """
    falls = drawdowns(equity, capital)
    growth = cagr(equity, capital, periods_per_year)
    worst = max_drawdown(falls)
    found = {
        "total_return": total_return(equity, capital),
        "cagr": growth,
        "volatility_annual": volatility_annual(returns, periods_per_year),
        "sharpe_ratio": sharpe_ratio(returns, periods_per_year),
        "sortino_ratio": sortino_ratio(returns, periods_per_year),
        "calmar_ratio": calmar_ratio(growth, worst),
        "omega_ratio": omega_ratio(returns),
        "max_drawdown": worst,
        "max_drawdown_bars": max_drawdown_bars(falls),
        "average_drawdown": average_drawdown(falls),
        "average_drawdown_bars": average_drawdown_bars(falls),
        "ulcer_index": ulcer_index(falls),
        "var_95": var_95(returns),
        "cvar_95": cvar_95(returns),
        "tail_ratio": tail_ratio(returns),
        "skew": skew(returns),
        "kurtosis": kurtosis(returns),
        "best_day": float(returns.max()),
        "worst_day": float(returns.min()),
        "exposure": float(np.abs(exposure).mean()),
        "turnover_annual": turnover_annual(turnover, periods_per_year),
        "n_trades": float(len(trades)),
        "hit_rate": hit_rate(trades),
        "profit_factor": profit_factor(trades),
        "expectancy": expectancy(trades),
        "average_bars_held": average_bars_held(trades),
        "average_mae": average_mae(trades),
        "average_mfe": average_mfe(trades),
        "cost_share": cost_share(equity, capital, costs_paid),
        "break_even_cost_bps": break_even_cost_bps(equity, capital, costs_paid, trades),
    }
    if benchmark is None:
        return found | dict.fromkeys(AGAINST_BENCHMARK, math.nan)
    return found | {
        "alpha": alpha(returns, benchmark, periods_per_year),
        "beta": beta(returns, benchmark),
        "information_ratio": information_ratio(returns, benchmark, periods_per_year),
        "up_capture": capture(returns, benchmark, benchmark > 0.0),
        "down_capture": capture(returns, benchmark, benchmark < 0.0),
    }


AGAINST_BENCHMARK = ("alpha", "beta", "information_ratio", "up_capture", "down_capture")


def metrics_page() -> str:
    """docs/metrics.md, from the registry."""
    better = {True: "more", False: "less", None: "neither"}
    lines = [
        "# Metrics",
        "",
        "Every report holds these numbers, under these names, in this order. A metric that is not defined (no trade,",
        "one bar, a constant stream, no benchmark) is NaN, `null` in JSON: never infinite, never a guess of 0.",
        "Returns are simple, a bar, after all costs; the risk-free rate is 0; a year has the `periods_per_year` of the",
        "market. Closed trades are all but those still held at the end of the window.",
        "",
        "This page is written from `METRICS` in `backtesting/metrics.py`; a test holds the two equal.",
        "",
        "| name | unit | better | what it is | source |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{metric.name}` | {metric.unit} | {better[metric.higher_is_better]} | {metric.definition} "
        f"| {metric.source} |"
        for metric in METRICS.values()
    ]
    return "\n".join(lines) + "\n"


def _runs(falls: FloatArray) -> tuple[IntArray, IntArray]:
    """First bar of each run of `drawdowns` below 0, and the bar after its last."""
    below = np.concatenate(([False], falls < 0.0, [False]))
    edges = np.flatnonzero(below[1:] != below[:-1])
    return edges[::2], edges[1::2]


def _ratio(above: float, below: float, floor: float = FLAT) -> float:
    """`above / below`, or NaN where `below` is only rounding."""
    return _finite(above / below) if below > floor else math.nan


def _finite(value: float) -> float:
    return float(value) if math.isfinite(value) else math.nan
