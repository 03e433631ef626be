"""The compiled engine for targets of several assets with one account, on plain terms, where every asset always trades.

Its meaning is written in `engine_reference.py` and a property test holds it equal to that bit for bit, like
`engine_panel.py`, which does everything that is left out here: limits and halts, lots and multipliers, missing bars,
fills at the close, costs that are not proportional. What makes it five times as fast is that between two rebalances
only what is held is looked at. Nothing is checked here. No fast-math: sums run in the order of the columns with one
accumulator each.
"""

import math

import numpy as np
import numpy.typing as npt

from backtesting.bars import FloatArray, IntArray
from backtesting.inputs import Books, Conditions, Market, TargetOrders
from backtesting.kernel import Kernel

# Places in `result.REASONS`, written out for the reason given in engine.py.
_REBALANCE, _OPEN, _BANKRUPT = 5, 6, 7

# Columns of the books of a position.
_ADDED, _ENTRY, _REMOVED, _EXIT, _FLOW, _COSTS = range(6)

Places = npt.NDArray[np.uint64]
Shared = tuple[FloatArray, FloatArray, FloatArray, FloatArray, IntArray, FloatArray, int, float]


def knows(market: Market, conditions: Conditions, orders: TargetOrders, *, complete: bool = False) -> bool:
    """Whether this engine gives what `engine_reference.run_targets` gives.

    complete: the caller knows that every asset trades on every bar, so that nobody has to look.
    """
    limit = min(orders.max_weight, orders.max_gross, orders.max_net)
    return (
        not (conditions.per_unit or conditions.minimum or conditions.at_close or conditions.keep_positions)
        and not (market.impact.size or market.funding.size or market.roll.size)
        and not (market.lot.any() or (market.multiplier != 1.0).any())
        and not (limit < math.inf or orders.halt_drawdown)
        # A sum is missing where one of its numbers is, and takes no memory.
        and (complete or not math.isnan(float(market.close[conditions.start : conditions.stop].sum())))
    )


def run_targets(market: Market, conditions: Conditions, orders: TargetOrders, *, every: int = 1) -> Books:
    """`engine_reference.run_targets` for what `knows` admits.

    every: the rows of `orders.target` are those of bars 0, every, 2 * every, ...; on the others nothing is decided.
    """
    c = conditions
    # Trades are not counted before they are made: a run that needs more room is made again with more.
    room = 2 * (c.stop - c.start) + 1_000
    while True:
        equity, exposure, gross, turnover, whole, real, n_trades, costs_paid = follow(
            market.open, market.close, orders.target, every, float(orders.band), c.start, c.stop,
            c.capital, c.adverse, c.commission, c.borrow_rate, c.financing_rate, room,
        )  # fmt: skip
        if n_trades <= room:
            whole, real = whole[:n_trades], real[:n_trades]
            return Books(equity, exposure, gross, turnover, whole, real, float(costs_paid), 0.0, np.zeros((0, 0)))
        room *= 8


def _record(
    whole: IntArray,
    real: FloatArray,
    place: int,
    side: int,
    entry_bar: int,
    exit_bar: int,
    reason: int,
    k: int,
    position: FloatArray,
    pnl: float,
) -> None:
    if place >= whole.shape[0]:
        return
    whole[place, 0] = side
    whole[place, 1] = entry_bar
    whole[place, 2] = exit_bar
    whole[place, 3] = reason
    whole[place, 4] = k
    whole[place, 5] = 0
    real[place, 0] = position[_ENTRY]
    real[place, 1] = position[_EXIT]
    real[place, 2] = position[_ADDED]
    real[place, 3] = pnl
    real[place, 4] = position[_COSTS]


def _lose(
    whole: IntArray,
    real: FloatArray,
    n_trades: int,
    t: int,
    cash: float,
    held: Places,
    n_held: int,
    units: FloatArray,
    prices: FloatArray,
    entry_bar: IntArray,
    books: FloatArray,
) -> int:
    """Ruin: every position is gone at its price, and the last one's loss ends at what the account had."""
    for place in range(n_held):
        k = held[place]
        amount = abs(units[k])
        value = units[k] * prices[k]
        books[k, _REMOVED] += amount
        books[k, _EXIT] += (prices[k] - books[k, _EXIT]) * (amount / books[k, _REMOVED])
        if place == n_held - 1:
            pnl = books[k, _FLOW] - cash
        else:
            pnl = books[k, _FLOW] + value
            cash += value
        side = 1 if units[k] > 0.0 else -1
        _record(whole, real, n_trades, side, entry_bar[k], t, _BANKRUPT, k, books[k], pnl)
        n_trades += 1
    return n_trades


def _follow(
    open_: FloatArray,
    close: FloatArray,
    target: FloatArray,
    every: int,
    band: float,
    start: int,
    stop: int,
    capital: float,
    adverse: float,
    commission: float,
    borrow_rate: float,
    financing_rate: float,
    room: int,
) -> Shared:
    n, n_assets = stop - start, close.shape[1]
    equity = np.zeros(n)
    exposure = np.zeros(n)
    gross = np.zeros(n)
    turnover = np.zeros(n)
    whole = np.empty((room, 6), np.int64)
    real = np.empty((room, 5))
    n_trades = 0
    costs_paid = 0.0

    cash = capital
    units = np.zeros(n_assets)
    entry_bar = np.zeros(n_assets, np.int64)
    books = np.zeros((n_assets, 6))
    # What is held, in the order of the columns; and the same while it changes. Unsigned, so that no place is taken for
    # one counted from the end.
    held = np.empty(n_assets, np.uint64)
    after = np.empty(n_assets, np.uint64)
    asked = np.empty(n_assets + 1, np.uint64)
    n_held = 0
    shorted = False
    buy, sell = 1.0 + adverse, 1.0 - adverse
    buy_paid, sell_paid = 1.0 + commission, 1.0 - commission

    for t in range(start, stop):
        opens, closes = open_[t], close[t]
        decides = t > start and (t - 1) % every == 0
        # Where nothing is decided, only whether anything is left is asked, and what is long can but add to that.
        enough = not decides and not shorted
        before = cash
        for place in range(n_held):
            if enough and before > 0.0:
                break
            before += units[held[place]] * opens[held[place]]
        if n_held > 0 and before <= 0.0:
            n_trades = _lose(whole, real, n_trades, t, cash, held, n_held, units, opens, entry_bar, books)
            n_held = 0
            break

        goals = target[(t - 1) // every] if decides else target[0]
        n_goals = 0
        if decides and before > 0.0:
            for k in range(n_assets):
                n_goals += int(abs(goals[k]) < math.inf)
        if n_goals > 0:
            # Those that are held or wanted; written at every place and kept where it counts, without a branch.
            n_asked = 0
            for k in range(n_assets):
                asked[n_asked] = k
                n_asked += int((units[k] != 0.0) | (abs(goals[k]) > 0.0))
            moved_turnover = 0.0
            ruined = False
            n_after = 0
            shorted = False
            at = 0
            for order in range(n_asked):
                k = asked[order]
                now = units[k]
                if now != 0.0:
                    at += 1
                goal = goals[k]
                quoted = opens[k]
                wanted = now
                if goal == 0.0:
                    wanted = 0.0
                elif abs(goal) < math.inf and abs(goal - now * quoted / before) > band:
                    wanted = goal * before / quoted
                if wanted != now and now * wanted > 0.0:
                    # More or less of what is held, most orders of a rebalance: one way for both, because nobody can
                    # foresee which, and a wrong guess of the processor costs more than the order.
                    buying = wanted > now
                    amount = abs(wanted - now)
                    fill = quoted * (buy if buying else sell)
                    notional = amount * fill
                    paid = notional * (buy_paid if buying else sell_paid)
                    moved = -paid if buying else paid
                    cost = amount * abs(fill - quoted) + notional * commission
                    moved_turnover += notional / before
                    cash += moved
                    costs_paid += cost
                    books[k, _FLOW] += moved
                    books[k, _COSTS] += cost
                    into = _REMOVED if abs(wanted) < abs(now) else _ADDED
                    books[k, into] += amount
                    books[k, into + 1] += (fill - books[k, into + 1]) * (amount / books[k, into])
                    units[k] = wanted
                elif wanted != now:
                    buying = wanted > now
                    fill = quoted * (buy if buying else sell)
                    # Out of the old position: all of it when the new one is flat or on the other side.
                    less = 0.0
                    if now > 0.0 and wanted < now:
                        less = now if wanted <= 0.0 else now - wanted
                    elif now < 0.0 and wanted > now:
                        less = -now if wanted >= 0.0 else wanted - now
                    if less > 0.0:
                        notional = less * fill
                        moved_turnover += notional / before
                        moved = -(notional * buy_paid) if buying else notional * sell_paid
                        cost = less * abs(fill - quoted) + notional * commission
                        cash += moved
                        costs_paid += cost
                        books[k, _FLOW] += moved
                        books[k, _COSTS] += cost
                        books[k, _REMOVED] += less
                        books[k, _EXIT] += (fill - books[k, _EXIT]) * (less / books[k, _REMOVED])
                        if now * wanted > 0.0:
                            units[k] = wanted
                        else:
                            units[k] = 0.0
                            left = cash
                            for place in range(n_after):
                                left += units[after[place]] * opens[after[place]]
                            for place in range(at, n_held):
                                left += units[held[place]] * opens[held[place]]
                            pnl = books[k, _FLOW]
                            if left <= 0.0 and n_after + n_held == at:
                                pnl -= cash
                            side = 1 if now > 0.0 else -1
                            _record(whole, real, n_trades, side, entry_bar[k], t, _REBALANCE, k, books[k], pnl)
                            n_trades += 1
                            if left <= 0.0:
                                ruined = True
                                break
                    more = abs(wanted - units[k])
                    if more > 0.0:
                        if units[k] == 0.0:
                            entry_bar[k] = t
                            for column in range(6):
                                books[k, column] = 0.0
                        notional = more * fill
                        moved_turnover += notional / before
                        moved = -(notional * buy_paid) if buying else notional * sell_paid
                        cost = more * abs(fill - quoted) + notional * commission
                        cash += moved
                        costs_paid += cost
                        books[k, _FLOW] += moved
                        books[k, _COSTS] += cost
                        books[k, _ADDED] += more
                        books[k, _ENTRY] += (fill - books[k, _ENTRY]) * (more / books[k, _ADDED])
                        units[k] = wanted
                if units[k] != 0.0:
                    after[n_after] = k
                    n_after += 1
                    shorted |= units[k] < 0.0
            turnover[t - start] = moved_turnover
            if ruined:
                for place in range(at, n_held):
                    after[n_after] = held[place]
                    n_after += 1
                n_trades = _lose(whole, real, n_trades, t, cash, after, n_after, units, opens, entry_bar, books)
                n_held = 0
                break
            held, after = after, held
            n_held = n_after

        if borrow_rate > 0.0:
            for place in range(n_held):
                k = held[place]
                if units[k] < 0.0:
                    cost = borrow_rate * -(units[k] * closes[k])
                    cash -= cost
                    costs_paid += cost
                    books[k, _FLOW] -= cost
                    books[k, _COSTS] += cost
        if cash < 0.0 and financing_rate > 0.0:
            cost = financing_rate * -cash
            sizes = 0.0
            for place in range(n_held):
                sizes += abs(units[held[place]] * closes[held[place]])
            cash -= cost
            costs_paid += cost
            for place in range(n_held):
                k = held[place]
                share = cost * (abs(units[k] * closes[k]) / sizes)
                books[k, _FLOW] -= share
                books[k, _COSTS] += share
        total = cash
        net = 0.0
        sizes = 0.0
        for place in range(n_held):
            value = units[held[place]] * closes[held[place]]
            total += value
            net += value
            sizes += abs(value)
        if n_held > 0:
            if total <= 0.0:
                n_trades = _lose(whole, real, n_trades, t, cash, held, n_held, units, closes, entry_bar, books)
                n_held = 0
                break
            exposure[t - start] = net / total
            gross[t - start] = sizes / total
        equity[t - start] = total

    for place in range(n_held):
        k = held[place]
        amount = abs(units[k])
        books[k, _REMOVED] += amount
        books[k, _EXIT] += (close[stop - 1, k] - books[k, _EXIT]) * (amount / books[k, _REMOVED])
        pnl = books[k, _FLOW] + units[k] * close[stop - 1, k]
        side = 1 if units[k] > 0.0 else -1
        _record(whole, real, n_trades, side, entry_bar[k], stop - 1, _OPEN, k, books[k], pnl)
        n_trades += 1
    return equity, exposure, gross, turnover, whole, real, n_trades, costs_paid


follow = Kernel(_follow, (_record, _lose))
