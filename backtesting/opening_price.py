"""The price of an opening: what the next look at a sealed window may spend, after all that earlier ones gave away.

Each verdict is a bit that somebody may act upon, so the next run on the same days is a function of it. The error rate
is kept by a union bound over all histories of answers, which holds however they were used.
Showing a sealed number has no price: those days are open for good.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

from backtesting.blind_test import SMALLEST_P
from backtesting.errors import CheckFailed


@dataclass(frozen=True)
class EarlierOpening:
    """An earlier opening of the same sealed days, by whatever run: how many were judged, how many passed."""

    n_nominees: int
    n_passed: int


def alpha_for_opening(alpha: float, earlier: Sequence[EarlierOpening]) -> float:
    """What the next opening of a sealed window may spend, after the answers that earlier ones have given away.

    alpha * s_r * q: s_r = 6 / (pi^2 r^2) for the r-th opening (they sum to 1 over r), and q the weight of the answers
    so far, 0.9 for each "none passed" and 0.1 * 2^-n for each answer that names passes among n nominees. The weights
    of all possible answers sum to at most 1, so the error over every history is at most alpha: a union bound, which
    holds however the answers were used. An answer with a pass is dear; among more than a few nominees it spends the
    window.

    Raises:
        CheckFailed: what is left is below `SMALLEST_P`, the smallest p-value that the test can show.
    """
    weight = 1.0
    for opening in earlier:
        weight *= 0.9 if opening.n_passed == 0 else 0.1 * 2.0**-opening.n_nominees
    opening_number = len(earlier) + 1
    left = alpha * weight * 6.0 / (pi * opening_number) ** 2
    if left < SMALLEST_P:
        raise CheckFailed(
            f"the sealed window is spent: opening {opening_number} would have {left:.2g} of {alpha:g} left",
            kept="the candidates and their open-window evidence are kept, nothing was opened",
            next_step="wait for new bars, seal a window of another market, or send a candidate to shadow by a waiver",
        )
    return left
