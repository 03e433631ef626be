"""Look-ahead: canaries are caught, all of them, and honest rules are not."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import pytest

from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import FREE
from backtesting.decisions import Signals, TargetDecisions
from backtesting.look_ahead import audit_signals, same_bar_sharpe, spread_cuts

N = 400


def noise(seed=1):
    close = 100 * np.exp(np.cumsum(0.01 * np.random.default_rng(seed).normal(size=N)))
    columns = dict.fromkeys(("open", "high", "low", "close"), close[:, None])
    sessions = np.datetime64("2001-01-01") + np.arange(N)
    return Bars(symbols=("X",), sessions=sessions, volume=np.ones((N, 1)), source="noise", close_only=True, **columns)


@dataclass(frozen=True)
class Rule:
    """A target from the closes."""

    rule: object
    name: str = "rule"
    warmup_bars: int = 0

    def generate_signals(self, bars):
        return Signals(self.name, bars, TargetDecisions(self.rule(bars.close[:, 0])[:, None]))


def trailing(close):
    return np.sign(np.r_[0.0, np.diff(close)])


def shifted_label(close):
    return np.r_[np.sign(np.diff(close)), 0.0]


def future_feature(close):
    return (close - close.mean()) / close.std()


def centred_window(close):
    return np.sign(close - np.convolve(close, np.ones(5) / 5, mode="same"))


def next_month(close):
    return np.r_[np.sign(close[21:] - close[:-21]), np.zeros(21)]


CANARIES = [shifted_label, future_feature, centred_window, next_month]


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize("seed", range(5))
def test_every_canary_is_caught(canary, seed):
    leaks = audit_signals(Rule(canary), noise(seed), spread_cuts(N, 30, np.random.default_rng(seed)))
    assert [leak.field for leak in leaks] == ["target"]


def test_the_leak_is_named_with_its_bar_and_session():
    (leak,) = audit_signals(Rule(shifted_label), noise(), (100,))
    # With 100 bars the last label, bar 99, is unknown; with all of them it is known.
    assert (leak.bar, leak.cut) == (99, 100)
    assert str(leak) == "target of 2001-04-10 (bar 99) changes once bars after bar 99 are known"


def test_an_honest_rule_is_not_accused():
    assert audit_signals(Rule(trailing), noise(), range(1, N)) == ()


def test_a_single_peek_at_the_end_is_caught_by_the_last_cut():
    def late(close):
        position = trailing(close)
        position[N // 2] = 1.0 if len(close) == N else -1.0
        return position

    assert audit_signals(Rule(late), noise(), spread_cuts(N, 30, np.random.default_rng(1), 3)) != ()


def test_cuts_are_behind_the_warm_up_different_and_hold_the_last_but_one():
    cuts = spread_cuts(1000, 300, np.random.default_rng(1))
    assert len(cuts) == len(set(cuts))
    assert min(cuts) >= 300
    assert max(cuts) == 999


def test_the_engine_does_not_fill_on_the_bar_that_decides_and_one_that_does_is_caught():
    rng = np.random.default_rng(1)
    assert abs(same_bar_sharpe(lambda signals: simulate(signals, FREE).returns, rng)) < 3.0

    def too_early(signals):
        move = np.log(signals.bars.close[:, 0] / signals.bars.open[:, 0])
        return signals.decisions.target[:, 0] * move

    # E|z| / sd|z| = 0.7979 / 0.6028 a bar: 21.0 a year, and times sqrt(2520 / 252) in standard errors.
    assert same_bar_sharpe(too_early, rng) == pytest.approx(21.0 * sqrt(10), rel=0.05)
