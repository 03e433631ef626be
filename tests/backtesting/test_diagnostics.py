"""Diagnostics: known answers from the papers, and second opinions from jsharpe 0.6.3, skfolio 1.12.2, purgedcv 0.1.11.

The second opinions are kept as numbers: the packages pull in solvers and plotting and stay out of the environment.
"""

from dataclasses import replace
from itertools import combinations
from math import isnan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtesting.diagnostics import (
    Moments,
    adjust_bhy,
    adjust_bonferroni,
    adjust_holm,
    annualisation_lo,
    cscv,
    diagnose,
    dsr_2014,
    dsr_2026,
    effective_rank,
    expected_maximum,
    haircut,
    maximum_moments,
    minimum_backtest_years,
    minimum_track_record_2012,
    minimum_track_record_2026,
    psr_2012,
    psr_2026,
    sharpe_variance,
    two_sided_p,
)

# The hedge fund track record that both papers use: 24 months, mean 3.6 %, deviation 7.9 %.
FUND = Moments(24, 0.036 / 0.079, -2.448, 10.164, 0.0)
AR = Moments(24, 0.036 / 0.079, -2.448, 10.164, 0.2)


def sample():
    x = np.random.default_rng(5).standard_normal((320, 8))
    x[:, 0] += 0.1
    return np.round(x, 3)


# --- Sharpe ratio of one track record -----------------------------------------------------------------------------


def test_standard_error_of_a_sharpe_ratio_is_the_published_one():
    assert sqrt(sharpe_variance(FUND, FUND.sharpe)) == pytest.approx(0.329, abs=5e-4)
    assert sqrt(sharpe_variance(AR, AR.sharpe)) == pytest.approx(0.379, abs=5e-4)
    normal = Moments(24, FUND.sharpe, 0.0, 3.0, 0.0)
    # (1 + 0.4557^2 / 2) / 24 = 0.0460 = 0.2144^2.
    assert sqrt(sharpe_variance(normal, normal.sharpe)) == pytest.approx(0.214, abs=5e-4)
    assert sharpe_variance(AR, 0.1) == pytest.approx(0.07670913194444447, rel=1e-12)  # jsharpe


def test_the_two_published_forms_differ_and_both_are_right():
    annual = Moments(24, 1.585 / sqrt(12), -2.448, 10.164, 0.0)
    assert psr_2012(annual) == pytest.approx(0.913234, abs=2e-6)
    assert psr_2012(Moments(24, 1.585 / sqrt(12), 0.0, 3.0, 0.0)) == pytest.approx(0.982, abs=5e-4)
    assert psr_2026(FUND) == pytest.approx(0.987207261261433, rel=1e-12)  # jsharpe
    assert psr_2026(FUND, 0.1) == pytest.approx(0.939, abs=5e-4)
    assert psr_2026(AR) == pytest.approx(0.966, abs=5e-4)
    assert psr_2026(AR, 0.1) == pytest.approx(0.900475917403146, rel=1e-12)  # jsharpe


def test_psr_of_a_stream_is_skfolios():
    # skfolio divides by n - 1 in the deviation only.
    moments = Moments.of(sample()[:, 0])
    moments = replace(moments, sharpe=moments.sharpe * sqrt(319 / 320))
    assert psr_2012(moments) == pytest.approx(0.9074971107209207, rel=1e-9)


def test_minimum_track_record_of_annual_2_against_1():
    # Daily: 1 + (1 + 0.1265^2 / 2)(1.645 / 0.0632)^2 = 682.8 days = 2.7312 years of 250.
    daily = Moments(250, 2 / sqrt(250), 0.0, 3.0, 0.0)
    assert minimum_track_record_2012(daily, 1 / sqrt(250)) / 250 == pytest.approx(2.7312, abs=1e-4)
    weekly = Moments(52, 2 / sqrt(52), 0.0, 3.0, 0.0)
    assert minimum_track_record_2012(weekly, 1 / sqrt(52)) / 52 == pytest.approx(2.8288, abs=1e-4)
    assert minimum_track_record_2026(FUND) == pytest.approx(13.029, abs=5e-4)
    assert minimum_track_record_2026(AR, 0.1) == pytest.approx(39.36899843473083, rel=1e-12)  # jsharpe
    assert isnan(minimum_track_record_2012(FUND, 0.5))
    assert isnan(minimum_track_record_2026(FUND, 0.5))


@pytest.mark.parametrize("x", [np.full(100, 0.01), np.arange(5.0), np.r_[np.nan, np.arange(50.0)]])
def test_a_flat_short_or_broken_stream_has_no_diagnostics(x):
    moments = Moments.of(x)
    assert isnan(moments.sharpe)
    for value in (psr_2012(moments), psr_2026(moments), dsr_2014(moments, 10, 0.1), dsr_2026(moments, 10, 0.1)):
        assert isnan(value)
    assert isnan(minimum_track_record_2026(moments))


# --- Many trials --------------------------------------------------------------------------------------------------


def test_luck_of_the_best_is_the_published_number():
    assert expected_maximum(100) == pytest.approx(2.53060, abs=5e-6)
    assert expected_maximum(1) == 0.0
    assert maximum_moments(100)[0] == pytest.approx(2.50759, abs=5e-6)
    assert maximum_moments(10) == pytest.approx((1.53875, 0.3443438), abs=1e-5)
    assert maximum_moments(1) == pytest.approx((0.0, 1.0), abs=1e-9)


def test_deflated_sharpe_2014_is_the_papers_example():
    # Annual Sharpe 2.5 over 1250 days of 250, variance of the trials 1/2 a year: per day / 250.
    fat = Moments(1250, 2.5 / sqrt(250), -3.0, 10.0, 0.0)
    assert dsr_2014(fat, 100, 0.5 / 250) == pytest.approx(0.900397, abs=2e-6)
    assert dsr_2014(fat, 46, 0.5 / 250) == pytest.approx(0.9505, abs=5e-5)
    assert dsr_2014(Moments(1250, 2.5 / sqrt(250), 0.0, 3.0, 0.0), 88, 0.5 / 250) == pytest.approx(0.9505, abs=1e-3)


def test_deflated_sharpe_2026_is_the_papers_example():
    # SR0 = 1.5746 sqrt(0.1) = 0.4979; sd of one draw 0.3408, of a maximum of 10 0.2; (0.4557 - 0.4979) / 0.2 = -0.211.
    assert dsr_2026(FUND, 10, 0.1) == pytest.approx(0.416, abs=5e-4)


def test_minimum_backtest_length_is_the_published_one():
    assert minimum_backtest_years(45, 1.0) == pytest.approx(4.998, abs=5e-4)
    assert isnan(minimum_backtest_years(45, 0.0))


def test_annualisation_under_autocorrelation_is_los():
    assert annualisation_lo(0.2 ** np.arange(1, 12), 12) == pytest.approx(2.88, abs=0.005)
    assert annualisation_lo((-0.2) ** np.arange(1, 12), 12) == pytest.approx(4.17, abs=0.005)
    assert annualisation_lo(0.05 ** np.arange(1, 252), 252) == pytest.approx(15.103, abs=5e-4)
    assert annualisation_lo(np.zeros(0), 252) == pytest.approx(sqrt(252))


def test_harvey_and_lius_six_strategies():
    p = np.array([0.005, 0.009, 0.0128, 0.0135, 0.045, 0.06])
    shuffled = np.random.default_rng(1).permutation(6)
    for rule, significant in ((adjust_bonferroni, 1), (adjust_holm, 2), (adjust_bhy, 4)):
        assert np.sum(rule(p) <= 0.05) == significant
        assert rule(p[shuffled]) == pytest.approx(rule(p)[shuffled])
    # 5 x 0.009, and 4 x 0.0128 carried on to 3 x 0.0135.
    assert adjust_holm(p) == pytest.approx([0.03, 0.045, 0.0512, 0.0512, 0.09, 0.09])


def test_haircut_of_harvey_and_lius_examples():
    # Annual Sharpe 1 on 120 months with autocorrelation 0.1: a month is worth 1 / eta; 100 tries.
    monthly = annualisation_lo(0.1 ** np.arange(1, 12), 12) / 12
    p = two_sided_p(monthly * sqrt(120), 120)
    assert adjust_bonferroni(np.r_[p, np.ones(99)])[0] == pytest.approx(0.465, abs=5e-4)
    # Annual 0.75 over 20 years, t = 3.35, p = 0.0009; 200 tries leave p = 0.19 and t = 1.32: a Sharpe ratio of 0.3.
    p = two_sided_p(0.75 * sqrt(20), 240)
    assert p == pytest.approx(0.0009, abs=5e-5)
    cut = haircut(np.r_[p, np.ones(199)], 0, 20.0, 12.0)
    assert cut.sharpe_bonferroni == pytest.approx(0.30, abs=0.01)
    assert cut.sharpe_holm == pytest.approx(cut.sharpe_bonferroni)
    assert haircut(np.ones(3), 0, 20.0, 12.0).sharpe_bhy == 0.0


def test_effective_rank():
    # Two streams with correlation 0.4 exactly: eigenvalues 0.7 and 0.3 of the whole; exp(0.6109) = 1.842.
    z = np.linalg.qr(np.column_stack([np.ones(50), np.random.default_rng(2).normal(size=(50, 2))]))[0][:, 1:]
    two = np.column_stack([z[:, 0], 0.4 * z[:, 0] + sqrt(1 - 0.16) * z[:, 1]])
    assert effective_rank(two) == pytest.approx(1.842, abs=5e-4)
    assert effective_rank(np.repeat(z[:, :1], 5, axis=1)) == pytest.approx(1.0)
    assert effective_rank(sample()) == pytest.approx(7.830768358362429, rel=1e-9)  # jsharpe
    assert isnan(effective_rank(np.ones((50, 2))))


# --- Overfitting --------------------------------------------------------------------------------------------------


def test_pbo_by_hand():
    # Two blocks, two candidates: the better of one half is the worse of the other, both ways.
    up, down = np.tile([0.02, 0.01], 4), np.tile([-0.01, -0.02], 4)
    crossed = np.column_stack([np.r_[up, down], np.r_[down, up]])
    assert cscv(crossed, 2).pbo == 1.0
    assert cscv(crossed, 2).loss == 1.0
    steady = np.column_stack([np.r_[up, up], np.r_[down, down]])
    assert cscv(steady, 2).pbo == 0.0
    assert cscv(steady, 2).n_splits == 2


def test_pbo_agrees_with_purgedcv():
    assert cscv(sample(), 8).pbo == pytest.approx(0.1)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), blocks=st.sampled_from([4, 6]), count=st.integers(2, 6))
def test_pbo_from_block_sums_is_that_of_the_plain_loop(seed, blocks, count):
    x = np.random.default_rng(seed).normal(size=(60, count))
    parts = np.split(x, blocks)
    overfitted = 0
    for half in combinations(range(blocks), blocks // 2):
        first = np.concatenate([parts[b] for b in half])
        second = np.concatenate([parts[b] for b in range(blocks) if b not in half])
        best = int(np.argmax(first.mean(axis=0) / first.std(axis=0)))
        oos = second.mean(axis=0) / second.std(axis=0)
        overfitted += (1 + np.sum(oos < oos[best])) / (count + 1) <= 0.5
    result = cscv(x, blocks)
    assert result.pbo == pytest.approx(overfitted / result.n_splits)


def test_pbo_refuses_odd_blocks_and_single_candidates():
    for x, blocks in ((np.zeros((100, 3)), 5), (np.zeros((100, 1)), 4), (np.zeros((7, 3)), 4)):
        with pytest.raises(ValueError, match="even number of blocks"):
            cscv(x, blocks)


@pytest.mark.slow
def test_pbo_of_a_thousand_candidates_in_16_blocks_looks_at_every_split():
    x = np.random.default_rng(3).normal(size=(5040, 1000))
    assert cscv(x).n_splits == 12870


def test_everything_about_the_best_of_a_worthless_search():
    x = 0.01 * np.random.default_rng(4).normal(size=(1000, 30))
    x[:, 7] = 0.0
    best = int(np.nanargmax(np.where(x.std(axis=0) > 0, x.mean(axis=0) / np.maximum(x.std(axis=0), 1e-12), np.nan)))
    result = diagnose(x, best, n_trials=200, n_effective=29.0, periods_per_year=252.0)
    assert result.n_trials == 200
    assert result.expected_maximum_annual == pytest.approx(expected_maximum(200) * sqrt(252 / 1000))
    assert result.psr_2026 > 0.9
    assert result.dsr_2014 < 0.6
    assert result.haircut_annual < result.annual_sharpe
    flat = diagnose(x, 7, n_trials=200, n_effective=29.0, periods_per_year=252.0)
    assert flat.as_dict()["psr_2026"] is None
    assert flat.as_dict()["haircut_annual"] is None
