"""Unknown is never traded, the cache never changes a result, and equal parts are computed once."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agents.strategy.expression.evaluate import (
    EvaluationCache,
    condition,
    condition_at,
    evaluate,
    numbers,
    numbers_at,
)
from agents.strategy.expression.nodes import Node
from agents.strategy.expression.parse import parse
from agents.strategy.expression.types import Dimension
from agents.strategy.indicators import FUNCTIONS
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
    found = numbers(tree("close / (close - sma(close, 1))"), bars, EvaluationCache())
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


# --- the canonical form keeps the meaning: text and value are drawn together

LEAVES = {"close": 1.25, "open": 1.5, "high": 2.0, "low": 0.75}


@st.composite
def sums(draw: st.DrawFn, depth: int) -> tuple[str, Fraction]:
    """A price and what it is worth, exactly."""
    form = draw(st.sampled_from(["leaf", "+", "-", "neg", "scaled", "divided", "times ratio"])) if depth else "leaf"
    if form == "leaf":
        name = draw(st.sampled_from(list(LEAVES)))
        return name, Fraction(LEAVES[name])
    one, worth = draw(sums(depth - 1))
    if form == "neg":
        return f"-({one})", -worth
    if form in ("scaled", "divided"):
        factor = draw(st.sampled_from([-4, -2, -1, 1, 2, 8]))
        return (f"({one}) * {factor}", worth * factor) if form == "scaled" else (f"({one}) / {factor}", worth / factor)
    other, also = draw(sums(depth - 1))
    if form == "times ratio":
        under, below = draw(
            st.sampled_from([("close", Fraction(LEAVES["close"])), ("-(low)", -Fraction(LEAVES["low"]))])
        )
        return f"(({one}) / ({under})) * ({other})", worth / below * also
    return f"({one}) {form} ({other})", worth + also if form == "+" else worth - also


@st.composite
def rules(draw: st.DrawFn, depth: int) -> tuple[str, bool]:
    form = draw(st.sampled_from(["compare", "and", "or", "not", "chain"])) if depth else "compare"
    if form in ("compare", "chain"):
        (a, x), (b, y), (c, z) = (draw(sums(2)) for _ in range(3))
        # Equal in exact numbers may differ by a rounding: that is arithmetic, not the canonical form.
        assume(all(p == q or abs(p - q) > 1e-6 for p, q in ((x, y), (y, z))))
        assume(y not in (x, z))
        return (f"({a} < {b} <= {c})", x < y <= z) if form == "chain" else (f"({a}) >= ({b})", x >= y)
    one, first = draw(rules(depth - 1))
    if form == "not":
        return f"not ({one})", not first
    other, second = draw(rules(depth - 1))
    return f"(({one}) {form} ({other}))", (first and second) if form == "and" else (first or second)


def market() -> Bars:
    values = {name: np.array([[value]]) for name, value in LEAVES.items()}
    return Bars(
        ("x",), np.array(["2001-01-01"], dtype="datetime64[D]"), volume=np.array([[1.0]]), source="one bar", **values
    )


@settings(max_examples=300, deadline=None)
@given(sums(4))
def test_canonical_arithmetic_means_what_was_written(drawn: tuple[str, Fraction]) -> None:
    text, worth = drawn
    node = parse(text)
    assume(isinstance(node, Node))
    assert isinstance(node, Node)
    # A folded constant keeps six significant digits, so half a unit of the sixth is the most that it is off.
    assert numbers(node, market(), EvaluationCache())[0, 0] == pytest.approx(float(worth), rel=2e-5, abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(rules(3))
def test_canonical_logic_means_what_was_written(drawn: tuple[str, bool]) -> None:
    text, expected = drawn
    node = parse(text)
    assume(isinstance(node, Node))
    assert isinstance(node, Node)
    assert condition(node, market(), EvaluationCache())[0, 0] == expected


SAMPLED = [
    "roc(close, 7)",
    "lag(close, 3) / sma(close, 10)",
    "cs_zscore(roc(close, 5)) - cs_rank(log_return(lag(close, 2), 4))",
    "lag(roc(change(close, 2) / close, 3), 4)",
    "clip(zscore(close, 20), -1, 1)",
    "2",
    "abs(roc(close, 1)) + hlc3 / close",
    "where(close > lag(close, 5), roc(close, 3), 0)",
    "max(open, lag(close, 1)) / close",
    "close / (close - lag(close, 1))",
]


@pytest.mark.parametrize("every", [1, 5, 1000])
@pytest.mark.parametrize("text", SAMPLED)
def test_numbers_of_some_bars_are_those_of_all_bars(text: str, every: int, bars: Bars) -> None:
    whole = numbers(tree(text), bars, EvaluationCache())[::every]
    cache = EvaluationCache()
    assert numbers_at(tree(text), bars, cache, every).tobytes() == whole.tobytes()
    assert numbers_at(tree(text), bars, cache, every).tobytes() == whole.tobytes()  # and again, from the cache
    cache = EvaluationCache()
    numbers(tree(text), bars, cache)
    assert numbers_at(tree(text), bars, cache, every).tobytes() == whole.tobytes()  # what is known is not made anew


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_is_the_same_at_some_bars(name: str, bars: Bars) -> None:
    node = tree(FUNCTIONS[name].example)
    if any(part.op == "feature" for part in parts_of(node)):
        bars = replace(bars, features={part.name: np.ones(bars.close.shape) for part in parts_of(node) if part.name})
    if node.dimension is Dimension.BOOLEAN:
        whole, some = condition(node, bars, EvaluationCache()), condition_at(node, bars, EvaluationCache(), 3)
    else:
        whole, some = numbers(node, bars, EvaluationCache()), numbers_at(node, bars, EvaluationCache(), 3)
    assert some.tobytes() == whole[::3].tobytes()


def parts_of(node: Node) -> list[Node]:
    return [node, *(part for arg in node.args for part in parts_of(arg))]


def test_some_bars_of_a_look_back_do_not_compute_the_others(bars: Bars) -> None:
    cache = EvaluationCache()
    numbers_at(tree("roc(close, 7) - cs_mean(roc(close, 3))"), bars, cache, 5)
    assert len(cache) == 1  # the sampled whole, and nothing on all bars
