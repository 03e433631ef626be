"""QualityReport: what is odd about a price history, counted and dated; nothing is repaired here.

Every finding is a `Flag` with a rule id, so that a report, a prompt and a gate can count on the same words. Of a panel
it also says which symbols begin later, end earlier or have holes. Missing sessions are judged by weekdays, not by an
exchange calendar: holidays are allowed for with a share, so single missing days are not seen. There is no point-in-time
membership and no delisting data, hence the caveats by source.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from agents.data_fetch.calendar import EXCHANGE_DAYS, USUAL
from backtesting.bars import Bars, BoolArray, FloatArray, IntArray
from backtesting.errors import DataError
from backtesting.splits import plan_split

Severity = Literal["info", "warning", "error"]
Verdict = Literal["usable", "usable with warnings", "unusable"]

GAP_WEEKDAYS = 5
STALE_BARS = 5
SPIKE_DEVIATIONS = 8.0
SPLIT_RATIOS = (2.0, 3.0, 4.0, 5.0, 10.0)
# Exchanges close on about 3.5 % (New York) to 7 % (Shanghai) of all weekdays.
MISSING_WARNING, MISSING_ERROR = 0.075, 0.20
PERIODS_WARNING, PERIODS_ERROR = 1.1, 1.8
COPIED_OPEN_SHARE = 0.05
# Of a panel: bars without a price at the end that mean more than a holiday, and the share of them in between.
ENDED_BARS = 10
HOLES_WARNING = 0.02
_FIRST = 5


@dataclass(frozen=True)
class Flag:
    """One finding.

    Attributes:
        rule: its id, such as `stale`.
        severity: info is worth knowing, warning bends results, error makes them wrong.
        count: bars (or rows) it concerns; 0 for a remark about the whole.
        first: the first dates, ISO, with the symbol in front if there are several.
        sentence: what it means.
    """

    rule: str
    severity: Severity
    count: int
    first: tuple[str, ...]
    sentence: str

    def __str__(self) -> str:
        dates = f" ({self.count}: {', '.join(self.first)}{', ...' if self.count > len(self.first) else ''})"
        return f"{self.severity} {self.rule}: {self.sentence}{dates if self.first else ''}"


@dataclass(frozen=True)
class QualityReport:
    """All flags of one history and the verdict that follows from the worst of them."""

    source: str
    bars_id: str
    n_bars: int
    n_assets: int
    first: str
    last: str
    flags: tuple[Flag, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst severity in one word or three."""
        severities = {flag.severity for flag in self.flags}
        if "error" in severities:
            return "unusable"
        return "usable with warnings" if "warning" in severities else "usable"

    def as_dict(self) -> dict[str, Any]:
        """JSON-like: the fields, the flags as dicts, and the verdict."""
        return asdict(self) | {"verdict": self.verdict, "flags": [_flag_dict(flag) for flag in self.flags]}


def check_quality(bars: Bars, notes: Iterable[Flag] = ()) -> QualityReport:
    """Look at `bars` by every rule; `notes` are what the source found while loading and come first."""
    flags = [*notes]
    flags += _source_caveats(bars)
    flags += [flag for rule in _RULES if (flag := rule(bars)) is not None]
    return QualityReport(
        source=bars.source,
        bars_id=bars.bars_id,
        n_bars=bars.n_bars,
        n_assets=bars.n_assets,
        first=str(bars.sessions[0]),
        last=str(bars.sessions[-1]),
        flags=tuple(flags),
    )


def doubtful_bars(bars: Bars) -> BoolArray:
    """(n_bars,) True where a price of any asset may not be one that anybody could have traded at.

    Stale, spike, split, zero-volume, gap and weekend: the flags of single bars. Those of a whole source (one price a
    day, copied opens) concern every bar, so no bar stands out by them.
    """
    cells = _stale_cells(bars) | _spike_cells(bars) | _split_cells(bars) | _zero_volume_cells(bars)
    found: BoolArray = cells.any(axis=1) | _gap_sessions(bars) | _weekend_sessions(bars)
    return found


def _flag_dict(flag: Flag) -> dict[str, Any]:
    return asdict(flag) | {"first": list(flag.first)}


def _flag(bars: Bars, bad: BoolArray, rule: str, severity: Severity, sentence: str) -> Flag | None:
    """A flag over the True cells of `bad`, (n_bars, n_assets); None if there is none."""
    rows, columns = np.nonzero(bad)
    if len(rows) == 0:
        return None
    several = bars.n_assets > 1
    first = tuple(
        f"{bars.symbols[k]} {bars.sessions[t]}" if several else str(bars.sessions[t])
        for t, k in zip(rows[:_FIRST], columns[:_FIRST], strict=True)
    )
    return Flag(rule, severity, len(rows), first, sentence)


def _remark(rule: str, severity: Severity, sentence: str) -> Flag:
    return Flag(rule, severity, 0, (), sentence)


def _session_flag(bars: Bars, bad: BoolArray, rule: str, severity: Severity, sentence: str) -> Flag | None:
    """A flag over whole sessions, (n_bars,); None if there is none."""
    if not bad.any():
        return None
    return Flag(rule, severity, int(bad.sum()), tuple(str(day) for day in bars.sessions[bad][:_FIRST]), sentence)


def _daily(bars: Bars) -> bool:
    return bars.periods_per_year > 200


def _trades_every_day(bars: Bars) -> bool:
    return bars.periods_per_year > 300


def _gap_sessions(bars: Bars) -> BoolArray:
    days = bars.sessions
    if not _daily(bars) or bars.n_bars < 2:
        return np.zeros(bars.n_bars, dtype=np.bool_)
    every = np.diff(days.astype("int64")) - 1
    missing = every if _trades_every_day(bars) else np.busday_count(days[:-1] + 1, days[1:])
    return np.concatenate([[False], missing > GAP_WEEKDAYS])


def _gaps(bars: Bars) -> Flag | None:
    return _session_flag(
        bars,
        _gap_sessions(bars),
        "gap",
        "warning",
        f"more than {GAP_WEEKDAYS} trading days in a row are missing before these bars",
    )


def _missing_sessions(bars: Bars) -> Flag | None:
    if not _daily(bars) or bars.n_bars < 2:
        return None
    first, last = bars.sessions[0], bars.sessions[-1]
    if _trades_every_day(bars):
        expected = int((last - first).astype("int64")) + 1
        present = bars.n_bars
    else:
        expected = int(np.busday_count(first, last + 1))
        present = int(np.is_busday(bars.sessions).sum())
    share = 1.0 - present / max(expected, 1)
    if share <= MISSING_WARNING:
        return None
    severity: Severity = "error" if share > MISSING_ERROR else "warning"
    return Flag(
        "missing-sessions",
        severity,
        expected - present,
        (),
        f"{share:.1%} of the trading days between {first} and {last} are missing; holidays explain at most"
        f" {MISSING_WARNING:.1%}",
    )


def _periods(bars: Bars) -> Flag | None:
    span = float((bars.sessions[-1] - bars.sessions[0]).astype("int64"))
    if bars.n_bars < 30 or span <= 0:
        return None
    found = (bars.n_bars - 1) * 365.25 / span
    ratio = max(found / bars.periods_per_year, bars.periods_per_year / found)
    if ratio < PERIODS_WARNING:
        if bars.periods_per_year == EXCHANGE_DAYS:
            return None
        return _remark("periods", "info", f"annual figures and rates count {bars.periods_per_year:g} bars a year")
    severity: Severity = "error" if ratio > PERIODS_ERROR else "warning"
    usual = min(USUAL, key=lambda each: abs(np.log(found / each)))
    return _remark(
        "periods",
        severity,
        f"there are about {found:.0f} bars a year, but annual figures count {bars.periods_per_year:g}; if that is not"
        f" meant, write ?periods={usual:g} into the market address",
    )


def _weekend_sessions(bars: Bars) -> BoolArray:
    if not _daily(bars) or _trades_every_day(bars):
        return np.zeros(bars.n_bars, dtype=np.bool_)
    weekend: BoolArray = ~np.is_busday(bars.sessions)
    return weekend


def _weekends(bars: Bars) -> Flag | None:
    return _session_flag(
        bars,
        _weekend_sessions(bars),
        "weekend",
        "warning",
        "bars on a Saturday or Sunday; an exchange was probably closed",
    )


def _short(bars: Bars) -> Flag | None:
    try:
        plan_split(bars)
    except DataError as error:
        return _remark("short-history", "warning", f"{error.what}; no honest promotion can come of it")
    return None


def _stale_cells(bars: Bars) -> BoolArray:
    bad = np.zeros(bars.close.shape, dtype=np.bool_)
    for k in range(bars.n_assets):
        close = bars.close[:, k]
        same = np.concatenate([[False], close[1:] == close[:-1]])
        starts = np.flatnonzero(~same)
        lengths = np.diff(np.append(starts, len(close)))
        for start, length in zip(starts, lengths, strict=True):
            bad[start : start + length, k] = length >= STALE_BARS
    return bad


def _stale(bars: Bars) -> Flag | None:
    bad = _stale_cells(bars)
    return _flag(bars, bad, "stale", "warning", f"the same close {STALE_BARS} or more bars in a row; copied prices?")


def _log_returns(bars: Bars) -> FloatArray:
    """(n_bars, n_assets) log close to close, NaN in the first row and beside missing bars."""
    returns = np.full(bars.close.shape, np.nan)
    returns[1:] = np.diff(np.log(bars.close), axis=0)
    return returns


def _unusual(returns: FloatArray) -> BoolArray:
    """Further from the median than SPIKE_DEVIATIONS robust standard deviations (1.4826 x MAD), an asset at a time."""
    bad = np.zeros(returns.shape, dtype=np.bool_)
    for k in range(returns.shape[1]):
        known = returns[np.isfinite(returns[:, k]), k]
        if len(known) < 30:
            continue
        centre = np.median(known)
        spread = 1.4826 * np.median(np.abs(known - centre))
        if spread > 0:
            bad[:, k] = np.abs(returns[:, k] - centre) > SPIKE_DEVIATIONS * spread
    return bad


def _spike_cells(bars: Bars) -> BoolArray:
    returns = _log_returns(bars)
    bad = np.zeros(returns.shape, dtype=np.bool_)
    back = np.abs(returns[:-1] + returns[1:]) < 0.25 * np.abs(returns[:-1])
    bad[:-1] = _unusual(returns)[:-1] & back
    return bad


def _spikes(bars: Bars) -> Flag | None:
    return _flag(
        bars,
        _spike_cells(bars),
        "spike",
        "warning",
        f"a move of more than {SPIKE_DEVIATIONS:g} robust deviations that the next bar takes back; a bad tick?",
    )


def _split_cells(bars: Bars) -> BoolArray:
    returns = _log_returns(bars)
    near = np.zeros(returns.shape, dtype=np.bool_)
    for ratio in SPLIT_RATIOS:
        near |= np.abs(np.abs(returns) - np.log(ratio)) < 0.03
    return near & _unusual(returns)


def _splits(bars: Bars) -> Flag | None:
    return _flag(
        bars,
        _split_cells(bars),
        "split",
        "warning",
        "the price moved by about 1/2, 1/3, 1/4, 1/5, 1/10 or their inverse; a split that was not applied?",
    )


def _zero_volume_cells(bars: Bars) -> BoolArray:
    bad: BoolArray = (bars.volume == 0) & np.isfinite(bars.close)
    return bad


def _zero_volume(bars: Bars) -> Flag | None:
    return _flag(
        bars,
        _zero_volume_cells(bars),
        "zero-volume",
        "warning",
        "no volume although there is a price; the volume is wrong, or nothing could be traded",
    )


def _copied_opens(bars: Bars) -> Flag | None:
    if bars.close_only or bars.n_bars < 30:
        return None
    bad = np.zeros(bars.close.shape, dtype=np.bool_)
    bad[1:] = bars.open[1:] == bars.close[:-1]
    share = bad.sum() / bad.size
    if share < COPIED_OPEN_SHARE:
        return None
    return _flag(
        bars,
        bad,
        "copied-open",
        "warning",
        f"on {share:.0%} of the bars the open is the close before to the last digit; a fill at such an open is in truth"
        " a fill at the close that decided it",
    )


def _no_volume(bars: Bars) -> Flag | None:
    return None if bars.has_volume else _remark("no-volume", "info", "the source gives no volume")


def _close_only(bars: Bars) -> Flag | None:
    if not bars.close_only:
        return None
    return _remark(
        "close-only",
        "warning",
        "one price a day: open, high and low repeat the close, so stops see no intraday range and fills at the open"
        " are fills at that day's close",
    )


def _listed(bars: Bars) -> tuple[IntArray, IntArray]:
    """First and last bar with a price, an asset at a time; an asset without any has (n_bars, -1)."""
    traded = np.isfinite(bars.close)
    known = traded.any(axis=0)
    first = np.where(known, traded.argmax(axis=0), bars.n_bars)
    last = np.where(known, bars.n_bars - 1 - traded[::-1].argmax(axis=0), -1)
    return first, last


def _symbol_flag(bars: Bars, at: dict[int, int], rule: str, severity: Severity, sentence: str) -> Flag | None:
    """A flag over some assets of a panel, each with the bar that matters; None if there is none."""
    if not at:
        return None
    first = tuple(f"{bars.symbols[k]} {bars.sessions[t]}" for k, t in list(at.items())[:_FIRST])
    return Flag(rule, severity, len(at), first, sentence)


def _unpriced(bars: Bars) -> Flag | None:
    first, _ = _listed(bars)
    at = {k: 0 for k, bar in enumerate(first.tolist()) if bar == bars.n_bars}
    return _symbol_flag(bars, at, "no-price", "warning", "symbols without a price on any session; nothing trades there")


def _listed_later(bars: Bars) -> Flag | None:
    first, _ = _listed(bars)
    at = {k: bar for k, bar in enumerate(first.tolist()) if 0 < bar < bars.n_bars}
    sentence = "symbols whose prices begin later than the panel's; before that they are not there for any rule"
    return _symbol_flag(bars, at, "listed-later", "info", sentence)


def _ended(bars: Bars) -> Flag | None:
    _, last = _listed(bars)
    at = {k: bar for k, bar in enumerate(last.tolist()) if 0 <= bar < bars.n_bars - 1 - ENDED_BARS}
    sentence = (
        "symbols whose prices end before the panel's: delisted, or a feed that broke; a position is settled at the last"
        " close, so a delisting that paid less flatters every rule that held it"
    )
    return _symbol_flag(bars, at, "ended", "warning", sentence)


def _holes(bars: Bars) -> Flag | None:
    if bars.n_assets == 1:
        return None
    first, last = _listed(bars)
    rows = np.arange(bars.n_bars)[:, None]
    bad = np.isnan(bars.close) & (rows > first) & (rows < last)
    inside = np.maximum(last - first + 1, 1)
    severity: Severity = "warning" if (bad.sum(axis=0) / inside > HOLES_WARNING).any() else "info"
    sentence = (
        "sessions of the panel on which a symbol has no price between its first and its last; it neither trades nor"
        " decides there, and what is held is carried at the last close"
    )
    return _flag(bars, bad, "holes", severity, sentence)


_RULES = (
    _short,
    _periods,
    _missing_sessions,
    _gaps,
    _weekends,
    _close_only,
    _no_volume,
    _copied_opens,
    _zero_volume,
    _stale,
    _spikes,
    _splits,
    _unpriced,
    _listed_later,
    _ended,
    _holes,
)

_INDEX = "an index level cannot be traded, and dividends are not in it: results are indicative"
_FUTURES = "a front-month series is an unadjusted splice: each roll enters as a return that nobody could earn"
_SURVIVOR = (
    "the source holds few delisted names: a universe chosen today has survived, which flatters every long rule on it"
)


def _source_caveats(bars: Bars) -> list[Flag]:
    scheme, _, rest = bars.source.partition(":")
    name = rest.partition("?")[0]
    if scheme == "sample":
        if name == "wti":
            return [_remark("not-tradable", "warning", "a spot price cannot be traded: results are indicative")]
        return [_remark("not-tradable", "warning", _INDEX)]
    if scheme == "yahoo":
        return _yahoo_caveats(bars.symbols)
    if scheme == "synthetic":
        return [
            _remark("synthetic", "info", "a made-up market: it calibrates the machinery and says nothing about money")
        ]
    return []


def _yahoo_caveats(symbols: Sequence[str]) -> list[Flag]:
    caveats = []
    if any(symbol.startswith("^") for symbol in symbols):
        caveats.append(_remark("not-tradable", "warning", _INDEX))
    if any(symbol.endswith("=F") for symbol in symbols):
        caveats.append(_remark("futures-splice", "warning", _FUTURES))
    if any(not symbol.startswith("^") and not symbol.endswith(("=F", "=X")) for symbol in symbols):
        caveats.append(_remark("survivorship", "warning", _SURVIVOR))
    return caveats
