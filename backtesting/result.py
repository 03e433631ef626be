"""BacktestResult: what one strategy would have done on one window, and what it cost. Same inputs, same bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Literal, get_args

from backtesting.bars import FloatArray, Sessions
from backtesting.costs import CostModel
from backtesting.splits import Window

ExitReason = Literal["signal", "stop", "trail", "target", "time", "rebalance", "open", "bankrupt"]
# The engines write a reason as its place in this tuple.
REASONS: tuple[ExitReason, ...] = get_args(ExitReason)


@dataclass(frozen=True)
class Trade:
    """One position from entry to exit; while it is still held, `exit_bar` is the window's last and `reason` "open".

    Attributes:
        side: 1 long, -1 short.
        entry_bar, exit_bar: bar numbers in the market (not in the window).
        entry_price, exit_price: fills, spread and slippage included; the mark if still open. Averages over the
            fills where a target position was added to or reduced on the way.
        units: size, in units of the asset, positive; all that was added up, where a position was added to.
        pnl: profit in account currency after all costs; the pnl of all trades add up to the profit of the account.
        costs: commission, spread, slippage, borrow and financing in account currency.
    """

    side: int
    entry_bar: int
    exit_bar: int
    entry_price: float
    exit_price: float
    units: float
    pnl: float
    costs: float
    reason: ExitReason


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """A simulation of one window, flat at its start, marked at every close.

    Attributes:
        name: the strategy's name, for people.
        bars_id, source, window, costs, capital: what it was run on.
        sessions: (n,) dates of the window.
        equity: (n,) account value at the close.
        returns: (n,) simple return a bar, net of all costs; the first is against `capital`.
        exposure: (n,) position at the close as a fraction of equity, negative is short.
        turnover: (n,) traded notional in the bar as a fraction of equity before the trade.
        trades: closed ones and, last, the open one.
        costs_paid: all costs in account currency.
        metrics: by name; see backtesting/metrics.py. NaN where undefined, never infinite.
    """

    name: str
    bars_id: str
    source: str
    window: Window
    costs: CostModel
    capital: float
    sessions: Sessions
    equity: FloatArray
    returns: FloatArray
    exposure: FloatArray
    turnover: FloatArray
    trades: tuple[Trade, ...]
    costs_paid: float
    metrics: Mapping[str, float]


def log_growth(result: BacktestResult) -> float:
    """Log growth of the account over the window; -inf is NaN, as after a bankruptcy."""
    last = float(result.equity[-1])
    return log(last / result.capital) if last > 0.0 else float("nan")
