import math

import numpy as np
import pytest

from agents.execution.paper import paper_orders
from backtesting.bars import Bars
from backtesting.decisions import SignalDecisions, Signals, TargetDecisions
from backtesting.errors import UsageError


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
    two = Signals("rule", market([100.0, 50.0], 2), TargetDecisions(np.ones((2, 2))))
    with pytest.raises(UsageError, match="rule: the bars hold 2 symbols, orders are made for one"):
        paper_orders(two, 1000.0)
    with pytest.raises(UsageError, match=r"equity nan and held units 0\.0 have to be finite numbers"):
        paper_orders(signals(), math.nan)
