from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agents.data_fetch.data_fetch import fetch_bars, load_market
from backtesting.errors import DataError

DAYS = [date(2020, 1, 2), date(2020, 1, 3), date(2020, 1, 6)]
PRICES = {"Open": [10.0, 11, 12], "High": [12.0, 13, 14], "Low": [9.0, 10, 11], "Close": [11.0, 12, 13]}


def save(folder: Path, columns: dict[str, Any]) -> str:
    path = folder / "prices.parquet"
    pq.write_table(pa.table(columns), path)
    return f"parquet:{path}"


def at_midnight(zone: str) -> pa.Array:
    stamps = [datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC) for day in DAYS]
    return pa.array(stamps, type=pa.timestamp("ns", tz=zone))


@pytest.mark.parametrize(
    "dates",
    [
        pa.array(DAYS),
        pa.array([f"{day}T00:00:00" for day in DAYS]),
        pa.array(DAYS).cast(pa.timestamp("us")),
        at_midnight("America/New_York"),
        at_midnight("Asia/Tokyo"),  # midnight in Tokyo is 15:00 of the day before in UTC
    ],
    ids=["date", "text", "naive", "new-york", "tokyo"],
)
def test_each_kind_of_date_gives_the_exchanges_own_sessions(tmp_path: Path, dates: pa.Array) -> None:
    bars = fetch_bars(save(tmp_path, {"Date": dates, **PRICES}))
    assert [str(day) for day in bars.sessions] == ["2020-01-02", "2020-01-03", "2020-01-06"]
    assert bars.close[:, 0].tolist() == [11, 12, 13]


def test_a_file_written_by_pandas_is_read(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({**PRICES, "Note": ["a", "b", "c"]}, index=pd.DatetimeIndex(DAYS))
    frame.to_parquet(tmp_path / "prices.parquet")
    loaded = load_market(f"parquet:{tmp_path / 'prices.parquet'}?from=2020-01-03")
    assert loaded.bars.open[:, 0].tolist() == [11, 12]
    assert "Note" in loaded.notes[0].sentence


def test_nulls_are_missing_prices_and_integers_are_prices(tmp_path: Path) -> None:
    loaded = load_market(save(tmp_path, {"date": DAYS, "price": [10, None, 12]}))
    assert loaded.bars.close[:, 0].tolist() == [10, 12]
    assert [(note.rule, note.first) for note in loaded.notes] == [("missing-price", ("2020-01-03",))]
    assert np.isnan(loaded.bars.volume).all()


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"Close": [1.0]}, "has no date column"),
        ({"Date": [1.5], "Close": [1.0]}, "the date column holds double"),
        ({"Date": [date(2020, 1, 2), None], "Close": [1.0, 2.0]}, "1 rows without a date"),
        ({"Date": ["today"], "Close": [1.0]}, "'today' is not a date"),
        ({"Date": [date(2020, 1, 2)], "Close": ["ten"]}, "column Close does not hold numbers"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, columns: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DataError) as caught:
        fetch_bars(save(tmp_path, columns))
    assert sentence in str(caught.value)


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prices.parquet"
    path.write_text("Date,Close\n2020-01-02,10\n")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        fetch_bars(f"parquet:{path}")
    with pytest.raises(DataError, match="cannot be read: no such file"):
        fetch_bars(f"parquet:{tmp_path / 'none.parquet'}")
