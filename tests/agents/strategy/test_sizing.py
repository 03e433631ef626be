"""Kelly sizing: the sides are those of the engine, the estimate is the textbook one, and nothing looks ahead."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.strategy.sizing import LEAST_BARS, kelly_sizes, paper_sides
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import FREE
from backtesting.decisions import SignalDecisions, Signals

SEEDS = st.integers(0, 2**32 - 1)


def bars_of(close: np.ndarray) -> Bars:
    days = np.datetime64("2020-01-01") + np.arange(len(close))
    names = tuple(f"A{k}" for k in range(close.shape[1]))
    return Bars(names, days, *[close] * 4, np.ones(close.shape), source="sample:walk")


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_paper_sides_are_the_sides_that_the_engine_holds_a_bar_later(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 60))
    bars = bars_of(100 * np.exp(np.cumsum(rng.normal(0, 0.001, (n, 1)), axis=0)))
    flags = [rng.random((n, 1)) < 0.3 for _ in range(4)]
    none = np.full((n, 1), np.nan)
    made = Signals("flags", bars, SignalDecisions(*flags, np.full((n, 1), 0.5), none, none, none))
    held = np.sign(simulate(made, FREE).exposure)
    np.testing.assert_array_equal(held[1:], paper_sides(*flags)[:-1, 0])


def test_half_kelly_is_half_the_mean_over_the_variance():
    # +3 % and -1 % in turn, always long: mean 1 %, variance 4 e-4, full Kelly 25
    close = 100 * np.cumprod(np.where(np.arange(103) % 2 == 0, 1.03, 0.99))[:, None]
    size = kelly_sizes(np.ones((103, 1)), bars_of(close), window=100, share=0.5, cap=99.0)
    assert size[-1, 0] == pytest.approx(0.5 * 0.01 / 0.0004)
    assert kelly_sizes(np.ones((103, 1)), bars_of(close), window=100, share=0.5, cap=2.0)[-1, 0] == 2.0
    assert kelly_sizes(-np.ones((103, 1)), bars_of(close), window=100, share=0.5, cap=2.0)[-1, 0] == 0.0


def test_it_is_not_known_before_enough_bars_were_held():
    close = 100 * np.cumprod(np.where(np.arange(60) % 2 == 0, 1.03, 0.99))[:, None]
    sides = np.ones((60, 1))
    sides[:10] = 0.0
    size = kelly_sizes(sides, bars_of(close), window=50, share=0.5, cap=1.0)
    # the side decided at bar 10 earns over bar 12, the first of 20
    first = 12 + LEAST_BARS - 1
    assert np.isnan(size[:first, 0]).all()
    assert np.isfinite(size[first:, 0]).all()
    assert np.isnan(kelly_sizes(sides, bars_of(np.full((60, 1), 100.0)), window=50, share=0.5, cap=1.0)).all()


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_sizes_of_the_past_do_not_change_when_bars_are_added(seed):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (80, 2)), axis=0))
    close[rng.random((80, 2)) < rng.choice([0.0, 0.1])] = np.nan
    bars, sides = bars_of(close), rng.choice([-1.0, 0.0, 1.0], (80, 2))
    whole = kelly_sizes(sides, bars, window=30, share=0.5, cap=2.0)
    part = kelly_sizes(sides[:50], bars.upto(50), window=30, share=0.5, cap=2.0)
    np.testing.assert_array_equal(whole[:50], part)
    assert np.nanmin(whole, initial=0.0) >= 0.0
    assert np.nanmax(whole, initial=0.0) <= 2.0
