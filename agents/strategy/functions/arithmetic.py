"""Arithmetic: functions of the numbers of one bar alone."""

import numpy as np

from agents.strategy import kernels
from agents.strategy.functions.entry import (
    BASIC,
    POINTWISE,
    RATIO,
    Function,
    none,
    number,
    series,
    value,
)
from agents.strategy.functions.steps import root
from backtesting.bars import Bars, FloatArray


def _abs(bars: Bars, x: FloatArray) -> FloatArray:
    return np.abs(x)


def _sign(bars: Bars, x: FloatArray) -> FloatArray:
    return np.sign(x)


def _log(bars: Bars, x: FloatArray) -> FloatArray:
    return kernels.logarithm(x)


def _exp(bars: Bars, x: FloatArray) -> FloatArray:
    return kernels.mapped(x, 0)


def _tanh(bars: Bars, x: FloatArray) -> FloatArray:
    return kernels.mapped(x, 1)


def _sigmoid(bars: Bars, x: FloatArray) -> FloatArray:
    return kernels.mapped(x, 2)


def _arctan(bars: Bars, x: FloatArray) -> FloatArray:
    return kernels.mapped(x, 3)


def _sqrt(bars: Bars, x: FloatArray) -> FloatArray:
    return root(x)


def _power(bars: Bars, x: FloatArray, y: FloatArray) -> FloatArray:
    return kernels.raised(x, y)


def _signed_power(bars: Bars, x: FloatArray, y: FloatArray) -> FloatArray:
    return np.asarray(np.sign(x) * kernels.raised(np.abs(x), y))


def _floor(bars: Bars, x: FloatArray) -> FloatArray:
    return np.floor(x)


def _min(bars: Bars, x: FloatArray, y: FloatArray) -> FloatArray:
    return np.minimum(x, y)


def _max(bars: Bars, x: FloatArray, y: FloatArray) -> FloatArray:
    return np.maximum(x, y)


def _clip(bars: Bars, x: FloatArray, low: float, high: float) -> FloatArray:
    return np.minimum(np.maximum(x, low), high)


def _crossed(low: float, high: float) -> str:
    return f"low is {low:g} and high is {high:g}; low must be below high" if low >= high else ""


def _unitless(bars: Bars, x: FloatArray) -> FloatArray:
    return x + 0.0


_PLAIN = series(rule=RATIO)
_POWERS = (value("x", RATIO), value("y", RATIO))

ENTRIES = (
    Function(
        "abs", "arithmetic", (series(),), "same", none, _abs, "|x|", BASIC, "abs(roc(close, 1)) > 0.03", POINTWISE,
    ),
    Function(
        "sign", "arithmetic", (series(rule="any"),), RATIO, none, _sign, "-1, 0 or 1", BASIC,
        "sign(roc(close, 252)) > 0", POINTWISE, lies_in=(-1.0, 1.0),
    ),
    Function(
        "log", "arithmetic", (_PLAIN,), RATIO, none, _log, "natural logarithm", BASIC,
        "log(close / sma(close, 200)) > 0.05", "NaN where x is not positive", aliases=("ln",),
    ),
    Function(
        "exp", "arithmetic", (_PLAIN,), RATIO, none, _exp, "e to the power x", BASIC,
        "exp(log_return(close, 21)) > 1.05", "NaN where x is, or the result is beyond floating point",
    ),
    Function(
        "sqrt", "arithmetic", (_PLAIN,), RATIO, none, _sqrt, "square root", BASIC, "sqrt(relative_volume(20)) > 1",
        "NaN where x is negative",
    ),
    Function(
        "power", "arithmetic", _POWERS, RATIO, none, _power, "x to the power y; 0 to the power 0 is 1", BASIC,
        "power(roc(close, 1), 2) < 0.0001", "NaN where the result is not a finite real number", aliases=("pow",),
    ),
    Function(
        "signed_power", "arithmetic", _POWERS, RATIO, none, _signed_power, "sign(x) * power(abs(x), y)",
        "Kakushadze, 101 Formulaic Alphas, 2016", "signed_power(zscore(close, 20), 2) < -4",
        "NaN where the result is not a finite real number", aliases=("signedpower",),
    ),
    Function(
        "tanh", "arithmetic", (_PLAIN,), RATIO, none, _tanh, "hyperbolic tangent: x pressed into -1 to 1", BASIC,
        "tanh(zscore(close, 20)) < -0.9", POINTWISE, lies_in=(-1.0, 1.0),
    ),
    Function(
        "sigmoid", "arithmetic", (_PLAIN,), RATIO, none, _sigmoid, "1 / (1 + exp(-x)): x pressed into 0 to 1", BASIC,
        "sigmoid(zscore(close, 20)) > 0.9", POINTWISE, aliases=("logistic",), lies_in=(0.0, 1.0),
    ),
    Function(
        "arctan", "arithmetic", (_PLAIN,), RATIO, none, _arctan, "angle whose tangent is x, in radians", BASIC,
        "arctan(zscore(close, 20)) > 1", POINTWISE, aliases=("atan",),
    ),
    Function(
        "floor", "arithmetic", (_PLAIN,), RATIO, none, _floor, "largest whole number that is not above x", BASIC,
        "floor(rsi(close, 14) / 10) == 3", POINTWISE,
    ),
    Function(
        "min", "arithmetic", (value("x"), value("y")), "same", none, _min, "the smaller of x and y", BASIC,
        "close < min(lag(low, 1), lag(low, 2))", POINTWISE, aliases=("minimum",),
    ),
    Function(
        "max", "arithmetic", (value("x"), value("y")), "same", none, _max, "the larger of x and y", BASIC,
        "close > max(lag(high, 1), lag(high, 2))", POINTWISE, aliases=("maximum",),
    ),
    Function(
        "clip", "arithmetic",
        (_PLAIN, number("low", -1.0, -1e6, 1e6, (-2.0, -1.0, 0.0)), number("high", 1.0, -1e6, 1e6, (1.0, 2.0))),
        RATIO, none, _clip, "x, but at least low and at most high", BASIC, "clip(zscore(close, 20), -2, 2) < 0",
        POINTWISE, aliases=("clamp",), refuses=_crossed,
    ),
    Function(
        "unitless", "arithmetic", (series(rule="any"),), RATIO, none, _unitless,
        "x as a plain number, its unit dropped: for formulas that mix units; compared with a literal it means"
        " something else on every market", BASIC, "cs_rank(unitless(close) * unitless(volume)) > 0.5", POINTWISE,
        aliases=("as_ratio",),
    ),
)  # fmt: skip
