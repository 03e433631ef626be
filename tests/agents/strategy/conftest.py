"""Made-up bars that every test of the language shares: two assets, noise, ties, and a missing bar in the second."""

import numpy as np
import pytest

from backtesting.bars import Bars


def made_up_bars(n_bars: int = 420, *, seed: int = 7, missing: tuple[int, ...] = (150, 301)) -> Bars:
    rng = np.random.default_rng(seed)
    shape = (n_bars, 2)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.01, shape), axis=0)), 2)
    close[60:90, 0] = close[59, 0]  # a market that does not move for 30 bars
    opened = np.round(close * np.exp(rng.normal(0, 0.004, shape)), 2)
    high = np.maximum(opened, close) + np.round(rng.uniform(0, 1, shape), 2)
    low = np.minimum(opened, close) - np.round(rng.uniform(0, 1, shape), 2)
    volume = np.round(rng.uniform(1e5, 1e6, shape))
    opened[60:90, 0] = high[60:90, 0] = low[60:90, 0] = close[59, 0]
    for bar in missing:
        for values in (opened, high, low, close, volume):
            values[bar, 1] = np.nan
    weekdays = np.busday_offset("2001-01-01", np.arange(n_bars), roll="forward")
    return Bars(
        symbols=("one", "two"),
        sessions=weekdays,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        source="made-up",
        features={"news": rng.normal(0, 1, shape), "sector": np.ones(shape)},
    )


@pytest.fixture(scope="session")
def bars() -> Bars:
    return made_up_bars()


@pytest.fixture(scope="session")
def whole_bars() -> Bars:
    return made_up_bars(missing=())
