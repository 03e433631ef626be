"""Bars are checked once, with a sentence for each complaint, and only ever show the past."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtesting.bars import Bars
from backtesting.errors import DataError

DAYS = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="datetime64[D]")


def make(**changes):
    fields = {
        "symbols": ("AAA",),
        "sessions": DAYS,
        "open": [[10.0], [11.0], [12.0]],
        "high": [[12.0], [13.0], [14.0]],
        "low": [[9.0], [10.0], [11.0]],
        "close": [[11.0], [12.0], [13.0]],
        "volume": [[100.0], [200.0], [300.0]],
        "source": "csv:x.csv",
    }
    return Bars(**{**fields, **changes})


def with_value(name, row, value):
    columns = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 100.0}
    values = np.array([[columns[name] + step] for step in range(3)])
    values[row, 0] = value
    return {name: values}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sessions": DAYS[:0]}, "csv:x.csv holds no bars; nothing was changed; check the symbol and the dates"),
        ({"symbols": ()}, "csv:x.csv holds no bars"),
        ({"open": [[1.0]]}, "csv:x.csv: open has shape (1, 1), the sessions and symbols ask for (3, 1)"),
        ({"features": {"vix": [1.0, 2.0, 3.0]}}, "csv:x.csv: vix has shape (3,), the sessions and"),
        ({"sessions": DAYS[[0, 2, 1]]}, "the sessions are not strictly increasing at 2020-01-02"),
        ({"sessions": DAYS[[0, 1, 1]]}, "the sessions are not strictly increasing at 2020-01-02"),
        (with_value("close", 1, -37.63), "AAA 2020-01-02: close -37.63 is not positive, so a return"),
        (with_value("low", 2, 0.0), "AAA 2020-01-03: low 0 is not positive"),
        (with_value("open", 0, np.nan), "AAA 2020-01-01: open nan is missing where the close is not"),
        (with_value("close", 0, np.nan), "AAA 2020-01-01: open 10 is missing where the close is not"),
        (with_value("high", 0, np.inf), "AAA 2020-01-01: high inf is missing where the close is not, or is infinite"),
        (with_value("high", 1, 11.5), "AAA 2020-01-02: high 11.5 or low does not enclose open and close (1 such bars)"),
        (with_value("low", 1, 11.5), "or low does not enclose open and close"),
        (with_value("volume", 1, -1.0), "AAA 2020-01-02: volume -1 is negative or infinite"),
        (with_value("volume", 1, np.inf), "AAA 2020-01-02: volume inf is negative or infinite"),
    ],
)
def test_bad_bars_are_refused_with_a_sentence(changes, sentence):
    with pytest.raises(DataError) as caught:
        make(**changes)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_symbol_named_twice_is_refused():
    two = np.ones((3, 2))
    with pytest.raises(DataError, match=r"csv:x\.csv names a symbol twice"):
        make(symbols=("AAA", "AAA"), open=two, high=two, low=two, close=two, volume=two)


def test_a_bar_that_did_not_trade_is_missing_in_all_four_prices():
    gap = {name: with_value(name, 1, np.nan)[name] for name in ("open", "high", "low", "close")}
    assert np.isnan(make(**gap).close[1, 0])


def test_adjusted_prices_may_miss_the_bound_by_a_rounding():
    close = 0.1 + 0.2  # 0.30000000000000004, above a high of 0.3
    prices = {"open": [[0.3]] * 3, "high": [[0.3]] * 3, "low": [[0.3]] * 3, "close": [[close]] * 3}
    assert make(**prices).high[0, 0] < close


def test_bars_cannot_be_changed():
    bars = make()
    with pytest.raises(ValueError, match="read-only"):
        bars.close[0, 0] = 1.0
    mine = np.array([[10.0], [11.0], [12.0]])
    kept = make(open=mine)
    mine[0, 0] = 99.0
    assert kept.open[0, 0] == 10.0


@given(st.integers(1, 3))
def test_upto_shows_the_first_bars_and_nothing_else(n):
    bars = make(features={"vix": [[1.0], [2.0], [3.0]]})
    seen = bars.upto(n)
    assert seen.n_bars == n
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(bars, name)[:n])
    np.testing.assert_array_equal(seen.features["vix"], bars.features["vix"][:n])
    assert seen.sessions[-1] == DAYS[n - 1]


@pytest.mark.parametrize("n", [0, 4, -1])
def test_upto_refuses_bars_that_are_not_there(n):
    with pytest.raises(ValueError, match=rf"upto\({n}\): the bars hold 1..3"):
        make().upto(n)


def test_the_id_is_the_content_not_the_source():
    assert make().bars_id == make(source="parquet:y").bars_id
    others = [
        make(symbols=("BBB",)),
        make(periods_per_year=365.0),
        make(close_only=True),
        make(sessions=DAYS + 1),
        make(features={"vix": [[1.0], [2.0], [3.0]]}),
        make(**with_value("volume", 0, 101.0)),
        make().upto(2),
    ]
    assert len({make().bars_id, *(bars.bars_id for bars in others)}) == len(others) + 1


def test_volume_is_known_where_any_bar_has_it():
    assert make().has_volume
    assert not make(volume=[[np.nan]] * 3).has_volume


def test_the_repr_says_what_it_is():
    assert repr(make()) == "Bars(csv:x.csv: AAA, 3 bars, 2020-01-01..2020-01-03)"


def test_bars_without_a_symbol_keep_their_sessions_and_the_others_prices():
    one = make()
    both = make(
        symbols=("AAA", "BBB"),
        features={"sector": np.array([[1.0, 2.0]] * 3)},
        **{
            name: np.hstack([getattr(one, name), 2 * getattr(one, name)])
            for name in ("open", "high", "low", "close", "volume")
        },
    )
    left = both.without("BBB")
    assert left.symbols == ("AAA",)
    assert left.close.tolist() == one.close.tolist()
    assert left.features["sector"].tolist() == [[1.0]] * 3
    assert left.n_bars == 3
    with pytest.raises(ValueError, match=r"without\('CCC'\): the bars hold AAA, BBB"):
        both.without("CCC")
    with pytest.raises(ValueError, match="the bars hold AAA"):
        one.without("AAA")


def test_some_neighbouring_assets_are_the_same_bars_with_fewer_columns():
    one = make()
    columns = {
        name: np.hstack([getattr(one, name) * k for k in (1, 2, 3)]) for name in ("open", "high", "low", "close")
    }
    volume = np.ones((3, 3))
    three = make(symbols=("A", "B", "C"), volume=volume, features={"rate": volume.cumsum(axis=1)}, **columns)
    some = three.between(1, 3)
    # Checked anew, they would be the same bars; and their content id is their own, not that of the whole.
    again = make(
        symbols=("B", "C"),
        volume=volume[:, 1:],
        features={"rate": [[2.0, 3.0]] * 3},
        **{name: values[:, 1:] for name, values in columns.items()},
    )
    assert three.bars_id != some.bars_id == again.bars_id
    assert not some.close.flags.writeable
    assert some.close.flags.c_contiguous
    with pytest.raises(ValueError, match=r"between\(2, 4\): the bars hold 3 assets"):
        three.between(2, 4)


def test_bars_are_complete_where_every_asset_trades_on_every_bar():
    assert make().complete
    gone = [[np.nan], [2.0], [3.0]]
    assert not make(open=gone, high=gone, low=gone, close=gone).complete
