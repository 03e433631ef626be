"""Occam: the price of a bit, and an oracle that remembers everything."""

from math import isnan, sqrt

import numpy as np
import pytest

from backtesting.null_markets import factor_streams, garch, timing_streams
from backtesting.occam import detectable_sharpe, occam_test, robust_statistic
from backtesting.resampling import bootstrap_variance
from backtesting.statistics import small_sample


@pytest.mark.parametrize(("count", "sharpe"), [(10**3, 1.06), (10**4, 1.18), (10**6, 1.38), (10**9, 1.63)])
def test_the_price_of_a_space_on_20_years_is_the_published_one(count, sharpe):
    assert detectable_sharpe(np.log2(count), 5040, alpha=0.05, periods_per_year=252) == pytest.approx(sharpe, abs=0.005)


def test_twenty_bits_need_a_sharpe_of_at_most_1_4_on_20_years_and_a_hundred_bits_are_finite():
    # z(1 - 0.05 / 2^20) = 5.335; (5.335 + 0.842) / sqrt(20) = 1.381.
    assert detectable_sharpe(20, 5040, alpha=0.05, periods_per_year=252) == pytest.approx(1.381, abs=1e-3)
    assert 2.0 < detectable_sharpe(100, 5040, alpha=0.05, periods_per_year=252) < 4.0


def test_a_short_rule_passes_where_a_long_one_with_the_same_returns_does_not():
    x = 0.01 * np.random.default_rng(1).normal(size=5040)
    x += 1.4 / sqrt(252) * 0.01 - x.mean()
    short = occam_test(x, 14.0, alpha=0.05, periods_per_year=252)
    long = occam_test(x, 60.0, alpha=0.05, periods_per_year=252)
    assert short.passed
    assert not long.passed
    assert short.p_value == long.p_value
    assert short.level == 0.05 * 2**-14
    assert long.detectable > short.detectable


def test_negative_skewness_is_held_against_a_stream_and_positive_is_not_counted_for_it():
    rng = np.random.default_rng(2)
    x = 0.01 * rng.normal(size=5000) + 0.0008
    crash = x.copy()
    crash[::500] -= 0.08
    crash += x.mean() - crash.mean()
    plain = float(
        small_sample(np.array([x.mean() / sqrt(bootstrap_variance(x[:, None], 10.0)[0] / 5000)]), 5000, 10.0)[0]
    )
    assert robust_statistic(x) <= plain
    mirrored = 2 * crash.mean() - crash
    assert robust_statistic(crash) < robust_statistic(mirrored)


@pytest.mark.parametrize("x", [np.zeros(500), np.full(500, np.nan), np.arange(10.0)])
def test_a_flat_broken_or_short_stream_never_passes(x):
    test = occam_test(x, 5.0, alpha=0.05, periods_per_year=252)
    assert isnan(test.statistic)
    assert test.p_value == 1.0
    assert not test.passed


def test_nonsense_is_refused():
    for bits, alpha in ((0.0, 0.05), (float("nan"), 0.05), (10.0, 1.0)):
        with pytest.raises(ValueError, match="length above 0 bits"):
            occam_test(np.zeros(100), bits, alpha=alpha, periods_per_year=252)


@pytest.mark.slow
def test_an_oracle_that_knows_the_best_rule_of_the_whole_space_is_held_to_the_level():
    # 500 rules of log2(500) bits each use up the code; the oracle hands in the best of them in every market.
    passed = 0
    reps = 60
    for rep in range(reps):
        rng = np.random.default_rng([5, rep])
        if rep % 2:
            streams, _ = factor_streams(1260, 500, rng)
        else:
            streams = timing_streams(garch(1260, rng, np.zeros(0)), 500, rng)
        best = streams[:, np.argmax(streams.mean(axis=0) / np.maximum(streams.std(axis=0), 1e-9))]
        passed += occam_test(best, float(np.log2(500)), alpha=0.05, periods_per_year=252).passed
    # At 5 %, more than 8 of 60 happen with probability 0.002.
    assert passed <= 8
