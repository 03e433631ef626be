"""Each metric against a sum worked out by hand; whatever is undefined is NaN, and nothing is ever infinite."""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from backtesting import metrics
from backtesting.metrics import AGAINST_BENCHMARK, METRICS, metrics_page, summarise

ROOT = Path(__file__).parents[2]
ORACLE = json.loads((ROOT / "tests/oracles/metrics.json").read_text())


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


def test_average_drawdown_is_of_the_runs_below_the_peak():
    falls = metrics.drawdowns(curve(90, 95, 120, 60, 80, 120, 119), 100.0)
    # runs: -0.1 over 2 bars, -0.5 over 2, -1/120 over 1 that has not ended
    assert metrics.average_drawdown(falls) == pytest.approx(-(0.1 + 0.5 + 1 / 120) / 3)
    assert metrics.average_drawdown_bars(falls) == pytest.approx(5 / 3)
    assert metrics.average_drawdown(metrics.drawdowns(curve(101, 102), 100.0)) == 0.0
    assert metrics.average_drawdown_bars(metrics.drawdowns(curve(101, 102), 100.0)) == 0.0


def test_the_ulcer_index_is_the_root_mean_square_of_the_drawdowns():
    assert metrics.ulcer_index(curve(0.0, -0.3, -0.4, 0.0)) == pytest.approx(0.25)  # root of (0.09 + 0.16) / 4


def test_omega_is_gains_over_losses():
    assert metrics.omega_ratio(curve(0.03, -0.01, 0.0, -0.01)) == pytest.approx(1.5)
    assert math.isnan(metrics.omega_ratio(curve(0.03, 0.0)))


def test_the_tails_are_the_outer_twentieths():
    returns = np.arange(-50, 51) / 1000.0  # 101 returns, so the 5 % quantile is the sixth, the 95 % the 96th
    assert metrics.var_95(returns) == pytest.approx(-0.045)
    assert metrics.cvar_95(returns) == pytest.approx(-0.0475)  # mean of -0.050 to -0.045
    assert metrics.tail_ratio(returns) == pytest.approx(1.0)
    assert metrics.tail_ratio(np.where(returns > 0, 2 * returns, returns)) == pytest.approx(2.0)
    assert math.isnan(metrics.tail_ratio(curve(0.0, 0.0, 0.1)))


def test_expectancy_and_excursions_are_means_of_closed_trades():
    trades = [
        FakeTrade(30.0, entry_notional=100.0, mae=-0.1, mfe=0.4),
        FakeTrade(-10.0, entry_notional=200.0, mae=-0.2, mfe=0.0),
        FakeTrade(99.0, reason="open"),
    ]
    assert metrics.expectancy(trades) == pytest.approx(0.125)  # (0.3 - 0.05) / 2
    assert metrics.average_mae(trades) == pytest.approx(-0.15)
    assert metrics.average_mfe(trades) == pytest.approx(0.2)
    for found in (metrics.expectancy([]), metrics.average_mae([]), metrics.average_mfe([])):
        assert math.isnan(found)


def test_the_break_even_cost_would_have_eaten_the_profit():
    trades = [FakeTrade(0.0, traded_notional=1500.0), FakeTrade(0.0, traded_notional=500.0)]
    # 8 earned and 2 paid are 10 of 2000: 50 bp
    assert metrics.break_even_cost_bps(curve(108), 100.0, 2.0, trades) == pytest.approx(50.0)
    assert math.isnan(metrics.break_even_cost_bps(curve(108), 100.0, 2.0, []))


def test_alpha_and_beta_are_those_of_the_regression():
    benchmark = curve(0.01, -0.02, 0.03, 0.0)
    returns = 0.002 + 1.5 * benchmark
    assert metrics.beta(returns, benchmark) == pytest.approx(1.5)
    assert metrics.alpha(returns, benchmark, 252.0) == pytest.approx(0.504)  # 0.002 * 252
    assert math.isnan(metrics.beta(returns, curve(0.01, 0.01, 0.01, 0.01)))


def test_the_information_ratio_is_the_sharpe_ratio_of_the_difference():
    benchmark = curve(0.01, -0.02, 0.03)
    # differences 0.01, 0.03, -0.01: mean 0.01, deviation 0.02
    assert metrics.information_ratio(benchmark + curve(0.01, 0.03, -0.01), benchmark, 4.0) == pytest.approx(1.0)


def test_capture_is_of_the_bars_on_which_the_benchmark_moved_that_way():
    returns, benchmark = curve(0.01, -0.01, 0.03, 0.5), curve(0.02, -0.04, 0.02, 0.0)
    assert metrics.capture(returns, benchmark, benchmark > 0) == pytest.approx(1.0)  # 0.02 over 0.02
    assert metrics.capture(returns, benchmark, benchmark < 0) == pytest.approx(0.25)
    assert math.isnan(metrics.capture(returns, benchmark, benchmark > 1))


def test_without_a_benchmark_what_needs_one_is_undefined():
    found = summary([0.01, 0.02, -0.01])
    assert [name for name in AGAINST_BENCHMARK if not math.isnan(found[name])] == []
    assert list(METRICS)[-len(AGAINST_BENCHMARK) :] == list(AGAINST_BENCHMARK)


class TestOtherLibraries:
    """The numbers of quantstats 0.0.86 and empyrical-reloaded 0.7.1, kept by tests/oracles/make_metrics.py."""

    returns, benchmark = (np.array(ORACLE[name]) for name in ("returns", "benchmark"))
    empyrical, quantstats = ORACLE["empyrical"], ORACLE["quantstats"]

    @pytest.fixture
    def found(self) -> dict[str, float]:
        flat = np.zeros_like(self.returns)
        equity = 100.0 * np.cumprod(1 + self.returns)
        return summarise(self.returns, equity, flat, flat, [], 252.0, 0.0, 100.0, self.benchmark)

    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            ("cagr", "annual_return"),
            ("volatility_annual", "annual_volatility"),
            ("sharpe_ratio", "sharpe_ratio"),
            ("sortino_ratio", "sortino_ratio"),
            ("calmar_ratio", "calmar_ratio"),
            ("omega_ratio", "omega_ratio"),
            ("max_drawdown", "max_drawdown"),
            ("var_95", "value_at_risk"),
            ("cvar_95", "conditional_value_at_risk"),
            ("tail_ratio", "tail_ratio"),
            ("beta", "beta"),
        ],
    )
    def test_empyrical_agrees(self, found, ours, theirs):
        assert found[ours] == pytest.approx(self.empyrical[theirs], rel=1e-10)

    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            ("cagr", "cagr"),
            ("volatility_annual", "volatility"),
            ("sharpe_ratio", "sharpe"),
            ("sortino_ratio", "sortino"),
            ("omega_ratio", "omega"),
            ("max_drawdown", "max_drawdown"),
            ("tail_ratio", "tail_ratio"),
            ("best_day", "best"),
            ("worst_day", "worst"),
            ("alpha", "alpha"),
            ("beta", "beta"),
        ],
    )
    def test_quantstats_agrees(self, found, ours, theirs):
        assert found[ours] == pytest.approx(self.quantstats[theirs], rel=1e-10)

    def test_average_drawdown_is_in_percent_there(self, found):
        assert found["average_drawdown"] == pytest.approx(self.quantstats["average_drawdown_percent"] / 100)

    def test_their_ulcer_index_divides_by_one_bar_less(self, found):
        n = len(self.returns)
        assert found["ulcer_index"] == pytest.approx(self.quantstats["ulcer_index"] * math.sqrt((n - 1) / n))

    def test_their_skew_and_kurtosis_are_corrected_for_the_sample_and_kurtosis_is_in_excess(self, found):
        n = len(self.returns)
        corrected = found["skew"] * math.sqrt(n * (n - 1)) / (n - 2)
        assert corrected == pytest.approx(self.quantstats["skew"])
        excess = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * (found["kurtosis"] - 3) + 6)
        assert excess == pytest.approx(self.quantstats["kurtosis"])

    def test_the_value_at_risk_and_shortfall_of_quantstats_are_those_of_a_normal(self, found):
        mean, deviation = self.returns.mean(), self.returns.std(ddof=1)
        point = stats.norm.ppf(0.05)
        assert self.quantstats["value_at_risk"] == pytest.approx(mean + point * deviation)
        assert self.quantstats["cvar"] == pytest.approx(mean - stats.norm.pdf(point) / 0.05 * deviation)
        # These returns have fat tails: a nearer quantile and a deeper shortfall than the Normal's.
        assert found["var_95"] > self.quantstats["value_at_risk"]
        assert found["cvar_95"] < self.quantstats["cvar"]

    def test_their_information_ratios_are_a_bar(self, found):
        for theirs in (self.empyrical["excess_sharpe"], self.quantstats["information_ratio"]):
            assert found["information_ratio"] == pytest.approx(theirs * math.sqrt(252))

    def test_the_alpha_of_empyrical_is_compounded(self, found):
        assert self.empyrical["alpha"] == pytest.approx((1 + found["alpha"] / 252) ** 252 - 1)

    def test_their_capture_compares_yearly_growth_and_ours_means(self, found):
        up, down = self.benchmark > 0, self.benchmark < 0

        def growth(returns):
            return np.prod(1 + returns) ** (252 / len(returns)) - 1

        for chosen, theirs in ((up, "up_capture"), (down, "down_capture")):
            wanted = growth(self.returns[chosen]) / growth(self.benchmark[chosen])
            assert self.empyrical[theirs] == pytest.approx(wanted)
        assert found["up_capture"] == pytest.approx(self.returns[up].mean() / self.benchmark[up].mean())


def test_the_page_of_the_metrics_is_that_of_the_registry():
    assert (ROOT / "docs/metrics.md").read_text(encoding="utf-8") == metrics_page()


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
        assert "|" not in metric.definition + metric.source  # they are cells of a table


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(-1.0, 10.0)), st.floats(0.0, 1e6))
def test_no_metric_is_ever_infinite(returns, costs):
    with np.errstate(all="raise", under="ignore"):
        found = summary(returns, costs=costs, trades=[FakeTrade(5e-324), FakeTrade(-5e-324)])
    assert not any(math.isinf(value) for value in found.values())
    assert -1.0 <= found["max_drawdown"] <= 0.0
