"""Loop calibration: real rules under every gate, made again from their number."""

import numpy as np
import pytest

from agents.data_fetch.data_fetch import fetch_bars
from agents.strategy.spec import load_spec
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.calibration import Cell
from backtesting.costs import LIQUID_INDEX
from backtesting.splits import Window
from generator.loop_calibration import LOOP_FAMILIES, PLANTED_RULE, replicate_loop

NO_HISTORY = np.empty(0)


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown null market 'factor'; known: loop-random-walk, .*rules-planted"):
        replicate_loop(Cell("factor", 5, 10.0), 0, 1, NO_HISTORY)


@pytest.mark.parametrize("family", LOOP_FAMILIES)
def test_a_replication_can_be_made_again(family: str) -> None:
    cell = Cell(family, 6, 8.0, 3.0 if "planted" in family else 0.0)
    assert replicate_loop(cell, 3, 1, NO_HISTORY) == replicate_loop(cell, 3, 1, NO_HISTORY)


def test_the_planted_rule_passes_every_gate_where_its_edge_is_large_and_is_no_false_pass() -> None:
    outcomes = [replicate_loop(Cell("rules-planted", 10, 20.0, 3.0), number, 1, NO_HISTORY) for number in range(4)]
    # t = 3 * sqrt(13.6 sealed years) = 11 on each; an economic check may say no to one of them.
    assert sum(outcome.true_pass for outcome in outcomes) >= 3
    assert not any(outcome.false_pass for outcome in outcomes)


def test_without_an_edge_no_rule_is_planted() -> None:
    outcomes = [replicate_loop(Cell("rules-planted", 10, 10.0), number, 1, NO_HISTORY) for number in range(3)]
    assert not any(outcome.true_pass for outcome in outcomes)


def test_the_edge_of_the_cell_is_what_the_planted_rule_earns_after_costs() -> None:
    spec = load_spec(PLANTED_RULE, origin="")
    assert not isinstance(spec, list)
    sharpes = []
    for seed in range(8):
        bars = fetch_bars(f"synthetic:planted?years=60&seed={seed}&edge=1", cache_dir=None)
        signals = TradingStrategy(spec).generate_signals(bars)
        returns = simulate(signals, LIQUID_INDEX, window=Window(300, bars.n_bars)).returns
        sharpes.append(float(returns.mean() / returns.std() * np.sqrt(252)))
    # 480 years: the mean has a standard error of 1 / sqrt(480) = 0.046.
    assert np.mean(sharpes) == pytest.approx(1.0, abs=3 * 0.046)
