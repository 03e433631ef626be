"""Functions against TA-Lib, pandas-ta-classic and pandas, and the differences that are meant.

TA-Lib starts its recursions in other ways (an ema with the first value inside MACD and ADOSC, sums instead of means
in Wilder's smoothing of directional movement), so those are compared where the start no longer shows.
"""

import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib

from agents.strategy.expression.evaluate import EvaluationCache, evaluate
from agents.strategy.expression.nodes import Node
from agents.strategy.expression.parse import parse
from agents.strategy.indicators import FUNCTIONS
from backtesting.bars import Bars

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandas_ta_classic as ta

# Test files are imported by path, so a neighbour has to be, too.
_SPEC = importlib.util.spec_from_file_location("touchstone_test_panels", Path(__file__).parent / "test_panels.py")
assert _SPEC is not None
assert _SPEC.loader is not None
panels: Any = importlib.util.module_from_spec(_SPEC)
sys.modules["touchstone_test_panels"] = panels
_SPEC.loader.exec_module(panels)

Series = dict[str, Any]

# Bars after which a start that was chosen otherwise shows in the tenth digit no more.
LATE = 300


def values(text: str, bars: Bars) -> np.ndarray:
    node = parse(text)
    assert isinstance(node, Node), [str(error) for error in node]
    return evaluate(node, bars, EvaluationCache())[:, 1].astype(float)


def fields(bars: Bars) -> Series:
    found = {name: getattr(bars, name)[:, 1].copy() for name in ("open", "high", "low", "close", "volume")}
    return {short: found[name] for short, name in zip("ohlcv", found, strict=True)}


TALIB: dict[str, tuple[Callable[[Series], np.ndarray], int]] = {
    "sma(close, 20)": (lambda s: talib.SMA(s["c"], 20), 0),
    "ema(close, 20)": (lambda s: talib.EMA(s["c"], 20), 0),
    "wma(close, 20)": (lambda s: talib.WMA(s["c"], 20), 0),
    "dema(close, 20)": (lambda s: talib.DEMA(s["c"], 20), 0),
    "tema(close, 20)": (lambda s: talib.TEMA(s["c"], 20), 0),
    "trima(close, 20)": (lambda s: talib.TRIMA(s["c"], 20), 0),
    "trima(close, 15)": (lambda s: talib.TRIMA(s["c"], 15), 0),
    "kama(close, 10, 2, 30)": (lambda s: talib.KAMA(s["c"], 10), 0),
    "t3(close, 5, 0.7)": (lambda s: talib.T3(s["c"], 5, 0.7), 0),
    "macd(close, 12, 26)": (lambda s: talib.MACD(s["c"], 12, 26, 9)[0], LATE),
    "macd_signal(close, 12, 26, 9)": (lambda s: talib.MACD(s["c"], 12, 26, 9)[1], LATE),
    "macd_histogram(close, 12, 26, 9)": (lambda s: talib.MACD(s["c"], 12, 26, 9)[2], LATE),
    "slope(close, 15)": (lambda s: talib.LINEARREG_SLOPE(s["c"], 15), 0),
    "linear_fit(close, 15)": (lambda s: talib.LINEARREG(s["c"], 15), 0),
    "residual(close, 15)": (lambda s: s["c"] - talib.LINEARREG(s["c"], 15), 0),
    "dx(14)": (lambda s: talib.DX(s["h"], s["l"], s["c"], 14), LATE),
    "adx(14)": (lambda s: talib.ADX(s["h"], s["l"], s["c"], 14), LATE + 50),
    "adxr(14)": (lambda s: talib.ADXR(s["h"], s["l"], s["c"], 14), LATE + 60),
    "plus_di(14)": (lambda s: talib.PLUS_DI(s["h"], s["l"], s["c"], 14), LATE),
    "minus_di(14)": (lambda s: talib.MINUS_DI(s["h"], s["l"], s["c"], 14), LATE),
    "aroon_up(25)": (lambda s: talib.AROON(s["h"], s["l"], 25)[1], 0),
    "aroon_down(25)": (lambda s: talib.AROON(s["h"], s["l"], 25)[0], 0),
    "aroon(25)": (lambda s: talib.AROONOSC(s["h"], s["l"], 25), 0),
    "psar(0.02, 0.2)": (lambda s: talib.SAR(s["h"], s["l"], 0.02, 0.2), 0),
    "midpoint(close, 14)": (lambda s: talib.MIDPOINT(s["c"], 14), 0),
    "midprice(14)": (lambda s: talib.MIDPRICE(s["h"], s["l"], 14), 0),
    "trix(close, 15)": (lambda s: talib.TRIX(s["c"], 15), 0),
    "roc(close, 10)": (lambda s: talib.ROCP(s["c"], 10), 0),
    "change(close, 10)": (lambda s: talib.MOM(s["c"], 10), 0),
    "rsi(close, 14)": (lambda s: talib.RSI(s["c"], 14), 0),
    "stochastic_k(14)": (lambda s: talib.STOCHF(s["h"], s["l"], s["c"], 14, 3)[0], 15),
    "stochastic_d(14, 3)": (lambda s: talib.STOCHF(s["h"], s["l"], s["c"], 14, 3)[1], 0),
    "stochastic_rsi(close, 14)": (lambda s: talib.STOCHRSI(s["c"], 14, 14, 3)[0], 29),
    "williams_r(14)": (lambda s: talib.WILLR(s["h"], s["l"], s["c"], 14), 0),
    "cci(20)": (lambda s: talib.CCI(s["h"], s["l"], s["c"], 20), 0),
    "ultimate(7, 14, 28)": (lambda s: talib.ULTOSC(s["h"], s["l"], s["c"], 7, 14, 28), 0),
    "ppo(close, 12, 26)": (lambda s: talib.PPO(s["c"], 12, 26, 1), 0),
    "balance_of_power()": (lambda s: talib.BOP(s["o"], s["h"], s["l"], s["c"]), 0),
    "true_range()": (lambda s: talib.TRANGE(s["h"], s["l"], s["c"]), 0),
    "atr(14)": (lambda s: talib.ATR(s["h"], s["l"], s["c"], 14), 0),
    "natr(14)": (lambda s: talib.NATR(s["h"], s["l"], s["c"], 14) / 100, 0),
    "bollinger_upper(close, 20, 2)": (lambda s: talib.BBANDS(s["c"], 20, 2, 2)[0], 0),
    "bollinger_lower(close, 20, 2)": (lambda s: talib.BBANDS(s["c"], 20, 2, 2)[2], 0),
    "obv()": (lambda s: talib.OBV(s["c"], s["v"]) - s["v"][0], 1),  # ours starts at 0, TA-Lib's at the first volume
    "ad()": (lambda s: talib.AD(s["h"], s["l"], s["c"], s["v"]), 0),
    "adosc(3, 10)": (lambda s: talib.ADOSC(s["h"], s["l"], s["c"], s["v"], 3, 10), LATE),
    "mfi(14)": (lambda s: talib.MFI(s["h"], s["l"], s["c"], s["v"], 14), 0),
    "correlation(close, volume, 25)": (lambda s: talib.CORREL(s["c"], s["v"], 25), 0),
    "variance(close / open, 10)": (lambda s: talib.VAR(s["c"] / s["o"], 10) * 10 / 9, 0),
    "highest(close, 20)": (lambda s: talib.MAX(s["c"], 20), 0),
    "lowest(close, 20)": (lambda s: talib.MIN(s["c"], 20), 0),
    "sum(volume, 7)": (lambda s: talib.SUM(s["v"], 7), 0),
}


@pytest.mark.parametrize("text", TALIB)
def test_agrees_with_ta_lib(text: str, whole_bars: Bars) -> None:
    oracle, since = TALIB[text]
    expected, found = oracle(fields(whole_bars)), values(text, whole_bars)
    if since == 0:
        assert np.array_equal(np.isnan(found), np.isnan(expected)), (np.isnan(found).sum(), np.isnan(expected).sum())
    tolerance = 1e-7 if since < LATE else 1e-5
    np.testing.assert_allclose(found[since:], expected[since:], rtol=tolerance, atol=tolerance * 1e-2)


def own(s: Series) -> Series:
    return {name: pd.Series(column) for name, column in s.items()}


def seeded(x: pd.Series, window: int, alpha: float) -> pd.Series:
    """An exponential average that starts with the mean of the first window."""
    known = x.dropna()
    started = known.copy()
    started.iloc[: window - 1] = np.nan
    started.iloc[window - 1] = known.iloc[:window].mean()
    return started.ewm(alpha=alpha, adjust=False, ignore_na=True).mean().reindex(x.index)


def ema(x: pd.Series, window: int) -> pd.Series:
    return seeded(x, window, 2 / (window + 1))


def weighted(x: pd.Series, window: int) -> pd.Series:
    weights = np.arange(1, window + 1)
    return x.rolling(window).apply(lambda part: np.dot(part, weights) / weights.sum(), raw=True)


def true_range(s: Series) -> pd.Series:
    before = s["c"].shift(1)
    spans = [s["h"] - s["l"], (s["h"] - before).abs(), (s["l"] - before).abs()]
    return pd.concat(spans, axis=1).max(axis=1, skipna=False)


def tsi(x: pd.Series) -> pd.Series:
    step = x.diff()
    return 100 * ema(ema(step, 25), 13) / ema(ema(step.abs(), 25), 13)


def cmo(x: pd.Series, window: int) -> pd.Series:
    gain, loss = x.diff().clip(lower=0).rolling(window).sum(), -x.diff().clip(upper=0).rolling(window).sum()
    return 100 * (gain - loss) / (gain + loss)


def range_log(s: Series, over: str, under: str) -> pd.Series:
    return np.log(s[over] / s[under])


def rogers_satchell(s: Series) -> pd.Series:
    return range_log(s, "h", "c") * range_log(s, "h", "o") + range_log(s, "l", "c") * range_log(s, "l", "o")


def yang_zhang(s: Series, n: int) -> pd.Series:
    overnight, day = np.log(s["o"] / s["c"].shift(1)), range_log(s, "c", "o")
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    whole = overnight.rolling(n).var() + k * day.rolling(n).var() + (1 - k) * rogers_satchell(s).rolling(n).mean()
    return np.sqrt(whole * 252)


def money_flow(s: Series) -> pd.Series:
    span = s["h"] - s["l"]
    return ((2 * s["c"] - s["h"] - s["l"]) / span).where(span != 0, 0.0) * s["v"]


def volume_index(s: Series, sign: int) -> pd.Series:
    more = sign * s["v"].diff()
    steps = s["c"].pct_change(fill_method=None).where(more > 0, 0.0).where(more.notna())
    return (1000 * (1 + steps.fillna(0)).cumprod()).where(more.notna())


def connors(s: Series) -> pd.Series:
    step = np.sign(s["c"].diff())
    run, runs = 0.0, []
    for sign in step:
        run = np.nan if np.isnan(sign) else (run + sign if np.nan_to_num(run) * sign > 0 else sign)
        runs.append(run)
    place = s["c"].pct_change(fill_method=None).rolling(100).rank()
    streak = pd.Series(runs)

    def rsi(x: pd.Series, n: int) -> pd.Series:
        gain, loss = seeded(x.diff().clip(lower=0), n, 1 / n), seeded(-x.diff().clip(upper=0), n, 1 / n)
        return 100 * gain / (gain + loss)

    return (rsi(s["c"], 3) + rsi(streak, 2) + 100 * (place - 1) / 99) / 3


def roughness(part: np.ndarray) -> float:
    lags = [lag for lag in (1, 2, 4, 8, 16, 32) if 4 * lag <= len(part)]
    means = [np.mean((part[lag:] - part[:-lag]) ** 2) for lag in lags]
    return float(np.polyfit(np.log(lags), np.log(means), 1)[0] / 2)


def entropy(part: np.ndarray) -> float:
    # np.histogram moves values on a rounded edge; the formula does not.
    places = np.minimum(((part - part.min()) / (part.max() - part.min()) * 8).astype(int), 7)
    counts = np.bincount(places)
    shares = counts[counts > 0] / len(part)
    return float(-(shares * np.log(shares)).sum() / np.log(8))


def alma(x: pd.Series, n: int) -> pd.Series:
    weights = np.exp(-((np.arange(n) - 0.85 * (n - 1)) ** 2) / (2 * (n / 6) ** 2))
    return x.rolling(n).apply(lambda part: np.dot(part, weights) / weights.sum(), raw=True)


def hma(x: pd.Series) -> pd.Series:
    return weighted(2 * weighted(x, 10) - weighted(x, 20), 4)


def change(x: pd.Series) -> pd.Series:
    return x.pct_change(fill_method=None)


def kst(x: pd.Series) -> pd.Series:
    parts = ((1, 10, 10), (2, 15, 10), (3, 20, 10), (4, 30, 15))
    return 100 * sum(weight * (x / x.shift(back) - 1).rolling(smooth).mean() for weight, back, smooth in parts)


PANDAS: dict[str, Callable[[Series], pd.Series]] = {
    "hma(close, 20)": lambda s: hma(s["c"]),
    "zlema(close, 11)": lambda s: ema(2 * s["c"] - s["c"].shift(5), 11),
    "vwma(close, 20)": lambda s: (s["c"] * s["v"]).rolling(20).sum() / s["v"].rolling(20).sum(),
    "alma(close, 9, 0.85, 6)": lambda s: alma(s["c"], 9),
    "dpo(close, 20)": lambda s: s["c"].shift(11) - s["c"].rolling(20).mean(),
    "vortex_plus(14)": lambda s: (s["h"] - s["l"].shift(1)).abs().rolling(14).sum() / true_range(s).rolling(14).sum(),
    "vortex_minus(14)": lambda s: (s["l"] - s["h"].shift(1)).abs().rolling(14).sum() / true_range(s).rolling(14).sum(),
    "mass_index(25)": lambda s: (ema(s["h"] - s["l"], 9) / ema(ema(s["h"] - s["l"], 9), 9)).rolling(25).sum(),
    "choppiness(14)": lambda s: (
        100
        * np.log10(true_range(s).rolling(14).sum() / (s["h"].rolling(14).max() - s["l"].rolling(14).min()))
        / np.log10(14)
    ),
    "efficiency(close, 10)": lambda s: s["c"].diff(10).abs() / s["c"].diff().abs().rolling(10).sum(),
    "gap()": lambda s: s["o"] / s["c"].shift(1) - 1,
    "intraday()": lambda s: s["c"] / s["o"] - 1,
    "cmo(close, 14)": lambda s: cmo(s["c"], 14),
    "tsi(close, 25, 13)": lambda s: tsi(s["c"]),
    "awesome(5, 34)": lambda s: ((s["h"] + s["l"]) / 2).rolling(5).mean() - ((s["h"] + s["l"]) / 2).rolling(34).mean(),
    "coppock(close, 14, 11, 10)": lambda s: (
        100 * weighted(s["c"] / s["c"].shift(14) + s["c"] / s["c"].shift(11) - 2, 10)
    ),
    "kst(close)": lambda s: kst(s["c"]),
    "bull_power(13)": lambda s: s["h"] - ema(s["c"], 13),
    "bear_power(13)": lambda s: s["l"] - ema(s["c"], 13),
    "connors_rsi(close, 3, 2, 100)": connors,
    "ewm_volatility(32)": lambda s: np.sqrt(ema(np.log(s["c"] / s["c"].shift(1)) ** 2, 32) * 252),
    "downside_deviation(20)": lambda s: np.sqrt(
        (np.log(s["c"] / s["c"].shift(1)).clip(upper=0) ** 2).rolling(20).mean() * 252
    ),
    "parkinson(20)": lambda s: np.sqrt((range_log(s, "h", "l") ** 2).rolling(20).mean() / (4 * np.log(2)) * 252),
    "garman_klass(20)": lambda s: np.sqrt(
        (0.5 * range_log(s, "h", "l") ** 2 - (2 * np.log(2) - 1) * range_log(s, "c", "o") ** 2).rolling(20).mean() * 252
    ),
    "rogers_satchell(20)": lambda s: np.sqrt(rogers_satchell(s).rolling(20).mean().clip(lower=0) * 252),
    "yang_zhang(20)": lambda s: yang_zhang(s, 20),
    "ulcer_index(close, 14)": lambda s: np.sqrt(
        ((100 * (s["c"] / s["c"].rolling(14).max() - 1)) ** 2).rolling(14).mean()
    ),
    "chaikin_volatility(10)": lambda s: ema(s["h"] - s["l"], 10) / ema(s["h"] - s["l"], 10).shift(10) - 1,
    "bollinger_width(close, 20, 2)": lambda s: 4 * s["c"].rolling(20).std(ddof=0) / s["c"].rolling(20).mean(),
    "bollinger_percent(close, 20, 2)": lambda s: (
        (s["c"] - s["c"].rolling(20).mean()) / (4 * s["c"].rolling(20).std(ddof=0)) + 0.5
    ),
    "donchian_middle(20)": lambda s: (s["h"].shift(1).rolling(20).max() + s["l"].shift(1).rolling(20).min()) / 2,
    "chandelier_long(22, 3)": lambda s: s["h"].rolling(22).max() - 3 * seeded(true_range(s), 22, 1 / 22),
    "chandelier_short(22, 3)": lambda s: s["l"].rolling(22).min() + 3 * seeded(true_range(s), 22, 1 / 22),
    "keltner_upper(20, 2)": lambda s: ema(s["c"], 20) + 2 * seeded(true_range(s), 20, 1 / 20),
    "keltner_lower(20, 2)": lambda s: ema(s["c"], 20) - 2 * seeded(true_range(s), 20, 1 / 20),
    "cmf(20)": lambda s: money_flow(s).rolling(20).sum() / s["v"].rolling(20).sum(),
    "force(13)": lambda s: ema(s["c"].diff() * s["v"], 13),
    "pvt()": lambda s: (change(s["c"]) * s["v"]).cumsum(),
    "pvi()": lambda s: volume_index(s, 1),
    "nvi()": lambda s: volume_index(s, -1),
    "pvo(12, 26)": lambda s: 100 * (ema(s["v"], 12) / ema(s["v"], 26) - 1),
    "adv(20)": lambda s: (s["c"] * s["v"]).rolling(20).mean(),
    "amihud(20)": lambda s: 1e6 * (change(s["c"]).abs() / (s["c"] * s["v"])).rolling(20).mean(),
    # Of equals the newest counts; TA-Lib's MAXINDEX takes the oldest, but its AROON the newest.
    "argmax(close, 20)": lambda s: s["c"].rolling(20).apply(lambda x: np.argmax(x[::-1]), raw=True),
    "argmin(close, 20)": lambda s: s["c"].rolling(20).apply(lambda x: np.argmin(x[::-1]), raw=True),
    "sharpe(roc(close, 1), 60)": lambda s: change(s["c"]).rolling(60).mean() / change(s["c"]).rolling(60).std(),
    "skew(close, 30)": lambda s: s["c"].rolling(30).skew(),
    "kurtosis(close, 30)": lambda s: s["c"].rolling(30).kurt(),
    "covariance(unitless(close), unitless(volume), 25)": lambda s: s["c"].rolling(25).cov(s["v"]),
    "beta(unitless(close), unitless(volume), 25)": lambda s: s["c"].rolling(25).cov(s["v"]) / s["v"].rolling(25).var(),
    "autocorrelation(close, 40, 3)": lambda s: s["c"].rolling(40).corr(s["c"].shift(3)),
    "r2(close, 30)": lambda s: s["c"].rolling(30).corr(pd.Series(np.arange(420.0))) ** 2,
    "hurst(close, 100)": lambda s: s["c"].rolling(100).apply(roughness, raw=True),
    "entropy(close, 50, 8)": lambda s: s["c"].rolling(50).apply(entropy, raw=True),
    "product(close / open, 10)": lambda s: (s["c"] / s["o"]).rolling(10).apply(np.prod, raw=True),
    "quantile(close, 30, 0.8)": lambda s: s["c"].rolling(30).quantile(0.8),
    "median(close, 30)": lambda s: s["c"].rolling(30).median(),
    "mad(close, 20)": lambda s: s["c"].rolling(20).apply(lambda x: np.abs(x - x.mean()).mean(), raw=True),
    "drawdown(close, 50)": lambda s: s["c"] / s["c"].rolling(50).max() - 1,
    "range_position(close, 50)": lambda s: (
        (s["c"] - s["c"].rolling(50).min()) / (s["c"].rolling(50).max() - s["c"].rolling(50).min())
    ),
    "rank(volume, 60)": lambda s: (s["v"].rolling(60).rank() - 1) / 59,
    "any_last(close > open, 3) and close > open": lambda s: (s["c"] > s["o"]).where(s["c"].shift(2).notna(), False),
    "count_if(close > open, 10)": lambda s: (s["c"] > s["o"]).astype(float).rolling(10).sum(),
    "exp(roc(close, 1))": lambda s: np.exp(change(s["c"])),
    "tanh(zscore(close, 20))": lambda s: np.tanh((s["c"] - s["c"].rolling(20).mean()) / s["c"].rolling(20).std()),
    "sigmoid(roc(close, 1))": lambda s: 1 / (1 + np.exp(-change(s["c"]))),
    "arctan(roc(close, 1))": lambda s: np.arctan(change(s["c"])),
    "floor(10 * roc(close, 5))": lambda s: np.floor(10 * (s["c"] / s["c"].shift(5) - 1)),
    "power(close / open, 3)": lambda s: (s["c"] / s["o"]) ** 3,
    "signed_power(roc(close, 1), 2)": lambda s: np.sign(change(s["c"])) * change(s["c"]) ** 2,
}


@pytest.mark.parametrize("text", PANDAS)
def test_agrees_with_pandas(text: str, bars: Bars, whole_bars: Bars) -> None:
    for market in (bars, whole_bars):
        if market is bars and text in GAPS_DIFFER:
            continue
        with np.errstate(all="ignore"):
            expected = np.asarray(PANDAS[text](own(fields(market))), dtype=float)
        found = values(text, market)
        assert np.array_equal(np.isnan(found), np.isnan(expected)), np.nonzero(np.isnan(found) != np.isnan(expected))
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


# pandas' comparisons and running products take a missing bar for False or for no change; ours stay unknown, or skip it.
GAPS_DIFFER = {
    "any_last(close > open, 3) and close > open",
    "count_if(close > open, 10)",
    "connors_rsi(close, 3, 2, 100)",
    "pvi()",
    "nvi()",
    "zlema(close, 11)",
    "mass_index(25)",
    "entropy(close, 50, 8)",
}


def test_supertrend_agrees_with_pandas_ta(whole_bars: Bars) -> None:
    s = own(fields(whole_bars))
    middle, distance = (s["h"] + s["l"]) / 2, 3 * seeded(true_range(s), 10, 1 / 10)
    upper, lower, up, out = np.inf, -np.inf, True, []
    before = np.nan
    for over, under, close in zip(middle + distance, middle - distance, s["c"], strict=True):
        if np.isnan(over):
            out.append(np.nan)
            before = close
            continue
        upper = over if over < upper or before > upper else upper
        lower = under if under > lower or before < lower else lower
        up = close >= lower if up else close > upper
        out.append(lower if up else upper)
        before = close
    np.testing.assert_allclose(values("supertrend(10, 3)", whole_bars), out, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "oracle"),
    [
        ("choppiness(14)", lambda s: ta.chop(s["h"], s["l"], s["c"], length=14, atr_length=1)),
        ("cmf(20)", lambda s: ta.cmf(s["h"], s["l"], s["c"], s["v"], length=20)),
        ("efficiency(close, 10)", lambda s: ta.er(s["c"], length=10)),
        ("hma(close, 20)", lambda s: ta.hma(s["c"], length=20)),
        ("vwma(close, 20)", lambda s: ta.vwma(s["c"], s["v"], length=20)),
    ],
)
def test_agrees_with_pandas_ta(text: str, oracle: Callable[[Series], pd.Series], whole_bars: Bars) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = oracle(own(fields(whole_bars)))
    assert expected is not None
    found = values(text, whole_bars)
    np.testing.assert_allclose(found[100:], expected.to_numpy()[100:], rtol=1e-7)


def test_every_function_has_an_oracle() -> None:
    """Here, or in a loop of test_panels.py; a new function without one fails."""
    with_oracle = {text.split("(")[0] for text in (*TALIB, *PANDAS, *panels.ORACLES)}
    assert with_oracle == set(FUNCTIONS)
