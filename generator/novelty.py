"""Novelty: is this rule new, or a known one in other words or other clothes? A rejection names the twin.

Two questions, the cheap one first. Before the backtest: is it the same rule (`spec_id`)? After it: does it hold the
same positions bar by bar? The second needs a look at the open window, and that look stays counted as a trial.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agents.archive.records import Rejection
from backtesting.bars import FloatArray

SAME_POSITIONS = 0.99
"""Correlation of positions from which on two rules are one; parameters one step apart on a slow rule lie above it."""


@dataclass(frozen=True)
class Known:
    """What is already there: rules by `spec_id`, and positions on the open window by reference; in order of arrival."""

    rules: Mapping[str, str]
    positions: Mapping[str, FloatArray]


def same_rule(spec_id: str, known: Known) -> Rejection | None:
    """A rejection if the rule itself is known."""
    twin = known.rules.get(spec_id)
    if twin is None:
        return None
    return Rejection("novelty", "duplicate_exact", f"the same rule as {twin}", {"twin": twin})


def same_positions(positions: FloatArray, known: Known) -> Rejection | None:
    """A rejection if the positions (n_bars,) on the open window are those of a known rule.

    Flat rules have no correlation; two of them are the same rule in effect.
    """
    for twin, other in known.positions.items():
        likeness = _likeness(positions, other)
        if likeness >= SAME_POSITIONS:
            reason = f"holds the same positions as {twin} (correlation {likeness:.3f} on the open window)"
            return Rejection(
                "novelty", "duplicate_behaviour", reason, {"twin": twin, "correlation": round(likeness, 4)}
            )
    return None


def _likeness(own: FloatArray, other: FloatArray) -> float:
    own_moves, other_moves = float(np.ptp(own)) > 0.0, float(np.ptp(other)) > 0.0
    if own_moves and other_moves:
        return float(np.corrcoef(own, other)[0, 1])
    return 1.0 if not own_moves and not other_moves and np.array_equal(own, other) else 0.0
