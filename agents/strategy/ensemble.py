"""Ensemble decisions: what several strategies hold, followed on paper and fused into one target a bar.

A member of kind rules is followed with the rules of the engine (docstring of `engine_reference.py`), without costs:
entries at the next open, stops and targets inside the bar, reversals, holding times. So the ensemble wants at every
close what the member will hold after the next open; a member that was stopped inside a bar is left at the open after
it, one bar later than the member itself would be. A member with targets holds its target, moved only beyond its band.
"""

from collections.abc import Sequence

import numpy as np

from agents.strategy import kernels, kernels_paths
from agents.strategy.functions.steps import grown, quotient
from agents.strategy.spec import EnsembleSpec, VoteFusion
from backtesting.bars import Bars, FloatArray
from backtesting.decisions import Decisions, SignalDecisions, TargetDecisions


def ensemble_targets(spec: EnsembleSpec, decided: Sequence[Decisions], bars: Bars) -> TargetDecisions:
    """Targets as fractions of equity, from the decisions of the members in the order of `spec.in_order`."""
    held = [followed(decisions, bars) for decisions in decided]
    if spec.weights == "inverse_volatility":
        shares = _by_volatility(held, bars, spec.window)
    else:
        shares = [np.full((bars.n_bars, 1), share) for _, share in spec.in_order]
    votes = isinstance(spec.fusion, VoteFusion)
    whole = np.zeros(bars.close.shape)
    for position, share in zip(held, shares, strict=True):
        whole = whole + share * (np.sign(position) if votes else position)
    if isinstance(spec.fusion, VoteFusion):
        # Shares are rounded to six digits, so three thirds are not quite one. A vote is about a symbol, and stands for
        # that symbol's own share of the account.
        whole = np.where(np.abs(whole) >= spec.fusion.threshold - 1e-5, np.sign(whole) / bars.n_assets, 0.0)
    target = np.where(np.isfinite(bars.close), spec.gross * whole, np.nan)
    target[np.arange(bars.n_bars) % spec.rebalance.every_bars != 0] = np.nan
    # The band is one of a symbol's own share, as for a score.
    return TargetDecisions(target=target, band=spec.rebalance.band / bars.n_assets)


def followed(decisions: Decisions, bars: Bars) -> FloatArray:
    """(n_bars, n_assets) what a member wants to hold after each close, as a fraction of its own equity; never NaN."""
    if isinstance(decisions, TargetDecisions):
        return kernels_paths.held_target(decisions.target, decisions.band)
    return _followed_signals(decisions, bars)


def _followed_signals(decisions: SignalDecisions, bars: Bars) -> FloatArray:
    return kernels_paths.held_signals(
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        decisions.enter_long.astype(np.float64),
        decisions.exit_long.astype(np.float64),
        decisions.enter_short.astype(np.float64),
        decisions.exit_short.astype(np.float64),
        decisions.size,
        decisions.stop_distance,
        decisions.trail_distance,
        decisions.target_distance,
        float(decisions.max_bars),
    )


def _by_volatility(held: Sequence[FloatArray], bars: Bars, window: int) -> list[FloatArray]:
    """Shares by 1 / volatility of the members' paper returns, equal where some member has none yet."""
    moved = grown(bars.close)
    moved = np.where(np.isnan(moved), 0.0, moved)
    raw = []
    for position in held:
        earned = np.zeros((bars.n_bars, 1))
        # What was wanted at a close is held from the next open on, so it earns from one close later.
        gains = position[:-2] * moved[2:]
        earned[2:, 0] = np.add.accumulate(gains, axis=1)[:, -1]
        raw.append(quotient(np.ones(earned.shape), kernels.rolling_stdev(earned, window, 1)))
    total = raw[0]
    for one in raw[1:]:
        total = total + one
    equal = np.full(total.shape, 1.0 / len(raw))
    return [np.where(np.isnan(total), equal, one / total) for one in raw]
