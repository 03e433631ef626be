"""The open and the sealed window never touch, and the bars between belong to nobody."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtesting.bars import Bars
from backtesting.errors import DataError, InvalidConfig
from backtesting.splits import MIN_WINDOW_BARS, Split, Window, plan_split


def market(n_bars):
    one = np.ones((n_bars, 1))
    days = np.datetime64("2000-01-01") + np.arange(n_bars)
    return Bars(("AAA",), days, one, one, one, one, one, "sample:flat")


def test_the_oldest_share_of_the_usable_bars_is_open():
    # 2321 - 300 lead - 21 embargo = 2000; 30 % of it is 600
    assert plan_split(market(2321)) == Split(open=Window(300, 900), sealed=Window(921, 2321))


@given(st.integers(600, 6000), st.floats(0.1, 0.9), st.integers(0, 400), st.integers(0, 60))
def test_windows_are_in_order_apart_and_long_enough(n_bars, share, lead, embargo):
    try:
        split = plan_split(market(n_bars), open_share=share, lead_bars=lead, embargo_bars=embargo)
    except DataError:
        usable = n_bars - lead - embargo
        assert min(int(usable * share), usable - int(usable * share)) < MIN_WINDOW_BARS
        return
    assert (split.lead_bars, split.embargo_bars) == (lead, embargo)
    assert lead == split.open.start < split.open.stop <= split.sealed.start < split.sealed.stop == n_bars
    assert min(split.open.n_bars, split.sealed.n_bars) >= MIN_WINDOW_BARS


def test_too_few_bars_says_how_many_are_needed_and_that_many_are_enough():
    with pytest.raises(DataError) as caught:
        plan_split(market(1000))
    # 300 + 21 + 252 / 0.3 + 1 = 1162
    assert "sample:flat has 1000 bars, an open and a sealed window need 1162" in str(caught.value)
    assert plan_split(market(1162)).open.n_bars >= MIN_WINDOW_BARS


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"open_share": 0.95}, "open_share is 0.95, allowed is 0.1 to 0.9"),
        ({"open_share": float("nan")}, "open_share is nan"),
        ({"lead_bars": -1}, "lead_bars and embargo_bars cannot be negative"),
        ({"embargo_bars": -1}, "lead_bars and embargo_bars cannot be negative"),
    ],
)
def test_settings_out_of_range_are_refused_with_a_sentence(changes, sentence):
    with pytest.raises(InvalidConfig) as caught:
        plan_split(market(3000), **changes)
    assert sentence in str(caught.value)


def test_a_split_can_be_written_down():
    assert Split(Window(1, 2), Window(3, 4)).as_dict() == {
        "open": {"start": 1, "stop": 2},
        "sealed": {"start": 3, "stop": 4},
    }
