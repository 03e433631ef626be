"""What the engine means, in plain loops over plain Python numbers. `engine.py` is the same, compiled.

One asset, one window, one account of cash and units. It never looks at a decision before the close that made it,
and it checks nothing: `backtest.py` does that before. Slow on purpose; the tests hold `engine.py` equal to it, trades
bit for bit. What surprises: a position may be opened, reversed and stopped on one and the same bar.

Time
    A decision is made at the close of bar t and filled at the open of the next bar that trades.
    The account is flat with `capital` at the window's first bar. Nothing before the window is used: the first
    decision is the one at the close of the window's first bar. Open positions are marked at the last close, not sold.
    A bar without prices (NaN close) trades nothing, decides nothing and stops nothing; the position is carried at the
    last close, and an order decided before waits for the next bar that trades.

Fills
    An order at the open fills at open * (1 + adverse) when buying and open * (1 - adverse) when selling; `adverse` is
    half spread plus slippage. Commission is a fraction of the notional at the fill price, paid from cash.

Signals
    Entering both ways at once is entering neither. From flat, an entry whose own exit is also true is not taken.
    A long leaves on exit_long, or on a short entry, which is then made at the same open; a short mirrors this.
    An entry in the direction that is held is ignored: no pyramiding. After `max_bars` bars (the bar of the entry is 1,
    bars without prices count) a position leaves at the next open.
    A long of size f spends f * cash, commission included, so 1 leaves exactly no cash; a short of size f sells as many
    units as that would be. Above 1 cash is borrowed. A size that is NaN, infinite, zero or negative is no entry.

Protective exits (a long; a short mirrors it)
    Distances are read at the bar that decided the entry; NaN, zero or negative is none. The stop stands at the entry
    fill minus its distance, the trailing stop at the best close since entry (or the entry fill) minus its distance,
    raised at the close and effective on the next bar; the higher of the two counts. In this order, on every bar held,
    the entry's own included: open at or below the stop fills at the open; open at or above the target fills at the
    open; low at or below the stop fills at the stop; high at or above the target fills at the target. So a bar that
    touches both ends at the stop, unless it opens beyond the target. Stops pay spread and slippage, targets are
    resting limits and pay commission only. Orders at the open come before all of these, and the close of a bar on
    which a position was stopped may decide a new entry.

Targets
    At the open the position is worth w of equity, both at the raw open. If the target is further than `band` from w
    (0 always closes), the position becomes target * equity / open units, costs on top, so a target of 1 ends
    a few basis points below zero cash. NaN and infinite targets keep what is held. Through zero, the old position is
    closed and the new one opened at one fill price, as two trades.

Holding
    At every close of the window, bars without prices included: a short pays `borrow_rate` of its notional, then
    negative cash pays `financing_rate`. Positive cash, proceeds of a short included, earns nothing.

Ruin
    Equity of zero or less, at an open, at a close or after an exit, ends the account: the position is gone at that
    price, equity is 0 from there on, and the last trade's loss is cut to what the account had. Ruin inside a bar is
    not seen.

Sums run in bar order with one accumulator a quantity.

Both functions return (equity, exposure, turnover, whole, real, costs_paid): three (n,) arrays over the window; `whole`
(n_trades, 4) with side, entry bar, exit bar, reason as a place in `REASONS`; `real` (n_trades, 5) with entry price,
exit price, units, pnl, costs. See `BacktestResult` and `Trade` for units.
"""

import math

import numpy as np

from backtesting.bars import BoolArray, FloatArray, IntArray
from backtesting.result import REASONS, ExitReason


class _Account:
    """Cash, one position, and the books."""

    def __init__(self, capital: float, commission: float, n_bars: int) -> None:
        self.commission = commission
        self.cash = capital
        self.units = 0.0
        self.ruined = False
        self.costs_paid = 0.0
        self.equity = [0.0] * n_bars
        self.exposure = [0.0] * n_bars
        self.turnover = [0.0] * n_bars
        self.trades: list[tuple[tuple[int, int, int, int], tuple[float, float, float, float, float]]] = []

    @property
    def side(self) -> int:
        return (self.units > 0.0) - (self.units < 0.0)

    def worth(self, price: float) -> float:
        return self.cash + self.units * price

    def pay(self, cost: float) -> None:
        """A holding cost: out of cash, onto the trade."""
        self.cash -= cost
        self.flow -= cost
        self.trade_costs += cost
        self.costs_paid += cost

    def add(
        self, bar: int, i: int, side: int, amount: float, quote: float, fill: float, moved: float, equity: float
    ) -> None:
        """Open a position, or add to the one that is held; `moved` is what happens to cash."""
        if self.units == 0.0:
            self.entry_bar = bar
            self.entry_price = self.exit_price = 0.0
            self.added = self.removed = 0.0
            self.flow = self.trade_costs = 0.0
        self._book(i, amount, quote, fill, moved, equity)
        self.added += amount
        self.entry_price += (fill - self.entry_price) * (amount / self.added)
        self.units += side * amount

    def reduce(self, i: int, amount: float, quote: float, fill: float, equity: float) -> None:
        """Sell from a long or buy back from a short; `units` stay for the caller to set."""
        notional = amount * fill
        moved = notional * (1.0 - self.commission) if self.units > 0.0 else -(notional * (1.0 + self.commission))
        self._book(i, amount, quote, fill, moved, equity)
        self._average_exit(amount, fill)

    def leave(self, bar: int, i: int, quote: float, fill: float, equity: float, reason: ExitReason) -> None:
        """Close the whole position at a fill."""
        self.reduce(i, abs(self.units), quote, fill, equity)
        pnl = self.flow
        if self.cash <= 0.0:
            pnl = self.flow - self.cash
            self.ruined = True
        self._end_trade(bar, reason, pnl)

    def lose(self, bar: int, mark: float) -> None:
        """Ruin: the position is gone at the mark and the loss ends at what the account had."""
        self._average_exit(abs(self.units), mark)
        self._end_trade(bar, "bankrupt", self.flow - self.cash)
        self.ruined = True

    def finish(self, bar: int, mark: float) -> None:
        """The window is over: what is held is written as an open trade at its mark."""
        if self.units != 0.0:
            self._average_exit(abs(self.units), mark)
            self._end_trade(bar, "open", self.flow + self.units * mark)

    def mark(self, bar: int, i: int, last: float, borrow_rate: float, financing_rate: float) -> None:
        """The close of a bar: holding costs, then equity and exposure, or ruin."""
        if self.units < 0.0:
            self.pay(borrow_rate * (-self.units * last))
        if self.cash < 0.0:
            self.pay(financing_rate * -self.cash)
        if self.units == 0.0:
            self.equity[i] = self.cash
        elif self.worth(last) <= 0.0:
            self.lose(bar, last)
        else:
            self.equity[i] = self.worth(last)
            self.exposure[i] = self.units * last / self.equity[i]

    def books(self) -> tuple[FloatArray, FloatArray, FloatArray, IntArray, FloatArray, float]:
        whole = np.array([numbers for numbers, _ in self.trades], dtype=np.int64).reshape(-1, 4)
        real = np.array([numbers for _, numbers in self.trades], dtype=np.float64).reshape(-1, 5)
        return np.array(self.equity), np.array(self.exposure), np.array(self.turnover), whole, real, self.costs_paid

    def _book(self, i: int, amount: float, quote: float, fill: float, moved: float, equity: float) -> None:
        notional = amount * fill
        if equity > 0.0:
            self.turnover[i] += notional / equity
        cost = amount * abs(fill - quote) + notional * self.commission
        self.cash += moved
        self.flow += moved
        self.trade_costs += cost
        self.costs_paid += cost

    def _average_exit(self, amount: float, price: float) -> None:
        self.removed += amount
        self.exit_price += (price - self.exit_price) * (amount / self.removed)

    def _end_trade(self, bar: int, reason: ExitReason, pnl: float) -> None:
        whole = (self.side, self.entry_bar, bar, REASONS.index(reason))
        self.trades.append((whole, (self.entry_price, self.exit_price, self.added, pnl, self.trade_costs)))
        self.units = 0.0


def simulate_signals(
    open_: FloatArray,
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    enter_long: BoolArray,
    exit_long: BoolArray,
    enter_short: BoolArray,
    exit_short: BoolArray,
    size: FloatArray,
    stop_distance: FloatArray,
    trail_distance: FloatArray,
    target_distance: FloatArray,
    max_bars: int,
    start: int,
    stop: int,
    capital: float,
    adverse: float,
    commission: float,
    borrow_rate: float,
    financing_rate: float,
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray, FloatArray, float]:
    """Entries, exits and protective exits over bars start to stop - 1.

    Args:
        open_, high, low, close: (n_bars,) prices, NaN where the bar did not trade.
        enter_long .. target_distance, max_bars: (n_bars,) each; see `SignalDecisions`.
        capital: positive. adverse, commission: fractions a side. borrow_rate, financing_rate: fractions a bar.
    """
    account = _Account(capital, commission, stop - start)
    decided: int | None = None
    last = best = stop_level = trail = target_level = math.nan

    for t in range(start, stop):
        i = t - start
        if not math.isnan(close[t]):
            quote = float(open_[t])
            if account.units != 0.0 and account.worth(quote) <= 0.0:
                account.lose(t, quote)
                break

            if decided is not None:
                wants_long = enter_long[decided] and not enter_short[decided]
                wants_short = enter_short[decided] and not enter_long[decided]
                held = account.side
                out_of_time = max_bars > 0 and held != 0 and decided - account.entry_bar + 1 >= max_bars
                told_to_leave = (held > 0 and (exit_long[decided] or wants_short)) or (
                    held < 0 and (exit_short[decided] or wants_long)
                )
                if told_to_leave or out_of_time:
                    fill = quote * (1.0 - held * adverse)
                    reason: ExitReason = "signal" if told_to_leave else "time"
                    account.leave(t, i, quote, fill, account.worth(quote), reason)
                    if account.ruined:
                        break

                side = 0
                if account.units == 0.0:
                    if wants_long and not exit_long[decided] and held <= 0:
                        side = 1
                    elif wants_short and not exit_short[decided] and held >= 0:
                        side = -1
                fraction = float(size[decided])
                if side != 0 and 0.0 < fraction < math.inf:
                    outlay = fraction * account.cash
                    fill = quote * (1.0 + side * adverse)
                    amount = outlay / (fill * (1.0 + commission))
                    moved = -outlay if side > 0 else amount * fill * (1.0 - commission)
                    account.add(t, i, side, amount, quote, fill, moved, account.cash)
                    best = fill
                    trail = _distance(trail_distance[decided])
                    stop_level = fill - side * _distance(stop_distance[decided])
                    target_level = fill + side * _distance(target_distance[decided])

            if account.units != 0.0:
                exit_ = _protective_exit(
                    account.side,
                    (quote, float(high[t]), float(low[t])),
                    (stop_level, best - account.side * trail, target_level),
                )
                if exit_ is not None:
                    reason, quote = exit_
                    fill = quote if reason == "target" else quote * (1.0 - account.side * adverse)
                    account.leave(t, i, quote, fill, account.worth(quote), reason)
                    if account.ruined:
                        break

            decided = t
            last = float(close[t])
            if account.side > 0:
                best = max(best, last)
            elif account.side < 0:
                best = min(best, last)

        account.mark(t, i, last, borrow_rate, financing_rate)
        if account.ruined:
            break

    account.finish(stop - 1, last)
    return account.books()


def _distance(value: float) -> float:
    return float(value) if value > 0.0 else math.nan


def _protective_exit(
    side: int, bar: tuple[float, float, float], levels: tuple[float, float, float]
) -> tuple[ExitReason, float] | None:
    """Which level ends the position on this bar, and the price it is quoted at; None if it lives on.

    A short is a long in a mirror: with all prices negated its stop lies below and its low is the negated high.
    Comparisons with NaN are false, so a level that is not there is never touched.
    """
    open_, high, low = bar if side > 0 else (-bar[0], -bar[2], -bar[1])
    stop, trailing, target = (side * level for level in levels)
    name: ExitReason = "stop"
    if trailing > stop or math.isnan(stop):
        stop, name = trailing, "trail"
    if open_ <= stop:
        return name, side * open_
    if open_ >= target:
        return "target", side * open_
    if low <= stop:
        return name, side * stop
    if high >= target:
        return "target", side * target
    return None


def simulate_targets(
    open_: FloatArray,
    close: FloatArray,
    target: FloatArray,
    band: float,
    start: int,
    stop: int,
    capital: float,
    adverse: float,
    commission: float,
    borrow_rate: float,
    financing_rate: float,
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray, FloatArray, float]:
    """Target positions over bars start to stop - 1.

    Args:
        open_, close: (n_bars,) prices, NaN where the bar did not trade.
        target, band: (n_bars,) and one number; see `TargetDecisions`.
        capital: positive. adverse, commission: fractions a side. borrow_rate, financing_rate: fractions a bar.
    """
    account = _Account(capital, commission, stop - start)
    decided: int | None = None
    last = math.nan

    for t in range(start, stop):
        i = t - start
        if not math.isnan(close[t]):
            quote = float(open_[t])
            equity = account.worth(quote)
            if account.units != 0.0 and equity <= 0.0:
                account.lose(t, quote)
                break
            if decided is not None:
                wanted = _wanted_units(float(target[decided]), band, account.units, quote, equity)
                direction = (wanted > account.units) - (wanted < account.units)
                fill = quote * (1.0 + direction * adverse)
                if account.units * direction < 0.0:
                    if account.units * wanted > 0.0:
                        account.reduce(i, abs(account.units - wanted), quote, fill, equity)
                        account.units = wanted
                    else:
                        account.leave(t, i, quote, fill, equity, "rebalance")
                        if account.ruined:
                            break
                more = abs(wanted - account.units)
                if more > 0.0:
                    notional = more * fill
                    moved = -(notional * (1.0 + commission)) if direction > 0 else notional * (1.0 - commission)
                    account.add(t, i, direction, more, quote, fill, moved, equity)
                    account.units = wanted
            decided = t
            last = float(close[t])

        account.mark(t, i, last, borrow_rate, financing_rate)
        if account.ruined:
            break

    account.finish(stop - 1, last)
    return account.books()


def _wanted_units(target: float, band: float, units: float, quote: float, equity: float) -> float:
    if target == 0.0:
        return 0.0
    if math.isfinite(target) and abs(target - units * quote / equity) > band:
        return target * equity / quote
    return units
