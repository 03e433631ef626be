"""BacktestResult: what one strategy would have done on one window, and what it cost. Same inputs, same bytes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, get_args, overload

from backtesting.bars import FloatArray, IntArray, Sessions
from backtesting.costs import CostModel
from backtesting.splits import Window
from backtesting.terms import CASH, Terms

ExitReason = Literal["signal", "stop", "trail", "target", "time", "rebalance", "open", "bankrupt", "halt", "delisted"]
# The engines write a reason as its place in this tuple.
REASONS: tuple[ExitReason, ...] = get_args(ExitReason)


class Trade(NamedTuple):
    """One position from entry to exit; while it is still held, `exit_bar` is the window's last and `reason` "open".

    A named tuple and not a dataclass, because a report holds thousands of them.

    Attributes:
        side: 1 long, -1 short.
        entry_bar, exit_bar: bar numbers in the market (not in the window).
        entry_price, exit_price: fills, spread and slippage included; the mark if still open. Averages over the
            fills where a target position was added to or reduced on the way.
        units: size, in units of the asset, positive; all that was added up, where a position was added to.
        pnl: profit in account currency after all costs; the pnl of all trades add up to the profit of the account.
        costs: commission, spread, slippage, impact, borrow, financing, rolls and funding in account currency; funding
            that was received counts against them.
        asset: column of the market.
        multiplier: account currency for one point of price and one unit.
        mae, mfe: worst and best price while it was held, entry and exit included, as a move in its favour from the
            entry price (maximum adverse and favourable excursion): mae <= 0 <= mfe.
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
    asset: int = 0
    multiplier: float = 1.0
    mae: float = math.nan
    mfe: float = math.nan

    @property
    def entry_notional(self) -> float:
        """What was entered, in account currency, positive."""
        return self.units * self.entry_price * self.multiplier

    @property
    def traded_notional(self) -> float:
        """All fills, in account currency: the way in, and the way out unless it is still held."""
        exits = self.units * self.exit_price * self.multiplier
        return self.entry_notional + (0.0 if self.reason == "open" else exits)


class Trades(Sequence[Trade]):
    """Trades as columns; the rows are made when somebody looks at them, which most reports never see.

    Args:
        whole: (n_trades, >= 5) side, entry bar, exit bar, reason as a place in `REASONS`, asset.
        real: (n_trades, 5) entry price, exit price, units, pnl, costs.
        moves: (n_trades, 2) mae and mfe.
        multiplier: (n_assets,).
    """

    def __init__(self, whole: IntArray, real: FloatArray, moves: FloatArray, multiplier: FloatArray) -> None:
        self.whole = whole
        self.real = real
        self.moves = moves
        self.multiplier = multiplier

    @cached_property
    def rows(self) -> tuple[Trade, ...]:
        """All of them, in the order in which they ended."""
        side, first, last, reason, asset, *_ = self.whole.T.tolist()
        entry, leave, units, pnl, paid = self.real.T.tolist()
        mae, mfe = self.moves.T.tolist()
        reasons = (REASONS[place] for place in reason)
        multipliers = self.multiplier[self.whole[:, 4]].tolist()
        return tuple(
            map(Trade, side, first, last, entry, leave, units, pnl, paid, reasons, asset, multipliers, mae, mfe)
        )

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[Trade]:
        return iter(self.rows)

    @overload
    def __getitem__(self, at: int) -> Trade: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Trade, ...]: ...
    def __getitem__(self, at: int | slice) -> Trade | tuple[Trade, ...]:
        return self.rows[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self.rows == tuple(other)

    def __hash__(self) -> int:
        return hash(self.rows)

    def __repr__(self) -> str:
        return repr(self.rows)


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """A simulation of one window, flat at its start, marked at every close.

    Attributes:
        name: the strategy's name, for people.
        bars_id, source, window, costs, capital: what it was run on.
        sessions: (n,) dates of the window.
        equity: (n,) account value at the close.
        returns: (n,) simple return a bar, net of all costs; the first is against `capital`.
        exposure: (n,) position at the close as a fraction of equity, negative is short; over several assets the sum.
        turnover: (n,) traded notional in the bar as a fraction of equity before the trade.
        trades: closed ones and, last, the open one.
        costs_paid: all costs in account currency.
        metrics: by name; see backtesting/metrics.py. NaN where undefined, never infinite.
        terms: the conventions of the market it was run on.
        unfilled: notional of opening orders that the limit on participation cut off, in account currency.
        positions: (n, n_assets) position at the close as a fraction of equity, where it was asked for; else None.
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
    trades: Sequence[Trade]
    costs_paid: float
    metrics: Mapping[str, float]
    terms: Terms = CASH
    unfilled: float = 0.0
    positions: FloatArray | None = None


def log_growth(result: BacktestResult) -> float:
    """Log growth of the account over the window; -inf is NaN, as after a bankruptcy."""
    last = float(result.equity[-1])
    return math.log(last / result.capital) if last > 0.0 else math.nan
