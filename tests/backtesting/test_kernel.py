"""Plain and compiled loops give the same bytes, so that it never matters which of the two ran."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtesting import engine, resampling, statistics, summary
from backtesting.kernel import ALLOWANCE, Kernel
from backtesting.result import REASONS

SEEDS = st.integers(0, 2**32 - 1)


def same(kernel: Kernel, *args: object) -> None:
    with np.errstate(all="ignore"):
        plain = kernel.loop(*args)
    compiled = kernel.compiled()(*args)
    if not isinstance(plain, tuple):
        plain, compiled = (plain,), (compiled,)
    for one, other in zip(plain, compiled, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def prices(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, rng.choice([0.01, 0.2]), n)))
    opened = close * np.exp(rng.normal(0, 0.01, n))
    high, low = np.maximum(opened, close) * 1.01, np.minimum(opened, close) * 0.99
    missing = rng.random(n) < rng.choice([0.0, 0.1])
    return tuple(np.where(missing, np.nan, values) for values in (opened, high, low, close))


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_engine_of_signals_is_the_same_plain_and_compiled(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 120))
    fired = [rng.random(n) < 0.2 for _ in range(4)]
    size = rng.choice([0.3, 1.0, 5.0, np.nan], n)
    distances = [np.where(rng.random(n) < 0.5, rng.uniform(0.1, 9, n), np.nan) for _ in range(3)]
    same(
        engine.simulate_signals, *prices(rng, n), *fired, size, *distances, int(rng.choice([0, 5])),
        int(rng.integers(0, 2)), n, 1e6, 0.0005, 0.001, 0.0001, 0.0002,
    )  # fmt: skip


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_engine_of_targets_is_the_same_plain_and_compiled(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 120))
    opened, _, _, close = prices(rng, n)
    target = rng.choice([-6.0, -1.0, 0.0, 0.4, 1.0, 3.0, np.nan], n)
    same(engine.simulate_targets, opened, close, target, 0.02, 0, n, 1e6, 0.0005, 0.001, 0.0001, 0.0002)


@given(SEEDS)
@settings(max_examples=100, deadline=None)
def test_the_summary_is_the_same_plain_and_compiled(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k = int(rng.choice([1, 2, 3, 50, 300])), int(rng.choice([0, 1, 20]))
    returns = np.maximum(rng.normal(0, rng.choice([0.0, 0.01, 0.5, 9.0]), n), -1.0)
    first = rng.integers(0, 50, k)
    whole = np.stack(
        [rng.choice([-1, 1], k), first, first + rng.integers(0, 9, k), rng.integers(0, 9, k), np.zeros(k), np.zeros(k)],
        axis=1,
    ).astype(np.int64)
    real = np.stack([*rng.uniform(1, 200, (3, k)), rng.choice([-5.0, 0.0, 7.0], k), rng.uniform(0, 3, k)], axis=1)
    same(
        summary.measure, 100.0 * np.cumprod(1 + returns), rng.uniform(0, 2, n), rng.uniform(0, 1, n), whole, real,
        rng.uniform(-1, 1, (k, 2)), np.ones(1), rng.normal(0, 0.01, n) if seed % 2 else np.zeros(0), 252.0,
        float(rng.choice([0.0, 5.0])), 100.0,
    )  # fmt: skip


@given(SEEDS)
@settings(max_examples=12, deadline=None)
def test_the_statistics_of_streams_are_the_same_plain_and_compiled(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, count, stay = int(rng.integers(20, 50)), int(rng.choice([1, 3, 70])), float(rng.uniform(0, 0.95))
    streams = rng.normal(0, 0.01, (n, count)).cumsum(axis=0)
    same(resampling._moments, streams, stay, stay**n)
    same(resampling._prefix_sums, streams, streams.mean(axis=0), streams.std(axis=0))
    same(statistics._window_squares, streams, int(rng.integers(1, n)))
    ready = resampling.studentise(streams, 4.0)
    blocks = next(resampling.draw_blocks(n, 4.0, 5, rng))
    unit = rng.uniform(1, 9, count).astype(np.float32)
    same(resampling._null_statistics, ready.prefixes, unit, blocks.first, blocks.start, blocks.stop)
    null = resampling.null_statistics(ready, blocks)
    same(resampling.step_down, null, unit, rng.permutation(count), rng.uniform(0, 9, count))


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_summary_of_what_is_held_is_the_same_plain_and_compiled(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.choice([3, 40, 2_500]))
    opened, high, low, close = (np.nan_to_num(values, nan=100.0) for values in prices(rng, n))
    start = int(rng.integers(0, n - 1))
    edges, bars = [0], []
    for _ in range(int(rng.integers(1, 4))):
        places = np.unique(rng.integers(start + 1, n, int(rng.integers(0, 9))))
        bars += list(itertools.pairwise(places.tolist()))[::2]
        edges.append(len(bars))
    k = len(bars)
    first, last = np.array(bars, dtype=np.int64).reshape(-1, 2).T
    reason = np.where(last == n - 1, REASONS.index("open"), 0)
    whole = np.stack([np.ones(k, np.int64), first, last, reason, np.zeros_like(first), np.zeros_like(first)], axis=1)
    real = np.stack([*rng.uniform(50, 200, (3, k)), rng.normal(0, 5, k), rng.uniform(0, 3, k)], axis=1)
    same(
        summary.measure_held, opened, high, low, close, np.array(edges), whole, real, start, n, 1e4, 0.001, 252.0,
    )  # fmt: skip


def _halves(x: np.ndarray) -> np.ndarray:
    return x / 2.0


def test_a_process_begins_plain_and_compiles_when_its_allowance_is_spent() -> None:
    code = (
        "import sys, numpy as np\n"
        "from agents.strategy.kernels import rolling_mean\n"
        f"x = np.arange({ALLOWANCE // 2}.0)[:, None]\n"
        "first = rolling_mean(x, 5), 'numba' in sys.modules\n"
        "rolling_mean(x, 5)\n"
        "last = rolling_mean(x, 5), 'numba' in sys.modules\n"
        "print(first[1], last[1], first[0].tobytes() == last[0].tobytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.split() == ["False", "True", "True"], done.stderr


def test_what_a_kernel_is_given_cannot_be_changed_by_it() -> None:
    def spoils(x: np.ndarray) -> np.ndarray:
        x[0] = 1.0
        return x

    with pytest.raises(Exception, match=r"read-?only|immutable|Cannot modify"):
        Kernel(spoils)(np.zeros(3))


def test_a_view_across_memory_is_made_contiguous() -> None:
    assert Kernel(_halves)(np.arange(6.0)[::2]).tolist() == [0.0, 1.0, 2.0]
