"""The whole path from signals to a report: on a real index, against a calculation that knows nothing of the engine."""

import csv
import gzip
import importlib.util
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtesting.backtest import CAPITAL, Backtest, Strategy, simulate
from backtesting.bars import Bars
from backtesting.costs import FREE, LIQUID_INDEX, CostModel
from backtesting.decisions import SignalDecisions, Signals, TargetDecisions
from backtesting.errors import UsageError
from backtesting.metrics import METRICS
from backtesting.result import REASONS, Trade
from backtesting.splits import Window
from backtesting.terms import Terms

NAN = float("nan")


@pytest.fixture(scope="module")
def sp500() -> Bars:
    spec = importlib.util.find_spec("arch")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "data/sp500/sp500.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = [{name.strip(): text.strip() for name, text in row.items()} for row in csv.DictReader(file)]

    def column(name: str) -> np.ndarray:
        return np.array([[float(row[name])] for row in rows])

    days = np.array([datetime.strptime(row["Date"], "%m/%d/%Y").date() for row in rows], dtype="datetime64[D]")
    prices = (column(name) for name in ("Open", "High", "Low", "Close", "Volume"))
    return Bars(("SP500",), days, *prices, source="sample:sp500")


def decide(bars: Bars, enter_long, exit_long, **changes) -> Signals:
    no = np.zeros((bars.n_bars, 1), dtype=bool)
    none = np.full((bars.n_bars, 1), NAN)
    decisions = SignalDecisions(
        enter_long=np.asarray(enter_long).reshape(-1, 1),
        exit_long=np.asarray(exit_long).reshape(-1, 1),
        enter_short=no,
        exit_short=no,
        size=np.ones((bars.n_bars, 1)),
        stop_distance=none,
        trail_distance=none,
        target_distance=none,
    )
    return Signals("cross", bars, replace(decisions, **changes))


def golden_cross(bars: Bars) -> tuple[pd.Series, pd.Series]:
    close = pd.Series(bars.close[:, 0])
    fast, slow = close.rolling(50).mean(), close.rolling(200).mean()
    return fast > slow, fast < slow


def flat(n_bars: int, price: float = 100.0, n_assets: int = 1) -> Bars:
    prices = np.full((n_bars, n_assets), price)
    days = np.datetime64("2020-01-01") + np.arange(n_bars)
    return Bars(tuple(f"A{k}" for k in range(n_assets)), days, *[prices] * 5, source="sample:flat")


def hold(bars: Bars, target: float = 1.0) -> Signals:
    return Signals("hold", bars, TargetDecisions(np.full((bars.n_bars, 1), target)))


class TestOnARealIndex:
    def test_the_50_200_cross_agrees_with_a_hand_calculation_to_the_cent(self, sp500):
        up, down = golden_cross(sp500)
        result = simulate(decide(sp500, up, down), LIQUID_INDEX)

        # Yesterday's cross, today's open, 2 bp worse, 1 bp commission: cash and units, nothing else.
        cash, units, curve, sides = 1_000_000.0, 0.0, [], 0
        for today in range(sp500.n_bars):
            yesterday = today - 1
            price = float(sp500.open[today, 0])
            if yesterday >= 0 and units > 0 and down[yesterday]:
                cash, units, sides = units * price * 0.9998 * 0.9999, 0.0, sides + 1
            elif yesterday >= 0 and units == 0 and up[yesterday]:
                cash, units, sides = 0.0, cash / (price * 1.0002 * 1.0001), sides + 1
            curve.append(cash + units * float(sp500.close[today, 0]))

        assert sides == 20  # ten round trips, the last one out in December 2018
        assert [trade.reason for trade in result.trades] == ["signal"] * 10
        np.testing.assert_allclose(result.equity, curve, rtol=0, atol=0.005)
        assert result.equity[-1] == pytest.approx(3_228_092.35, abs=0.005)

    def test_the_metrics_of_the_cross_agree_with_pandas(self, sp500):
        result = simulate(decide(sp500, *golden_cross(sp500)), LIQUID_INDEX)
        equity = pd.Series(result.equity)
        returns = equity.pct_change().fillna(0.0)  # the first bar is flat
        found = result.metrics
        assert found["sharpe_ratio"] == pytest.approx(returns.mean() / returns.std() * 252**0.5)
        assert found["volatility_annual"] == pytest.approx(returns.std() * 252**0.5)
        assert found["max_drawdown"] == pytest.approx((equity / equity.cummax() - 1).min())
        assert found["cagr"] == pytest.approx((equity.iloc[-1] / 1e6) ** (252 / len(equity)) - 1)
        assert found["total_return"] == pytest.approx(sum(trade.pnl for trade in result.trades) / 1e6)
        assert result.costs_paid == pytest.approx(sum(trade.costs for trade in result.trades))

    def test_holding_the_index_earns_the_index_less_one_entry(self, sp500):
        always = np.ones(sp500.n_bars, dtype=bool)
        result = simulate(decide(sp500, always, ~always), LIQUID_INDEX)
        gain = sp500.close[-1, 0] / (sp500.open[1, 0] * 1.0002 * 1.0001)
        assert result.metrics["total_return"] == pytest.approx(gain - 1)


def test_only_a_rule_that_knows_the_next_bar_profits_from_it():
    """On noise, yesterday's direction is worth nothing and tomorrow's a fortune: nothing is filled on its own bar."""
    rng = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (5000, 1)), axis=0))
    open_ = np.vstack((close[:1], close[:-1]))
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    bars = replace(flat(5000), open=open_, high=high, low=low, close=close)
    rises = (close > open_).astype(float)
    honest = simulate(Signals("honest", bars, TargetDecisions(rises)), FREE).metrics["sharpe_ratio"]
    knows = np.vstack((rises[1:], [[0.0]]))
    cheat = simulate(Signals("cheat", bars, TargetDecisions(knows)), FREE).metrics["sharpe_ratio"]
    # Over 20 years a Sharpe ratio of noise has a standard error of 0.22.
    assert abs(honest) < 1.0
    assert cheat > 10.0


class TestTheReport:
    def test_it_carries_what_it_was_run_on(self, sp500):
        window = Window(300, 1300)
        result = simulate(decide(sp500, *golden_cross(sp500)), LIQUID_INDEX, window=window, capital=5_000.0)
        assert (result.name, result.bars_id, result.source) == ("cross", sp500.bars_id, "sample:sp500")
        assert (result.window, result.costs, result.capital) == (window, LIQUID_INDEX, 5_000.0)
        assert result.sessions[0] == sp500.sessions[300]
        lengths = {len(getattr(result, name)) for name in ("sessions", "equity", "returns", "exposure", "turnover")}
        assert lengths == {1000}
        assert result.equity[0] == 5_000.0
        assert list(result.metrics) == list(METRICS)

    def test_returns_compound_to_the_equity(self, sp500):
        result = simulate(decide(sp500, *golden_cross(sp500)), LIQUID_INDEX)
        np.testing.assert_allclose(CAPITAL * np.cumprod(1 + result.returns), result.equity, rtol=1e-12)

    def test_a_window_is_flat_at_its_start_and_does_not_look_before_it(self, sp500):
        up, down = golden_cross(sp500)
        window = Window(1000, 2000)
        result = simulate(decide(sp500, up, down), LIQUID_INDEX, window=window)
        before = np.arange(sp500.n_bars) < window.start
        assert (
            result.equity.tobytes()
            == simulate(decide(sp500, up & ~before, down), LIQUID_INDEX, window=window).equity.tobytes()
        )
        assert result.exposure[0] == 0.0
        assert all(1001 <= trade.entry_bar <= trade.exit_bar <= 1999 for trade in result.trades)

    def test_the_report_on_the_past_is_the_past_of_the_report(self, sp500):
        up, down = golden_cross(sp500)
        full = simulate(decide(sp500, up, down), LIQUID_INDEX)
        past = sp500.upto(2500)
        cut = simulate(decide(past, up[:2500], down[:2500]), LIQUID_INDEX)
        assert cut.equity.tobytes() == full.equity[:2500].tobytes()
        closed = tuple(trade for trade in cut.trades if trade.reason != "open")
        assert closed == full.trades[: len(closed)]
        assert len(closed) > 2

    def test_same_inputs_same_bytes(self, sp500):
        signals = decide(sp500, *golden_cross(sp500))
        first, second = (simulate(signals, LIQUID_INDEX) for _ in range(2))
        assert first.equity.tobytes() == second.equity.tobytes()
        assert (first.trades, first.costs_paid) == (second.trades, second.costs_paid)
        assert str(dict(first.metrics)) == str(dict(second.metrics))

    def test_it_cannot_be_changed(self, sp500):
        result = simulate(decide(sp500, *golden_cross(sp500)), LIQUID_INDEX)
        with pytest.raises(ValueError, match="read-only"):
            result.equity[0] = 0.0
        with pytest.raises(TypeError):
            result.metrics["sharpe_ratio"] = 9.0  # type: ignore[index]

    def test_a_trade_holds_plain_numbers(self):
        result = simulate(hold(flat(3)), FREE, capital=1_000.0)
        assert result.trades == (
            Trade(1, 1, 2, 100.0, 100.0, 10.0, 0.0, 0.0, "open", asset=0, multiplier=1.0, mae=0.0, mfe=0.0),
        )
        assert {type(value) for value in result.trades[0]} == {int, float, str}
        assert {type(value) for value in result.metrics.values()} == {float}

    def test_annual_rates_are_spread_over_the_bars_of_a_year(self):
        costs = CostModel(0.0, 0.0, 0.0, borrow_annual=0.252, financing_annual=0.0)
        assert simulate(hold(flat(2), -1.0), costs, capital=1_000.0).costs_paid == pytest.approx(1.0)  # 0.001 of 1000
        crypto = replace(flat(2), periods_per_year=365.0)
        assert simulate(hold(crypto, -1.0), costs, capital=1_000.0).costs_paid == pytest.approx(252 / 365)

    def test_a_ruined_account_returns_minus_one_then_zero(self):
        bars = flat(5)
        prices = bars.close.copy()
        prices[2:] = 300.0
        moved = replace(bars, open=prices, high=prices, low=prices, close=prices)
        result = simulate(hold(moved, -1.0), FREE)
        assert result.returns.tolist() == [0.0, 0.0, -1.0, 0.0, 0.0]
        assert result.trades[-1].reason == "bankrupt"
        assert result.trades[-1].pnl == -CAPITAL
        assert (result.metrics["cagr"], result.metrics["max_drawdown"]) == (-1.0, -1.0)
        assert not any(np.isinf(value) for value in result.metrics.values())

    def test_memory_layout_of_decisions_does_not_matter(self):
        bars = flat(6)
        wide = np.zeros((6, 4))
        wide[:, 2] = 1.0
        strided = Signals("hold", bars, TargetDecisions(wide[:, 2:3]))
        assert simulate(strided, LIQUID_INDEX).equity.tobytes() == simulate(hold(bars), LIQUID_INDEX).equity.tobytes()

    def test_one_bar_is_a_report_too(self):
        result = simulate(hold(flat(1)), LIQUID_INDEX)
        assert result.equity.tolist() == [CAPITAL]
        assert result.trades == ()
        assert np.isnan(result.metrics["sharpe_ratio"])


class TestRefusals:
    @pytest.mark.parametrize("window", [Window(-1, 2), Window(2, 2), Window(0, 4), Window(3, 1)])
    def test_a_window_outside_the_bars(self, window):
        with pytest.raises(UsageError, match=rf"hold: the window {window.start}\.\.{window.stop} does not lie inside"):
            simulate(hold(flat(3)), FREE, window=window)

    @pytest.mark.parametrize("capital", [0.0, -1.0, NAN, float("inf")])
    def test_capital_that_is_not_positive(self, capital):
        with pytest.raises(UsageError, match="it has to be positive"):
            simulate(hold(flat(3)), FREE, capital=capital)

    def test_decisions_of_another_shape(self):
        bars = flat(3)
        with pytest.raises(UsageError, match=r"odd: target has shape \(3, 2\), the bars ask for \(3, 1\)"):
            simulate(Signals("odd", bars, TargetDecisions(np.ones((3, 2)))), FREE)
        yes = np.ones(3, dtype=bool)
        with pytest.raises(UsageError, match=r"cross: size has shape \(3,\)"):
            simulate(decide(bars, yes, ~yes, size=np.ones(3)), FREE)

    def test_settings_out_of_range(self):
        bars = flat(3)
        yes = np.ones(3, dtype=bool)
        with pytest.raises(UsageError, match="max_bars is -1"):
            simulate(decide(bars, yes, ~yes, max_bars=-1), FREE)
        for band in (-0.1, NAN):
            with pytest.raises(UsageError, match="band is"):
                simulate(Signals("odd", bars, TargetDecisions(np.ones((3, 1)), band=band)), FREE)

    def test_an_account_that_overflows(self):
        with pytest.raises(UsageError, match="odd: the account overflows at 2020-01-02"):
            simulate(Signals("odd", flat(3), TargetDecisions(np.full((3, 1), 1e307))), LIQUID_INDEX)

    @pytest.mark.parametrize(
        ("rule", "sentence"),
        [
            ({"limit_bars": 0}, "limit_bars is 0"),
            ({"cooldown_bars": -1}, "cooldown_bars is -1"),
            ({"max_positions": -1}, "max_positions is -1"),
            ({"max_gross": 0.0}, "max_gross is 0.0"),
            ({"halt_drawdown": 1.0}, "halt_drawdown is 1.0"),
            ({"halt_bars": -2}, "halt_bars is -2"),
        ],
    )
    def test_rules_out_of_range(self, rule, sentence):
        yes = np.ones(3, dtype=bool)
        with pytest.raises(UsageError, match=f"cross: {sentence}"):
            simulate(decide(flat(3), yes, ~yes, **rule), FREE)

    def test_a_feature_that_is_not_there(self):
        bars = replace(flat(3), features={"funding_rate": np.zeros((3, 1))})
        with pytest.raises(UsageError) as caught:
            simulate(hold(bars), FREE, terms=Terms(funding="funding_rat"))
        assert "funding reads the feature 'funding_rat', sample:flat has funding_rate; did you mean" in str(
            caught.value
        )

    def test_impact_without_volume(self):
        bars = replace(flat(3), volume=np.full((3, 1), NAN))
        with pytest.raises(UsageError, match="hold: impact and participation need volume, sample:flat has none"):
            simulate(hold(bars), CostModel(0.0, 0.0, 0.0, 0.0, 0.0, impact=1.0))

    def test_multipliers_for_other_assets(self):
        with pytest.raises(UsageError, match=r"terms\.multiplier has 2 numbers, the bars hold 1 symbols"):
            simulate(hold(flat(3)), FREE, terms=Terms(multiplier=(1.0, 2.0)))

    def test_a_benchmark_of_another_length_or_with_gaps(self):
        for benchmark in (np.zeros(2), np.array([0.0, NAN, 0.0])):
            with pytest.raises(UsageError, match="hold: the benchmark has shape"):
                simulate(hold(flat(3)), FREE, benchmark=benchmark)


class TestWhichEngine:
    def test_both_engines_give_the_same_report_where_both_can_run(self, sp500):
        signals = decide(sp500, *golden_cross(sp500), stop_distance=0.05 * sp500.close)
        fast = simulate(signals, LIQUID_INDEX)
        general = simulate(signals, LIQUID_INDEX, keep_positions=True)
        assert fast.equity.tobytes() == general.equity.tobytes()
        assert fast.trades == general.trades
        assert str(dict(fast.metrics)) == str(dict(general.metrics))
        assert general.positions is not None
        assert general.positions[:, 0].tobytes() == fast.exposure.tobytes()
        assert fast.positions is None

    def test_a_long_gap_delists_and_a_short_one_does_not(self):
        for missing, reason in ((10, "delisted"), (9, "open")):
            prices = np.full((15, 1), 100.0)
            prices[3 : 3 + missing] = NAN
            bars = replace(flat(15), open=prices, high=prices, low=prices, close=prices)
            made = Signals("hold", bars, TargetDecisions(np.vstack(([[1.0]], np.full((14, 1), NAN)))))
            assert simulate(made, FREE).trades[0].reason == reason

    def test_several_assets_share_one_account(self):
        bars = flat(3, n_assets=2)
        result = simulate(Signals("two", bars, TargetDecisions(np.full((3, 2), 0.5))), FREE, keep_positions=True)
        assert [(trade.asset, trade.units) for trade in result.trades] == [(0, 5000.0), (1, 5000.0)]
        assert result.metrics["exposure"] == pytest.approx(2 / 3)  # flat, then all in twice
        assert result.positions is not None
        assert result.positions[2].tolist() == [0.5, 0.5]

    def test_terms_and_what_was_not_filled_are_on_the_result(self):
        bars = flat(40)
        prices = 100.0 * 1.01 ** (np.arange(40.0)[:, None] % 2)
        bars = replace(bars, open=prices, high=prices, low=prices, close=prices, volume=np.full((40, 1), 1000.0))
        costs = CostModel(0.0, 0.0, 0.0, 0.0, 0.0, participation=0.1)
        result = simulate(hold(bars), costs, terms=Terms(lot=1.0))
        assert result.terms == Terms(lot=1.0)
        assert result.trades[0].units > 100.0  # 100 a bar, bar after bar
        assert result.unfilled > 0.0

    def test_against_itself_the_market_has_a_beta_of_one(self, sp500):
        returns = np.concatenate(([0.0], sp500.close[1:, 0] / sp500.close[:-1, 0] - 1))
        always = np.ones(sp500.n_bars, dtype=bool)
        result = simulate(decide(sp500, always, ~always), FREE, benchmark=returns)
        assert result.metrics["beta"] == pytest.approx(1.0, abs=1e-3)
        assert result.metrics["alpha"] == pytest.approx(0.0, abs=2e-3)
        assert result.metrics["up_capture"] == pytest.approx(1.0, abs=1e-2)

    def test_excursions_of_the_cross_are_those_of_its_highs_and_lows(self, sp500):
        result = simulate(decide(sp500, *golden_cross(sp500)), LIQUID_INDEX)
        for trade in result.trades:
            held = slice(trade.entry_bar, trade.exit_bar)
            low = min(sp500.low[held, 0].min(), trade.entry_price, trade.exit_price)
            high = max(sp500.high[held, 0].max(), trade.entry_price, trade.exit_price)
            assert trade.mae == pytest.approx(low / trade.entry_price - 1)
            assert trade.mfe == pytest.approx(high / trade.entry_price - 1)


class TestTheShortCall:
    def test_it_returns_the_metrics_by_name(self, sp500):
        found = Backtest().simulate(decide(sp500, *golden_cross(sp500)))
        assert type(found) is dict
        assert found["sharpe_ratio"] == pytest.approx(0.5667, abs=1e-4)

    def test_it_says_which_costs_it_uses(self, sp500):
        signals = decide(sp500, *golden_cross(sp500))
        assert Backtest().run(signals).costs == LIQUID_INDEX
        assert Backtest(costs=FREE).run(signals).costs_paid == 0.0

    def test_capital_and_window_are_those_it_was_made_with(self, sp500):
        result = Backtest(capital=10.0, window=Window(5, 50)).run(decide(sp500, *golden_cross(sp500)))
        assert (result.capital, result.window) == (10.0, Window(5, 50))

    def test_anything_with_a_name_a_warm_up_and_signals_is_a_strategy(self):
        class Holder:
            name = "hold"
            warmup_bars = 0

            def generate_signals(self, bars: Bars) -> Signals:
                return hold(bars)

        strategy: Strategy = Holder()
        assert Backtest().simulate(strategy.generate_signals(flat(3)))["n_trades"] == 1.0


def test_every_reason_has_one_place():
    assert len(set(REASONS)) == len(REASONS) == 10
