"""Decisions: what a strategy hands the engine. Decided at the close of bar t, filled no earlier than bar t + 1.

Two shapes, because traders think in two: entries and exits (`SignalDecisions`), or a target position a bar
(`TargetDecisions`). `Signals` is either of them together with the bars it was made on.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backtesting.bars import Bars, BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class SignalDecisions:
    """Entries, exits and protective exits; every array is (n_bars, n_assets).

    Attributes:
        enter_long, exit_long, enter_short, exit_short: True at the bar whose close decides.
        size: fraction of equity to put into a position that is entered on this decision (0 or NaN: no entry).
        stop_distance: distance of the initial stop from the fill, in price units; NaN for none.
        trail_distance: distance of the trailing stop from the best close since entry, price units; NaN for none.
        target_distance: distance of the profit target from the fill, price units; NaN for none.
        max_bars: leave after this many bars in the position; 0 for never.
        limit_price: an entry decided here rests as a limit order at this price; NaN, zero or negative for an order at
            the market. None for no limit orders at all.
        limit_bars: a limit order that was not filled for so many bars is gone.
        cooldown_bars: an asset that was left is not entered on a decision of the bar of the exit or of the bars
            after it, so many in all; 0 for no rule. It forbids reversals too.
        rearm: an entry in a direction is taken only if its condition was false at a close since the last one.
        max_positions: most positions held at once; 0 for any number. The largest size comes first, then the first
            asset.
        max_gross: an entry never brings the sum of all positions above this fraction of equity, or above its own
            size if that is larger; what is left over is cut.
        halt_drawdown: leave everything and stay flat once equity is further than this fraction below its peak;
            0 for no rule.
        halt_bars: decide again after so many bars, with a new peak; 0 for never.
    """

    enter_long: BoolArray
    exit_long: BoolArray
    enter_short: BoolArray
    exit_short: BoolArray
    size: FloatArray
    stop_distance: FloatArray
    trail_distance: FloatArray
    target_distance: FloatArray
    max_bars: int = 0
    limit_price: FloatArray | None = None
    limit_bars: int = 1
    cooldown_bars: int = 0
    rearm: bool = False
    max_positions: int = 0
    max_gross: float = 1.0
    halt_drawdown: float = 0.0
    halt_bars: int = 0

    @property
    def n_bars(self) -> int:
        return int(self.enter_long.shape[0])

    @property
    def plain(self) -> bool:
        """Whether only flags, sizes, protective exits and `max_bars` are used."""
        return self.limit_price is None and not (self.cooldown_bars or self.rearm or self.halt_drawdown)


@dataclass(frozen=True, eq=False)
class TargetDecisions:
    """A target position a bar.

    Attributes:
        target: (n_bars, n_assets) wanted position as a fraction of equity, negative is short;
            NaN: keep what is held.
        band: trade only if the position is further than this from its target, as a fraction of equity.
        max_weight: a target is cut to this size, long or short.
        max_gross: targets are scaled down together so that the sum of all sizes stays within this.
        max_net: the longs, or the shorts, are scaled down so that the sum of all positions stays within this.
        halt_drawdown, halt_bars: as in `SignalDecisions`.
    """

    target: FloatArray
    band: float = 0.0
    max_weight: float = math.inf
    max_gross: float = math.inf
    max_net: float = math.inf
    halt_drawdown: float = 0.0
    halt_bars: int = 0

    @property
    def n_bars(self) -> int:
        return int(self.target.shape[0])

    @property
    def plain(self) -> bool:
        """Whether only targets and the band are used."""
        limit = min(self.max_weight, self.max_gross, self.max_net)
        return not (limit < math.inf or self.halt_drawdown)


Decisions = SignalDecisions | TargetDecisions


@dataclass(frozen=True)
class Signal:
    """One bar of `Signals`, in words: what was decided at the close of `session`."""

    session: str
    symbol: str
    action: str
    size: float

    def __str__(self) -> str:
        size = "" if np.isnan(self.size) else f" {self.size:.2f} of equity"
        return f"{self.session} {self.symbol}: {self.action}{size}"


@dataclass(frozen=True, eq=False)
class Signals:
    """Decisions together with the bars they were made on; iterating gives one `Signal` a bar and asset."""

    name: str
    bars: Bars
    decisions: Decisions

    def __post_init__(self) -> None:
        if self.decisions.n_bars != self.bars.n_bars:
            raise ValueError(f"{self.decisions.n_bars} decisions for {self.bars.n_bars} bars")

    def __len__(self) -> int:
        return self.bars.n_bars * self.bars.n_assets

    def __iter__(self) -> Iterator[Signal]:
        for t in range(self.bars.n_bars):
            for k in range(self.bars.n_assets):
                yield self.at(t, k)

    def at(self, t: int, asset: int = 0) -> Signal:
        """The signal decided at the close of bar `t` (negative counts from the end)."""
        action, size = _in_words(self.decisions, t, asset)
        return Signal(str(self.bars.sessions[t]), self.bars.symbols[asset], action, size)


def _in_words(decisions: Decisions, t: int, k: int) -> tuple[str, float]:
    if isinstance(decisions, TargetDecisions):
        target = float(decisions.target[t, k])
        return ("keep" if np.isnan(target) else "hold", target)
    names = ("enter_long", "exit_long", "enter_short", "exit_short")
    fired = [name.replace("_", " ") for name in names if getattr(decisions, name)[t, k]]
    entering = any(name.startswith("enter") for name in fired)
    return (" and ".join(fired) or "none", float(decisions.size[t, k]) if entering else float("nan"))
