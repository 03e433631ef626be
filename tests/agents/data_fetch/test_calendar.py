"""Bars a year are those of the calendar: exchange days, all days, weeks or months; never a count of one file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agents.data_fetch.calendar import periods_a_year
from agents.data_fetch.data_fetch import fetch_bars
from agents.data_fetch.frame import bars_from_frame
from backtesting.bars import Sessions


def days(text: str, n: int, step: int = 1) -> Sessions:
    return np.datetime64(text, "D") + step * np.arange(n)


def weekdays(n: int) -> Sessions:
    found: Sessions = np.busday_offset(np.datetime64("2015-01-01"), np.arange(n), roll="forward")
    return found


MONTH_ENDS: Sessions = np.arange("1990-02", "1995-02", dtype="datetime64[M]").astype("datetime64[D]") - 1
RNG = np.random.default_rng(2)


@pytest.mark.parametrize(
    ("sessions", "periods"),
    [
        (weekdays(500), 252.0),
        # Holidays, a hole of a year, and every second day missing change nothing about what an exchange day is.
        (np.delete(weekdays(500), np.arange(7, 500, 27)), 252.0),
        (np.concatenate([weekdays(200), weekdays(700)[460:]]), 252.0),
        (weekdays(500)[::2], 252.0),
        (days("2015-01-01", 500), 365.0),
        (np.delete(days("2015-01-01", 500), [30, 31, 200]), 365.0),
        # Futures with Sunday sessions: six bars a week.
        (np.array([day for day in days("2015-01-01", 500) if day.astype("M8[D]").item().weekday() != 5]), 252.0),
        (days("2015-01-02", 60, 7), 52.0),
        # Thursday where Friday is a holiday, as weekly files have it.
        (days("2015-01-02", 60, 7) - (np.arange(60) % 9 == 4), 52.0),
        (MONTH_ENDS, 12.0),
        (MONTH_ENDS + 1, 12.0),
        # Too few to tell, or nothing usual.
        (days("2015-01-01", 13), 252.0),
        (days("2015-01-02", 10, 7), 252.0),
        (days("2015-01-01", 60, 91), 252.0),
    ],
)
def test_the_calendar_says_how_many_bars_a_year_has(sessions: Sessions, periods: float) -> None:
    assert periods_a_year(sessions) == periods


@pytest.mark.parametrize("start", range(7))
def test_two_weeks_tell_all_days_from_weekdays_wherever_they_begin(start: int) -> None:
    first = f"2015-01-{1 + start:02d}"
    for n in range(14, 60):
        assert periods_a_year(days(first, n)) == 365.0
    for n in range(14, 60):
        assert periods_a_year(np.busday_offset(first, np.arange(n), roll="forward")) == 252.0


@pytest.mark.parametrize(
    "market", ["sample:sp500", "sample:nasdaq", "sample:wti", "synthetic:planted", "synthetic:panel?years=3"]
)
def test_the_shipped_markets_have_252(market: str) -> None:
    assert fetch_bars(market).periods_per_year == 252.0


def test_a_file_is_counted_by_its_calendar_and_the_address_wins(tmp_path: Path) -> None:
    file = tmp_path / "coin.csv"
    rows = [f"{day},{100 + at % 7}" for at, day in enumerate(days("2015-01-01", 40))]
    file.write_text("\n".join(["Date,Close", *rows]))
    assert fetch_bars(f"csv:{file}").periods_per_year == 365.0
    assert fetch_bars(f"csv:{file}?periods=252").periods_per_year == 252.0
    assert fetch_bars(f"csv:{file}?periods=252").source.endswith("?periods=252")


def test_a_frame_is_counted_by_its_calendar_too() -> None:
    frame = pd.DataFrame({"Close": 100.0 + RNG.random(60)}, index=pd.date_range("2015-01-02", periods=60, freq="W-FRI"))
    assert bars_from_frame(frame, symbol="x", source="x").periods_per_year == 52.0
    assert bars_from_frame(frame, symbol="x", source="x", periods_per_year=12.0).periods_per_year == 12.0
