"""Resampling: blocks are as they should be, and sums over blocks are those of the resamples written out."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtesting.resampling import (
    bootstrap_variance,
    draw_blocks,
    moments,
    null_statistics,
    shared_blocks,
    stationary_bootstrap,
    step_down,
    studentise,
)


def ar1(rho, n, seed):
    noise = np.random.default_rng(seed).normal(size=n)
    x = np.empty(n)
    x[0] = noise[0] / sqrt(1 - rho * rho)
    for t in range(1, n):
        x[t] = rho * x[t - 1] + noise[t]
    return x


# --- Blocks -----------------------------------------------------------------------------------------------------


def test_blocks_continue_wrap_around_and_have_the_mean_length_asked_for():
    indices = stationary_bootstrap(400, 8.0, 500, np.random.default_rng(3)).astype(int)
    continued = (np.diff(indices, axis=1) - 1) % 400 == 0
    # A block goes on with probability 1 - 1/8, or by chance (1/400) when a new one starts.
    assert continued.mean() == pytest.approx(1 - 1 / 8 + 1 / 8 / 400, abs=0.004)
    assert indices.min() == 0
    assert indices.max() == 399


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 60),
    block=st.floats(1.0, 40.0),
    reps=st.integers(1, 150),
    at_once=st.integers(1, 200),
    seed=st.integers(0, 9),
)
def test_blocks_hold_the_bars_of_the_resamples_however_many_are_drawn_at_once(n, block, reps, at_once, seed):
    indices = stationary_bootstrap(n, block, reps, np.random.default_rng(seed))
    row = 0
    for blocks in draw_blocks(n, block, reps, np.random.default_rng(seed), at_once):
        for at, end in zip(blocks.first[:-1], blocks.first[1:], strict=True):
            # The bars are a whole number of rounds where a block ends at the bar that it began with.
            found = [
                np.arange(start, stop if stop > start else stop + n) % n
                for start, stop in zip(blocks.start[at:end], blocks.stop[at:end], strict=True)
            ]
            assert np.concatenate(found).tolist() == indices[row].tolist()
            row += 1
    assert row == reps


def test_the_first_draws_do_not_depend_on_how_many_are_asked_for():
    few = stationary_bootstrap(50, 5.0, 10, np.random.default_rng(4))
    many = stationary_bootstrap(50, 5.0, 700, np.random.default_rng(4))
    assert (many[:10] == few).all()


def test_bad_bootstrap_arguments_are_named():
    with pytest.raises(ValueError, match="block >= 1"):
        stationary_bootstrap(10, 0.5, 10, np.random.default_rng(1))
    with pytest.raises(ValueError, match="half of the 30 bars"):
        studentise(np.random.default_rng(1).normal(size=(30, 2)), 16.0)


def test_shared_resamples_are_the_same_for_everyone_and_nobody_changes_them():
    shared = shared_blocks(300, 10.0, 150, 7)
    assert shared_blocks(300, 10.0, 150, 7) is shared
    with pytest.raises(ValueError, match="read-only"):
        shared[0].start[0] = 1
    starts = [np.concatenate([blocks.start for blocks in shared])]
    shared_blocks.cache_clear()
    for seed, block in ((7, 10.0), (8, 10.0), (7, 12.5)):
        starts.append(np.concatenate([blocks.start for blocks in shared_blocks(300, block, 150, seed)]))
    assert [np.array_equal(starts[0], other) for other in starts[1:]] == [True, False, False]


# --- Moments ----------------------------------------------------------------------------------------------------


def test_closed_form_variance_is_that_of_the_draws_and_of_arch():
    from arch.bootstrap import StationaryBootstrap

    x = ar1(0.4, 300, 5)
    closed = bootstrap_variance(x[:, None], 7.0)[0]
    drawn = x[stationary_bootstrap(300, 7.0, 20_000, np.random.default_rng(6))].mean(axis=1)
    # A variance out of 20,000 draws has a standard error of 1 %.
    assert 300 * drawn.var() == pytest.approx(closed, rel=0.04)
    other = StationaryBootstrap(7, x, seed=7).apply(np.mean, 4000)[:, 0]
    assert 300 * other.var() == pytest.approx(closed, rel=0.1)
    assert other.mean() == pytest.approx(drawn.mean(), abs=5 * drawn.std() / sqrt(4000))


def test_closed_form_variance_with_blocks_of_one_is_the_plain_variance():
    x = np.random.default_rng(8).normal(size=(200, 3))
    assert bootstrap_variance(x, 1.0) == pytest.approx(x.var(axis=0))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(20, 90), share=st.floats(0.0, 1.0), count=st.integers(1, 70), seed=st.integers(0, 99))
def test_moments_are_those_of_the_sums_written_out(n, share, count, seed):
    block = 1.0 + share * (n / 2.0 - 1.0)
    x = np.random.default_rng(seed).normal(size=(n, count)).cumsum(axis=0)
    centred = x - x.mean(axis=0)
    long_run = (centred * centred).sum(axis=0) / n
    for k in range(1, n):
        around = (centred * np.roll(centred, k, axis=0)).sum(axis=0) / n
        long_run += 2.0 * (1.0 - k / n) * (1.0 - 1.0 / block) ** k * around
    mean, variance, found = moments(x, block)
    assert mean == pytest.approx(x.mean(axis=0), rel=1e-11, abs=1e-13)
    assert variance == pytest.approx(x.var(axis=0), rel=1e-12)
    assert found == pytest.approx(long_run, rel=1e-9)


# --- Statistics of resamples ------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(n=st.integers(20, 300), count=st.integers(1, 140), reps=st.integers(1, 120), seed=st.integers(0, 99))
def test_statistics_from_blocks_are_those_of_the_bars_drawn(n, count, reps, seed):
    x = 0.001 + 0.01 * np.random.default_rng(seed).standard_t(4, size=(n, count))
    ready = studentise(x, 6.0)
    blocks = draw_blocks(n, 6.0, reps, np.random.default_rng(seed))
    found = np.concatenate([null_statistics(ready, some) for some in blocks])
    drawn = ((x - x.mean(axis=0)) / x.std(axis=0))[stationary_bootstrap(n, 6.0, reps, np.random.default_rng(seed))]
    error = np.sqrt(bootstrap_variance(x, 6.0) / n)
    expected = drawn.mean(axis=1) / drawn.std(axis=1) * x.std(axis=0) / error
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)  # single precision


def test_a_stream_has_the_same_statistics_whoever_is_beside_it():
    x = np.random.default_rng(4).normal(size=(200, 130))
    blocks = next(draw_blocks(200, 5.0, 50, np.random.default_rng(1)))
    together = null_statistics(studentise(x, 5.0), blocks)
    for at in (0, 63, 64, 129):
        alone = null_statistics(studentise(x[:, at : at + 1], 5.0), blocks)
        assert alone.tobytes() == together[:, at : at + 1].tobytes()


def test_step_down_by_hand():
    # Observed, strongest first: 3 (stream 1), 2 (stream 0), 1 (stream 2). Largest among each and all weaker ones:
    # row 1, from the weakest: 0.5, then 2.5, then 2.5; row 2: 1, then 1, then 3.
    null = np.array([[2.5, 0.0, 0.5], [-1.0, 2.0, 1.0]], dtype=np.float32)
    shift = np.array([0.0, 1.0, 0.0], dtype=np.float32)
    largest, exceeding = step_down(null, shift, np.array([1, 0, 2]), np.array([3.0, 2.0, 1.0]))
    assert largest.tolist() == [2.5, 3.0]
    assert exceeding.tolist() == [1, 1, 1]
