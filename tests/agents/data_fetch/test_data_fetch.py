import logging
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from agents.data_fetch import data_fetch
from agents.data_fetch.data_fetch import fetch_bars, fetch_market_data, fetch_report
from agents.data_fetch.market import Market, parse_market
from agents.data_fetch.sources import yahoo
from agents.data_fetch.sources.source import Clock, Loaded


def clock() -> datetime:
    return datetime(2026, 3, 10, 12, tzinfo=UTC)


def frame(symbol: str, cache_dir: Path | None) -> pd.DataFrame:
    index = pd.DatetimeIndex(pd.date_range("2020-04-13", "2026-03-10", freq="B"), tz="America/New_York")
    prices = pd.Series(60.0, index)
    prices.iloc[5] = -37.63  # 2020-04-20
    columns = dict.fromkeys(("Open", "High", "Low", "Close", "Adj Close"), prices)
    return pd.DataFrame(columns).assign(Volume=1000.0)


@pytest.fixture
def fake_yahoo(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(market: Market, *, cache_dir: Path | None, clock: Clock) -> Loaded:
        return yahoo.load_with(frame, market, cache_dir=cache_dir, clock=clock)

    monkeypatch.setitem(data_fetch.SOURCES, "yahoo", load)


def test_a_parsed_market_and_its_text_give_the_same_bars() -> None:
    text = "synthetic:garch?years=2"
    assert fetch_bars(parse_market(text)).bars_id == fetch_bars(text).bars_id


def test_the_report_carries_the_notes_of_the_source() -> None:
    bars, report = fetch_report("sample:wti")
    assert report.bars_id == bars.bars_id
    assert report.flags[0].rule == "missing-price"


def test_a_symbol_gives_the_frame_of_its_last_days(fake_yahoo: None) -> None:
    found = fetch_market_data(days=365, symbol="CL=F", clock=clock)
    assert found is not None
    assert list(found.columns) == ["Open", "High", "Low", "Close", "Volume"]
    assert isinstance(found.index, pd.DatetimeIndex)
    assert found.index.name == "Date"
    # Today's bar (10 March 2026) is not finished; the price below zero of 2020 is not asked for.
    assert str(found.index[-1].date()) == "2026-03-09"
    assert found.index[0] >= pd.Timestamp("2025-03-10")


def test_an_address_gives_its_last_days_too() -> None:
    found = fetch_market_data(days=30, symbol="sample:sp500")
    assert found is not None
    # 30 days up to 2018-12-31 begin with 2018-12-02, a Sunday.
    assert str(found.index[0].date()) == "2018-12-03"
    assert found["Close"].iloc[-1] == 2506.850098


def test_the_dates_of_an_address_are_kept(fake_yahoo: None) -> None:
    found = fetch_market_data(days=10_000, symbol="yahoo:CL=F?from=2026-01-01&to=2026-01-31", clock=clock)
    assert found is not None
    assert (str(found.index[0].date()), str(found.index[-1].date())) == ("2026-01-01", "2026-01-30")


@pytest.mark.parametrize(
    ("days", "symbol", "sentence"),
    [
        (365, "csv:/none.csv", "cannot be read"),
        (365, "smaple:sp500", "is not a Yahoo symbol"),
        (0, "sample:sp500", "days is 0"),
        (10_000, "CL=F", "2020-04-20: open -37.63 is not positive"),
        (30, "yahoo:A,B", "names 2 symbols"),
    ],
)
def test_a_failure_is_one_logged_sentence_and_none(
    fake_yahoo: None, caplog: pytest.LogCaptureFixture, days: int, symbol: str, sentence: str
) -> None:
    with caplog.at_level(logging.ERROR):
        assert fetch_market_data(days=days, symbol=symbol, clock=clock) is None
    (record,) = caplog.records
    assert sentence in record.getMessage()
    assert record.exc_info is None
