"""Table: raw rows of one symbol, as a file or a server gave them; and the one way from there to Bars.

A table may be unsorted, hold duplicates, gaps and negative prices. Turning it into bars never invents a price and
never drops a row silently: each row that is left out, and each cell that is changed, is in a note. A negative price is
a verdict about the whole history, not a row to drop: dropping a crash would be look-ahead.

Several tables make a panel, on the union of their sessions: an asset has no price where it has no row, before it was
listed, after it was delisted, and on its own holidays. Nothing is carried forward.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.data_fetch.calendar import periods_a_year
from agents.data_fetch.market import Market
from agents.data_fetch.quality import Flag, Severity
from agents.data_fetch.sources.source import Loaded
from backtesting.bars import PRICE_FIELDS, Bars, BoolArray, FloatArray, IntArray, Sessions
from backtesting.errors import DataError

MAX_FILE_BYTES = 64 * 1024 * 1024

# The last is `__index_level_0__`, pandas' name for an index without one.
_DATE_NAMES = ("date", "timestamp", "datetime", "time", "day", "session", "observation date", "  index level 0  ")
# Role: the names it may have, the first that is there wins.
_ROLES = {
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close", "price", "last"),
    "adj_close": ("adj close", "adjusted close", "adjclose"),
    "volume": ("volume",),
}
_SYMBOL_NAMES = ("symbol", "ticker", "asset", "instrument")
GROUPS = ("sector", "industry", "subindustry", "group")
"""Columns of words or whole numbers that say which group an asset belongs to on that day; features of the bars."""
# Further columns of numbers that become features: what published formulas read beside prices.
_FEATURES = {"cap": ("cap", "market cap")}
FEATURE = "feature "
"""How the role of a column begins that is a feature and no price."""
_NAME = re.compile("[a-z_][a-z0-9_]{0,63}")
MAX_SYMBOLS = 1000
_MAX_GROUPS = 500
# A high below the close by less than this share of it is rounding of the vendor; it is widened and noted.
_ROUNDING = 1e-3
_ISO = re.compile(
    r"(\d{4})[-/](\d{2})[-/](\d{2})(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)?\s*(?:Z|UTC|[+-]\d{2}:?\d{2})?"
)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})")
_SLASH = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")
_PRICE_ROLES = (*PRICE_FIELDS, "adj_close")
_FIRST = 5


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one symbol.

    Attributes:
        symbol: its name in the bars.
        origin: what an error calls it: a path or an address.
        sessions: (n,) datetime64[D], in any order.
        columns: by role (open high low close adj_close volume), each (n,) float64, NaN where missing; dividend and
            split, where a source gives them, are kept in snapshots and not used. `feature NAME` is a further series:
            numbers, or for a group the words of the file, empty where missing.
    """

    symbol: str
    origin: str
    sessions: Sessions
    columns: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Layout:
    """Which column of a file plays which role.

    Attributes:
        symbol: the column that says whose row it is; None in a file about one symbol.
        words: the roles that hold words: groups.
    """

    date: int
    roles: Mapping[str, int]
    ignored: tuple[str, ...]
    symbol: int | None = None

    @property
    def words(self) -> frozenset[str]:
        return frozenset(role for role in self.roles if role.removeprefix(FEATURE) in GROUPS)


def read_layout(names: Sequence[str], origin: str) -> Layout:
    """The roles of a file's columns by their names, case-insensitive.

    Rules: the date is `Date`, `Timestamp` and the like. With open, high and low the file needs `Close`; `Adj Close`
    beside it rescales all four. Without them it has one price a day: `Close`, else `Price`, else `Adj Close`, else the
    only other column of a file with two. `Symbol` or `Ticker` makes it a file of several assets; `Sector`, `Industry`,
    `Subindustry`, `Group` and `Cap` become features, and so does every column `feature_NAME`, in small letters: numbers
    that were known at the close of their session, which nobody here can check.

    Raises:
        DataError: no date, no price, a column twice, or some of open, high, low without the rest.
    """
    plain = [name.strip().replace("_", " ").lower() for name in names]
    shown = ", ".join(name.strip() or "(blank)" for name in names)[:200]
    twice = sorted({name for name in plain if name and plain.count(name) > 1})
    if twice:
        raise DataError(f"{origin} has two columns named {twice[0]!r}: {shown}", next_step="keep one of them")
    at = {name: i for i, name in enumerate(plain)}
    dates = [at[name] for name in _DATE_NAMES if name in at]
    if not dates:
        raise DataError(
            f"{origin} has no date column; its columns are: {shown}",
            next_step="give the file a header with Date and Close, or Date, Open, High, Low, Close, Volume",
        )
    roles = {role: at[found[0]] for role, known in _ROLES.items() if (found := [name for name in known if name in at])}
    ranges = [name for name in ("open", "high", "low") if name in roles]
    if "close" not in roles and not ranges:
        if "adj_close" in roles:
            roles["close"] = roles.pop("adj_close")
        elif len(names) == 2:
            roles["close"] = 1 - dates[0]
    if "close" not in roles:
        raise DataError(
            f"{origin} has no Close column; its columns are: {shown}",
            next_step="name the price column Close (or Price, if there is one price a day)",
        )
    if ranges and len(ranges) < 3:
        missing = [name for name in ("open", "high", "low") if name not in roles]
        raise DataError(
            f"{origin} has {' and '.join(ranges)} but no {' and no '.join(missing)}",
            next_step="give all of Open, High, Low and Close, or Close alone",
        )
    roles |= {
        FEATURE + name: at[column]
        for column in at
        if column.startswith(FEATURE) and _NAME.fullmatch(name := column.removeprefix(FEATURE).replace(" ", "_"))
    }
    roles |= {FEATURE + name: at[name] for name in GROUPS if name in at}
    roles |= {
        FEATURE + role: at[found[0]] for role, known in _FEATURES.items() if (found := [n for n in known if n in at])
    }
    symbol = next((at[name] for name in _SYMBOL_NAMES if name in at), None)
    used = {dates[0], *roles.values(), -1 if symbol is None else symbol}
    return Layout(dates[0], roles, tuple(names[i].strip() for i in range(len(names)) if i not in used), symbol)


def wide_layout(names: Sequence[str], origin: str) -> Layout:
    """The roles of a file of closes, one column a symbol: every role but the date is a symbol.

    Raises:
        DataError: no date, no further column, a symbol twice or without a name, or more than `MAX_SYMBOLS`.
    """
    plain = [name.strip().replace("_", " ").lower() for name in names]
    dates = [i for i, name in enumerate(plain) if name in _DATE_NAMES]
    symbols = {name.strip(): i for i, name in enumerate(names) if i not in dates[:1]}
    if not dates or not symbols or len(symbols) != len(names) - 1 or "" in symbols or len(symbols) > MAX_SYMBOLS:
        raise DataError(
            f"{origin} is no file of closes: wide=1 wants a date column and 1 to {MAX_SYMBOLS} columns, each with a"
            f" symbol as its name, found are {', '.join(name.strip() or '(blank)' for name in names)[:200]}",
            next_step="correct the header, or leave wide=1 out",
        )
    return Layout(dates[0], symbols, ())


def by_symbol(
    symbols: Sequence[str] | None,
    sessions: Sessions,
    columns: Mapping[str, npt.NDArray[Any]],
    *,
    stem: str,
    origin: str,
) -> tuple[Table, ...]:
    """The rows of a file as one table a symbol, symbols in the order in which they come first.

    Args:
        symbols: (n,) whose row it is; None in a file about one symbol, which is then called `stem`.

    Raises:
        DataError: a row without a symbol, or more than `MAX_SYMBOLS`.
    """
    if symbols is None:
        return (Table(stem, origin, sessions, columns),)
    names = np.array([symbol.strip() for symbol in symbols])
    if (names == "").any():
        raise DataError(
            f"{origin}: the row of {sessions[int(np.argmax(names == ''))]} names no symbol",
            next_step="fill the symbol column, or leave it out in a file about one symbol",
        )
    found = list(dict.fromkeys(names.tolist()))
    if len(found) > MAX_SYMBOLS:
        raise DataError(
            f"{origin} holds {len(found)} symbols, allowed are {MAX_SYMBOLS}", next_step="cut the universe down"
        )
    order = np.argsort(names, kind="stable")
    _, starts = np.unique(names[order], return_index=True)
    rows = {str(names[part[0]]): part for part in np.split(order, starts[1:])}
    return tuple(
        Table(name, origin, sessions[rows[name]], {role: values[rows[name]] for role, values in columns.items()})
        for name in found
    )


def parse_days(texts: Sequence[str], origin: str) -> Sessions:
    """Session dates from text: ISO (a time and zone may follow), 20200131, or month/day/year.

    A time stamp with a zone belongs to the date as it is written there, which is the exchange's own date in files that
    carry the exchange's zone.

    Raises:
        DataError: another form, a day that does not exist, or slashes that could be day/month.
    """
    days: list[str] = []
    slashed: list[tuple[int, int]] = []
    for text in texts:
        found = _ISO.fullmatch(text) or _COMPACT.fullmatch(text)
        if found:
            days.append(f"{found[1]}-{found[2]}-{found[3]}")
            continue
        found = _SLASH.fullmatch(text)
        if not found:
            raise DataError(
                f"{origin}: {text[:40]!r} is not a date", next_step="write dates as 2020-01-31 (or 1/31/2020)"
            )
        slashed.append((int(found[1]), int(found[2])))
        days.append(f"{found[3]}-{int(found[1]):02d}-{int(found[2]):02d}")
    if slashed:
        first_max, second_max = max(a for a, _ in slashed), max(b for _, b in slashed)
        if first_max > 12 or second_max <= 12:
            form = "day/month/year" if first_max > 12 else "either month/day or day/month"
            raise DataError(f"{origin}: the dates are written {form}", next_step="write them as 2020-01-31")
    try:
        return np.array(days, dtype="datetime64[D]")
    except ValueError as error:
        raise DataError(f"{origin}: {error}", next_step="correct the date") from None


def load_tables(tables: Sequence[Table], market: Market, notes: Sequence[Flag] = ()) -> Loaded:
    """Bars of one or more tables: cut to the market's dates, sorted, deduplicated, adjusted, checked.

    Sessions are the union over the tables, an asset without a row on one has NaN there; with `common=1` in the address
    they are the sessions that all tables have. Of the columns that are no prices, groups and numbers become features
    (`coded`), NaN for an asset that has none.

    Raises:
        DataError: nothing left, conflicting rows for one date, a price that is not positive, contradictory prices.
    """
    cleaned = [_clean(table, market) for table in tables]
    days, counts = np.unique(np.concatenate([part.sessions for part, _ in cleaned]), return_counts=True)
    sessions: Sessions = days
    if market.option("common", 0.0):
        sessions = days[counts == len(tables)]
        if len(sessions) == 0:
            raise DataError(
                f"{market.address}: there is no session on which all {len(tables)} symbols have a price",
                next_step="leave common=1 out, or drop the symbols whose histories do not overlap",
            )
        kept = f"{len(sessions)} of {len(days)} sessions are common to all {len(tables)} symbols; the rest was left out"
        notes = (*notes, Flag("common-sessions", "warning", len(days) - len(sessions), (), kept))
    fields: dict[str, FloatArray] = {
        name: np.full((len(sessions), len(tables)), np.nan) for name in (*PRICE_FIELDS, "volume")
    }
    features, group_notes = coded([part for part, _ in cleaned])
    extra = {name: np.full((len(sessions), len(tables)), np.nan) for name in features}
    for k, (part, _) in enumerate(cleaned):
        here = np.isin(part.sessions, sessions)
        rows = np.searchsorted(sessions, part.sessions[here])
        for name, values in fields.items():
            values[rows, k] = part.columns[name][here]
        for name, values in extra.items():
            values[rows, k] = features[name][k][here]
    bars = Bars(
        symbols=tuple(table.symbol for table in tables),
        sessions=sessions,
        open=fields["open"],
        high=fields["high"],
        low=fields["low"],
        close=fields["close"],
        volume=fields["volume"],
        source=market.address,
        periods_per_year=periods_a_year(sessions) if market.periods is None else market.periods,
        close_only=all("high" not in table.columns for table in tables),
        features=extra,
    )
    flat = [table.symbol for table in tables if "high" not in table.columns]
    if 0 < len(flat) < len(tables):
        sentence = "these symbols have one price a day: their open, high and low repeat the close"
        notes = (*notes, Flag("close-only-symbols", "warning", len(flat), tuple(flat[:_FIRST]), sentence))
    return Loaded(bars, (*notes, *group_notes, *(note for _, found in cleaned for note in found)))


def coded(tables: Sequence[Table]) -> tuple[dict[str, list[FloatArray]], list[Flag]]:
    """The further series of some tables by name, one (n,) float64 a table, NaN where missing; and what groups mean.

    Groups that are whole numbers everywhere stay what they are. Words are numbered from 0 in alphabetical order over
    all tables: the number is a name and not a quantity, and a longer file may number the same groups otherwise.

    Raises:
        DataError: more groups than any classification has.
    """
    names = sorted({role for table in tables for role in table.columns if role.startswith(FEATURE)})
    found: dict[str, list[FloatArray]] = {}
    notes = []
    for role in names:
        parts = [table.columns.get(role, np.full(len(table.sessions), np.nan)) for table in tables]
        plain = role.removeprefix(FEATURE)
        words = sorted({word for part in parts if part.dtype.kind == "U" for word in part.tolist()} - {""})
        if len(words) > _MAX_GROUPS:
            raise DataError(
                f"{tables[0].origin}: the column {plain} holds {len(words)} groups, allowed are {_MAX_GROUPS}",
                next_step="leave the column out, or group more coarsely",
            )
        numbers = all(word.isdecimal() and len(word) < 10 for word in words)
        code = {word: float(word) if numbers else float(i) for i, word in enumerate(words)} | {"": np.nan}
        found[plain] = [
            np.array([code[word] for word in part.tolist()], dtype=np.float64) if part.dtype.kind == "U" else part
            for part in parts
        ]
        if words and not numbers:
            meaning = ", ".join(f"{i} {word}" for i, word in enumerate(words))[:300]
            notes.append(Flag("groups", "info", 0, (), f"{plain} is numbered: {meaning}"))
    return found, notes


def _clean(table: Table, market: Market) -> tuple[Table, list[Flag]]:
    notes: list[Flag] = []
    table = _cut(table, market)
    table = _sorted(table, notes)
    table = _without_duplicates(table, notes)
    table = _without_missing(table, notes)
    _refuse_non_positive(table, market)
    table = _adjusted(table, notes)
    return _completed(table, notes), notes


def _rows(table: Table, keep: BoolArray | IntArray) -> Table:
    columns = {name: values[keep] for name, values in table.columns.items()}
    return Table(table.symbol, table.origin, table.sessions[keep], columns)


def _note(table: Table, bad: BoolArray, rule: str, severity: Severity, sentence: str) -> Flag:
    first = tuple(str(day) for day in table.sessions[bad][:_FIRST])
    return Flag(rule, severity, int(bad.sum()), first, f"{table.symbol}: {sentence}")


def _cut(table: Table, market: Market) -> Table:
    if len(table.sessions) == 0:
        raise DataError(f"{table.origin} holds no rows", next_step="check the file or the symbol")
    keep = np.ones(len(table.sessions), dtype=np.bool_)
    if market.start is not None:
        keep &= table.sessions >= np.datetime64(market.start)
    if market.end is not None:
        keep &= table.sessions <= np.datetime64(market.end)
    if not keep.any():
        raise DataError(
            f"{table.origin} has no rows between {market.start or 'its start'} and {market.end or 'its end'};"
            f" it runs from {table.sessions.min()} to {table.sessions.max()}",
            next_step="change from= and to= in the market address",
        )
    return _rows(table, keep)


def _sorted(table: Table, notes: list[Flag]) -> Table:
    backwards = np.concatenate([[False], np.diff(table.sessions.astype("int64")) < 0])
    if not backwards.any():
        return table
    notes.append(_note(table, backwards, "unsorted", "info", "the rows were not in the order of time and were sorted"))
    return _rows(table, np.argsort(table.sessions, kind="stable"))


def _without_duplicates(table: Table, notes: list[Flag]) -> Table:
    again = np.concatenate([[False], table.sessions[1:] == table.sessions[:-1]])
    if not again.any():
        return table
    equal = np.ones(len(again) - 1, dtype=np.bool_)
    for values in table.columns.values():
        equal &= values[1:] == values[:-1]
        if values.dtype.kind != "U":
            equal |= np.isnan(values[1:]) & np.isnan(values[:-1])
    conflict = again[1:] & ~equal
    if conflict.any():
        raise DataError(
            f"{table.origin}: {table.sessions[1:][conflict][0]} has two rows with different values"
            f" ({int(conflict.sum())} such rows)",
            next_step="keep one row a date; several bars a day are not supported",
        )
    notes.append(_note(table, again, "duplicate-rows", "warning", "equal rows for one date; one of them was kept"))
    return _rows(table, ~again)


def _without_missing(table: Table, notes: list[Flag]) -> Table:
    prices = [values for name, values in table.columns.items() if name in _PRICE_ROLES]
    missing = np.isnan(np.stack(prices))
    gone: BoolArray = np.any(missing, axis=0)
    if not gone.any():
        return table
    if gone.all():
        raise DataError(f"{table.origin} has no row with all its prices", next_step="check the file or the symbol")
    notes.append(
        _note(
            table,
            gone,
            "missing-price",
            # A blank line on a holiday is usual; half a row, or one row in twenty, is not.
            "info" if gone.mean() < 0.05 and np.array_equal(np.all(missing, axis=0), gone) else "warning",
            "rows without a price (or with only some of their prices) were left out; nothing was filled in",
        )
    )
    return _rows(table, ~gone)


def _refuse_non_positive(table: Table, market: Market) -> None:
    for name, values in table.columns.items():
        if name not in _PRICE_ROLES or (values > 0).all():
            continue
        bad = ~(values > 0)
        first, last = int(np.flatnonzero(bad)[0]), int(np.flatnonzero(bad)[-1])
        base = f"{market.scheme}:{market.name}"
        ways = []
        if first > 0:
            ways.append(f"{base}?to={table.sessions[first - 1]}")
        if last + 1 < len(values):
            ways.append(f"{base}?from={table.sessions[last + 1]}")
        raise DataError(
            f"{table.origin}: {table.symbol} {table.sessions[first]}: {name} {values[first]:g} is not positive, so a"
            f" return through it is undefined (such rows: {int(bad.sum())})",
            kept="no row was dropped, because dropping a crash would flatter every rule that was long",
            next_step=f"use a part of the history: {' or '.join(ways)}" if ways else "use another source",
        )


def _adjusted(table: Table, notes: list[Flag]) -> Table:
    columns = dict(table.columns)
    adjusted = columns.pop("adj_close", None)
    if adjusted is None:
        return table
    factor = adjusted / columns["close"]
    differs = np.abs(factor - 1.0) > 1e-6
    if differs.any():
        for name in PRICE_FIELDS:
            if name in columns:
                columns[name] = columns[name] * factor
        notes.append(
            _note(
                table,
                differs,
                "adjusted",
                "info",
                "all prices were multiplied by Adj Close / Close: returns include dividends, levels are not what was"
                " quoted and change with each later dividend",
            )
        )
    return Table(table.symbol, table.origin, table.sessions, columns)


def _completed(table: Table, notes: list[Flag]) -> Table:
    """All five columns: one price a day repeated, small rounding contradictions widened, bad volume unknown."""
    columns = dict(table.columns)
    close = columns["close"]
    if "high" not in columns:
        columns |= {"open": close, "high": close, "low": close}
    body_high = np.maximum(columns["open"], close)
    body_low = np.minimum(columns["open"], close)
    high = np.where(
        columns["high"] > body_high * (1 - _ROUNDING), np.maximum(columns["high"], body_high), columns["high"]
    )
    low = np.where(columns["low"] < body_low * (1 + _ROUNDING), np.minimum(columns["low"], body_low), columns["low"])
    # Adjusting multiplies each price on its own, so a part in 1e9 is our rounding, not the vendor's.
    widened = (high > columns["high"] * (1 + 1e-9)) | (low < columns["low"] * (1 - 1e-9))
    if widened.any():
        sentence = f"high or low missed open or close by less than {_ROUNDING:.1%} and was widened to hold them"
        notes.append(_note(table, widened, "rounding", "info", sentence))
    columns |= {"high": high, "low": low}
    volume = columns.get("volume", np.full(len(close), np.nan))
    negative = (volume < 0) | np.isinf(volume)
    if negative.any():
        notes.append(_note(table, negative, "negative-volume", "warning", "impossible volume was set to unknown"))
        volume = np.where(negative, np.nan, volume)
    columns["volume"] = volume
    return Table(table.symbol, table.origin, table.sessions, columns)
