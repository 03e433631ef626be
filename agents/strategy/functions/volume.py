"""Volume: how much was traded, and with which move of the price."""

import numpy as np

from agents.strategy import kernels, kernels_paths
from agents.strategy.functions.entry import (
    BASIC,
    HLC,
    PRICE,
    RATIO,
    RECURSIVE,
    SWING,
    VALUE,
    VOLUME,
    Function,
    bars_back,
    none,
    one,
    window,
    window_less_one,
)
from agents.strategy.functions.fields import typical_price
from agents.strategy.functions.steps import ema, grown, quotient, stepped
from backtesting.bars import Bars, FloatArray


def _obv(bars: Bars) -> FloatArray:
    return kernels.cumulative(np.sign(stepped(bars.close)) * bars.volume)


def _pvt(bars: Bars) -> FloatArray:
    return kernels.cumulative(grown(bars.close) * bars.volume)


def _flow(bars: Bars) -> FloatArray:
    """Volume times where the close stands in the bar's range, -1 to 1; 0 for a bar without a range."""
    span = bars.high - bars.low
    place = np.where(span == 0.0, 0.0, quotient((bars.close - bars.low) - (bars.high - bars.close), span))
    return np.where(np.isnan(span), np.nan, place) * bars.volume


def _ad(bars: Bars) -> FloatArray:
    return kernels.cumulative(_flow(bars))


def _adosc(bars: Bars, fast: int, slow: int) -> FloatArray:
    line = _ad(bars)
    return ema(line, fast) - ema(line, slow)


def _cmf(bars: Bars, length: int) -> FloatArray:
    return quotient(
        kernels.rolling_sum(_flow(bars), length), kernels.rolling_sum(bars.volume + 0.0 * bars.close, length)
    )


def _mfi(bars: Bars, length: int) -> FloatArray:
    typical = typical_price(bars)
    step = stepped(typical)
    flow = np.where(np.isnan(step), np.nan, typical * bars.volume)
    gain = kernels.rolling_sum(np.where(step <= 0, 0.0 * flow, flow), length)
    loss = kernels.rolling_sum(np.where(step >= 0, 0.0 * flow, flow), length)
    return 100.0 * quotient(gain, gain + loss)


def _vwap(bars: Bars, length: int) -> FloatArray:
    value = kernels.rolling_sum(typical_price(bars) * bars.volume, length)
    return quotient(value, kernels.rolling_sum(bars.volume + 0.0 * bars.close, length))


def _relative_volume(bars: Bars, length: int) -> FloatArray:
    return quotient(bars.volume, kernels.rolling_mean(bars.volume, length))


def _pvo(bars: Bars, fast: int, slow: int) -> FloatArray:
    base = ema(bars.volume, slow)
    return 100.0 * quotient(ema(bars.volume, fast) - base, base)


def _adv(bars: Bars, length: int) -> FloatArray:
    return kernels.rolling_mean(bars.close * bars.volume, length)


def _force(bars: Bars, length: int) -> FloatArray:
    return ema(stepped(bars.close) * bars.volume, length)


def _volume_index(bars: Bars, sign: float) -> FloatArray:
    more = sign * stepped(bars.volume)
    return kernels_paths.compounded(np.where(np.isnan(more), np.nan, np.where(more > 0, grown(bars.close), 0.0)))


def _pvi(bars: Bars) -> FloatArray:
    return _volume_index(bars, 1.0)


def _nvi(bars: Bars) -> FloatArray:
    return _volume_index(bars, -1.0)


def _amihud(bars: Bars, length: int) -> FloatArray:
    return kernels.rolling_mean(1e6 * quotient(np.abs(grown(bars.close)), bars.close * bars.volume), length)


_NO_VOLUME = "as any window, and NaN where no volume was traded"
_RUNNING = "a missing bar is skipped and the total kept"
_ALL = (*HLC, "volume")
_CLOSE = ("close", "volume")
_CHAIKIN = "Chaikin, Chaikin Money Flow, in Achelis, Technical Analysis from A to Z, 1995"
_FOSBACK = "Fosback, Stock Market Logic, 1976"

ENTRIES = (
    Function(
        "obv", "volume", (), VOLUME, one, _obv, "running total of volume, signed by the change of the close",
        "Granville, New Key to Stock Market Profits, 1963", "obv() > sma(obv(), 20)", _RUNNING,
        aliases=("on_balance_volume",), reads=_CLOSE,
    ),
    Function(
        "pvt", "volume", (), VOLUME, one, _pvt, "running total of volume * roc(close, 1)", BASIC,
        "pvt() > sma(pvt(), 20)", _RUNNING, aliases=("price_volume_trend",), reads=_CLOSE,
    ),
    Function(
        "ad", "volume", (), VOLUME, none, _ad,
        "running total of volume * ((close - low) - (high - close)) / (high - low); a bar without a range adds 0",
        _CHAIKIN, "ad() > sma(ad(), 20)", _RUNNING, aliases=("accumulation_distribution", "ad_line"), reads=_ALL,
    ),
    Function(
        "adosc", "volume", (bars_back(3, name="fast", grid=(3, 5)), bars_back(10, name="slow", grid=(10, 20))), VOLUME,
        lambda fast, slow: max(int(fast), int(slow)) - 1, _adosc, "ema(ad(), fast) - ema(ad(), slow)", _CHAIKIN,
        "adosc(3, 10) > 0", RECURSIVE, aliases=("chaikin_oscillator",), reads=_ALL,
        differs="TA-Lib starts both averages at the first value; the difference fades",
    ),
    Function(
        "cmf", "volume", (bars_back(20, grid=SWING),), RATIO, window_less_one, _cmf,
        "what ad() gains over the window / sum(volume, window), -1 to 1", _CHAIKIN, "cmf(20) > 0.1", _NO_VOLUME,
        aliases=("chaikin_money_flow",), reads=_ALL, lies_in=(-1.0, 1.0),
    ),
    Function(
        "mfi", "volume", (bars_back(14, grid=SWING),), RATIO, window, _mfi,
        "100 * rising / (rising + falling) sums of hlc3 * volume over the window, 0 to 100",
        "Quong and Soudack, The Money Flow Index, 1989", "mfi(14) < 20", "as any window, and NaN where no money flowed",
        aliases=("money_flow_index",), reads=_ALL, lies_in=(0.0, 100.0),
    ),
    Function(
        "vwap", "volume", (bars_back(grid=SWING),), PRICE, window_less_one, _vwap,
        "sum(hlc3 * volume, window) / sum(volume, window); `vwap` alone is that of one bar, vwap(1)", BASIC,
        "close > vwap(20)", _NO_VOLUME,
        aliases=("vwap_n", "rolling_vwap"), reads=_ALL,
    ),
    Function(
        "relative_volume", "volume", (bars_back(20, grid=SWING),), RATIO, window_less_one, _relative_volume,
        "volume / sma(volume, window)", BASIC, "relative_volume(20) > 1.5", _NO_VOLUME,
        aliases=("rvol", "volume_ratio"), reads=("volume",),
    ),
    Function(
        "pvo", "volume", (bars_back(12, name="fast", grid=(5, 12)), bars_back(26, name="slow", grid=(20, 26))), RATIO,
        lambda fast, slow: max(int(fast), int(slow)) - 1, _pvo,
        "100 * (ema(volume, fast) - ema(volume, slow)) / ema(volume, slow)", BASIC, "pvo(12, 26) > 0", RECURSIVE,
        aliases=("percentage_volume_oscillator",), reads=("volume",),
    ),
    Function(
        "adv", "volume", (bars_back(20, grid=(5, 10, 20, 60)),), VALUE, window_less_one, _adv,
        "average traded value: sma(close * volume, window)", "Kakushadze, 101 Formulaic Alphas, 2016",
        "close * volume > 2 * adv(20)", aliases=("dollar_volume",), reads=_CLOSE,
    ),
    Function(
        "force", "volume", (bars_back(13, grid=(2, 13, 20)),), VALUE, window, _force,
        "ema(change(close, 1) * volume, window)", "Elder, Trading for a Living, 1993", "force(13) > 0", RECURSIVE,
        aliases=("force_index",), reads=_CLOSE,
    ),
    Function(
        "pvi", "volume", (), RATIO, one, _pvi, "1000, grown by roc(close, 1) on bars whose volume rose", _FOSBACK,
        "pvi() > ema(pvi(), 250)", _RUNNING, aliases=("positive_volume_index",), reads=_CLOSE,
    ),
    Function(
        "nvi", "volume", (), RATIO, one, _nvi, "1000, grown by roc(close, 1) on bars whose volume fell", _FOSBACK,
        "nvi() > ema(nvi(), 250)", _RUNNING, aliases=("negative_volume_index",), reads=_CLOSE,
    ),
    Function(
        "amihud", "volume", (bars_back(20, grid=(20, 60, 250)),), RATIO, window, _amihud,
        "mean of |roc(close, 1)| / (close * volume), times a million: the move that a million of currency goes with",
        "Amihud, Illiquidity and Stock Returns, 2002", "amihud(20) < sma(amihud(20), 100)", _NO_VOLUME,
        aliases=("illiquidity",), reads=_CLOSE,
    ),
)  # fmt: skip
