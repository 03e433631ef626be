"""Diagnostics: the published ways to doubt a backtest. They are shown beside a verdict and never decide it.

Measured on markets without any edge, DSR > 0.95 in its 2014 form lets 0.2 % through instead of 5 % and finds half of
what a max-t test finds; PBO < 0.5 lets half of all worthless runs through. That is why no gate reads this file.

A Sharpe ratio is per bar here, never annual, unless the name says so. Kurtosis is raw: 3 for a normal.
The probabilistic Sharpe ratio exists in two published forms that differ (0.913 and 0.987 on one track record), so the
year is part of the name: 2012 takes the variance at the estimate and n - 1, 2026 the variance at the null and n.
Undefined is NaN, never infinite.

Sources: Bailey & Lopez de Prado 2012 (PSR, minimum track record), 2014 (DSR); Bailey, Borwein, Lopez de Prado & Zhu
2014 (minimum backtest length) and 2016 (CSCV, PBO); Lopez de Prado, Lipton & Zoonekynd 2026 (the forms with
autocorrelation); Harvey & Liu 2015 (haircut); Lo 2002 (annualisation); Roy & Vetterli 2007 (effective rank).
"""

from dataclasses import dataclass
from itertools import combinations
from math import comb, e, isfinite, sqrt
from typing import Any

import numpy as np
from scipy.integrate import quad
from scipy.special import log_ndtr, ndtr, ndtri, stdtr, stdtrit

from backtesting.bars import BoolArray, FloatArray, IntArray
from backtesting.statistics import EULER_GAMMA, FLAT, MIN_BARS

PBO_BLOCKS = 16
# Numbers in a product of splits, blocks and candidates: small enough for the cache, and for one thread, because handing
# thousands of small products to several threads takes longer than they do.
_PRODUCT = 262_144


@dataclass(frozen=True)
class Moments:
    """What the formulas need to know about a stream of n returns; all per bar."""

    n: int
    sharpe: float
    skew: float
    kurtosis: float
    autocorrelation: float

    @classmethod
    def of(cls, x: FloatArray) -> "Moments":
        """Population moments of a stream (n,); NaN throughout for a flat, short or broken one."""
        deviation = float(x.std()) if len(x) >= MIN_BARS and np.isfinite(x).all() else 0.0
        if not deviation > FLAT:
            return cls(len(x), float("nan"), float("nan"), float("nan"), float("nan"))
        z = (x - x.mean()) / deviation
        return cls(
            n=len(x),
            sharpe=float(x.mean()) / deviation,
            skew=float(np.mean(z**3)),
            kurtosis=float(np.mean(z**4)),
            autocorrelation=float(np.mean(z[1:] * z[:-1])),
        )


def sharpe_variance(moments: Moments, at: float) -> float:
    """Variance of the estimated Sharpe ratio if the true one is `at`; AR(1) returns with these moments (2026)."""
    rho = moments.autocorrelation
    a = 1.0 + 2.0 * rho / (1.0 - rho)
    b = 1.0 + rho / (1.0 - rho) + rho**2 / (1.0 - rho**2)
    c = 1.0 + 2.0 * rho**2 / (1.0 - rho**2)
    total = a - b * moments.skew * at + c * (moments.kurtosis - 1.0) / 4.0 * at**2
    return total / moments.n if total > 0.0 else float("nan")


def psr_2012(moments: Moments, against: float = 0.0) -> float:
    """Probability that the true Sharpe ratio exceeds `against`, variance taken at the estimate; independent returns."""
    spread = _spread_at_estimate(moments)
    return float(ndtr((moments.sharpe - against) * sqrt(moments.n - 1.0) / sqrt(spread))) if spread > 0 else _NAN


def psr_2026(moments: Moments, against: float = 0.0) -> float:
    """1 minus the p-value of "the true Sharpe ratio is `against`": variance taken under that null."""
    variance = sharpe_variance(moments, against)
    return float(ndtr((moments.sharpe - against) / sqrt(variance))) if variance > 0.0 else _NAN


def minimum_track_record_2012(moments: Moments, against: float = 0.0, alpha: float = 0.05) -> float:
    """Bars after which this Sharpe ratio would be above `against` at 1 - alpha; NaN if it is not above it."""
    if not moments.sharpe > against:
        return _NAN
    return 1.0 + _spread_at_estimate(moments) * (float(ndtri(alpha)) / (moments.sharpe - against)) ** 2


def minimum_track_record_2026(moments: Moments, against: float = 0.0, alpha: float = 0.05) -> float:
    """The same with the variance at the null."""
    if not moments.sharpe > against:
        return _NAN
    spread = sharpe_variance(moments, against) * moments.n
    return spread * (float(ndtri(alpha)) / (moments.sharpe - against)) ** 2


def expected_maximum(n_trials: int) -> float:
    """Expected largest of n independent standard normals, by the False Strategy theorem's approximation; 0 for one."""
    if n_trials < 2:
        return 0.0
    near, far = -ndtri([1.0 / n_trials, 1.0 / (n_trials * e)])
    return float((1.0 - EULER_GAMMA) * near + EULER_GAMMA * far)


def maximum_moments(n_trials: int) -> tuple[float, float]:
    """Exact mean and variance of the largest of n independent standard normals, by quadrature."""

    def moment(power: int) -> float:
        def density(x: float) -> float:
            log_density = -0.5 * x * x - 0.9189385332046727 + (n_trials - 1.0) * float(log_ndtr(x))
            return float(x**power * n_trials * np.exp(log_density))

        return float(quad(density, -12.0, 14.0, epsabs=1e-12, epsrel=1e-11, limit=400)[0])

    mean = moment(1)
    return mean, moment(2) - mean**2


def dsr_2014(moments: Moments, n_trials: int, trial_variance: float) -> float:
    """Deflated Sharpe ratio: `psr_2012` against the expected best of n trials whose Sharpe ratios have this variance.

    The losers of a search inflate that variance, so it collapses where most candidates lose money.
    """
    return psr_2012(moments, expected_maximum(n_trials) * sqrt(trial_variance))


def dsr_2026(moments: Moments, n_trials: int, trial_variance: float) -> float:
    """The same with the variance at the null and the spread of a maximum, which is smaller than that of one draw."""
    against = expected_maximum(n_trials) * sqrt(trial_variance)
    variance = sharpe_variance(moments, against)
    if not variance > 0.0:
        return _NAN
    return float(ndtr((moments.sharpe - against) / sqrt(variance * maximum_moments(max(n_trials, 1))[1])))


def minimum_backtest_years(n_trials: int, annual_sharpe: float) -> float:
    """Years below which the best of n worthless trials is expected to show this annual Sharpe ratio."""
    return (expected_maximum(n_trials) / annual_sharpe) ** 2 if annual_sharpe > 0.0 else _NAN


def annualisation_lo(autocorrelations: FloatArray, periods: int) -> float:
    """Factor from a Sharpe ratio a bar to one over `periods` bars; autocorrelations at lags 1 to periods - 1.

    Shorter arrays count as 0 beyond. The square root of time is right for independent returns only.
    """
    lags = np.arange(1, min(len(autocorrelations), periods - 1) + 1)
    total = periods + 2.0 * float(np.sum((periods - lags) * autocorrelations[: len(lags)]))
    return periods / sqrt(total) if total > 0.0 else _NAN


@dataclass(frozen=True)
class Haircut:
    """What is left of the best annual Sharpe ratio of a search, after three adjustments of its p-value."""

    p_value: float
    p_bonferroni: float
    p_holm: float
    p_bhy: float
    sharpe_bonferroni: float
    sharpe_holm: float
    sharpe_bhy: float


def haircut(p_values: FloatArray, chosen: int, years: float, periods_per_year: float) -> Haircut:
    """Adjust the two-sided p-value of one of N trials and turn it back into a Sharpe ratio (Harvey & Liu 2015).

    The trials are these; the simulated factor zoo of the paper is left out, so only its Bonferroni path is the same.
    """
    bars = years * periods_per_year
    adjusted = [float(rule(p_values)[chosen]) for rule in (adjust_bonferroni, adjust_holm, adjust_bhy)]
    sharpes = [-float(stdtrit(bars - 1.0, min(p, 1.0) / 2.0)) / sqrt(years) for p in adjusted]
    return Haircut(float(p_values[chosen]), *adjusted, *(max(sharpe, 0.0) + 0.0 for sharpe in sharpes))


def two_sided_p(t: float, bars: int) -> float:
    """p-value of a t-statistic of `bars` returns; 1 where it is not a number."""
    return float(2.0 * stdtr(bars - 1.0, -abs(t))) if isfinite(t) else 1.0


def adjust_bonferroni(p_values: FloatArray) -> FloatArray:
    """N p, at most 1."""
    return np.minimum(p_values * len(p_values), 1.0)


def adjust_holm(p_values: FloatArray) -> FloatArray:
    """Step-down Bonferroni: the running maximum of (N - j + 1) p_(j)."""
    order = np.argsort(p_values, kind="stable")
    steps = np.maximum.accumulate(p_values[order] * (len(p_values) - np.arange(len(p_values))))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def adjust_bhy(p_values: FloatArray) -> FloatArray:
    """Benjamini, Hochberg & Yekutieli, valid under any dependence: the running minimum from above of p N c(N) / j."""
    n = len(p_values)
    order = np.argsort(p_values, kind="stable")
    rank = np.arange(1, n + 1)
    scaled = p_values[order] * n * float(np.sum(1.0 / rank)) / rank
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def effective_rank(streams: FloatArray) -> float:
    """exp of the entropy of the correlation matrix's eigenvalues: how many directions the (n, N) streams really have.

    NaN where a stream is flat or broken: leave those out first.
    """
    deviation = streams.std(axis=0)
    if not (np.isfinite(deviation).all() and (deviation > FLAT).all()):
        return _NAN
    scaled = (streams - streams.mean(axis=0)) / deviation / sqrt(len(streams))
    share = np.linalg.eigvalsh(scaled.T @ scaled) / streams.shape[1]
    share = share[share > 1e-15]
    return float(np.exp(-np.sum(share * np.log(share))))


@dataclass(frozen=True)
class Overfitting:
    """Outcome of `cscv`.

    Attributes:
        pbo: share of splits in which the best half-sample candidate is in the worse half of the other half-sample.
        loss: share of splits in which it loses money there.
        slope: least-squares slope of its Sharpe ratio out of sample on the one in sample.
        n_splits: how many splits there are.
    """

    pbo: float
    loss: float
    slope: float
    n_splits: int


def cscv(streams: FloatArray, blocks: int = PBO_BLOCKS) -> Overfitting:
    """Combinatorially symmetric cross-validation of the choice "take the highest Sharpe ratio" among (n, N) streams.

    The n bars are cut into `blocks` equal blocks (bars left over at the beginning are not used); every half of the
    blocks is in sample once. Each Sharpe ratio comes from sums over blocks, so the cost is that of two matrix products.
    Rank of the chosen among N over N + 1, ties in the middle; a logit at or below 0 counts as overfitted.

    Raises:
        ValueError: an odd number of blocks, fewer than 2 candidates or fewer than 2 bars a block.
    """
    n, count = streams.shape
    if blocks % 2 or blocks < 2 or count < 2 or n < 2 * blocks:
        raise ValueError(f"cscv needs an even number of blocks and 2 bars in each, got {blocks} on {n} x {count}")
    length = n // blocks
    cut = streams[n - length * blocks :].reshape(blocks, length, count)
    bars = length * blocks // 2
    sums, squares = cut.sum(axis=1), bars * np.einsum("btn,btn->bn", cut, cut)
    # Those with the first block; in this order the other half of each is as far from the end as it from the beginning.
    halves = np.array([half for half in combinations(range(blocks), blocks // 2) if half[0] == 0])
    n_splits = 2 * len(halves)
    is_sharpe, oos_sharpe, rank = np.empty((3, n_splits))
    step = min(max(_PRODUCT // (blocks * count), 4), 512)
    for at in range(0, len(halves), step):
        some = halves[at : at + step]
        chosen = np.zeros((len(some), blocks))
        np.put_along_axis(chosen, some, 1.0, axis=1)
        others = 1.0 - chosen
        first = _squared_sharpe(chosen @ sums, chosen @ squares)
        second = _squared_sharpe(others @ sums, others @ squares)
        rows = np.arange(len(some))
        for fitted, tested, places in ((first, second, at + rows), (second, first, n_splits - 1 - at - rows)):
            best = fitted.argmax(axis=1)
            value = tested[rows, best]
            below, not_above = _count(tested < value[:, None]), _count(tested <= value[:, None])
            rank[places] = (below + not_above + 1.0) / 2.0 / (count + 1.0)
            is_sharpe[places], oos_sharpe[places] = _root(fitted[rows, best]), _root(value)
    centred = is_sharpe - is_sharpe.mean()
    spread = float(centred @ centred)
    return Overfitting(
        pbo=float(np.mean(rank <= 0.5)),
        loss=float(np.mean(oos_sharpe < 0.0)),
        slope=float(centred @ oos_sharpe) / spread if spread > 0.0 else _NAN,
        n_splits=comb(blocks, blocks // 2),
    )


@dataclass(frozen=True)
class Diagnosis:
    """Every diagnostic of one candidate among the trials of a run, for the review page; annual where it says so."""

    n_trials: int
    n_effective: float
    effective_rank: float
    annual_sharpe: float
    expected_maximum_annual: float
    psr_2012: float
    psr_2026: float
    dsr_2014: float
    dsr_2026: float
    pbo: float
    haircut_annual: float
    minimum_track_record_years: float
    minimum_backtest_years: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-like; NaN is None."""
        return {name: value if isfinite(value) else None for name, value in vars(self).items()}


def diagnose(
    streams: FloatArray, chosen: int, *, n_trials: int, n_effective: float, periods_per_year: float
) -> Diagnosis:
    """The diagnostics of stream `chosen` among the usable streams (n, N) of a search of n_trials >= N looks."""
    n = len(streams)
    moments = Moments.of(streams[:, chosen])
    deviation = streams.std(axis=0)
    usable = np.isfinite(deviation) & (deviation > FLAT)
    sharpes = streams[:, usable].mean(axis=0) / deviation[usable]
    # One trial has no variance of its own; 1 / n is that of a worthless one.
    variance = float(np.var(sharpes, ddof=1)) if len(sharpes) > 1 else 1.0 / n
    p_values = np.array([two_sided_p(float(value) * sqrt(n), n) for value in sharpes])
    p_values = np.concatenate([p_values, np.ones(max(0, n_trials - len(p_values)))])
    yearly = sqrt(periods_per_year)
    alone = isfinite(moments.sharpe)
    place = int(np.count_nonzero(usable[:chosen]))
    shaved = haircut(p_values, place, n / periods_per_year, periods_per_year).sharpe_holm if alone else _NAN
    testable = np.count_nonzero(usable) >= 2 and n >= 2 * PBO_BLOCKS
    return Diagnosis(
        n_trials=n_trials,
        n_effective=n_effective,
        effective_rank=effective_rank(streams[:, usable]) if usable.any() else _NAN,
        annual_sharpe=moments.sharpe * yearly,
        expected_maximum_annual=expected_maximum(n_trials) * yearly / sqrt(n),
        psr_2012=psr_2012(moments),
        psr_2026=psr_2026(moments),
        dsr_2014=dsr_2014(moments, n_trials, variance),
        dsr_2026=dsr_2026(moments, n_trials, 1.0 / n),
        pbo=cscv(streams[:, usable]).pbo if testable else _NAN,
        haircut_annual=shaved,
        minimum_track_record_years=minimum_track_record_2026(moments) / periods_per_year,
        minimum_backtest_years=minimum_backtest_years(n_trials, moments.sharpe * yearly),
    )


_NAN = float("nan")


def _spread_at_estimate(moments: Moments) -> float:
    return 1.0 - moments.skew * moments.sharpe + (moments.kurtosis - 1.0) / 4.0 * moments.sharpe**2


def _squared_sharpe(total: FloatArray, squares: FloatArray) -> FloatArray:
    """(splits, N) Sharpe ratio times its size, which ranks alike and needs no root; 0 for a stream that does not move.

    Of the sums of the bars of a half, and of their squares times the number of bars; the latter is overwritten.
    """
    score = total * total
    squares -= score
    if squares.min() <= 0.0:
        still = squares <= 0.0
        score[still], squares[still] = 0.0, 1.0
    score /= squares
    return np.copysign(score, total, out=score)


def _root(score: FloatArray) -> FloatArray:
    return np.copysign(np.sqrt(np.abs(score)), score)


def _count(mask: BoolArray) -> IntArray:
    """(rows,) how many are true, of packed bits: several times as quick as `np.count_nonzero` along an axis."""
    found: IntArray = np.bitwise_count(np.packbits(mask, axis=1)).sum(axis=1, dtype=np.int64)
    return found
