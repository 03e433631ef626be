"""Volatility: how far prices move, and the channels that are drawn from it."""

import math

import numpy as np

from agents.strategy import kernels
from agents.strategy.functions.entry import (
    BASIC,
    HLC,
    NO_MOVE,
    OHLC,
    PRICE,
    RATIO,
    RECURSIVE,
    SWING,
    WILDER,
    Function,
    bars_back,
    multiple,
    one,
    series,
    window,
    window_less_one,
)
from agents.strategy.functions.steps import (
    annual,
    atr,
    ema,
    grown,
    highest,
    lagged,
    log_grown,
    lowest,
    quotient,
    root,
    true_range,
)
from backtesting.bars import Bars, FloatArray


def _true_range(bars: Bars) -> FloatArray:
    return true_range(bars)


def _atr(bars: Bars, length: int) -> FloatArray:
    return atr(bars, length)


def _natr(bars: Bars, length: int) -> FloatArray:
    return quotient(atr(bars, length), bars.close)


def _volatility(bars: Bars, length: int) -> FloatArray:
    return annual(bars, kernels.rolling_stdev(log_grown(bars.close), length, 1))


def _ewm_volatility(bars: Bars, length: int) -> FloatArray:
    return annual(bars, root(ema(log_grown(bars.close) ** 2, length)))


def _downside_deviation(bars: Bars, length: int) -> FloatArray:
    return annual(bars, root(kernels.rolling_mean(np.minimum(log_grown(bars.close), 0.0) ** 2, length)))


def _log(over: FloatArray, under: FloatArray) -> FloatArray:
    return kernels.logarithm(quotient(over, under))


def _parkinson(bars: Bars, length: int) -> FloatArray:
    square = _log(bars.high, bars.low) ** 2
    return annual(bars, root(kernels.rolling_mean(square, length) / (4.0 * math.log(2.0))))


def _garman_klass(bars: Bars, length: int) -> FloatArray:
    spread, body = _log(bars.high, bars.low), _log(bars.close, bars.open)
    return annual(bars, root(kernels.rolling_mean(0.5 * spread**2 - (2.0 * math.log(2.0) - 1.0) * body**2, length)))


def _drift_free(bars: Bars) -> FloatArray:
    up = _log(bars.high, bars.close) * _log(bars.high, bars.open)
    return up + _log(bars.low, bars.close) * _log(bars.low, bars.open)


def _rogers_satchell(bars: Bars, length: int) -> FloatArray:
    return annual(bars, root(np.maximum(kernels.rolling_mean(_drift_free(bars), length), 0.0)))


def _yang_zhang(bars: Bars, length: int) -> FloatArray:
    overnight = kernels.rolling_stdev(_log(bars.open, lagged(bars.close, 1)), length, 1) ** 2
    day = kernels.rolling_stdev(_log(bars.close, bars.open), length, 1) ** 2
    share = 0.34 / (1.34 + (length + 1.0) / (length - 1.0))
    inside = np.maximum(kernels.rolling_mean(_drift_free(bars), length), 0.0)
    return annual(bars, root(overnight + share * day + (1.0 - share) * inside))


def _ulcer_index(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    below = 100.0 * (quotient(x, highest(x, length)) - 1.0)
    return root(kernels.rolling_mean(below**2, length))


def _chaikin_volatility(bars: Bars, length: int) -> FloatArray:
    return grown(ema(bars.high - bars.low, length), length)


def _bollinger_upper(bars: Bars, x: FloatArray, length: int, far: float) -> FloatArray:
    return kernels.rolling_mean(x, length) + far * kernels.rolling_stdev(x, length, 0)


def _bollinger_lower(bars: Bars, x: FloatArray, length: int, far: float) -> FloatArray:
    return _bollinger_upper(bars, x, length, -far)


def _bollinger_width(bars: Bars, x: FloatArray, length: int, far: float) -> FloatArray:
    return quotient(2.0 * far * kernels.rolling_stdev(x, length, 0), kernels.rolling_mean(x, length))


def _bollinger_percent(bars: Bars, x: FloatArray, length: int, far: float) -> FloatArray:
    half = far * kernels.rolling_stdev(x, length, 0)
    return quotient(x - kernels.rolling_mean(x, length) + half, 2.0 * half)


def _donchian_high(bars: Bars, length: int) -> FloatArray:
    return lagged(highest(bars.high, length), 1)


def _donchian_low(bars: Bars, length: int) -> FloatArray:
    return lagged(lowest(bars.low, length), 1)


def _donchian_middle(bars: Bars, length: int) -> FloatArray:
    return (_donchian_high(bars, length) + _donchian_low(bars, length)) / 2.0


def _keltner_upper(bars: Bars, length: int, far: float) -> FloatArray:
    return ema(bars.close, length) + far * atr(bars, length)


def _keltner_lower(bars: Bars, length: int, far: float) -> FloatArray:
    return _keltner_upper(bars, length, -far)


def _chandelier_long(bars: Bars, length: int, far: float) -> FloatArray:
    return highest(bars.high, length) - far * atr(bars, length)


def _chandelier_short(bars: Bars, length: int, far: float) -> FloatArray:
    return lowest(bars.low, length) + far * atr(bars, length)


_YEARLY = (10, 20, 60, 120, 250)
_DONCHIAN = "Donchian, Trend-Following Methods in Commodity Price Analysis, 1957"
# 1000 % a year: beyond it somebody has meant per cent.
_A_YEAR = (0.0, 10.0)
_BANDS = "Bollinger, Bollinger on Bollinger Bands, 2001"
_CHANDELIER = "LeBeau, Chandelier Exit, in Elder, Come into My Trading Room, 2002"

ENTRIES = (
    Function(
        "true_range", "volatility", (), PRICE, one, _true_range, "max(high, lag(close, 1)) - min(low, lag(close, 1))",
        WILDER, "true_range() > 2 * atr(14)", "NaN in the first bar and after a missing one", aliases=("tr",),
        reads=HLC,
    ),
    Function(
        "atr", "volatility", (bars_back(14, grid=SWING),), PRICE, window, _atr, "rma(true_range(), window)", WILDER,
        "atr(14) / close < 0.02", RECURSIVE, aliases=("average_true_range",), reads=HLC,
    ),
    Function(
        "natr", "volatility", (bars_back(14, grid=SWING),), RATIO, window, _natr, "atr(window) / close, a fraction",
        WILDER, "natr(14) < 0.02", RECURSIVE, aliases=("atr_percent", "atrp"), reads=HLC, lies_in=(0.0, 1.0),
        differs="a fraction, 0.02 for what TA-Lib's NATR gives as 2",
    ),
    Function(
        "volatility", "volatility", (bars_back(20, low=2, grid=_YEARLY),), RATIO, window, _volatility,
        "stdev(log_return(close, 1), window) * sqrt(bars a year): 0.2 is 20 % a year", BASIC, "volatility(20) < 0.25",
        aliases=("realized_volatility", "realised_volatility", "hist_vol"), reads=("close",), lies_in=_A_YEAR,
    ),
    Function(
        "ewm_volatility", "volatility", (bars_back(32, grid=(16, 32, 60)),), RATIO, window, _ewm_volatility,
        "sqrt(ema(log_return(close, 1)^2, window) * bars a year); 32 is near a decay of 0.94",
        "J.P. Morgan, RiskMetrics Technical Document, 1996", "ewm_volatility(32) < 0.2", RECURSIVE,
        aliases=("ewma_volatility",), reads=("close",), lies_in=_A_YEAR,
    ),
    Function(
        "downside_deviation", "volatility", (bars_back(20, grid=_YEARLY),), RATIO, window, _downside_deviation,
        "sqrt(mean(min(log_return(close, 1), 0)^2) * bars a year)", "Sortino and van der Meer, Downside Risk, 1991",
        "downside_deviation(60) < 0.1", aliases=("downside_volatility",), reads=("close",), lies_in=_A_YEAR,
    ),
    Function(
        "parkinson", "volatility", (bars_back(20, grid=_YEARLY),), RATIO, window_less_one, _parkinson,
        "sqrt(mean(log(high / low)^2) / (4 log 2) * bars a year)", "Parkinson, The Extreme Value Method, 1980",
        "parkinson(20) < 0.2", reads=("high", "low"), lies_in=_A_YEAR,
    ),
    Function(
        "garman_klass", "volatility", (bars_back(20, grid=_YEARLY),), RATIO, window_less_one, _garman_klass,
        "sqrt(mean(0.5 log(high / low)^2 - (2 log 2 - 1) log(close / open)^2) * bars a year)",
        "Garman and Klass, On the Estimation of Security Price Volatilities, 1980", "garman_klass(20) < 0.2",
        reads=OHLC, lies_in=_A_YEAR,
    ),
    Function(
        "rogers_satchell", "volatility", (bars_back(20, grid=_YEARLY),), RATIO, window_less_one, _rogers_satchell,
        "sqrt(mean(log(high / close) log(high / open) + log(low / close) log(low / open)) * bars a year)",
        "Rogers and Satchell, Estimating Variance from High, Low and Closing Prices, 1991", "rogers_satchell(20) < 0.2",
        reads=OHLC, lies_in=_A_YEAR,
    ),
    Function(
        "yang_zhang", "volatility", (bars_back(20, low=2, grid=_YEARLY),), RATIO, window, _yang_zhang,
        "sqrt((o + k c + (1 - k) r) * bars a year): o, c sample variances of overnight and day log returns, r as in"
        " rogers_satchell, k = 0.34 / (1.34 + (window + 1) / (window - 1))",
        "Yang and Zhang, Drift-Independent Volatility Estimation, 2000", "yang_zhang(20) < 0.2", reads=OHLC,
        lies_in=_A_YEAR,
    ),
    Function(
        "ulcer_index", "volatility", (series(rule="any"), bars_back(14, high=500, grid=SWING)), RATIO,
        lambda n: 2 * (int(n) - 1), _ulcer_index,
        "root of the mean square of 100 * (x / highest(x, window) - 1) over the window",
        "Martin and McCann, The Investor's Guide to Fidelity Funds, 1989", "ulcer_index(close, 14) < 5",
    ),
    Function(
        "chaikin_volatility", "volatility", (bars_back(10, high=500, grid=SWING),), RATIO, lambda n: 2 * int(n) - 1,
        _chaikin_volatility, "roc(ema(high - low, window), window), a fraction", "Chaikin, 1984",
        "chaikin_volatility(10) < 0", RECURSIVE, reads=("high", "low"),
    ),
    Function(
        "bollinger_upper", "channel", (series(), bars_back(20, low=2, grid=SWING), multiple(2.0)), "same",
        window_less_one, _bollinger_upper,
        "sma(x, window) + multiple * population standard deviation (divided by window)", _BANDS,
        "close > bollinger_upper(close, 20, 2)", aliases=("bb_upper", "bbands_upper"),
    ),
    Function(
        "bollinger_lower", "channel", (series(), bars_back(20, low=2, grid=SWING), multiple(2.0)), "same",
        window_less_one, _bollinger_lower,
        "sma(x, window) - multiple * population standard deviation (divided by window)", _BANDS,
        "close < bollinger_lower(close, 20, 2)", aliases=("bb_lower", "bbands_lower"),
    ),
    Function(
        "bollinger_width", "channel", (series(rule="any"), bars_back(20, low=2, grid=SWING), multiple(2.0)), RATIO,
        window_less_one, _bollinger_width,
        "(bollinger_upper - bollinger_lower) / sma(x, window)", _BANDS, "bollinger_width(close, 20) < 0.05",
        aliases=("bb_width",),
    ),
    Function(
        "bollinger_percent", "channel", (series(rule="any"), bars_back(20, low=2, grid=SWING), multiple(2.0)), RATIO,
        window_less_one, _bollinger_percent,
        "(x - bollinger_lower) / (bollinger_upper - bollinger_lower): 0 on the lower band, 1 on the upper", _BANDS,
        "bollinger_percent(close, 20) < 0", NO_MOVE, aliases=("bb_percent", "percent_b"),
    ),
    Function(
        "donchian_high", "channel", (bars_back(20, grid=(10, 20, 55, 100)),), PRICE, window, _donchian_high,
        "highest high of the `window` bars before this one: the current bar is left out, so close > it is a breakout",
        _DONCHIAN, "close > donchian_high(20)", aliases=("donchian_upper",), reads=("high",),
    ),
    Function(
        "donchian_low", "channel", (bars_back(20, grid=(10, 20, 55, 100)),), PRICE, window, _donchian_low,
        "lowest low of the `window` bars before this one: the current bar is left out, so close < it is a breakout",
        _DONCHIAN, "close < donchian_low(10)", aliases=("donchian_lower",), reads=("low",),
    ),
    Function(
        "donchian_middle", "channel", (bars_back(20, grid=(10, 20, 55, 100)),), PRICE, window, _donchian_middle,
        "(donchian_high(window) + donchian_low(window)) / 2", _DONCHIAN, "close > donchian_middle(20)",
        aliases=("donchian_mid",), reads=("high", "low"),
    ),
    Function(
        "keltner_upper", "channel", (bars_back(20, grid=SWING), multiple(2.0)), PRICE, window, _keltner_upper,
        "ema(close, window) + multiple * atr(window)", "Keltner 1960, as modified by Raschke",
        "close > keltner_upper(20, 2)", RECURSIVE, reads=HLC,
    ),
    Function(
        "keltner_lower", "channel", (bars_back(20, grid=SWING), multiple(2.0)), PRICE, window, _keltner_lower,
        "ema(close, window) - multiple * atr(window)", "Keltner 1960, as modified by Raschke",
        "close < keltner_lower(20, 2)", RECURSIVE, reads=HLC,
    ),
    Function(
        "chandelier_long", "channel", (bars_back(22, grid=(10, 22, 50)), multiple(3.0)), PRICE, window,
        _chandelier_long, "highest high of the window - multiple * atr(window): the stop of a long", _CHANDELIER,
        "close < chandelier_long(22, 3)", RECURSIVE, reads=HLC,
    ),
    Function(
        "chandelier_short", "channel", (bars_back(22, grid=(10, 22, 50)), multiple(3.0)), PRICE, window,
        _chandelier_short, "lowest low of the window + multiple * atr(window): the stop of a short", _CHANDELIER,
        "close > chandelier_short(22, 3)", RECURSIVE, reads=HLC,
    ),
)  # fmt: skip
