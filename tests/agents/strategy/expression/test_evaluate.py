"""Unknown is never traded, the cache never changes a result, and equal parts are computed once."""

import numpy as np
import pytest

from agents.strategy.expression.evaluate import EvaluationCache, condition, evaluate, numbers
from agents.strategy.expression.nodes import Node
from agents.strategy.expression.parse import parse
from backtesting.bars import Bars
from backtesting.errors import DataError


def tree(text: str) -> Node:
    node = parse(text)
    assert isinstance(node, Node), [str(error) for error in node]
    return node


@pytest.mark.parametrize("text", ["close > sma(close, 50)", "crosses_above(close, sma(close, 50))", "rising(close, 3)"])
def test_a_condition_and_its_negation_are_both_false_where_unknown(text: str, bars: Bars) -> None:
    cache = EvaluationCache()
    holds, fails = condition(tree(text), bars, cache), condition(tree(f"not ({text})"), bars, cache)
    unknown = ~holds & ~fails
    assert not (holds & fails).any()
    assert unknown[150, 1]  # the missing bar
    assert (holds | fails)[60:140].all()


def test_or_is_true_if_one_side_is_known_to_be_true(bars: Bars) -> None:
    node = tree("close > sma(close, 50) or high >= low")
    assert condition(node, bars, EvaluationCache())[:49].all()


def test_negation_pushed_inwards_means_the_same(bars: Bars) -> None:
    # not (a and b) is stored as (not a) or (not b): three-valued logic makes them one.
    a, b = "close > sma(close, 50)", "volume > sma(volume, 100)"
    both = condition(tree(f"{a} and {b}"), bars, EvaluationCache())
    neither = condition(tree(f"not ({a} and {b})"), bars, EvaluationCache())
    known = np.arange(bars.n_bars) >= 99
    assert (both ^ neither)[known, 0].all()


def test_sums_run_from_left_to_right_in_canonical_order() -> None:
    one, day = np.array([[1.0]]), np.array(["2001-01-01"], dtype="datetime64[D]")
    bars = Bars(("x",), day, open=1e16 * one, high=1e16 * one, low=one, close=3 * one, volume=one, source="one bar")
    # close + low + open, not low + (open + close): 3 + 1 = 4 first, then 1e16 + 4
    assert numbers(tree("open + (low + close)"), bars, EvaluationCache())[0, 0] == 1e16 + 4
    assert str(tree("open + (low + close)")) == "close + low + open"


def test_division_by_zero_is_nan(bars: Bars) -> None:
    found = numbers(tree("close / (close - close * 1)"), bars, EvaluationCache())
    assert np.isnan(found).all()


def test_equal_parts_are_computed_once_and_read_only(bars: Bars) -> None:
    cache = EvaluationCache()
    first = evaluate(tree("sma(close, 20)"), bars, cache)
    stored = len(cache)
    assert evaluate(tree("ma(close, window=20)"), bars, cache) is first
    assert len(cache) == stored
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1.0


def test_a_full_cache_forgets_and_changes_no_result(bars: Bars) -> None:
    one_series = bars.close.nbytes
    tight = EvaluationCache(max_bytes=2 * one_series)
    node = tree("ema(close, 5) - sma(close, 20) > stdev(close, 30) - atr(14)")
    expected = evaluate(node, bars, EvaluationCache())
    assert evaluate(node, bars, tight).tobytes() == expected.tobytes()
    assert tight.n_bytes <= 2 * one_series


def test_a_missing_feature_is_named(bars: Bars) -> None:
    with pytest.raises(DataError, match="made-up has no feature 'mood'; it has news"):
        evaluate(tree("feature(mood) > 0"), bars, EvaluationCache())
    assert np.array_equal(evaluate(tree("feature(news)"), bars, EvaluationCache()), bars.features["news"])
