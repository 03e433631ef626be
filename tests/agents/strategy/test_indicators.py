"""Every function of the registry: it parses, it is causal, and it agrees with pandas or with a sum by hand."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from agents.strategy import indicators, kernels, kernels_paths
from agents.strategy.expression.evaluate import EvaluationCache, evaluate
from agents.strategy.expression.nodes import Node, distinct_nodes
from agents.strategy.expression.parse import parse
from agents.strategy.expression.types import Dimension
from agents.strategy.indicators import ALIASES, FIELDS, FUNCTIONS
from backtesting.bars import Bars


def tree(text: str) -> Node:
    node = parse(text)
    assert isinstance(node, Node), [str(error) for error in node]
    return node


def values(text: str, bars: Bars) -> np.ndarray:
    return evaluate(tree(text), bars, EvaluationCache())


def series(numbers: list[float], **other: list[float]) -> Bars:
    close = np.array(numbers, dtype=float)[:, None]
    fields = {name: np.array(other.get(name, numbers), dtype=float)[:, None] for name in ("open", "high", "low")}
    fields["high"] = np.fmax(fields["high"], np.fmax(fields["open"], close))
    fields["low"] = np.fmin(fields["low"], np.fmin(fields["open"], close))
    volume = np.array(other.get("volume", [1.0] * len(numbers)))[:, None]
    sessions = np.busday_offset("2001-01-01", np.arange(len(numbers)), roll="forward")
    features = {"news": close, "sector": np.ones(close.shape)}
    return Bars(("x",), sessions, close=close, volume=volume, source="series", features=features, **fields)


# --- the registry itself


@pytest.mark.parametrize("name", FUNCTIONS)
def test_example_parses_and_uses_the_function(name: str, bars: Bars) -> None:
    node = tree(FUNCTIONS[name].example)
    mirrored = {"crosses_below": "crosses_above"}  # two series crossing are always written as above
    assert {name, mirrored.get(name, name)} & {part.op for part in distinct_nodes(node)}
    assert evaluate(node, bars, EvaluationCache()).shape == bars.close.shape


@pytest.mark.parametrize("name", FUNCTIONS)
def test_entry_says_what_people_prompts_and_proposers_need(name: str) -> None:
    entry = FUNCTIONS[name]
    assert entry.formula
    assert entry.source
    assert entry.nan_rule
    assert entry.family
    for parameter in entry.parameters:
        if parameter.kind in ("window", "number"):
            assert parameter.grid
            assert all(parameter.low <= value <= parameter.high for value in parameter.grid)
        if parameter.default is not None:
            assert parameter.low <= parameter.default <= parameter.high


def test_no_name_means_two_things() -> None:
    aliases = [alias for entry in FUNCTIONS.values() for alias in entry.aliases]
    assert len(aliases) == len(set(aliases)) == len(ALIASES)
    assert not set(aliases) & (set(FUNCTIONS) | set(FIELDS) | {"feature"})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_function_looks_ahead(name: str, bars: Bars) -> None:
    for node in distinct_nodes(tree(FUNCTIONS[name].example)):
        if node.is_number:
            continue
        whole = evaluate(node, bars, EvaluationCache())
        for n_bars in (1, 2, 17, 61, 151, 207, 260, 419):
            part = evaluate(node, bars.upto(n_bars), EvaluationCache())
            assert part.tobytes() == whole[:n_bars].tobytes(), f"{node} at {n_bars}"


WAITING = ("since", "days_since", "value_when", "highest_since", "lowest_since")  # for their condition to hold


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in WAITING])
def test_warmup_is_the_first_bar_with_a_value(name: str, whole_bars: Bars) -> None:
    entry = FUNCTIONS[name]
    args = []
    for parameter in entry.parameters:
        if parameter.kind in ("window", "number"):
            grid = parameter.grid
            args.append(f"{parameter.name}={parameter.default or grid[min(1, len(grid) - 1)]:g}")
        elif parameter.name == "group":
            args.append("feature(sector)")
        else:
            text = {Dimension.BOOLEAN: "close > open", Dimension.RATIO: "close / open"}.get(parameter.rule, "close")  # type: ignore[call-overload]
            args.append("open" if parameter.name == "y" and parameter.rule != Dimension.RATIO else text)
    node = tree(f"{name}({', '.join(args)})")
    if node.dimension is Dimension.BOOLEAN:
        node = tree(f"where({node}, 1, 0)")
    known = ~np.isnan(evaluate(node, whole_bars, EvaluationCache())[:, 1])
    assert int(np.argmax(known)) == node.warmup, name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_never_infinite_on_a_dead_market(name: str) -> None:
    dead = series([5.0] * 300, volume=[0.0] * 300)
    for node in distinct_nodes(tree(FUNCTIONS[name].example)):
        assert not np.isinf(evaluate(node, dead, EvaluationCache()).astype(float)).any()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("scale", [1e-290, 1e290])
def test_values_are_never_infinite_on_huge_and_tiny_prices(name: str, scale: float) -> None:
    rng = np.random.default_rng(1)
    close = scale * np.exp(np.cumsum(rng.normal(0, 0.05, 300)))
    extreme = series(list(close), volume=[1e290, 1e-290] * 150)
    for node in distinct_nodes(tree(FUNCTIONS[name].example)):
        assert not np.isinf(evaluate(node, extreme, EvaluationCache()).astype(float)).any()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_one_bar_market_is_no_error(name: str) -> None:
    assert values(FUNCTIONS[name].example, series([5.0])).shape == (1, 1)


# --- against pandas


def oracle(text: str, close: pd.Series, high: pd.Series, low: pd.Series, volume: pd.Series) -> pd.Series:
    before = close.shift(1)
    true_range = pd.concat([high - low, (high - before).abs(), (low - before).abs()], axis=1).max(axis=1, skipna=False)
    # Written as the product writes it: (high + low + close) / 3 rounds to other ties, and mfi counts ties.
    typical = close + ((high - close) + (low - close)) / 3

    def seeded(x: pd.Series, window: int, alpha: float) -> pd.Series:
        known = x.dropna()
        started = known.copy()
        started.iloc[: window - 1] = np.nan
        started.iloc[window - 1] = known.iloc[:window].mean()
        return started.ewm(alpha=alpha, adjust=False, ignore_na=True).mean().reindex(x.index)

    step = close.diff()
    gain, loss = seeded(step.clip(lower=0), 14, 1 / 14), seeded(-step.clip(upper=0), 14, 1 / 14)
    up, down = high.diff(), -low.diff()
    plus = seeded(up.where((up > down) & (up > 0), 0.0).where(up.notna()), 14, 1 / 14)
    minus = seeded(down.where((down > up) & (down > 0), 0.0).where(up.notna()), 14, 1 / 14)
    money = typical * volume
    rose, fell = money.where(typical.diff() > 0, 0.0), money.where(typical.diff() < 0, 0.0)
    rose, fell = rose.where(typical.diff().notna()), fell.where(typical.diff().notna())
    lowest, highest = low.rolling(14).min(), high.rolling(14).max()
    answers = {
        "sma(close, 20)": lambda: close.rolling(20).mean(),
        "wma(close, 10)": lambda: close.rolling(10).apply(lambda x: np.dot(x, np.arange(1, 11)) / 55),
        "ema(close, 12)": lambda: seeded(close, 12, 2 / 13),
        "rma(close, 9)": lambda: seeded(close, 9, 1 / 9),
        "stdev(close, 20)": lambda: close.rolling(20).std(),
        "zscore(close, 20)": lambda: (close - close.rolling(20).mean()) / close.rolling(20).std(),
        "highest(close, 20)": lambda: close.rolling(20).max(),
        "lowest(close, 20)": lambda: close.rolling(20).min(),
        "sum(volume, 7)": lambda: volume.rolling(7).sum(),
        "rank(close, 30)": lambda: (close.rolling(30).rank() - 1) / 29,
        "slope(close, 15)": lambda: close.rolling(15).apply(lambda x: np.polyfit(np.arange(15), x, 1)[0]),
        "correlation(close, volume, 25)": lambda: close.rolling(25).corr(volume),
        "lag(close, 3)": lambda: close.shift(3),
        "change(close, 3)": lambda: close.diff(3),
        "roc(close, 5)": lambda: close.pct_change(5, fill_method=None),
        "log_return(close, 1)": lambda: np.log(close / before),
        "volatility(20)": lambda: np.log(close / before).rolling(20).std() * math.sqrt(252),
        "true_range()": lambda: true_range,
        "atr(14)": lambda: seeded(true_range, 14, 1 / 14),
        "rsi(close, 14)": lambda: 100 - 100 / (1 + gain / loss),
        "macd(close, 12, 26)": lambda: seeded(close, 12, 2 / 13) - seeded(close, 26, 2 / 27),
        "adx(14)": lambda: seeded(100 * (plus - minus).abs() / (plus + minus), 14, 1 / 14),
        "stochastic_k(14)": lambda: 100 * (close - lowest) / (highest - lowest),
        "stochastic_d(14, 3)": lambda: (100 * (close - lowest) / (highest - lowest)).rolling(3).mean(),
        "williams_r(14)": lambda: -100 * (highest - close) / (highest - lowest),
        "cci(20)": lambda: (
            (typical - typical.rolling(20).mean())
            / (0.015 * typical.rolling(20).apply(lambda x: np.abs(x - x.mean()).mean()))
        ),
        "bollinger_upper(close, 20, 2)": lambda: close.rolling(20).mean() + 2 * close.rolling(20).std(ddof=0),
        "bollinger_lower(close, 20, 2)": lambda: close.rolling(20).mean() - 2 * close.rolling(20).std(ddof=0),
        "donchian_high(20)": lambda: high.shift(1).rolling(20).max(),
        "donchian_low(20)": lambda: low.shift(1).rolling(20).min(),
        "obv()": (np.sign(step) * volume).cumsum,
        "mfi(14)": lambda: 100 * rose.rolling(14).sum() / (rose + fell).rolling(14).sum(),
        "vwap(20)": lambda: money.rolling(20).sum() / volume.rolling(20).sum(),
        "relative_volume(20)": lambda: volume / volume.rolling(20).mean(),
    }
    return answers[text]()


ORACLES = (
    "sma(close, 20)", "wma(close, 10)", "ema(close, 12)", "rma(close, 9)", "stdev(close, 20)", "zscore(close, 20)",
    "highest(close, 20)", "lowest(close, 20)", "sum(volume, 7)", "rank(close, 30)", "slope(close, 15)",
    "correlation(close, volume, 25)", "lag(close, 3)", "change(close, 3)", "roc(close, 5)", "log_return(close, 1)",
    "volatility(20)", "true_range()", "atr(14)", "rsi(close, 14)", "macd(close, 12, 26)", "adx(14)",
    "stochastic_k(14)", "stochastic_d(14, 3)", "williams_r(14)", "cci(20)", "bollinger_upper(close, 20, 2)",
    "bollinger_lower(close, 20, 2)", "donchian_high(20)", "donchian_low(20)", "obv()", "mfi(14)", "vwap(20)",
    "relative_volume(20)",
)  # fmt: skip


@pytest.mark.parametrize("text", ORACLES)
def test_agrees_with_pandas(text: str, bars: Bars) -> None:
    close, high, low, volume = (pd.Series(getattr(bars, name)[:, 1]) for name in ("close", "high", "low", "volume"))
    expected = oracle(text, close, high, low, volume).to_numpy()
    found = values(text, bars)[:, 1]
    assert np.array_equal(np.isnan(found), np.isnan(expected)), np.nonzero(np.isnan(found) != np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


# --- by hand


def test_small_sums_by_hand() -> None:
    bars = series([2.0, 4.0, 6.0, 3.0])
    assert values("sma(close, 3)", bars)[2, 0] == 4.0  # (2 + 4 + 6) / 3
    assert values("wma(close, 3)", bars)[2, 0] == pytest.approx(28 / 6)  # (1*2 + 2*4 + 3*6) / 6
    assert values("ema(close, 3)", bars)[3, 0] == 3.5  # start 4; 4 + 2/4 * (3 - 4)
    assert values("rank(close, 4)", bars)[3, 0] == pytest.approx(1 / 3)  # one of 2, 4, 6 is below 3
    assert values("slope(close, 3)", bars)[2, 0] == 2.0  # 2, 4, 6 rise by 2 a bar
    assert values("rsi(close, 3)", bars)[3, 0] == pytest.approx(400 / 7)  # gains 2 + 2, losses 3: 4 / 7


def test_donchian_leaves_out_the_current_bar_and_highest_does_not() -> None:
    bars = series([1.0, 2.0, 3.0, 9.0])
    assert values("donchian_high(3)", bars)[3, 0] == 3.0
    assert values("highest(high, 3)", bars)[3, 0] == 9.0


def test_crossing_needs_the_bar_before_on_the_other_side_or_equal() -> None:
    bars = series([1.0, 2.0, 2.0, 3.0, 1.0], open=[2.0, 2.0, 2.0, 2.0, 2.0])
    assert values("crosses_above(close, open)", bars)[:, 0].tolist() == [False, False, False, True, False]
    assert values("crosses_below(close, open)", bars)[:, 0].tolist() == [False, False, False, False, True]


def test_logic_over_windows_by_hand() -> None:
    bars = series([2.0, 3.0, 1.0, 2.0, 3.0], open=[2.0, 2.0, 2.0, 1.0, 1.0])  # close > open: 0 1 0 1 1
    assert values("holds_for(close > open, 2)", bars)[:, 0].tolist() == [False, False, False, False, True]
    np.testing.assert_array_equal(values("count_if(close > open, 3)", bars)[:, 0], [np.nan, np.nan, 1, 2, 2])
    np.testing.assert_array_equal(values("since(close > open)", bars)[:, 0], [np.nan, 0, 1, 0, 0])
    assert values("rising(close, 2)", bars)[:, 0].tolist() == [False, False, False, False, True]
    assert values("falling(close, 1)", bars)[:, 0].tolist() == [False, False, True, False, False]
    np.testing.assert_array_equal(values("where(close > open, 1, -1)", bars)[:, 0], [-1, 1, -1, 1, 1])


def test_calendar_of_known_days() -> None:
    bars = series([1.0] * 25)  # weekdays from Monday 1 January 2001 to Friday 2 February
    assert values("day_of_week()", bars)[:6, 0].tolist() == [0, 1, 2, 3, 4, 0]
    assert values("day_of_month()", bars)[[0, 4, 5, 23], 0].tolist() == [1, 5, 8, 1]
    assert values("month()", bars)[[0, 22, 23], 0].tolist() == [1, 1, 2]
    turn = values("turn_of_month(1, 3)", bars)[:, 0]
    assert np.nonzero(turn)[0].tolist() == [0, 1, 2, 22, 23, 24]  # 1-3 January, 31 January, 1 and 2 February


def test_turn_of_month_is_never_at_a_weekend() -> None:
    bars = series([1.0] * 40)
    # Every day from Friday 29 January 2021 on: the 30th and 31st, and 6 and 7 February, are a weekend.
    bars = replace(bars, sessions=np.datetime64("2021-01-29") + np.arange(40))
    assert np.nonzero(values("turn_of_month(1, 3)", bars)[:, 0])[0].tolist()[:4] == [0, 3, 4, 5]
    assert np.nonzero(values("turn_of_month(0, 3)", bars)[:, 0])[0].tolist()[:3] == [3, 4, 5]
    assert not values("turn_of_month(0, 0)", bars).any()


@pytest.mark.parametrize("name", ["sma", "wma", "highest", "lowest", "sum", "product", "median", "midpoint"])
def test_over_one_bar_it_is_what_it_is_of(name: str, bars: Bars) -> None:
    # What the canonical form makes of it, to the last bit; one bar is missing in each of two columns.
    found = FUNCTIONS[name].compute(bars, bars.close, 1)
    assert np.isnan(bars.close).any()
    np.testing.assert_array_equal(found, bars.close)


def test_one_missing_bar_spoils_only_the_windows_that_hold_it(bars: Bars) -> None:
    spoiled = np.isnan(values("sma(close, 5)", bars)[:, 1])
    assert np.nonzero(spoiled)[0].tolist() == [*range(4), *range(150, 155), *range(301, 306)]


def test_a_recursion_skips_a_missing_bar_and_keeps_its_state(bars: Bars) -> None:
    found = values("ema(close, 5)", bars)[:, 1]
    assert np.isnan(found[150])
    # 2 / (5 + 1) of the way from the state before the gap to the new close
    assert found[151] == pytest.approx(found[149] + (bars.close[151, 1] - found[149]) / 3)


@pytest.mark.parametrize("level", [0.1, 1 / 3, 1e-9, 123456.789])
def test_constants_come_out_exactly(level: float) -> None:
    bars = series([level * 3] * 7 + [level] * 400)
    for text in ("sma(close, 20)", "ema(close, 20)", "wma(close, 20)", "bollinger_upper(close, 20, 2)"):
        found = values(text, series([level] * 100))[19:, 0]
        assert (found == level).all(), text
    assert (values("sma(close, 20)", bars)[27:, 0] == level).all()
    assert (values("stdev(close, 20)", bars)[27:, 0] == 0.0).all()
    assert np.isnan(values("zscore(close, 20)", bars)[27:, 0]).all()


def test_an_outlier_leaves_no_rounding_behind() -> None:
    rng = np.random.default_rng(3)
    close = rng.uniform(1, 2, 200)
    close[50] = 1e12
    found = values("stdev(close, 10)", series(list(close)))[100:, 0]
    np.testing.assert_allclose(found, pd.Series(close[91:]).rolling(10).std().to_numpy()[9:], rtol=1e-12)


KERNELS = {**kernels.KERNELS, **kernels_paths.KERNELS}


@pytest.mark.parametrize("name", KERNELS)
def test_compiled_kernel_equals_its_plain_loop(name: str, bars: Bars) -> None:
    kernel = KERNELS[name]
    held = np.where(np.isnan(bars.close), np.nan, (bars.close > bars.open).astype(float))
    steps = bars.close / bars.open - 1.0
    window = (bars.close, 9)
    settings: dict[str, list[tuple[Any, ...]]] = {
        "rolling_mean_alone": [(np.ascontiguousarray(bars.close.T), 9)], "rolling_mean_together": [window],
        "rolling_sum": [window], "rolling_product": [(1.0 + steps, 9)],
        "relative_strength": [window],
        "rolling_stdev": [(bars.close, 9, 1)], "smoothed": [(bars.close, 9, 0.2)], "extreme": [(bars.close, 9, -1.0)],
        "extreme_age": [(bars.close, 9, 1.0)], "mean_deviation": [window], "cumulative": [(bars.close,)],
        "line": [(bars.close, 9, which) for which in range(5)],
        "comoment": [(bars.close, bars.volume, 9, which) for which in range(3)],
        "in_order": [(bars.close, 9, -1.0), (bars.close, 9, 0.3)], "shape": [(bars.close, 9, 3), (bars.close, 9, 4)],
        "weighted_window": [(bars.close, np.array([0.2, 0.3, 0.5]))], "entropy": [(bars.close, 9, 4)],
        "roughness": [(bars.close, 20)], "logarithm": [(bars.close,)], "raised": [(steps, steps)],
        "mapped": [(steps, which) for which in range(4)], "run_length": [(held,)], "bars_since": [(held,)],
        "adaptive": [(bars.close, held)], "super_trend": [(bars.open, bars.close, bars.high - bars.low)],
        "parabolic": [(bars.high, bars.low, 0.02, 0.2)], "compounded": [(steps,)], "signed_run": [(steps,)],
        "since_event": [(held, bars.close, which) for which in (-1, 0, 1)],
        "held_target": [(np.sign(steps), 0.1)],
        "held_signals": [
            (
                bars.open, bars.high, bars.low, bars.close, held, 1.0 - held, np.roll(held, 3), held, 1.0 + steps,
                bars.high - bars.low, bars.high - bars.low, 0.02 * bars.close, 5.0,
            ),
        ],
        "group_sum": [(bars.close, np.zeros(bars.close.shape, dtype=np.int64), 1)],
    }  # fmt: skip
    for args in settings[name]:
        assert kernel(*args).tobytes() == kernel.loop(*args).tobytes()


@pytest.mark.parametrize("n_assets", [1, 3, kernels.TOGETHER, 40])
@pytest.mark.parametrize("window", [1, 2, 7, 50, 99, 100, 101])
def test_means_of_many_assets_are_those_of_each(n_assets: int, window: int) -> None:
    rng = np.random.default_rng(window)
    x = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.02, (100, n_assets)), axis=0)), 2)
    x[rng.random(x.shape) < 0.02] = np.nan
    together = kernels.rolling_mean_together(x, window)
    assert kernels.rolling_mean(x, window).tobytes() == together.tobytes()
    for k in range(n_assets):
        alone = kernels.rolling_mean_alone(x[:, k : k + 1].T, window)
        assert alone[0].tobytes() == together[:, k].tobytes()


@pytest.mark.parametrize("n_assets", [1, kernels.TOGETHER])
def test_a_mean_whose_sum_overflows_is_nan_and_not_infinite(n_assets: int) -> None:
    # In the first window 1.7e308 - 1, twice, is more than a float holds; the other two windows are of equal values.
    x = np.repeat([[1.0], [1.7e308], [1.7e308], [1.7e308], [1.7e308]], n_assets, axis=1)
    means = kernels.rolling_mean(x, 3)
    assert np.isnan(means[:3]).all()
    assert not np.isinf(means).any()
    assert (means[3:] == 1.7e308).all()


def test_typical_price_of_a_still_market_is_its_close() -> None:
    bars = series([0.1] * 3)
    assert (indicators.typical_price(bars) == 0.1).all()
