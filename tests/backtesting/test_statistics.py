"""Statistics: known answers from the papers, second opinions from arch and statsmodels, and measured error rates."""

import os
from math import isnan, sqrt

import numpy as np
import pytest
from scipy.stats import beta

from backtesting.resampling import draw_blocks
from backtesting.statistics import (
    block_from_autocovariance,
    block_length,
    common_block,
    effective_trials,
    expected_max_sharpe,
    hac_t,
    hac_ts,
    max_t,
    mean_intervals,
    minimum_detectable_sharpe,
    newey_west_variance,
    small_sample,
    step_up,
    years_needed,
)

FAST = os.environ.get("TOUCHSTONE_FAST") == "1"


def ar1(rho, n, seed):
    noise = np.random.default_rng(seed).normal(size=n)
    x = np.empty(n)
    x[0] = noise[0] / sqrt(1 - rho * rho)
    for t in range(1, n):
        x[t] = rho * x[t - 1] + noise[t]
    return x


def markets(reps, n, count, rng):
    """`reps` times (n, count) zero-mean streams: a shared factor, shared changing volatility, Student tails (6)."""
    log_volatility = np.empty((n, reps))
    level = rng.normal(size=reps)
    for t in range(n):
        level = 0.98 * level + 0.2 * rng.normal(size=reps)
        log_volatility[t] = level
    for rep in range(reps):
        x = sqrt(0.3) * rng.normal(size=(n, 1)) + sqrt(0.7) * rng.normal(size=(n, count))
        x /= np.sqrt(rng.chisquare(6, size=(n, 1)) / 6)
        yield 0.01 * x * np.exp(0.3 * log_volatility[:, rep])[:, None]


# --- Newey-West -------------------------------------------------------------------------------------------------


def test_newey_west_with_one_lag_by_hand():
    # x - mean = (-1, 1) ten times: variance 1, lag-1 autocovariance -19/20, Bartlett weight 1 - 1/2.
    x = np.tile([1.0, 3.0], 10)
    assert newey_west_variance(x, lags=1) == pytest.approx(1.0 + 2.0 * 0.5 * (-19 / 20))
    assert newey_west_variance(x, lags=0) == pytest.approx(1.0)


def test_hac_t_agrees_with_statsmodels():
    from statsmodels.regression.linear_model import OLS

    x = 0.1 + ar1(0.3, 800, 1)
    lags = int(4 * (800 / 100) ** (2 / 9))
    fit = OLS(x, np.ones(800)).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False})
    assert hac_t(x) == pytest.approx(float(fit.tvalues[0]), rel=1e-10)


def test_hac_t_of_many_streams_is_that_of_each():
    x = np.column_stack([0.1 + ar1(0.3, 300, seed) for seed in range(4)] + [np.full(300, 0.01)])
    assert hac_ts(x)[:4] == pytest.approx([hac_t(x[:, i].copy()) for i in range(4)], rel=1e-12)
    assert isnan(hac_ts(x)[4])


@pytest.mark.parametrize("x", [np.full(500, 0.001), np.arange(19.0), np.r_[np.nan, np.arange(99.0)]])
def test_constant_short_and_broken_streams_have_no_statistic(x):
    assert isnan(hac_t(x))
    assert isnan(newey_west_variance(x))
    assert isnan(block_length(x))
    resamples = draw_blocks(len(x), 5.0, 99, np.random.default_rng(1))
    assert all(isnan(end[0]) for end in mean_intervals(x[:, None], level=0.9, block=5.0, resamples=resamples))


# --- Block length -----------------------------------------------------------------------------------------------


def test_block_length_of_a_known_process_is_the_papers_formula():
    # AR(1), rho 0.5, n 1000: (2 * 0.5 / (1 - 0.25))^(2/3) * 1000^(1/3) = (4/3)^(2/3) * 10 = 12.114.
    autocovariance = 0.5 ** np.arange(201)
    assert block_from_autocovariance(autocovariance, 200, 1000) == pytest.approx(12.114, abs=5e-4)


@pytest.mark.parametrize(("rho", "n"), [(0.0, 60), (0.5, 1000), (0.9, 400), (-0.3, 2500)])
def test_block_length_agrees_with_arch(rho, n):
    from arch.bootstrap import optimal_block_length

    for seed in range(5):
        x = ar1(rho, n, seed)
        assert block_length(x) == pytest.approx(float(optimal_block_length(x)["stationary"].iloc[0]), rel=1e-9)


def test_one_block_for_many_streams_is_bounded():
    rng = np.random.default_rng(2)
    assert common_block(rng.normal(size=(2000, 30))) == 10.0
    persistent = np.column_stack([ar1(0.95, 2000, seed) for seed in range(8)])
    assert common_block(persistent) == pytest.approx(sqrt(2000) / 2)
    assert common_block(np.zeros((2000, 3))) == 10.0


# --- Max-t ------------------------------------------------------------------------------------------------------


def test_small_sample_correction_by_hand():
    # 100 bars in blocks of 10: shrunk by sqrt(1 - 19/100) = 0.9, then Student with 10 degrees: P(T > 1.8125) = 0.05.
    assert small_sample(np.array([1.812461 / 0.9]), 100, 10.0)[0] == pytest.approx(1.644854, abs=1e-5)
    assert small_sample(np.array([-1.812461 / 0.9]), 100, 10.0)[0] == pytest.approx(-1.644854, abs=1e-5)
    assert np.isfinite(small_sample(np.array([1e6, -1e6]), 10_000, 10.0)).all()


def test_p_values_are_adjusted_step_down_and_bounded_by_the_single_step():
    x = np.random.default_rng(9).normal(size=(1000, 12)) * 0.01
    x[:, 3] += 0.0016
    x[:, 7] += 0.0012
    test = max_t(x, block=10.0, reps=999, rng=np.random.default_rng(1))
    order = np.argsort(-test.statistic)
    assert (np.diff(test.p_adjusted[order]) >= 0).all()
    single = (1 + (test.null_maximum[None, :] >= test.statistic[:, None]).sum(axis=1)) / 1000
    assert (test.p_adjusted <= single).all()
    assert test.p_adjusted[order[0]] == single[order[0]]
    assert set(order[:2]) == {3, 7}


def test_the_critical_value_and_the_p_value_agree():
    x = np.random.default_rng(10).normal(size=(500, 5))
    test = max_t(x, block=5.0, reps=199, rng=np.random.default_rng(1))
    critical = test.critical_value(0.05)
    # p <= 0.05 needs (1 + count) / 200 <= 0.05: at most 9 null maxima at or above the statistic.
    assert (test.null_maximum >= critical).sum() == 10
    assert (test.null_maximum > critical).sum() == 9
    assert isnan(test.critical_value(0.004))


def test_flat_and_broken_streams_have_p_1_and_never_set_the_maximum():
    x = np.random.default_rng(11).normal(size=(600, 4)) * 0.01
    x[:, 0] += 0.002
    padded = np.column_stack([x, np.zeros(600), np.full(600, 0.01), np.full(600, np.nan)])
    bare = max_t(x, block=10.0, reps=499, rng=np.random.default_rng(1))
    test = max_t(padded, block=10.0, reps=499, rng=np.random.default_rng(1))
    assert test.p_adjusted[4:].tolist() == [1.0, 1.0, 1.0]
    assert np.isnan(test.statistic[4:]).all()
    assert test.p_adjusted[:4].tolist() == bare.p_adjusted.tolist()
    empty = max_t(np.zeros((600, 2)), block=10.0, reps=499, rng=np.random.default_rng(1))
    assert empty.p_adjusted.tolist() == [1.0, 1.0]
    assert isnan(empty.critical_value(0.05))


def test_scaling_a_stream_changes_nothing():
    x = np.random.default_rng(12).normal(size=(500, 6)) * 0.01
    before = max_t(x, block=8.0, reps=299, rng=np.random.default_rng(1))
    scaled = x.copy()
    scaled[:, 2] *= 30.0
    after = max_t(scaled, block=8.0, reps=299, rng=np.random.default_rng(1))
    assert after.p_adjusted.tolist() == before.p_adjusted.tolist()


@pytest.mark.slow
def test_markets_without_edge_pass_as_often_as_alpha_says():
    reps = 100 if FAST else 500
    rng = np.random.default_rng(13)
    passed = 0
    for streams in markets(reps, 1000, 20, rng):
        passed += max_t(streams, block=10.0, reps=199, rng=rng).p_adjusted.min() <= 0.05
    low, high = beta.ppf([0.005, 0.995], [passed, passed + 1], [reps - passed + 1, reps - passed])
    assert low <= 0.05 <= high


@pytest.mark.slow
def test_a_planted_sharpe_of_2_on_15_years_is_found():
    rng = np.random.default_rng(14)
    found = 0
    for streams in markets(30, 3780, 20, rng):
        streams[:, 5] += 2.0 / sqrt(252) * streams[:, 5].std()
        found += max_t(streams, block=10.0, reps=199, rng=rng).p_adjusted[5] <= 0.05
    assert found > 27


# --- Intervals --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_interval_covers_as_often_as_it_says():
    reps = 300
    covered = 0
    for seed in range(reps):
        x = ar1(0.2, 400, seed)
        resamples = draw_blocks(400, 10.0, 299, np.random.default_rng(seed))
        (low,), (high,) = mean_intervals(x[:, None], level=0.9, block=10.0, resamples=resamples)
        covered += low <= 0.0 <= high
    # 0.9 of 300 is 270; a standard error is sqrt(300 * 0.9 * 0.1) = 5.2.
    assert 270 - 16 <= covered <= 270 + 16


def test_blocks_are_rounded_up_to_one_of_a_few():
    # 10, 12.5, 15.625, 19.53...; on 2,500 bars the longest is sqrt(2500) / 2 = 25, on 300 it is 10.
    assert [step_up(block, 2500) for block in (3.0, 10.0, 10.1, 12.5, 12.6, 15.7)] == pytest.approx(
        [10.0, 10.0, 12.5, 12.5, 15.625, 19.53125]
    )
    assert step_up(24.9, 2500) == step_up(400.0, 2500) == 25.0
    assert step_up(24.9, 300) == 10.0


def test_intervals_of_many_streams_are_those_of_each():
    x = np.random.default_rng(15).normal(size=(300, 3))
    resamples = list(draw_blocks(300, 6.0, 199, np.random.default_rng(1)))
    low, high = mean_intervals(x, level=0.9, block=6.0, resamples=resamples)
    one = mean_intervals(x[:, 1:2].copy(), level=0.9, block=6.0, resamples=resamples)
    assert (low[1], high[1]) == pytest.approx((one[0][0], one[1][0]), rel=1e-5)  # resampled in single precision
    assert (low < x.mean(axis=0)).all()
    assert (high > x.mean(axis=0)).all()


# --- Planning ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sharpe", "years"), [(0.5, 24.7), (1.0, 6.2), (1.5, 2.7), (2.0, 1.5)])
def test_years_needed_for_one_candidate_are_the_published_ones(sharpe, years):
    # (z(0.95) + z(0.80))^2 / SR^2 = (1.6449 + 0.8416)^2 / SR^2 = (2.4865 / SR)^2.
    assert years_needed(sharpe, 1, 0.05) == pytest.approx(years, abs=0.06)
    assert minimum_detectable_sharpe(round(years_needed(sharpe, 1, 0.05) * 252), 252, 1, 0.05) == pytest.approx(
        sharpe, rel=1e-3
    )


@pytest.mark.parametrize(("count", "sharpe"), [(10**3, 1.06), (10**4, 1.18), (10**6, 1.38), (10**9, 1.63)])
def test_detectable_sharpe_on_20_years_over_many_candidates(count, sharpe):
    # z(1 - 0.05/1000) = 3.8906; (3.8906 + 0.8416) / sqrt(20) = 1.058.
    assert minimum_detectable_sharpe(5040, 252, count, 0.05) == pytest.approx(sharpe, abs=0.005)


def test_planning_refuses_nonsense_and_no_edge_needs_no_years():
    assert isnan(years_needed(0.0, 1, 0.05))
    with pytest.raises(ValueError, match="alpha < 1"):
        minimum_detectable_sharpe(100, 252, 1, 1.0)


def test_luck_of_the_best_of_100_is_the_published_number():
    assert expected_max_sharpe(100, 1, 1.0) == pytest.approx(2.53060, abs=5e-6)
    # On 9 years of days the same luck is 2.5306 / 3 a year.
    assert expected_max_sharpe(100, 9 * 252, 252.0) == pytest.approx(2.53060 / 3, abs=2e-6)
    assert expected_max_sharpe(1, 100, 252.0) == 0.0


def test_effective_trials_of_copies_of_strangers_and_between():
    rng = np.random.default_rng(16)
    one = rng.normal(size=(5000, 1))
    assert effective_trials(np.repeat(one, 7, axis=1)) == pytest.approx(1.0)
    assert effective_trials(rng.normal(size=(5000, 7))) == pytest.approx(7.0, abs=0.1)
    # Correlation 1/2 between 7 streams: 0.5 + 0.5 * 7 = 4.
    assert effective_trials(one + rng.normal(size=(5000, 7))) == pytest.approx(4.0, abs=0.2)
    assert isnan(effective_trials(np.zeros((5000, 2))))


def test_stopping_early_never_changes_which_streams_are_at_or_below_the_level():
    stopped = 0
    for seed in range(12):
        x = 0.01 * np.random.default_rng(seed).normal(size=(400, 6))
        x[:, 2] += 0.0001 * seed
        shift = np.array([0.0, -0.3, -0.1, -np.inf, 0.0, -1.0])
        whole, early = (
            max_t(x, block=5.0, reps=999, rng=np.random.default_rng(1), offsets=shift, enough=enough)
            for enough in (None, 0.05)
        )
        assert ((whole.p_adjusted <= 0.05) == (early.p_adjusted <= 0.05)).all()
        assert (early.p_adjusted <= whole.p_adjusted).all()
        stopped += len(early.null_maximum) < 999
        if whole.p_adjusted.min() <= 0.05:
            assert early.p_adjusted.tolist() == whole.p_adjusted.tolist()
    assert 4 <= stopped < 12
