"""Trend: moving averages, direction and its strength."""

import math

import numpy as np

from agents.strategy import kernels, kernels_paths
from agents.strategy.functions.entry import (
    BASIC,
    HLC,
    NO_MOVE,
    NO_RANGE,
    PRICE,
    RATIO,
    RECURSIVE,
    SWING,
    WILDER,
    WINDOWED,
    Function,
    bars_back,
    multiple,
    number,
    series,
    window,
    window_less_one,
)
from agents.strategy.functions.steps import atr, ema, grown, highest, lagged, lowest, quotient, rma, stepped, true_range
from backtesting.bars import Bars, FloatArray


def _sma(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.rolling_mean(x, length)


def _ema(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return ema(x, length)


def _rma(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return rma(x, length)


def _wma(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.line(x, length, 4)


def _dema(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    first = ema(x, length)
    return first + (first - ema(first, length))


def _tema(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    first = ema(x, length)
    second = ema(first, length)
    return 3.0 * (first - second) + ema(second, length)


def _trima(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.rolling_mean(kernels.rolling_mean(x, (length + 1) // 2), length // 2 + 1)


def _efficiency(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return quotient(np.abs(stepped(x, length)), kernels.rolling_sum(np.abs(stepped(x)), length))


def _kama(bars: Bars, x: FloatArray, length: int, fast: int, slow: int) -> FloatArray:
    path = kernels.rolling_sum(np.abs(stepped(x)), length)
    # Where nothing moves, nothing has to be followed.
    share = np.where(path == 0.0, 0.0, quotient(np.abs(stepped(x, length)), path))
    quick, calm = 2.0 / (fast + 1), 2.0 / (slow + 1)
    return kernels_paths.adaptive(x, (share * (quick - calm) + calm) ** 2)


def _hma(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    half, whole = kernels.line(x, length // 2, 4), kernels.line(x, length, 4)
    return kernels.line(half + (half - whole), math.isqrt(length), 4)


def _zlema(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return ema(x + stepped(x, (length - 1) // 2), length)


def _vwma(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return quotient(kernels.rolling_sum(x * bars.volume, length), kernels.rolling_sum(bars.volume + 0.0 * x, length))


def _alma(bars: Bars, x: FloatArray, length: int, offset: float, sigma: float) -> FloatArray:
    middle, spread = offset * (length - 1), length / sigma
    weights = [math.exp(-((i - middle) ** 2) / (2.0 * spread**2)) for i in range(length)]
    total = math.fsum(weights)
    return kernels.weighted_window(x, np.array([weight / total for weight in weights]))


def _t3(bars: Bars, x: FloatArray, length: int, factor: float) -> FloatArray:
    steps = [ema(x, length)]
    for _ in range(5):
        steps.append(ema(steps[-1], length))
    square, cube = factor**2, factor**3
    return (
        (1.0 + 3.0 * factor + 3.0 * square + cube) * steps[2]
        + (-6.0 * square - 3.0 * factor - 3.0 * cube) * steps[3]
        + (3.0 * square + 3.0 * cube) * steps[4]
        - cube * steps[5]
    )


def _slope(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.line(x, length, 0)


def _macd(bars: Bars, x: FloatArray, fast: int, slow: int) -> FloatArray:
    return ema(x, fast) - ema(x, slow)


def _macd_signal(bars: Bars, x: FloatArray, fast: int, slow: int, smooth: int) -> FloatArray:
    return ema(_macd(bars, x, fast, slow), smooth)


def _macd_histogram(bars: Bars, x: FloatArray, fast: int, slow: int, smooth: int) -> FloatArray:
    line = _macd(bars, x, fast, slow)
    return line - ema(line, smooth)


def _dpo(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return lagged(x, length // 2 + 1) - kernels.rolling_mean(x, length)


def _directions(bars: Bars, length: int) -> tuple[FloatArray, FloatArray]:
    up, down = stepped(bars.high), -stepped(bars.low)
    known = ~np.isnan(up)
    plus = np.where(known, np.where((up > down) & (up > 0), up, 0.0), np.nan)
    minus = np.where(known, np.where((down > up) & (down > 0), down, 0.0), np.nan)
    return rma(plus, length), rma(minus, length)


def _dx(bars: Bars, length: int) -> FloatArray:
    # The smoothed true range stands above and below the line of +DI and -DI alike, and so cancels.
    plus, minus = _directions(bars, length)
    return 100.0 * quotient(np.abs(plus - minus), plus + minus)


def _adx(bars: Bars, length: int) -> FloatArray:
    return rma(_dx(bars, length), length)


def _adxr(bars: Bars, length: int) -> FloatArray:
    strength = _adx(bars, length)
    return (strength + lagged(strength, length - 1)) / 2.0


def _plus_di(bars: Bars, length: int) -> FloatArray:
    return 100.0 * quotient(_directions(bars, length)[0], atr(bars, length))


def _minus_di(bars: Bars, length: int) -> FloatArray:
    return 100.0 * quotient(_directions(bars, length)[1], atr(bars, length))


def _aroon_up(bars: Bars, length: int) -> FloatArray:
    return 100.0 * (length - kernels.extreme_age(bars.high, length + 1, 1.0)) / length


def _aroon_down(bars: Bars, length: int) -> FloatArray:
    return 100.0 * (length - kernels.extreme_age(bars.low, length + 1, -1.0)) / length


def _aroon(bars: Bars, length: int) -> FloatArray:
    return _aroon_up(bars, length) - _aroon_down(bars, length)


def _supertrend(bars: Bars, length: int, far: float) -> FloatArray:
    return kernels_paths.super_trend((bars.high + bars.low) / 2.0, bars.close, far * atr(bars, length))


def _psar(bars: Bars, step: float, most: float) -> FloatArray:
    return kernels_paths.parabolic(bars.high, bars.low, step, most)


def _vortex_plus(bars: Bars, length: int) -> FloatArray:
    moved = np.abs(bars.high - lagged(bars.low, 1))
    return quotient(kernels.rolling_sum(moved, length), kernels.rolling_sum(true_range(bars), length))


def _vortex_minus(bars: Bars, length: int) -> FloatArray:
    moved = np.abs(bars.low - lagged(bars.high, 1))
    return quotient(kernels.rolling_sum(moved, length), kernels.rolling_sum(true_range(bars), length))


def _mass_index(bars: Bars, length: int) -> FloatArray:
    once = ema(bars.high - bars.low, 9)
    return kernels.rolling_sum(quotient(once, ema(once, 9)), length)


def _choppiness(bars: Bars, length: int) -> FloatArray:
    span = highest(bars.high, length) - lowest(bars.low, length)
    walked = quotient(kernels.rolling_sum(true_range(bars), length), span)
    return 100.0 * kernels.logarithm(walked) / math.log(length)


def _midpoint(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return (highest(x, length) + lowest(x, length)) / 2.0


def _midprice(bars: Bars, length: int) -> FloatArray:
    return (highest(bars.high, length) + lowest(bars.low, length)) / 2.0


def _trix(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return 100.0 * grown(ema(ema(ema(x, length), length), length))


_FAST = bars_back(12, name="fast", grid=(5, 8, 12))
_SLOW = bars_back(26, name="slow", grid=(20, 26, 35))
_SMOOTH = bars_back(9, name="smooth", grid=(5, 9))
_APPEL = "Appel, The Moving Average Convergence-Divergence Method, 1979"
_CHANDE = "Chande and Kroll, The New Technical Trader, 1994"
_MACD_START = "TA-Lib starts the fast average where the slow one starts; the difference fades within a few windows"
_DIRECTIONS = "TA-Lib starts Wilder's smoothing with a sum; the difference fades within a few windows"
_VORTEX = "Botes and Siepman, The Vortex Indicator, 2010"
_KAUFMAN = "Kaufman, Trading Systems and Methods, 1987"


def _fastest_first(step: float, most: float) -> str:
    return f"step is {step:g} and most is {most:g}; step must be at most that" if step > most else ""


def _slower(fast: float, slow: float) -> int:
    return max(int(fast), int(slow)) - 1


def _slower_then_smooth(fast: float, slow: float, smooth: float) -> int:
    return _slower(fast, slow) + int(smooth) - 1


ENTRIES = (
    Function(
        "sma", "trend", (series(), bars_back()), "same", window_less_one, _sma, "mean of x over the last `window` bars",
        BASIC, "sma(close, 50)", aliases=("mean", "ma", "avg", "ts_mean"), finite=True,
    ),
    Function(
        "ema", "trend", (series(), bars_back()), "same", window_less_one, _ema,
        "e += 2 / (window + 1) * (x - e), started at the mean of the first `window` values", BASIC,
        "ema(close, 20)", RECURSIVE, aliases=("ewm", "exp_ma"),
    ),
    Function(
        "wma", "trend", (series(), bars_back()), "same", window_less_one, _wma,
        "mean of x with weights 1, 2, ..., window, the newest the heaviest", BASIC, "wma(close, 20)",
        aliases=("weighted_ma", "decay_linear"),
    ),
    Function(
        "rma", "trend", (series(), bars_back()), "same", window_less_one, _rma,
        "e += (x - e) / window, started at the mean of the first `window` values", WILDER, "rma(close, 14)",
        RECURSIVE, aliases=("wilder", "smma"),
    ),
    Function(
        "dema", "trend", (series(), bars_back(high=500)), "same", lambda n: 2 * (int(n) - 1), _dema,
        "2 * e - ema(e, window), e = ema(x, window)", "Mulloy, Smoothing Data with Faster Moving Averages, 1994",
        "close > dema(close, 20)", RECURSIVE, aliases=("double_ema",),
    ),
    Function(
        "tema", "trend", (series(), bars_back(high=300)), "same", lambda n: 3 * (int(n) - 1), _tema,
        "3 * e - 3 * ema(e, window) + ema(ema(e, window), window), e = ema(x, window)",
        "Mulloy, Smoothing Data with Faster Moving Averages, 1994", "close > tema(close, 20)", RECURSIVE,
        aliases=("triple_ema",),
    ),
    Function(
        "trima", "trend", (series(), bars_back()), "same", window_less_one, _trima,
        "sma of sma, over half the window each: weights rise to the middle and fall again", BASIC,
        "close > trima(close, 20)", aliases=("triangular_ma",),
    ),
    Function(
        "kama", "trend",
        (
            series(), bars_back(10, grid=(5, 10, 20)), bars_back(2, name="fast", grid=(2, 3, 5)),
            bars_back(30, name="slow", grid=(20, 30, 50)),
        ),
        "same", window, _kama,
        "e += s^2 * (x - e), s between 2 / (slow + 1) and 2 / (fast + 1) by efficiency(x, window)", _KAUFMAN,
        "close > kama(close, 10)", RECURSIVE, aliases=("adaptive_ma",),
    ),
    Function(
        "hma", "trend", (series(), bars_back(low=2)), "same", lambda n: int(n) + math.isqrt(int(n)) - 2, _hma,
        "wma(2 * wma(x, window // 2) - wma(x, window), isqrt(window))", "Hull, Hull Moving Average, 2005",
        "rising(hma(close, 20), 1)", aliases=("hull_ma",),
    ),
    Function(
        "zlema", "trend", (series(), bars_back()), "same", lambda n: (int(n) - 1) // 2 + int(n) - 1, _zlema,
        "ema(2 * x - lag(x, (window - 1) // 2), window)", "Ehlers and Way, Zero Lag (Well, Almost), 2010",
        "close > zlema(close, 20)", RECURSIVE, aliases=("zero_lag_ema",),
    ),
    Function(
        "vwma", "trend", (series(), bars_back()), "same", window_less_one, _vwma,
        "sum(x * volume, window) / sum(volume, window)", BASIC, "vwma(close, 20) > sma(close, 20)",
        "as any window, and NaN where no volume was traded", reads=("volume",),
    ),
    Function(
        "alma", "trend",
        (
            series(), bars_back(9, low=2, grid=(9, 20, 50)), number("offset", 0.85, 0.0, 1.0, (0.5, 0.85, 0.95)),
            number("sigma", 6.0, 0.5, 100.0, (3.0, 6.0, 9.0)),
        ),
        "same", window_less_one, _alma,
        "mean of x with weights exp(-(i - offset * (window - 1))^2 / (2 * (window / sigma)^2)), i = 0 the oldest",
        "Legoux and Kouzis-Loukas, Arnaud Legoux Moving Average, 2009", "close > alma(close, 20)", scans=True,
    ),
    Function(
        "t3", "trend", (series(), bars_back(5, high=150, grid=(5, 8, 14)), number("factor", 0.7, 0.0, 1.0, (0.6, 0.7))),
        "same", lambda n, *_: 6 * (int(n) - 1), _t3,
        "three times (1 + factor) * ema - factor * ema of the ema, each of the one before",
        "Tillson, Better Moving Averages, 1998", "close > t3(close, 5)", RECURSIVE,
    ),
    Function(
        "slope", "trend", (series(), bars_back(low=2)), "same", window_less_one, _slope,
        "least-squares slope of x on time over the window, in units of x a bar", BASIC, "slope(close, 20) > 0",
        aliases=("linreg_slope", "ts_slope"),
    ),
    Function(
        "macd", "trend", (series(), _FAST, _SLOW), "same", _slower, _macd, "ema(x, fast) - ema(x, slow)", _APPEL,
        "macd(close, 12, 26) > 0", RECURSIVE, aliases=("macd_line",), differs=_MACD_START,
    ),
    Function(
        "macd_signal", "trend", (series(), _FAST, _SLOW, _SMOOTH), "same", _slower_then_smooth, _macd_signal,
        "ema(macd(x, fast, slow), smooth)", _APPEL,
        "crosses_above(macd(close, 12, 26), macd_signal(close, 12, 26, 9))", RECURSIVE,
    ),
    Function(
        "macd_histogram", "trend", (series(), _FAST, _SLOW, _SMOOTH), "same", _slower_then_smooth, _macd_histogram,
        "macd(x, fast, slow) - macd_signal(x, fast, slow, smooth)", _APPEL, "macd_histogram(close) > 0", RECURSIVE,
        aliases=("macd_hist",),
    ),
    Function(
        "trix", "trend", (series(rule="any"), bars_back(15, high=300, grid=(5, 9, 15, 30))), RATIO,
        lambda n: 3 * (int(n) - 1) + 1, _trix, "100 * roc of the ema of the ema of ema(x, window), one bar",
        "Hutson, Good Trix, 1983", "trix(close, 15) > 0", RECURSIVE,
    ),
    Function(
        "dpo", "trend", (series(), bars_back(20, low=2, grid=SWING)), "same",
        lambda n: max(int(n) - 1, int(n) // 2 + 1), _dpo,
        "lag(x, window // 2 + 1) - sma(x, window); the usual chart shifts it back into the past, this does not", BASIC,
        "dpo(close, 20) < 0", aliases=("detrended_price",),
    ),
    Function(
        "dx", "trend", (bars_back(14, grid=SWING),), RATIO, window, _dx,
        "100 * |+DM - -DM| / (+DM + -DM), each smoothed by rma; 0 to 100", WILDER, "dx(14) > 25",
        "as any recursion, and NaN where nothing moved", aliases=("directional_index",), reads=HLC,
        lies_in=(0.0, 100.0), differs=_DIRECTIONS,
    ),
    Function(
        "adx", "trend", (bars_back(14, grid=SWING),), RATIO, lambda n: 2 * int(n) - 1, _adx, "rma(dx(window), window)",
        WILDER, "adx(14) > 25", RECURSIVE, reads=HLC, lies_in=(0.0, 100.0), differs=_DIRECTIONS,
    ),
    Function(
        "adxr", "trend", (bars_back(14, high=300, grid=SWING),), RATIO, lambda n: 3 * int(n) - 2, _adxr,
        "mean of adx(window) and itself window - 1 bars ago", WILDER, "adxr(14) > 20", RECURSIVE, reads=HLC,
        lies_in=(0.0, 100.0), differs=_DIRECTIONS,
    ),
    Function(
        "plus_di", "trend", (bars_back(14, grid=SWING),), RATIO, window, _plus_di,
        "100 * rma(+DM, window) / atr(window): upward directional movement", WILDER, "plus_di(14) > minus_di(14)",
        RECURSIVE, aliases=("di_plus", "di_up"), reads=HLC, differs=_DIRECTIONS,
    ),
    Function(
        "minus_di", "trend", (bars_back(14, grid=SWING),), RATIO, window, _minus_di,
        "100 * rma(-DM, window) / atr(window): downward directional movement", WILDER,
        "crosses_above(plus_di(14), minus_di(14))", RECURSIVE, aliases=("di_minus", "di_down"), reads=HLC,
        differs=_DIRECTIONS,
    ),
    Function(
        "aroon_up", "trend", (bars_back(25, high=999, grid=(14, 25, 50)),), RATIO, window, _aroon_up,
        "100 * (window - bars since the highest high of window + 1 bars) / window", _CHANDE, "aroon_up(25) > 70",
        reads=("high",), lies_in=(0.0, 100.0),
    ),
    Function(
        "aroon_down", "trend", (bars_back(25, high=999, grid=(14, 25, 50)),), RATIO, window, _aroon_down,
        "100 * (window - bars since the lowest low of window + 1 bars) / window", _CHANDE, "aroon_down(25) < 30",
        reads=("low",), lies_in=(0.0, 100.0),
    ),
    Function(
        "aroon", "trend", (bars_back(25, high=999, grid=(14, 25, 50)),), RATIO, window, _aroon,
        "aroon_up(window) - aroon_down(window), -100 to 100", _CHANDE, "aroon(25) > 0", aliases=("aroon_oscillator",),
        reads=("high", "low"), lies_in=(-100.0, 100.0),
    ),
    Function(
        "supertrend", "trend", (bars_back(10, grid=(7, 10, 14)), multiple(3.0)), PRICE, window, _supertrend,
        "band (high + low) / 2 -/+ multiple * atr(window) that only moves with the trend and flips when the close"
        " crosses it", "Seban, Tout le monde mérite d'être riche, 2009", "close > supertrend(10, 3)", RECURSIVE,
        reads=HLC,
    ),
    Function(
        "psar", "trend",
        (number("step", 0.02, 0.001, 0.5, (0.01, 0.02, 0.04)), number("most", 0.2, 0.001, 1.0, (0.1, 0.2))),
        PRICE, lambda *_: 1, _psar,
        "parabolic stop and reverse: the level moves towards the extreme by `step` more at each new one, up to `most`",
        WILDER, "close > psar()", "NaN in the first bar; a missing bar is skipped and the state kept",
        aliases=("parabolic_sar", "sar"), reads=("high", "low"), refuses=_fastest_first,
    ),
    Function(
        "vortex_plus", "trend", (bars_back(14, grid=SWING),), RATIO, window, _vortex_plus,
        "sum(|high - lag(low, 1)|, window) / sum(true_range(), window)", _VORTEX,
        "vortex_plus(14) > vortex_minus(14)", NO_RANGE, reads=HLC,
    ),
    Function(
        "vortex_minus", "trend", (bars_back(14, grid=SWING),), RATIO, window, _vortex_minus,
        "sum(|low - lag(high, 1)|, window) / sum(true_range(), window)", _VORTEX,
        "crosses_below(vortex_minus(14), vortex_plus(14))", NO_RANGE, reads=HLC,
    ),
    Function(
        "mass_index", "trend", (bars_back(25, grid=(9, 25)),), RATIO, lambda n: 15 + int(n), _mass_index,
        "sum(e / ema(e, 9), window), e = ema(high - low, 9)", "Dorsey, The Mass Index, 1992", "mass_index(25) > 27",
        "as any recursion, and NaN where the range is 0", reads=("high", "low"),
    ),
    Function(
        "choppiness", "trend", (bars_back(14, low=2, grid=SWING),), RATIO, window, _choppiness,
        "100 * log(sum(true_range(), window) / (highest high - lowest low)) / log(window): near 100 without a trend",
        "Dreiss, The Choppiness Index, 1993", "choppiness(14) < 38.2", NO_RANGE, reads=HLC,
    ),
    Function(
        "efficiency", "trend", (series(rule="any"), bars_back(10)), RATIO, window, _efficiency,
        "|change(x, window)| / sum(|change(x, 1)|, window), 0 to 1", _KAUFMAN, "efficiency(close, 10) > 0.3", NO_MOVE,
        aliases=("efficiency_ratio",), lies_in=(0.0, 1.0),
    ),
    Function(
        "midpoint", "trend", (series(), bars_back()), "same", window_less_one, _midpoint,
        "(highest(x, window) + lowest(x, window)) / 2", BASIC, "close > midpoint(close, 50)", WINDOWED,
    ),
    Function(
        "midprice", "trend", (bars_back(26, grid=(9, 26, 52)),), PRICE, window_less_one, _midprice,
        "(highest high + lowest low) / 2 over the window; with 9 and 26 the lines of an Ichimoku chart",
        "Hosoda, Ichimoku Kinko Hyo, 1969", "crosses_above(midprice(9), midprice(26))",
        aliases=("ichimoku_line", "kijun"), reads=("high", "low"),
    ),
)  # fmt: skip
