"""Tree distance: 0 for the same rule, small for one number, large for another idea."""

import pytest

from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.spec import Spec, load_spec
from generator.tree_distance import node_distance, shape_of, size, tree_distance, tree_of


def a_rule(enter: str, leave: str | None = None, **more: object) -> Spec:
    config = {"kind": "rules", "name": "a_rule", "hypothesis": "", "long": {"enter": enter, "exit": leave}, **more}
    spec = load_spec(config, origin="")
    assert not isinstance(spec, list)
    return spec


def apart(first: str, second: str) -> float:
    return node_distance(a_rule(first).nodes["long.enter"], a_rule(second).nodes["long.enter"])


def test_size_counts_every_node() -> None:
    # close > sma(close, 50): the comparison, close, the call, close, 50
    assert size(a_rule("close > sma(close, 50)").nodes["long.enter"]) == 5


def test_a_number_is_apart_by_its_relative_difference() -> None:
    assert apart("close > sma(close, 50)", "close > sma(close, 100)") == pytest.approx(0.5)
    assert apart("close > sma(close, 50)", "close > sma(close, 51)") == pytest.approx(1 / 51)


def test_another_function_is_apart_by_its_whole_call() -> None:
    # sma(close, 50) and ema(close, 50) have three nodes each.
    assert apart("close > sma(close, 50)", "close > ema(close, 50)") == 3.0


def test_an_added_condition_costs_itself() -> None:
    # `and` and the five nodes of the other condition
    assert apart("close > sma(close, 50)", "close > sma(close, 50) and close > ema(close, 9)") == 6.0


@pytest.mark.parametrize("other", shipped_incumbents(), ids=lambda spec: spec.name)
def test_distance_is_symmetric_between_0_and_1_and_0_for_itself(other: Spec) -> None:
    spec = a_rule("close > sma(close, 50)", "close < sma(close, 20)")
    assert tree_distance(tree_of(other), tree_of(other)) == 0.0
    assert tree_distance(tree_of(spec), tree_of(other)) == tree_distance(tree_of(other), tree_of(spec))
    assert 0.0 < tree_distance(tree_of(spec), tree_of(other)) <= 1.0


def test_nearer_ideas_are_nearer() -> None:
    spec = a_rule("close > sma(close, 50)")
    window, function, idea = (
        tree_distance(tree_of(spec), tree_of(a_rule(text)))
        for text in ("close > sma(close, 60)", "close > ema(close, 50)", "falling(close, 2)")
    )
    assert 0.0 < window < function < idea


def test_sizing_is_part_of_the_distance() -> None:
    small = a_rule("close > sma(close, 50)", sizing={"kind": "fraction", "fraction": 0.5})
    # 0.5 of 1.0 apart, in a rule of five nodes and three settings (kind, kind of the sizing, fraction)
    assert tree_distance(tree_of(small), tree_of(a_rule("close > sma(close, 50)"))) == pytest.approx(0.5 / 8)


def test_shape_forgets_numbers_and_nothing_else() -> None:
    shape = shape_of(a_rule("close > sma(close, 50)"))
    assert shape.text == shape_of(a_rule("close > sma(close, 20)")).text
    assert shape.text != shape_of(a_rule("close > ema(close, 50)")).text
    assert shape.text != shape_of(a_rule("volume > sma(volume, 50)")).text
    assert 50.0 in shape.numbers
