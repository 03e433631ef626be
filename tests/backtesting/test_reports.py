"""Reports by the columns are the engine's reports: trades and equity to the bit, metrics to rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.strategy.population import Population, PopulationCache
from agents.strategy.spec import load_spec
from backtesting.bars import Bars
from backtesting.costs import CostModel
from backtesting.result import BacktestResult
from backtesting.splits import Window

COSTS = CostModel(10.0, 2.0, 3.0, 0.02, 0.01)


def market(rng: np.random.Generator, n: int) -> Bars:
    close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0, rng.choice([0.0, 0.01, 0.1]), n))), 2) + 0.01
    opened = np.round(close * np.exp(rng.normal(0, 0.01, n)), 2) + 0.01
    high, low = np.maximum(opened, close) * 1.01, np.minimum(opened, close) * 0.99
    days = np.datetime64("2000-01-03") + np.arange(n)
    columns = [values.reshape(-1, 1) for values in (opened, high, low, close, np.full(n, np.nan))]
    return Bars(("X",), days, *columns, source="made")


def rule(**parts: object) -> dict[str, object]:
    return {"kind": "rules", "name": "one_rule", "hypothesis": "x", "sizing": {"kind": "fraction"}, **parts}


RULES = [
    rule(long={"enter": "close > sma(close, 3)", "exit": "close <= sma(close, 3)"}),
    rule(long={"enter": "close > open", "exit": "close < open"}),
    rule(long={"enter": "close > open"}, protect={"max_bars": 2}),
    rule(long={"enter": "close > 0"}),
    rule(long={"enter": "close < 0"}),
    # Short, sized and protected: by the engine.
    rule(short={"enter": "close > open", "exit": "close < open"}),
    rule(long={"enter": "close > open"}, protect={"stop_share": 0.02}),
    {"kind": "score", "name": "one_score", "hypothesis": "x", "score": "roc(close, 5)"},
]


# Each by itself: comparisons, joined and carried on, beside conditions that are evaluated whole.
ALONE = [
    *RULES[:5],
    rule(long={"enter": "crosses_above(close, sma(close, 4))", "exit": "crosses_below(close, sma(close, 4))"}),
    rule(long={"enter": "holds_for(close > open, 3) or close > highest(lag(high, 1), 5)", "exit": "close < open"}),
    rule(long={"enter": "not (close > lag(close, 1)) and roc(close, 2) > 0.001", "exit": "close >= sma(close, 2)"}),
    rule(long={"enter": "turn_of_month(2, 3) or close == open", "exit": "close > open"}, protect={"max_bars": 4}),
]


def check_equal(ours: BacktestResult, engines: BacktestResult) -> None:
    assert ours.trades == engines.trades
    assert ours.equity.tobytes() == engines.equity.tobytes()
    assert ours.returns.tobytes() == engines.returns.tobytes()
    assert ours.exposure.tobytes() == engines.exposure.tobytes()
    np.testing.assert_allclose(ours.turnover, engines.turnover, rtol=1e-12)
    assert list(ours.metrics) == list(engines.metrics)
    for name, value in engines.metrics.items():
        assert ours.metrics[name] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), name
    assert (ours.name, ours.bars_id, ours.costs) == (engines.name, engines.bars_id, engines.costs)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_report_of_a_population_is_the_engines(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bars = market(rng, int(rng.choice([1, 2, 3, 5, 60, 300])))
    start = int(rng.integers(0, bars.n_bars))
    window = Window(start, int(rng.integers(start + 1, bars.n_bars + 1)))
    population = Population.from_configs(RULES)
    found = population.reports(range(len(RULES)), bars, window, COSTS, capital=1000.0)
    for candidate, ours in enumerate(found):
        check_equal(ours, population.report(candidate, bars, window, COSTS, capital=1000.0))


@given(st.integers(0, 2**32 - 1), st.sampled_from([[config] for config in ALONE] + [ALONE[1:3], ALONE[5:7]]))
@settings(max_examples=100, deadline=None)
def test_a_report_of_few_is_the_engines_with_and_without_a_cache(seed: int, configs: list[dict[str, object]]) -> None:
    rng = np.random.default_rng(seed)
    bars = market(rng, int(rng.choice([1, 2, 63, 64, 65, 300])))
    start = int(rng.integers(0, bars.n_bars))
    window = Window(start, int(rng.integers(start + 1, bars.n_bars + 1)))
    population = Population.from_configs(configs)
    every = range(len(configs))
    alone = population.reports(every, bars, window, COSTS)
    kept = population.reports(every, bars, window, COSTS, cache=PopulationCache())
    for candidate in every:
        check_equal(alone[candidate], population.report(candidate, bars, window, COSTS))
        assert alone[candidate].trades == kept[candidate].trades
        assert alone.found[candidate].values.tobytes() == kept.found[candidate].values.tobytes()


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e150, 1e300])
@pytest.mark.parametrize("spread", [0.01, 30.0, 200.0])
def test_prices_beyond_all_measure_give_numbers_or_nan(scale: float, spread: float) -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        close = np.exp(np.clip(rng.normal(np.log(scale), spread, 200), -700.0, 700.0))
        opened = np.concatenate((close[:1], close[:-1]))
        days = np.datetime64("2000-01-03") + np.arange(200)
        fields = (opened, np.maximum(opened, close), np.minimum(opened, close), close, np.full(200, np.nan))
        bars = Bars(("X",), days, *(values.reshape(-1, 1) for values in fields), source="made")
        for config in ALONE[:4]:
            found = Population.from_configs([config]).reports([0], bars, Window(0, 200), COSTS).found[0]
            assert not np.isinf(found.values).any()


def test_columns_are_read_without_making_a_report() -> None:
    bars = market(np.random.default_rng(4), 400)
    population = Population.from_configs(RULES)
    window = Window(0, 400)
    found = population.reports([3, 0, 0, 7], bars, window, COSTS)
    gate = population.evaluate(bars, [window], COSTS)
    assert found.final_equity().tolist() == gate.final_equity[[3, 0, 0, 7], 0].tolist()
    assert found.n_trades().tolist() == gate.n_trades[[3, 0, 0, 7], 0].astype(int).tolist()
    assert [type(result) for result in found[1:]] == [BacktestResult] * 3
    assert len(found) == 4


def test_legal_rules_of_this_file() -> None:
    assert not any(isinstance(load_spec(config, origin=""), list) for config in [*RULES, *ALONE])
