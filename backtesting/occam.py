"""Occam test: one rule, the whole clean history, and an error rate that shrinks with the length of the rule.

A sentence of L bits is tested at alpha * 2^-L. Over all sentences of the language these add up to at most alpha, so the
error rate holds for whichever of them anybody picks, with whatever memory of the same history. No window is spent.

At such levels no resampling can reach the tail, so the p-value is that of Student's t for the autocorrelation-robust
statistic, shrunk as in `statistics.small_sample`, and lowered for negative skewness (Johnson 1978: a stream of many
small gains and rare crashes has a t-statistic with a heavy upper tail). Positive skewness is never counted in favour.
"""

from dataclasses import dataclass
from math import exp, isfinite, sqrt

import numpy as np
from scipy.special import log_ndtr, ndtri, ndtri_exp

from backtesting.bars import FloatArray
from backtesting.resampling import bootstrap_variance
from backtesting.statistics import FLAT, common_block, small_sample

LOG_2 = 0.6931471805599453


@dataclass(frozen=True)
class OccamTest:
    """Outcome for one rule.

    Attributes:
        bits: length of the rule.
        statistic: on the normal scale; NaN without one.
        p_value: one-sided.
        level: alpha * 2^-bits, what the p-value is held against.
        detectable: annual Sharpe ratio that would be found on this history with probability 0.8 at this length.
    """

    bits: float
    statistic: float
    p_value: float
    level: float
    detectable: float

    @property
    def passed(self) -> bool:
        """Whether the rule holds; never for one without a statistic."""
        return self.p_value <= self.level


def occam_test(stream: FloatArray, bits: float, *, alpha: float, periods_per_year: float) -> OccamTest:
    """Test the mean of a stream (n,) of residual returns of a rule of `bits` bits, all of it clean history.

    Raises:
        ValueError: a length that is not positive, or alpha outside 0 to 1.
    """
    if not (bits > 0.0 and isfinite(bits) and 0.0 < alpha < 1.0):
        raise ValueError(f"an Occam test needs a length above 0 bits and 0 < alpha < 1, got {bits} and {alpha}")
    statistic = robust_statistic(stream)
    return OccamTest(
        bits=bits,
        statistic=statistic,
        p_value=exp(float(log_ndtr(-statistic))) if isfinite(statistic) else 1.0,
        level=alpha * 2.0**-bits,
        detectable=detectable_sharpe(bits, len(stream), alpha=alpha, periods_per_year=periods_per_year),
    )


def robust_statistic(stream: FloatArray) -> float:
    """The studentised mean of a stream on the normal scale, lowered for negative skewness; NaN if undefined."""
    block = common_block(stream[:, None])
    n = len(stream)
    usable = n >= 2 * block and bool(np.isfinite(stream).all()) and float(stream.std()) > FLAT
    if not usable:
        return float("nan")
    variance = float(bootstrap_variance(stream[:, None], block)[0])
    t = float(stream.mean()) / sqrt(variance / n)
    z = (stream - stream.mean()) / stream.std()
    skew = min(float(np.mean(z**3)), 0.0)
    adjusted = t + skew * (1.0 + 2.0 * t * t) / (6.0 * sqrt(n))
    return float(small_sample(np.array([adjusted]), n, block)[0])


def detectable_sharpe(bits: float, n_bars: int, *, alpha: float, periods_per_year: float, power: float = 0.8) -> float:
    """Annual Sharpe ratio that a rule of this length needs to be found with this probability; normal returns."""
    # z(1 - alpha 2^-bits) from the logarithm, so that long rules do not run out of numbers.
    critical = -float(ndtri_exp(np.log(alpha) - bits * LOG_2))
    return (critical + float(ndtri(power))) / sqrt(n_bars / periods_per_year)
