"""A population gives every rule what the engine alone would give it, and nothing depends on how it was computed."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.strategy import population as population_module
from agents.strategy.population import Job, Population, PopulationCache, Reader, evaluate_in_blocks, placed
from agents.strategy.spec import RulesSpec, Spec, load_spec
from agents.strategy.strategy import TradingStrategy
from backtesting import engine_reference, sweep
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import FREE, CostModel
from backtesting.errors import InvalidConfig, UsageError
from backtesting.executor import InProcess, Processes
from backtesting.splits import Window
from backtesting.terms import Terms

COSTS = CostModel(commission_bps=2, half_spread_bps=3, slippage_bps=1, borrow_annual=0.03, financing_annual=0.05)
ATOMS = (
    "close > sma(close, 5)", "close <= sma(close, 9)", "rsi(close, 3) < 30", "rsi(close, 3) >= 65",
    "crosses_above(sma(close, 3), sma(close, 9))", "crosses_below(close, ema(close, 7))",
    "not crosses_above(close, sma(close, 4))", "holds_for(close > sma(close, 5), 3)", "rising(close, 2)",
    "day_of_week() == 1", "turn_of_month(1, 3)", "roc(close, 5) > 0", "close > donchian_high(6)",
    "since(close > highest(close, 10) - atr(3)) < 4", "where(close > open, 1, -1) > 0", "close == lag(close, 1)",
    "not holds_for(rsi(close, 3) > 40, 2)", "30 > rsi(close, 4)", "volume > sma(volume, 5)", "rank(close, 9) != 0.5",
)  # fmt: skip


def market(rng: np.random.Generator, n_bars: int = 200, *, gaps: bool = False) -> Bars:
    steps = rng.normal(0.0003, 0.02, n_bars)
    close = np.round(50 * np.exp(np.cumsum(steps)), 1)
    opened = np.round(np.concatenate(([50.0], close[:-1])) * np.exp(rng.normal(0, 0.006, n_bars)), 1)
    spread = np.abs(rng.normal(0, 0.01, (2, n_bars)))
    high = np.maximum(opened, close) * (1 + spread[0])
    low = np.minimum(opened, close) * (1 - spread[1])
    volume = rng.integers(1, 50, n_bars).astype(float)
    if gaps:
        missing = rng.random(n_bars) < 0.05
        for values in (opened, high, low, close):
            values[missing] = np.nan
    days = np.datetime64("2001-01-01") + np.arange(n_bars)
    columns = (values.reshape(-1, 1) for values in (opened, high, low, close, volume))
    return Bars(("x",), days, *columns, source="made up")


def condition(rng: np.random.Generator) -> str:
    n = int(rng.integers(1, 4))
    words = rng.choice(["and", "or"], 2)
    atoms = [str(rng.choice(ATOMS)) for _ in range(n)]
    shape = rng.random()
    if n == 3 and shape < 0.3:
        return f"({atoms[0]} {words[0]} {atoms[1]}) {words[1]} {atoms[2]}"
    if n == 2 and shape < 0.3:
        return f"not ({atoms[0]} {words[0]} {atoms[1]})"
    text = atoms[0]
    for word, atom in zip(words, atoms[1:], strict=False):
        text += f" {word} {atom}"
    return text


def config(rng: np.random.Generator) -> dict[str, Any]:
    made: dict[str, Any] = {"kind": "rules", "name": "made_up", "hypothesis": "None."}
    for side in [["long"], ["long"], ["short"], ["long", "short"]][int(rng.integers(4))]:
        made[side] = {"enter": condition(rng)}
        way = rng.random()
        if way < 0.4:
            made[side]["exit"] = condition(rng)
        elif way < 0.6:
            made[side]["exit"] = f"not ({made[side]['enter']})"
        elif way < 0.7:
            made[side]["exit"] = None
    if rng.random() < 0.6:
        protect: dict[str, Any] = {"atr_window": int(rng.integers(2, 9))}
        for kind in ("stop", "trail", "target"):
            way = rng.random()
            if way < 0.3:
                protect[f"{kind}_atr"] = float(rng.choice([0.5, 1.0, 2.5]))
            elif way < 0.5:
                protect[f"{kind}_share"] = float(rng.choice([0.005, 0.02, 0.0333333333]))
        if rng.random() < 0.4:
            protect["max_bars"] = int(rng.integers(1, 12))
        made["protect"] = protect
    sizings: tuple[dict[str, Any] | None, ...] = (
        None, {"kind": "fraction"}, {"kind": "fraction", "fraction": 0.4}, {"kind": "fraction", "fraction": 2},
        {"kind": "volatility", "annual": 0.2, "window": 5, "cap": 1.5}, {"kind": "volatility"},
        {"kind": "atr_risk", "risk": 0.01, "multiple": 2, "window": 4, "cap": 1.2},
    )  # fmt: skip
    sizing = sizings[int(rng.integers(len(sizings)))]
    if sizing is not None:
        made["sizing"] = sizing
    return made


def spec_of(made: dict[str, Any]) -> Spec | None:
    spec = load_spec(made, origin="")
    # A random entry may contradict itself and never be true; that is no legal spec.
    return None if isinstance(spec, list) else spec


def reference_books(spec: Spec, bars: Bars, window: Window, costs: CostModel, capital: float) -> tuple[Any, ...]:
    decided = TradingStrategy(spec).generate_signals(bars).decisions
    names = ("enter_long", "exit_long", "enter_short", "exit_short", "size")
    names += ("stop_distance", "trail_distance", "target_distance")
    return engine_reference.simulate_signals(
        *(getattr(bars, name)[:, 0] for name in ("open", "high", "low", "close")),
        *(getattr(decided, name)[:, 0] for name in names),
        decided.max_bars, window.start, window.stop, capital, costs.adverse, costs.commission,
        costs.borrow_annual / bars.periods_per_year, costs.financing_annual / bars.periods_per_year,
    )  # fmt: skip


def swept_trades(
    population: Population, bars: Bars, window: Window, costs: CostModel, simulator: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    store = PopulationCache().store(bars)
    only = np.array([0])
    whole = placed(population.plan, only, store)
    rates = sweep.Rates(
        1e6, costs.adverse, costs.commission,
        costs.borrow_annual / bars.periods_per_year, costs.financing_annual / bars.periods_per_year,
    )  # fmt: skip
    out = np.empty((1, 1, sweep.N_OUT))
    room = (np.empty((bars.n_bars + 1, 4), np.int64), np.empty((bars.n_bars + 1, 5)))
    spans = np.array([[window.start, window.stop]])
    sweep.simulate_block(
        store.prices, store.rows, store.words, whole, population.plan.real, only, spans, rates, simulator, out, *room
    )
    k = int(out[0, 0, sweep.N_TRADES])
    return out[0, 0], room[0][:k], room[1][:k]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_trades_are_those_of_the_reference_bit_for_bit_and_metrics_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spec = spec_of(config(rng))
    if spec is None:
        return
    bars = market(rng)
    start = int(rng.integers(0, 100))
    window = Window(start, int(rng.integers(start + 2, 201)))
    costs = COSTS if rng.random() < 0.7 else FREE
    equity, _, _, whole, real, _ = reference_books(spec, bars, window, costs, 1e6)
    population = Population.from_specs([spec])
    assert population.n_general == 0
    # Whatever a simpler simulator can do, the next one can do too.
    for simulator in range(int(sweep.simulator_of(population.plan.whole, population.plan.real, never=0)[0]), 3):
        out, whole_found, real_found = swept_trades(population, bars, window, costs, simulator)
        np.testing.assert_array_equal(whole_found, whole)
        np.testing.assert_array_equal(real_found, real)
        assert out[sweep.FINAL_EQUITY] == pytest.approx(equity[-1], rel=1e-12)
    found = population.evaluate(bars, [window], costs)
    signals = TradingStrategy(spec).generate_signals(bars)
    result = simulate(signals, costs, window=window)
    assert found.n_trades[0, 0] == len(whole)
    assert found.final_equity[0, 0] == out[sweep.FINAL_EQUITY] == pytest.approx(equity[-1], rel=1e-12)
    assert found.max_drawdown[0, 0] == pytest.approx(result.metrics["max_drawdown"], rel=1e-10, abs=1e-12)
    assert found.mean[0, 0] == pytest.approx(result.returns.mean(), rel=1e-9, abs=1e-15)
    assert found.variance[0, 0] == pytest.approx(result.returns.var(ddof=1), rel=1e-9, abs=1e-18)
    sharpe = result.metrics["sharpe_ratio"]
    assert found.sharpe_ratio[0, 0] == pytest.approx(sharpe, rel=1e-9, abs=1e-9, nan_ok=True)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_a_configuration_read_fast_is_the_spec_read_strictly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made, other = config(rng), config(rng)
    if rng.random() < 0.5:
        # The same but for one part, so that equal ids happen too.
        other = json.loads(json.dumps(made)) | {
            "name": "other_name",
            "sizing": other.get("sizing", {"kind": "fraction"}),
        }
    specs = [spec_of(made), spec_of(other)]
    if None in specs:
        return
    reader = Reader()
    keys = [reader.key(json.loads(json.dumps(each))) for each in (made, other)]
    strict = [reader.key(spec.rule()) for spec in specs if spec is not None]
    assert keys == strict
    ids = [spec.spec_id for spec in specs if spec is not None]
    assert (keys[0] == keys[1]) == (ids[0] == ids[1])


def some(n: int, seed: int = 7) -> list[Spec]:
    rng = np.random.default_rng(seed)
    made: list[Spec] = []
    while len(made) < n:
        spec = spec_of(config(rng))
        if spec is not None:
            made.append(spec)
    return made


def as_bytes(metrics: Any) -> bytes:
    return b"".join(getattr(metrics, name).tobytes() for name in vars(metrics))


def test_a_trade_that_many_enter_is_to_each_what_it_is_to_one_alone() -> None:
    # Few sizes, protections and exits, long only: most trades are looked up, some are cut short, some asked for twice.
    rng = np.random.default_rng(11)
    bars = market(rng, 600)
    windows = [Window(0, 600), Window(37, 311)]
    specs = []
    for _ in range(150):
        made: dict[str, Any] = {
            "kind": "rules", "name": "one_of_many", "hypothesis": "x",
            "long": {"enter": f"rsi(close, {rng.integers(2, 5)}) < {rng.integers(30, 70)}"},
            "sizing": {"kind": "volatility", "annual": 0.2, "window": 20, "cap": float(rng.choice([0.6, 1.0]))},
            "protect": {"trail_atr": float(rng.choice([1.0, 3.0])), "atr_window": 5},
        }  # fmt: skip
        if rng.random() < 0.5:
            made["long"]["exit"] = f"rsi(close, 3) > {rng.integers(40, 95)}"
        if rng.random() < 0.3:
            made["protect"]["max_bars"] = int(rng.integers(1, 30))
        spec = spec_of(made)
        assert spec is not None
        specs.append(spec)
    found = Population.from_specs(specs).evaluate(bars, windows, COSTS)
    assert found.n_trades.min() > 0
    for i, spec in enumerate(specs):
        alone = Population.from_specs([spec]).evaluate(bars, windows, COSTS)
        for name in vars(found):
            np.testing.assert_array_equal(getattr(found, name)[i], getattr(alone, name)[0])
        equity = reference_books(spec, bars, windows[0], COSTS, 1e6)[0]
        assert found.final_equity[i, 0] == pytest.approx(equity[-1], rel=1e-12)


def test_more_trades_than_are_kept_at_once_are_those_of_the_reference() -> None:
    bars = market(np.random.default_rng(5), 20_000)
    spec = spec_of(
        {
            "kind": "rules", "name": "in_and_out", "hypothesis": "x", "long": {"enter": "close > 0"},
            "sizing": {"kind": "fraction", "fraction": 0.5}, "protect": {"max_bars": 1},
        }
    )  # fmt: skip
    assert spec is not None
    equity = reference_books(spec, bars, Window(0, 20_000), COSTS, 1e6)[0]
    found = Population.from_specs([spec]).evaluate(bars, [Window(0, 20_000)], COSTS)
    assert found.n_trades[0, 0] == 10_000
    assert found.final_equity[0, 0] == pytest.approx(equity[-1], rel=1e-12)


def test_threads_blocks_and_caches_do_not_change_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = market(np.random.default_rng(3), 600)
    windows = [Window(0, 600), Window(50, 300), Window(300, 600)]
    specs = some(120)
    population = Population.from_specs(specs)
    alone = as_bytes(population.evaluate(bars, windows, COSTS))
    monkeypatch.setattr(sweep, "SERIAL_BELOW_MS", 0.0)
    assert as_bytes(population.evaluate(bars, windows, COSTS, threads=3)) == alone
    cache = PopulationCache()
    Population.from_specs(specs[40:80]).evaluate(bars, windows, COSTS, cache=cache)
    assert as_bytes(population.evaluate(bars, windows, COSTS, cache=cache)) == alone
    assert as_bytes(population.evaluate(bars, windows, COSTS, cache=cache)) == alone
    # So small that every block of 64 starts again and nothing is kept.
    tiny = PopulationCache(max_bytes=1000)
    assert as_bytes(population.evaluate(bars, windows, COSTS, cache=tiny)) == alone
    assert tiny.n_bytes <= 1000
    # Without a cache the conditions of one block make room for those of the next.
    monkeypatch.setattr(population_module, "_UNKEPT_BLOCK", 7)
    assert as_bytes(population.evaluate(bars, windows, COSTS)) == alone
    # Enough blocks for every thread: each has conditions of its own then.
    assert as_bytes(population.evaluate(bars, windows, COSTS, threads=3)) == alone
    one_by_one = [as_bytes(Population.from_specs([spec]).evaluate(bars, windows, COSTS)) for spec in specs[:5]]
    five = Population.from_specs(specs[:5]).evaluate(bars, windows, COSTS)
    for i, single in enumerate(one_by_one):
        assert b"".join(getattr(five, name)[i : i + 1].tobytes() for name in vars(five)) == single


def test_each_market_is_judged_as_if_it_were_the_only_one() -> None:
    markets = [market(np.random.default_rng(seed), 300) for seed in range(3)]
    windows = [Window(0, 300), Window(100, 200)]
    population = Population.from_specs(some(40))
    alone = [as_bytes(population.evaluate(bars, windows, COSTS)) for bars in markets]
    for threads in (1, 2):
        found = population.evaluate_each(markets, windows, COSTS, threads=threads)
        assert [as_bytes(metrics) for metrics in found] == alone


def test_what_the_kernels_do_not_know_goes_through_the_engine() -> None:
    bars = market(np.random.default_rng(5), gaps=True)
    score = load_spec({"kind": "score", "name": "abc", "hypothesis": "x", "score": "roc(close, 5)"}, origin="")
    assert not isinstance(score, list)
    specs = [*some(3), score]
    population = Population.from_specs(specs)
    assert population.n_general == 1
    window = Window(10, 180)
    # Bars with holes: all four by the engine.
    found = population.evaluate(bars, [window], COSTS)
    for i, spec in enumerate(specs):
        result = simulate(TradingStrategy(spec).generate_signals(bars), COSTS, window=window)
        assert found.final_equity[i, 0] == result.equity[-1]
        assert found.sharpe_ratio[i, 0] == pytest.approx(result.metrics["sharpe_ratio"], nan_ok=True)
    unknown = {"kind": "rules", "name": "abc", "hypothesis": "x", "long": {"enter": "close > open", "later": 1}}
    assert Reader().key(unknown) is None


def test_a_fold_starts_flat_and_knows_the_past() -> None:
    """Close 10, 11, 12, 11, 12, 13: rose on 2 bars at bars 2 and 5; free of costs, fills at the close before."""
    close = np.array([10.0, 11, 12, 11, 12, 13]).reshape(-1, 1)
    opened = np.vstack((close[:1], close[:-1]))
    days = np.datetime64("2001-01-01") + np.arange(6)
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    bars = Bars(("x",), days, opened, high, low, close, close, source="made up")
    spec = load_spec(
        {"kind": "rules", "name": "abc", "hypothesis": "x", "long": {"enter": "rising(close, 2)"}}, origin=""
    )
    assert isinstance(spec, RulesSpec)
    found = Population.from_specs([spec]).evaluate(bars, [Window(2, 6), Window(3, 6)], FREE, capital=120.0)
    # Window 2..5: decided at bar 2, which bars 0 and 1 made true; bought at the open of bar 3, which is 12; the close
    # of bar 5 is 13. 120 / 12 * 13 = 130. Lowest: 10 units at 11 = 110 after 120: -1/12.
    assert found.final_equity[0, 0] == pytest.approx(130.0)
    assert found.max_drawdown[0, 0] == pytest.approx(110 / 120 - 1)
    assert found.mean[0, 0] == pytest.approx((0 - 10 / 120 + 10 / 110 + 10 / 120) / 4)
    # Window 3..5: the next true bar is 5, and no bar is left to fill at.
    assert found.final_equity[0, 1] == 120.0
    assert found.n_trades.tolist() == [[1.0, 0.0]]
    assert np.isnan(found.sharpe_ratio[0, 1])


def test_twins_are_simulated_once_and_both_answered() -> None:
    spec = some(1)[0]
    population = Population.from_specs([spec, spec.model_copy(update={"name": "twin"})])
    assert len(population) == 2
    assert len(population.plan.whole) == 1
    found = population.evaluate(market(np.random.default_rng(1)), [Window(0, 200)], COSTS)
    assert found.final_equity[0, 0] == found.final_equity[1, 0]


def test_streams_and_report_are_the_engines() -> None:
    bars, window = market(np.random.default_rng(9)), Window(20, 180)
    specs = some(4)
    population = Population.from_specs(specs)
    streams = population.streams([2, 0], bars, window, COSTS)
    for row, candidate in zip(streams, (2, 0), strict=True):
        result = simulate(TradingStrategy(specs[candidate]).generate_signals(bars), COSTS, window=window)
        np.testing.assert_array_equal(row, result.returns)
        assert population.report(candidate, bars, window, COSTS).trades == result.trades


def test_wrong_use_is_refused_in_a_sentence() -> None:
    bars = market(np.random.default_rng(1))
    population = Population.from_specs(some(1))
    with pytest.raises(UsageError, match=r"the window 10\.\.201 does not lie inside the bars 0\.\.200"):
        population.evaluate(bars, [Window(10, 201)], COSTS)
    with pytest.raises(UsageError, match=r"capital is 0\.0, it has to be positive"):
        population.evaluate(bars, [Window(10, 200)], COSTS, capital=0.0)
    with pytest.raises(InvalidConfig, match=r"the condition 'clse > 1 or' is not legal"):
        Population.from_configs([{"kind": "rules", "long": {"enter": "clse > 1 or"}}])


def test_blocks_in_other_processes_give_the_same_bytes() -> None:
    bars = market(np.random.default_rng(2))
    configs = [spec.config() for spec in some(30)]
    job = Job(bars, (Window(0, 200), Window(50, 150)), COSTS)
    whole = as_bytes(Population.from_configs(configs).evaluate(bars, job.windows, COSTS))
    assert as_bytes(evaluate_in_blocks(job, configs, InProcess(), block_size=7)) == whole
    assert as_bytes(evaluate_in_blocks(job, configs, Processes(2), block_size=15)) == whole


def test_terms_of_the_market_go_through_the_engine() -> None:
    bars, window = market(np.random.default_rng(9)), Window(20, 200)
    population, terms = Population.from_specs(some(4)), Terms(fill="close", lot=10.0, multiplier=5.0)
    cache = PopulationCache()
    plain = population.evaluate(bars, [window], COSTS, cache=cache)
    found = population.evaluate(bars, [window], COSTS, cache=cache, terms=terms)  # not what the cache knows of shares
    job = Job(bars, (window,), COSTS, terms=terms)
    assert as_bytes(found) != as_bytes(plain)
    assert as_bytes(job([population.spec(i).config() for i in range(4)])) == as_bytes(found)
    assert as_bytes(population.evaluate_each([bars], [window], COSTS, terms=terms)[0]) == as_bytes(found)
    reports = population.reports(range(4), bars, window, COSTS, terms=terms)
    streams = population.streams(range(4), bars, window, COSTS, terms=terms)
    for i in range(4):
        signals = TradingStrategy(population.spec(i)).generate_signals(bars)
        result = simulate(signals, COSTS, window=window, terms=terms)
        assert found.final_equity[i, 0] == result.equity[-1] == reports[i].equity[-1]
        assert reports[i].terms == terms
        np.testing.assert_array_equal(streams[i], result.returns)
    # Another length of a delisting says nothing of a market without a gap: the kernels know that.
    same = population.evaluate(bars, [window], COSTS, terms=Terms(delisted_after=3))
    assert as_bytes(same) == as_bytes(plain)
