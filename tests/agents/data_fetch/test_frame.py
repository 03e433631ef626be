"""The border between pandas and Bars: what is understood, and the sentence for what is not."""

import numpy as np
import pandas as pd
import pytest

from agents.data_fetch.frame import bars_from_frame
from backtesting.bars import Bars
from backtesting.errors import DataError


def frame(**columns: list[float]) -> pd.DataFrame:
    given = {"Open": [1.0, 2.0], "High": [2.0, 3.0], "Low": [1.0, 2.0], "Close": [2.0, 3.0], "Volume": [5, 6]} | columns
    return pd.DataFrame(given, index=pd.DatetimeIndex(["2001-01-01", "2001-01-02"]))


def read(data: pd.DataFrame) -> Bars:
    return bars_from_frame(data, symbol="x", source="here")


def test_columns_in_any_case_with_further_ones_left_out() -> None:
    bars = read(frame(Dividends=[0.0, 0.0]).rename(columns=str.upper))
    assert bars.close[:, 0].tolist() == [2.0, 3.0]
    assert bars.volume[:, 0].tolist() == [5.0, 6.0]
    assert bars.sessions.tolist() == [pd.Timestamp("2001-01-01").date(), pd.Timestamp("2001-01-02").date()]
    assert bars.symbols == ("x",)


def test_a_column_pair_of_field_and_ticker_is_read_by_its_field() -> None:
    data = frame()
    data.columns = pd.MultiIndex.from_tuples([(name, "CL=F") for name in data.columns])
    assert read(data).close[:, 0].tolist() == [2.0, 3.0]


def test_a_zone_is_turned_to_utc_and_the_session_is_its_date() -> None:
    data = frame()
    data.index = pd.DatetimeIndex(["2001-01-01 20:00", "2001-01-02 20:00"], tz="America/New_York")
    assert [str(session) for session in read(data).sessions] == ["2001-01-02", "2001-01-03"]


def test_without_volume_it_is_unknown_and_a_close_alone_is_enough() -> None:
    bars = read(frame()[["Close"]])
    assert bars.close_only
    assert np.isnan(bars.volume).all()
    assert (bars.open == bars.close).all()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([1, 2], "here: market data must be Bars or a pandas DataFrame, not list"),
        (frame().reset_index(drop=True), "here: the index holds int64 values, not dates"),
        (frame().drop(columns="Low"), "here: the frame has no column low; it has open, high, close, volume"),
        (frame()[["Open", "Volume"]], "here: the frame has no column high, low, close; it has open, volume"),
        (frame(close=[1.0, 1.0]), "here: the frame has 2 columns named close"),
        (frame(Close=["a", "b"]), "here: column close holds could not convert string to float: 'a'"),  # type: ignore[list-item]
        (frame()[::-1], "here: the sessions are not strictly increasing at 2001-01-01"),
        (frame(Low=[-1.0, 2.0]), "here: x 2001-01-01: low -1 is not positive"),
        (frame().set_index(pd.DatetimeIndex(["2001-01-01", None])), "here: row 1 has no date"),
        (frame()[:0], "here holds no bars"),
    ],
)
def test_what_is_no_price_history_is_refused_with_a_sentence(data: pd.DataFrame, sentence: str) -> None:
    with pytest.raises(DataError) as refused:
        read(data)
    assert str(refused.value).startswith(sentence)
