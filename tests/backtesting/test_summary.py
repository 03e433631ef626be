"""The compiled summary is the sum of the metrics, whatever the curve and the trades."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtesting import summary as compiled
from backtesting.metrics import METRICS, summarise
from backtesting.result import REASONS, Trade

SEEDS = st.integers(0, 2**32 - 1)


def wild_report(seed: int) -> dict:
    """A curve of any shape (ties, a ruin, one bar) with made-up trades; the two need not belong together."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 2, 3, 5, 40, 400]))
    returns = rng.normal(0, rng.choice([0.0, 1e-5, 0.01, 0.3]), n).clip(-1.0)
    if rng.random() < 0.3:
        returns = np.round(returns, 2)
    returns[rng.random(n) < rng.choice([0, 0.5])] = 0.0
    if rng.random() < 0.1:
        returns[n // 2 :] = -1.0
    k = int(rng.choice([0, 1, 30]))
    first = rng.integers(0, 50, k)
    whole = np.stack(
        [
            rng.choice([-1, 1], k),
            first,
            first + rng.integers(0, 20, k),
            rng.integers(0, len(REASONS), k),
            rng.integers(0, 3, k),
            np.zeros(k, int),
        ],
        axis=1,
    ).astype(np.int64)
    real = np.stack([*rng.uniform(1, 200, (3, k)), rng.choice([-5.0, 0.0, 7.0], k), rng.uniform(0, 3, k)], axis=1)
    return {
        "equity": 100.0 * np.cumprod(1 + returns),
        "gross": rng.uniform(0, 2, n),
        "turnover": rng.uniform(0, 1, n),
        "whole": whole,
        "real": real,
        "moves": np.stack([-rng.uniform(0, 1, k), rng.uniform(0, 1, k)], axis=1).reshape(k, 2),
        "multiplier": np.array([1.0, 50.0, 0.1]),
        "benchmark": np.round(rng.normal(0, 0.01, n), 3) if rng.random() < 0.7 else np.zeros(0),
        "periods_per_year": float(rng.choice([252.0, 365.0, 12.0])),
        "costs_paid": float(rng.choice([0.0, 5.0])),
        "capital": 100.0,
    }


def by_definition(report: dict, returns: np.ndarray) -> dict[str, float]:
    trades = [
        Trade(side, first, last, entry, leave, units, pnl, paid, REASONS[reason], k, report["multiplier"][k], mae, mfe)
        for (side, first, last, reason, k, _), (entry, leave, units, pnl, paid), (mae, mfe) in zip(
            report["whole"].tolist(), report["real"].tolist(), report["moves"].tolist(), strict=True
        )
    ]
    return summarise(
        returns,
        report["equity"],
        report["gross"],
        report["turnover"],
        trades,
        report["periods_per_year"],
        report["costs_paid"],
        report["capital"],
        report["benchmark"] if len(report["benchmark"]) else None,
    )


@settings(max_examples=300, deadline=None)
@given(SEEDS)
def test_it_is_what_the_definitions_say(seed):
    report = wild_report(seed)
    returns, found = compiled.summary(**report)
    wanted = by_definition(report, returns)
    assert list(found) == list(METRICS) == list(wanted)
    spread = np.abs(returns).max() + 1e-300
    for name, value in wanted.items():
        # A ratio is as exact as the cancellation in it allows.
        scale = 1e-9 * max(1.0, abs(value)) if name not in ("alpha", "beta") else 1e-9 * (1 + spread / 1e-6)
        assert found[name] == pytest.approx(value, rel=1e-7, abs=scale, nan_ok=True), name


def test_returns_are_against_the_close_before_and_a_ruined_account_returns_nothing():
    report = wild_report(1) | {"equity": np.array([110.0, 55.0, 0.0, 0.0]), "benchmark": np.zeros(0)}
    report |= {"gross": np.zeros(4), "turnover": np.zeros(4)}
    returns, found = compiled.summary(**report)
    assert returns.tolist() == [pytest.approx(0.1), -0.5, -1.0, 0.0]
    assert found["max_drawdown"] == -1.0
    assert not any(math.isinf(value) for value in found.values())


def tails(values: np.ndarray, n_zeros: int, ranks: np.ndarray, found: np.ndarray) -> float:
    n, n_buckets = len(values), compiled._BUCKETS
    low, high = values.min(), values.max()
    if n_zeros:
        low, high = min(low, 0.0), max(high, 0.0)
    scale = (n_buckets - 1) / (high - low) if high > low else 0.0
    places = ((values - low) * scale).astype(np.uint16)
    middle = int((0.0 - low) * scale)
    counts = np.bincount(places, minlength=n_buckets)
    counts[middle if n_zeros else 0] += n_zeros
    return compiled._tails(values, n, n_zeros, middle, ranks, places, counts, np.empty(n), found)


def two_tails(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two ranks below n and the one behind each, if there is one."""
    first, second = np.sort(rng.integers(0, n, 2)).tolist()
    return np.array([first, min(first + 1, n - 1), second, min(second + 1, n - 1)])


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_the_order_statistics_are_those_of_a_sort(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 300))
    values = rng.normal(0, 1, n) * 10.0 ** rng.integers(-8, 9)
    if rng.random() < 0.5:
        values[rng.random(n) < 0.7] = rng.choice([0.0, values[0]])
    if rng.random() < 0.2:
        values[-1] = 1e300  # one outlier puts all others into one bucket
    ranks = two_tails(rng, n)
    found = np.empty(5)
    beyond = tails(values, 0, ranks, found)
    np.testing.assert_array_equal(found[:4], np.sort(values)[ranks])
    below = values[values < found[0]]
    assert found[4] == len(below)
    assert beyond == pytest.approx(math.fsum(below), rel=1e-12, abs=1e-13 * np.abs(below).sum())
    # With zeros that are counted and not given.
    n_zeros = int(rng.integers(1, 300))
    whole = np.sort(np.concatenate((values, np.zeros(n_zeros))))
    ranks = two_tails(rng, n + n_zeros)
    tails(values, n_zeros, ranks, found)
    np.testing.assert_array_equal(found[:4], whole[ranks])
    assert found[4] == (whole < found[0]).sum()
