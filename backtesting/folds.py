"""Folds: how the open window is cut for walk-forward and combinatorial purged cross-validation.

Bars that would let a training part know a test part are taken out: `purge` bars before each test part (a position or a
label that begins there ends inside it), `purge` and `embargo` bars after it (an indicator there still looks back into
it). So purge is the longest holding or label horizon, embargo the longest look-back that crosses the cut.

Rules without fitted parts need no training bars, so for them a fold is only a sub-period. Equal to skfolio's
`WalkForward` and `CombinatorialPurgedCV`, whose splits the tests hold. Lopez de Prado 2018, chapters 7 and 12.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from backtesting.bars import IntArray


@dataclass(frozen=True, eq=False)
class Fold:
    """Bar numbers within the window, ascending; no bar is in both."""

    train: IntArray
    test: IntArray


def walk_forward(n_bars: int, *, train: int, test: int, purge: int = 0, expanding: bool = False) -> Iterator[Fold]:
    """Train on the past, test on what comes next, move on by one test length; a last short test is left out.

    Args:
        train: bars of the first training part, and of all unless `expanding`.
        purge: bars left out between the two.
    """
    if train < 1 or test < 1 or purge < 0:
        raise ValueError(f"walk_forward needs train >= 1, test >= 1 and purge >= 0, got {train}, {test}, {purge}")
    for stop in range(train, n_bars - purge - test + 1, test):
        first = 0 if expanding else stop - train
        yield Fold(np.arange(first, stop), np.arange(stop + purge, stop + purge + test))


def combinatorial_purged(n_bars: int, *, n_folds: int, n_test: int, purge: int = 0, embargo: int = 0) -> Iterator[Fold]:
    """Every choice of `n_test` of `n_folds` equal parts as test, in lexicographic order; the last part takes the rest.

    Raises:
        ValueError: fewer than 2 folds, no training part left, or fewer bars than folds.
    """
    if not (2 <= n_folds <= n_bars and 1 <= n_test < n_folds and purge >= 0 and embargo >= 0):
        raise ValueError(
            f"combinatorial_purged needs 1 <= n_test < n_folds <= bars, got {n_test} of {n_folds} on {n_bars} bars"
        )
    size = n_bars // n_folds
    bounds = [(i * size, (i + 1) * size if i < n_folds - 1 else n_bars) for i in range(n_folds)]
    for chosen in combinations(range(n_folds), n_test):
        tested = np.zeros(n_bars, dtype=np.bool_)
        barred = np.zeros(n_bars, dtype=np.bool_)
        for i in chosen:
            start, stop = bounds[i]
            tested[start:stop] = True
            barred[max(0, start - purge) : min(n_bars, stop + purge + embargo)] = True
        yield Fold(np.flatnonzero(~barred), np.flatnonzero(tested))


def n_paths(n_folds: int, n_test: int) -> int:
    """How many whole paths through the window the test parts make up: k C(N, k) / N."""
    return comb(n_folds, n_test) * n_test // n_folds
