"""`parquet:PATH`: the same tables as `csv:`, in Parquet: a file or a folder. Read with pyarrow alone, no pandas.

The date may be a date, a time stamp or text. A time stamp with a zone belongs to the date it has in that zone.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.data_fetch.market import Market
from agents.data_fetch.sources.csv_file import load_files, read_file
from agents.data_fetch.sources.source import Clock, Loaded
from agents.data_fetch.sources.table import Table, by_symbol, parse_days, read_layout
from backtesting.bars import FloatArray, Sessions
from backtesting.errors import DataError


def load(market: Market, *, cache_dir: Path | None, clock: Clock) -> Loaded:
    """The bars of a Parquet file, or of a folder of them; see `source.py`."""
    return load_files(Path(market.name).expanduser(), "parquet", parse_parquet, market)


def parse_parquet(path: Path) -> tuple[tuple[Table, ...], tuple[str, ...]]:
    """The tables in a Parquet file, and the names of columns that were not read.

    Raises:
        DataError: not readable, or not such a table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = read_file(path)
    try:
        found = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a readable Parquet file: {_first_line(error)}",
            next_step="write it again, or give a CSV file as csv:PATH",
        ) from None
    names = [str(name) for name in found.column_names]
    layout = read_layout(names, str(path))
    columns = {
        role: _words(found.column(i)) if role in layout.words else _numbers(found.column(i), names[i], str(path))
        for role, i in layout.roles.items()
    }
    symbols = None if layout.symbol is None else _words(found.column(layout.symbol)).tolist()
    sessions = _days(found.column(layout.date), str(path))
    return by_symbol(symbols, sessions, columns, stem=path.stem, origin=str(path)), layout.ignored


def _words(column: Any) -> npt.NDArray[Any]:
    return np.array(["" if value is None else str(value).strip() for value in column.to_pylist()], dtype=np.str_)


def _numbers(column: Any, name: str, origin: str) -> FloatArray:
    import pyarrow as pa

    try:
        values = column.cast(pa.float64()).to_numpy()
    except pa.ArrowException as error:
        raise DataError(
            f"{origin}: column {name} does not hold numbers: {_first_line(error)}", next_step="store prices as numbers"
        ) from None
    return np.asarray(values, dtype=np.float64)


def _days(column: Any, origin: str) -> Sessions:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if column.null_count:
        raise DataError(f"{origin} has {column.null_count} rows without a date", next_step="remove these rows")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return parse_days([text.strip() for text in column.to_pylist()], origin)
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise DataError(f"{origin}: the date column holds {kind}", next_step="store dates, time stamps or ISO text")
    if pa.types.is_timestamp(kind):
        if kind.tz is not None:
            column = pc.local_timestamp(column)
        column = pc.floor_temporal(column, unit="day")
    days: Sessions = np.asarray(column.cast(pa.date32()).to_numpy(), dtype="datetime64[D]")
    return days


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
