"""Market: the address of a price history, parsed: `sample:sp500`, `csv:prices.csv?to=2020-04-17`.

An address never touches a file or the network; it only says where to look. Whether a name behind the colon
exists is answered by its source. Everything behind the last `?` is the query, so a file name cannot hold one.
"""

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from urllib.parse import unquote

from backtesting.errors import UsageError

# scheme: what stands behind the colon, and the query keys it knows beside from, to and periods.
SCHEMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "sample": ("sp500, nasdaq or wti", ()),
    "csv": ("the path of a CSV file, or of a folder with one a symbol", ("common", "wide")),
    "parquet": ("the path of a Parquet file, or of a folder with one a symbol", ("common",)),
    "yahoo": ("one symbol, or several with commas between", ("common",)),
    "synthetic": ("the name of a made-up market, such as planted", ("years", "seed", "edge", "assets")),
}
_COMMON_KEYS = ("from", "to", "periods")
_SYMBOL = re.compile(r"[A-Za-z0-9.^=_-]{1,24}")
_MAX_SYMBOLS = 100


@dataclass(frozen=True)
class Market:
    """Where prices come from and which part of them is meant.

    Attributes:
        scheme: a key of SCHEMES.
        name: what stands behind the colon: a sample, a path, symbols, a synthetic market.
        start, end: first and last session that is wanted, both included; None for no limit.
        periods: bars a year, for annualisation; None for what the calendar of the prices says.
        options: further query keys and their numbers, sorted.
    """

    scheme: str
    name: str
    start: date | None = None
    end: date | None = None
    periods: float | None = None
    options: tuple[tuple[str, float], ...] = ()

    @property
    def address(self) -> str:
        """The address as text, one spelling for equal markets; `parse_market` reads it back."""
        query = [f"{key}={_plain(value)}" for key, value in self.options]
        if self.start is not None:
            query.append(f"from={self.start.isoformat()}")
        if self.end is not None:
            query.append(f"to={self.end.isoformat()}")
        if self.periods is not None:
            query.append(f"periods={_plain(self.periods)}")
        return f"{self.scheme}:{self.name}" + ("?" + "&".join(query) if query else "")

    @property
    def symbols(self) -> tuple[str, ...]:
        """The names behind the colon, for schemes that take several."""
        return tuple(self.name.split(","))

    def option(self, key: str, default: float) -> float:
        """The number that the query gives for `key`."""
        return dict(self.options).get(key, default)

    def __str__(self) -> str:
        return self.address


def parse_market(text: str) -> Market:
    """The market that an address names.

    Raises:
        UsageError: unknown scheme or query key (with the nearest known one), a date or number that is none.
    """
    scheme, colon, rest = text.strip().partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in SCHEMES:
        # A bare "sp500" is the commonest slip: the name without its scheme.
        raise UsageError(
            f"market {text!r} does not start with a known source{nearest(scheme, SCHEMES)}",
            next_step=f"write SOURCE:NAME with one of {', '.join(SCHEMES)}, for example sample:sp500",
        )
    what, own_keys = SCHEMES[scheme]
    name, _, query = rest.rpartition("?") if "?" in rest else (rest, "", "")
    if not name:
        raise UsageError(f"market {text!r} names nothing behind the colon", next_step=f"write {what} there")
    if scheme == "yahoo":
        name = ",".join(_yahoo_symbols(name, text))
    values = _query(query, text, (*_COMMON_KEYS, *own_keys))
    start = _day(values["from"], "from", text) if "from" in values else None
    end = _day(values["to"], "to", text) if "to" in values else None
    if start is not None and end is not None and start > end:
        raise UsageError(f"market {text!r}: from={start} is after to={end}", next_step="exchange the two dates")
    periods = _number(values["periods"], "periods", text) if "periods" in values else None
    if periods is not None and not 1.0 <= periods <= 366.0:
        raise UsageError(
            f"market {text!r}: periods={periods:g} is not a number of daily, weekly or monthly bars a year",
            next_step="give 252 for exchange days, 365 for every day, 52 for weeks or 12 for months",
        )
    options = tuple(sorted((key, _number(values[key], key, text)) for key in own_keys if key in values))
    return Market(scheme, name, start, end, periods, options)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` for the known word that looks most like `word`, or an empty string."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f'; did you mean "{found[0]}"?' if found else ""


def _plain(number: float) -> str:
    """All digits that are needed, and no `.0`."""
    return str(int(number)) if number == int(number) else repr(number)


def _yahoo_symbols(name: str, text: str) -> list[str]:
    symbols = [symbol.strip().upper() for symbol in name.split(",")]
    for symbol in symbols:
        if not _SYMBOL.fullmatch(symbol):
            raise UsageError(
                f"market {text!r}: {symbol!r} is not a Yahoo symbol",
                next_step="write letters, digits and . ^ = _ - only, for example yahoo:CL=F",
            )
    if len(set(symbols)) != len(symbols) or len(symbols) > _MAX_SYMBOLS:
        raise UsageError(
            f"market {text!r} names a symbol twice or more than {_MAX_SYMBOLS} symbols",
            next_step="name each symbol once",
        )
    return symbols


def _query(query: str, text: str, known: tuple[str, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if key not in known:
            raise UsageError(
                f"market {text!r}: unknown query key {key!r}{nearest(key, known)}",
                next_step=f"known here: {', '.join(known)}",
            )
        if not equals or not value or key in values:
            raise UsageError(f"market {text!r}: {key} needs one value", next_step=f"write {key}=VALUE once")
        values[key] = unquote(value)
    return values


def _day(value: str, key: str, text: str) -> date:
    try:
        if len(value) != len("2020-01-31"):
            raise ValueError(value)
        return date.fromisoformat(value)
    except ValueError:
        raise UsageError(
            f"market {text!r}: {key}={value} is not a date", next_step=f"write it as {key}=2020-01-31"
        ) from None


def _number(value: str, key: str, text: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"market {text!r}: {key}={value} is not a number", next_step=f"write it as {key}=20")
    return number
