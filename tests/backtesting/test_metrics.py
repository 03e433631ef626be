"""Each metric against a sum worked out by hand; whatever is undefined is NaN, and nothing is ever infinite."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from backtesting import metrics
from backtesting.metrics import METRICS, summarise


class FakeTrade(NamedTuple):
    pnl: float
    entry_bar: int = 0
    exit_bar: int = 0
    reason: str = "signal"
    entry_notional: float = 100.0
    traded_notional: float = 200.0
    mae: float = -0.01
    mfe: float = 0.02


def curve(*values):
    return np.array(values, dtype=float)


def summary(returns, *, capital=100.0, trades=(), costs=0.0, periods=252.0):
    returns = np.asarray(returns, dtype=float)
    equity = capital * np.cumprod(1 + returns)
    flat = np.zeros_like(returns)
    return summarise(returns, equity, flat, flat, trades, periods, costs, capital)


def test_total_return_and_cagr():
    assert metrics.total_return(curve(110, 121), 100.0) == pytest.approx(0.21)
    # 2 bars of 4 a year are half a year: 1.21 ^ 2 - 1
    assert metrics.cagr(curve(110, 121), 100.0, 4.0) == pytest.approx(1.21**2 - 1)
    assert metrics.cagr(curve(50, 0), 100.0, 252.0) == -1.0
    assert math.isnan(metrics.cagr(curve(1e300), 1.0, 252.0))  # 1e300 ^ 252 has no number


def test_volatility_and_sharpe_use_n_minus_one():
    returns = curve(0.01, 0.03, -0.01)
    # mean 0.01, squares 0 + 0.0004 + 0.0004 over 2 = 0.0004, deviation 0.02
    assert metrics.volatility_annual(returns, 4.0) == pytest.approx(0.04)
    assert metrics.sharpe_ratio(returns, 4.0) == pytest.approx(1.0)  # 0.01 / 0.02 * 2


def test_sortino_divides_by_the_losses_over_all_bars():
    # losses 0, 0, -0.01: root of 0.0001 / 3 = 0.0057735; mean 0.01
    assert metrics.sortino_ratio(curve(0.01, 0.03, -0.01), 1.0) == pytest.approx(math.sqrt(3))
    assert math.isnan(metrics.sortino_ratio(curve(0.01, 0.03), 252.0))


def test_drawdown_starts_from_the_capital():
    equity = curve(90, 95, 120, 60, 80, 120)
    # peaks 100, 100, 120, 120, 120, 120
    falls = metrics.drawdowns(equity, 100.0)
    np.testing.assert_allclose(falls, [-0.1, -0.05, 0, -0.5, -1 / 3, 0])
    assert metrics.max_drawdown(falls) == -0.5
    assert metrics.max_drawdown_bars(falls) == 2.0
    assert metrics.calmar_ratio(0.2, -0.5) == pytest.approx(0.4)


def test_a_drawdown_that_has_not_ended_counts_as_far_as_it_goes():
    for equity, bars in (([100, 90, 100, 90, 90, 90], 3.0), ([100, 101, 102], 0.0), ([99, 98], 2.0)):
        assert metrics.max_drawdown_bars(metrics.drawdowns(curve(*equity), 100.0)) == bars


def test_an_account_that_never_fell_has_no_calmar():
    assert metrics.max_drawdown(metrics.drawdowns(curve(101, 102), 100.0)) == 0.0
    assert math.isnan(metrics.calmar_ratio(0.1, 0.0))


def test_trade_metrics_count_the_closed_trades_only():
    trades = [
        FakeTrade(30.0, 1, 5),
        FakeTrade(-10.0, 6, 6),
        FakeTrade(0.0, 7, 9),
        FakeTrade(-5.0, 10, 12),
        FakeTrade(99.0, 13, 20, "open"),
    ]
    assert metrics.hit_rate(trades) == 0.25  # a trade that made nothing is no hit
    assert metrics.profit_factor(trades) == 2.0  # 30 / 15
    assert metrics.average_bars_held(trades) == 2.0  # (4 + 0 + 2 + 2) / 4
    assert summary([0.0, 0.1], trades=trades)["n_trades"] == 5.0


def test_trade_metrics_without_a_closed_trade_are_undefined():
    for trades in ([], [FakeTrade(1.0, reason="open")]):
        assert math.isnan(metrics.hit_rate(trades))
        assert math.isnan(metrics.profit_factor(trades))
        assert math.isnan(metrics.average_bars_held(trades))
    assert math.isnan(metrics.profit_factor([FakeTrade(5.0)]))  # never infinite
    assert metrics.profit_factor([FakeTrade(-5.0)]) == 0.0


def test_cost_share_is_of_the_profit_before_costs():
    assert metrics.cost_share(curve(108), 100.0, 2.0) == pytest.approx(0.2)  # 2 of 10
    assert metrics.cost_share(curve(99), 100.0, 2.0) == pytest.approx(2.0)  # the costs ate twice the profit of 1
    assert math.isnan(metrics.cost_share(curve(90), 100.0, 2.0))


def test_turnover_and_exposure():
    found = summarise(curve(0, 0), curve(100, 100), curve(1.0, -0.5), curve(1.0, 0.5), [], 252.0, 0.0, 100.0)
    assert found["exposure"] == 0.75  # short counts as long
    assert found["turnover_annual"] == pytest.approx(189.0)  # 1.5 in 2 bars of 252


@given(arrays(np.float64, st.integers(4, 40), elements=st.floats(-0.5, 0.5).map(lambda x: round(x, 4))))
def test_skew_and_kurtosis_are_those_of_scipy(returns):
    if returns.std() < 1e-6:
        return
    assert metrics.skew(returns) == pytest.approx(stats.skew(returns), rel=1e-6, abs=1e-9)
    assert metrics.kurtosis(returns) == pytest.approx(stats.kurtosis(returns, fisher=False), rel=1e-6)


def test_calmar_in_the_summary_is_of_the_whole_window():
    # 100 -> 60 -> 120 in 2 bars of 1 a year: CAGR sqrt(1.2) - 1, drawdown 0.4
    assert summary([-0.4, 1.0], periods=1.0)["calmar_ratio"] == pytest.approx((math.sqrt(1.2) - 1) / 0.4)


def test_best_and_worst_day():
    found = summary([0.02, -0.03, 0.01])
    assert (found["best_day"], found["worst_day"]) == (0.02, -0.03)


@pytest.mark.parametrize("returns", [[0.0] * 10, [0.001] * 10, [0.0]])
def test_a_constant_stream_has_no_ratios(returns):
    # Equity of a constant return is not constant to the last digit: its ratios would be 1e14, not undefined.
    equity = 100.0 * np.cumprod(1 + np.array(returns))
    returns = np.diff(equity, prepend=100.0) / np.concatenate(([100.0], equity[:-1]))
    found = summary(returns)
    for name in ("sharpe_ratio", "sortino_ratio", "calmar_ratio", "skew", "kurtosis"):
        assert math.isnan(found[name]), name


def test_the_registry_and_the_summary_name_the_same_metrics_in_the_same_order():
    assert list(summary([0.0, 0.1])) == list(METRICS)
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.definition.endswith(".")
        assert metric.unit
        assert metric.source


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(-1.0, 10.0)), st.floats(0.0, 1e6))
def test_no_metric_is_ever_infinite(returns, costs):
    with np.errstate(all="raise", under="ignore"):
        found = summary(returns, costs=costs, trades=[FakeTrade(5e-324), FakeTrade(-5e-324)])
    assert not any(math.isinf(value) for value in found.values())
    assert -1.0 <= found["max_drawdown"] <= 0.0
