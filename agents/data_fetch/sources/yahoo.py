"""`yahoo:SYMBOL[,SYMBOL]`: daily prices from Yahoo through yfinance, the one module that touches this network.

The whole history of each symbol is asked for, unadjusted, one at a time; `from` and `to` are applied afterwards, so
one snapshot serves every window. Prices are adjusted here with Adj Close, never by yfinance's `repair`, which has
invented splits. A bar dated today at the exchange is left out, closed or not: Yahoo does not say which. There is one
try and no waiting; when it fails, the newest snapshot is used and its age is a note.
"""

import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agents.data_fetch.market import Market
from agents.data_fetch.quality import Flag
from agents.data_fetch.snapshot import latest_table, save_table
from agents.data_fetch.sources.source import Clock, Loaded
from agents.data_fetch.sources.table import Table, load_tables
from backtesting.errors import DataError, StorageError

if TYPE_CHECKING:
    import pandas as pd

History = Callable[[str, Path | None], "pd.DataFrame"]
"""Symbol and folder for the library's own cache in, raw daily frame out; may raise anything."""

# With 20 symbols one may fail and the rest be kept; the universe that results is noted.
MIN_COVERAGE = 0.9
_COLUMNS = {
    "Open": "open",
    "High": "high",
    "Low": "low",
    "Close": "close",
    "Adj Close": "adj_close",
    "Volume": "volume",
    "Dividends": "dividend",
    "Stock Splits": "split",
}


def load(market: Market, *, cache_dir: Path | None, clock: Clock) -> Loaded:
    """The bars of one or more Yahoo symbols; see `source.py`."""
    return load_with(yfinance_history, market, cache_dir=cache_dir, clock=clock)


def load_with(history: History, market: Market, *, cache_dir: Path | None, clock: Clock) -> Loaded:
    """The same with another way to ask Yahoo.

    Raises:
        DataError: too few of the symbols could be had, from the network or from a snapshot.
    """
    tables: list[Table] = []
    notes: list[Flag] = []
    failures: list[tuple[str, DataError]] = []
    for symbol in market.symbols:
        try:
            tables.append(_symbol_table(history, symbol, notes, cache_dir, clock))
        except DataError as error:
            failures.append((symbol, error))
    if failures and len(tables) < MIN_COVERAGE * len(market.symbols):
        first = failures[0][1]
        if len(market.symbols) == 1:
            raise first
        raise DataError(
            f"{len(failures)} of {len(market.symbols)} symbols could not be had"
            f" ({', '.join(name for name, _ in failures)}); the first: {first.what}",
            kept="what was fetched is in the snapshots" if cache_dir is not None else "nothing was kept",
            next_step=first.next_step,
        )
    if failures:
        names = tuple(name for name, _ in failures)
        sentence = f"these symbols could not be had, so the universe is smaller than asked: {failures[0][1].what}"
        notes.append(Flag("missing-symbols", "warning", len(names), names, sentence))
    return load_tables(tables, market, notes)


def _symbol_table(history: History, symbol: str, notes: list[Flag], cache_dir: Path | None, clock: Clock) -> Table:
    now = clock()
    try:
        frame = _asked(history, symbol, cache_dir)
        table = _finished(_table(symbol, frame), _today(frame, now), notes)
    except DataError as failure:
        stored = None if cache_dir is None else latest_table(symbol, cache_dir, origin=f"snapshot of yahoo:{symbol}")
        if stored is None:
            raise
        table, fetched_at = stored
        when = f"{_age(now - fetched_at)} ago, at {fetched_at:%Y-%m-%d %H:%M} UTC"
        sentence = f"{failure.what}; the prices are those fetched {when}"
        notes.append(Flag("offline-snapshot", "warning", 0, (), sentence))
        return table
    if cache_dir is not None:
        try:
            save_table(table, cache_dir, fetched_at=now)
        except StorageError as error:
            notes.append(Flag("no-snapshot", "warning", 0, (), error.what))
    return table


def yfinance_history(symbol: str, cache_dir: Path | None) -> "pd.DataFrame":
    """What yfinance answers for the whole daily history of `symbol`, unadjusted, with dividends and splits."""
    import yfinance as yf

    if cache_dir is not None:
        folder = cache_dir / "yfinance"
        folder.mkdir(parents=True, exist_ok=True)
        yf.set_tz_cache_location(str(folder))
    hidden = yf.config.debug.hide_exceptions
    yf.config.debug.hide_exceptions = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame: pd.DataFrame = yf.Ticker(symbol).history(period="max", auto_adjust=False, actions=True, repair=False)
            return frame
    finally:
        yf.config.debug.hide_exceptions = hidden


def _asked(history: History, symbol: str, cache_dir: Path | None) -> "pd.DataFrame":
    try:
        frame = history(symbol, cache_dir)
    except Exception as error:
        # Every class that yfinance and the library below it raise ends here; none of them may reach a user.
        raise _translated(symbol, error) from None
    if (
        frame is None
        or len(frame) == 0
        or not {"Open", "High", "Low", "Close"} <= {str(name) for name in frame.columns}
    ):
        raise DataError(
            f"Yahoo answered without any prices for {symbol}",
            next_step=f"check the symbol {symbol} at Yahoo, or try again later: outages look the same",
        )
    return frame


def _translated(symbol: str, error: Exception) -> DataError:
    kind = type(error).__name__
    if kind == "YFRateLimitError":
        return DataError(
            f"Yahoo refused {symbol}: too many requests from this address (rate limit)",
            next_step="wait an hour and try again, or use csv:PATH or sample:sp500",
        )
    if kind in ("YFPricesMissingError", "YFTzMissingError", "YFTickerMissingError"):
        return DataError(
            f"Yahoo knows no daily prices for {symbol}",
            next_step="check the symbol; it may be misspelt, renamed or delisted",
        )
    reason = " ".join(str(error).split())[:160]
    return DataError(
        f"Yahoo could not be asked for {symbol}: source down or no network ({kind}: {reason})",
        next_step="check the network and try again, or use csv:PATH or sample:sp500",
    )


def _table(symbol: str, frame: "pd.DataFrame") -> Table:
    try:
        # The index is midnight in the exchange's zone: its own date is the session, whatever UTC says.
        sessions = np.array([stamp.date() for stamp in frame.index], dtype="datetime64[D]")
        columns = {role: np.asarray(frame[name], dtype=np.float64) for name, role in _COLUMNS.items() if name in frame}
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"Yahoo's answer for {symbol} has another form than expected ({error})",
            next_step="update yfinance, or use csv:PATH",
        ) from None
    return Table(symbol, f"yahoo:{symbol}", sessions, columns)


def _today(frame: "pd.DataFrame", now: datetime) -> date:
    """Today's date where the symbol is traded (UTC if the index names no zone)."""
    return now.astimezone(getattr(frame.index, "tz", None) or UTC).date()


def _finished(table: Table, today: date, notes: list[Flag]) -> Table:
    done = table.sessions < np.datetime64(today)
    if done.all():
        return table
    sentence = f"{table.symbol}: the bar of {today} may not be finished and was left out"
    notes.append(Flag("unfinished-bar", "info", int((~done).sum()), (str(today),), sentence))
    columns = {name: values[done] for name, values in table.columns.items()}
    return Table(table.symbol, table.origin, table.sessions[done], columns)


def _age(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
