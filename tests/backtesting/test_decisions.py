"""Decisions in words: what a person or a log reads for each bar."""

import numpy as np
import pytest

from backtesting.bars import Bars
from backtesting.decisions import Signal, SignalDecisions, Signals, TargetDecisions

NAN = float("nan")


def market(n_bars=3, symbols=("AAA",)):
    one = np.ones((n_bars, len(symbols)))
    return Bars(symbols, np.datetime64("2020-01-01") + np.arange(n_bars), one, one, one, one, one, "sample:flat")


def entries():
    def column(*values):
        return np.array(values, dtype=bool)[:, None]

    none = np.full((3, 1), NAN)
    return SignalDecisions(
        enter_long=column(1, 0, 0), exit_long=column(0, 1, 0), enter_short=column(0, 1, 0), exit_short=column(0, 0, 0),
        size=np.full((3, 1), 0.5), stop_distance=none, trail_distance=none, target_distance=none,
    )  # fmt: skip


def test_iterating_gives_one_sentence_a_bar():
    assert [str(signal) for signal in Signals("cross", market(), entries())] == [
        "2020-01-01 AAA: enter long 0.50 of equity",
        "2020-01-02 AAA: exit long and enter short 0.50 of equity",
        "2020-01-03 AAA: none",
    ]


def test_a_target_is_held_and_nan_keeps():
    signals = Signals("score", market(), TargetDecisions(np.array([[1.0], [-0.25], [NAN]])))
    assert [str(signal) for signal in signals] == [
        "2020-01-01 AAA: hold 1.00 of equity",
        "2020-01-02 AAA: hold -0.25 of equity",
        "2020-01-03 AAA: keep",
    ]


def test_negative_bars_count_from_the_end():
    signals = Signals("score", market(), TargetDecisions(np.array([[1.0], [0.5], [0.0]])))
    assert signals.at(-1) == Signal("2020-01-03", "AAA", "hold", 0.0)


def test_every_bar_and_asset_has_a_signal():
    signals = Signals("two", market(2, ("AAA", "BBB")), TargetDecisions(np.array([[1.0, 0.0], [0.0, 1.0]])))
    assert len(signals) == 4
    assert [(signal.session[-2:], signal.symbol, signal.size) for signal in signals] == [
        ("01", "AAA", 1.0), ("01", "BBB", 0.0), ("02", "AAA", 0.0), ("02", "BBB", 1.0),
    ]  # fmt: skip


def test_decisions_need_one_row_a_bar():
    with pytest.raises(ValueError, match="3 decisions for 2 bars"):
        Signals("cross", market(2), entries())
