"""Cross-section: an asset among the assets of the same bar, of all of them or of its group.

A missing value takes no part and stays missing. Groups are whole numbers, as a feature of the bars holds them
(`feature(sector)`); an asset whose group is missing has no value. Sums run over the assets in the order of the panel,
so a panel in another order may differ in the last digit.
"""

import numpy as np
import numpy.typing as npt

from agents.strategy import kernels_paths
from agents.strategy.functions.entry import (
    BASIC,
    RATIO,
    Function,
    none,
    number,
    series,
)
from agents.strategy.functions.steps import quotient
from backtesting.bars import Bars, FloatArray, IntArray


def _everyone(x: FloatArray) -> FloatArray:
    return np.zeros(x.shape)


def _codes(group: FloatArray) -> tuple[IntArray, int]:
    """Groups as 0, 1, 2, ... in order of their numbers, -1 where missing."""
    known = np.isfinite(group)
    found, places = np.unique(group[known], return_inverse=True)
    codes: npt.NDArray[np.int64] = np.full(group.shape, -1, dtype=np.int64)
    codes[known] = places
    return codes, max(len(found), 1)


def _totals(x: FloatArray, group: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sum and number of the known values in each value's group."""
    codes, n_groups = _codes(group)
    counted = np.where(np.isnan(x), np.nan, 1.0)
    return kernels_paths.group_sum(x, codes, n_groups), kernels_paths.group_sum(counted, codes, n_groups)


def _mean_of(x: FloatArray, group: FloatArray) -> FloatArray:
    return quotient(*_totals(x, group))


def neutral_to(x: FloatArray, group: FloatArray) -> FloatArray:
    """x less the mean of its group on the same bar; NaN where x or its group is."""
    return x - _mean_of(x, group)


def _spread(x: FloatArray, group: FloatArray) -> FloatArray:
    square, n = _totals(neutral_to(x, group) ** 2, group)
    return np.sqrt(quotient(square, n - 1.0))


def _place(x: FloatArray, group: FloatArray) -> FloatArray:
    """Share of the other known assets of the group that are below; an equal one counts half; NaN if there is none."""
    missing = np.isnan(x) | ~np.isfinite(group)
    x, group = np.where(missing, np.inf, x), np.where(missing, np.inf, group)
    order = np.lexsort((x, group), axis=1)
    x, group = np.take_along_axis(x, order, axis=1), np.take_along_axis(group, order, axis=1)
    begins = np.ones(x.shape, dtype=np.bool_)
    begins[:, 1:] = group[:, 1:] != group[:, :-1]
    steps = begins.copy()
    steps[:, 1:] |= x[:, 1:] != x[:, :-1]
    first, last = _run(begins)
    low, high = _run(steps)
    out = np.empty(x.shape)
    shares = quotient(low - first + 0.5 * (high - low), (last - first).astype(np.float64))
    np.put_along_axis(out, order, shares, axis=1)
    return np.where(missing, np.nan, out)


def _run(begins: npt.NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """First and last column of the run that each column belongs to."""
    n = begins.shape[1]
    columns = np.broadcast_to(np.arange(n), begins.shape)
    first = np.maximum.accumulate(np.where(begins, columns, 0), axis=1)
    ends = np.ones(begins.shape, dtype=np.bool_)
    ends[:, :-1] = begins[:, 1:]
    last = np.minimum.accumulate(np.where(ends, columns, n - 1)[:, ::-1], axis=1)[:, ::-1]
    return first, last


def _cs_rank(bars: Bars, x: FloatArray) -> FloatArray:
    return _place(x, _everyone(x))


def _cs_mean(bars: Bars, x: FloatArray) -> FloatArray:
    return _mean_of(x, _everyone(x))


def _cs_stdev(bars: Bars, x: FloatArray) -> FloatArray:
    return _spread(x, _everyone(x))


def _cs_demean(bars: Bars, x: FloatArray) -> FloatArray:
    return neutral_to(x, _everyone(x))


def _cs_zscore(bars: Bars, x: FloatArray) -> FloatArray:
    return quotient(neutral_to(x, _everyone(x)), _spread(x, _everyone(x)))


def _cs_scale(bars: Bars, x: FloatArray, total: float) -> FloatArray:
    return total * quotient(x, _totals(np.abs(x), _everyone(x))[0])


def _cs_winsorise(bars: Bars, x: FloatArray, far: float) -> FloatArray:
    middle, reach = _mean_of(x, _everyone(x)), far * _spread(x, _everyone(x))
    return np.minimum(np.maximum(x, middle - reach), middle + reach)


def _neutralise(bars: Bars, x: FloatArray, group: FloatArray) -> FloatArray:
    return neutral_to(x, group)


def _group_mean(bars: Bars, x: FloatArray, group: FloatArray) -> FloatArray:
    return np.where(np.isnan(x), np.nan, _mean_of(x, group))


def _group_rank(bars: Bars, x: FloatArray, group: FloatArray) -> FloatArray:
    return _place(x, group)


def _group_zscore(bars: Bars, x: FloatArray, group: FloatArray) -> FloatArray:
    return quotient(neutral_to(x, group), _spread(x, group))


_X, _ANY, _GROUP = series(), series(rule="any"), series("group", RATIO)
_RULE = "NaN where x is; missing assets take no part"
_MOVES = "NaN where x is, or where all known assets are equal; missing assets take no part"
_OTHERS = "NaN where x is, or where no other asset is known"
_GROUPED = "NaN where x or its group is; missing assets take no part"
_ALPHAS = "Kakushadze, 101 Formulaic Alphas, 2016"

ENTRIES = (
    Function(
        "cs_rank", "cross_section", (_ANY,), RATIO, none, _cs_rank,
        "share of the other assets that are below x on this bar, 0 to 1; an equal one counts half", _ALPHAS,
        "cs_rank(roc(close, 126)) > 0.8", _OTHERS, aliases=("xs_rank", "cross_rank"), lies_in=(0.0, 1.0),
    ),
    Function(
        "cs_mean", "cross_section", (_X,), "same", none, _cs_mean, "mean of x over the assets of this bar", BASIC,
        "cs_mean(roc(close, 21)) > 0", _RULE, aliases=("xs_mean", "market_mean"),
    ),
    Function(
        "cs_stdev", "cross_section", (_X,), "same", none, _cs_stdev,
        "sample standard deviation of x over the assets of this bar", BASIC, "cs_stdev(roc(close, 1)) < 0.02",
        _OTHERS, aliases=("xs_stdev", "dispersion"),
    ),
    Function(
        "cs_demean", "cross_section", (_X,), "same", none, _cs_demean, "x - cs_mean(x)", BASIC,
        "cs_demean(roc(close, 21)) > 0", _RULE, aliases=("xs_demean",),
    ),
    Function(
        "cs_zscore", "cross_section", (_ANY,), RATIO, none, _cs_zscore, "(x - cs_mean(x)) / cs_stdev(x)", BASIC,
        "cs_zscore(roc(close, 126)) > 1", _MOVES, aliases=("xs_zscore",),
    ),
    Function(
        "cs_scale", "cross_section", (_ANY, number("total", 1.0, 1e-6, 1e6, (1.0,))), RATIO, none, _cs_scale,
        "total * x / sum of |x| over the assets of this bar", _ALPHAS, "cs_scale(cs_demean(roc(close, 21))) > 0.01",
        "NaN where x is, or where all are 0; missing assets take no part", aliases=("scale", "xs_scale"),
    ),
    Function(
        "cs_winsorise", "cross_section", (_X, number("multiple", 3.0, 0.1, 20.0, (2.0, 3.0))), "same", none,
        _cs_winsorise, "x, held within multiple * cs_stdev(x) of cs_mean(x)", BASIC,
        "cs_winsorise(roc(close, 21), 3) > 0", _OTHERS, aliases=("winsorise", "winsorize", "cs_winsorize"),
    ),
    Function(
        "neutralise", "cross_section", (_X, _GROUP), "same", none, _neutralise,
        "x less the mean of x over the assets of the same group on this bar", _ALPHAS,
        "neutralise(roc(close, 21), feature(sector)) > 0", _GROUPED,
        aliases=("neutralize", "indneutralize", "group_neutralize", "group_demean"),
    ),
    Function(
        "group_mean", "cross_section", (_X, _GROUP), "same", none, _group_mean,
        "mean of x over the assets of the same group on this bar", BASIC,
        "group_mean(roc(close, 21), feature(sector)) > 0", _GROUPED,
    ),
    Function(
        "group_rank", "cross_section", (_ANY, _GROUP), RATIO, none, _group_rank,
        "share of the other assets of the same group that are below x on this bar; an equal one counts half", BASIC,
        "group_rank(roc(close, 126), feature(sector)) > 0.8", "NaN where x or its group is, or x is alone in it",
        lies_in=(0.0, 1.0),
    ),
    Function(
        "group_zscore", "cross_section", (_ANY, _GROUP), RATIO, none, _group_zscore,
        "(x - group_mean(x, group)) / sample standard deviation of x in the group", BASIC,
        "group_zscore(roc(close, 126), feature(sector)) > 1",
        "NaN where x or its group is, or where all of the group are equal",
    ),
)  # fmt: skip
