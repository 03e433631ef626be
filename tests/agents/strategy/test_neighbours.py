"""Neighbours: other windows, the same shape."""

from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.neighbours import neighbours
from agents.strategy.spec import load_spec


def rule(**parts):
    spec = load_spec({"name": "some_rule", "hypothesis": "", "kind": "rules", **parts}, origin="")
    assert not isinstance(spec, list), spec
    return spec


def test_all_windows_move_together_and_thresholds_stay():
    spec = rule(long={"enter": "crosses_above(sma(close, 50), sma(close, 200)) and rsi(close, 10) < 30"})
    shorter, longer = neighbours(spec)
    assert (
        shorter.spec_id
        == rule(long={"enter": "crosses_above(sma(close, 40), sma(close, 160)) and rsi(close, 8) < 30"}).spec_id
    )
    # 1.25 x 10 = 12.5 rounds to the even 12.
    assert (
        longer.spec_id
        == rule(long={"enter": "crosses_above(sma(close, 62), sma(close, 250)) and rsi(close, 12) < 30"}).spec_id
    )


def test_operators_and_holding_times_are_rewritten_too():
    spec = rule(
        long={"enter": "not (close / lag(close, 10) - 1 > 2 * stdev(close, 20) / close or -roc(close, 5) > 0.1)"},
        protect={"max_bars": 20},
    )
    shorter, longer = neighbours(spec)
    expected = rule(
        long={"enter": "not (close / lag(close, 8) - 1 > 2 * stdev(close, 16) / close or -roc(close, 4) > 0.1)"},
        protect={"max_bars": 16},
    )
    assert shorter.spec_id == expected.spec_id
    assert longer.protect.max_bars == 25


def test_a_window_of_two_moves_by_one_and_a_bound_is_kept():
    spec = rule(long={"enter": "rsi(close, 2) < 10 and close > sma(close, 1000)"})
    shorter, longer = neighbours(spec)
    assert "rsi(close, 1)" in shorter.long.enter
    assert "sma(close, 1000)" in longer.long.enter
    assert "rsi(close, 3)" in longer.long.enter


def test_a_rule_without_windows_has_no_neighbours():
    assert neighbours(rule(long={"enter": "close > open"})) == ()


def test_every_shipped_rule_has_legal_neighbours_or_none():
    for spec in shipped_incumbents():
        for other in neighbours(spec):
            assert other.spec_id != spec.spec_id
