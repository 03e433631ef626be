"""Fetching prices: a market address in, checked bars out. The one dict of sources is here."""

import logging
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.data_fetch.market import SCHEMES, Market, parse_market
from agents.data_fetch.quality import QualityReport, check_quality
from agents.data_fetch.sources import csv_file, parquet_file, sample, synthetic, yahoo
from agents.data_fetch.sources.source import Clock, Loaded, Source
from backtesting.bars import Bars
from backtesting.errors import TouchstoneError, UsageError

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

SOURCES: dict[str, Source] = {
    "sample": sample.load,
    "csv": csv_file.load,
    "parquet": parquet_file.load,
    "yahoo": yahoo.load,
    "synthetic": synthetic.load,
}


def utc_now() -> datetime:
    """The clock of the machine."""
    return datetime.now(UTC)


def load_market(market: Market | str, *, cache_dir: Path | None = None, clock: Clock = utc_now) -> Loaded:
    """The bars behind an address, with notes of what was changed or left out on the way.

    Args:
        market: an address such as `sample:sp500`, or one already parsed.
        cache_dir: folder for snapshots of what came over the network, and where they are found when it is down;
            None keeps nothing.
        clock: the time now; tells which bar is not finished and how old a snapshot is.

    Raises:
        UsageError: the address names nothing that exists.
        DataError: the prices cannot be had or cannot be used.
    """
    parsed = parse_market(market) if isinstance(market, str) else market
    return SOURCES[parsed.scheme](parsed, cache_dir=cache_dir, clock=clock)


def fetch_bars(market: Market | str, *, cache_dir: Path | None = None, clock: Clock = utc_now) -> Bars:
    """The bars behind an address; `load_market` gives the notes too."""
    return load_market(market, cache_dir=cache_dir, clock=clock).bars


def fetch_report(
    market: Market | str, *, cache_dir: Path | None = None, clock: Clock = utc_now
) -> tuple[Bars, QualityReport]:
    """The bars behind an address and the report on their quality."""
    loaded = load_market(market, cache_dir=cache_dir, clock=clock)
    return loaded.bars, check_quality(loaded.bars, loaded.notes)


def fetch_market_data(
    days: int = 365, symbol: str = "CL=F", *, cache_dir: Path | None = None, clock: Clock = utc_now
) -> "pd.DataFrame | None":
    """The last `days` calendar days of one market as a pandas frame, or None if there is no data.

    The columns are Open, High, Low, Close and Volume, the index is a DatetimeIndex named Date. `symbol` is a Yahoo
    symbol or a market address (`sample:sp500`). A failure is logged as one sentence and gives None, because scripts
    that call this test for None. An address with dates of its own keeps them; the days count back from today for
    Yahoo and from the last bar elsewhere.
    """
    try:
        market, bars = _recent(days, symbol, cache_dir, clock)
        if bars.n_assets > 1:
            raise UsageError(
                f"{market.address} names {bars.n_assets} symbols", next_step="ask for one symbol at a time"
            )
    except TouchstoneError as error:
        logger.error("No market data for %s: %s", symbol, error)
        return None
    return _frame(bars, days)


def fetch_recent_bars(
    days: int = 365, symbol: str = "CL=F", *, cache_dir: Path | None = None, clock: Clock = utc_now
) -> Bars | None:
    """As `fetch_market_data`, as Bars and of any number of symbols: one market, or a panel."""
    try:
        market, bars = _recent(days, symbol, cache_dir, clock)
        first = bars.sessions[-1].astype(date) - timedelta(days=days - 1)
        if market.start is None and bars.sessions[0].astype(date) < first:
            # There is no way to cut off the beginning of bars, so they are asked for anew.
            bars = fetch_bars(replace(market, start=first), cache_dir=cache_dir, clock=clock)
    except TouchstoneError as error:
        logger.error("No market data for %s: %s", symbol, error)
        return None
    return bars


def _recent(days: int, symbol: str, cache_dir: Path | None, clock: Clock) -> tuple[Market, Bars]:
    if days < 1:
        raise UsageError(f"days is {days}", next_step="ask for one day or more")
    market = parse_market(symbol if symbol.partition(":")[0] in SCHEMES else f"yahoo:{symbol}")
    if market.scheme == "yahoo" and market.start is None:
        # Asked for at the source: a price below zero further back must not spoil the days that are wanted.
        start = clock().date() - timedelta(days=days)
        market = replace(market, start=start)
    return market, fetch_bars(market, cache_dir=cache_dir, clock=clock)


def _frame(bars: Bars, days: int) -> "pd.DataFrame":
    import pandas as pd

    wanted = bars.sessions > bars.sessions[-1] - days
    columns: dict[str, Any] = {
        name.capitalize(): getattr(bars, name)[wanted, 0] for name in ("open", "high", "low", "close", "volume")
    }
    return pd.DataFrame(columns, index=pd.DatetimeIndex(bars.sessions[wanted], name="Date"))
