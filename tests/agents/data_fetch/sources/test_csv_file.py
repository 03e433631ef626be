import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.data_fetch.data_fetch import fetch_bars, fetch_report, load_market
from agents.data_fetch.sources import csv_file
from backtesting.bars import Bars
from backtesting.errors import DataError

OHLCV = """Date,Open,High,Low,Close,Volume
2020-01-02,10,12,9,11,100
2020-01-03,11,13,10,12,200
2020-01-06,12,14,11,13,300
"""


@pytest.fixture
def save(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(content: str | bytes) -> str:
        path = tmp_path / "prices.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return f"csv:{path}"

    return write


def days(bars: Bars) -> list[str]:
    return [str(day) for day in bars.sessions]


def test_a_plain_file_gives_its_rows(save) -> None:
    loaded = load_market(save(OHLCV))
    bars = loaded.bars
    assert bars.symbols == ("prices",)
    assert days(bars) == ["2020-01-02", "2020-01-03", "2020-01-06"]
    assert bars.high[:, 0].tolist() == [12, 13, 14]
    assert bars.volume[:, 0].tolist() == [100, 200, 300]
    assert loaded.notes == ()


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + OHLCV,
        OHLCV.replace("\n", "\r\n"),
        OHLCV.replace(",", ";"),
        OHLCV.replace(",", "\t"),
        OHLCV.upper(),
        OHLCV + "\n\n",
        OHLCV.replace("Date", "timestamp"),
        OHLCV.replace("-", "/"),
        OHLCV.replace("2020-01-0", "2020010"),
        OHLCV.replace("2020-01-02", "1/2/2020").replace("2020-01-03", "1/13/2020").replace("2020-01-06", "01/16/2020"),
        OHLCV.replace("2020-01-02", "2020-01-02 00:00:00-05:00"),
        OHLCV.replace(",10,12,9,11,", ',"10","12","9","11.0",'),
    ],
    ids=["bom", "crlf", "semicolon", "tab", "upper", "blank", "timestamp", "slash", "compact", "us", "zone", "quoted"],
)
def test_the_same_prices_in_other_dress_are_the_same_prices(save, content: str) -> None:
    bars = fetch_bars(save(content))
    assert bars.close[:, 0].tolist() == [11, 12, 13]
    assert str(bars.sessions[0]) == "2020-01-02"


def test_a_decimal_comma_is_understood_in_a_file_with_semicolons(save) -> None:
    assert fetch_bars(save("Date;Price\n2020-01-02;10,5\n2020-01-03;11\n")).close[:, 0].tolist() == [10.5, 11.0]


@pytest.mark.parametrize("header", ["Date,Price", "date,close", "DATE,Adj Close", "Date,DCOILWTICO", "Date,Last"])
def test_one_price_a_day_is_close_only(save, header: str) -> None:
    bars = fetch_bars(save(f"{header}\n2020-01-02,10\n2020-01-03,11\n"))
    assert bars.close_only
    assert bars.open[:, 0].tolist() == bars.low[:, 0].tolist() == [10, 11]
    assert not bars.has_volume


def test_close_is_meant_where_price_stands_beside_it(save) -> None:
    loaded = load_market(save("Date,Price,Close\n2020-01-02,1,10\n2020-01-03,1,11\n"))
    assert loaded.bars.close[:, 0].tolist() == [10, 11]
    assert "Price" in loaded.notes[0].sentence


def test_adj_close_rescales_all_four_prices(save) -> None:
    # Factor of the first day: 5.5 / 11 = 0.5, so 10, 12, 9, 11 become 5, 6, 4.5, 5.5.
    text = "Date,Open,High,Low,Close,Adj Close,Volume\n2020-01-02,10,12,9,11,5.5,7\n2020-01-03,11,13,10,12,12,7\n"
    loaded = load_market(save(text))
    bars = loaded.bars
    assert [bars.open[0, 0], bars.high[0, 0], bars.low[0, 0], bars.close[0, 0]] == [5, 6, 4.5, 5.5]
    assert bars.close[1, 0] == 12
    assert [(note.rule, note.first) for note in loaded.notes] == [("adjusted", ("2020-01-02",))]


def test_equal_duplicates_are_dropped_and_reported(save) -> None:
    loaded = load_market(save(OHLCV + "2020-01-06,12,14,11,13,300\n"))
    assert loaded.bars.n_bars == 3
    assert [(note.rule, note.count, note.first) for note in loaded.notes] == [("duplicate-rows", 1, ("2020-01-06",))]


def test_conflicting_duplicates_are_refused(save) -> None:
    with pytest.raises(DataError, match="2020-01-06 has two rows with different values"):
        fetch_bars(save(OHLCV + "2020-01-06,12,14,11,13.5,300\n"))


def test_several_bars_a_day_are_refused(save) -> None:
    text = "Date,Close\n2020-01-02 10:00:00+00:00,10\n2020-01-02 11:00:00+00:00,11\n"
    with pytest.raises(DataError, match="several bars a day are not supported"):
        fetch_bars(save(text))


def test_unsorted_rows_are_sorted_and_reported(save) -> None:
    header, *rows = OHLCV.splitlines()
    loaded = load_market(save("\n".join([header, *reversed(rows)])))
    assert days(loaded.bars) == ["2020-01-02", "2020-01-03", "2020-01-06"]
    assert [(note.rule, note.count) for note in loaded.notes] == [("unsorted", 2)]


def test_blank_prices_are_left_out_and_reported(save) -> None:
    loaded = load_market(save(OHLCV + "2020-01-07,,,,,\n2020-01-08,13,15,12,NaN,5\n2020-01-09,13,15,12,14,\n"))
    assert days(loaded.bars)[3:] == ["2020-01-09"]
    assert np.isnan(loaded.bars.volume[3, 0])
    (note,) = loaded.notes
    # Half a row is not a holiday: a warning.
    assert (note.rule, note.severity, note.first) == ("missing-price", "warning", ("2020-01-07", "2020-01-08"))


def test_a_price_below_zero_is_a_verdict_with_two_ways_out(save) -> None:
    address = save("Date,Price\n2020-04-17,18.31\n2020-04-20,-36.98\n2020-04-21,8.91\n2020-04-22,13.64\n")
    with pytest.raises(DataError) as caught:
        fetch_bars(address)
    assert caught.value.exit_code == 4
    assert "prices 2020-04-20: close -36.98 is not positive, so a return through it is undefined" in str(caught.value)
    assert caught.value.next_step == (
        f"use a part of the history: {address}?to=2020-04-17 or {address}?from=2020-04-21"
    )
    for way in (f"{address}?to=2020-04-17", f"{address}?from=2020-04-21"):
        assert fetch_bars(way).n_bars in (1, 2)


def test_a_file_of_nothing_but_zeros_offers_no_part_of_itself(save) -> None:
    with pytest.raises(DataError, match=r"close 0 is not positive.*use another source"):
        fetch_bars(save("Date,Price\n2020-04-17,0\n2020-04-20,0\n"))


def test_negative_volume_becomes_unknown_and_is_reported(save) -> None:
    loaded = load_market(save(OHLCV.replace(",200", ",-200")))
    assert np.isnan(loaded.bars.volume[1, 0])
    assert [(note.rule, note.first) for note in loaded.notes] == [("negative-volume", ("2020-01-03",))]


def test_a_high_that_misses_the_close_by_rounding_is_widened_and_reported(save) -> None:
    loaded = load_market(save(OHLCV.replace("12,9,11,100", "10.999,9,11,100")))
    assert loaded.bars.high[0, 0] == 11
    assert [note.rule for note in loaded.notes] == ["rounding"]


def test_a_high_below_the_low_is_refused(save) -> None:
    with pytest.raises(DataError, match="2020-01-02: high 8 or low does not enclose open and close"):
        fetch_bars(save(OHLCV.replace("12,9,11,100", "8,9,11,100")))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("Date,Close\n", "holds no rows"),
        ("Date,Close\n2020-01-02,\n", "no row with all its prices"),
        ("2020-01-02,10\n2020-01-03,11\n", "has no date column"),
        ("Date,Volume,Comment\n2020-01-02,10,x\n", "has no Close column"),
        ("Date,Open,Close\n2020-01-02,10,11\n", "has open but no high and no low"),
        ("Date,Open,High,Low,Adj Close\n2020-01-02,10,11,9,10\n", "has no Close column"),
        ("Date,Close,close\n2020-01-02,10,11\n", "has two columns named 'close'"),
        ("Date,Close\n2020-01-02,10\n2020-01-03\n", "line 3: 1 cells, the header has 2"),
        ("Date,Close\n2020-01-02,ten\n", "line 2: Close 'ten' is not a number"),
        ('Date,Close\n2020-01-02,"1,000"\n', "line 2: Close '1,000' is not a number"),
        ("Date,Close\n2020-01-02,1_0\n", "is not a number"),
        ("Date,Close\n2020-01-02,inf\n", "is not a number"),
        ("Date,Close\n,10\n", "'' is not a date"),
        ("Date,Close\n2020-02-30,10\n", "2020-02-30"),
        ("Date,Close\n02.01.2020,10\n", "'02.01.2020' is not a date"),
        ("Date,Close\n13/1/2020,10\n14/1/2020,11\n", "written day/month/year"),
        ("Date,Close\n3/1/2020,10\n4/1/2020,11\n", "either month/day or day/month"),
        (b"\xff\xfeD\x00a\x00", "is not UTF-8 text"),
        (b"PK\x03\x04\x00\x00", "is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(save, content: str | bytes, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        fetch_bars(save(content))
    assert sentence in str(caught.value)
    assert caught.value.next_step


def test_dates_outside_the_file_say_what_it_holds(save) -> None:
    with pytest.raises(
        DataError, match="no rows between 2021-01-01 and its end; it runs from 2020-01-02 to 2020-01-06"
    ):
        fetch_bars(save(OHLCV) + "?from=2021-01-01")


def test_a_missing_file_a_folder_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: no such file"):
        fetch_bars(f"csv:{tmp_path}/none.csv")
    with pytest.raises(DataError, match="holds 0 files that end in"):
        fetch_bars(f"csv:{tmp_path}")
    with pytest.raises(DataError, match="not a usable path"):
        fetch_bars("csv:a\0b")
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as file:
        os.truncate(file.fileno(), csv_file.MAX_FILE_BYTES + 1)
    with pytest.raises(DataError, match="larger than 64 MB"):
        fetch_bars(f"csv:{huge}")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="Date,Close\n\r\"';0123456789-/.:+ ", max_size=120).map(str.encode))
def test_no_bytes_make_a_traceback(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "prices.csv"
    path.write_bytes(b"Date,Close\n2020-01-02,10\n" + data)
    try:
        n_bars = fetch_bars(f"csv:{path}").n_bars
    except DataError:
        n_bars = 1
    assert n_bars >= 1


def test_an_oil_price_like_that_of_april_2020_is_refused_whole_and_usable_in_parts(save) -> None:
    on = np.busday_offset(np.datetime64("2015-01-05"), np.arange(1800), roll="forward")
    closes = np.round(50.0 + 20.0 * np.sin(np.arange(1800) / 90.0) + np.cos(np.arange(1800) * 2.4), 2)
    april = {"2020-04-17": 18.31, "2020-04-20": -36.98, "2020-04-21": 8.91}
    rows = [f"{day},{april.get(str(day), close)}" for day, close in zip(on, closes, strict=True)]
    market = save("Date,Close\n" + "\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"2020-04-20: close -36\.98 is not positive"):
        fetch_bars(market)
    before, report = fetch_report(f"{market}?to=2020-04-17")
    assert str(before.sessions[-1]) == "2020-04-17"
    assert report.verdict == "usable with warnings"
    after = fetch_bars(f"{market}?from=2020-04-21")
    assert after.close[0, 0] == 8.91
