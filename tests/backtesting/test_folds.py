"""Folds: golden splits of skfolio 1.12.2, and that no training bar knows a test bar."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtesting.folds import combinatorial_purged, n_paths, walk_forward

# CombinatorialPurgedCV(n_folds=6, n_test_folds=2, purged_size=3, embargo_size=5) on 100 bars: training bars a split.
GOLDEN = [60, 49, 49, 49, 53, 57, 46, 46, 50, 57, 46, 50, 57, 50, 61]
# The same with purged_size=4, embargo_size=0 on 103 bars, where the parts are of 17 bars and the last of 18.
GOLDEN_UNEVEN = [65, 57, 57, 57, 60, 61, 53, 53, 56, 61, 53, 56, 61, 56, 64]


def runs(bars):
    return [(int(part[0]), int(part[-1])) for part in np.split(bars, np.flatnonzero(np.diff(bars) != 1) + 1)]


def test_combinatorial_splits_are_skfolios():
    folds = list(combinatorial_purged(100, n_folds=6, n_test=2, purge=3, embargo=5))
    assert [len(fold.train) for fold in folds] == GOLDEN
    assert (runs(folds[1].train), runs(folds[1].test)) == ([(24, 28), (56, 99)], [(0, 15), (32, 47)])
    assert (runs(folds[6].train), runs(folds[6].test)) == ([(0, 12), (40, 44), (72, 99)], [(16, 31), (48, 63)])
    uneven = list(combinatorial_purged(103, n_folds=6, n_test=2, purge=4))
    assert [len(fold.train) for fold in uneven] == GOLDEN_UNEVEN
    assert runs(uneven[14].test) == [(68, 102)]


@pytest.mark.parametrize(("folds", "test", "splits", "paths"), [(6, 2, 15, 5), (10, 2, 45, 9), (10, 8, 45, 36)])
def test_splits_and_paths_are_counted_as_published(folds, test, splits, paths):
    assert len(list(combinatorial_purged(200, n_folds=folds, n_test=test))) == splits
    assert n_paths(folds, test) == paths


@pytest.mark.parametrize(("expanding", "first"), [(False, 20), (True, 0)])
def test_walk_forward_is_skfolios(expanding, first):
    # WalkForward(test_size=20, train_size=40, purged_size=3) on 100 bars, rolling and expanding.
    one, two = walk_forward(100, train=40, test=20, purge=3, expanding=expanding)
    assert (runs(one.train), runs(one.test)) == ([(0, 39)], [(43, 62)])
    assert (runs(two.train), runs(two.test)) == ([(first, 59)], [(63, 82)])


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(20, 90), folds=st.integers(2, 6), purge=st.integers(0, 5), embargo=st.integers(0, 5), data=st.data()
)
def test_no_training_bar_is_within_purge_and_embargo_of_a_test_bar(n, folds, purge, embargo, data):
    n_test = data.draw(st.integers(1, folds - 1))
    covered = np.zeros(n)
    for fold in combinatorial_purged(n, n_folds=folds, n_test=n_test, purge=purge, embargo=embargo):
        covered[fold.test] += 1
        if len(fold.train):
            distance = fold.train[:, None] - fold.test[None, :]
            assert not ((distance >= -purge) & (distance <= purge + embargo)).any()
    assert (covered == covered[0]).all()


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="1 <= n_test < n_folds"):
        list(combinatorial_purged(100, n_folds=5, n_test=5))
    with pytest.raises(ValueError, match="train >= 1"):
        list(walk_forward(100, train=0, test=5))
