"""`csv:PATH`: daily prices in CSV files, read with the standard library (no pandas: it costs 0.35 s).

One file about one symbol; one file with a symbol column; a folder with one file a symbol, named by it; or, with
`?wide=1`, a date column and one column of closes a symbol. Header names are those of `table.read_layout`; comma,
semicolon or tab; UTF-8 with or without byte-order mark. With semicolons a decimal comma is understood; thousands
separators are not. The files are never written to.
"""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.data_fetch.market import Market
from agents.data_fetch.quality import Flag
from agents.data_fetch.sources.source import Clock, Loaded
from agents.data_fetch.sources.table import (
    MAX_FILE_BYTES,
    MAX_SYMBOLS,
    Layout,
    Table,
    by_symbol,
    load_tables,
    parse_days,
    read_layout,
    wide_layout,
)
from backtesting.errors import DataError

_MISSING = frozenset({"", ".", "-", "nan", "na", "n/a", "#n/a", "null", "none"})


def load(market: Market, *, cache_dir: Path | None, clock: Clock) -> Loaded:
    """The bars of a CSV file, or of a folder of them; see `source.py`."""
    wide = bool(market.option("wide", 0.0))

    def parse(path: Path) -> tuple[tuple[Table, ...], tuple[str, ...]]:
        return parse_csv(_decoded(read_file(path), str(path)), symbol=path.stem, origin=str(path), wide=wide)

    return load_files(Path(market.name).expanduser(), "csv", parse, market)


def load_files(
    path: Path,
    suffix: str,
    parse: Callable[[Path], tuple[tuple[Table, ...], tuple[str, ...]]],
    market: Market,
) -> Loaded:
    """The bars of one file, or of all files with this suffix in a folder, in the order of their names.

    `parse` gives the tables of a file and the columns that it did not read.

    Raises:
        DataError: an empty folder, too many files, or a symbol that two files hold.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() == f".{suffix}" and file.is_file())
        if not 1 <= len(files) <= MAX_SYMBOLS:
            raise DataError(
                f"the folder {path} holds {len(files)} files that end in .{suffix}, wanted are 1 to {MAX_SYMBOLS}",
                next_step="name a file, or a folder with one file a symbol",
            )
    tables: dict[str, Table] = {}
    ignored: dict[str, None] = {}
    for file in files:
        found, unread = parse(file)
        ignored |= dict.fromkeys(unread)
        for table in found:
            if table.symbol in tables:
                raise DataError(
                    f"{tables[table.symbol].origin} and {file} both hold {table.symbol}",
                    next_step="keep each symbol in one file",
                )
            tables[table.symbol] = table
    notes = []
    if ignored:
        sentence = f"columns without a meaning here were not read: {', '.join(ignored)[:200]}"
        notes.append(Flag("ignored-columns", "info", 0, (), sentence))
    return load_tables(list(tables.values()), market, notes)


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
                next_step="cut the file down to daily rows, or give a folder with one file a symbol",
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


def parse_csv(text: str, *, symbol: str, origin: str, wide: bool = False) -> tuple[tuple[Table, ...], tuple[str, ...]]:
    """The tables in a CSV text, and the names of columns that were not read.

    Args:
        symbol: what the asset is called where the text does not say it.
        wide: a date and one column of closes a symbol.

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
    layout = wide_layout(names, origin) if wide else read_layout(names, origin)
    days: list[str] = []
    for line, row in lines[1:]:
        if len(row) != len(names):
            raise DataError(
                f"{origin}, line {line}: {len(row)} cells, the header has {len(names)}",
                next_step="correct the line; put text that holds the delimiter in quotes",
            )
        days.append(row[layout.date].strip())
    sessions = parse_days(days, origin)
    columns = {role: _column(lines, i, role, layout, origin, delimiter) for role, i in layout.roles.items()}
    if wide:
        return tuple(_listed(Table(name, origin, sessions, {"close": values})) for name, values in columns.items()), ()
    symbols = None if layout.symbol is None else [row[layout.symbol] for _, row in lines[1:]]
    return by_symbol(symbols, sessions, columns, stem=symbol, origin=origin), layout.ignored


def _listed(table: Table) -> Table:
    """The rows from the first to the last price: outside them the asset was not listed, which is no gap."""
    known = np.flatnonzero(np.isfinite(table.columns["close"]))
    if len(known) == 0:
        raise DataError(f"{table.origin}: the column {table.symbol} holds no price", next_step="leave the column out")
    rows = slice(int(known[0]), int(known[-1]) + 1)
    return Table(table.symbol, table.origin, table.sessions[rows], {"close": table.columns["close"][rows]})


def _column(
    lines: list[tuple[int, list[str]]], i: int, role: str, layout: Layout, origin: str, delimiter: str
) -> npt.NDArray[Any]:
    name = lines[0][1][i]
    if role in layout.words:
        return np.array([row[i].strip() for _, row in lines[1:]], dtype=np.str_)
    values = [_number(row[i], f"{origin}, line {line}", name, delimiter) for line, row in lines[1:]]
    return np.array(values, dtype=np.float64)


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
