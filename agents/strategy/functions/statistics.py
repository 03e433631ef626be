"""Statistics over a window of one series, or of two."""

from agents.strategy import kernels
from agents.strategy.functions.entry import (
    BASIC,
    COUNT,
    NO_MOVE,
    NO_RANGE,
    RATIO,
    Function,
    bars_back,
    number,
    series,
    window_less_one,
)
from agents.strategy.functions.steps import highest, lagged, lowest, quotient
from backtesting.bars import Bars, FloatArray


def _stdev(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.rolling_stdev(x, length, 1)


def _variance(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.rolling_stdev(x, length, 1) ** 2


def _zscore(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return quotient(x - kernels.rolling_mean(x, length), kernels.rolling_stdev(x, length, 1))


def _sharpe(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return quotient(kernels.rolling_mean(x, length), kernels.rolling_stdev(x, length, 1))


def _highest(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return highest(x, length)


def _lowest(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return lowest(x, length)


def _argmax(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.extreme_age(x, length, 1.0)


def _argmin(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.extreme_age(x, length, -1.0)


def _range_position(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    low = lowest(x, length)
    return quotient(x - low, highest(x, length) - low)


def _drawdown(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return quotient(x, highest(x, length)) - 1.0


def _sum(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.rolling_sum(x, length)


def _product(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.rolling_product(x, length)


def _rank(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.in_order(x, length, -1.0)


def _quantile(bars: Bars, x: FloatArray, length: int, share: float) -> FloatArray:
    return kernels.in_order(x, length, share)


def _median(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.in_order(x, length, 0.5)


def _mad(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.mean_deviation(x, length)


def _skew(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.shape(x, length, 3)


def _kurtosis(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.shape(x, length, 4)


def _correlation(bars: Bars, x: FloatArray, y: FloatArray, length: int) -> FloatArray:
    return kernels.comoment(x, y, length, 0)


def _covariance(bars: Bars, x: FloatArray, y: FloatArray, length: int) -> FloatArray:
    return kernels.comoment(x, y, length, 1)


def _beta(bars: Bars, x: FloatArray, y: FloatArray, length: int) -> FloatArray:
    return kernels.comoment(x, y, length, 2)


def _autocorrelation(bars: Bars, x: FloatArray, length: int, back: int) -> FloatArray:
    return kernels.comoment(x, lagged(x, back), length, 0)


def _r2(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.line(x, length, 1)


def _residual(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.line(x, length, 2)


def _linear_fit(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.line(x, length, 3)


def _hurst(bars: Bars, x: FloatArray, length: int) -> FloatArray:
    return kernels.roughness(x, length)


def _entropy(bars: Bars, x: FloatArray, length: int, bins: float) -> FloatArray:
    return kernels.entropy(x, length, int(bins))


_X, _ANY, _PLAIN = series(), series(rule="any"), series(rule=RATIO)
_PAIR = (series("x", "any"), series("y", "any"))
_LEAST_SQUARES = "least squares"
_SAMPLE = "divided by window - 1, as pandas does; TA-Lib's STDDEV and VAR divide by window"

ENTRIES = (
    Function(
        "stdev", "statistics", (_X, bars_back(low=2)), "same", window_less_one, _stdev,
        "sample standard deviation over the window (divided by window - 1)", BASIC, "stdev(roc(close, 1), 20) < 0.01",
        aliases=("std", "stddev", "ts_std", "ts_stddev", "ts_std_dev", "standard_deviation"), differs=_SAMPLE,
    ),
    Function(
        "variance", "statistics", (_PLAIN, bars_back(low=2)), RATIO, window_less_one, _variance,
        "stdev(x, window)^2", BASIC, "variance(roc(close, 1), 20) < 0.0001", aliases=("var",), differs=_SAMPLE,
    ),
    Function(
        "zscore", "statistics", (_ANY, bars_back(low=2)), RATIO, window_less_one, _zscore,
        "(x - sma(x, window)) / stdev(x, window)", BASIC, "zscore(close, 20) < -2", NO_MOVE,
        aliases=("z_score", "ts_zscore"),
    ),
    Function(
        "sharpe", "statistics", (_PLAIN, bars_back(low=2, grid=(20, 60, 120, 250))), RATIO, window_less_one, _sharpe,
        "sma(x, window) / stdev(x, window), a bar", "Sharpe, Mutual Fund Performance, 1966",
        "sharpe(roc(close, 1), 120) > 0.05", NO_MOVE, aliases=("signal_to_noise",),
    ),
    Function(
        "highest", "statistics", (_X, bars_back()), "same", window_less_one, _highest,
        "largest x of the window, the current bar included", BASIC, "close >= highest(close, 50)",
        aliases=("max_n", "ts_max", "rolling_max", "hhv"),
    ),
    Function(
        "lowest", "statistics", (_X, bars_back()), "same", window_less_one, _lowest,
        "smallest x of the window, the current bar included", BASIC, "close <= lowest(close, 50)",
        aliases=("min_n", "ts_min", "rolling_min", "llv"),
    ),
    Function(
        "argmax", "statistics", (_ANY, bars_back()), COUNT, window_less_one, _argmax,
        "bars since the largest x of the window; 0 is this bar, the newest of equals counts", BASIC,
        "argmax(close, 50) < 5", aliases=("bars_since_high", "highest_bars"),
    ),
    Function(
        "argmin", "statistics", (_ANY, bars_back()), COUNT, window_less_one, _argmin,
        "bars since the smallest x of the window; 0 is this bar, the newest of equals counts", BASIC,
        "argmin(close, 50) > 20", aliases=("bars_since_low", "lowest_bars"),
    ),
    Function(
        "range_position", "statistics", (_ANY, bars_back(low=2)), RATIO, window_less_one, _range_position,
        "(x - lowest(x, window)) / (highest(x, window) - lowest(x, window)), 0 to 1", BASIC,
        "range_position(close, 100) > 0.8", NO_RANGE, aliases=("min_max_scale",), lies_in=(0.0, 1.0),
    ),
    Function(
        "drawdown", "statistics", (_ANY, bars_back(grid=(20, 60, 120, 250))), RATIO, window_less_one, _drawdown,
        "x / highest(x, window) - 1, 0 or negative for a positive x", BASIC, "drawdown(close, 250) > -0.1",
    ),
    Function(
        "sum", "statistics", (_X, bars_back()), "same", window_less_one, _sum, "sum of x over the window", BASIC,
        "sum(volume, 5) > sum(volume, 20) / 4", aliases=("sum_over", "ts_sum"),
    ),
    Function(
        "product", "statistics", (_PLAIN, bars_back(grid=(2, 5, 10, 20))), RATIO, window_less_one, _product,
        "product of x over the window", BASIC, "product(close / lag(close, 1), 20) > 1.05", aliases=("ts_product",),
        scans=True,
    ),
    Function(
        "rank", "statistics", (_ANY, bars_back(low=2)), RATIO, window_less_one, _rank,
        "share of the other bars of the window that are below x, 0 to 1; an equal one counts half", BASIC,
        "rank(close, 100) > 0.9", aliases=("percentile", "percent_rank", "ts_rank"), scans=True,
        lies_in=(0.0, 1.0),
        differs="0 to 1, and this bar is not compared with itself; percent ranks elsewhere are 0 to 100",
    ),
    Function(
        "quantile", "statistics", (_X, bars_back(low=2), number("share", 0.5, 0.0, 1.0, (0.1, 0.2, 0.5, 0.8, 0.9))),
        "same", window_less_one, _quantile,
        "value below which `share` of the window lies, between two bars by straight line", BASIC,
        "close > quantile(close, 50, 0.8)", aliases=("ts_quantile",), scans=True,
    ),
    Function(
        "median", "statistics", (_X, bars_back()), "same", window_less_one, _median, "quantile(x, window, 0.5)", BASIC,
        "close > median(close, 50)", aliases=("ts_median",), scans=True,
    ),
    Function(
        "mad", "statistics", (_X, bars_back(low=2)), "same", window_less_one, _mad,
        "mean of |x - sma(x, window)| over the window", BASIC, "mad(roc(close, 1), 20) < 0.01",
        aliases=("mean_deviation",), scans=True,
    ),
    Function(
        "skew", "statistics", (_ANY, bars_back(low=3, grid=(20, 60, 120, 250))), RATIO, window_less_one, _skew,
        "sample skewness over the window, adjusted for its length", BASIC, "skew(roc(close, 1), 60) > 0", NO_MOVE,
        aliases=("skewness",), scans=True,
    ),
    Function(
        "kurtosis", "statistics", (_ANY, bars_back(low=4, grid=(20, 60, 120, 250))), RATIO, window_less_one, _kurtosis,
        "sample excess kurtosis over the window, adjusted for its length", BASIC, "kurtosis(roc(close, 1), 60) < 3",
        NO_MOVE, aliases=("kurt",), scans=True,
    ),
    Function(
        "correlation", "statistics", (*_PAIR, bars_back(low=2)), RATIO, window_less_one, _correlation,
        "Pearson correlation of x and y over the window, -1 to 1", BASIC, "correlation(close, volume, 20) < 0",
        "as any window, and NaN where x or y did not move", aliases=("corr", "ts_corr"),
        lies_in=(-1.0, 1.0),
    ),
    Function(
        "covariance", "statistics", (_PLAIN, series("y", RATIO), bars_back(low=2)), RATIO, window_less_one, _covariance,
        "sample covariance of x and y over the window", BASIC,
        "covariance(rank(close, 20), rank(volume, 20), 10) < 0", aliases=("cov", "ts_cov"),
    ),
    Function(
        "beta", "statistics", (_X, series("y"), bars_back(low=2, grid=(20, 60, 120, 250))), RATIO, window_less_one,
        _beta,
        "least-squares slope of x on y over the window: covariance / variance of y", _LEAST_SQUARES,
        "beta(roc(close, 1), lag(roc(close, 1), 1), 60) < 0", "as any window, and NaN where y did not move",
    ),
    Function(
        "autocorrelation", "statistics",
        (_ANY, bars_back(low=3, high=500, grid=(20, 60, 120)), bars_back(1, name="back", high=250, grid=(1, 2, 5))),
        RATIO, lambda length, back: int(length) - 1 + int(back), _autocorrelation,
        "correlation(x, lag(x, back), window)", BASIC, "autocorrelation(roc(close, 1), 60) < 0",
        "as any window, and NaN where x did not move", aliases=("autocorr",), lies_in=(-1.0, 1.0),
    ),
    Function(
        "r2", "statistics", (_ANY, bars_back(low=3)), RATIO, window_less_one, _r2,
        "share of the variance of x over the window that a straight line in time explains, 0 to 1", _LEAST_SQUARES,
        "r2(close, 50) > 0.7", NO_MOVE, aliases=("r_squared", "rsquare"), lies_in=(0.0, 1.0),
    ),
    Function(
        "residual", "statistics", (_X, bars_back(low=3)), "same", window_less_one, _residual,
        "x less the end of its least-squares line over the window", _LEAST_SQUARES, "residual(close, 50) < 0",
        aliases=("resi",),
    ),
    Function(
        "linear_fit", "statistics", (_X, bars_back(low=2)), "same", window_less_one, _linear_fit,
        "the end of the least-squares line of x over the window", _LEAST_SQUARES, "close > linear_fit(close, 50)",
        aliases=("linreg", "lsma"),
    ),
    Function(
        "hurst", "statistics", (_ANY, bars_back(100, low=16, grid=(64, 100, 250))), RATIO, window_less_one, _hurst,
        "half the slope of log mean (x - lag(x, k))^2 on log k, k = 1, 2, 4, ... to window / 4; 0.5 is a random walk",
        "Di Matteo, Multi-Scaling in Finance, 2007", "hurst(log(close / sma(close, 250)), 100) > 0.5", NO_MOVE,
        scans=True,
    ),
    Function(
        "entropy", "statistics",
        (_ANY, bars_back(50, low=4, grid=(20, 50, 100)), number("bins", 8.0, 2.0, 64.0, (5.0, 8.0, 10.0), whole=True)),
        RATIO, window_less_one, _entropy,
        "Shannon entropy of x over `bins` equal intervals of its range in the window, as a share of log(bins)",
        "Shannon, A Mathematical Theory of Communication, 1948", "entropy(roc(close, 1), 50) < 0.7",
        "as any window, and 0 where nothing moved", scans=True, lies_in=(0.0, 1.0),
    ),
)  # fmt: skip
