import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agents.execution.paper import paper_orders
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import FREE
from backtesting.decisions import Decisions, SignalDecisions, Signals, TargetDecisions
from backtesting.errors import UsageError
from backtesting.terms import Terms


def market(close: list[float], symbols: int = 1) -> Bars:
    prices = np.repeat(np.array(close)[:, None], symbols, axis=1)
    return Bars(
        symbols=tuple(f"S{k}" for k in range(symbols)),
        sessions=np.datetime64("2024-01-01") + np.arange(len(close)),
        open=prices, high=prices, low=prices, close=prices, volume=np.ones_like(prices), source="test",
    )  # fmt: skip


def signals(size: float = 0.5, **fired: bool) -> Signals:
    """Flat signals on two bars of 100 and 50, except what fires on the last."""
    names = ("enter_long", "exit_long", "enter_short", "exit_short")
    flags = {name: np.array([[False], [fired.get(name, False)]]) for name in names}
    nan = np.full((2, 1), np.nan)
    return Signals(
        "rule",
        market([100.0, 50.0]),
        SignalDecisions(
            **flags, size=np.full((2, 1), size), stop_distance=nan, trail_distance=nan, target_distance=nan
        ),
    )


def changes(asked: Signals, held: float = 0.0) -> list[tuple[str, float]]:
    return [(order.side, order.units) for order in paper_orders(asked, 1000.0, held)]


@pytest.mark.parametrize(
    ("fired", "held", "expected"),
    [
        # 0.5 of 1000 at 50 is 10 units.
        ({"enter_long"}, 0.0, [("buy", 10.0)]),
        ({"enter_short"}, 0.0, [("sell", 10.0)]),
        ({"enter_long"}, 4.0, []),
        ({"exit_long"}, 4.0, [("sell", 4.0)]),
        ({"exit_long"}, 0.0, []),
        ({"exit_short"}, -4.0, [("buy", 4.0)]),
        ({"exit_short"}, 4.0, []),
        ({"enter_short"}, 4.0, [("sell", 4.0), ("sell", 10.0)]),
        ({"enter_long"}, -4.0, [("buy", 4.0), ("buy", 10.0)]),
        ({"enter_long", "exit_long"}, 0.0, []),
        ({"enter_short", "exit_short"}, 4.0, [("sell", 4.0)]),
        ({"enter_long", "enter_short"}, 0.0, []),
        ({"enter_long", "enter_short"}, 4.0, []),
        ({"enter_long", "exit_long"}, 4.0, [("sell", 4.0)]),
        (set(), 4.0, []),
    ],
)
def test_signals_become_orders_by_the_rules_of_the_engine(
    fired: set[str], held: float, expected: list[tuple[str, float]]
) -> None:
    assert changes(signals(**dict.fromkeys(fired, True)), held) == expected


@pytest.mark.parametrize("size", [math.nan, 0.0, -1.0, math.inf])
def test_without_a_size_there_is_no_entry_but_there_is_an_exit(size: float) -> None:
    assert changes(signals(size, enter_long=True)) == []
    assert changes(signals(size, enter_short=True), 4.0) == [("sell", 4.0)]


@pytest.mark.parametrize(
    ("target", "held", "expected"),
    [
        # Held 4 at 50 is 0.2 of 1000.
        (0.5, 4.0, [("buy", 6.0)]),
        (0.25, 4.0, []),
        (0.0, 4.0, [("sell", 4.0)]),
        (0.0, 0.0, []),
        (-0.5, 4.0, [("sell", 14.0)]),
        (math.nan, 4.0, []),
        (math.inf, 4.0, []),
    ],
)
def test_targets_become_the_difference_beyond_the_band(
    target: float, held: float, expected: list[tuple[str, float]]
) -> None:
    decisions = TargetDecisions(np.array([[9.0], [target]]), band=0.1)
    assert changes(Signals("rule", market([100.0, 50.0]), decisions), held) == expected


def test_an_order_says_who_decided_what_and_when() -> None:
    (order,) = paper_orders(signals(enter_long=True), 1000.0)
    assert str(order) == "buy 10.0000 S0 at the open after 2024-01-02 (enter long; close 50.00)"


def test_a_bar_without_a_price_decides_nothing() -> None:
    decisions = TargetDecisions(np.array([[0.5], [1.0]]))
    (order,) = paper_orders(Signals("rule", market([100.0, math.nan]), decisions), 1000.0)
    # The decision of the first bar stands: 0.5 of 1000 at 100 is 5 units.
    assert (order.units, order.decided) == (5.0, "2024-01-01")


def test_a_ruined_account_orders_nothing() -> None:
    assert paper_orders(signals(enter_long=True), 0.0) == ()


def test_what_cannot_be_ordered_is_said() -> None:
    with pytest.raises(UsageError, match=r"equity nan and held units 0\.0 have to be finite numbers"):
        paper_orders(signals(), math.nan)
    two = Signals("rule", market([100.0, 50.0], 2), TargetDecisions(np.ones((2, 2))))
    with pytest.raises(UsageError, match="rule: the bars hold 2 symbols, and held units are one number"):
        paper_orders(two, 1000.0, 3.0)
    with pytest.raises(UsageError, match="'S11' is held, but the market has no such symbol; did you mean 'S1'"):
        paper_orders(two, 1000.0, {"S11": 3.0})
    with pytest.raises(UsageError, match=r"terms\.lot has 3 numbers, the bars hold 2 symbols"):
        paper_orders(two, 1000.0, terms=Terms(lot=(1.0, 1.0, 1.0)))
    halted = TargetDecisions(np.ones((2, 2)), halt_drawdown=0.1)
    with pytest.raises(UsageError, match="or a halt: they depend on what was filled before"):
        paper_orders(Signals("rule", market([100.0, 50.0], 2), halted), 1000.0)


def panel(close: list[list[float]]) -> Bars:
    """Rows are bars."""
    prices = np.array(close)
    names = tuple(f"S{k}" for k in range(prices.shape[1]))
    days = np.datetime64("2024-01-01") + np.arange(len(prices))
    return Bars(names, days, prices, prices, prices, prices, np.ones_like(prices), source="test")


def test_a_panel_is_traded_to_its_targets_by_hand() -> None:
    # Of 1,000: 0.5 at 50 is 10 units, 4 are held; nothing is wanted of the second; the third is kept; -0.2 at 40.
    bars = panel([[50.0, 20.0, 10.0, 40.0]])
    decided = TargetDecisions(np.array([[0.5, 0.0, math.nan, -0.2]]))
    orders = paper_orders(Signals("rule", bars, decided), 1000.0, {"S0": 4.0, "S1": 3.0, "S2": 7.0})
    assert [(o.symbol, o.side, o.units) for o in orders] == [
        ("S0", "buy", 6.0),
        ("S1", "sell", 3.0),
        ("S3", "sell", 5.0),
    ]
    # Whole lots of 10 for an account point of 2: 0.5 is 5 units and so none; -0.2 is 2.5.
    lots = Terms(multiplier=2.0, lot=(10.0, 1.0, 1.0, 1.0))
    orders = paper_orders(Signals("rule", bars, decided), 1000.0, terms=lots)
    assert [(o.symbol, o.side, o.units) for o in orders] == [("S3", "sell", 2.0)]


def test_a_symbol_that_is_gone_gets_no_order_and_one_without_a_price_today_waits() -> None:
    bars = panel([[50.0, 20.0], [math.nan, 20.0], [math.nan, 20.0]])
    decided = TargetDecisions(np.full((3, 2), 0.5))
    made = Signals("rule", bars, decided)
    assert [o.symbol for o in paper_orders(made, 1000.0, terms=Terms(delisted_after=2))] == ["S1"]
    waiting, other = paper_orders(made, 1000.0, terms=Terms(delisted_after=3))
    assert (waiting.symbol, waiting.units, waiting.decided) == ("S0", 10.0, "2024-01-01")
    assert (other.symbol, other.decided) == ("S1", "2024-01-03")


def test_the_standing_choice_is_what_an_account_of_today_buys() -> None:
    bars = panel([[50.0, 20.0], [100.0, 20.0], [100.0, 25.0]])
    decided = TargetDecisions(np.array([[0.5, 0.5], [math.nan, 0.25], [math.nan, math.nan]]))
    made = Signals("rule", bars, decided)
    assert paper_orders(made, 1000.0) == ()  # nothing was decided on the last bar
    first, second = paper_orders(made, 1000.0, standing=True)
    assert (first.units, first.reason) == (5.0, "target 0.50 of equity, chosen 2024-01-01")
    assert (second.units, second.reason) == (10.0, "target 0.25 of equity, chosen 2024-01-02")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_orders_are_what_the_engine_trades_at_an_open_at_the_last_close(seed: int) -> None:
    """One bar more, at the prices of the last: what the engine then holds is what was held and the orders."""
    rng = np.random.default_rng(seed)
    n_bars, n_assets = int(rng.integers(2, 12)), int(rng.integers(1, 5))
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.05, (n_bars, n_assets)), axis=0)), 1)
    close[rng.random(close.shape) < rng.choice([0.0, 0.3])] = math.nan
    terms = Terms(
        multiplier=tuple(rng.choice([1.0, 5.0], n_assets).tolist()), lot=float(rng.choice([0.0, 1.0, 10.0])),
        delisted_after=int(rng.choice([0, 2, 10])),
    )  # fmt: skip
    # An asset that never traded has no price to go on at.
    last = [next((v for v in column[::-1] if not math.isnan(v)), math.nan) for column in close.T.tolist()]
    bars = panel([*close.tolist(), last])
    shape = bars.close.shape
    if rng.random() < 0.5:
        decisions: Decisions = TargetDecisions(
            rng.choice([math.nan, 0, 0.3, -0.2, 1.0, -1.5], shape), band=float(rng.choice([0, 0.1])),
            max_weight=float(rng.choice([math.inf, 0.25])), max_gross=float(rng.choice([math.inf, 0.8])),
            max_net=float(rng.choice([math.inf, 0.1, 0.0])),
        )  # fmt: skip
    else:
        flags = [rng.random(shape) < 0.3 for _ in range(4)]
        none = np.full(shape, math.nan)
        size = rng.choice([math.nan, 0.1, 0.3, 0.5, 1.0], shape)
        decisions = SignalDecisions(
            *flags, size, none, none, none, max_positions=int(rng.choice([0, 1, 2])),
            max_gross=float(rng.choice([0.5, 1.0, 2.0])),
        )  # fmt: skip
    result = simulate(Signals("r", bars, decisions), FREE, capital=1000.0, terms=terms, keep_positions=True)
    before, after = result.equity[-2:]
    assume(before > 1.0)
    assume(after > 1.0)
    gone = np.isnan(last)
    worth = np.where(gone, 1.0, last) * np.array(terms.multiplier)
    held, wanted = (result.positions[-2] * before / worth, result.positions[-1] * after / worth)
    past = bars.upto(n_bars)
    asked = replace(decisions, **{name: v[:n_bars] for name, v in vars(decisions).items() if isinstance(v, np.ndarray)})
    orders = paper_orders(
        Signals("r", past, asked), float(before), dict(zip(bars.symbols, held.tolist(), strict=True)), terms=terms
    )
    moved = np.zeros(n_assets)
    for order in orders:
        moved[bars.symbols.index(order.symbol)] += order.units if order.side == "buy" else -order.units
    # Prices do not move, so a settled symbol's money is what it was; it is no order.
    missing = np.isnan(close)
    since = np.where((~missing).any(axis=0), np.argmax(~missing[::-1], axis=0), n_bars)
    settled = (since >= terms.delisted_after) & (terms.delisted_after > 0)
    np.testing.assert_allclose(
        np.where(settled | gone, 0.0, moved), np.where(settled | gone, 0.0, wanted - held), atol=1e-7
    )
    assert not moved[settled | gone].any()
