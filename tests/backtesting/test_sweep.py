"""The kernels of a sweep against the plain sentence that each of them stands for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtesting import sweep
from backtesting.costs import FREE

NAN = float("nan")


def bits(words: np.ndarray, n: int) -> list[bool]:
    return [bool((int(words[t // 64]) >> (t % 64)) & 1) for t in range(n)]


def row(values: list[float]) -> np.ndarray:
    out = np.full((-(-len(values) // 64)) * 64, NAN)
    out[: len(values)] = values
    return out


def words_of(flags: list[bool]) -> np.ndarray:
    out = np.zeros(-(-len(flags) // 64), np.uint64)
    for t, flag in enumerate(flags):
        out[t // 64] |= np.uint64(int(flag) << (t % 64))
    return out


def test_a_comparison_is_neither_true_nor_false_where_a_number_is_missing() -> None:
    x = [1.0, 2.0, NAN, 3.0, 5.0] + [0.0] * 70
    y = [2.0, 2.0, 1.0, NAN, 4.0] + [-1.0] * 70
    rows = np.empty((2, 128))
    known, words = np.empty((2, 2), np.uint64), np.zeros((2, 2), np.uint64)
    for i, values in enumerate((x, y)):
        numbers = np.array(values)
        numbers.setflags(write=False)
        sweep.put_row(numbers, rows[i], known[i])
    assert np.array_equal(rows, np.stack([row(x), row(y)]), equal_nan=True)
    assert bits(known[1], 128) == [True, True, True, False] + [True] * 71 + [False] * 53
    sweep.compare(rows, known, np.array([[0, 1, 0, 1]]), words, threads=1)
    assert bits(words[0], 75) == [False, False, False, False, True] + [True] * 70
    assert bits(words[1], 75) == [True, True, False, False, False] + [False] * 70
    # Bars that are not there are in no row of bits.
    assert int(words[0, 1]) >> (75 - 64) == 0
    assert int(words[1, 1]) >> (75 - 64) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(1, 150))
def test_one_bar_ago_and_a_run_of_bars(flags: list[bool], count: int) -> None:
    words = np.zeros((3, -(-len(flags) // 64)), np.uint64)
    words[0] = words_of(flags)
    sweep.combine_words(words, np.array([[sweep.BEFORE, 1, 0, 0], [sweep.RUN, 2, 0, count]]))
    assert bits(words[1], len(flags)) == [False, *flags[:-1]]
    runs = [t + 1 >= count and all(flags[t + 1 - count : t + 1]) for t in range(len(flags))]
    assert bits(words[2], len(flags)) == runs


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=200), st.data())
def test_the_next_bit_of_a_range(flags: list[bool], data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(flags)))
    end = data.draw(st.integers(begin, len(flags)))
    expected = next((t for t in range(begin, end) if flags[t]), end)
    assert sweep._next_bit(words_of(flags), begin, end) == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=70), st.data())
def test_two_entries_of_the_drawdown_table_cover_every_range(prices: list[int], data: st.DataObject) -> None:
    close = np.array(prices, dtype=float)
    close.setflags(write=False)
    table = sweep.drawdown_table(close)
    begin = data.draw(st.integers(0, len(close) - 2))
    end = data.draw(st.integers(begin + 1, len(close) - 1))
    level = (begin ^ end).bit_length() - 1
    left, right = table[level, begin], table[level, end]
    part = close[begin : end + 1]
    assert max(left[0], right[0]) == part.max()
    assert min(left[1], right[1]) == part.min()
    lowest = min(left[2], right[2], right[1] / left[0])
    assert lowest == pytest.approx((part / np.maximum.accumulate(part)).min(), rel=1e-15)


def one_trade(simulator: int) -> np.ndarray:
    """Enter at the close of bar 0, leave at the close of bar 2, with opens 10, 10, 12, 8 and closes 10, 12, 8, 8."""
    opened, close = np.array([10.0, 10, 12, 8]), np.array([10.0, 12, 8, 8])
    prices = sweep.prices_of(opened, np.maximum(opened, close), np.minimum(opened, close), close)
    words = np.array([[0], [0b0001], [0b0100]], np.uint64)
    whole, real = np.zeros((1, sweep.N_WHOLE), np.int64), np.zeros((1, sweep.N_REAL))
    whole[0, sweep.ENTER_LONG], whole[0, sweep.EXIT_LONG] = 1, 2
    real[0, sweep.SIZE] = 1.0
    rates = sweep.Rates(1000.0, FREE.adverse, FREE.commission, 0.0, 0.0)
    out = np.empty((1, 1, sweep.N_OUT))
    none = (np.empty((0, 4), np.int64), np.empty((0, 5)))
    sweep.simulate_block(
        prices, np.zeros((1, 64)), words, whole, real, np.array([0]), np.array([[0, 4]]), rates, simulator, out, *none
    )
    return out[0, 0]


def test_all_simulators_give_the_sums_worked_out_by_hand() -> None:
    # Bought at 10: 100 units. Closes 12 and 8: equity 1200, 800; sold at the open of bar 3, at 8: 800.
    # Returns 0, 0.2, 800/1200 - 1 = -1/3, 0. Sum -2/15, squares 0.04 + 1/9. Lowest over peak 800/1200.
    expected = [800.0, 1.0, 0.2 - 1 / 3, 0.04 + 1 / 9, 2 / 3]
    for simulator in (sweep.T0, sweep.T1_LONG, sweep.T1):
        assert one_trade(simulator) == pytest.approx(expected, rel=1e-14)


def test_warm_compiles_every_kernel_once() -> None:
    assert sweep.warm() == len(sweep.KERNELS)
    assert {len(kernel.signatures) for kernel in sweep.KERNELS} == {1}
