"""OpenWindow: holds no sealed bar, and gives the same evaluation whenever it is asked."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.spec import Spec, load_spec
from agents.strategy.strategy import TradingStrategy
from backtesting.costs import COSTS
from backtesting.gates import COST_FACTOR
from backtesting.splits import plan_split
from generator.open_window import OpenWindow

COST = COSTS["liquid-index"]
INCUMBENTS = [TradingStrategy(spec) for spec in shipped_incumbents()]


def spec_of(enter: str, leave: str) -> Spec:
    spec = load_spec(
        {"kind": "rules", "name": "an_idea", "hypothesis": "", "long": {"enter": enter, "exit": leave}}, origin=""
    )
    assert not isinstance(spec, list)
    return spec


def test_it_holds_no_bar_after_the_open_window(kit: Any) -> None:
    bars = kit.market()
    split = plan_split(bars)
    window = OpenWindow.of(bars, split, COST, INCUMBENTS)
    # 1512 bars less 300 lead and 21 embargo are 1191; 30 % of them, 357, are open.
    assert window.bars.n_bars == split.open.stop == 300 + 357
    assert all(len(result.returns) == 357 for result in window.incumbents.values())
    assert set(window.incumbents) == {strategy.name for strategy in INCUMBENTS}


def test_evaluation_is_the_same_bytes_again_and_whatever_follows(kit: Any) -> None:
    bars = kit.market()
    split = plan_split(bars)
    spec = spec_of("rsi(close, 3) < 30", "rsi(close, 3) > 60")
    found = []
    for prices in (bars, bars, kit.with_other_future(bars, split.open.stop)):
        window = OpenWindow.of(prices, split, COST, INCUMBENTS)
        evaluation = window.look(spec, window.simulate(TradingStrategy(spec)), n_trials=3, seed=1)
        found.append(json.dumps(evaluation.as_dict(), sort_keys=True))
    assert found[0] == found[1] == found[2]


def test_costs_are_doubled_for_the_doubled_costs_gate(kit: Any) -> None:
    bars = kit.market()
    window = OpenWindow.of(bars, plan_split(bars), COST, INCUMBENTS)
    spec = spec_of("rsi(close, 3) < 30", "rsi(close, 3) > 60")
    evaluation = window.look(spec, window.simulate(TradingStrategy(spec)), n_trials=1, seed=1)
    look = window.nominee(spec, json.loads(json.dumps(evaluation.as_dict())))
    assert look.open_evaluation.as_dict() == evaluation.as_dict()  # the way through the archive changes nothing
    once, twice = look.open_evaluation.result, look.open_doubled_costs
    assert twice.costs == COST.times(COST_FACTOR) == COST.times(2.0)
    assert twice.equity[-1] < once.equity[-1]


def test_free_trading_and_dear_trading_differ_by_the_run_costs(kit: Any) -> None:
    bars = kit.market()
    split = plan_split(bars)
    dear = replace(COST, slippage_bps=COST.slippage_bps + 10)
    spec = TradingStrategy(spec_of("rsi(close, 3) < 30", "rsi(close, 3) > 60"))
    cheap_end, dear_end = (OpenWindow.of(bars, split, c, INCUMBENTS).simulate(spec).equity[-1] for c in (COST, dear))
    trades = OpenWindow.of(bars, split, COST, INCUMBENTS).simulate(spec).turnover.sum()
    # 10 basis points more on everything that is traded.
    assert np.log(dear_end / cheap_end) == pytest.approx(-trades * 10e-4, rel=0.05)


def test_number_of_trials_is_written_on_the_evaluation(kit: Any) -> None:
    bars = kit.market()
    window = OpenWindow.of(bars, plan_split(bars), COST, INCUMBENTS)
    spec = spec_of("falling(close, 2)", "rising(close, 2)")
    result = window.simulate(TradingStrategy(spec))
    few, many = (window.look(spec, result, n_trials=n, seed=1) for n in (2, 200))
    assert (few.n_trials, many.n_trials) == (2, 200)
    assert many.expected_max_sharpe > few.expected_max_sharpe
    assert many.alpha_t == few.alpha_t


def test_symbols_that_earned_most_are_left_out_one_at_a_time(kit: Any) -> None:
    bars = kit.market("synthetic:planted-panel?years=7&seed=1&assets=6")
    window = OpenWindow.of(bars, plan_split(bars), COST, INCUMBENTS)
    spec = spec_of("rsi(close, 3) < 30", "rsi(close, 3) > 60")
    own = window.simulate(TradingStrategy(spec))
    earned = [sum(trade.pnl for trade in own.trades if trade.asset == at) for at in range(6)]
    found = window.dropped_t(spec, own)
    best = sorted(range(6), key=lambda at: -earned[at])[:3]
    assert [symbol for symbol, _, _, _ in found] == [bars.symbols[at] for at in best if earned[at] > 0.0]
    assert found
    for symbol, rest, result, t in found:
        assert symbol not in rest.symbols
        assert rest.n_assets == 5
        assert result.window == own.window
        assert np.isfinite(t)


def test_a_market_of_one_symbol_has_none_to_leave_out(kit: Any) -> None:
    window = OpenWindow.of(kit.market(), plan_split(kit.market()), COST, INCUMBENTS)
    spec = spec_of("rsi(close, 3) < 30", "rsi(close, 3) > 60")
    assert window.dropped_t(spec, window.simulate(TradingStrategy(spec))) == ()


def test_doubtful_bars_of_the_open_window_do_not_depend_on_what_follows(kit: Any) -> None:
    bars = kit.market()
    split = plan_split(bars)
    volume = bars.volume.copy()
    volume[400] = volume[split.sealed.start + 5] = 0.0
    spoiled = replace(bars, volume=volume)
    first = OpenWindow.of(spoiled, split, COST, INCUMBENTS)
    assert first.doubtful == (400,)
    other = OpenWindow.of(kit.with_other_future(spoiled, split.open.stop), split, COST, INCUMBENTS)
    assert other.doubtful == (400,)
