"""FUNCTIONS: everything an expression may call, one entry a function.

The one registry feeds the parser, the type checker, the evaluator, the prompt's vocabulary, the docs page, the tests
and the random proposer: a new entry is known to all of them the moment it exists. It never looks ahead: each `compute`
is causal, and a test truncates the bars and compares, for every entry.

NaN rule for all: a windowed function is NaN until its window is full, one missing bar spoils only the windows that
hold it; a recursive one skips the missing bar and keeps its state; a division by zero is NaN. `nan_rule` says the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from agents.strategy import kernels
from agents.strategy.expression.types import Dimension
from agents.strategy.truth import TruthArray, as_numbers, truth_of
from backtesting.bars import Bars, FloatArray

PRICE, RATIO, VOLUME, COUNT, BOOLEAN = (
    Dimension.PRICE,
    Dimension.RATIO,
    Dimension.VOLUME,
    Dimension.COUNT,
    Dimension.BOOLEAN,
)

# A parameter or a result is of a fixed dimension; or "any" number; or "same", one dimension for all that say "same".
Rule = Dimension | Literal["any", "same"]

# series: an expression that moves; value: that or a literal number; window: a whole number of bars; number: a literal.
Kind = Literal["series", "value", "window", "number"]

WINDOWED = "NaN until the window is full; a missing bar spoils the windows that hold it"
RECURSIVE = "NaN until the first full window; a missing bar is skipped and the state kept"
POINTWISE = "NaN where an input is"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a function.

    Attributes:
        name: as it may be used as a keyword.
        kind: see `Kind`.
        rule: dimension of a series or value.
        default: value that may be left out; None if it must be given.
        low, high: bounds of a window or number, both allowed.
        grid: typical values of a window or number, for those who sample.
    """

    name: str
    kind: Kind
    rule: Rule = RATIO
    default: float | None = None
    low: float = 0.0
    high: float = 0.0
    grid: tuple[float, ...] = ()


@dataclass(frozen=True)
class Function:
    """One function of the language; the attributes are what people, prompts and proposers read.

    Attributes:
        name, family, formula, source, nan_rule: words.
        parameters: in order; those with a default come last.
        result: dimension of the result; "same" is that of the parameters that say "same".
        warmup: leading bars without a value, given the windows and numbers in order; on top of the arguments' own.
        compute: (bars, *arguments) -> (n_bars, n_assets) float64, or uint8 truth for a condition.
        example: a call that parses.
        aliases: other names that are accepted.
        reads: fields of the bars that it reads beside its arguments.
        scans: True if one bar costs a whole window.
    """

    name: str
    family: str
    parameters: tuple[Parameter, ...]
    result: Rule
    warmup: Callable[..., int]
    compute: Callable[..., Any]
    formula: str
    source: str
    example: str
    nan_rule: str = WINDOWED
    aliases: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    scans: bool = False

    @property
    def signature(self) -> str:
        """As `sma(x: any, window)`, for vocabularies."""
        parts = []
        for parameter in self.parameters:
            part = parameter.name
            if parameter.kind in ("series", "value"):
                part += f": {parameter.rule}"
            if parameter.default is not None:
                part += f" = {parameter.default:g}"
            parts.append(part)
        return f"{self.name}({', '.join(parts)}) -> {self.result}"


FIELDS: dict[str, Dimension] = {
    "open": PRICE,
    "high": PRICE,
    "low": PRICE,
    "close": PRICE,
    "hlc3": PRICE,
    "volume": VOLUME,
}

# Fields that mean nothing where a market has one price a day.
RANGE_FIELDS = ("open", "high", "low", "hlc3")

FIELD_ALIASES = {"typical_price": "hlc3", "typical": "hlc3"}


def field_values(bars: Bars, name: str) -> FloatArray:
    """A field of the bars; hlc3 is (high + low + close) / 3."""
    if name == "hlc3":
        return typical_price(bars)
    values: FloatArray = getattr(bars, name)
    return values


def typical_price(bars: Bars) -> FloatArray:
    """(high + low + close) / 3, with a close that does not move giving exactly the close."""
    return bars.close + ((bars.high - bars.close) + (bars.low - bars.close)) / 3.0


# --- what the entries compute ---------------------------------------------------------------------------------------


def _safe_divide(over: FloatArray, under: FloatArray) -> FloatArray:
    out = np.full(np.broadcast_shapes(over.shape, under.shape), np.nan)
    np.divide(over, under, out=out, where=(under != 0) & ~np.isnan(under))
    return out


def _sma(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return kernels.rolling_mean(x, window)


def _ema(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return kernels.smoothed(x, window, 2.0 / (window + 1))


def _rma(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return kernels.smoothed(x, window, 1.0 / window)


def _wma(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return kernels.weighted_mean(x, window)


def _lag(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    out = np.full(x.shape, np.nan)
    out[window:] = x[: len(x) - window] if window < len(x) else x[:0]
    return out


def _change(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return x - _lag(bars, x, window)


def _roc(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return _safe_divide(x, _lag(bars, x, window)) - 1.0


def _log_return(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return kernels.logarithm(_safe_divide(x, _lag(bars, x, window)))


def _stdev(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return kernels.rolling_stdev(x, window, 1)


def _zscore(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return _safe_divide(x - kernels.rolling_mean(x, window), kernels.rolling_stdev(x, window, 1))


def _highest(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return kernels.extreme(x, window, 1.0)


def _lowest(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return kernels.extreme(x, window, -1.0)


def _sum(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return kernels.rolling_sum(x, window)


def _rank(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return kernels.percentile_rank(x, window)


def _slope(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    return kernels.slope(x, window)


def _correlation(bars: Bars, x: FloatArray, y: FloatArray, window: int) -> FloatArray:
    return kernels.correlation(x, y, window)


def _true_range(bars: Bars) -> FloatArray:
    before = _lag(bars, bars.close, 1)
    return np.maximum(bars.high, before) - np.minimum(bars.low, before)


def _atr(bars: Bars, window: int) -> FloatArray:
    return _rma(bars, _true_range(bars), window)


def _natr(bars: Bars, window: int) -> FloatArray:
    return _safe_divide(_atr(bars, window), bars.close)


def _volatility(bars: Bars, window: int) -> FloatArray:
    return kernels.rolling_stdev(_log_return(bars, bars.close, 1), window, 1) * float(np.sqrt(bars.periods_per_year))


def _rsi(bars: Bars, x: FloatArray, window: int) -> FloatArray:
    step = _change(bars, x, 1)
    gain = _rma(bars, np.maximum(step, 0.0), window)
    loss = _rma(bars, np.maximum(-step, 0.0), window)
    return 100.0 * _safe_divide(gain, gain + loss)


def _macd(bars: Bars, x: FloatArray, fast: int, slow: int) -> FloatArray:
    return _ema(bars, x, fast) - _ema(bars, x, slow)


def _macd_signal(bars: Bars, x: FloatArray, fast: int, slow: int, smooth: int) -> FloatArray:
    return _ema(bars, _macd(bars, x, fast, slow), smooth)


def _stochastic_k(bars: Bars, window: int) -> FloatArray:
    low = kernels.extreme(bars.low, window, -1.0)
    return 100.0 * _safe_divide(bars.close - low, kernels.extreme(bars.high, window, 1.0) - low)


def _stochastic_d(bars: Bars, window: int, smooth: int) -> FloatArray:
    return kernels.rolling_mean(_stochastic_k(bars, window), smooth)


def _williams_r(bars: Bars, window: int) -> FloatArray:
    high = kernels.extreme(bars.high, window, 1.0)
    return -100.0 * _safe_divide(high - bars.close, high - kernels.extreme(bars.low, window, -1.0))


def _cci(bars: Bars, window: int) -> FloatArray:
    typical = typical_price(bars)
    return _safe_divide(
        typical - kernels.rolling_mean(typical, window), 0.015 * kernels.mean_deviation(typical, window)
    )


def _adx(bars: Bars, window: int) -> FloatArray:
    up = _change(bars, bars.high, 1)
    down = -_change(bars, bars.low, 1)
    known = ~np.isnan(up)
    plus = np.where(known, np.where((up > down) & (up > 0), up, 0.0), np.nan)
    minus = np.where(known, np.where((down > up) & (down > 0), down, 0.0), np.nan)
    # The smoothed true range stands above and below the line of +DI and -DI alike, and so cancels.
    plus, minus = _rma(bars, plus, window), _rma(bars, minus, window)
    return _rma(bars, 100.0 * _safe_divide(np.abs(plus - minus), plus + minus), window)


def _bollinger_upper(bars: Bars, x: FloatArray, window: int, multiple: float) -> FloatArray:
    return kernels.rolling_mean(x, window) + multiple * kernels.rolling_stdev(x, window, 0)


def _bollinger_lower(bars: Bars, x: FloatArray, window: int, multiple: float) -> FloatArray:
    return _bollinger_upper(bars, x, window, -multiple)


def _donchian_high(bars: Bars, window: int) -> FloatArray:
    return _lag(bars, kernels.extreme(bars.high, window, 1.0), 1)


def _donchian_low(bars: Bars, window: int) -> FloatArray:
    return _lag(bars, kernels.extreme(bars.low, window, -1.0), 1)


def _keltner_upper(bars: Bars, window: int, multiple: float) -> FloatArray:
    return _ema(bars, bars.close, window) + multiple * _atr(bars, window)


def _keltner_lower(bars: Bars, window: int, multiple: float) -> FloatArray:
    return _keltner_upper(bars, window, -multiple)


def _obv(bars: Bars) -> FloatArray:
    return kernels.cumulative(np.sign(_change(bars, bars.close, 1)) * bars.volume)


def _mfi(bars: Bars, window: int) -> FloatArray:
    typical = typical_price(bars)
    step = _change(bars, typical, 1)
    flow = np.where(np.isnan(step), np.nan, typical * bars.volume)
    gain = kernels.rolling_sum(np.where(step < 0, 0.0 * flow, np.where(step == 0, 0.0 * flow, flow)), window)
    loss = kernels.rolling_sum(np.where(step > 0, 0.0 * flow, np.where(step == 0, 0.0 * flow, flow)), window)
    return 100.0 * _safe_divide(gain, gain + loss)


def _vwap(bars: Bars, window: int) -> FloatArray:
    value = kernels.rolling_sum(typical_price(bars) * bars.volume, window)
    return _safe_divide(value, kernels.rolling_sum(bars.volume + 0.0 * bars.close, window))


def _relative_volume(bars: Bars, window: int) -> FloatArray:
    return _safe_divide(bars.volume, kernels.rolling_mean(bars.volume, window))


def _every_asset(bars: Bars, by_session: Any) -> FloatArray:
    return np.repeat(np.asarray(by_session, dtype=np.float64)[:, None], bars.n_assets, axis=1)


def _day_of_week(bars: Bars) -> FloatArray:
    # 1970-01-01 was a Thursday.
    return _every_asset(bars, (bars.sessions.astype("int64") + 3) % 7)


def _day_of_month(bars: Bars) -> FloatArray:
    return _every_asset(bars, (bars.sessions - bars.sessions.astype("datetime64[M]")).astype("int64") + 1)


def _month(bars: Bars) -> FloatArray:
    return _every_asset(bars, bars.sessions.astype("datetime64[M]").astype("int64") % 12 + 1)


def _turn_of_month(bars: Bars, last: int, first: int) -> TruthArray:
    month = bars.sessions.astype("datetime64[M]")
    begin, end = month.astype("datetime64[D]"), (month + 1).astype("datetime64[D]")
    following = bars.sessions + 1
    past = np.busday_count(begin, following)
    left = np.busday_count(bars.sessions, end)
    holds = np.repeat(((past <= first) | (left <= last))[:, None], bars.n_assets, axis=1)
    return truth_of(holds, np.ones(holds.shape, dtype=bool))


def _crosses_above(bars: Bars, x: FloatArray, y: FloatArray) -> TruthArray:
    x_before, y_before = _lag(bars, x, 1), _lag(bars, y, 1)
    return truth_of((x > y) & (x_before <= y_before), ~np.isnan(x + y + x_before + y_before))


def _crosses_below(bars: Bars, x: FloatArray, y: FloatArray) -> TruthArray:
    return _crosses_above(bars, y, x)


def _rising(bars: Bars, x: FloatArray, window: int) -> TruthArray:
    step = _change(bars, x, 1)
    rose = np.where(np.isnan(step), np.nan, (step > 0).astype(np.float64))
    return truth_of(kernels.run_length(rose) >= window, ~np.isnan(kernels.rolling_sum(rose, window)))


def _falling(bars: Bars, x: FloatArray, window: int) -> TruthArray:
    return _rising(bars, -x, window)


def _holds_for(bars: Bars, condition: TruthArray, window: int) -> TruthArray:
    held = as_numbers(condition)
    return truth_of(kernels.run_length(held) >= window, ~np.isnan(kernels.rolling_sum(held, window)))


def _count_if(bars: Bars, condition: TruthArray, window: int) -> FloatArray:
    return kernels.rolling_sum(as_numbers(condition), window)


def _since(bars: Bars, condition: TruthArray) -> FloatArray:
    return kernels.bars_since(as_numbers(condition))


def _where(bars: Bars, condition: TruthArray, x: FloatArray, y: FloatArray) -> FloatArray:
    held = as_numbers(condition)
    return np.where(np.isnan(held), np.nan, np.where(held == 1.0, x, y))


def _abs(bars: Bars, x: FloatArray) -> FloatArray:
    return np.abs(x)


def _sign(bars: Bars, x: FloatArray) -> FloatArray:
    return np.sign(x)


def _log(bars: Bars, x: FloatArray) -> FloatArray:
    return kernels.logarithm(x)


def _sqrt(bars: Bars, x: FloatArray) -> FloatArray:
    return np.sqrt(np.where(x >= 0, x, np.nan))


def _min(bars: Bars, x: FloatArray, y: FloatArray) -> FloatArray:
    return np.minimum(x, y)


def _max(bars: Bars, x: FloatArray, y: FloatArray) -> FloatArray:
    return np.maximum(x, y)


def _clip(bars: Bars, x: FloatArray, low: float, high: float) -> FloatArray:
    return np.minimum(np.maximum(x, low), high)


# --- warm-up rules: leading bars without a value, from the windows and numbers in order -----------------------------


def _none(*_: float) -> int:
    return 0


def _one(*_: float) -> int:
    return 1


def _window(window: float, *_: float) -> int:
    return int(window)


def _window_less_one(window: float, *_: float) -> int:
    return int(window) - 1


# --- the entries ------------------------------------------------------------------------------------------------------

MAX_WINDOW = 1000


def _series(name: str = "x", rule: Rule = "same") -> Parameter:
    return Parameter(name, "series", rule)


def _value(name: str, rule: Rule = "same") -> Parameter:
    return Parameter(name, "value", rule)


def _bars_back(
    default: int | None = None,
    *,
    name: str = "window",
    low: int = 1,
    high: int = MAX_WINDOW,
    grid: tuple[int, ...] = (5, 10, 20, 50, 100, 200),
) -> Parameter:
    return Parameter(name, "window", COUNT, default, low, high, grid)


def _multiple(default: float) -> Parameter:
    return Parameter("multiple", "number", RATIO, default, 0.1, 10.0, (1.0, 1.5, 2.0, 2.5, 3.0))


_SHORT = (2, 3, 5, 10, 14, 20)
_SWING = (5, 10, 14, 20, 30, 50)
_CONDITION = _series("condition", BOOLEAN)
_HLC = ("high", "low", "close")
_WILDER = "Wilder, New Concepts in Technical Trading Systems, 1978"
_BASIC = "elementary"

_ENTRIES = (
    # trend
    Function(
        "sma", "trend", (_series(), _bars_back()), "same", _window_less_one, _sma,
        "mean of x over the last `window` bars", _BASIC, "sma(close, 50)", aliases=("mean", "ma", "avg", "ts_mean"),
    ),
    Function(
        "ema", "trend", (_series(), _bars_back()), "same", _window_less_one, _ema,
        "e += 2 / (window + 1) * (x - e), started at the mean of the first `window` values", _BASIC,
        "ema(close, 20)", RECURSIVE, aliases=("ewm", "exp_ma"),
    ),
    Function(
        "wma", "trend", (_series(), _bars_back()), "same", _window_less_one, _wma,
        "mean of x with weights 1, 2, ..., window, the newest the heaviest", _BASIC, "wma(close, 20)",
        aliases=("weighted_ma", "decay_linear"), scans=True,
    ),
    Function(
        "rma", "trend", (_series(), _bars_back()), "same", _window_less_one, _rma,
        "e += (x - e) / window, started at the mean of the first `window` values", _WILDER, "rma(close, 14)",
        RECURSIVE, aliases=("wilder", "smma"),
    ),
    Function(
        "slope", "trend", (_series(), _bars_back(low=2)), "same", _window_less_one, _slope,
        "least-squares slope of x on time over the window, in units of x a bar", _BASIC, "slope(close, 20) > 0",
        aliases=("linreg_slope", "ts_slope"), scans=True,
    ),
    Function(
        "macd", "trend",
        (_series(), _bars_back(12, name="fast", grid=(5, 8, 12)), _bars_back(26, name="slow", grid=(20, 26, 35))),
        "same", lambda fast, slow: max(int(fast), int(slow)) - 1, _macd, "ema(x, fast) - ema(x, slow)",
        "Appel, The Moving Average Convergence-Divergence Method, 1979", "macd(close, 12, 26) > 0", RECURSIVE,
        aliases=("macd_line",),
    ),
    Function(
        "macd_signal", "trend",
        (
            _series(),
            _bars_back(12, name="fast", grid=(5, 8, 12)),
            _bars_back(26, name="slow", grid=(20, 26, 35)),
            _bars_back(9, name="smooth", grid=(5, 9)),
        ),
        "same", lambda fast, slow, smooth: max(int(fast), int(slow)) + int(smooth) - 2, _macd_signal,
        "ema(macd(x, fast, slow), smooth)", "Appel, The Moving Average Convergence-Divergence Method, 1979",
        "crosses_above(macd(close, 12, 26), macd_signal(close, 12, 26, 9))", RECURSIVE,
    ),
    Function(
        "adx", "trend", (_bars_back(14, grid=_SWING),), RATIO, lambda window: 2 * int(window) - 1, _adx,
        "rma of 100 * |+DM - -DM| / (+DM + -DM), each smoothed by rma; 0 to 100", _WILDER, "adx(14) > 25", RECURSIVE,
        reads=_HLC,
    ),
    # change
    Function(
        "lag", "change", (_series(), _bars_back(1, grid=(1, 2, 3, 5, 10, 21, 63))), "same", _window, _lag,
        "x of `window` bars ago", _BASIC, "lag(close, 1)", "NaN in the first `window` bars",
        aliases=("ref", "delay", "shift", "prev"),
    ),
    Function(
        "change", "change", (_series(), _bars_back(1, grid=_SHORT)), "same", _window, _change,
        "x - lag(x, window)", _BASIC, "change(close, 5) > 0", "NaN where x or its lag is",
        aliases=("delta", "diff", "mom", "momentum"),
    ),
    Function(
        "roc", "change", (_series(rule="any"), _bars_back(grid=(5, 10, 21, 63, 126, 252))), RATIO, _window, _roc,
        "x / lag(x, window) - 1, a fraction", _BASIC, "roc(close, 252) > 0",
        "NaN where x or its lag is, or the lag is 0", aliases=("returns", "pct_change", "rate_of_change", "ret"),
    ),
    Function(
        "log_return", "change", (_series(rule="any"), _bars_back(1, grid=(1, 5, 21, 63, 252))), RATIO, _window,
        _log_return, "log(x / lag(x, window))", _BASIC, "log_return(close, 21) > 0",
        "NaN where x or its lag is, or the quotient is not positive", aliases=("log_ret", "logret"),
    ),
    # statistics
    Function(
        "stdev", "statistics", (_series(), _bars_back(low=2)), "same", _window_less_one, _stdev,
        "sample standard deviation over the window (divided by window - 1)", _BASIC, "stdev(roc(close, 1), 20) < 0.01",
        aliases=("std", "stddev", "ts_std", "standard_deviation"),
    ),
    Function(
        "zscore", "statistics", (_series(rule="any"), _bars_back(low=2)), RATIO, _window_less_one, _zscore,
        "(x - sma(x, window)) / stdev(x, window)", _BASIC, "zscore(close, 20) < -2",
        "as stdev, and NaN where nothing moved", aliases=("z_score", "ts_zscore"),
    ),
    Function(
        "highest", "statistics", (_series(), _bars_back()), "same", _window_less_one, _highest,
        "largest x of the window, the current bar included", _BASIC, "close >= highest(close, 50)",
        aliases=("max_n", "ts_max", "rolling_max", "hhv"),
    ),
    Function(
        "lowest", "statistics", (_series(), _bars_back()), "same", _window_less_one, _lowest,
        "smallest x of the window, the current bar included", _BASIC, "close <= lowest(close, 50)",
        aliases=("min_n", "ts_min", "rolling_min", "llv"),
    ),
    Function(
        "sum", "statistics", (_series(), _bars_back()), "same", _window_less_one, _sum,
        "sum of x over the window", _BASIC, "sum(volume, 5) > sum(volume, 20) / 4", aliases=("sum_over", "ts_sum"),
    ),
    Function(
        "rank", "statistics", (_series(rule="any"), _bars_back(low=2)), RATIO, _window_less_one, _rank,
        "share of the other bars of the window that are below x, 0 to 1; an equal one counts half", _BASIC,
        "rank(close, 100) > 0.9", aliases=("percentile", "percent_rank", "ts_rank"), scans=True,
    ),
    Function(
        "correlation", "statistics", (_series("x", "any"), _series("y", "any"), _bars_back(low=3)), RATIO,
        _window_less_one, _correlation, "Pearson correlation of x and y over the window, -1 to 1", _BASIC,
        "correlation(close, volume, 20) < 0", "as any window, and NaN where x or y did not move",
        aliases=("corr", "ts_corr"), scans=True,
    ),
    # volatility
    Function(
        "true_range", "volatility", (), PRICE, _one, _true_range,
        "max(high, lag(close, 1)) - min(low, lag(close, 1))", _WILDER, "true_range() > 2 * atr(14)",
        "NaN in the first bar and after a missing one", aliases=("tr",), reads=_HLC,
    ),
    Function(
        "atr", "volatility", (_bars_back(14, grid=_SWING),), PRICE, _window, _atr, "rma(true_range(), window)", _WILDER,
        "atr(14) / close < 0.02", RECURSIVE, aliases=("average_true_range",), reads=_HLC,
    ),
    Function(
        "natr", "volatility", (_bars_back(14, grid=_SWING),), RATIO, _window, _natr,
        "atr(window) / close, a fraction", _WILDER, "natr(14) < 0.02", RECURSIVE, aliases=("atr_percent", "atrp"),
        reads=_HLC,
    ),
    Function(
        "volatility", "volatility", (_bars_back(20, low=2, grid=(10, 20, 60, 120, 250)),), RATIO, _window, _volatility,
        "stdev(log_return(close, 1), window) * sqrt(bars a year): 0.2 is 20 % a year", _BASIC, "volatility(20) < 0.25",
        aliases=("realized_volatility", "realised_volatility", "hist_vol"), reads=("close",),
    ),
    # oscillators
    Function(
        "rsi", "oscillator", (_series(rule="any"), _bars_back(14, grid=_SHORT)), RATIO, _window, _rsi,
        "100 * gains / (gains + losses), each an rma of the steps of x; 0 to 100", _WILDER, "rsi(close, 2) < 10",
        "as any recursion, and NaN where x never moved", aliases=("relative_strength_index",),
    ),
    Function(
        "stochastic_k", "oscillator", (_bars_back(14, grid=_SWING),), RATIO, _window_less_one, _stochastic_k,
        "100 * (close - lowest low) / (highest high - lowest low), 0 to 100", "Lane, Lane's Stochastics, 1984",
        "stochastic_k(14) < 20", "as any window, and NaN where the range is 0", aliases=("stoch", "stoch_k"),
        reads=_HLC,
    ),
    Function(
        "stochastic_d", "oscillator", (_bars_back(14, grid=_SWING), _bars_back(3, name="smooth", grid=(3, 5))), RATIO,
        lambda window, smooth: int(window) + int(smooth) - 2, _stochastic_d, "sma(stochastic_k(window), smooth)",
        "Lane, Lane's Stochastics, 1984", "crosses_above(stochastic_k(14), stochastic_d(14, 3))",
        "as any window, and NaN where the range is 0", aliases=("stoch_d",), reads=_HLC,
    ),
    Function(
        "williams_r", "oscillator", (_bars_back(14, grid=_SWING),), RATIO, _window_less_one, _williams_r,
        "-100 * (highest high - close) / (highest high - lowest low), -100 to 0",
        "Williams, How I Made One Million Dollars, 1973", "williams_r(14) < -80",
        "as any window, and NaN where the range is 0", aliases=("willr",), reads=_HLC,
    ),
    Function(
        "cci", "oscillator", (_bars_back(20, low=2, grid=_SWING),), RATIO, _window_less_one, _cci,
        "(hlc3 - sma(hlc3, window)) / (0.015 * mean absolute deviation)", "Lambert, Commodity Channel Index, 1980",
        "cci(20) > 100", "as any window, and NaN where nothing moved", aliases=("commodity_channel_index",), reads=_HLC,
        scans=True,
    ),
    # channels
    Function(
        "bollinger_upper", "channel", (_series(), _bars_back(20, low=2, grid=_SWING), _multiple(2.0)), "same",
        _window_less_one, _bollinger_upper,
        "sma(x, window) + multiple * population standard deviation (divided by window)",
        "Bollinger, Bollinger on Bollinger Bands, 2001", "close > bollinger_upper(close, 20, 2)",
        aliases=("bb_upper", "bbands_upper"),
    ),
    Function(
        "bollinger_lower", "channel", (_series(), _bars_back(20, low=2, grid=_SWING), _multiple(2.0)), "same",
        _window_less_one, _bollinger_lower,
        "sma(x, window) - multiple * population standard deviation (divided by window)",
        "Bollinger, Bollinger on Bollinger Bands, 2001", "close < bollinger_lower(close, 20, 2)",
        aliases=("bb_lower", "bbands_lower"),
    ),
    Function(
        "donchian_high", "channel", (_bars_back(20, grid=(10, 20, 55, 100)),), PRICE, _window, _donchian_high,
        "highest high of the `window` bars before this one: the current bar is left out, so close > it is a breakout",
        "Donchian, Trend-Following Methods in Commodity Price Analysis, 1957", "close > donchian_high(20)",
        aliases=("donchian_upper",), reads=("high",),
    ),
    Function(
        "donchian_low", "channel", (_bars_back(20, grid=(10, 20, 55, 100)),), PRICE, _window, _donchian_low,
        "lowest low of the `window` bars before this one: the current bar is left out, so close < it is a breakout",
        "Donchian, Trend-Following Methods in Commodity Price Analysis, 1957", "close < donchian_low(10)",
        aliases=("donchian_lower",), reads=("low",),
    ),
    Function(
        "keltner_upper", "channel", (_bars_back(20, grid=_SWING), _multiple(2.0)), PRICE, _window, _keltner_upper,
        "ema(close, window) + multiple * atr(window)", "Keltner 1960, as modified by Raschke",
        "close > keltner_upper(20, 2)", RECURSIVE, reads=_HLC,
    ),
    Function(
        "keltner_lower", "channel", (_bars_back(20, grid=_SWING), _multiple(2.0)), PRICE, _window, _keltner_lower,
        "ema(close, window) - multiple * atr(window)", "Keltner 1960, as modified by Raschke",
        "close < keltner_lower(20, 2)", RECURSIVE, reads=_HLC,
    ),
    # volume
    Function(
        "obv", "volume", (), VOLUME, _one, _obv, "running total of volume, signed by the change of the close",
        "Granville, New Key to Stock Market Profits, 1963", "obv() > sma(obv(), 20)",
        "a missing bar is skipped and the total kept", aliases=("on_balance_volume",), reads=("close", "volume"),
    ),
    Function(
        "mfi", "volume", (_bars_back(14, grid=_SWING),), RATIO, _window, _mfi,
        "100 * rising / (rising + falling) sums of hlc3 * volume over the window, 0 to 100",
        "Quong and Soudack, The Money Flow Index, 1989", "mfi(14) < 20", "as any window, and NaN where no money flowed",
        aliases=("money_flow_index",), reads=(*_HLC, "volume"),
    ),
    Function(
        "vwap", "volume", (_bars_back(20, grid=_SWING),), PRICE, _window_less_one, _vwap,
        "sum(hlc3 * volume, window) / sum(volume, window)", _BASIC, "close > vwap(20)",
        "as any window, and NaN where no volume was traded", aliases=("vwap_n", "rolling_vwap"),
        reads=(*_HLC, "volume"),
    ),
    Function(
        "relative_volume", "volume", (_bars_back(20, grid=_SWING),), RATIO, _window_less_one, _relative_volume,
        "volume / sma(volume, window)", _BASIC, "relative_volume(20) > 1.5",
        "as any window, and NaN where no volume was traded", aliases=("rvol", "volume_ratio"), reads=("volume",),
    ),
    # calendar
    Function(
        "day_of_week", "calendar", (), COUNT, _none, _day_of_week, "0 Monday to 6 Sunday", _BASIC,
        "day_of_week() == 0", "never NaN", aliases=("weekday", "dayofweek"),
    ),
    Function(
        "day_of_month", "calendar", (), COUNT, _none, _day_of_month, "1 to 31", _BASIC, "day_of_month() <= 3",
        "never NaN", aliases=("dayofmonth",),
    ),
    Function(
        "month", "calendar", (), COUNT, _none, _month, "1 January to 12 December", _BASIC, "month() == 1", "never NaN",
    ),
    Function(
        "turn_of_month", "calendar",
        (
            _bars_back(1, name="last", low=0, high=10, grid=(1, 2, 3)),
            _bars_back(3, name="first", low=0, high=10, grid=(1, 2, 3)),
        ),
        BOOLEAN, _none, _turn_of_month,
        "true on the last `last` and the first `first` weekdays of a month; holidays are counted as weekdays, because"
        " the next session is not known in advance", "Lakonishok and Smidt, Are Seasonal Anomalies Real?, 1988",
        "turn_of_month(1, 3)", "never unknown",
    ),
    # logic
    Function(
        "crosses_above", "logic", (_value("x"), _value("y")), BOOLEAN, _one, _crosses_above,
        "x > y now, and x <= y one bar ago", _BASIC, "crosses_above(ema(close, 20), ema(close, 100))",
        "unknown where x or y is NaN now or one bar ago",
        aliases=("crossover", "cross_above", "cross_over", "crosses_over", "crossed_above"),
    ),
    Function(
        "crosses_below", "logic", (_value("x"), _value("y")), BOOLEAN, _one, _crosses_below,
        "x < y now, and x >= y one bar ago", _BASIC, "crosses_below(rsi(close, 14), 70)",
        "unknown where x or y is NaN now or one bar ago",
        aliases=("crossunder", "cross_below", "cross_under", "crosses_under", "crossed_below"),
    ),
    Function(
        "rising", "logic", (_series(rule="any"), _bars_back(1, grid=(1, 2, 3, 5))), BOOLEAN, _window, _rising,
        "x rose on each of the last `window` bars", _BASIC, "rising(close, 3)", "unknown until the window is full",
        aliases=("is_rising", "increasing"),
    ),
    Function(
        "falling", "logic", (_series(rule="any"), _bars_back(1, grid=(1, 2, 3, 5))), BOOLEAN, _window, _falling,
        "x fell on each of the last `window` bars", _BASIC, "falling(close, 3)", "unknown until the window is full",
        aliases=("is_falling", "decreasing"),
    ),
    Function(
        "holds_for", "logic", (_CONDITION, _bars_back(low=1, grid=(2, 3, 5, 10))), BOOLEAN, _window_less_one,
        _holds_for,
        "the condition held on each of the last `window` bars", _BASIC, "holds_for(close > sma(close, 50), 5)",
        "unknown until the window is full", aliases=("all_last", "held_for"),
    ),
    Function(
        "count_if", "logic", (_CONDITION, _bars_back(low=1, grid=(5, 10, 20))), COUNT, _window_less_one, _count_if,
        "on how many of the last `window` bars the condition held", _BASIC, "count_if(close > open, 10) >= 7",
        "NaN where the condition is unknown within the window", aliases=("count", "count_true"),
    ),
    Function(
        "since", "logic", (_CONDITION,), COUNT, _none, _since, "bars since the condition last held; 0 at that bar",
        _BASIC, "since(close >= highest(close, 50)) < 5", "NaN before it first held",
        aliases=("bars_since", "barssince"),
    ),
    Function(
        "where", "logic", (_CONDITION, _value("x"), _value("y")), "same", _none, _where,
        "x where the condition holds, else y", _BASIC, "where(close > sma(close, 200), 1, -1) > 0",
        "NaN where the condition is unknown or the chosen value is NaN", aliases=("if_else", "iff", "ifelse"),
    ),
    # arithmetic
    Function(
        "abs", "arithmetic", (_series(),), "same", _none, _abs, "|x|", _BASIC, "abs(roc(close, 1)) > 0.03", POINTWISE,
    ),
    Function(
        "sign", "arithmetic", (_series(rule="any"),), RATIO, _none, _sign, "-1, 0 or 1", _BASIC,
        "sign(roc(close, 252)) > 0", POINTWISE,
    ),
    Function(
        "log", "arithmetic", (_series(rule=RATIO),), RATIO, _none, _log, "natural logarithm", _BASIC,
        "log(close / sma(close, 200)) > 0.05", "NaN where x is not positive", aliases=("ln",),
    ),
    Function(
        "sqrt", "arithmetic", (_series(rule=RATIO),), RATIO, _none, _sqrt, "square root", _BASIC,
        "sqrt(relative_volume(20)) > 1", "NaN where x is negative",
    ),
    Function(
        "min", "arithmetic", (_value("x"), _value("y")), "same", _none, _min, "the smaller of x and y", _BASIC,
        "close < min(lag(low, 1), lag(low, 2))", POINTWISE, aliases=("minimum",),
    ),
    Function(
        "max", "arithmetic", (_value("x"), _value("y")), "same", _none, _max, "the larger of x and y", _BASIC,
        "close > max(lag(high, 1), lag(high, 2))", POINTWISE, aliases=("maximum",),
    ),
    Function(
        "clip", "arithmetic",
        (
            _series(rule=RATIO),
            Parameter("low", "number", RATIO, -1.0, -1e6, 1e6, (-2.0, -1.0, 0.0)),
            Parameter("high", "number", RATIO, 1.0, -1e6, 1e6, (1.0, 2.0)),
        ),
        RATIO, _none, _clip, "x, but at least low and at most high", _BASIC, "clip(zscore(close, 20), -2, 2) < 0",
        POINTWISE, aliases=("clamp",),
    ),
)  # fmt: skip

FUNCTIONS: dict[str, Function] = {entry.name: entry for entry in _ENTRIES}

ALIASES: dict[str, str] = {alias: entry.name for entry in _ENTRIES for alias in entry.aliases}

# Functions whose two arguments may change places.
COMMUTATIVE = ("min", "max", "correlation")
