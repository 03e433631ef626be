"""Three-valued conditions: false, unknown, true, as uint8 0, 1, 2.

A comparison with NaN is unknown, and so is its negation; an unknown condition never trades. Ordered like this,
`and` is the minimum, `or` the maximum and `not` is 2 - x (Kleene's logic), so no rule can profit from missing data by
negating it.
"""

import numpy as np
import numpy.typing as npt

from backtesting.bars import BoolArray, FloatArray

TruthArray = npt.NDArray[np.uint8]

FALSE, UNKNOWN, TRUE = 0, 1, 2


def truth_of(holds: BoolArray, known: BoolArray) -> TruthArray:
    """`holds` where it is known."""
    return np.where(known, np.where(holds, TRUE, FALSE), UNKNOWN).astype(np.uint8)


def as_numbers(truth: TruthArray) -> FloatArray:
    """1.0, 0.0 and NaN for true, false and unknown."""
    return np.array([0.0, np.nan, 1.0])[truth]
