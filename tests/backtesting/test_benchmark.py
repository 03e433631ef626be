"""What holding the market earned: an asset from close to close, a panel in equal shares of what is listed."""

import numpy as np
import pytest

from backtesting.bars import Bars
from backtesting.benchmark import held_returns
from backtesting.splits import Window

NAN = float("nan")


def bars(*columns: list[float]) -> Bars:
    close = np.array(columns).T
    days = np.datetime64("2020-01-06") + np.arange(len(close))
    names = tuple("abc"[: close.shape[1]])
    return Bars(names, days, close, close, close, close, np.full(close.shape, np.nan), source="x", close_only=True)


def test_of_one_asset_it_is_close_to_close_and_knows_the_bar_before_the_window() -> None:
    market = bars([100.0, 110.0, 99.0, 99.0])
    # 99 / 110 - 1 = -0.1; the first bar of all has nothing before it.
    assert held_returns(market, Window(2, 4)) == pytest.approx([-0.1, 0.0])
    assert held_returns(market, Window(0, 2)) == pytest.approx([0.0, 0.1])


def test_a_bar_without_a_price_earns_nothing_and_the_next_one_all_of_it() -> None:
    assert held_returns(bars([100.0, NAN, 120.0]), Window(0, 3)) == pytest.approx([0.0, 0.0, 0.2])


def test_of_a_panel_it_is_the_mean_over_what_is_listed() -> None:
    # b is listed at bar 1 and gone after bar 2: bar 1 is a's 10 % alone, bar 2 (0 % + 50 %) / 2, bar 3 a's alone.
    market = bars([100.0, 110.0, 110.0, 99.0], [NAN, 10.0, 15.0, NAN])
    assert held_returns(market, Window(0, 4)) == pytest.approx([0.0, 0.1, 0.25, -0.1])


def test_what_comes_after_the_window_changes_nothing() -> None:
    market = bars([100.0, 110.0, 99.0, 500.0], [5.0, 5.5, 5.0, NAN])
    assert held_returns(market, Window(1, 3)).tolist() == held_returns(market.upto(3), Window(1, 3)).tolist()
