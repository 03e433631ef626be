"""The engine of shared accounts gives what the reference gives, wherever it says that it knows."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtesting import engine_panel, engine_reference, engine_shared, inputs
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import CostModel
from backtesting.decisions import Signals, TargetDecisions
from backtesting.inputs import Books, Conditions, Market, TargetOrders

SEEDS = st.integers(0, 2**32 - 1)
NONE = inputs.ready(np.zeros((0, 0)))


def case(seed: int) -> tuple[Market, Conditions, TargetOrders]:
    """Several assets that always trade: calm and ruinous, sparse and daily targets, shorts, leverage, costs."""
    rng = np.random.default_rng(seed)
    shape = n_bars, n_assets = int(rng.integers(1, 60)), int(rng.integers(1, 6))
    volatility = float(rng.choice([0, 0.01, 0.05, 0.4]))
    close = 100 * np.exp(np.cumsum(rng.normal(0, volatility, shape), axis=0))
    open_ = np.concatenate((close[:1], close[:-1])) * np.exp(rng.normal(0, volatility * rng.choice([0, 0.5, 2]), shape))
    if rng.random() < 0.4:  # whole prices make exact ties
        open_, close = np.round(open_) + 1, np.round(close) + 1
    target = rng.choice([math.nan, 0, 0, 1, -1, 0.5, 1e-5, -2, 3, math.inf], shape)
    target[rng.random(n_bars) < rng.choice([0.0, 0.8])] = math.nan
    prices = [inputs.ready(values) for values in (open_, np.maximum(open_, close), np.minimum(open_, close), close)]
    ones, zeros = inputs.ready(np.ones(n_assets)), inputs.ready(np.zeros(n_assets))
    start = int(rng.integers(0, n_bars))

    def one(*choices: float) -> float:
        return float(rng.choice(choices))

    on = Conditions(
        start, int(rng.integers(start + 1, n_bars + 1)), 1e6, one(0, 2e-4, 0.05), one(0, 1e-4, 0.02), 0.0, 0.0,
        one(0, 2e-5, 0.01), one(0, 2e-4, 0.01), False, 10, 0.0, False,
    )  # fmt: skip
    aims = TargetOrders(inputs.ready(target), one(0, 0.1), math.inf, math.inf, math.inf, 0.0, 0)
    return Market(*prices, NONE, NONE, NONE, inputs.ready(NONE, np.bool_), ones, zeros), on, aims


@settings(max_examples=300, deadline=None)
@given(SEEDS)
def test_it_is_the_reference_bit_for_bit(seed: int) -> None:
    prices, on, aims = case(seed)
    assert engine_shared.knows(prices, on, aims)
    found = engine_shared.run_targets(prices, on, aims)
    for other in (engine_reference, engine_panel):
        for name, ours, theirs in zip(Books._fields, found, other.run_targets(prices, on, aims), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{other.__name__}: {name}")


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.integers(1, 9))
def test_rows_of_some_bars_are_targets_that_keep_on_the_others(seed: int, every: int) -> None:
    prices, on, aims = case(seed)
    sparse = aims.target.copy()
    sparse[np.arange(len(sparse)) % every != 0] = math.nan
    expected = engine_shared.run_targets(prices, on, aims._replace(target=inputs.ready(sparse)))
    rows = aims._replace(target=inputs.ready(aims.target[::every]))
    for ours, theirs in zip(engine_shared.run_targets(prices, on, rows, every=every), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_the_plain_loop_and_the_compiled_one_are_the_same(seed: int) -> None:
    prices, on, aims = case(seed)
    arguments = (
        prices.open, prices.close, aims.target, 1, aims.band, on.start, on.stop,
        on.capital, on.adverse, on.commission, on.borrow_rate, on.financing_rate, 4_000,
    )  # fmt: skip
    with np.errstate(all="ignore"):
        plain = engine_shared.follow.loop(*arguments)
    compiled = engine_shared.follow.compiled()(*arguments)
    n_trades = plain[6]
    for one, other in zip(plain, compiled, strict=True):
        # The room behind the last trade holds anything.
        ours, theirs = ((made[:n_trades] if np.ndim(made) == 2 else made) for made in (one, other))
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()


def test_more_trades_than_there_was_room_for_are_made_again() -> None:
    # 300 assets reversed on each of 9 bars: far more than the 2 * 10 + 1,000 trades of the first try.
    close = inputs.ready(np.full((10, 300), 50.0))
    target = np.where(np.arange(10)[:, None] % 2 == 0, 1 / 300, -1 / 300) * np.ones((10, 300))
    ones, zeros = inputs.ready(np.ones(300)), inputs.ready(np.zeros(300))
    prices = Market(close, close, close, close, NONE, NONE, NONE, inputs.ready(NONE, np.bool_), ones, zeros)
    on = Conditions(0, 10, 1e6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, False, 10, 0.0, False)
    books = engine_shared.run_targets(
        prices, on, TargetOrders(inputs.ready(target), 0.0, math.inf, math.inf, math.inf, 0, 0)
    )
    assert len(books.whole) == 9 * 300
    assert books.equity[-1] == pytest.approx(1e6)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        (1, {"per_unit": 0.5}),
        (1, {"minimum": 1.0}),
        (1, {"at_close": True}),
        (1, {"keep_positions": True}),
        (0, {"impact": np.ones((3, 2))}),
        (0, {"funding": np.ones((3, 2))}),
        (0, {"roll": np.ones((3, 2), np.bool_)}),
        (0, {"multiplier": np.array([1.0, 50.0])}),
        (0, {"lot": np.array([0.0, 1.0])}),
        (0, {"close": np.array([[1.0, 1.0], [1.0, math.nan], [1.0, 1.0]])}),
        (2, {"max_weight": 0.5}),
        (2, {"max_gross": 1.0}),
        (2, {"max_net": 0.0}),
        (2, {"halt_drawdown": 0.1}),
    ],
)
def test_it_leaves_everything_else_to_the_general_engine(part: int, changed: dict) -> None:
    flat = np.ones((3, 2))
    made = [
        Market(flat, flat, flat, flat, NONE, NONE, NONE, NONE, np.ones(2), np.zeros(2)),
        Conditions(0, 3, 1e6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, False, 10, 0.0, False),
        TargetOrders(flat, 0.0, math.inf, math.inf, math.inf, 0.0, 0),
    ]
    assert engine_shared.knows(*made)
    made[part] = made[part]._replace(**changed)
    assert not engine_shared.knows(*made)


def test_a_missing_bar_outside_the_window_does_not_matter() -> None:
    close = np.array([[1.0, math.nan], [1.0, 1.0], [1.0, 1.0]])
    prices = Market(close, close, close, close, NONE, NONE, NONE, NONE, np.ones(2), np.zeros(2))
    on = Conditions(1, 3, 1e6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, False, 10, 0.0, False)
    assert engine_shared.knows(prices, on, TargetOrders(close, 0.0, math.inf, math.inf, math.inf, 0.0, 0))


def test_a_rebalance_by_hand() -> None:
    # Half and half of 1,000 at 100 and 50: 5 and 10 units. The second doubles: 500 + 1,000 = 1,500, 750 each again,
    # so 2.5 units of the first are bought and 2.5 of the second sold, each for 250 with 1 % commission: 2.5 a side.
    close = np.array([[100.0, 50.0], [100.0, 100.0], [100.0, 100.0]])
    days = np.datetime64("2020-01-01") + np.arange(3)
    open_ = np.array([[100.0, 50.0], [100.0, 50.0], [100.0, 100.0]])
    bars = Bars(("A", "B"), days, open_, np.maximum(open_, close), np.minimum(open_, close), close, close, "hand")
    made = Signals("half", bars, TargetDecisions(np.full((3, 2), 0.5)))
    result = simulate(made, CostModel(100.0, 0.0, 0.0, 0.0, 0.0), capital=1000.0)
    # The entries cost 5 a side: 10 on the first rebalance; then 1,490 is halved: 745 each, 245 bought, 255 sold.
    assert result.equity.tolist() == pytest.approx([1000.0, 1490.0, 1490.0 - 2.45 - 2.55])
    assert result.turnover.tolist() == pytest.approx([0.0, 1.0, 500.0 / 1490.0])
    assert [trade.units for trade in result.trades] == pytest.approx([7.45, 10.0])
