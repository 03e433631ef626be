"""Momentum: changes over time, and oscillators that say how far and how fast."""

import numpy as np

from agents.strategy import kernels, kernels_paths
from agents.strategy.functions.entry import (
    BASIC,
    HLC,
    NO_MOVE,
    NO_RANGE,
    OHLC,
    POINTWISE,
    PRICE,
    RATIO,
    RECURSIVE,
    SHORT,
    SWING,
    WILDER,
    WINDOWED,
    Function,
    bars_back,
    none,
    one,
    series,
    window,
    window_less_one,
)
from agents.strategy.functions.fields import typical_price
from agents.strategy.functions.steps import (
    ema,
    grown,
    growth,
    highest,
    lagged,
    log_grown,
    log_growth,
    lowest,
    quotient,
    stepped,
    true_range,
)
from backtesting.bars import Bars, FloatArray


def _lag(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return lagged(x, length)


def _change(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return stepped(x, length)


def _roc(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return grown(x, length)


def _log_return(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return log_grown(x, length)


def _gap(bars: Bars) -> FloatArray:
    return quotient(bars.open, lagged(bars.close, 1)) - 1.0


def _intraday(bars: Bars) -> FloatArray:
    return quotient(bars.close, bars.open) - 1.0


def _gains(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    step = stepped(x)
    return np.maximum(step, 0.0), np.maximum(-step, 0.0)


def _rsi(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return 100.0 * kernels.relative_strength(x, length)


def _cmo(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    gain, loss = (kernels.rolling_sum(part, length) for part in _gains(x))
    return 100.0 * quotient(gain - loss, gain + loss)


def _stochastic(x: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    return 100.0 * quotient(x - low, high - low)


def _stochastic_k(bars: Bars, length: int) -> FloatArray:
    return _stochastic(bars.close, lowest(bars.low, length), highest(bars.high, length))


def _stochastic_d(bars: Bars, length: int, smooth: int) -> FloatArray:
    return kernels.rolling_mean(_stochastic_k(bars, length), smooth)


def _stochastic_rsi(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    strength = _rsi(bars, x, length)
    return _stochastic(strength, lowest(strength, length), highest(strength, length))


def _williams_r(bars: Bars, length: int) -> FloatArray:
    high = highest(bars.high, length)
    return -100.0 * quotient(high - bars.close, high - lowest(bars.low, length))


def _cci(bars: Bars, length: int) -> FloatArray:
    typical = typical_price(bars)
    return quotient(typical - kernels.rolling_mean(typical, length), 0.015 * kernels.mean_deviation(typical, length))


def _tsi(bars: Bars, x: FloatArray, slow: int, fast: int) -> FloatArray:
    step = stepped(x)
    return 100.0 * quotient(ema(ema(step, slow), fast), ema(ema(np.abs(step), slow), fast))


def _ultimate(bars: Bars, short: int, middle: int, long: int) -> FloatArray:
    pressure = bars.close - np.minimum(bars.low, lagged(bars.close, 1))
    span = true_range(bars)

    def share(length: int) -> FloatArray:
        return quotient(kernels.rolling_sum(pressure, length), kernels.rolling_sum(span, length))

    return 100.0 * (4.0 * share(short) + 2.0 * share(middle) + share(long)) / 7.0


def _ppo(bars: Bars, x: FloatArray, fast: int, slow: int) -> FloatArray:
    base = ema(x, slow)
    return 100.0 * quotient(ema(x, fast) - base, base)


def _awesome(bars: Bars, fast: int, slow: int) -> FloatArray:
    middle = (bars.high + bars.low) / 2.0
    return kernels.rolling_mean(middle, fast) - kernels.rolling_mean(middle, slow)


def _coppock(bars: Bars, x: FloatArray, long: int, short: int, smooth: int) -> FloatArray:
    return 100.0 * kernels.line(grown(x, long) + grown(x, short), smooth, 4)


def _kst(bars: Bars, x: FloatArray) -> FloatArray:
    parts = [
        weight * kernels.rolling_mean(grown(x, back), smooth)
        for weight, back, smooth in ((1.0, 10, 10), (2.0, 15, 10), (3.0, 20, 10), (4.0, 30, 15))
    ]
    return 100.0 * (parts[0] + parts[1] + parts[2] + parts[3])


def _balance_of_power(bars: Bars) -> FloatArray:
    return quotient(bars.close - bars.open, bars.high - bars.low)


def _bull_power(bars: Bars, length: int) -> FloatArray:
    return bars.high - ema(bars.close, length)


def _bear_power(bars: Bars, length: int) -> FloatArray:
    return bars.low - ema(bars.close, length)


def _connors_rsi(bars: Bars, x: FloatArray, length: int, streak: int, rank: int) -> FloatArray:
    run = kernels_paths.signed_run(stepped(x))
    place = 100.0 * kernels.in_order(grown(x), rank, -1.0)
    return (_rsi(bars, x, length) + _rsi(bars, run, streak) + place) / 3.0


_LANE = "Lane, Lane's Stochastics, 1984"
_ELDER = "Elder, Trading for a Living, 1993"
_CHANDE = "Chande and Kroll, The New Technical Trader, 1994"

ENTRIES = (
    Function(
        "lag", "change", (series(), bars_back(1, grid=(1, 2, 3, 5, 10, 21, 63))), "same", window, _lag,
        "x of `window` bars ago", BASIC, "lag(close, 1)", "NaN in the first `window` bars",
        aliases=("ref", "delay", "shift", "prev"), between=lambda now, before: before,
    ),
    Function(
        "change", "change", (series(), bars_back(1, grid=SHORT)), "same", window, _change, "x - lag(x, window)", BASIC,
        "change(close, 5) > 0", "NaN where x or its lag is", aliases=("delta", "diff", "mom", "momentum"),
        between=lambda now, before: now - before,
    ),
    Function(
        "roc", "change", (series(rule="any"), bars_back(grid=(5, 10, 21, 63, 126, 252))), RATIO, window, _roc,
        "x / lag(x, window) - 1, a fraction", BASIC, "roc(close, 252) > 0",
        "NaN where x or its lag is, or the lag is 0", aliases=("returns", "pct_change", "rate_of_change", "ret"),
        between=growth, differs="a fraction, 0.05 for what TA-Lib's ROC gives as 5",
    ),
    Function(
        "log_return", "change", (series(rule="any"), bars_back(1, grid=(1, 5, 21, 63, 252))), RATIO, window,
        _log_return, "log(x / lag(x, window))", BASIC, "log_return(close, 21) > 0",
        "NaN where x or its lag is, or the quotient is not positive", aliases=("log_ret", "logret"),
        between=log_growth,
    ),
    Function(
        "gap", "change", (), RATIO, one, _gap, "open / lag(close, 1) - 1, a fraction", BASIC, "gap() < -0.01",
        "NaN in the first bar and after a missing one", aliases=("overnight_return",), reads=("open", "close"),
    ),
    Function(
        "intraday", "change", (), RATIO, none, _intraday, "close / open - 1, a fraction", BASIC, "intraday() > 0.01",
        POINTWISE, aliases=("intraday_return",), reads=("open", "close"),
    ),
    Function(
        "rsi", "oscillator", (series(rule="any"), bars_back(14, grid=SHORT)), RATIO, window, _rsi,
        "100 * gains / (gains + losses), each an rma of the steps of x; 0 to 100", WILDER, "rsi(close, 2) < 10",
        "as any recursion, and NaN where x never moved", aliases=("relative_strength_index",), lies_in=(0.0, 100.0),
    ),
    Function(
        "stochastic_k", "oscillator", (bars_back(14, grid=SWING),), RATIO, window_less_one, _stochastic_k,
        "100 * (close - lowest low) / (highest high - lowest low), 0 to 100", _LANE, "stochastic_k(14) < 20", NO_RANGE,
        aliases=("stoch", "stoch_k", "stochastic"), reads=HLC, lies_in=(0.0, 100.0),
    ),
    Function(
        "stochastic_d", "oscillator", (bars_back(14, grid=SWING), bars_back(3, name="smooth", grid=(3, 5))), RATIO,
        lambda length, smooth: int(length) + int(smooth) - 2, _stochastic_d, "sma(stochastic_k(window), smooth)", _LANE,
        "crosses_above(stochastic_k(14), stochastic_d(14, 3))", NO_RANGE, aliases=("stoch_d",), reads=HLC,
        lies_in=(0.0, 100.0),
    ),
    Function(
        "stochastic_rsi", "oscillator", (series(rule="any"), bars_back(14, high=500, grid=SWING)), RATIO,
        lambda n: 2 * int(n) - 1, _stochastic_rsi,
        "100 * (r - lowest(r, window)) / (highest(r, window) - lowest(r, window)), r = rsi(x, window)", _CHANDE,
        "stochastic_rsi(close, 14) < 20", NO_RANGE, aliases=("stoch_rsi",), lies_in=(0.0, 100.0),
    ),
    Function(
        "williams_r", "oscillator", (bars_back(14, grid=SWING),), RATIO, window_less_one, _williams_r,
        "-100 * (highest high - close) / (highest high - lowest low), -100 to 0",
        "Williams, How I Made One Million Dollars, 1973", "williams_r(14) < -80", NO_RANGE, aliases=("willr",),
        reads=HLC, lies_in=(-100.0, 0.0),
    ),
    Function(
        "cci", "oscillator", (bars_back(20, low=2, grid=SWING),), RATIO, window_less_one, _cci,
        "(hlc3 - sma(hlc3, window)) / (0.015 * mean absolute deviation)", "Lambert, Commodity Channel Index, 1980",
        "cci(20) > 100", NO_MOVE, aliases=("commodity_channel_index",), reads=HLC, scans=True,
    ),
    Function(
        "cmo", "oscillator", (series(rule="any"), bars_back(14, grid=SWING)), RATIO, window, _cmo,
        "100 * (gains - losses) / (gains + losses), each a sum of the steps of x; -100 to 100", _CHANDE,
        "cmo(close, 14) < -50", NO_MOVE, aliases=("chande_momentum",), lies_in=(-100.0, 100.0),
        differs="TA-Lib smooths gains and losses as in the rsi; here they are summed, as Chande does",
    ),
    Function(
        "tsi", "oscillator",
        (
            series(rule="any"), bars_back(25, name="slow", grid=(20, 25, 40)),
            bars_back(13, name="fast", grid=(7, 13, 20)),
        ),
        RATIO, lambda slow, fast: int(slow) + int(fast) - 1, _tsi,
        "100 * ema(ema(s, slow), fast) / ema(ema(|s|, slow), fast), s = change(x, 1)",
        "Blau, Momentum, Direction, and Divergence, 1995", "tsi(close) > 0",
        "as any recursion, and NaN where x never moved", aliases=("true_strength",), lies_in=(-100.0, 100.0),
    ),
    Function(
        "ultimate", "oscillator",
        (
            bars_back(7, name="short", grid=(5, 7)), bars_back(14, name="middle", grid=(10, 14)),
            bars_back(28, name="long", grid=(20, 28)),
        ),
        RATIO, lambda *windows: int(max(windows)), _ultimate,
        "100 * (4 a + 2 b + c) / 7, each sum(close - min(low, lag(close, 1))) / sum(true_range()) over its window",
        "Williams, The Ultimate Oscillator, 1985", "ultimate() < 30", NO_RANGE,
        aliases=("ultimate_oscillator", "ultosc"), reads=HLC, lies_in=(0.0, 100.0),
    ),
    Function(
        "ppo", "oscillator",
        (
            series(rule="any"), bars_back(12, name="fast", grid=(5, 8, 12)),
            bars_back(26, name="slow", grid=(20, 26, 35)),
        ),
        RATIO, lambda fast, slow: max(int(fast), int(slow)) - 1, _ppo,
        "100 * (ema(x, fast) - ema(x, slow)) / ema(x, slow)", BASIC, "ppo(close) > 0", RECURSIVE,
        aliases=("percentage_price_oscillator",),
    ),
    Function(
        "awesome", "oscillator",
        (bars_back(5, name="fast", grid=(5, 8)), bars_back(34, name="slow", grid=(21, 34))), PRICE,
        lambda fast, slow: max(int(fast), int(slow)) - 1, _awesome,
        "sma(m, fast) - sma(m, slow), m = (high + low) / 2", "Williams, New Trading Dimensions, 1998", "awesome() > 0",
        WINDOWED, aliases=("awesome_oscillator", "ao"), reads=("high", "low"),
    ),
    Function(
        "coppock", "oscillator",
        (
            series(rule="any"), bars_back(14, name="long", grid=(14, 28)), bars_back(11, name="short", grid=(11, 22)),
            bars_back(10, name="smooth", grid=(10, 20)),
        ),
        RATIO, lambda long, short, smooth: max(int(long), int(short)) + int(smooth) - 1, _coppock,
        "100 * wma(roc(x, long) + roc(x, short), smooth); meant for monthly bars", "Coppock, Barron's, 15 October 1962",
        "coppock(close) > 0", WINDOWED,
    ),
    Function(
        "kst", "oscillator", (series(rule="any"),), RATIO, lambda: 44, _kst,
        "100 * (sma(roc(x, 10), 10) + 2 sma(roc(x, 15), 10) + 3 sma(roc(x, 20), 10) + 4 sma(roc(x, 30), 15))",
        "Pring, Know Sure Thing, 1992", "kst(close) > 0", WINDOWED, aliases=("know_sure_thing",),
    ),
    Function(
        "balance_of_power", "oscillator", (), RATIO, none, _balance_of_power, "(close - open) / (high - low)",
        "Livshin, Balance of Power, 2001", "sma(balance_of_power(), 14) > 0", "NaN where an input is, or high is low",
        aliases=("bop",), reads=OHLC, lies_in=(-1.0, 1.0),
    ),
    Function(
        "bull_power", "oscillator", (bars_back(13, grid=SWING),), PRICE, window_less_one, _bull_power,
        "high - ema(close, window)", _ELDER, "bull_power(13) > 0", RECURSIVE, reads=("high", "close"),
    ),
    Function(
        "bear_power", "oscillator", (bars_back(13, grid=SWING),), PRICE, window_less_one, _bear_power,
        "low - ema(close, window)", _ELDER, "bear_power(13) < 0", RECURSIVE, reads=("low", "close"),
    ),
    Function(
        "connors_rsi", "oscillator",
        (
            series(rule="any"), bars_back(3, grid=(2, 3, 5)), bars_back(2, name="streak", grid=(2, 3)),
            bars_back(100, name="place", low=2, grid=(50, 100)),
        ),
        RATIO, lambda length, streak, place: int(max(length, streak + 1, place)), _connors_rsi,
        "mean of rsi(x, window), rsi(bars risen or fallen in a row, streak) and 100 * rank(roc(x, 1), place)",
        "Connors and Alvarez, An Introduction to ConnorsRSI, 2012", "connors_rsi(close) < 15",
        "as any recursion, and NaN where x never moved", aliases=("crsi",), lies_in=(0.0, 100.0),
    ),
)  # fmt: skip
