"""Logic: conditions over time, and choices between values. Unknown stays unknown."""

import numpy as np

from agents.strategy import kernels, kernels_paths
from agents.strategy.functions.entry import (
    BASIC,
    BOOLEAN,
    CONDITION,
    COUNT,
    UNKNOWN_UNTIL_FULL,
    Function,
    bars_back,
    none,
    one,
    series,
    value,
    window,
    window_less_one,
)
from agents.strategy.functions.steps import lagged, stepped
from agents.strategy.truth import TruthArray, as_numbers, truth_of
from backtesting.bars import Bars, FloatArray


def _crosses_above(bars: Bars, x: FloatArray, y: FloatArray) -> TruthArray:
    x_before, y_before = lagged(x, 1), lagged(y, 1)
    return truth_of((x > y) & (x_before <= y_before), ~np.isnan(x + y + x_before + y_before))


def _crosses_below(bars: Bars, x: FloatArray, y: FloatArray) -> TruthArray:
    return _crosses_above(bars, y, x)


def _crosses(bars: Bars, x: FloatArray, y: FloatArray) -> TruthArray:
    return np.maximum(_crosses_above(bars, x, y), _crosses_above(bars, y, x))


def _rising(bars: Bars, x: FloatArray, length: int) -> TruthArray:
    step = stepped(x)
    rose = np.where(np.isnan(step), np.nan, (step > 0).astype(np.float64))
    return truth_of(kernels.run_length(rose) >= length, ~np.isnan(kernels.rolling_sum(rose, length)))


def _falling(bars: Bars, x: FloatArray, length: int) -> TruthArray:
    return _rising(bars, -x, length)


def _holds_for(bars: Bars, condition: TruthArray, length: int) -> TruthArray:
    held = as_numbers(condition)
    return truth_of(kernels.run_length(held) >= length, ~np.isnan(kernels.rolling_sum(held, length)))


def _any_last(bars: Bars, condition: TruthArray, length: int) -> TruthArray:
    held = kernels.rolling_sum(as_numbers(condition), length)
    return truth_of(held > 0, ~np.isnan(held))


def _count_if(bars: Bars, condition: TruthArray, length: int) -> FloatArray:
    return kernels.rolling_sum(as_numbers(condition), length)


def _streak(bars: Bars, condition: TruthArray) -> FloatArray:
    return kernels.run_length(as_numbers(condition))


def _since(bars: Bars, condition: TruthArray) -> FloatArray:
    return kernels.bars_since(as_numbers(condition))


def _value_when(bars: Bars, condition: TruthArray, x: FloatArray) -> FloatArray:
    return kernels_paths.since_event(as_numbers(condition), x, 0)


def _highest_since(bars: Bars, condition: TruthArray, x: FloatArray) -> FloatArray:
    return kernels_paths.since_event(as_numbers(condition), x, 1)


def _lowest_since(bars: Bars, condition: TruthArray, x: FloatArray) -> FloatArray:
    return kernels_paths.since_event(as_numbers(condition), x, -1)


def _where(bars: Bars, condition: TruthArray, x: FloatArray, y: FloatArray) -> FloatArray:
    held = as_numbers(condition)
    return np.where(np.isnan(held), np.nan, np.where(held == 1.0, x, y))


def _fill(bars: Bars, x: FloatArray, y: FloatArray) -> FloatArray:
    return np.where(np.isnan(x), y, x)


def _known(bars: Bars, x: FloatArray) -> TruthArray:
    return truth_of(~np.isnan(x), np.ones(x.shape, dtype=np.bool_))


_CROSSING = "unknown where x or y is NaN now or one bar ago"
_BEFORE = "NaN before it first held"

ENTRIES = (
    Function(
        "crosses_above", "logic", (value("x"), value("y")), BOOLEAN, one, _crosses_above,
        "x > y now, and x <= y one bar ago", BASIC, "crosses_above(ema(close, 20), ema(close, 100))", _CROSSING,
        aliases=("crossover", "cross_above", "cross_over", "crosses_over", "crossed_above"),
    ),
    Function(
        "crosses_below", "logic", (value("x"), value("y")), BOOLEAN, one, _crosses_below,
        "x < y now, and x >= y one bar ago", BASIC, "crosses_below(rsi(close, 14), 70)", _CROSSING,
        aliases=("crossunder", "cross_below", "cross_under", "crosses_under", "crossed_below"),
    ),
    Function(
        "crosses", "logic", (value("x"), value("y")), BOOLEAN, one, _crosses,
        "crosses_above(x, y) or crosses_below(x, y)", BASIC, "crosses(close, sma(close, 50))", _CROSSING,
    ),
    Function(
        "rising", "logic", (series(rule="any"), bars_back(1, grid=(1, 2, 3, 5))), BOOLEAN, window, _rising,
        "x rose on each of the last `window` bars", BASIC, "rising(close, 3)", UNKNOWN_UNTIL_FULL,
        aliases=("is_rising", "increasing"),
    ),
    Function(
        "falling", "logic", (series(rule="any"), bars_back(1, grid=(1, 2, 3, 5))), BOOLEAN, window, _falling,
        "x fell on each of the last `window` bars", BASIC, "falling(close, 3)", UNKNOWN_UNTIL_FULL,
        aliases=("is_falling", "decreasing"),
    ),
    Function(
        "holds_for", "logic", (CONDITION, bars_back(grid=(2, 3, 5, 10))), BOOLEAN, window_less_one, _holds_for,
        "the condition held on each of the last `window` bars", BASIC, "holds_for(close > sma(close, 50), 5)",
        UNKNOWN_UNTIL_FULL, aliases=("all_last", "held_for"),
    ),
    Function(
        "any_last", "logic", (CONDITION, bars_back(grid=(2, 3, 5, 10))), BOOLEAN, window_less_one, _any_last,
        "the condition held on at least one of the last `window` bars", BASIC, "any_last(rsi(close, 2) < 5, 5)",
        "unknown where the condition is unknown within the window", aliases=("held_within", "any_of_last"),
    ),
    Function(
        "count_if", "logic", (CONDITION, bars_back(grid=(5, 10, 20))), COUNT, window_less_one, _count_if,
        "on how many of the last `window` bars the condition held", BASIC, "count_if(close > open, 10) >= 7",
        "NaN where the condition is unknown within the window", aliases=("count", "count_true"),
    ),
    Function(
        "streak", "logic", (CONDITION,), COUNT, none, _streak, "how many bars in a row the condition has held", BASIC,
        "streak(close > open) >= 3", "NaN where the condition is unknown, which also ends the streak",
        aliases=("bars_in_a_row",),
    ),
    Function(
        "since", "logic", (CONDITION,), COUNT, none, _since, "bars since the condition last held; 0 at that bar", BASIC,
        "since(close >= highest(close, 50)) < 5", _BEFORE, aliases=("bars_since", "barssince"),
    ),
    Function(
        "value_when", "logic", (CONDITION, series()), "same", none, _value_when,
        "x at the bar at which the condition last held", BASIC, "close > value_when(rsi(close, 2) < 5, high)", _BEFORE,
        aliases=("valuewhen",),
    ),
    Function(
        "highest_since", "logic", (CONDITION, series()), "same", none, _highest_since,
        "largest x since the condition last held, that bar included", BASIC,
        "close < 0.95 * highest_since(crosses_above(close, sma(close, 50)), close)", _BEFORE,
    ),
    Function(
        "lowest_since", "logic", (CONDITION, series()), "same", none, _lowest_since,
        "smallest x since the condition last held, that bar included", BASIC,
        "close > 1.05 * lowest_since(crosses_below(close, sma(close, 50)), close)", _BEFORE,
    ),
    Function(
        "where", "logic", (CONDITION, value("x"), value("y")), "same", none, _where,
        "x where the condition holds, else y", BASIC, "where(close > sma(close, 200), 1, -1) > 0",
        "NaN where the condition is unknown or the chosen value is NaN", aliases=("if_else", "iff", "ifelse"),
    ),
    Function(
        "fill", "logic", (series(), value("y")), "same", none, _fill, "x, or y where x is NaN", BASIC,
        "fill(zscore(close, 20), 0) < -2", "NaN where both are", aliases=("coalesce", "fillna"),
    ),
    Function(
        "known", "logic", (series(rule="any"),), BOOLEAN, none, _known, "x has a value at this bar", BASIC,
        "known(sma(close, 200)) and close > open", "never unknown", aliases=("is_known", "notna"),
    ),
)  # fmt: skip
