"""Offsets: how the error rate of one opening is shared out among its nominees, from open-window evidence alone.

A nominee with offset o passes if its sealed statistic plus o exceeds the largest (statistic plus offset) that luck
shows; more alpha goes to those that looked good where one could look. Whatever the open window was used for, and
however often, the offsets are settled before the sealed window opens, so they cannot raise the error rate: they only
say where it is spent (Genovese, Roeder & Wasserman 2006). The share that is best for power is the one below (Roeder &
Wasserman 2009). A bad prior costs power and nothing else.

The prior: each of the N nominees has, with probability 1 / N, a residual annual Sharpe ratio of `edge`, else 0. Its
open t-statistic then gives posterior odds exp(m t - m^2 / 2) / N with m = edge sqrt(open years), and the thresholds
that find most true edges at one total error rate differ by log(posterior) / (edge sqrt(sealed years)).

The surprising consequence: where no open evidence is overwhelming, the rule is the t-statistic of the whole history.
"""

from math import sqrt

import numpy as np

from backtesting.bars import FloatArray

PRIOR_EDGE = 1.0


def offsets(open_t: FloatArray, *, open_years: float, sealed_years: float, edge: float = PRIOR_EDGE) -> FloatArray:
    """(N,) what to add to each sealed statistic; at most 0. NaN in `open_t` gives -inf: no share of alpha at all.

    Args:
        open_t: (N,) t-statistics of the nominees' residual alpha on the open window; NaN for those without one and
            for those that cannot pass anyway.
        edge: annual Sharpe ratio of the prior, positive.
    """
    if not (open_years > 0.0 and sealed_years > 0.0 and edge > 0.0):
        raise ValueError(f"offsets need positive years and edge, got {open_years}, {sealed_years}, {edge}")
    mean = edge * sqrt(open_years)
    known = np.isfinite(open_t)
    log_odds = mean * np.where(known, open_t, 0.0) - mean**2 / 2.0 - np.log(len(open_t))
    # log(odds / (1 + odds)) without overflow.
    log_posterior = -np.logaddexp(0.0, -log_odds)
    shares: FloatArray = np.where(known, log_posterior / (edge * sqrt(sealed_years)), -np.inf)
    return shares
