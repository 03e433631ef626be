"""Paper orders: what the last decision would trade at the next open. No broker, no account, no network.

The rules are the engine's (see backtesting/engine_reference.py), read off the last bar that traded. Units are estimated
at that bar's close, because the open at which they fill is not known; the engine, which knows it, sizes on it.
Not done yet: protective exits and the limit on bars held, which need the fills that a running account remembers.
"""

import math
from dataclasses import dataclass

import numpy as np

from backtesting.decisions import SignalDecisions, Signals, TargetDecisions
from backtesting.errors import UsageError


@dataclass(frozen=True)
class PaperOrder:
    """One order for the next open.

    Attributes:
        side: `buy` or `sell`.
        units: of the asset, positive, estimated at `reference_price`.
        decided: session whose close decided, ISO date.
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


def paper_orders(signals: Signals, equity: float, held_units: float = 0.0) -> tuple[PaperOrder, ...]:
    """The orders for the next open; none if there is nothing to do. A reversal is two: out, then in.

    Args:
        signals: of one symbol.
        equity: account value in the asset's currency.
        held_units: what is held now, negative is short.

    Raises:
        UsageError: several symbols, or numbers that are not finite.
    """
    bars = signals.bars
    if bars.n_assets != 1:
        raise UsageError(
            f"{signals.name}: the bars hold {bars.n_assets} symbols, orders are made for one",
            next_step="run one symbol at a time",
        )
    decisions = signals.decisions
    if (isinstance(decisions, SignalDecisions) and not decisions.plain) or decisions.halt_drawdown > 0.0:
        raise UsageError(
            f"{signals.name} has limit orders, a cool-down, re-entry rules or a halt: they depend on what was filled"
            " before, and paper orders remember nothing",
            next_step="see what it would have done: touchstone backtest",
        )
    if not (math.isfinite(equity) and math.isfinite(held_units)):
        raise UsageError(
            f"equity {equity!r} and held units {held_units!r} have to be finite numbers",
            next_step="give the value of the account and what it holds",
        )
    traded = np.flatnonzero(np.isfinite(bars.close[:, 0]))
    if len(traded) == 0 or equity <= 0.0:
        return ()
    t = int(traded[-1])
    price = float(bars.close[t, 0])
    if isinstance(signals.decisions, TargetDecisions):
        changes = _target_changes(signals.decisions, t, price, equity, held_units)
    else:
        changes = _signal_changes(signals.decisions, t, price, equity, held_units)
    return tuple(
        PaperOrder(
            symbol=bars.symbols[0],
            side="buy" if units > 0.0 else "sell",
            units=abs(units),
            decided=str(bars.sessions[t]),
            reference_price=price,
            reason=reason,
        )
        for units, reason in changes
        if units != 0.0
    )


def _target_changes(
    decisions: TargetDecisions, t: int, price: float, equity: float, held: float
) -> list[tuple[float, str]]:
    target = float(decisions.target[t, 0])
    if target == 0.0:
        return [(-held, "target 0")]
    if not math.isfinite(target) or abs(target - held * price / equity) <= decisions.band:
        return []
    return [(target * equity / price - held, f"target {target:.2f} of equity")]


def _signal_changes(
    decisions: SignalDecisions, t: int, price: float, equity: float, held: float
) -> list[tuple[float, str]]:
    enter_long, exit_long = bool(decisions.enter_long[t, 0]), bool(decisions.exit_long[t, 0])
    enter_short, exit_short = bool(decisions.enter_short[t, 0]), bool(decisions.exit_short[t, 0])
    if enter_long and enter_short:
        enter_long = enter_short = False
    changes: list[tuple[float, str]] = []
    if held > 0.0:
        if not (exit_long or enter_short):
            return []
        changes.append((-held, "exit long"))
    elif held < 0.0:
        if not (exit_short or enter_long):
            return []
        changes.append((-held, "exit short"))
    size = float(decisions.size[t, 0])
    if not 0.0 < size < math.inf:
        return changes
    units = size * equity / price
    if enter_long and not exit_long and held <= 0.0:
        changes.append((units, "enter long"))
    elif enter_short and not exit_short and held >= 0.0:
        changes.append((-units, "enter short"))
    return changes
