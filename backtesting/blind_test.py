"""The blind test: which of a run's nominees hold on bars that nobody has seen. Weighted max-t, once for all of them.

It takes streams and open-window t-statistics and knows nothing of strategies, windows or files, so that `gates` and
`calibration` run the very same lines: what is measured is what is shipped.

The surprising choice: p-values are divided by `LEVEL` before anybody sees them. Where volatility comes in bursts and
tails are fat, the bootstrap of a maximum lets up to a fifth more through than it is asked to, on histories of any
usual length; which market has that cannot be told from the streams. So the test is held to 85 % of its level
(docs/decisions/0009-the-level-of-the-test.md).
"""

from dataclasses import replace

import numpy as np

from backtesting.bars import FloatArray
from backtesting.offsets import PRIOR_EDGE, offsets
from backtesting.statistics import MaxT, common_block, max_t

REPS = 1999
LEVEL = 0.85
SMALLEST_P = 1.0 / (REPS + 1) / LEVEL


def blind_test(
    streams: FloatArray,
    open_t: FloatArray,
    *,
    open_bars: int,
    periods_per_year: float,
    rng: np.random.Generator,
    edge: float = PRIOR_EDGE,
    enough: float | None = None,
) -> MaxT:
    """Test N sealed streams (n, N) together, alpha shared out by their open-window evidence.

    The p-values are divided by `LEVEL`; the null maximum is as it was drawn.

    Args:
        streams: net returns after the hedge; NaN throughout for a nominee that broke: it cannot pass.
        open_t: (N,) t-statistics of the same nominees on `open_bars` open bars; NaN for those that cannot pass anyway.
        edge: annual Sharpe ratio of the prior.
        enough: see `max_t`; where only the answer at one level is wanted.
    """
    shift = offsets(
        open_t, open_years=open_bars / periods_per_year, sealed_years=len(streams) / periods_per_year, edge=edge
    )
    taking_part = np.isfinite(shift)
    block = common_block(streams[:, taking_part])
    test = max_t(
        streams,
        block=block,
        reps=REPS,
        rng=rng,
        offsets=shift,
        enough=None if enough is None else LEVEL * enough,
    )
    return replace(test, p_adjusted=np.minimum(test.p_adjusted / LEVEL, 1.0))
