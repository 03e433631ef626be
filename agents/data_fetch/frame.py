"""bars_from_frame: the one border between pandas and Bars.

It sorts nothing and repairs nothing: a frame out of order or with impossible prices is refused with a sentence.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from agents.data_fetch.calendar import periods_a_year
from backtesting.bars import PRICE_FIELDS, Bars, FloatArray
from backtesting.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def bars_from_frame(
    frame: "pd.DataFrame",
    *,
    symbol: str,
    source: str,
    periods_per_year: float | None = None,
    close_only: bool = False,
) -> Bars:
    """Bars of one asset from a frame with a DatetimeIndex and Open, High, Low, Close and Volume columns, in any case.

    Without a Volume column the volume is unknown. With a Close column alone, or `close_only`, open, high and low
    repeat the close. Times with a zone are turned to UTC, and the session is the date; further columns are left out.
    Without `periods_per_year` the calendar of the dates says it (`periods_a_year`).

    Raises:
        DataError: it is no such frame, or its prices are not usable; the sentence says which row.
    """
    index, columns = getattr(frame, "index", None), getattr(frame, "columns", None)
    if index is None or columns is None:
        raise DataError(
            f"{source}: market data must be Bars or a pandas DataFrame, not {type(frame).__name__}",
            next_step="pass what fetch_market_data returns",
        )
    if not np.issubdtype(np.asarray(index[:0]).dtype, np.datetime64) and getattr(index, "tz", None) is None:
        raise DataError(
            f"{source}: the index holds {index.dtype} values, not dates",
            next_step="set the index to the dates of the sessions",
        )
    # yfinance gives (field, ticker) column pairs, for one ticker as well.
    names = [str(name[0] if isinstance(name, tuple) else name).strip().lower() for name in columns]
    for wanted in (*PRICE_FIELDS, "volume"):
        if names.count(wanted) > 1:
            raise DataError(
                f"{source}: the frame has {names.count(wanted)} columns named {wanted}",
                next_step="pass one asset at a time",
            )
    missing = [name for name in PRICE_FIELDS if name not in names]
    close_only = close_only or missing == ["open", "high", "low"]
    if missing and not (close_only and "close" in names):
        raise DataError(
            f"{source}: the frame has no column {', '.join(missing)}; it has {', '.join(names) or 'none'}",
            next_step="name the columns Open, High, Low, Close, Volume",
        )
    columns_of = {
        name: _numbers(frame.iloc[:, names.index("close" if close_only else name)], name, source)
        for name in PRICE_FIELDS
    }
    if "volume" in names:
        columns_of["volume"] = _numbers(frame.iloc[:, names.index("volume")], "volume", source)
    else:
        columns_of["volume"] = np.full((len(frame), 1), np.nan)
    moments = index.tz_convert("UTC").tz_localize(None) if getattr(index, "tz", None) is not None else index
    sessions = np.asarray(moments, dtype="datetime64[D]")
    if np.isnat(sessions).any():
        raise DataError(
            f"{source}: row {int(np.argmax(np.isnat(sessions)))} has no date", next_step="drop the row or date it"
        )
    return Bars(
        symbols=(symbol,),
        sessions=sessions,
        source=source,
        periods_per_year=periods_a_year(sessions) if periods_per_year is None else periods_per_year,
        close_only=close_only,
        open=columns_of["open"],
        high=columns_of["high"],
        low=columns_of["low"],
        close=columns_of["close"],
        volume=columns_of["volume"],
    )


def _numbers(column: Any, name: str, source: str) -> FloatArray:
    try:
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan)).reshape(-1, 1)
    except (TypeError, ValueError) as broken:
        raise DataError(
            f"{source}: column {name} holds {broken}", next_step="leave only numbers in the price columns"
        ) from broken
