"""Bars: the prices of one market, checked once and read-only from then on.

`upto(t)` is the only way to look at a part of the history: there is deliberately no way to cut off the
beginning, because indicators may always use the whole past and never the future.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from backtesting.errors import DataError
from backtesting.hashing import arrays_id

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Sessions = npt.NDArray[np.datetime64]

PRICE_FIELDS = ("open", "high", "low", "close")
FIELDS = (*PRICE_FIELDS, "volume")


@dataclass(frozen=True, eq=False)
class Bars:
    """Daily prices of one market.

    Attributes:
        symbols: one name an asset, unique.
        sessions: (n_bars,) datetime64[D], UTC session dates, strictly increasing.
        open, high, low, close: (n_bars, n_assets) float64, in the asset's currency, positive;
            NaN in all four where the asset did not trade. low <= open, close <= high.
        volume: (n_bars, n_assets) float64, not negative; NaN where it is not known.
        source: where the prices came from, as a market address (`sample:sp500`).
        periods_per_year: bars a year, for annualisation (252 for exchange days, 365 for crypto).
        close_only: True when the source has one price a day, so open, high and low repeat the close.
        features: further point-in-time series by name, each (n_bars, n_assets).

    Raises:
        DataError: unsorted, duplicated, mis-shaped, non-positive or contradictory prices.
    """

    symbols: tuple[str, ...]
    sessions: Sessions
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    source: str
    periods_per_year: float = 252.0
    close_only: bool = False
    features: Mapping[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sessions", _read_only(self.sessions, "datetime64[D]"))
        for name in FIELDS:
            object.__setattr__(self, name, _read_only(getattr(self, name), np.float64))
        frozen = {name: _read_only(values, np.float64) for name, values in sorted(self.features.items())}
        object.__setattr__(self, "features", MappingProxyType(frozen))
        self._check()

    @property
    def n_bars(self) -> int:
        return len(self.sessions)

    @property
    def n_assets(self) -> int:
        return len(self.symbols)

    @cached_property
    def bars_id(self) -> str:
        """Content id of prices, sessions and features; the source address is not part of it."""
        header = {
            "symbols": list(self.symbols),
            "periods_per_year": self.periods_per_year,
            "close_only": self.close_only,
        }
        arrays: dict[str, np.ndarray[Any, Any]] = {name: getattr(self, name) for name in FIELDS}
        arrays["sessions"] = self.sessions.astype("int64")
        arrays.update({f"feature:{name}": values for name, values in self.features.items()})
        return arrays_id(header, arrays)

    @cached_property
    def complete(self) -> bool:
        """Whether every asset trades on every bar."""
        return bool(np.isfinite(self.close).all())

    @property
    def has_volume(self) -> bool:
        return bool(np.isfinite(self.volume).any())

    def upto(self, n_bars: int) -> Self:
        """The first `n_bars` bars: what was known at the close of bar `n_bars - 1`."""
        if not 1 <= n_bars <= self.n_bars:
            raise ValueError(f"upto({n_bars}): the bars hold 1..{self.n_bars}")
        return type(self)(
            symbols=self.symbols,
            sessions=self.sessions[:n_bars],
            open=self.open[:n_bars],
            high=self.high[:n_bars],
            low=self.low[:n_bars],
            close=self.close[:n_bars],
            volume=self.volume[:n_bars],
            source=self.source,
            periods_per_year=self.periods_per_year,
            close_only=self.close_only,
            features={name: values[:n_bars] for name, values in self.features.items()},
        )

    def between(self, first: int, last: int) -> Self:
        """The assets `first` to `last` - 1 alone, on every session. They were checked before and are not again."""
        if not 0 <= first < last <= self.n_assets:
            raise ValueError(f"between({first}, {last}): the bars hold {self.n_assets} assets")
        part = object.__new__(type(self))
        part.__dict__.update({item.name: getattr(self, item.name) for item in fields(self)})
        part.__dict__.update({name: _columns(getattr(self, name), first, last) for name in FIELDS})
        features = {name: _columns(values, first, last) for name, values in self.features.items()}
        part.__dict__.update(symbols=self.symbols[first:last], features=MappingProxyType(features))
        return part

    def without(self, symbol: str) -> Self:
        """The same market without one of its several symbols; every session stays."""
        if symbol not in self.symbols or self.n_assets == 1:
            raise ValueError(f"without({symbol!r}): the bars hold {', '.join(self.symbols)}")
        left = [at for at, name in enumerate(self.symbols) if name != symbol]
        return type(self)(
            symbols=tuple(self.symbols[at] for at in left),
            sessions=self.sessions,
            open=self.open[:, left],
            high=self.high[:, left],
            low=self.low[:, left],
            close=self.close[:, left],
            volume=self.volume[:, left],
            source=self.source,
            periods_per_year=self.periods_per_year,
            close_only=self.close_only,
            features={name: values[:, left] for name, values in self.features.items()},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy cannot travel to another process; what arrives there is checked like any other bars.
        return type(self), tuple(
            dict(self.features) if item.name == "features" else getattr(self, item.name) for item in fields(self)
        )

    def __repr__(self) -> str:
        span = f"{self.sessions[0]}..{self.sessions[-1]}" if self.n_bars else "empty"
        names = ",".join(self.symbols) if self.n_assets <= 3 else f"{self.n_assets} symbols"
        return f"Bars({self.source}: {names}, {self.n_bars} bars, {span})"

    def _check(self) -> None:
        where = self.source or "these bars"
        shape = (self.n_bars, self.n_assets)
        if self.n_bars == 0 or self.n_assets == 0:
            raise DataError(f"{where} holds no bars", next_step="check the symbol and the dates that were asked for")
        if len(set(self.symbols)) != self.n_assets:
            raise DataError(f"{where} names a symbol twice", next_step="give each asset one name")
        for name in (*FIELDS, *self.features):
            values = self.features[name] if name in self.features else getattr(self, name)
            if values.shape != shape:
                raise DataError(
                    f"{where}: {name} has shape {values.shape}, the sessions and symbols ask for {shape}",
                    next_step="give every field one row a session and one column an asset",
                )
        steps = np.diff(self.sessions.astype("int64"))
        if np.any(steps <= 0):
            at = self.sessions[int(np.argmax(steps <= 0)) + 1]
            raise DataError(
                f"{where}: the sessions are not strictly increasing at {at}",
                next_step="sort the rows and remove duplicated dates",
            )
        # A stretch at a time, so that what is computed on the way takes no memory to speak of.
        stretch = max(1, _CHECKED_CELLS // self.n_assets)
        for first in range(0, self.n_bars, stretch):
            if any(bad.any() for bad, _, _ in self._faults(slice(first, first + stretch))):
                for bad, name, complaint in self._faults(slice(None)):
                    if bad.any():
                        self._refuse(bad, name, complaint)

    def _faults(self, rows: slice) -> Iterator[tuple[BoolArray, str, str]]:
        """Cells of some bars that are wrong, the field that they are wrong in, and what is wrong with them."""
        traded = np.isfinite(self.close[rows])
        for name in PRICE_FIELDS:
            values = getattr(self, name)[rows]
            bad = (np.isfinite(values) != traded) | np.isinf(values)
            yield bad, name, "is missing where the close is not, or is infinite"
            yield traded & ~(values > 0), name, "is not positive, so a return through it is undefined"
        opened, close, volume = self.open[rows], self.close[rows], self.volume[rows]
        # One part in 1e9: adjusted prices are products and may miss the bound by a rounding.
        slack = 1e-9 * np.abs(close)
        too_low = self.high[rows] < np.fmax(opened, close) - slack
        too_high = self.low[rows] > np.fmin(opened, close) + slack
        yield traded & (too_low | too_high), "high", "or low does not enclose open and close"
        yield (volume < 0) | np.isinf(volume), "volume", "is negative or infinite"

    def _refuse(self, bad: BoolArray, name: str, complaint: str) -> None:
        rows, columns = np.nonzero(bad)
        row, column = int(rows[0]), int(columns[0])
        value = getattr(self, name)[row, column]
        raise DataError(
            f"{self.source or 'these bars'}: {self.symbols[column]} {self.sessions[row]}: {name} {value:g} {complaint}"
            f" ({len(rows)} such bars)",
            next_step="correct the file, or leave the dates out with ?from= and ?to= in the market address",
        )


# Of a field at a time.
_CHECKED_CELLS = 1 << 16


def _columns(values: FloatArray, first: int, last: int) -> FloatArray:
    some = np.ascontiguousarray(values[:, first:last])
    some.setflags(write=False)
    return some


def _read_only(values: Any, dtype: Any) -> np.ndarray[Any, Any]:
    if isinstance(values, np.ndarray) and values.dtype == np.dtype(dtype) and not values.flags.writeable:
        return values
    array = np.array(values, dtype=dtype, order="C")
    array.setflags(write=False)
    return array
