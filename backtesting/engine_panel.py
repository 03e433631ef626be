"""The compiled engine for everything that `engine.py` leaves out: several assets with one account, and all terms.

Its meaning is written in `engine_reference.py`, function by function under the same names; the two are held equal bit
for bit by a property test, so a rule is changed there first and here second. Nothing is checked here. The account is a
few arrays with named rows, because compiled functions share arrays more cheaply than objects. All kernels live in
one file because numba's cache does not notice a change in another one. No fast-math: sums run in the order of the bars
and columns with one accumulator each.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from backtesting.bars import FloatArray, IntArray
from backtesting.inputs import Books, Conditions, Market, SignalOrders, TargetOrders

AT_OPEN, INSIDE, AT_CLOSE = range(3)
WORST_FILL = 0.5

# Places in `result.REASONS`. Written out and not looked up, because the cache would keep old ones if that tuple moved.
_SIGNAL, _STOP, _TRAIL, _TARGET, _TIME, _REBALANCE, _OPEN, _BANKRUPT, _HALT, _DELISTED = range(10)

# Rows of `_Account.real`, one column an asset.
(
    UNITS, LAST, PRICE, ENTRY_PRICE, EXIT_PRICE, ADDED, REMOVED, FLOW, COSTS, BEST, STOP, TRAIL, TARGET,
) = range(13)  # fmt: skip
# Rows of `_Account.whole`, one column an asset; NONE where there is no bar.
DECIDED, MISSING, LEFT, ENTRY_BAR, ENTERED, ARMED_LONG, ARMED_SHORT, REST_SIDE, REST_BAR, SIDE_BEFORE = range(10)
NONE = -1
# Places in `_Account.money` and `_Account.state`.
CASH, COSTS_PAID, UNFILLED, PEAK = range(4)
RUINED, N_TRADES, HALTED_AT, HEEDS_FROM, N_HELD = range(5)


class _Account(NamedTuple):
    """Cash, a holding for each asset, and the books; `held` lists the assets that are held, in the order of columns."""

    real: FloatArray
    whole: IntArray
    held: IntArray
    money: FloatArray
    state: IntArray
    equity: FloatArray
    exposure: FloatArray
    gross: FloatArray
    turnover: FloatArray
    positions: FloatArray
    trades_whole: IntArray
    trades_real: FloatArray


def run_signals(market: Market, conditions: Conditions, orders: SignalOrders) -> Books:
    """`engine_reference.run_signals`, compiled."""
    room = _first_room(conditions)
    while True:
        account = _open_account(market, conditions, room)
        _run_signals(account, market, conditions, orders)
        if account.state[N_TRADES] <= room:
            return _books(account)
        room *= 8


def run_targets(market: Market, conditions: Conditions, orders: TargetOrders) -> Books:
    """`engine_reference.run_targets`, compiled."""
    room = _first_room(conditions)
    while True:
        account = _open_account(market, conditions, room)
        _run_targets(account, market, conditions, orders)
        if account.state[N_TRADES] <= room:
            return _books(account)
        room *= 8


def _first_room(conditions: Conditions) -> int:
    # Trades are not counted before they are made: a run that needs more room is made again with more.
    return 2 * (conditions.stop - conditions.start) + 1_000


def _open_account(market: Market, conditions: Conditions, room: int) -> _Account:
    n_bars, n_assets = conditions.stop - conditions.start, market.close.shape[1]
    real = np.zeros((13, n_assets))
    real[[LAST, PRICE, BEST, STOP, TRAIL, TARGET]] = math.nan
    whole = np.full((10, n_assets), NONE, np.int64)
    whole[[MISSING, ENTERED, REST_SIDE, SIDE_BEFORE]] = 0
    whole[[ARMED_LONG, ARMED_SHORT]] = 1
    return _Account(
        real,
        whole,
        np.empty(n_assets, np.int64),
        np.array([conditions.capital, 0.0, 0.0, conditions.capital]),
        np.array([0, 0, NONE, conditions.start, 0]),
        equity=np.zeros(n_bars),
        exposure=np.zeros(n_bars),
        gross=np.zeros(n_bars),
        turnover=np.zeros(n_bars),
        positions=np.zeros((n_bars, n_assets) if conditions.keep_positions else (0, 0)),
        trades_whole=np.empty((room, 6), np.int64),
        trades_real=np.empty((room, 5)),
    )


def _books(account: _Account) -> Books:
    k = int(account.state[N_TRADES])
    return Books(
        account.equity,
        account.exposure,
        account.gross,
        account.turnover,
        account.trades_whole[:k].copy(),
        account.trades_real[:k].copy(),
        float(account.money[COSTS_PAID]),
        float(account.money[UNFILLED]),
        account.positions,
    )


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _value(a: _Account, m: Market, k: int) -> float:
    worth: float = a.real[UNITS, k] * m.multiplier[k] * a.real[PRICE, k]
    return worth


@njit(cache=True, nogil=True, error_model="numpy")
def _worth(a: _Account, m: Market) -> float:
    real, held, multiplier = a.real, a.held, m.multiplier
    total: float = a.money[CASH]
    for place in range(a.state[N_HELD]):
        k = held[place]
        total += real[UNITS, k] * multiplier[k] * real[PRICE, k]
    return total


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _hold(held: IntArray, state: IntArray, k: int) -> None:
    """Put an asset into the list of those that are held."""
    at = state[N_HELD]
    while at > 0 and held[at - 1] > k:
        held[at] = held[at - 1]
        at -= 1
    held[at] = k
    state[N_HELD] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _drop(held: IntArray, state: IntArray, k: int) -> None:
    """Take an asset out of the list of those that are held."""
    at = 0
    while held[at] != k:
        at += 1
    state[N_HELD] -= 1
    for place in range(at, state[N_HELD]):
        held[place] = held[place + 1]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _market_fill(
    impact: FloatArray, c: Conditions, price: float, k: int, direction: int, decided: int, units: float
) -> float:
    worse = c.adverse
    if decided >= 0 and impact.shape[0] > 0:
        worse += impact[decided, k] * math.sqrt(units)
    return price * (1.0 + direction * min(worse, WORST_FILL))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _fee(c: Conditions, notional: float, units: float) -> float:
    return max(c.minimum, notional * c.commission + units * c.per_unit)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _rounded(lot: float, units: float) -> float:
    return math.floor(units / lot + 1e-9) * lot if lot > 0.0 else units


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _fillable(
    money: FloatArray, capacity: FloatArray, k: int, decided: int, units: float, lot: float, price: float
) -> float:
    """`price` is that of a unit, multiplier included."""
    if capacity.shape[0] > 0 and units > capacity[decided, k]:
        limit = capacity[decided, k]
        money[UNFILLED] += (units - limit) * price
        units = limit
    return _rounded(lot, units)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _cost(real: FloatArray, money: FloatArray, k: int, cost: float) -> None:
    real[COSTS, k] += cost
    money[COSTS_PAID] += cost


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _pay(real: FloatArray, money: FloatArray, k: int, cost: float) -> None:
    money[CASH] -= cost
    real[FLOW, k] -= cost
    _cost(real, money, k, cost)


# The functions of an order take their arrays one by one: passing the whole account costs more than the order.
@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _book(
    real: FloatArray,
    money: FloatArray,
    turnover: FloatArray,
    c: Conditions,
    t: int,
    k: int,
    multiplier: float,
    units: float,
    fill: float,
    moved: float,
    equity: float,
) -> None:
    notional = units * fill * multiplier
    if equity > 0.0:
        turnover[t - c.start] += notional / equity
    money[CASH] += moved
    real[FLOW, k] += moved
    _cost(real, money, k, units * abs(fill - real[PRICE, k]) * multiplier + _fee(c, notional, units))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _add(
    real: FloatArray,
    whole: IntArray,
    held: IntArray,
    state: IntArray,
    money: FloatArray,
    turnover: FloatArray,
    c: Conditions,
    t: int,
    k: int,
    multiplier: float,
    direction: int,
    units: float,
    fill: float,
    moved: float,
    equity: float,
) -> None:
    if real[UNITS, k] == 0.0:
        _hold(held, state, k)
        whole[ENTRY_BAR, k] = t
        whole[ENTERED, k] = AT_CLOSE if c.at_close else AT_OPEN
        for column in (ENTRY_PRICE, EXIT_PRICE, ADDED, REMOVED, FLOW, COSTS):
            real[column, k] = 0.0
    _book(real, money, turnover, c, t, k, multiplier, units, fill, moved, equity)
    real[ADDED, k] += units
    real[ENTRY_PRICE, k] += (fill - real[ENTRY_PRICE, k]) * (units / real[ADDED, k])
    real[UNITS, k] += direction * units


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _average_exit(real: FloatArray, k: int, units: float, price: float) -> None:
    real[REMOVED, k] += units
    real[EXIT_PRICE, k] += (price - real[EXIT_PRICE, k]) * (units / real[REMOVED, k])


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _reduce(
    real: FloatArray,
    money: FloatArray,
    turnover: FloatArray,
    c: Conditions,
    t: int,
    k: int,
    multiplier: float,
    units: float,
    fill: float,
    equity: float,
) -> None:
    notional = units * fill * multiplier
    extra = _fee(c, notional, units) - notional * c.commission
    if real[UNITS, k] > 0.0:
        moved = notional * (1.0 - c.commission) - extra
    else:
        moved = -(notional * (1.0 + c.commission) + extra)
    _book(real, money, turnover, c, t, k, multiplier, units, fill, moved, equity)
    _average_exit(real, k, units, fill)


@njit(cache=True, nogil=True, error_model="numpy")
def _settle(real: FloatArray, money: FloatArray, k: int, multiplier: float, units: float, fill: float) -> None:
    """`_reduce` without charges and turnover."""
    notional = units * fill * multiplier
    moved = notional if real[UNITS, k] > 0.0 else -notional
    money[CASH] += moved
    real[FLOW, k] += moved
    _cost(real, money, k, units * abs(fill - real[PRICE, k]) * multiplier)
    _average_exit(real, k, units, fill)


@njit(cache=True, nogil=True, error_model="numpy")
def _end_trade(a: _Account, t: int, k: int, side: int, reason: int, pnl: float) -> None:
    place = a.state[N_TRADES]
    a.state[N_TRADES] = place + 1
    if place >= a.trades_real.shape[0]:
        return
    a.trades_whole[place, 0] = side
    a.trades_whole[place, 1] = a.whole[ENTRY_BAR, k]
    a.trades_whole[place, 2] = t
    a.trades_whole[place, 3] = reason
    a.trades_whole[place, 4] = k
    a.trades_whole[place, 5] = a.whole[ENTERED, k]
    a.trades_real[place, 0] = a.real[ENTRY_PRICE, k]
    a.trades_real[place, 1] = a.real[EXIT_PRICE, k]
    a.trades_real[place, 2] = a.real[ADDED, k]
    a.trades_real[place, 3] = pnl
    a.trades_real[place, 4] = a.real[COSTS, k]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _side(a: _Account, k: int) -> int:
    units = a.real[UNITS, k]
    return 1 if units > 0.0 else (-1 if units < 0.0 else 0)


@njit(cache=True, nogil=True, error_model="numpy")
def _lose(a: _Account, m: Market, t: int) -> None:
    n_held = a.state[N_HELD]
    for place in range(n_held):
        k = a.held[place]
        _average_exit(a.real, k, abs(a.real[UNITS, k]), a.real[PRICE, k])
        if place == n_held - 1:
            pnl = a.real[FLOW, k] - a.money[CASH]
        else:
            pnl = a.real[FLOW, k] + _value(a, m, k)
            a.money[CASH] += _value(a, m, k)
        _end_trade(a, t, k, _side(a, k), _BANKRUPT, pnl)
        a.real[UNITS, k] = 0.0
    a.state[N_HELD] = 0
    a.state[RUINED] = 1


@njit(cache=True, nogil=True, error_model="numpy")
def _leave(
    a: _Account, m: Market, c: Conditions, t: int, k: int, fill: float, equity: float, reason: int, charged: bool
) -> None:
    side = _side(a, k)
    units = abs(a.real[UNITS, k])
    if charged:
        _reduce(a.real, a.money, a.turnover, c, t, k, m.multiplier[k], units, fill, equity)
    else:
        _settle(a.real, a.money, k, m.multiplier[k], units, fill)
    a.real[UNITS, k] = 0.0
    _drop(a.held, a.state, k)
    a.whole[LEFT, k] = t
    pnl = a.real[FLOW, k]
    lost = _worth(a, m) <= 0.0
    if lost and a.state[N_HELD] == 0:
        pnl = a.real[FLOW, k] - a.money[CASH]
    _end_trade(a, t, k, side, reason, pnl)
    if lost:
        _lose(a, m, t)


@njit(cache=True, nogil=True, error_model="numpy")
def _complete(close: FloatArray, start: int, stop: int) -> bool:
    """Whether every asset trades on every bar, so that the last bar is always the one before."""
    for t in range(start, stop):
        missing = 0
        for k in range(close.shape[1]):
            missing += math.isnan(close[t, k])
        if missing > 0:
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _start_bar(a: _Account, m: Market, c: Conditions, t: int, complete: bool) -> None:
    real, whole, close, open_ = a.real, a.whole, m.close, m.open
    if complete:
        for k in range(real.shape[1]):
            real[PRICE, k] = open_[t, k]
    else:
        n_missing = 0
        for k in range(real.shape[1]):
            gone = math.isnan(close[t, k])
            n_missing += gone
            real[PRICE, k] = real[LAST, k] if gone else open_[t, k]
            whole[MISSING, k] = whole[MISSING, k] + 1 if gone else 0
        if n_missing > 0 and c.delisted_after > 0:
            _delist(a, m, c, t)
            if a.state[RUINED]:
                return
    if a.state[N_HELD] > 0 and _worth(a, m) <= 0.0:
        _lose(a, m, t)


@njit(cache=True, nogil=True, error_model="numpy")
def _delist(a: _Account, m: Market, c: Conditions, t: int) -> None:
    """Settle what is gone. It comes before the open, so everything else is worth its last close."""
    real, whole, close = a.real, a.whole, m.close
    due = False
    for k in range(real.shape[1]):
        due = due or (whole[MISSING, k] == c.delisted_after and math.isnan(close[t, k]))
    if not due:
        return
    for k in range(real.shape[1]):
        real[PRICE, k] = real[LAST, k]
    for k in range(real.shape[1]):
        if not math.isnan(close[t, k]):
            continue
        if whole[MISSING, k] == c.delisted_after:
            whole[DECIDED, k] = NONE
            whole[REST_SIDE, k] = 0
            if real[UNITS, k] != 0.0:
                fill = a.real[LAST, k] * (1.0 - _side(a, k) * c.haircut)
                _leave(a, m, c, t, k, fill, _worth(a, m), _DELISTED, False)
                if a.state[RUINED]:
                    return
    for k in range(real.shape[1]):
        if not math.isnan(close[t, k]):
            real[PRICE, k] = m.open[t, k]


@njit(cache=True, nogil=True, error_model="numpy")
def _end_bar(a: _Account, m: Market, c: Conditions, t: int, halt_drawdown: float, halt_bars: int) -> None:
    i = t - c.start
    real, held, multiplier = a.real, a.held, m.multiplier
    n_held = a.state[N_HELD]
    for place in range(n_held):
        k = held[place]
        real[PRICE, k] = real[LAST, k]
    if c.borrow_rate > 0.0 or m.roll.shape[0] > 0 or m.funding.shape[0] > 0:
        for place in range(n_held):
            k = held[place]
            units = real[UNITS, k]
            if units < 0.0:
                _pay(a.real, a.money, k, c.borrow_rate * -_value(a, m, k))
            if m.roll.shape[0] > 0 and m.roll[t, k]:
                notional = abs(_value(a, m, k))
                equity = _worth(a, m)
                if equity > 0.0:
                    a.turnover[i] += 2.0 * notional / equity
                _pay(a.real, a.money, k, 2.0 * (notional * c.adverse + _fee(c, notional, abs(units))))
            if m.funding.shape[0] > 0:
                _pay(a.real, a.money, k, m.funding[t, k] * _value(a, m, k))
    if a.money[CASH] < 0.0 and c.financing_rate > 0.0:
        cost = c.financing_rate * -a.money[CASH]
        sizes = 0.0
        for place in range(n_held):
            k = held[place]
            sizes += abs(real[UNITS, k] * multiplier[k] * real[PRICE, k])
        a.money[CASH] -= cost
        a.money[COSTS_PAID] += cost
        for place in range(n_held):
            k = held[place]
            share = cost * (abs(real[UNITS, k] * multiplier[k] * real[PRICE, k]) / sizes)
            real[FLOW, k] -= share
            real[COSTS, k] += share
    total = a.money[CASH]
    if n_held > 0:
        net = 0.0
        gross = 0.0
        for place in range(n_held):
            k = held[place]
            value = real[UNITS, k] * multiplier[k] * real[PRICE, k]
            net += value
            gross += abs(value)
            total += value
        if total <= 0.0:
            _lose(a, m, t)
            return
        a.exposure[i] = net / total
        a.gross[i] = gross / total
        if c.keep_positions:
            for place in range(n_held):
                k = held[place]
                a.positions[i, k] = _value(a, m, k) / total
    a.equity[i] = total
    if halt_drawdown > 0.0:
        halted = a.state[HALTED_AT]
        if halted != NONE:
            if 0 < halt_bars <= t - halted:
                a.state[HALTED_AT] = NONE
                a.state[HEEDS_FROM] = t
                a.money[PEAK] = total
            return
        a.money[PEAK] = max(a.money[PEAK], total)
        if total < a.money[PEAK] * (1.0 - halt_drawdown):
            a.state[HALTED_AT] = t
            a.whole[REST_SIDE] = 0


@njit(cache=True, nogil=True, error_model="numpy")
def _finish(a: _Account, m: Market, c: Conditions) -> None:
    for place in range(a.state[N_HELD]):
        k = a.held[place]
        _average_exit(a.real, k, abs(a.real[UNITS, k]), a.real[LAST, k])
        _end_trade(a, c.stop - 1, k, _side(a, k), _OPEN, a.real[FLOW, k] + _value(a, m, k))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _wants(o: SignalOrders, d: int, k: int) -> int:
    return (1 if o.enter_long[d, k] else 0) - (1 if o.enter_short[d, k] else 0)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _exits(o: SignalOrders, d: int, k: int, side: int) -> bool:
    """Whether the exit of a direction is true."""
    leaving: bool = o.exit_long[d, k] if side > 0 else o.exit_short[d, k]
    return leaving


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _told_to_leave(o: SignalOrders, d: int, k: int, side: int) -> bool:
    return _exits(o, d, k, side) or _wants(o, d, k) == -side


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _distance(value: float) -> float:
    return value if value > 0.0 else math.nan


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _limit(o: SignalOrders, d: int, k: int) -> float:
    return _distance(o.limit_price[d, k]) if o.limit_price.shape[0] > 0 else math.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _place_limit(a: _Account, o: SignalOrders, k: int) -> None:
    d = a.whole[DECIDED, k]
    if d == NONE:
        return
    wants = _wants(o, d, k)
    resting = a.whole[REST_SIDE, k]
    if resting != 0 and (wants != 0 or _told_to_leave(o, d, k, resting)):
        a.whole[REST_SIDE, k] = 0
    if wants == 0 or _side(a, k) == wants or a.state[HALTED_AT] != NONE:
        return
    if not _exits(o, d, k, wants) and not math.isnan(_limit(o, d, k)):
        a.whole[REST_SIDE, k] = wants
        a.whole[REST_BAR, k] = d


@njit(cache=True, nogil=True, error_model="numpy")
def _may_enter(a: _Account, o: SignalOrders, k: int, side: int, d: int) -> bool:
    if not 0.0 < o.size[d, k] < math.inf:
        return False
    if a.state[HALTED_AT] != NONE or d < a.state[HEEDS_FROM]:
        return False
    if o.cooldown_bars > 0 and a.whole[LEFT, k] != NONE and d < a.whole[LEFT, k] + o.cooldown_bars:
        return False
    return not o.rearm or a.whole[ARMED_LONG if side > 0 else ARMED_SHORT, k] == 1


@njit(cache=True, nogil=True, error_model="numpy")
def _used(a: _Account, m: Market) -> float:
    used = 0.0
    for place in range(a.state[N_HELD]):
        used += abs(_value(a, m, a.held[place]))
    return used


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _outlay(o: SignalOrders, size: float, equity: float, used: float) -> float:
    return min(size * equity, max(o.max_gross, size) * equity - used)


@njit(cache=True, nogil=True, error_model="numpy")
def _enter(
    a: _Account,
    m: Market,
    c: Conditions,
    o: SignalOrders,
    t: int,
    k: int,
    side: int,
    d: int,
    outlay: float,
    fill: float,
    equity: float,
) -> float:
    multiplier = m.multiplier[k]
    asked = outlay / (fill * multiplier * (1.0 + c.commission) + c.per_unit)
    if asked * fill * multiplier * c.commission + asked * c.per_unit < c.minimum:
        asked = (outlay - c.minimum) / (fill * multiplier)
    if not asked > 0.0:
        return 0.0
    units = _fillable(a.money, m.capacity, k, d, asked, m.lot[k], fill * multiplier)
    if not units > 0.0:
        return 0.0
    notional = units * fill * multiplier
    extra = _fee(c, notional, units) - notional * c.commission
    spent = outlay if units == asked else notional * (1.0 + c.commission) + extra
    moved = -spent if side > 0 else notional * (1.0 - c.commission) - extra
    _add(
        a.real, a.whole, a.held, a.state, a.money, a.turnover, c, t, k, multiplier, side, units, fill, moved, equity
    )  # fmt: skip
    a.real[BEST, k] = fill
    a.real[TRAIL, k] = _distance(o.trail_distance[d, k])
    a.real[STOP, k] = fill - side * _distance(o.stop_distance[d, k])
    a.real[TARGET, k] = fill + side * _distance(o.target_distance[d, k])
    a.whole[ARMED_LONG if side > 0 else ARMED_SHORT, k] = 0
    return spent


@njit(cache=True, nogil=True, error_model="numpy")
def _trade_signals(
    a: _Account, m: Market, c: Conditions, o: SignalOrders, t: int, waiting: IntArray, sizes: FloatArray
) -> None:
    """`waiting` and `sizes` are (n_assets,) to work in."""
    real, whole, close = a.real, a.whole, m.close
    enter_long, enter_short = o.enter_long, o.enter_short
    n_waiting = 0
    for k in range(real.shape[1]):
        d = whole[DECIDED, k]
        if d == NONE or math.isnan(close[t, k]) or (c.at_close and whole[LEFT, k] == t):
            continue
        side = 1 if real[UNITS, k] > 0.0 else (-1 if real[UNITS, k] < 0.0 else 0)
        # An asset that is asked for is looked at again below, when all exits are done.
        if enter_long[d, k] != enter_short[d, k]:
            whole[SIDE_BEFORE, k] = side
            waiting[n_waiting] = k
            n_waiting += 1
        if side == 0:
            continue
        reason = NONE
        if _told_to_leave(o, d, k, side):
            reason = _SIGNAL
        elif o.max_bars > 0 and d - a.whole[ENTRY_BAR, k] + 1 >= o.max_bars:
            reason = _TIME
        elif a.state[HALTED_AT] != NONE:
            reason = _HALT
        if reason != NONE:
            fill = _market_fill(m.impact, c, a.real[PRICE, k], k, -side, d, abs(a.real[UNITS, k]))
            _leave(a, m, c, t, k, fill, _worth(a, m), reason, True)
            if a.state[RUINED]:
                return

    n_entries = 0
    for place in range(n_waiting):
        k = waiting[place]
        d = a.whole[DECIDED, k]
        wants = _wants(o, d, k)
        if a.real[UNITS, k] != 0.0 or a.whole[SIDE_BEFORE, k] == wants or _exits(o, d, k, wants):
            continue
        if math.isnan(_limit(o, d, k)) and _may_enter(a, o, k, wants, d):
            # Kept sorted: larger sizes first, equals in the order of the columns.
            size = o.size[d, k]
            at = n_entries
            while at > 0 and sizes[at - 1] < size:
                sizes[at] = sizes[at - 1]
                waiting[at] = waiting[at - 1]
                at -= 1
            sizes[at] = size
            waiting[at] = k
            n_entries += 1
    if n_entries == 0:
        return
    equity = _worth(a, m)
    used = _used(a, m)
    n_held = a.state[N_HELD]
    for place in range(n_entries):
        if o.max_positions > 0 and n_held >= o.max_positions:
            return
        k = waiting[place]
        d = a.whole[DECIDED, k]
        outlay = _outlay(o, sizes[place], equity, used)
        if outlay > 0.0:
            side = _wants(o, d, k)
            fill = _market_fill(
                m.impact, c, a.real[PRICE, k], k, side, d, outlay / (a.real[PRICE, k] * m.multiplier[k])
            )
            used += _enter(a, m, c, o, t, k, side, d, outlay, fill, equity)
            if a.real[UNITS, k] != 0.0:
                n_held += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _try_limit(a: _Account, m: Market, c: Conditions, o: SignalOrders, t: int, k: int) -> bool:
    side = a.whole[REST_SIDE, k]
    d = a.whole[REST_BAR, k]
    price = _limit(o, d, k)
    if t - d > o.limit_bars:
        a.whole[REST_SIDE, k] = 0
        return False
    quote = a.real[PRICE, k]
    through = m.low[t, k] if side > 0 else m.high[t, k]
    at_open = side * quote < side * price
    if not (at_open or side * through < side * price):
        return False
    a.whole[REST_SIDE, k] = 0
    if not _may_enter(a, o, k, side, d):
        return False
    if o.max_positions > 0 and a.state[N_HELD] >= o.max_positions:
        return False
    equity = _worth(a, m)
    outlay = _outlay(o, o.size[d, k], equity, _used(a, m))
    if not outlay > 0.0:
        return False
    fill = price
    if at_open:
        fill = _market_fill(m.impact, c, a.real[PRICE, k], k, side, d, outlay / (quote * m.multiplier[k]))
        fill = min(fill, price) if side > 0 else max(fill, price)
    else:
        a.real[PRICE, k] = price
    _enter(a, m, c, o, t, k, side, d, outlay, fill, equity)
    if a.real[UNITS, k] != 0.0:
        a.whole[ENTERED, k] = AT_OPEN if at_open else INSIDE
    return not at_open


@njit(cache=True, nogil=True, error_model="numpy")
def _inside(a: _Account, m: Market, c: Conditions, o: SignalOrders, t: int, k: int) -> None:
    only_stop = False
    quote = a.real[PRICE, k]
    if a.real[UNITS, k] == 0.0:
        if a.whole[REST_SIDE, k] == 0:
            return
        only_stop = _try_limit(a, m, c, o, t, k)
        if a.real[UNITS, k] == 0.0:
            return
    # A short is a long in a mirror: with all prices negated its stop lies below and its low is the negated high.
    side = _side(a, k)
    opened = side * quote
    low = m.low[t, k] if side > 0 else -m.high[t, k]
    high = m.high[t, k] if side > 0 else -m.low[t, k]
    level = side * a.real[STOP, k]
    trailing = side * (a.real[BEST, k] - side * a.real[TRAIL, k])
    goal = side * a.real[TARGET, k]
    cause = _STOP
    if trailing > level or math.isnan(level):
        level = trailing
        cause = _TRAIL
    reason = NONE
    if not only_stop and opened <= level:
        reason, quote = cause, side * opened
    elif not only_stop and opened >= goal:
        reason, quote = _TARGET, side * opened
    elif low <= level:
        reason, quote = cause, side * level
    elif not only_stop and high >= goal:
        reason, quote = _TARGET, side * goal
    if reason == NONE:
        return
    a.real[PRICE, k] = quote
    fill = quote
    if reason != _TARGET:
        fill = _market_fill(m.impact, c, a.real[PRICE, k], k, -side, a.whole[DECIDED, k], abs(a.real[UNITS, k]))
    _leave(a, m, c, t, k, fill, _worth(a, m), reason, True)


@njit(cache=True, nogil=True, error_model="numpy")
def _run_signals(a: _Account, m: Market, c: Conditions, o: SignalOrders) -> None:
    real, whole, close, low, high = a.real, a.whole, m.close, m.low, m.high
    n_assets = real.shape[1]
    waiting = np.empty(n_assets, np.int64)
    sizes = np.empty(n_assets)
    complete = _complete(close, c.start, c.stop)
    for t in range(c.start, c.stop):
        if a.state[N_TRADES] > a.trades_real.shape[0]:
            return
        _start_bar(a, m, c, t, complete)
        if a.state[RUINED]:
            return
        if o.limit_price.shape[0] > 0:
            for k in range(n_assets):
                if not math.isnan(m.close[t, k]):
                    _place_limit(a, o, k)
        if not c.at_close:
            _trade_signals(a, m, c, o, t, waiting, sizes)
            if a.state[RUINED]:
                return
        for k in range(n_assets):
            if math.isnan(close[t, k]):
                continue
            units = real[UNITS, k]
            if units > 0.0:
                bottom, top = min(low[t, k], real[PRICE, k]), max(high[t, k], real[PRICE, k])
                touched = bottom <= real[STOP, k] or bottom <= real[BEST, k] - real[TRAIL, k] or top >= real[TARGET, k]
            elif units < 0.0:
                bottom, top = min(low[t, k], real[PRICE, k]), max(high[t, k], real[PRICE, k])
                touched = top >= real[STOP, k] or top >= real[BEST, k] + real[TRAIL, k] or bottom <= real[TARGET, k]
            else:
                touched = whole[REST_SIDE, k] != 0
            if touched:
                _inside(a, m, c, o, t, k)
                if a.state[RUINED]:
                    return
        if c.at_close:
            for k in range(n_assets):
                if not math.isnan(close[t, k]):
                    real[PRICE, k] = close[t, k]
            _trade_signals(a, m, c, o, t, waiting, sizes)
            if a.state[RUINED]:
                return
        for k in range(n_assets):
            price = close[t, k]
            if math.isnan(price):
                continue
            whole[DECIDED, k] = t
            real[LAST, k] = price
            if real[UNITS, k] > 0.0:
                real[BEST, k] = max(real[BEST, k], price)
            elif real[UNITS, k] < 0.0:
                real[BEST, k] = min(real[BEST, k], price)
            if o.rearm:
                if not o.enter_long[t, k]:
                    whole[ARMED_LONG, k] = 1
                if not o.enter_short[t, k]:
                    whole[ARMED_SHORT, k] = 1
        _end_bar(a, m, c, t, o.halt_drawdown, o.halt_bars)
        if a.state[RUINED]:
            return
    _finish(a, m, c)


@njit(cache=True, nogil=True, error_model="numpy")
def _set_goals(a: _Account, m: Market, o: TargetOrders, t: int, equity: float, goals: FloatArray) -> bool:
    """Whether there is any goal."""
    n_assets = goals.shape[0]
    whole, target, close = a.whole, o.target, m.close
    n_goals = 0
    halted, heeds_from, max_weight = a.state[HALTED_AT] != NONE, a.state[HEEDS_FROM], o.max_weight
    for k in range(n_assets):
        goals[k] = math.nan
        d = whole[DECIDED, k]
        if d == NONE or math.isnan(close[t, k]):
            continue
        goal = 0.0 if halted or d < heeds_from else target[d, k]
        if abs(goal) < math.inf:
            goals[k] = max(-max_weight, min(max_weight, goal))
            n_goals += 1
    if n_goals == 0:
        return False
    if o.max_gross < math.inf:
        asked = 0.0
        kept = 0.0
        for k in range(n_assets):
            if not math.isnan(goals[k]):
                asked += abs(goals[k])
            elif a.real[UNITS, k] != 0.0:
                kept += abs(_value(a, m, k) / equity)
        if kept + asked > o.max_gross and asked > 0.0:
            factor = max(o.max_gross - kept, 0.0) / asked
            for k in range(n_assets):
                goals[k] *= factor
    if o.max_net < math.inf:
        kept = 0.0
        longs = 0.0
        shorts = 0.0
        for k in range(n_assets):
            if math.isnan(goals[k]):
                if a.real[UNITS, k] != 0.0:
                    kept += _value(a, m, k) / equity
            elif goals[k] > 0.0:
                longs += goals[k]
            else:
                shorts -= goals[k]
        net = kept + longs - shorts
        if net > o.max_net and longs > 0.0:
            factor = max(longs - (net - o.max_net), 0.0) / longs
            for k in range(n_assets):
                if goals[k] > 0.0:
                    goals[k] *= factor
        elif net < -o.max_net and shorts > 0.0:
            factor = max(shorts + (net + o.max_net), 0.0) / shorts
            for k in range(n_assets):
                if goals[k] < 0.0:
                    goals[k] *= factor
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _trade_targets(a: _Account, m: Market, c: Conditions, o: TargetOrders, t: int, goals: FloatArray) -> None:
    equity = _worth(a, m)
    if not equity > 0.0:
        return
    if not _set_goals(a, m, o, t, equity, goals):
        return
    real, whole, held, state, money, turnover = a.real, a.whole, a.held, a.state, a.money, a.turnover
    multipliers, lots, impact, capacity = m.multiplier, m.lot, m.impact, m.capacity
    band = o.band
    for k in range(goals.shape[0]):
        goal = goals[k]
        units = real[UNITS, k]
        if math.isnan(goal) or (goal == 0.0 and units == 0.0):
            continue
        price = real[PRICE, k]
        multiplier = multipliers[k]
        wanted = units
        if goal == 0.0:
            wanted = 0.0
        elif abs(goal - units * multiplier * price / equity) > band:
            wanted = goal * equity / (price * multiplier)
            wanted = math.copysign(_rounded(lots[k], abs(wanted)), wanted)
        if wanted == units:
            continue
        direction = 1 if wanted > units else -1
        d = whole[DECIDED, k]
        fill = _market_fill(impact, c, price, k, direction, d, abs(wanted - units))
        if units * direction < 0.0:
            if units * wanted > 0.0:
                _reduce(real, money, turnover, c, t, k, multiplier, abs(units - wanted), fill, equity)
                real[UNITS, k] = wanted
            else:
                reason = _REBALANCE if state[HALTED_AT] == NONE else _HALT
                _leave(a, m, c, t, k, fill, equity, reason, True)
                if state[RUINED]:
                    return
        more = abs(wanted - real[UNITS, k])
        if more > 0.0:
            filled = _fillable(money, capacity, k, d, more, lots[k], fill * multiplier)
            if not filled > 0.0:
                continue
            notional = filled * fill * multiplier
            extra = _fee(c, notional, filled) - notional * c.commission
            if direction > 0:
                moved = -(notional * (1.0 + c.commission) + extra)
            else:
                moved = notional * (1.0 - c.commission) - extra
            _add(
                real, whole, held, state, money, turnover, c, t, k, multiplier, direction, filled, fill, moved, equity
            )  # fmt: skip
            if filled == more:
                real[UNITS, k] = wanted


@njit(cache=True, nogil=True, error_model="numpy")
def _any_target(target: FloatArray, d: int) -> bool:
    """Whether the decision of a bar names a target for any asset."""
    row = target[d]
    known = 0
    for k in range(len(row)):
        known += not math.isnan(row[k])
    return known > 0


@njit(cache=True, nogil=True, error_model="numpy")
def _run_targets(a: _Account, m: Market, c: Conditions, o: TargetOrders) -> None:
    goals = np.empty(a.real.shape[1])
    complete = _complete(m.close, c.start, c.stop)
    for t in range(c.start, c.stop):
        if a.state[N_TRADES] > a.trades_real.shape[0]:
            return
        if complete:
            _target_bar_of_all(a, m, c, o, t, goals)
        else:
            _target_bar(a, m, c, o, t, goals)
        if a.state[RUINED]:
            return
        _end_bar(a, m, c, t, o.halt_drawdown, o.halt_bars)
        if a.state[RUINED]:
            return
    _finish(a, m, c)


@njit(cache=True, nogil=True, error_model="numpy")
def _target_bar(a: _Account, m: Market, c: Conditions, o: TargetOrders, t: int, goals: FloatArray) -> None:
    real, whole, close = a.real, a.whole, m.close
    n_assets = real.shape[1]
    _start_bar(a, m, c, t, False)
    if a.state[RUINED]:
        return
    if c.at_close:
        for k in range(n_assets):
            if not math.isnan(close[t, k]):
                real[PRICE, k] = close[t, k]
    _trade_targets(a, m, c, o, t, goals)
    if a.state[RUINED]:
        return
    for k in range(n_assets):
        if not math.isnan(close[t, k]):
            whole[DECIDED, k] = t
            real[LAST, k] = close[t, k]


@njit(cache=True, nogil=True, error_model="numpy")
def _target_bar_of_all(a: _Account, m: Market, c: Conditions, o: TargetOrders, t: int, goals: FloatArray) -> None:
    """`_target_bar` where every asset always trades: what is not held is looked at only when there is a target."""
    real, whole, held, close, open_ = a.real, a.whole, a.held, m.close, m.open
    n_assets = real.shape[1]
    due = t > c.start and (a.state[HALTED_AT] != NONE or _any_target(o.target, t - 1))
    if due:
        for k in range(n_assets):
            real[PRICE, k] = open_[t, k]
            whole[DECIDED, k] = t - 1
    else:
        for place in range(a.state[N_HELD]):
            real[PRICE, held[place]] = open_[t, held[place]]
    if a.state[N_HELD] > 0 and _worth(a, m) <= 0.0:
        _lose(a, m, t)
        return
    if due:
        if c.at_close:
            for k in range(n_assets):
                real[PRICE, k] = close[t, k]
        _trade_targets(a, m, c, o, t, goals)
        if a.state[RUINED]:
            return
    for place in range(a.state[N_HELD]):
        real[LAST, held[place]] = close[t, held[place]]
