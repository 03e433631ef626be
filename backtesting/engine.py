"""The compiled engine: one asset, plain terms, one pass over the bars of a window; others do the rest.

Its meaning is written in `engine_reference.py`, in loops made to be read; the two are held equal by a property
test, so a rule is changed there first and here second. Nothing is checked here: `backtest.py` does that before.
A ruined account ends the loop; the curves are zero from the start. The kernels hold no state and release the GIL.
No fast-math: every sum runs in bar order with one accumulator, so the same inputs give the same bytes. The kernels
live in one file because numba's cache does not notice a change in another one.
"""

import math

import numpy as np

from backtesting.bars import BoolArray, FloatArray, IntArray
from backtesting.kernel import Kernel

Simulated = tuple[FloatArray, FloatArray, FloatArray, IntArray, FloatArray, float]

# Places in `result.REASONS`. Written out and not looked up, because the cache would keep old ones if that tuple moved.
_SIGNAL, _STOP, _TRAIL, _TARGET, _TIME, _REBALANCE, _OPEN, _BANKRUPT, _HALT = range(9)


def _record(
    whole: IntArray,
    real: FloatArray,
    k: int,
    side: int,
    entry_bar: int,
    exit_bar: int,
    reason: int,
    entry_price: float,
    exit_price: float,
    units: float,
    pnl: float,
    costs: float,
) -> None:
    whole[k, 0] = side
    whole[k, 1] = entry_bar
    whole[k, 2] = exit_bar
    whole[k, 3] = reason
    real[k, 0] = entry_price
    real[k, 1] = exit_price
    real[k, 2] = units
    real[k, 3] = pnl
    real[k, 4] = costs


def _leave(
    whole: IntArray,
    real: FloatArray,
    k: int,
    turnover: FloatArray,
    i: int,
    t: int,
    reason: int,
    quote: float,
    fill: float,
    commission: float,
    cash: float,
    units: float,
    entry_bar: int,
    entry_price: float,
    flow: float,
    trade_costs: float,
) -> tuple[float, float]:
    """Close the whole position at a fill and write the trade; cash afterwards and the cost of this side."""
    amount = abs(units)
    before = cash + units * quote
    notional = amount * fill
    if before > 0.0:
        turnover[i] += notional / before
    moved = notional * (1.0 - commission) if units > 0.0 else -(notional * (1.0 + commission))
    cost = amount * abs(fill - quote) + notional * commission
    cash += moved
    pnl = flow + moved
    if cash <= 0.0:
        pnl -= cash
    side = 1 if units > 0.0 else -1
    _record(whole, real, k, side, entry_bar, t, reason, entry_price, fill, amount, pnl, trade_costs + cost)
    return cash, cost


def _simulate_signals(
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
    """`engine_reference.simulate_signals`, compiled."""
    n = stop - start
    equity = np.zeros(n)
    exposure = np.zeros(n)
    turnover = np.zeros(n)
    whole = np.empty((n, 4), np.int64)
    real = np.empty((n, 5))
    k = 0
    costs_paid = 0.0

    cash = capital
    units = 0.0
    decided = -1
    last = math.nan

    entry_bar = 0
    entry_price = 0.0
    flow = 0.0
    trade_costs = 0.0
    best = 0.0
    stop_level = math.nan
    trail = math.nan
    target_level = math.nan

    for t in range(start, stop):
        i = t - start
        if units == 0.0 and not (decided >= 0 and (enter_long[decided] or enter_short[decided])):
            # Flat and nothing ordered, as on most bars: the account waits.
            if not math.isnan(close[t]):
                decided = t
                last = close[t]
            equity[i] = cash
            continue
        if not math.isnan(close[t]):
            quoted = open_[t]
            # At the open: ruin, then the orders decided at the last close.
            if units != 0.0 and cash + units * quoted <= 0.0:
                side = 1 if units > 0.0 else -1
                pnl = flow - cash
                _record(
                    whole, real, k, side, entry_bar, t, _BANKRUPT, entry_price, quoted, abs(units), pnl, trade_costs
                )
                k += 1
                units = 0.0
                break
            if decided >= 0:
                wants_long = enter_long[decided] and not enter_short[decided]
                wants_short = enter_short[decided] and not enter_long[decided]
                held = 0
                reason = -1
                if units > 0.0:
                    held = 1
                    if exit_long[decided] or wants_short:
                        reason = _SIGNAL
                elif units < 0.0:
                    held = -1
                    if exit_short[decided] or wants_long:
                        reason = _SIGNAL
                if held != 0 and reason < 0 and max_bars > 0 and decided - entry_bar + 1 >= max_bars:
                    reason = _TIME
                if reason >= 0:
                    fill = quoted * (1.0 - held * adverse)
                    cash, cost = _leave(
                        whole, real, k, turnover, i, t, reason, quoted, fill, commission,
                        cash, units, entry_bar, entry_price, flow, trade_costs,
                    )  # fmt: skip
                    costs_paid += cost
                    k += 1
                    units = 0.0
                    if cash <= 0.0:
                        break
                side = 0
                if units == 0.0:
                    if wants_long and not exit_long[decided] and held <= 0:
                        side = 1
                    elif wants_short and not exit_short[decided] and held >= 0:
                        side = -1
                if side != 0:
                    fraction = size[decided]
                    if fraction > 0.0 and fraction < math.inf:
                        outlay = fraction * cash
                        fill = quoted * (1.0 + side * adverse)
                        amount = outlay / (fill * (1.0 + commission))
                        notional = amount * fill
                        turnover[i] += notional / cash
                        moved = -outlay if side > 0 else notional * (1.0 - commission)
                        cost = amount * abs(fill - quoted) + notional * commission
                        cash += moved
                        flow = moved
                        trade_costs = cost
                        costs_paid += cost
                        units = side * amount
                        entry_bar = t
                        entry_price = fill
                        best = fill
                        distance = stop_distance[decided]
                        stop_level = fill - side * distance if distance > 0.0 else math.nan
                        distance = target_distance[decided]
                        target_level = fill + side * distance if distance > 0.0 else math.nan
                        distance = trail_distance[decided]
                        trail = distance if distance > 0.0 else math.nan

            # Inside the bar: the first of the levels that the prices reach. Nothing reaches NaN.
            if units != 0.0:
                reason = -1
                quote = quoted
                fill = quoted
                level = stop_level
                cause = _STOP
                if units > 0.0:
                    trailing = best - trail
                    if trailing > level or math.isnan(level):
                        level = trailing
                        cause = _TRAIL
                    if quoted <= level:
                        reason, fill = cause, quoted * (1.0 - adverse)
                    elif quoted >= target_level:
                        reason = _TARGET
                    elif low[t] <= level:
                        reason, quote, fill = cause, level, level * (1.0 - adverse)
                    elif high[t] >= target_level:
                        reason, quote, fill = _TARGET, target_level, target_level
                else:
                    trailing = best + trail
                    if trailing < level or math.isnan(level):
                        level = trailing
                        cause = _TRAIL
                    if quoted >= level:
                        reason, fill = cause, quoted * (1.0 + adverse)
                    elif quoted <= target_level:
                        reason = _TARGET
                    elif high[t] >= level:
                        reason, quote, fill = cause, level, level * (1.0 + adverse)
                    elif low[t] <= target_level:
                        reason, quote, fill = _TARGET, target_level, target_level
                if reason >= 0:
                    cash, cost = _leave(
                        whole, real, k, turnover, i, t, reason, quote, fill, commission,
                        cash, units, entry_bar, entry_price, flow, trade_costs,
                    )  # fmt: skip
                    costs_paid += cost
                    k += 1
                    units = 0.0
                    if cash <= 0.0:
                        break
            decided = t
            last = close[t]
            if units > 0.0:
                best = max(best, last)
            elif units < 0.0:
                best = min(best, last)

        # At the close: borrow, financing, the mark.
        if units < 0.0:
            cost = borrow_rate * (-units * last)
            cash -= cost
            flow -= cost
            trade_costs += cost
            costs_paid += cost
        if cash < 0.0:
            cost = financing_rate * -cash
            cash -= cost
            flow -= cost
            trade_costs += cost
            costs_paid += cost
        if units == 0.0:
            equity[i] = cash
            continue
        value = units * last
        total = cash + value
        if total <= 0.0:
            side = 1 if units > 0.0 else -1
            _record(
                whole, real, k, side, entry_bar, t, _BANKRUPT, entry_price, last, abs(units), flow - cash, trade_costs
            )
            k += 1
            units = 0.0
            break
        equity[i] = total
        exposure[i] = value / total

    if units != 0.0:
        side = 1 if units > 0.0 else -1
        pnl = flow + units * last
        _record(whole, real, k, side, entry_bar, stop - 1, _OPEN, entry_price, last, abs(units), pnl, trade_costs)
        k += 1
    return equity, exposure, turnover, whole[:k].copy(), real[:k].copy(), costs_paid


def _simulate_targets(
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
    """`engine_reference.simulate_targets`, compiled."""
    n = stop - start
    equity = np.zeros(n)
    exposure = np.zeros(n)
    turnover = np.zeros(n)
    whole = np.empty((n, 4), np.int64)
    real = np.empty((n, 5))
    k = 0
    costs_paid = 0.0

    cash = capital
    units = 0.0
    decided = -1
    last = math.nan

    entry_bar = 0
    entry_price = 0.0
    exit_price = 0.0
    added = 0.0
    removed = 0.0
    flow = 0.0
    trade_costs = 0.0

    for t in range(start, stop):
        i = t - start
        if not math.isnan(close[t]):
            quoted = open_[t]
            before = cash + units * quoted
            if units != 0.0 and before <= 0.0:
                side = 1 if units > 0.0 else -1
                amount = abs(units)
                exit_price += (quoted - exit_price) * (amount / (removed + amount))
                _record(
                    whole,
                    real,
                    k,
                    side,
                    entry_bar,
                    t,
                    _BANKRUPT,
                    entry_price,
                    exit_price,
                    added,
                    flow - cash,
                    trade_costs,
                )
                k += 1
                units = 0.0
                break
            if decided >= 0:
                goal = target[decided]
                wanted = units
                if goal == 0.0:
                    wanted = 0.0
                elif abs(goal) < math.inf and abs(goal - units * quoted / before) > band:
                    wanted = goal * before / quoted
                if wanted != units:
                    buying = wanted > units
                    fill = quoted * (1.0 + adverse) if buying else quoted * (1.0 - adverse)
                    # Out of the old position: all of it when the new one is flat or on the other side.
                    less = 0.0
                    if units > 0.0 and wanted < units:
                        less = units if wanted <= 0.0 else units - wanted
                    elif units < 0.0 and wanted > units:
                        less = -units if wanted >= 0.0 else wanted - units
                    if less > 0.0:
                        notional = less * fill
                        turnover[i] += notional / before
                        moved = -(notional * (1.0 + commission)) if buying else notional * (1.0 - commission)
                        cost = less * abs(fill - quoted) + notional * commission
                        cash += moved
                        flow += moved
                        trade_costs += cost
                        costs_paid += cost
                        removed += less
                        exit_price += (fill - exit_price) * (less / removed)
                        if units > 0.0:
                            side = 1
                            closed = wanted <= 0.0
                        else:
                            side = -1
                            closed = wanted >= 0.0
                        if closed:
                            pnl = flow - cash if cash <= 0.0 else flow
                            _record(
                                whole, real, k, side, entry_bar, t, _REBALANCE,
                                entry_price, exit_price, added, pnl, trade_costs,
                            )  # fmt: skip
                            k += 1
                            units = 0.0
                            if cash <= 0.0:
                                break
                        else:
                            units = wanted
                    # Into the new position, or further into the old one.
                    more = abs(wanted - units)
                    if more > 0.0:
                        if units == 0.0:
                            entry_bar = t
                            entry_price = 0.0
                            exit_price = 0.0
                            added = 0.0
                            removed = 0.0
                            flow = 0.0
                            trade_costs = 0.0
                        notional = more * fill
                        turnover[i] += notional / before
                        moved = -(notional * (1.0 + commission)) if buying else notional * (1.0 - commission)
                        cost = more * abs(fill - quoted) + notional * commission
                        cash += moved
                        flow += moved
                        trade_costs += cost
                        costs_paid += cost
                        added += more
                        entry_price += (fill - entry_price) * (more / added)
                        units = wanted
            decided = t
            last = close[t]

        if units < 0.0:
            cost = borrow_rate * (-units * last)
            cash -= cost
            flow -= cost
            trade_costs += cost
            costs_paid += cost
        if cash < 0.0:
            cost = financing_rate * -cash
            cash -= cost
            flow -= cost
            trade_costs += cost
            costs_paid += cost
        if units == 0.0:
            equity[i] = cash
            continue
        value = units * last
        total = cash + value
        if total <= 0.0:
            side = 1 if units > 0.0 else -1
            amount = abs(units)
            exit_price += (last - exit_price) * (amount / (removed + amount))
            _record(
                whole, real, k, side, entry_bar, t, _BANKRUPT, entry_price, exit_price, added, flow - cash, trade_costs
            )
            k += 1
            units = 0.0
            break
        equity[i] = total
        exposure[i] = value / total

    if units != 0.0:
        side = 1 if units > 0.0 else -1
        amount = abs(units)
        exit_price += (last - exit_price) * (amount / (removed + amount))
        pnl = flow + units * last
        _record(whole, real, k, side, entry_bar, stop - 1, _OPEN, entry_price, exit_price, added, pnl, trade_costs)
        k += 1
    return equity, exposure, turnover, whole[:k].copy(), real[:k].copy(), costs_paid


def _excursions(high: FloatArray, low: FloatArray, whole: IntArray, real: FloatArray, at_close: bool) -> FloatArray:
    """`engine_reference.excursions`, compiled."""
    found = np.zeros((whole.shape[0], 2))
    for place in range(whole.shape[0]):
        side, first, last, reason, k, entered = whole[place]
        entry, leave = real[place, 0], real[place, 1]
        bottom = min(entry, leave)
        top = max(entry, leave)
        # The bar of the exit counts as a whole only if the position was there to its end.
        lived = reason == _OPEN or (at_close and (reason in (_SIGNAL, _TIME, _REBALANCE, _HALT)))
        stop = last + 1 if lived else last
        start = first
        if entered == 2:
            start = first + 1
        elif entered == 1 and first < stop:
            # After a limit fill inside the bar the far side may have come before it.
            start = first + 1
            if side > 0:
                bottom = min(bottom, low[first, k])
            else:
                top = max(top, high[first, k])
        for t in range(start, stop):
            bottom = min(bottom, low[t, k])
            top = max(top, high[t, k])
        if side > 0:
            found[place, 0] = bottom / entry - 1.0
            found[place, 1] = top / entry - 1.0
        else:
            found[place, 0] = 1.0 - top / entry
            found[place, 1] = 1.0 - bottom / entry
    return found


simulate_signals = Kernel(_simulate_signals, (_record, _leave))
simulate_targets = Kernel(_simulate_targets, (_record,))
excursions = Kernel(_excursions)
