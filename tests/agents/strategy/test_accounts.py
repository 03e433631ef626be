"""An account for every rule and symbol is what that rule gives on that symbol alone, and curves are their mean."""

from typing import Any

import numpy as np
import pytest

from agents.strategy import accounts as accounts_module
from agents.strategy.accounts import Accounts, evaluate_accounts
from agents.strategy.expression.evaluate import EvaluationCache, condition, numbers
from agents.strategy.expression.nodes import Node
from agents.strategy.expression.parse import parse
from agents.strategy.expression.types import Dimension
from agents.strategy.indicators import FUNCTIONS
from agents.strategy.population import Population
from agents.strategy.spec import load_spec
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import FREE, CostModel
from backtesting.errors import UsageError
from backtesting.splits import Window
from backtesting.terms import Terms

COSTS = CostModel(commission_bps=2, half_spread_bps=3, slippage_bps=1, borrow_annual=0.03, financing_annual=0.05)
CONDITIONS = (
    "close > sma(close, 5)", "rsi(close, 3) < 30", "crosses_above(sma(close, 3), sma(close, 9))", "rising(close, 2)",
    "holds_for(close > sma(close, 5), 3)", "not (roc(close, 5) > 0) or day_of_week() == 1", "volume > sma(volume, 5)",
    "close <= sma(close, 9) and feature(news) > 0", "close > donchian_high(6)",
)  # fmt: skip


def panel(n_assets: int = 11, n_bars: int = 190, *, gaps: bool = True) -> Bars:
    rng = np.random.default_rng(4)
    shape = (n_bars, n_assets)
    close = np.round(50 * np.exp(np.cumsum(rng.normal(0.0003, 0.02, shape), axis=0)), 1)
    opened = np.round(np.vstack((close[:1], close[:-1])) * np.exp(rng.normal(0, 0.006, shape)), 1)
    high, low = np.maximum(opened, close) * 1.004, np.minimum(opened, close) * 0.996
    if gaps:
        for values in (opened, high, low, close):
            values[50:53, 2] = np.nan
            values[100:, -1] = np.nan
    days = np.datetime64("2001-01-01") + np.arange(n_bars)
    volume = rng.integers(1, 50, shape).astype(float)
    features = {"news": rng.normal(0, 1, shape), "sector": rng.integers(0, 2, shape).astype(float)}
    return Bars(tuple(f"s{k}" for k in range(n_assets)), days, opened, high, low, close, volume, "p", features=features)


def rule(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {"kind": "rules", "name": "made_up", "hypothesis": "None."}
    for side in [["long"], ["long"], ["short"], ["long", "short"]][int(rng.integers(4))]:
        made[side] = {"enter": str(rng.choice(CONDITIONS)), "exit": str(rng.choice(CONDITIONS))}
    if rng.random() < 0.6:
        made["protect"] = {"stop_atr": 2.0, "atr_window": 5, "target_share": 0.04}
    if rng.random() < 0.3:
        made["protect"] = {"max_bars": int(rng.integers(1, 9))}
    if rng.random() < 0.5:
        made["sizing"] = {"kind": "fraction", "fraction": float(rng.choice([0.4, 1.0, 2.0]))}
    return made


# Long, half of the account, with protection: a simulator of its own.
PROTECTED = [
    {
        "kind": "rules", "name": "protected", "hypothesis": "None.", "long": {"enter": enter},
        "protect": {"stop_share": 0.03, "trail_atr": 3.0, "atr_window": 5},
        "sizing": {"kind": "fraction", "fraction": 0.5},
    }
    for enter in CONDITIONS
]  # fmt: skip
SCORE = {"kind": "score", "name": "scored", "hypothesis": "x", "score": "roc(close, 5)"}


def population(*more: dict[str, Any], n: int = 24) -> Population:
    read = [load_spec(config, origin="") for config in (*map(rule, range(n)), *more)]
    legal = [spec for spec in read if not isinstance(spec, list)]
    assert len(legal) == len(read), read
    return Population.from_specs(legal)


def check(population: Population, bars: Bars, window: Window, found: Accounts) -> None:
    """Every account against the population on its symbol alone, and the curves against the engine's."""
    mean = np.zeros((len(population), window.n_bars))
    for k in range(bars.n_assets):
        alone = bars.between(k, k + 1)
        expected = population.evaluate(alone, [window], COSTS)
        for name, values in vars(found.each).items():
            assert values[:, k].tobytes() == getattr(expected, name)[:, 0].tobytes(), (name, k)
        for i in range(len(population)):
            signals = TradingStrategy(population.spec(i)).generate_signals(alone)
            mean[i] += simulate(signals, COSTS, window=window).equity
    np.testing.assert_allclose(found.curves, mean / bars.n_assets, rtol=1e-11)


@pytest.mark.parametrize("window", [Window(0, 190), Window(64, 129)])
def test_every_account_is_that_of_its_symbol_alone(window: Window) -> None:
    rules, bars = population(SCORE, *PROTECTED), panel()
    found = evaluate_accounts(rules, bars, window, COSTS)
    assert found.symbols == bars.symbols
    assert found.each.n_trades.sum() > 1000
    check(rules, bars, window, found)


def test_ruin_ends_the_curve_of_its_account() -> None:
    # Twice short of everything: of 100, s0 costs 40 at 1.2 and 120 at 1.6, so the account is gone; s1 does not move.
    close = np.array([[1.0, 1.0], [1.0, 1.0], [1.2, 1.0], [1.6, 1.0], [1.6, 1.0]])
    days = np.datetime64("2001-01-01") + np.arange(5)
    bars = Bars(("s0", "s1"), days, close, close, close, close, close, "ruin")
    config = {
        "kind": "rules", "name": "shorted", "hypothesis": "x", "short": {"enter": "close > 0 * close"},
        "sizing": {"kind": "fraction", "fraction": 2.0},
    }  # fmt: skip
    spec = load_spec(config, origin="")
    assert not isinstance(spec, list), spec
    found = evaluate_accounts(Population.from_specs([spec]), bars, Window(0, 5), FREE, capital=100.0)
    assert found.each.final_equity.tolist() == [[0.0, 100.0]]
    np.testing.assert_allclose(found.curves[0], [100, 100, (60 + 100) / 2, 50, 50])
    # One account of two is lost whole: the mean falls by half, and that is the drawdown.
    assert found.together.max_drawdown[0, 0] == pytest.approx(-0.5)


def test_the_curve_and_its_metrics_by_hand() -> None:
    # Held from the open of bar 1, at the close of bar 0: 10 -> 12 is +20 % of 100, 20 -> 18 is -10 %; then 12 -> 15
    # and 18 -> 18. Means of 120 and 90, then of 150 and 90: 105 and 120.
    close = np.array([[10.0, 20.0], [12.0, 18.0], [15.0, 18.0]])
    opened = np.vstack((close[:1], close[:-1]))
    days = np.datetime64("2001-01-01") + np.arange(3)
    bars = Bars(
        ("a", "b"), days, opened, np.maximum(opened, close), np.minimum(opened, close), close, close, "hand",
        periods_per_year=1.0,
    )  # fmt: skip
    spec = load_spec(
        {"kind": "rules", "name": "hold", "hypothesis": "x", "long": {"enter": "close > 0 * close"}}, origin=""
    )
    assert not isinstance(spec, list), spec
    found = evaluate_accounts(Population.from_specs([spec]), bars, Window(0, 3), FREE, capital=100.0)
    assert found.curves.tolist() == [[100.0, 105.0, 120.0]]
    assert found.each.final_equity.tolist() == [[150.0, 90.0]]
    assert found.together.final_equity.tolist() == [[120.0]]
    assert found.together.n_trades.tolist() == [[2.0]]
    steps = np.array([0.0, 0.05, 120 / 105 - 1])
    assert found.together.mean[0, 0] == pytest.approx(steps.mean())
    assert found.together.sharpe_ratio[0, 0] == pytest.approx(steps.mean() / steps.std(ddof=1))
    assert found.together.max_drawdown[0, 0] == 0.0
    assert found.each.max_drawdown.tolist() == [[0.0, pytest.approx(-0.1)]]


def test_threads_blocks_and_room_do_not_change_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    rules, bars, window = population(SCORE, n=12), panel(), Window(5, 190)

    def as_bytes() -> bytes:
        found = evaluate_accounts(rules, bars, window, COSTS, threads=threads)
        parts = [*vars(found.each).values(), *vars(found.together).values(), found.curves]
        return b"".join(values.tobytes() for values in parts)

    threads = 1
    alone = as_bytes()
    threads = 3
    assert as_bytes() == alone
    # So little room that every symbol is a block of its own: the sums of curves run symbol by symbol all the same.
    monkeypatch.setattr(accounts_module, "_BLOCK_BYTES", 1)
    assert as_bytes() == alone


def test_a_function_of_the_cross_section_sees_one_symbol() -> None:
    config = {"kind": "rules", "name": "ranked", "hypothesis": "x", "long": {"enter": "cs_mean(close) > sma(close, 5)"}}
    spec = load_spec(config, origin="")
    assert not isinstance(spec, list), spec
    rules, bars, window = Population.from_specs([spec]), panel(gaps=False), Window(0, 190)
    check(rules, bars, window, evaluate_accounts(rules, bars, window, COSTS))


@pytest.mark.parametrize("name", sorted(name for name, entry in FUNCTIONS.items() if entry.family != "cross_section"))
def test_only_the_cross_section_looks_at_other_symbols(name: str) -> None:
    """What lets the numbers of several symbols be computed together."""
    bars, node = panel(5, 120), parse(FUNCTIONS[name].example)
    assert isinstance(node, Node)
    if accounts_module._sees_others(node):
        assert name == "unitless"  # whose example ranks volumes across symbols
        return
    value = condition if node.dimension is Dimension.BOOLEAN else numbers
    together = value(node, bars, EvaluationCache())
    for k in range(bars.n_assets):
        assert value(node, bars.between(k, k + 1), EvaluationCache()).tobytes() == together[:, k].tobytes()


def test_costs_that_are_not_proportional_go_through_the_engine() -> None:
    rules, bars, window = population(n=3), panel(3, gaps=False), Window(0, 190)
    costs = CostModel(1, 1, 1, 0, 0, commission_minimum=5.0)
    found = evaluate_accounts(rules, bars, window, costs)
    for i in range(len(rules)):
        for k in range(3):
            signals = TradingStrategy(rules.spec(i)).generate_signals(bars.between(k, k + 1))
            assert found.each.final_equity[i, k] == simulate(signals, costs, window=window).equity[-1]


def test_a_window_outside_the_bars_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the window 0\.\.191 does not lie inside"):
        evaluate_accounts(population(n=1), panel(), Window(0, 191), COSTS)


def test_each_account_has_the_terms_of_its_symbol() -> None:
    rules, bars, window = population(n=2), panel(3, gaps=False), Window(0, 190)
    found = evaluate_accounts(rules, bars, window, COSTS, terms=Terms(multiplier=(1.0, 50.0, 5.0), lot=1.0), threads=2)
    for i in range(2):
        for k, multiplier in enumerate((1.0, 50.0, 5.0)):
            signals = TradingStrategy(rules.spec(i)).generate_signals(bars.between(k, k + 1))
            result = simulate(signals, COSTS, window=window, terms=Terms(multiplier=multiplier, lot=1.0))
            assert found.each.final_equity[i, k] == result.equity[-1]
