"""Paper orders: what the last decision would trade at the next open. No broker, no account, no network.

The rules are the engine's (see backtesting/engine_reference.py), read off the last bar on which each symbol traded.
Units are estimated at that bar's close, because the open at which they fill is not known; the engine, which knows it,
sizes on it. A symbol without a price today keeps its order waiting, and one that is gone gets none.
Not done yet: protective exits and the limit on bars held, which need the fills that a running account remembers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from backtesting.bars import Bars, FloatArray, IntArray
from backtesting.decisions import SignalDecisions, Signals, TargetDecisions
from backtesting.errors import UsageError
from backtesting.terms import CASH, Terms

# Signed units and why.
Change = tuple[float, str]


@dataclass(frozen=True)
class PaperOrder:
    """One order for the next open.

    Attributes:
        side: `buy` or `sell`.
        units: of the asset, positive, estimated at `reference_price`.
        decided: session after whose close it is an order, ISO date: the last on which the symbol traded.
        reference_price: the close of that session.
        reason: what the decision said.
    """

    symbol: str
    side: str
    units: float
    decided: str
    reference_price: float
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.side} {self.units:.4f} {self.symbol} at the open after {self.decided} "
            f"({self.reason}; close {self.reference_price:.2f})"
        )


def paper_orders(
    signals: Signals,
    equity: float,
    held_units: float | Mapping[str, float] = 0.0,
    *,
    terms: Terms = CASH,
    standing: bool = False,
) -> tuple[PaperOrder, ...]:
    """The orders for the next open, in the order of the columns; none if there is nothing to do.

    A reversal of signals is two orders: out, then in. Entries come after all exits, larger ones first.

    Args:
        equity: account value in the asset's currency.
        held_units: what is held now by symbol, negative is short; a plain number on a market of one symbol.
        terms: multipliers and lots are read, and after how many bars without a price a symbol is gone.
        standing: of targets, take the last one that was decided, whenever that was: what an account that starts today
            buys of a portfolio that is chosen anew once a month. False takes the last bar's alone, as the engine does.

    Raises:
        UsageError: a decision that depends on earlier fills, symbols that are not there, numbers that are not finite.
    """
    bars, decisions = signals.bars, signals.decisions
    if (isinstance(decisions, SignalDecisions) and not decisions.plain) or decisions.halt_drawdown > 0.0:
        raise UsageError(
            f"{signals.name} has limit orders, a cool-down, re-entry rules or a halt: they depend on what was filled"
            " before, and paper orders remember nothing",
            next_step="see what it would have done: touchstone backtest",
        )
    held = _held(signals, held_units)
    if not (math.isfinite(equity) and np.isfinite(held).all()):
        raise UsageError(
            f"equity {equity!r} and held units {held_units!r} have to be finite numbers",
            next_step="give the value of the account and what it holds",
        )
    if equity <= 0.0:
        return ()
    book = _Book(bars, equity, held, terms)
    if isinstance(decisions, TargetDecisions):
        changes = _target_changes(decisions, book, standing)
    else:
        changes = _signal_changes(decisions, book)
    return tuple(
        PaperOrder(
            symbol=bars.symbols[k],
            side="buy" if units > 0.0 else "sell",
            units=abs(units),
            decided=str(bars.sessions[at]),
            reference_price=float(book.price[k]),
            reason=reason,
        )
        for k, at, (units, reason) in changes
        if units != 0.0
    )


class _Book:
    """The account beside the market: where each symbol traded last, at what price, and what is held of it.

    last: (n_assets,) that bar; -1 for a symbol that never traded or is gone. unit: account currency for one unit.
    """

    def __init__(self, bars: Bars, equity: float, held: FloatArray, terms: Terms) -> None:
        traded = np.isfinite(bars.close)
        since = np.argmax(traded[::-1], axis=0)
        self.last: IntArray = np.where(traded.any(axis=0), bars.n_bars - 1 - since, -1).astype(np.int64)
        if terms.delisted_after > 0:
            self.last[since >= terms.delisted_after] = -1
        every = np.arange(bars.n_assets)
        self.equity, self.held, self.sessions = equity, held, bars.sessions
        self.price = np.where(self.last >= 0, bars.close[self.last, every], np.nan)
        self.unit = self.price * _each(terms.multiplier, bars, "multiplier")
        self.lot = _each(terms.lot, bars, "lot")
        # What is held of a symbol that is gone was settled, and is worth nothing here.
        self.worth = np.where(self.last >= 0, held * self.unit, 0.0)
        self.there: list[int] = np.flatnonzero(self.last >= 0).tolist()

    def units_for(self, k: int, value: float) -> float:
        """Whole lots, towards none."""
        units, lot = abs(value) / float(self.unit[k]), float(self.lot[k])
        whole = math.floor(units / lot + 1e-9) * lot if lot > 0.0 else units
        return math.copysign(whole, value)


def _each(value: float | tuple[float, ...], bars: Bars, name: str) -> FloatArray:
    if isinstance(value, tuple) and len(value) != bars.n_assets:
        raise UsageError(
            f"terms.{name} has {len(value)} numbers, the bars hold {bars.n_assets} symbols",
            next_step="give one number, or one a symbol in the order of the columns",
        )
    return np.full(bars.n_assets, value, dtype=np.float64)


def _held(signals: Signals, held: float | Mapping[str, float]) -> FloatArray:
    symbols = signals.bars.symbols
    if isinstance(held, Mapping):
        for name in held:
            if name not in symbols:
                near = get_close_matches(name, symbols, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise UsageError(
                    f"{signals.name}: {name!r} is held, but the market has no such symbol{hint}",
                    next_step="name symbols of the market",
                )
        return np.array([float(held.get(symbol, 0.0)) for symbol in symbols])
    if len(symbols) > 1 and held != 0.0:
        raise UsageError(
            f"{signals.name}: the bars hold {len(symbols)} symbols, and held units are one number",
            next_step="say what is held of each symbol",
        )
    return np.full(len(symbols), float(held))


def _target_changes(decisions: TargetDecisions, book: _Book, standing: bool) -> list[tuple[int, int, Change]]:
    decided = book.last.copy()
    if standing:
        known = np.isfinite(decisions.target)
        decided = np.where(known.any(axis=0), len(known) - 1 - np.argmax(known[::-1], axis=0), book.last)
    goals = np.full(len(decided), np.nan)
    for k in book.there:
        target = float(decisions.target[decided[k], k])
        if math.isfinite(target):
            goals[k] = max(-decisions.max_weight, min(decisions.max_weight, target))
    _limit(goals, decisions, book)
    changes = []
    for k in book.there:
        goal, units = float(goals[k]), float(book.held[k])
        chosen = f", chosen {book.sessions[decided[k]]}" if decided[k] != book.last[k] else ""
        if goal == 0.0:
            changes.append((k, int(book.last[k]), (-units, f"target 0{chosen}")))
        elif math.isfinite(goal) and abs(goal - float(book.worth[k]) / book.equity) > decisions.band:
            wanted = book.units_for(k, goal * book.equity)
            changes.append((k, int(book.last[k]), (wanted - units, f"target {goal:.2f} of equity{chosen}")))
    return changes


def _limit(goals: FloatArray, decisions: TargetDecisions, book: _Book) -> None:
    """Scale the goals as the engine does, so that with what is kept they stay within the limits."""
    kept = np.where(np.isnan(goals), book.worth / book.equity, 0.0)
    asked = float(np.nansum(np.abs(goals)))
    spare = max(decisions.max_gross - float(np.abs(kept).sum()), 0.0)
    if asked > spare:
        goals *= spare / asked
    longs, shorts = float(np.nansum(np.maximum(goals, 0.0))), float(np.nansum(np.maximum(-goals, 0.0)))
    net = float(kept.sum()) + longs - shorts
    if net > decisions.max_net and longs > 0.0:
        goals[goals > 0.0] *= max(longs - (net - decisions.max_net), 0.0) / longs
    elif net < -decisions.max_net and shorts > 0.0:
        goals[goals < 0.0] *= max(shorts + (net + decisions.max_net), 0.0) / shorts


def _signal_changes(decisions: SignalDecisions, book: _Book) -> list[tuple[int, int, Change]]:
    exits, entries = [], []
    held = book.held.copy()
    for k in book.there:
        t = int(book.last[k])
        enter_long, exit_long = bool(decisions.enter_long[t, k]), bool(decisions.exit_long[t, k])
        enter_short, exit_short = bool(decisions.enter_short[t, k]), bool(decisions.exit_short[t, k])
        if enter_long and enter_short:
            enter_long = enter_short = False
        before = float(held[k])
        if (before > 0.0 and (exit_long or enter_short)) or (before < 0.0 and (exit_short or enter_long)):
            exits.append((k, t, (-before, "exit long" if before > 0.0 else "exit short")))
            held[k] = 0.0
        size = float(decisions.size[t, k])
        if held[k] == 0.0 and 0.0 < size < math.inf:
            if enter_long and not exit_long and before <= 0.0:
                entries.append((k, t, size, 1.0))
            elif enter_short and not exit_short and before >= 0.0:
                entries.append((k, t, size, -1.0))
    used = float(np.abs(np.where(held != 0.0, book.worth, 0.0)).sum())
    room = decisions.max_positions - int((held != 0.0).sum()) if decisions.max_positions > 0 else len(entries)
    changes = exits
    for k, t, size, side in sorted(entries, key=lambda entry: -entry[2]):
        outlay = min(size * book.equity, max(decisions.max_gross, size) * book.equity - used)
        units = book.units_for(k, side * outlay) if outlay > 0.0 and room > 0 else 0.0
        if units != 0.0:
            changes.append((k, t, (units, "enter long" if side > 0.0 else "enter short")))
            used += abs(units) * float(book.unit[k])
            room -= 1
    return changes
