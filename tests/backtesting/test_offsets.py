"""Offsets: by hand, at the edges, and that they are worth something."""

from math import exp, log, sqrt

import numpy as np
import pytest

from backtesting.offsets import offsets
from backtesting.statistics import max_t


def test_an_offset_by_hand():
    # 4 open years, edge 1: m = 2. t = 1 gives exp(2 - 2) = 1 over N = 2: odds 1/2, posterior 1/3; 9 sealed years: / 3.
    given = offsets(np.array([1.0, 3.0]), open_years=4.0, sealed_years=9.0, edge=1.0)
    assert given[0] == pytest.approx(log(1 / 3) / 3)
    odds = exp(2 * 3 - 2) / 2
    assert given[1] == pytest.approx(log(odds / (1 + odds)) / 3)


def test_no_evidence_gets_no_alpha_and_huge_evidence_no_more_than_all():
    given = offsets(np.array([np.nan, 1e6, -1e6]), open_years=6.0, sealed_years=14.0)
    assert given[0] == -np.inf
    assert given[1] == 0.0
    assert np.isfinite(given[2])


def test_more_evidence_is_more_alpha():
    t = np.linspace(-5.0, 9.0, 50)
    assert (np.diff(offsets(t, open_years=6.0, sealed_years=14.0)) > 0).all()


def test_weak_evidence_makes_the_rule_the_t_of_the_whole_history():
    # sealed t plus offset is sqrt(sealed/all) t2 + sqrt(open/all) t1 but for a factor and a constant.
    t = np.array([-2.0, -1.0, 0.0])
    steps = np.diff(offsets(t, open_years=6.0, sealed_years=14.0))
    assert steps == pytest.approx(np.full(2, sqrt(6 / 14)), rel=0.05)


@pytest.mark.parametrize("bad", [{"open_years": 0.0}, {"sealed_years": -1.0}, {"edge": 0.0}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="positive years and edge"):
        offsets(np.zeros(3), **({"open_years": 1.0, "sealed_years": 1.0, "edge": 1.0} | bad))


def test_a_stream_with_offset_minus_infinity_is_left_out_of_the_maximum():
    x = np.random.default_rng(3).normal(size=(800, 5)) * 0.01
    x[:, 0] += 0.0015
    shift = np.array([0.0, 0.0, 0.0, -np.inf, -np.inf])
    some = max_t(x, block=10.0, reps=499, rng=np.random.default_rng(1), offsets=shift)
    bare = max_t(x[:, :3], block=10.0, reps=499, rng=np.random.default_rng(1))
    assert some.p_adjusted.tolist() == [*bare.p_adjusted.tolist(), 1.0, 1.0]
    assert np.isnan(some.statistic[3:]).all()


def test_one_offset_for_all_changes_nothing():
    x = np.random.default_rng(4).normal(size=(800, 5)) * 0.01
    plain = max_t(x, block=10.0, reps=299, rng=np.random.default_rng(1))
    moved = max_t(x, block=10.0, reps=299, rng=np.random.default_rng(1), offsets=np.full(5, -0.7))
    assert plain.p_adjusted.tolist() == moved.p_adjusted.tolist()


def test_offsets_find_what_a_flat_test_misses():
    x = np.random.default_rng(5).normal(size=(2500, 200)) * 0.01
    x[:, 0] += 0.0006
    flat = max_t(x, block=10.0, reps=999, rng=np.random.default_rng(1))
    shift = np.full(200, -2.0)
    shift[0] = 0.0
    moved = max_t(x, block=10.0, reps=999, rng=np.random.default_rng(1), offsets=shift)
    assert moved.p_adjusted[0] <= 0.05 < flat.p_adjusted[0]
