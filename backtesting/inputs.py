"""Inputs: what the engines read, as plain read-only arrays and numbers, checked and prepared once.

A decision reaches an engine only through here. What is prepared from the market (volatility and usual volume, for
impact and participation) is causal: the value of bar t uses bars up to t. An array that nothing needs has shape (0, 0).
The order of the fields is compiled into `engine_panel.py`, and numba's cache does not notice a change in this file:
whoever moves a field edits that file as well.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backtesting.bars import Bars, BoolArray, FloatArray, IntArray
from backtesting.costs import CostModel
from backtesting.decisions import SignalDecisions, Signals, TargetDecisions
from backtesting.errors import UsageError
from backtesting.splits import Window
from backtesting.terms import Terms

# Bars over which impact and participation take the usual volatility and volume.
USUAL_BARS = 20


class Market(NamedTuple):
    """Prices and conventions; (n_bars, n_assets) unless noted, or (0, 0) where not used.

    impact: adverse move of a fill as a fraction of the price is impact * sqrt(units), read at the bar that decided.
    capacity: most units that an order decided at this bar may open.
    multiplier, lot: (n_assets,).
    """

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    impact: FloatArray
    capacity: FloatArray
    funding: FloatArray
    roll: BoolArray
    multiplier: FloatArray
    lot: FloatArray


class Conditions(NamedTuple):
    """Window, capital, costs as fractions a side or a bar, and terms; see `CostModel` and `Terms`."""

    start: int
    stop: int
    capital: float
    adverse: float
    commission: float
    per_unit: float
    minimum: float
    borrow_rate: float
    financing_rate: float
    at_close: bool
    delisted_after: int
    haircut: float
    keep_positions: bool


class SignalOrders(NamedTuple):
    """`SignalDecisions` as arrays (n_bars, n_assets) and numbers; `limit_price` is (0, 0) without limit orders."""

    enter_long: BoolArray
    exit_long: BoolArray
    enter_short: BoolArray
    exit_short: BoolArray
    size: FloatArray
    stop_distance: FloatArray
    trail_distance: FloatArray
    target_distance: FloatArray
    limit_price: FloatArray
    max_bars: int
    limit_bars: int
    cooldown_bars: int
    rearm: bool
    max_positions: int
    max_gross: float
    halt_drawdown: float
    halt_bars: int


class TargetOrders(NamedTuple):
    """`TargetDecisions` as an array (n_bars, n_assets) and numbers."""

    target: FloatArray
    band: float
    max_weight: float
    max_gross: float
    max_net: float
    halt_drawdown: float
    halt_bars: int


class Books(NamedTuple):
    """What an engine returns.

    equity, exposure, gross, turnover: (n,) over the window; exposure is the sum of all positions, gross of their sizes.
    whole: (n_trades, 6) side, entry bar, exit bar, reason as a place in `REASONS`, asset, entry as 0 for at the open,
        1 for inside the bar, 2 for at the close; in the order in which the trades ended.
    real: (n_trades, 5) entry price, exit price, units, pnl, costs; see `Trade`.
    positions: (n, n_assets) fractions of equity at the close, or (0, 0) if not asked for.
    """

    equity: FloatArray
    exposure: FloatArray
    gross: FloatArray
    turnover: FloatArray
    whole: IntArray
    real: FloatArray
    costs_paid: float
    unfilled: float
    positions: FloatArray


def conditions(
    bars: Bars, costs: CostModel, terms: Terms, window: Window, capital: float, keep_positions: bool
) -> Conditions:
    """Annual rates spread over the bars of a year, basis points as fractions."""
    return Conditions(
        start=int(window.start),
        stop=int(window.stop),
        capital=float(capital),
        adverse=costs.adverse,
        commission=costs.commission,
        per_unit=float(costs.commission_per_unit),
        minimum=float(costs.commission_minimum),
        borrow_rate=costs.borrow_annual / bars.periods_per_year,
        financing_rate=costs.financing_annual / bars.periods_per_year,
        at_close=terms.fill == "close",
        delisted_after=int(terms.delisted_after),
        haircut=float(terms.haircut),
        keep_positions=bool(keep_positions),
    )


def market(signals: Signals, costs: CostModel, terms: Terms) -> Market:
    """Prices, and the features and estimates that costs and terms ask for.

    Raises:
        UsageError: a feature that is not there, no volume where one is needed, multipliers for other assets.
    """
    bars = signals.bars
    impact = capacity = np.zeros((0, 0))
    if costs.impact or costs.participation:
        if not bars.has_volume:
            raise UsageError(
                f"{signals.name}: impact and participation need volume, {bars.source} has none",
                next_step="take a market with volume, or costs without impact and participation",
            )
        impact, capacity = _liquidity(bars, costs)
    funding = np.zeros((0, 0))
    if terms.funding is not None:
        funding = np.nan_to_num(_feature(signals, terms.funding, "funding"), nan=0.0)
    roll = np.zeros((0, 0), np.bool_)
    if terms.roll is not None:
        roll = np.nan_to_num(_feature(signals, terms.roll, "roll"), nan=0.0) != 0.0
    if terms.roll_every:
        due = (np.arange(1, bars.n_bars + 1) % terms.roll_every == 0)[:, None]
        roll = roll | due if roll.size else np.repeat(due, bars.n_assets, axis=1)
    return Market(
        open=ready(bars.open),
        high=ready(bars.high),
        low=ready(bars.low),
        close=ready(bars.close),
        impact=ready(impact),
        capacity=ready(capacity),
        funding=ready(funding),
        roll=ready(roll, np.bool_),
        multiplier=ready(_per_asset(signals, "multiplier", terms.multiplier)),
        lot=ready(_per_asset(signals, "lot", terms.lot)),
    )


def orders(signals: Signals) -> SignalOrders | TargetOrders:
    """The decisions of a strategy, checked.

    Raises:
        UsageError: an array of another shape, or a number out of its range.
    """
    if isinstance(signals.decisions, TargetDecisions):
        return _target_orders(signals, signals.decisions)
    return _signal_orders(signals, signals.decisions)


def _signal_orders(signals: Signals, decisions: SignalDecisions) -> SignalOrders:
    _in_range(signals, SIGNAL_RANGES)
    limit = np.zeros((0, 0)) if decisions.limit_price is None else shaped(signals, "limit_price")
    return SignalOrders(
        enter_long=shaped(signals, "enter_long", np.bool_),
        exit_long=shaped(signals, "exit_long", np.bool_),
        enter_short=shaped(signals, "enter_short", np.bool_),
        exit_short=shaped(signals, "exit_short", np.bool_),
        size=shaped(signals, "size"),
        stop_distance=shaped(signals, "stop_distance"),
        trail_distance=shaped(signals, "trail_distance"),
        target_distance=shaped(signals, "target_distance"),
        limit_price=ready(limit),
        max_bars=int(decisions.max_bars),
        limit_bars=int(decisions.limit_bars),
        cooldown_bars=int(decisions.cooldown_bars),
        rearm=bool(decisions.rearm),
        max_positions=int(decisions.max_positions),
        max_gross=float(decisions.max_gross),
        halt_drawdown=float(decisions.halt_drawdown),
        halt_bars=int(decisions.halt_bars),
    )


def _target_orders(signals: Signals, decisions: TargetDecisions) -> TargetOrders:
    _in_range(signals, TARGET_RANGES)
    return TargetOrders(
        target=shaped(signals, "target"),
        band=float(decisions.band),
        max_weight=float(decisions.max_weight),
        max_gross=float(decisions.max_gross),
        max_net=float(decisions.max_net),
        halt_drawdown=float(decisions.halt_drawdown),
        halt_bars=int(decisions.halt_bars),
    )


def shaped(signals: Signals, name: str, dtype: Any = np.float64) -> npt.NDArray[Any]:
    """One array of the decisions, (n_bars, n_assets), read-only.

    Raises:
        UsageError: it has another shape.
    """
    values: npt.NDArray[Any] = getattr(signals.decisions, name)
    shape = (signals.bars.n_bars, signals.bars.n_assets)
    if values.shape != shape:
        raise UsageError(
            f"{signals.name}: {name} has shape {values.shape}, the bars ask for {shape}",
            next_step="give every decision one row a bar and one column an asset",
        )
    return ready(values, dtype)


def ready(values: npt.NDArray[Any], dtype: Any = np.float64) -> npt.NDArray[Any]:
    """Contiguous and read-only: one array type, so that each kernel is compiled once."""
    column = np.ascontiguousarray(values, dtype=dtype)
    if column.flags.writeable:
        column = column.view()
        column.setflags(write=False)
    return column


def _liquidity(bars: Bars, costs: CostModel) -> tuple[FloatArray, FloatArray]:
    """Impact for each root of a unit, and capacity; where either is not known, nothing can be opened."""
    close = bars.close
    moves = np.full(close.shape, np.nan)
    moves[1:] = close[1:] / close[:-1] - 1.0
    (mean, known), (square, _), (volume, _) = (_usual(values) for values in (moves, moves * moves, bars.volume))
    volatility = np.sqrt(np.maximum(square - mean * mean, 0.0))
    usable = (volume > 0.0) & (known >= 2.0)
    impact = np.zeros(close.shape)
    root = np.sqrt(volume, out=np.ones(close.shape), where=usable)
    np.divide(costs.impact * volatility, root, out=impact, where=usable)
    limit = costs.participation * volume if costs.participation else np.full(close.shape, np.inf)
    return impact, np.where(usable, limit, 0.0)


def _usual(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean of the known values of the last `USUAL_BARS` bars, NaN where there is none; and how many there are."""
    known = np.isfinite(values)
    sums, counts = (
        np.cumsum(np.vstack((np.zeros((1, values.shape[1])), part)), axis=0)
        for part in (np.where(known, values, 0.0), known.astype(np.float64))
    )
    first = np.maximum(np.arange(1, len(values) + 1) - USUAL_BARS, 0)
    total, count = sums[1:] - sums[first], counts[1:] - counts[first]
    return np.divide(total, count, out=np.full(values.shape, np.nan), where=count > 0.0), count


def _feature(signals: Signals, name: str, what: str) -> FloatArray:
    features = signals.bars.features
    if name not in features:
        near = get_close_matches(name, features, n=1)
        known = ", ".join(features) or "no features"
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"{signals.name}: {what} reads the feature {name!r}, {signals.bars.source} has {known}{hint}",
            next_step="join the feature to the bars first",
        )
    return features[name]


def _per_asset(signals: Signals, name: str, value: float | tuple[float, ...]) -> FloatArray:
    n_assets = signals.bars.n_assets
    if isinstance(value, tuple) and len(value) != n_assets:
        raise UsageError(
            f"{signals.name}: terms.{name} has {len(value)} numbers, the bars hold {n_assets} symbols",
            next_step="give one number, or one an asset in the order of the columns",
        )
    return np.full(n_assets, value, dtype=np.float64)


def _in_range(signals: Signals, ranges: Mapping[str, tuple[Callable[[Any], bool], str]]) -> None:
    for name, (legal, advice) in ranges.items():
        value = getattr(signals.decisions, name)
        if not legal(value):
            raise UsageError(f"{signals.name}: {name} is {value}", next_step=advice)


_NOT_NEGATIVE = (lambda value: value >= 0, "give 0 for no rule, or more")
_POSITIVE = (lambda value: value > 0, "give a number above 0")
_HALT = (lambda value: 0.0 <= value < 1.0, "give 0 for no rule, or a fraction below 1")
SIGNAL_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "max_bars": (lambda value: value >= 0, "give 0 for never, or more"),
    "limit_bars": (lambda value: value >= 1, "give 1 or more"),
    "cooldown_bars": _NOT_NEGATIVE,
    "max_positions": _NOT_NEGATIVE,
    "max_gross": _POSITIVE,
    "halt_drawdown": _HALT,
    "halt_bars": _NOT_NEGATIVE,
}
TARGET_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "band": (lambda value: value >= 0.0, "give 0 or more, 0.02 is 2 %"),
    "max_weight": _POSITIVE,
    "max_gross": _POSITIVE,
    "max_net": (lambda value: value >= 0.0, "give 0 for sides that are equal, or more"),
    "halt_drawdown": _HALT,
    "halt_bars": _NOT_NEGATIVE,
}
