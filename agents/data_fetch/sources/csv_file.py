"""`csv:PATH`: one symbol's daily prices in a CSV file, read with the standard library (no pandas: it costs 0.35 s).

Header names are those of `table.read_layout`; comma, semicolon or tab; UTF-8 with or without byte-order mark. With
semicolons a decimal comma is understood; thousands separators are not. The file is never written to.
"""

import csv
import math
from pathlib import Path

import numpy as np

from agents.data_fetch.market import Market
from agents.data_fetch.quality import Flag
from agents.data_fetch.sources.source import Clock, Loaded
from agents.data_fetch.sources.table import MAX_FILE_BYTES, Table, load_tables, parse_days, read_layout
from backtesting.errors import DataError

_MISSING = frozenset({"", ".", "-", "nan", "na", "n/a", "#n/a", "null", "none"})


def load(market: Market, *, cache_dir: Path | None, clock: Clock) -> Loaded:
    """The bars of a CSV file; see `source.py`."""
    path = Path(market.name).expanduser()
    text = _decoded(read_file(path), str(path))
    table, ignored = parse_csv(text, symbol=path.stem, origin=str(path))
    notes = []
    if ignored:
        sentence = f"columns without a meaning here were not read: {', '.join(ignored)[:200]}"
        notes.append(Flag("ignored-columns", "info", 0, (), sentence))
    return load_tables([table], market, notes)


def read_file(path: Path) -> bytes:
    """The bytes of a data file of at most MAX_FILE_BYTES.

    Raises:
        DataError: no such file, a folder, no permission, empty, or too large.
    """
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a file of prices", next_step="name one file in it")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(
                f"{path} is larger than {MAX_FILE_BYTES // 2**20} MB, far more than daily prices of one symbol need",
                next_step="cut the file down to one symbol and daily rows",
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not a usable path"
        raise DataError(
            f"{path} cannot be read: {reason.lower()}", next_step="check the path, or try sample:sp500"
        ) from None
    if not data.strip():
        raise DataError(f"{path} is empty", next_step="give a file with a header line and one row a day")
    return data


def parse_csv(text: str, *, symbol: str, origin: str) -> tuple[Table, tuple[str, ...]]:
    """The table in a CSV text, and the names of columns that were not read.

    Raises:
        DataError: no header, ragged rows, cells that are no number, dates that are none; with the line.
    """
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    try:
        lines = [
            (i, row) for i, row in enumerate(csv.reader(text.splitlines(), delimiter=delimiter), start=1) if any(row)
        ]
    except csv.Error as error:
        raise DataError(f"{origin} is not a CSV file: {error}", next_step="export it as plain CSV") from None
    if not lines:
        raise DataError(f"{origin} is empty", next_step="give a file with a header line and one row a day")
    names = lines[0][1]
    layout = read_layout(names, origin)
    days: list[str] = []
    cells: dict[str, list[float]] = {role: [] for role in layout.roles}
    for line, row in lines[1:]:
        if len(row) != len(names):
            raise DataError(
                f"{origin}, line {line}: {len(row)} cells, the header has {len(names)}",
                next_step="correct the line; put text that holds the delimiter in quotes",
            )
        days.append(row[layout.date].strip())
        for role, i in layout.roles.items():
            cells[role].append(_number(row[i], f"{origin}, line {line}", names[i], delimiter))
    sessions = parse_days(days, origin)
    columns = {role: np.array(values, dtype=np.float64) for role, values in cells.items()}
    return Table(symbol, origin, sessions, columns), layout.ignored


def _decoded(data: bytes, origin: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise DataError(f"{origin} is not UTF-8 text", next_step="save it as CSV in UTF-8")
    return text


def _number(cell: str, where: str, name: str, delimiter: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        text = cell.strip()
        if text.lower() in _MISSING:
            return math.nan
        if delimiter == ";" and text.count(",") == 1 and "." not in text:
            return _number(text.replace(",", "."), where, name, delimiter)
        value = math.inf
    if math.isinf(value) or "_" in cell:
        raise DataError(
            f"{where}: {name} {cell[:40]!r} is not a number",
            next_step="write prices like 1234.5, without separators for thousands, and leave missing ones blank",
        )
    return value
