"""Wilder's average, for the peers that have it otherwise or not at all. Needs pandas."""

import numpy as np
import pandas as pd


def smoothed(x: np.ndarray, window: int) -> np.ndarray:
    """Begun with the mean of the first `window` values."""
    known = pd.Series(x)
    first = known.first_valid_index() + window - 1
    begun = known.copy()
    begun[:first] = np.nan
    begun[first] = known[first - window + 1 : first + 1].mean()
    return begun.ewm(alpha=1 / window, adjust=False).mean().to_numpy()
