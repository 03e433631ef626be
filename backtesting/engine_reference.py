"""What the engine means, in plain loops over plain Python numbers; docs/engine.md says the same in prose.

Its compiled twins are `engine.py` for one asset and plain terms, `engine_shared.py` for targets of assets that always
trade on plain terms, `engine_panel.py` for everything. It never looks at a decision before the close that made it, and
it checks nothing: `inputs.py` does that before. Slow on purpose; the tests hold the twins equal to it bit for bit. What
surprises: a position may be opened, reversed and stopped on one bar.

Time
    A decision is made at the close of bar t and filled at the open of the asset's next bar with a price; with
    fill="close" at the close of that bar, after everything that happens inside it.
    The account is flat with `capital` at the window's first bar. Nothing before the window is used: the first
    decision is the one at the close of the window's first bar. Open positions are marked at the last close, not sold.
    A bar without prices (NaN close) trades nothing, decides nothing and stops nothing; the position is carried at the
    last close, and an order decided before waits for the next bar that trades. After `delisted_after` such bars in a
    row the asset is gone: what is held is settled at the last close less `haircut` (a short: plus), without other
    costs, and what was decided is forgotten.
    Inside one bar: delisting; ruin at the open; limit orders placed and cancelled; orders at the open (all exits, then
    all entries); protective exits and limit fills, asset by asset; orders at the close; holding costs; the mark.
    Wherever several assets are meant it is in the order of the columns, and sums run in that order with one
    accumulator a quantity.

Fills
    An order at the market fills at price * (1 + adverse) when buying and price * (1 - adverse) when selling;
    `adverse` is half spread plus slippage, plus impact * sqrt(units), together at most half the price. The units of an
    entry are taken before costs for this. Commission is a fraction of the notional at the fill plus an amount a unit,
    at least `minimum` an order (an order through zero is two), paid from cash. A position of u units is worth
    u * multiplier * price. An opening order is cut to the capacity of its decision and then down to whole lots; the
    rest is dropped. An order that closes is never cut.

Signals
    Entering both ways at once is entering neither. From flat, an entry whose own exit is also true is not taken.
    A long leaves on exit_long, or on a short entry, which is then made at the same open; a short mirrors this.
    An entry in the direction that is held is ignored: no pyramiding. After `max_bars` bars (the bar of the entry is 1,
    bars without prices count) a position leaves at the next fill.
    A size f means f * equity after the exits of the same open, commission included for a long; a short sells as many
    units as that would be. A size that is NaN, infinite, zero or negative is no entry. Larger sizes come first, equals
    in the order of the columns. No entry brings the positions held, each at its price, and the outlays of the bar above
    max(max_gross, f) of equity; what is above is cut. With fill="close", an order of an asset that was left inside the
    bar is void.
    After an exit at bar x with a cool-down of c bars, decisions of bars before x + c enter nothing. With `rearm`, a
    direction that was entered is entered again only after a close, from the entry on, at which its condition was false.

Limit entries
    An entry decided with a limit price rests from the next bar of the asset and for `limit_bars` bars after its
    decision. The next decision to enter this asset replaces it, the exit of its own direction or a halt cancels it.
    A buy fills where the open is below the price, at the open with adverse but never above the price; else where the
    low is below the price, at the price and without spread. A price that is only touched is not filled. It fills only
    from flat, and whatever limits entries holds at the fill. A sell mirrors this.

Protective exits (a long; a short mirrors it)
    Distances are read at the bar that decided the entry; NaN, zero or negative is none. The stop stands at the entry
    fill minus its distance, the trailing stop at the best close since entry (or the entry fill) minus its distance,
    raised at the close and effective on the next bar; the higher of the two counts. In this order, on every bar held,
    the entry's own included: open at or below the stop fills at the open; open at or above the target fills at the
    open; low at or below the stop fills at the stop; high at or above the target fills at the target. So a bar that
    touches both ends at the stop, unless it opens beyond the target. Stops pay spread, slippage and impact, targets are
    resting limits and pay commission only. Orders at the open come before all of these, and the close of a bar on
    which a position was stopped may decide a new entry. On the bar of a limit entry that filled inside it only the
    stop is looked at: the high may have come before the fill.

Targets
    At the fill the position is worth w of equity, both at the raw price. Targets are cut to `max_weight`, then scaled
    so that with the positions that are kept the sizes sum to at most `max_gross`, then the side that is too heavy so
    that the sum stays within `max_net`. If the target is further than `band` from w (0 always closes), the position
    becomes target * equity / price units, costs on top, so a target of 1 ends a few basis points below zero cash. NaN
    and infinite targets keep what is held. Through zero, the old position is closed and the new one opened at one fill
    price, as two trades.

Halt
    When equity at a close is more than `halt_drawdown` below its peak (the capital is the first), every position leaves
    at its next fill and nothing is entered. With `halt_bars` the account decides again at the close that many bars
    later, with the equity of then as its peak.

Holding
    At every close of the window, bars without prices included: a short pays `borrow_rate` of its notional; a position
    whose contract rolls pays spread, slippage and commission twice on its notional; longs pay shorts the funding rate;
    then negative cash pays `financing_rate`, borne by the trades in proportion to their sizes. Positive cash, proceeds
    of a short included, earns nothing.

Ruin
    Equity of zero or less, at an open, at a close or after an exit, ends the account: every position is gone at its
    price, equity is 0 from there on, and the last trade's loss is cut to what the account had. Ruin inside a bar is
    not seen.
"""

import math

import numpy as np

from backtesting.bars import BoolArray, FloatArray, IntArray
from backtesting.inputs import Books, Conditions, Market, SignalOrders, TargetOrders
from backtesting.result import REASONS, ExitReason

AT_OPEN, INSIDE, AT_CLOSE = range(3)
# Spread, slippage and impact together never take more than this fraction of the price.
WORST_FILL = 0.5


class _Holding:
    """One asset: what is held of it, and what its next order depends on."""

    def __init__(self) -> None:
        self.units = 0.0
        self.last = math.nan
        self.missing = 0
        self.decided: int | None = None
        self.left: int | None = None
        self.entry_bar = -1
        self.entered = AT_OPEN
        self.entry_price = self.exit_price = 0.0
        self.added = self.removed = 0.0
        self.flow = self.costs = 0.0
        self.best = self.stop = self.trail = self.target = math.nan
        self.armed = {1: True, -1: True}
        self.resting: tuple[int, int] | None = None

    @property
    def side(self) -> int:
        return (self.units > 0.0) - (self.units < 0.0)


class _Account:
    """Cash, a holding for each asset, and the books."""

    def __init__(self, market: Market, conditions: Conditions, halt_drawdown: float, halt_bars: int) -> None:
        n_bars, n_assets = conditions.stop - conditions.start, market.close.shape[1]
        self.market, self.on = market, conditions
        self.cash = conditions.capital
        self.ruined = False
        self.costs_paid = self.unfilled = 0.0
        self.holdings = [_Holding() for _ in range(n_assets)]
        self.prices = [math.nan] * n_assets  # what each asset is worth at this moment of the bar
        self.multiplier: list[float] = market.multiplier.tolist()
        self.lot: list[float] = market.lot.tolist()
        self.equity = [0.0] * n_bars
        self.exposure = [0.0] * n_bars
        self.gross = [0.0] * n_bars
        self.turnover = [0.0] * n_bars
        self.positions = np.zeros((n_bars, n_assets) if conditions.keep_positions else (0, 0))
        self.trades: list[tuple[tuple[int, ...], tuple[float, ...]]] = []
        self.halt_drawdown, self.halt_bars = halt_drawdown, halt_bars
        self.peak = conditions.capital
        self.halted_at: int | None = None
        self.heeds_from = conditions.start

    @property
    def held(self) -> list[int]:
        return [k for k, holding in enumerate(self.holdings) if holding.units != 0.0]

    def worth(self) -> float:
        total = self.cash
        for k in self.held:
            total += self.value(k)
        return total

    def value(self, k: int) -> float:
        return self.holdings[k].units * self.multiplier[k] * self.prices[k]

    def start_bar(self, t: int) -> list[int]:
        """Delistings, then the prices of the open, then ruin; the assets that trade."""
        traded = []
        for k, holding in enumerate(self.holdings):
            self.prices[k] = holding.last
            if not math.isnan(self.market.close[t, k]):
                holding.missing = 0
                traded.append(k)
                continue
            holding.missing += 1
            if holding.missing == self.on.delisted_after:
                holding.decided = holding.resting = None
                if holding.units != 0.0:
                    fill = holding.last * (1.0 - holding.side * self.on.haircut)
                    self.leave(t, k, fill, self.worth(), "delisted", charged=False)
        if not self.ruined:
            for k in traded:
                self.prices[k] = float(self.market.open[t, k])
            if self.held and self.worth() <= 0.0:
                self.lose(t)
        return traded

    def market_fill(self, k: int, direction: int, decided: int | None, units: float) -> float:
        worse = self.on.adverse
        if decided is not None and self.market.impact.size:
            worse += float(self.market.impact[decided, k]) * math.sqrt(units)
        return self.prices[k] * (1.0 + direction * min(worse, WORST_FILL))

    def fee(self, notional: float, units: float) -> float:
        return max(self.on.minimum, notional * self.on.commission + units * self.on.per_unit)

    def rounded(self, k: int, units: float) -> float:
        """Down to whole lots; a count that misses a whole one by a rounding is that one."""
        return math.floor(units / self.lot[k] + 1e-9) * self.lot[k] if self.lot[k] > 0.0 else units

    def fillable(self, k: int, decided: int, units: float, fill: float) -> float:
        """Units of an opening order that capacity and lots leave."""
        if self.market.capacity.size and units > self.market.capacity[decided, k]:
            limit = float(self.market.capacity[decided, k])
            self.unfilled += (units - limit) * (fill * self.multiplier[k])
            units = limit
        return self.rounded(k, units)

    def add(self, t: int, k: int, direction: int, units: float, fill: float, moved: float, equity: float) -> None:
        """Open a position, or add to the one that is held; `moved` is what happens to cash."""
        holding = self.holdings[k]
        if holding.units == 0.0:
            holding.entry_bar = t
            holding.entered = AT_CLOSE if self.on.at_close else AT_OPEN
            holding.entry_price = holding.exit_price = 0.0
            holding.added = holding.removed = 0.0
            holding.flow = holding.costs = 0.0
        self._book(t, k, units, fill, moved, equity)
        holding.added += units
        holding.entry_price += (fill - holding.entry_price) * (units / holding.added)
        holding.units += direction * units

    def reduce(self, t: int, k: int, units: float, fill: float, equity: float, charged: bool = True) -> None:
        """Sell from a long or buy back from a short; `units` stay for the caller to set."""
        holding = self.holdings[k]
        notional = units * fill * self.multiplier[k]
        if charged:
            extra = self.fee(notional, units) - notional * self.on.commission
            if holding.units > 0.0:
                moved = notional * (1.0 - self.on.commission) - extra
            else:
                moved = -(notional * (1.0 + self.on.commission) + extra)
            self._book(t, k, units, fill, moved, equity)
        else:
            moved = notional if holding.units > 0.0 else -notional
            self.cash += moved
            holding.flow += moved
            self._cost(k, units * abs(fill - self.prices[k]) * self.multiplier[k])
        self._average_exit(k, units, fill)

    def leave(self, t: int, k: int, fill: float, equity: float, reason: ExitReason, charged: bool = True) -> None:
        """Close a whole position at a fill; the account is lost if nothing is left of it."""
        holding = self.holdings[k]
        side = holding.side
        self.reduce(t, k, abs(holding.units), fill, equity, charged)
        holding.units = 0.0
        holding.left = t
        pnl = holding.flow
        lost = self.worth() <= 0.0
        if lost and not self.held:
            pnl = holding.flow - self.cash
        self._end_trade(t, k, side, reason, pnl)
        if lost:
            self.lose(t)

    def lose(self, t: int) -> None:
        """Ruin: every position is gone at its price, and the last one's loss ends at what the account had."""
        held = self.held
        for k in held:
            holding = self.holdings[k]
            self._average_exit(k, abs(holding.units), self.prices[k])
            if k == held[-1]:
                pnl = holding.flow - self.cash
            else:
                pnl = holding.flow + self.value(k)
                self.cash += self.value(k)
            self._end_trade(t, k, holding.side, "bankrupt", pnl)
            holding.units = 0.0
        self.ruined = True

    def end_bar(self, t: int) -> None:
        """The close: holding costs, then the mark, or ruin; then the halt."""
        i = t - self.on.start
        for k, holding in enumerate(self.holdings):
            self.prices[k] = holding.last
        for k in self.held:
            units = self.holdings[k].units
            if units < 0.0:
                self._pay(k, self.on.borrow_rate * -self.value(k))
            if self.market.roll.size and self.market.roll[t, k]:
                notional = abs(self.value(k))
                equity = self.worth()
                if equity > 0.0:
                    self.turnover[i] += 2.0 * notional / equity
                self._pay(k, 2.0 * (notional * self.on.adverse + self.fee(notional, abs(units))))
            if self.market.funding.size:
                self._pay(k, float(self.market.funding[t, k]) * self.value(k))
        if self.cash < 0.0:
            cost = self.on.financing_rate * -self.cash
            sizes = 0.0
            for k in self.held:
                sizes += abs(self.value(k))
            self.cash -= cost
            self.costs_paid += cost
            for k in self.held:
                share = cost * (abs(self.value(k)) / sizes)
                self.holdings[k].flow -= share
                self.holdings[k].costs += share
        net = gross = 0.0
        for k in self.held:
            net += self.value(k)
            gross += abs(self.value(k))
        total = self.worth()
        if self.held and total <= 0.0:
            self.lose(t)
            return
        self.equity[i] = total
        if self.held:
            self.exposure[i] = net / total
            self.gross[i] = gross / total
            if self.on.keep_positions:
                for k in self.held:
                    self.positions[i, k] = self.value(k) / total
        if self.halt_drawdown > 0.0:
            self._halt(t, total)

    def finish(self) -> None:
        """The window is over: what is held is written as an open trade at its mark."""
        for k in self.held:
            holding = self.holdings[k]
            self._average_exit(k, abs(holding.units), holding.last)
            pnl = holding.flow + self.value(k)
            self._end_trade(self.on.stop - 1, k, holding.side, "open", pnl)

    def books(self) -> Books:
        return Books(
            np.array(self.equity),
            np.array(self.exposure),
            np.array(self.gross),
            np.array(self.turnover),
            np.array([numbers for numbers, _ in self.trades], dtype=np.int64).reshape(-1, 6),
            np.array([numbers for _, numbers in self.trades], dtype=np.float64).reshape(-1, 5),
            self.costs_paid,
            self.unfilled,
            self.positions,
        )

    def _halt(self, t: int, equity: float) -> None:
        if self.halted_at is not None:
            if 0 < self.halt_bars <= t - self.halted_at:
                self.halted_at, self.heeds_from, self.peak = None, t, equity
            return
        self.peak = max(self.peak, equity)
        if equity < self.peak * (1.0 - self.halt_drawdown):
            self.halted_at = t
            for holding in self.holdings:
                holding.resting = None

    def _book(self, t: int, k: int, units: float, fill: float, moved: float, equity: float) -> None:
        notional = units * fill * self.multiplier[k]
        if equity > 0.0:
            self.turnover[t - self.on.start] += notional / equity
        self.cash += moved
        self.holdings[k].flow += moved
        self._cost(k, units * abs(fill - self.prices[k]) * self.multiplier[k] + self.fee(notional, units))

    def _pay(self, k: int, cost: float) -> None:
        """A holding cost: out of cash, onto the trade."""
        self.cash -= cost
        self.holdings[k].flow -= cost
        self._cost(k, cost)

    def _cost(self, k: int, cost: float) -> None:
        self.holdings[k].costs += cost
        self.costs_paid += cost

    def _average_exit(self, k: int, units: float, price: float) -> None:
        holding = self.holdings[k]
        holding.removed += units
        holding.exit_price += (price - holding.exit_price) * (units / holding.removed)

    def _end_trade(self, t: int, k: int, side: int, reason: ExitReason, pnl: float) -> None:
        holding = self.holdings[k]
        whole = (side, holding.entry_bar, t, REASONS.index(reason), k, holding.entered)
        self.trades.append((whole, (holding.entry_price, holding.exit_price, holding.added, pnl, holding.costs)))


def run_signals(market: Market, conditions: Conditions, orders: SignalOrders) -> Books:
    """Entries, exits and protective exits of any number of assets with one account."""
    account = _Account(market, conditions, orders.halt_drawdown, orders.halt_bars)
    for t in range(conditions.start, conditions.stop):
        traded = account.start_bar(t)
        if account.ruined:
            break
        if orders.limit_price.size:
            for k in traded:
                _place_limit(account, orders, k)
        if not conditions.at_close:
            _trade_signals(account, orders, t, traded)
        for k in traded:
            if account.ruined:
                break
            _inside(account, orders, t, k)
        if conditions.at_close and not account.ruined:
            for k in traded:
                account.prices[k] = float(market.close[t, k])
            _trade_signals(account, orders, t, traded)
        if account.ruined:
            break
        for k in traded:
            holding = account.holdings[k]
            holding.decided = t
            holding.last = float(market.close[t, k])
            if holding.side > 0:
                holding.best = max(holding.best, holding.last)
            elif holding.side < 0:
                holding.best = min(holding.best, holding.last)
            if orders.rearm:
                for side, entering in ((1, orders.enter_long), (-1, orders.enter_short)):
                    if not entering[t, k]:
                        holding.armed[side] = True
        account.end_bar(t)
        if account.ruined:
            break
    account.finish()
    return account.books()


def _wants(orders: SignalOrders, d: int, k: int) -> int:
    """1 to be long, -1 to be short, 0 for neither."""
    return int(orders.enter_long[d, k]) - int(orders.enter_short[d, k])


def _told_to_leave(orders: SignalOrders, d: int, k: int, side: int) -> bool:
    leaving = orders.exit_long if side > 0 else orders.exit_short
    return bool(leaving[d, k]) or _wants(orders, d, k) == -side


def _limit(orders: SignalOrders, d: int, k: int) -> float:
    return _distance(orders.limit_price[d, k]) if orders.limit_price.size else math.nan


def _place_limit(account: _Account, orders: SignalOrders, k: int) -> None:
    """What the last decision does to the limit order that rests in an asset."""
    holding = account.holdings[k]
    d = holding.decided
    if d is None:
        return
    wants = _wants(orders, d, k)
    if holding.resting is not None and (wants != 0 or _told_to_leave(orders, d, k, holding.resting[0])):
        holding.resting = None
    if wants in (0, holding.side) or account.halted_at is not None:
        return
    leaving = orders.exit_long if wants > 0 else orders.exit_short
    if not leaving[d, k] and not math.isnan(_limit(orders, d, k)):
        holding.resting = (wants, d)


def _trade_signals(account: _Account, orders: SignalOrders, t: int, traded: list[int]) -> None:
    """The orders at one price of the bar: all exits, then all entries."""
    on = account.on
    sides = [holding.side for holding in account.holdings]
    heard = [k for k in traded if account.holdings[k].decided is not None]
    if on.at_close:
        heard = [k for k in heard if account.holdings[k].left != t]
    for k in heard:
        holding = account.holdings[k]
        d, side = holding.decided, holding.side
        assert d is not None  # noqa: S101 - heard
        if side == 0:
            continue
        reason: ExitReason | None = None
        if _told_to_leave(orders, d, k, side):
            reason = "signal"
        elif orders.max_bars > 0 and d - holding.entry_bar + 1 >= orders.max_bars:
            reason = "time"
        elif account.halted_at is not None:
            reason = "halt"
        if reason is not None:
            fill = account.market_fill(k, -side, d, abs(holding.units))
            account.leave(t, k, fill, account.worth(), reason)
            if account.ruined:
                return

    entries = []
    for k in heard:
        holding = account.holdings[k]
        d = holding.decided
        assert d is not None  # noqa: S101 - heard
        wants = _wants(orders, d, k)
        leaving = orders.exit_long if wants > 0 else orders.exit_short
        if wants == 0 or holding.units != 0.0 or sides[k] == wants or leaving[d, k]:
            continue
        if math.isnan(_limit(orders, d, k)) and _may_enter(account, orders, k, wants, d):
            entries.append((-float(orders.size[d, k]), k, wants, d))
    if not entries:
        return
    equity = account.worth()
    used = _used(account)
    for negative, k, side, d in sorted(entries):
        if orders.max_positions > 0 and len(account.held) >= orders.max_positions:
            return
        outlay = _outlay(orders, -negative, equity, used)
        if outlay > 0.0:
            units = outlay / (account.prices[k] * account.multiplier[k])
            fill = account.market_fill(k, side, d, units)
            used += _enter(account, orders, t, k, side, d, outlay, fill, equity)


def _used(account: _Account) -> float:
    used = 0.0
    for k in account.held:
        used += abs(account.value(k))
    return used


def _outlay(orders: SignalOrders, size: float, equity: float, used: float) -> float:
    return min(size * equity, max(orders.max_gross, size) * equity - used)


def _may_enter(account: _Account, orders: SignalOrders, k: int, side: int, d: int) -> bool:
    holding = account.holdings[k]
    if not 0.0 < orders.size[d, k] < math.inf:
        return False
    if account.halted_at is not None or d < account.heeds_from:
        return False
    if orders.cooldown_bars > 0 and holding.left is not None and d < holding.left + orders.cooldown_bars:
        return False
    return not orders.rearm or holding.armed[side]


def _enter(
    account: _Account,
    orders: SignalOrders,
    t: int,
    k: int,
    side: int,
    d: int,
    outlay: float,
    fill: float,
    equity: float,
) -> float:
    """Enter for at most an outlay at a fill; what of the outlay was used."""
    on, multiplier, holding = account.on, account.multiplier[k], account.holdings[k]
    asked = outlay / (fill * multiplier * (1.0 + on.commission) + on.per_unit)
    if asked * fill * multiplier * on.commission + asked * on.per_unit < on.minimum:
        asked = (outlay - on.minimum) / (fill * multiplier)
    if not asked > 0.0:
        return 0.0
    units = account.fillable(k, d, asked, fill)
    if not units > 0.0:
        return 0.0
    notional = units * fill * multiplier
    extra = account.fee(notional, units) - notional * on.commission
    spent = outlay if units == asked else notional * (1.0 + on.commission) + extra
    moved = -spent if side > 0 else notional * (1.0 - on.commission) - extra
    account.add(t, k, side, units, fill, moved, equity)
    holding.best = fill
    holding.trail = _distance(orders.trail_distance[d, k])
    holding.stop = fill - side * _distance(orders.stop_distance[d, k])
    holding.target = fill + side * _distance(orders.target_distance[d, k])
    holding.armed[side] = False
    return spent


def _inside(account: _Account, orders: SignalOrders, t: int, k: int) -> None:
    """One asset inside the bar: its limit order, then its protective exits."""
    market, holding = account.market, account.holdings[k]
    bar = (account.prices[k], float(market.high[t, k]), float(market.low[t, k]))
    only_stop = False
    if holding.units == 0.0 and holding.resting is not None:
        only_stop = _try_limit(account, orders, t, k, bar)
    if holding.units == 0.0:
        return
    levels = (holding.stop, holding.best - holding.side * holding.trail, holding.target)
    exit_ = _protective_exit(holding.side, bar, levels, only_stop)
    if exit_ is not None:
        reason, account.prices[k] = exit_
        fill = account.prices[k]
        if reason != "target":
            fill = account.market_fill(k, -holding.side, holding.decided, abs(holding.units))
        account.leave(t, k, fill, account.worth(), reason)


def _try_limit(account: _Account, orders: SignalOrders, t: int, k: int, bar: tuple[float, float, float]) -> bool:
    """Fill the resting order of a flat asset if the bar trades through it; True if that was after the open."""
    holding = account.holdings[k]
    assert holding.resting is not None  # noqa: S101 - the caller has looked
    side, d = holding.resting
    price = _limit(orders, d, k)
    if t - d > orders.limit_bars:
        holding.resting = None
        return False
    open_, through = bar[0], bar[2] if side > 0 else bar[1]
    at_open = side * open_ < side * price
    if not (at_open or side * through < side * price):
        return False
    holding.resting = None
    if not _may_enter(account, orders, k, side, d):
        return False
    if orders.max_positions > 0 and len(account.held) >= orders.max_positions:
        return False
    equity = account.worth()
    outlay = _outlay(orders, float(orders.size[d, k]), equity, _used(account))
    if not outlay > 0.0:
        return False
    fill = price
    if at_open:
        fill = account.market_fill(k, side, d, outlay / (open_ * account.multiplier[k]))
        fill = min(fill, price) if side > 0 else max(fill, price)
    else:
        account.prices[k] = price
    _enter(account, orders, t, k, side, d, outlay, fill, equity)
    if holding.units != 0.0:
        holding.entered = AT_OPEN if at_open else INSIDE
    return not at_open


def _distance(value: float) -> float:
    return float(value) if value > 0.0 else math.nan


def _protective_exit(
    side: int, bar: tuple[float, float, float], levels: tuple[float, float, float], only_stop: bool
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
    if only_stop:
        return (name, side * stop) if low <= stop else None
    if open_ <= stop:
        return name, side * open_
    if open_ >= target:
        return "target", side * open_
    if low <= stop:
        return name, side * stop
    if high >= target:
        return "target", side * target
    return None


def run_targets(market: Market, conditions: Conditions, orders: TargetOrders) -> Books:
    """Target positions of any number of assets with one account."""
    account = _Account(market, conditions, orders.halt_drawdown, orders.halt_bars)
    for t in range(conditions.start, conditions.stop):
        traded = account.start_bar(t)
        if account.ruined:
            break
        if conditions.at_close:
            for k in traded:
                account.prices[k] = float(market.close[t, k])
        _trade_targets(account, orders, t, traded)
        if account.ruined:
            break
        for k in traded:
            account.holdings[k].decided = t
            account.holdings[k].last = float(market.close[t, k])
        account.end_bar(t)
        if account.ruined:
            break
    account.finish()
    return account.books()


def _trade_targets(account: _Account, orders: TargetOrders, t: int, traded: list[int]) -> None:
    on = account.on
    equity = account.worth()
    if not equity > 0.0:
        return
    goals = _goals(account, orders, traded, equity)
    for k in traded:
        holding, multiplier, price = account.holdings[k], account.multiplier[k], account.prices[k]
        goal = goals[k]
        wanted = holding.units
        if goal == 0.0:
            wanted = 0.0
        elif math.isfinite(goal) and abs(goal - account.value(k) / equity) > orders.band:
            wanted = goal * equity / (price * multiplier)
            wanted = math.copysign(account.rounded(k, abs(wanted)), wanted)
        direction = (wanted > holding.units) - (wanted < holding.units)
        if direction == 0:
            continue
        d = holding.decided
        assert d is not None  # noqa: S101 - without a decision there is no goal
        fill = account.market_fill(k, direction, d, abs(wanted - holding.units))
        if holding.units * direction < 0.0:
            if holding.units * wanted > 0.0:
                account.reduce(t, k, abs(holding.units - wanted), fill, equity)
                holding.units = wanted
            else:
                account.leave(t, k, fill, equity, "rebalance" if account.halted_at is None else "halt")
                if account.ruined:
                    return
        more = abs(wanted - holding.units)
        if more > 0.0:
            units = account.fillable(k, d, more, fill)
            if not units > 0.0:
                continue
            notional = units * fill * multiplier
            extra = account.fee(notional, units) - notional * on.commission
            buying = -(notional * (1.0 + on.commission) + extra)
            moved = buying if direction > 0 else notional * (1.0 - on.commission) - extra
            account.add(t, k, direction, units, fill, moved, equity)
            if units == more:
                holding.units = wanted


def _goals(account: _Account, orders: TargetOrders, traded: list[int], equity: float) -> list[float]:
    """What each asset should be worth, as a fraction of equity, within the limits; NaN to keep it as it is."""
    goals = [math.nan] * len(account.holdings)
    for k in traded:
        d = account.holdings[k].decided
        if d is None:
            continue
        goal = 0.0 if account.halted_at is not None or d < account.heeds_from else float(orders.target[d, k])
        if math.isfinite(goal):
            goals[k] = max(-orders.max_weight, min(orders.max_weight, goal))
    if orders.max_gross < math.inf:
        asked = kept = 0.0
        for k, goal in enumerate(goals):
            if math.isnan(goal):
                kept += abs(account.value(k) / equity) if account.holdings[k].units != 0.0 else 0.0
            else:
                asked += abs(goal)
        if kept + asked > orders.max_gross and asked > 0.0:
            factor = max(orders.max_gross - kept, 0.0) / asked
            goals = [goal * factor for goal in goals]
    if orders.max_net < math.inf:
        kept = longs = shorts = 0.0
        for k, goal in enumerate(goals):
            if math.isnan(goal):
                kept += account.value(k) / equity if account.holdings[k].units != 0.0 else 0.0
            elif goal > 0.0:
                longs += goal
            else:
                shorts -= goal
        net = kept + longs - shorts
        if net > orders.max_net and longs > 0.0:
            factor = max(longs - (net - orders.max_net), 0.0) / longs
            goals = [goal * factor if goal > 0.0 else goal for goal in goals]
        elif net < -orders.max_net and shorts > 0.0:
            factor = max(shorts + (net + orders.max_net), 0.0) / shorts
            goals = [goal * factor if goal < 0.0 else goal for goal in goals]
    return goals


def excursions(high: FloatArray, low: FloatArray, whole: IntArray, real: FloatArray, at_close: bool) -> FloatArray:
    """(n_trades, 2) worst and best price of each trade while it was held, as a move in its favour from the entry.

    The fills count, and the whole range of every bar the position was held over from its start to its end. Of the bar
    of a limit fill inside it only the bad side counts; of the bar of an exit only the fill, unless it was at the close.

    Args:
        high, low: (n_bars, n_assets).
        whole, real: see `Books`.
        at_close: whether orders fill at the close.
    """
    found = []
    for (side, first, last, reason, k, entered), (entry, leave, *_) in zip(whole.tolist(), real.tolist(), strict=True):
        worst, best = sorted((entry, leave), reverse=side < 0)
        to_the_end = REASONS[reason] == "open"
        if at_close and REASONS[reason] in ("signal", "time", "rebalance", "halt"):
            to_the_end = True
        for t in range(first, last + 1 if to_the_end else last):
            if math.isnan(low[t, k]) or (t == first and entered == AT_CLOSE):
                continue
            bad, good = float(low[t, k]), float(high[t, k])
            if side < 0:
                bad, good = good, bad
            if side * bad < side * worst:
                worst = bad
            if side * good > side * best and not (t == first and entered == INSIDE):
                best = good
        if side > 0:
            found.append((worst / entry - 1.0, best / entry - 1.0))
        else:
            found.append((1.0 - worst / entry, 1.0 - best / entry))
    return np.array(found, dtype=np.float64).reshape(-1, 2)


Simulated = tuple[FloatArray, FloatArray, FloatArray, IntArray, FloatArray, float]


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
) -> Simulated:
    """`run_signals` with the signature of `engine.simulate_signals`: one asset, plain terms, no delisting.

    Args:
        open_, high, low, close: (n_bars,) prices, NaN where the bar did not trade.
        enter_long .. target_distance, max_bars: (n_bars,) each; see `SignalDecisions`.
        capital: positive. adverse, commission: fractions a side. borrow_rate, financing_rate: fractions a bar.
    """
    orders = SignalOrders(
        enter_long[:, None],
        exit_long[:, None],
        enter_short[:, None],
        exit_short[:, None],
        size[:, None],
        stop_distance[:, None],
        trail_distance[:, None],
        target_distance[:, None],
        limit_price=np.zeros((0, 0)),
        max_bars=max_bars,
        limit_bars=1,
        cooldown_bars=0,
        rearm=False,
        max_positions=0,
        max_gross=1.0,
        halt_drawdown=0.0,
        halt_bars=0,
    )
    on = _plain(start, stop, capital, adverse, commission, borrow_rate, financing_rate)
    return _one_asset(run_signals(_plain_market(open_, high, low, close), on, orders))


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
) -> Simulated:
    """`run_targets` with the signature of `engine.simulate_targets`: one asset, plain terms, no delisting.

    Args:
        open_, close: (n_bars,) prices, NaN where the bar did not trade.
        target, band: (n_bars,) and one number; see `TargetDecisions`.
        capital: positive. adverse, commission: fractions a side. borrow_rate, financing_rate: fractions a bar.
    """
    orders = TargetOrders(target[:, None], band, math.inf, math.inf, math.inf, 0.0, 0)
    on = _plain(start, stop, capital, adverse, commission, borrow_rate, financing_rate)
    return _one_asset(run_targets(_plain_market(open_, close, close, close), on, orders))


def _plain(start: int, stop: int, capital: float, *costs: float) -> Conditions:
    adverse, commission, borrow_rate, financing_rate = costs
    return Conditions(
        start, stop, capital, adverse, commission, 0.0, 0.0, borrow_rate, financing_rate, False, 0, 0.0, False
    )


def _plain_market(open_: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray) -> Market:
    none, never = np.zeros((0, 0)), np.zeros((0, 0), np.bool_)
    prices = (open_[:, None], high[:, None], low[:, None], close[:, None])
    return Market(*prices, none, none, none, never, np.ones(1), np.zeros(1))


def _one_asset(books: Books) -> Simulated:
    return books.equity, books.exposure, books.turnover, books.whole[:, :4], books.real, books.costs_paid
