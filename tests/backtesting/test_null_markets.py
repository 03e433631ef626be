"""Null markets: that nothing is to be earned on them, and what they keep of a real one."""

from math import sqrt

import numpy as np
import pytest

from backtesting.null_markets import (
    NULL_MARKETS,
    expected_returns,
    factor_streams,
    plant,
    sign_flipped,
    timing_streams,
    unforeseen,
)

HISTORY = 0.01 * np.random.default_rng(0).standard_t(5, 3000)
N = 5040


@pytest.mark.parametrize("family", NULL_MARKETS)
def test_the_mean_of_a_null_market_is_zero_within_four_standard_errors(family):
    x = NULL_MARKETS[family](40_000, np.random.default_rng(1), HISTORY)
    assert x.shape == (40_000,)
    assert abs(x.mean()) < 4 * x.std() / sqrt(40_000)


@pytest.mark.parametrize("family", NULL_MARKETS)
def test_random_timing_earns_nothing_on_average(family):
    rng = np.random.default_rng(2)
    sharpes = []
    for _ in range(12):
        streams = timing_streams(NULL_MARKETS[family](2520, rng, HISTORY), 20, rng)
        held = streams.std(axis=0) > 0
        sharpes.append((streams[:, held].mean(axis=0) / streams[:, held].std(axis=0) * sqrt(252)).mean())
    # The mean over rules on one market is about as uncertain as one rule's: 0.32 a year over ten years.
    assert abs(np.mean(sharpes)) < 4 * 0.32 / sqrt(12)


def test_garch_clusters_and_sign_flips_keep_the_sizes():
    x = NULL_MARKETS["garch"](20_000, np.random.default_rng(3), HISTORY)
    assert np.corrcoef(x[1:] ** 2, x[:-1] ** 2)[0, 1] > 0.05
    flipped = sign_flipped(3000, np.random.default_rng(4), HISTORY)
    assert set(np.round(np.abs(flipped), 12)) <= set(np.round(np.abs(HISTORY - HISTORY.mean()), 12))


def test_what_the_past_foretells_is_taken_out():
    rng = np.random.default_rng(5)
    x = np.zeros(4000)
    for t in range(1, 4000):
        x[t] = 0.3 * x[t - 1] + 0.01 * rng.normal()
    left = unforeseen(x)
    assert abs(np.corrcoef(left[1:], left[:-1])[0, 1]) < 0.02
    assert abs(left.mean()) < 1e-12


def test_timing_rules_know_the_past_only():
    rng = np.random.default_rng(6)
    x = 0.01 * rng.normal(size=900)
    changed = x.copy()
    changed[600:] = 0.01 * rng.normal(size=300)
    before = timing_streams(x, 30, np.random.default_rng(7))
    after = timing_streams(changed, 30, np.random.default_rng(7))
    # The position of bar 600 is settled by bars before it: same positions, so the ratio to the return is the same.
    assert (before[:600] == after[:600]).all()
    assert before[600] / x[600] == pytest.approx(after[600] / changed[600])


def test_factor_streams_have_the_correlations_that_they_say():
    x, market = factor_streams(20_000, 60, np.random.default_rng(8))
    c = np.corrcoef(np.column_stack([x, market]).T)
    pairs = c[:-1, :-1][np.triu_indices(60, 1)]
    assert pairs[pairs > 0.35].mean() == pytest.approx(0.6, abs=0.05)
    assert pairs[pairs < 0.35].mean() == pytest.approx(0.1, abs=0.05)
    assert c[-1, :-1].mean() == pytest.approx(sqrt(0.1), abs=0.05)


def test_a_planted_edge_has_its_sharpe_ratio():
    x = np.random.default_rng(9).normal(size=(N, 3)) * 0.01
    x -= x.mean(axis=0)
    planted = plant(x, 1, 1.5, 252.0)
    assert planted[:, 1].mean() / planted[:, 1].std() * sqrt(252) == pytest.approx(1.5)
    assert (planted[:, [0, 2]] == x[:, [0, 2]]).all()


def test_what_a_rule_expects_of_a_resampled_market_is_taken_out_of_its_stream():
    # Independent days; but there are only 1,500, and what luck gave a rule on them it earns in that world for ever.
    rng = np.random.default_rng(11)
    history = 0.01 * rng.normal(size=1500)
    expected = expected_returns(history)
    world = NULL_MARKETS["bootstrap-centred"](60_000, rng, history)
    raw = timing_streams(world, 40, np.random.default_rng(12))
    centred = timing_streams(world, 40, np.random.default_rng(12), expected)
    errors = raw.std(axis=0) / sqrt(60_000)
    moving = errors > 0
    # Both means are uncertain: 60,000 bars here, 126,000 in the expectation.
    assert (np.abs(centred.mean(axis=0))[moving] < 4.5 * errors[moving]).all()
    assert np.sum(np.abs(raw.mean(axis=0))[moving] > 4.5 * errors[moving]) >= 3


def test_the_expectation_is_up_minus_down_by_hand():
    history = 0.01 * np.random.default_rng(13).normal(size=800)
    up, down = expected_returns(history)[0, 5]
    world = NULL_MARKETS["bootstrap-centred"](126_000, np.random.default_rng(0), history)
    trend = np.array([world[t - 5 : t].sum() for t in range(5, len(world))])
    assert up == pytest.approx(float(np.sum(world[5:][trend > 0])) / 126_000, abs=1e-12)
    assert down == pytest.approx(float(np.sum(world[5:][trend < 0])) / 126_000, abs=1e-12)
