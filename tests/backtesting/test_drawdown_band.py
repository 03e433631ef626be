"""Drawdown band: an honest stream keeps within it, one that changes its risk does not."""

import numpy as np
import pytest

import backtesting.drawdown_band as band
from backtesting.drawdown_band import BAND_LEVEL, drawdown_band


def stream(n, *, sharpe=1.0, daily=0.008, seed=1):
    return daily * np.random.default_rng(seed).normal(size=n) + sharpe * daily / np.sqrt(252)


def test_depth_is_the_largest_loss_from_an_earlier_peak_or_the_capital():
    # 100 -> 80 -> 88 -> 66: a fall from the capital by 34 %.
    seen = np.array([-0.2, 0.1, -0.25])
    band = drawdown_band(stream(50), seen, drift=True)
    assert band.depth == pytest.approx(0.34)
    assert drawdown_band(stream(50), np.array([0.1, 0.0, 0.2]), drift=True).depth == 0.0


@pytest.mark.parametrize("sharpe", [0.0, 1.0])
def test_honest_streams_are_seldom_refused(sharpe):
    refused = 0
    for seed in range(100):
        returns = stream(5000, sharpe=sharpe, seed=seed)
        refused += not drawdown_band(returns[:1500], returns[:1500], drift=True).held
        refused += not drawdown_band(returns[:1500], returns[1500:], drift=False).held
    assert refused <= 6  # 200 questions at a level of 1 %: P(more than 6) = 0.4 % if the level were exact


def test_positions_six_times_as_large_on_the_later_window_are_refused():
    returns = stream(5000)
    same = drawdown_band(returns[:1500], returns[1500:], drift=False)
    larger = drawdown_band(returns[:1500], 6.0 * returns[1500:], drift=False)
    assert same.held
    assert not larger.held
    assert larger.share <= BAND_LEVEL < same.share


def test_a_lost_drift_alone_is_no_matter_of_this_band():
    assert drawdown_band(stream(1500), stream(3500, sharpe=0.0, seed=2), drift=False).held


def test_a_ruined_account_is_refused_and_one_that_never_moved_is_not():
    ruined = np.r_[np.zeros(99), -1.0]
    band = drawdown_band(stream(100), ruined, drift=False)
    assert (band.depth, band.held) == (1.0, False)
    assert not drawdown_band(ruined, stream(100), drift=False).held
    assert drawdown_band(np.zeros(100), np.zeros(100), drift=True).held


def test_the_answer_is_the_same_again():
    returns = stream(900)
    first = drawdown_band(returns, returns, drift=True)
    assert drawdown_band(returns, returns, drift=True) == first


def test_compiled_falls_are_those_of_plain_numpy():
    rng = np.random.default_rng(11)
    logs = 0.01 * rng.standard_t(4, 300)
    draws = rng.integers(0, 300, (27, 700)).astype(np.int32)
    path = np.cumsum(logs[draws], axis=1)
    below = path - np.maximum(np.maximum.accumulate(path, axis=1), 0.0)
    expected = np.minimum(below.min(axis=1), 0.0)
    assert np.array_equal(band._fall_loop(logs, draws.T), expected)
    assert np.array_equal(band._falls.compiled()(logs, draws.T.copy()), expected)
