"""Every rule of the engine with numbers worked out by hand, on both engines, and the proof that they are one."""

from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtesting import engine as compiled
from backtesting import engine_reference as reference
from backtesting.result import REASONS

NAN = float("nan")
GONE = (NAN, NAN, NAN, NAN)
MONEY = ("entry", "exit", "units", "pnl", "costs")


class Run(NamedTuple):
    equity: list[float]
    exposure: list[float]
    turnover: list[float]
    trades: list[dict[str, object]]
    costs: float


@pytest.fixture(params=[compiled, reference], ids=["compiled", "reference"])
def engine(request: pytest.FixtureRequest) -> ModuleType:
    return request.param


def tidy(books: tuple) -> Run:
    equity, exposure, turnover, whole, real, costs = books
    trades = [
        {
            "side": w[0],
            "at": (w[1], w[2]),
            "reason": REASONS[w[3]],
            "entry": r[0],
            "exit": r[1],
            "units": r[2],
            "pnl": r[3],
            "costs": r[4],
        }
        for w, r in zip(whole.tolist(), real.tolist(), strict=True)
    ]
    return Run(equity.tolist(), exposure.tolist(), turnover.tolist(), trades, costs)


def prices(rows: list) -> list[np.ndarray]:
    """Rows of (open, high, low, close), or one number for a bar without a range."""
    table = [(row,) * 4 if isinstance(row, int | float) else row for row in rows]
    return [np.array(column, dtype=float) for column in zip(*table, strict=True)]


def trade(
    engine: ModuleType,
    rows: list,
    *,
    long: tuple = (),
    out: tuple = (),
    short: tuple = (),
    cover: tuple = (),
    size: float | list = 1.0,
    stop: float = NAN,
    trail: float = NAN,
    target: float = NAN,
    max_bars: int = 0,
    window: tuple[int, int] | None = None,
    capital: float = 1000.0,
    adverse: float = 0.0,
    commission: float = 0.0,
    borrow: float = 0.0,
    financing: float = 0.0,
) -> Run:
    n = len(rows)

    def flags(bars: tuple) -> np.ndarray:
        return np.isin(np.arange(n), bars)

    def numbers(value: float | list) -> np.ndarray:
        return np.broadcast_to(np.array(value, dtype=float), n).copy()

    start, end = window or (0, n)
    return tidy(
        engine.simulate_signals(
            *prices(rows),
            flags(long),
            flags(out),
            flags(short),
            flags(cover),
            numbers(size),
            numbers(stop),
            numbers(trail),
            numbers(target),
            max_bars,
            start,
            end,
            capital,
            adverse,
            commission,
            borrow,
            financing,
        )
    )


def follow(
    engine: ModuleType,
    rows: list,
    target: list[float],
    *,
    band: float = 0.0,
    capital: float = 1000.0,
    adverse: float = 0.0,
    commission: float = 0.0,
    borrow: float = 0.0,
    financing: float = 0.0,
) -> Run:
    open_, _, _, close = prices(rows)
    wanted = np.array(target, dtype=float)
    return tidy(
        engine.simulate_targets(
            open_, close, wanted, band, 0, len(rows), capital, adverse, commission, borrow, financing
        )
    )


class TestTime:
    def test_a_decision_at_a_close_is_filled_at_the_next_open(self, engine):
        run = trade(engine, [10, (20, 22, 20, 22), (22, 25, 22, 24)], long=(0,))
        # 1000 / 20 = 50 units; 50 * 22 = 1100; 50 * 24 = 1200
        assert run.equity == [1000.0, 1100.0, 1200.0]
        assert run.exposure == [0.0, 1.0, 1.0]
        assert run.turnover == [0.0, 1.0, 0.0]
        assert run.trades == [
            {
                "side": 1,
                "at": (1, 2),
                "reason": "open",
                "entry": 20.0,
                "exit": 24.0,
                "units": 50.0,
                "pnl": 200.0,
                "costs": 0.0,
            }
        ]

    def test_decisions_before_the_window_are_not_used(self, engine):
        rows = [10, 10, 10, (20, 20, 20, 20), (40, 40, 40, 40)]
        before = trade(engine, rows, long=(1,), window=(2, 5))
        assert before.equity == [1000.0, 1000.0, 1000.0]
        assert before.trades == []
        first = trade(engine, rows, long=(2,), window=(2, 5))
        assert first.equity == [1000.0, 1000.0, 2000.0]  # filled at 20, doubled to 40
        assert first.trades[0]["at"] == (3, 4)  # bar numbers of the market, not of the window

    def test_the_decision_at_the_last_close_is_never_filled(self, engine):
        assert trade(engine, [10, 10], long=(1,)).trades == []

    def test_an_open_position_is_marked_not_sold(self, engine):
        run = trade(engine, [10, 10], long=(0,), adverse=0.01, commission=0.01)
        units = 1000 / (10.1 * 1.01)
        assert run.equity[-1] == pytest.approx(units * 10)
        assert run.costs == pytest.approx(units * 0.1 + units * 10.1 * 0.01)  # one side only
        assert run.trades[0]["reason"] == "open"


class TestSignals:
    def test_all_in_spends_exactly_the_cash_commission_included(self, engine):
        run = trade(engine, [100, (100, 103, 100, 103)], long=(0,), adverse=0.01, commission=0.02)
        # fill 100 * 1.01 = 101; 1000 / (101 * 1.02) = 9.70685 units, no cash left
        units = 1000 / (101 * 1.02)
        assert run.equity[1] == pytest.approx(units * 103)
        assert run.exposure[1] == 1.0
        assert run.trades[0]["entry"] == 101.0
        assert run.turnover[1] == pytest.approx(1 / 1.02)

    def test_a_round_trip_pays_both_sides(self, engine):
        run = trade(engine, [100, 100, 100], long=(0,), out=(1,), adverse=0.01, commission=0.02)
        # 1000 -> / (101 * 1.02) units -> * 99 * 0.98
        units = 1000 / (101 * 1.02)
        assert run.equity[2] == pytest.approx(units * 99 * 0.98)
        assert run.trades[0]["pnl"] == pytest.approx(units * 99 * 0.98 - 1000)
        # spread 1 + 1 a unit, commission 2 % of 101 and of 99
        assert run.trades[0]["costs"] == pytest.approx(units * (1 + 1 + 2.02 + 1.98))
        # without costs nothing would have been lost
        assert run.costs == pytest.approx(1000 - run.equity[2])

    def test_half_size_leaves_half_the_cash(self, engine):
        run = trade(engine, [100, 100, 200], long=(0,), size=0.5)
        assert run.equity == [1000.0, 1000.0, 1500.0]  # 500 cash + 5 units * 200
        assert run.exposure[2] == pytest.approx(1000 / 1500)

    def test_a_short_earns_when_the_price_falls(self, engine):
        run = trade(engine, [100, 100, 80, 80], short=(0,), cover=(2,), adverse=0.01)
        # sold 1000 / 99 units at 99, marked at 80, bought back at 80 * 1.01 = 80.8
        units = 1000 / 99
        assert run.equity[2] == pytest.approx(1000 + units * (99 - 80))
        assert run.equity[3] == pytest.approx(1000 + units * (99 - 80.8))
        assert run.exposure[1] == pytest.approx(-units * 100 / (1000 + units * (99 - 100)))
        assert (run.trades[0]["side"], run.trades[0]["entry"], run.trades[0]["exit"]) == (-1, 99.0, 80.8)

    def test_entering_both_ways_is_entering_neither(self, engine):
        assert trade(engine, [10, 10, 10], long=(0,), short=(0,)).trades == []

    @pytest.mark.parametrize(("entry", "exit_"), [("long", "out"), ("short", "cover")])
    def test_an_entry_with_its_own_exit_is_not_taken_when_flat(self, engine, entry, exit_):
        assert trade(engine, [10, 10, 10], **{entry: (0,), exit_: (0,)}).trades == []

    @pytest.mark.parametrize("size", [NAN, 0.0, -1.0, float("inf")])
    def test_no_size_no_entry(self, engine, size):
        assert trade(engine, [10, 10, 10], long=(0,), size=size).trades == []

    def test_an_entry_in_the_direction_held_is_ignored(self, engine):
        run = trade(engine, [10, 10, 20, 20], long=(0, 1, 2), size=0.5)
        assert len(run.trades) == 1
        assert run.trades[0]["units"] == 50.0

    def test_a_reverse_entry_closes_and_opens_at_one_open(self, engine):
        run = trade(engine, [10, 10, 20, 10], long=(0,), short=(1,))
        # 100 units from 10 to 20: 2000; short 2000 / 20 = 100 units; at 10: 4000 cash - 1000 = 3000
        assert [(t["side"], t["at"], t["reason"]) for t in run.trades] == [(1, (1, 2), "signal"), (-1, (2, 3), "open")]
        assert run.equity == [1000.0, 1000.0, 2000.0, 3000.0]
        assert run.turnover[2] == 2.0  # all of equity sold, then all of it sold short

    def test_a_reverse_entry_that_is_contradicted_closes_nothing(self, engine):
        run = trade(engine, [10, 10, 10, 10], long=(0, 1), short=(1,))
        assert [(t["at"], t["reason"]) for t in run.trades] == [((1, 3), "open")]

    def test_leaving_a_long_while_told_to_enter_long_stays_out(self, engine):
        run = trade(engine, [10, 10, 10, 10], long=(0, 1), out=(1,))
        assert [(t["at"], t["reason"]) for t in run.trades] == [((1, 2), "signal")]

    def test_a_time_exit_counts_the_entry_bar_as_one(self, engine):
        run = trade(engine, [10, 10, 10, 10, 10], long=(0,), max_bars=2)
        # filled at bar 1; bars 1 and 2 are two bars; leaves at the open of 3
        assert [(t["at"], t["reason"]) for t in run.trades] == [((1, 3), "time")]

    def test_a_time_exit_does_not_re_enter_on_a_signal_that_was_ignored(self, engine):
        run = trade(engine, [10, 10, 10, 10, 10], long=(0, 1, 2, 3), max_bars=1)
        assert [t["at"] for t in run.trades] == [(1, 2), (3, 4)]

    def test_a_short_out_of_time_does_not_re_enter_at_once_either(self, engine):
        run = trade(engine, [10, 10, 10, 10, 10], short=(0, 1, 2, 3), max_bars=1)
        assert [(t["side"], t["at"]) for t in run.trades] == [(-1, (1, 2)), (-1, (3, 4))]

    def test_out_of_time_and_told_to_leave_is_a_signal(self, engine):
        run = trade(engine, [10, 10, 10], long=(0,), out=(1,), max_bars=1)
        assert [t["reason"] for t in run.trades] == ["signal"]


class TestProtectiveExits:
    def test_a_gap_through_the_stop_fills_at_the_open(self, engine):
        run = trade(engine, [100, 100, (90, 92, 88, 91)], long=(0,), stop=5, adverse=0.01)
        # fill 101, stop 96; open 90 is below: 90 * 0.99 = 89.1
        assert run.trades[0]["exit"] == pytest.approx(89.1)
        assert (run.trades[0]["at"], run.trades[0]["reason"]) == ((1, 2), "stop")
        assert run.equity[2] == pytest.approx(1000 / 101 * 89.1)
        assert run.exposure[2] == 0.0

    def test_a_stop_inside_the_bar_fills_at_its_level(self, engine):
        run = trade(engine, [100, 100, (100, 101, 90, 99)], long=(0,), stop=5)
        assert run.trades[0]["exit"] == 95.0
        assert run.equity[2] == 950.0  # 10 units at 95, whatever the close

    def test_a_stop_counts_on_the_bar_of_the_entry(self, engine):
        run = trade(engine, [100, (100, 101, 94, 99)], long=(0,), stop=5)
        assert (run.trades[0]["at"], run.trades[0]["exit"]) == ((1, 1), 95.0)

    def test_touching_a_level_is_enough(self, engine):
        assert trade(engine, [100, 100, (100, 101, 95, 99)], long=(0,), stop=5).trades[0]["reason"] == "stop"
        assert trade(engine, [100, 100, (100, 110, 99, 99)], long=(0,), target=10).trades[0]["reason"] == "target"

    def test_the_trailing_stop_starts_from_the_fill_not_from_the_quote(self, engine):
        run = trade(engine, [100, (100, 100, 95.5, 98)], long=(0,), trail=5, adverse=0.01)
        # filled at 101, so the level is 96 and not 95
        assert run.trades[0]["exit"] == pytest.approx(96 * 0.99)

    def test_a_stop_tighter_than_the_spread_fills_at_the_open_not_above(self, engine):
        run = trade(engine, [100, 100], long=(0,), stop=0.5, adverse=0.01)
        # fill 101, stop 100.5 above the open of 100: sold at 100 * 0.99, not at 100.5 * 0.99
        assert run.trades[0]["exit"] == pytest.approx(99.0)

    def test_a_target_fills_at_its_level_without_slippage_but_with_commission(self, engine):
        run = trade(engine, [100, 100, (100, 120, 100, 100)], long=(0,), target=10, adverse=0.01, commission=0.02)
        # fill 101, target 111
        units = 1000 / (101 * 1.02)
        assert (run.trades[0]["exit"], run.trades[0]["reason"]) == (111.0, "target")
        assert run.equity[2] == pytest.approx(units * 111 * 0.98)

    def test_a_gap_over_the_target_fills_at_the_open(self, engine):
        run = trade(engine, [100, 100, (120, 121, 80, 100)], long=(0,), target=10, stop=5)
        # the open comes before the low of 80, so the stop was never reached
        assert (run.trades[0]["exit"], run.trades[0]["reason"]) == (120.0, "target")

    def test_a_bar_that_touches_both_ends_at_the_stop(self, engine):
        run = trade(engine, [100, 100, (100, 120, 80, 100)], long=(0,), target=10, stop=5)
        assert (run.trades[0]["exit"], run.trades[0]["reason"]) == (95.0, "stop")

    def test_the_trailing_stop_rises_at_the_close_and_counts_from_the_next_bar(self, engine):
        rows = [100, (100, 120, 100, 110), (110, 111, 106, 108), (108, 109, 104, 107)]
        run = trade(engine, rows, long=(0,), trail=5)
        # bar 1: level 95 (from the fill), the high of 120 does not count; after the close of 110: 105
        # bar 2: low 106 > 105; bar 3: low 104 <= 105
        assert (run.trades[0]["at"], run.trades[0]["exit"], run.trades[0]["reason"]) == ((1, 3), 105.0, "trail")

    def test_the_trailing_stop_does_not_use_the_close_of_the_bar_it_stops(self, engine):
        run = trade(engine, [100, (100, 112, 97, 112), (112, 112, 112, 112)], long=(0,), trail=5)
        # a trail that already knew the close of 112 would sell at 107 on bar 1
        assert run.trades[0]["reason"] == "open"

    def test_the_higher_of_stop_and_trail_counts_and_names_the_reason(self, engine):
        rows = [100, (100, 100, 100, 100), (100, 100, 80, 90)]
        assert trade(engine, rows, long=(0,), stop=4, trail=6).trades[0]["exit"] == 96.0
        assert trade(engine, rows, long=(0,), stop=4, trail=6).trades[0]["reason"] == "stop"
        assert trade(engine, rows, long=(0,), stop=6, trail=4).trades[0]["reason"] == "trail"

    def test_a_short_mirrors_a_long(self, engine):
        run = trade(engine, [100, 100, (110, 112, 108, 110)], short=(0,), stop=5, adverse=0.01)
        # sold at 99, stop 104; open 110 is above: 110 * 1.01 = 111.1
        assert run.trades[0]["exit"] == pytest.approx(111.1)
        assert trade(engine, [100, 100, (100, 106, 99, 100)], short=(0,), stop=5).trades[0]["exit"] == 105.0
        assert trade(engine, [100, 100, (100, 101, 85, 90)], short=(0,), target=10).trades[0]["exit"] == 90.0
        assert trade(engine, [100, 100, (85, 101, 80, 90)], short=(0,), target=10).trades[0]["exit"] == 85.0
        trailed = trade(engine, [100, (100, 100, 90, 90), (90, 96, 90, 92)], short=(0,), trail=5).trades[0]
        assert (trailed["exit"], trailed["reason"]) == (95.0, "trail")  # best close 90 + 5

    @pytest.mark.parametrize("distance", [NAN, 0.0, -5.0])
    def test_a_distance_that_is_not_positive_is_no_stop(self, engine, distance):
        run = trade(engine, [100, 100, 50], long=(0,), stop=distance, trail=distance, target=distance)
        assert run.trades[0]["reason"] == "open"

    def test_an_order_at_the_open_comes_before_the_stop(self, engine):
        run = trade(engine, [100, 100, (98, 98, 80, 85)], long=(0,), out=(1,), stop=5)
        assert (run.trades[0]["exit"], run.trades[0]["reason"]) == (98.0, "signal")

    def test_the_close_of_a_stopped_bar_may_decide_a_new_entry(self, engine):
        run = trade(engine, [100, 100, (100, 100, 90, 95), (96, 96, 96, 96)], long=(0, 2), stop=5)
        assert [(t["at"], t["reason"]) for t in run.trades] == [((1, 2), "stop"), ((3, 3), "open")]

    def test_distances_are_those_of_the_bar_that_decided(self, engine):
        distances = np.array([5.0, 50.0, 50.0])
        n = np.full(3, NAN)
        no = np.zeros(3, dtype=bool)
        books = engine.simulate_signals(
            *prices([100, 100, (100, 100, 90, 95)]),
            np.array([True, False, False]),
            no,
            no,
            no,
            np.ones(3),
            distances,
            n,
            n,
            0,
            0,
            3,
            1000.0,
            0.0,
            0.0,
            0.0,
            0.0,
        )
        assert tidy(books).trades[0]["exit"] == 95.0


class TestHolding:
    def test_a_short_pays_borrow_at_every_close(self, engine):
        run = trade(engine, [100, 100, 100, 100], short=(0,), cover=(2,), borrow=0.001)
        # 10 units * 100 * 0.001 = 1 at the closes of bars 1 and 2; bar 3 starts flat
        assert run.equity == pytest.approx([1000.0, 999.0, 998.0, 998.0])
        assert run.trades[0]["costs"] == pytest.approx(2.0)
        assert run.costs == pytest.approx(2.0)

    def test_negative_cash_pays_financing_and_positive_cash_earns_nothing(self, engine):
        run = trade(engine, [100, 100, 100], long=(0,), size=2.0, financing=0.01)
        # 20 units for 2000, cash -1000; 1000 * 0.01 = 10, then 1010 * 0.01 = 10.1
        assert run.equity == pytest.approx([1000.0, 990.0, 979.9])
        assert trade(engine, [100, 100, 100], short=(0,), financing=0.01).equity == [1000.0] * 3

    def test_bars_without_prices_still_cost_borrow(self, engine):
        run = trade(engine, [100, 100, GONE, 100], short=(0,), borrow=0.001)
        assert run.equity == pytest.approx([1000.0, 999.0, 998.0, 997.0])


class TestMissingBars:
    def test_an_order_waits_for_the_next_bar_that_trades(self, engine):
        run = trade(engine, [10, GONE, (20, 20, 20, 20), 40], long=(0,))
        assert run.trades[0]["at"] == (2, 3)
        assert run.equity == [1000.0, 1000.0, 1000.0, 2000.0]

    def test_a_position_is_carried_at_the_last_close(self, engine):
        run = trade(engine, [10, 10, GONE, (5, 5, 5, 5)], long=(0,), stop=1)
        assert run.equity == [1000.0, 1000.0, 1000.0, 500.0]  # stop 9, gap to 5
        assert run.exposure[2] == 1.0
        assert run.trades[0]["at"] == (1, 3)

    def test_a_bar_without_prices_decides_nothing(self, engine):
        assert trade(engine, [10, GONE, 10, 10], long=(1,)).trades == []

    def test_a_window_without_any_price_is_flat(self, engine):
        assert trade(engine, [GONE, GONE, GONE], long=(0, 1)).equity == [1000.0] * 3


class TestRuin:
    def test_ruin_at_a_close_ends_the_account_at_zero(self, engine):
        run = trade(engine, [100, 100, (100, 100, 40, 40), 100], long=(0, 2), size=2.0)
        # 20 units, 1000 borrowed; at 40: 800 - 1000 < 0
        assert run.equity == [1000.0, 1000.0, 0.0, 0.0]
        assert len(run.trades) == 1
        # the account can lose no more than its 1000, though the position lost 1200
        assert run.trades[0] == {
            "side": 1,
            "at": (1, 2),
            "reason": "bankrupt",
            "entry": 100.0,
            "exit": 40.0,
            "units": 20.0,
            "pnl": -1000.0,
            "costs": 0.0,
        }

    def test_ruin_at_an_open_comes_before_any_order(self, engine):
        run = trade(engine, [100, 100, (250, 250, 90, 90), 90], short=(0,), cover=(1,))
        # short 10 at 100: 2000 cash - 2500 < 0 at the open, though the close of 90 would be a profit
        assert run.equity == [1000.0, 1000.0, 0.0, 0.0]
        assert (run.trades[0]["reason"], run.trades[0]["exit"], run.trades[0]["pnl"]) == ("bankrupt", 250.0, -1000.0)

    def test_ruin_by_an_exit_keeps_the_reason_of_the_exit(self, engine):
        run = trade(engine, [100, 100, (51, 51, 51, 51), 51], long=(0,), out=(1,), size=2.0, adverse=0.01)
        # bought 2000 / 101 = 19.8 units; at 51 worth 1009.9 > 1000, sold at 50.49 for 999.8 < 1000
        assert run.equity == [1000.0, pytest.approx(2000 / 101 * 100 - 1000), 0.0, 0.0]
        assert (run.trades[0]["reason"], run.trades[0]["pnl"]) == ("signal", pytest.approx(-1000.0))

    def test_targets_are_ruined_alike(self, engine):
        closed = follow(engine, [100, 100, (100, 100, 40, 40), 100], [2, NAN, NAN, 1])
        assert closed.equity == [1000.0, 1000.0, 0.0, 0.0]
        opened = follow(engine, [100, 100, 40, 100], [2, NAN, 1, 1])
        assert opened.trades[0]["at"] == (1, 2)
        assert (opened.trades[0]["reason"], opened.trades[0]["pnl"]) == ("bankrupt", -1000.0)


class TestTargets:
    def test_a_target_is_held_from_the_next_open(self, engine):
        run = follow(engine, [100, (100, 100, 100, 120), 120], [0.5, NAN, NAN])
        # 500 / 100 = 5 units; 500 + 5 * 120 = 1100
        assert run.equity == [1000.0, 1100.0, 1100.0]
        assert run.exposure[1] == pytest.approx(600 / 1100)

    def test_costs_come_on_top_of_the_target(self, engine):
        run = follow(engine, [100, 100, 100], [1.0, NAN, NAN], adverse=0.01, commission=0.02, financing=0.1)
        # 10 units at 101 with 2 %: 1030.2 paid, cash -30.2, financing 3.02 a bar on it
        assert run.equity[1] == pytest.approx(1000 - 30.2 - 3.02)
        assert run.costs == pytest.approx(30.2 + 3.02 + 3.322)
        assert run.turnover[1] == pytest.approx(1.01)

    def test_the_band_saves_small_trades(self, engine):
        rows = [100, 100, 120, 150, 150]
        run = follow(engine, rows, [0.5] * 5, band=0.06)
        # bar 2: 600 / 1100 = 0.545 is within 0.06; bar 3: 750 / 1250 = 0.6 is not: 625 / 150 units
        assert run.turnover[2] == 0.0
        assert run.turnover[3] == pytest.approx(125 / 1250)
        assert run.exposure[3] == pytest.approx(0.5)
        assert run.turnover[4] == 0.0

    def test_the_band_holds_for_the_first_trade_and_never_for_zero(self, engine):
        assert follow(engine, [100, 100, 100], [0.05, 0.05, 0.05], band=0.05).trades == []
        run = follow(engine, [100, 100, 100], [0.5, 0.0, 0.0], band=0.6)
        assert run.trades == []  # 0.5 is within the band of 0.6, so it never starts
        run = follow(engine, [100, 100, 10, 10], [0.5, NAN, 0.0, 0.0], band=0.4)
        # 5 units at 10 are 50 of 550 = 0.09, nearer to 0 than the band, and still closed
        assert [(t["at"], t["reason"]) for t in run.trades] == [((1, 3), "rebalance")]

    @pytest.mark.parametrize("keep", [NAN, float("inf"), float("-inf")])
    def test_a_target_that_is_no_number_keeps_what_is_held(self, engine, keep):
        run = follow(engine, [100, 100, 150, 100], [0.5, keep, keep, keep])
        assert run.turnover == [0.0, 0.5, 0.0, 0.0]

    def test_through_zero_is_two_trades_at_one_fill(self, engine):
        run = follow(engine, [100, 100, 120, 120], [1.0, -1.0, NAN, NAN], adverse=0.01)
        # 10 units bought at 101, cash -10; at 120 equity 1190; short 1190 / 120 units; both fills 118.8
        first, second = run.trades
        assert (first["side"], first["at"], first["exit"]) == (1, (1, 2), pytest.approx(118.8))
        assert first["pnl"] == pytest.approx(10 * (118.8 - 101))
        assert (second["side"], second["entry"], second["units"]) == (
            -1,
            pytest.approx(118.8),
            pytest.approx(1190 / 120),
        )
        assert run.turnover[2] == pytest.approx((10 + 1190 / 120) * 118.8 / 1190)

    def test_adding_averages_the_entry_and_reducing_the_exit(self, engine):
        rows = [100, 100, 100, 200, 300]
        run = follow(engine, rows, [0.25, 0.5, 0.25, 0.0, NAN])
        # buys 2.5 at 100, 2.5 more at 100; at 200 equity 1500, wants 1.875: sells 3.125; at 300 sells 1.875
        trade_ = run.trades[0]
        assert (trade_["entry"], trade_["units"], trade_["at"]) == (100.0, 5.0, (1, 4))
        assert trade_["exit"] == pytest.approx((3.125 * 200 + 1.875 * 300) / 5)
        assert trade_["pnl"] == pytest.approx(5 * (trade_["exit"] - 100))

    def test_a_tiny_target_never_flips_the_side(self, engine):
        run = follow(engine, [100, 100, 100, 100], [1.0, 1e-6, NAN, NAN], adverse=0.05)
        assert [t["side"] for t in run.trades] == [1]

    def test_an_order_waits_for_the_next_bar_that_trades(self, engine):
        run = follow(engine, [100, GONE, 50, 100], [1.0, -1.0, NAN, NAN])
        assert run.trades[0]["at"] == (2, 3)
        assert run.equity == [1000.0, 1000.0, 1000.0, 2000.0]

    def test_a_short_target_pays_borrow(self, engine):
        run = follow(engine, [100, 100, 100], [-1.0, NAN, NAN], borrow=0.001)
        assert run.equity == pytest.approx([1000.0, 999.0, 998.0])


# A case is drawn as a seed and expanded by numpy: thousands of numbers from one draw, and any failure is one integer.
SEEDS = st.integers(0, 2**32 - 1)


def wild_case(seed: int) -> tuple[tuple, tuple]:
    """Arguments of both simulators: gaps, flat and whole prices, missing bars, contradicting flags, ruinous sizes."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    volatility = float(rng.choice([0, 0.01, 0.05, 0.3]))
    close = 100 * np.exp(np.cumsum(rng.normal(0, volatility, n)))
    open_ = np.concatenate((close[:1], close[:-1])) * np.exp(rng.normal(0, volatility * rng.choice([0, 0.5, 2]), n))
    if rng.random() < 0.4:  # whole prices make exact ties of levels and prices
        open_, close = np.round(open_) + 1, np.round(close) + 1
    high = np.maximum(open_, close) * (1 + np.abs(rng.normal(0, volatility, n)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, volatility, n)))
    missing = rng.random(n) < rng.choice([0, 0.1, 0.5])
    for values in (open_, high, low, close):
        values[missing] = NAN
    busy = rng.choice([0.02, 0.2, 0.6])
    flags = [rng.random(n) < busy for _ in range(4)]
    size = rng.choice([NAN, 0, -1, 0.5, 1, 1, 3, np.inf], n)
    distances = [np.where(rng.random(n) < 0.5, NAN, rng.choice([-1, 0, 0.5, 2, 10], n)) for _ in range(3)]
    target = rng.choice([NAN, 0, 0, 1, -1, 0.5, 1e-5, -2, 3, np.inf], n)
    start = int(rng.integers(0, n))
    stop = int(rng.integers(start + 1, n + 1))
    costs = (
        float(rng.choice([0, 2e-4, 0.05])),
        float(rng.choice([0, 1e-4, 0.02])),
        float(rng.choice([0, 2e-5, 0.01])),
        float(rng.choice([0, 2e-4, 0.01])),
    )
    account = (start, stop, 1e6, *costs)
    signals = (open_, high, low, close, *flags, size, *distances, int(rng.choice([0, 1, 3])), *account)
    targets = (open_, close, target, float(rng.choice([0, 0.1])), *account)
    return signals, targets


@settings(max_examples=400, deadline=None)
@given(SEEDS)
def test_the_compiled_engine_is_the_reference(seed):
    signals, targets = wild_case(seed)
    for fast, slow in (
        (compiled.simulate_signals(*signals), reference.simulate_signals(*signals)),
        (compiled.simulate_targets(*targets), reference.simulate_targets(*targets)),
    ):
        # Trades bit for bit; the curves too, since every sum runs in the same order.
        for ours, theirs in zip(fast, slow, strict=True):
            np.testing.assert_array_equal(ours, theirs, strict=False)


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_the_pnl_of_all_trades_is_the_profit_of_the_account(seed):
    signals, targets = wild_case(seed)
    for books in (compiled.simulate_signals(*signals), compiled.simulate_targets(*targets)):
        equity, _, _, _, real, costs_paid = books
        scale = 1e6 + np.abs(real[:, 3]).sum()
        assert abs(real[:, 3].sum() - (equity[-1] - 1e6)) <= 1e-9 * scale
        assert real[:, 4].sum() == pytest.approx(costs_paid, rel=1e-9)
        assert np.isfinite(equity).all()
        assert (equity >= 0).all()
        assert (real[:, 4] >= 0).all()


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_the_past_does_not_change_when_bars_are_added(seed):
    signals, targets = wild_case(seed)
    for simulate, arguments, at in (
        (compiled.simulate_signals, signals, 13),
        (compiled.simulate_targets, targets, 4),
    ):
        start, stop = arguments[at], arguments[at + 1]
        cut = start + (stop - start + 1) // 2
        full = simulate(*arguments)
        shorter = [value[:cut] if isinstance(value, np.ndarray) else value for value in arguments]
        shorter[at + 1] = cut
        half = simulate(*shorter)
        for whole_curve, half_curve in zip(full[:3], half[:3], strict=True):
            np.testing.assert_array_equal(whole_curve[: cut - start], half_curve)
        closed = half[3][:, 3] != REASONS.index("open")
        np.testing.assert_array_equal(full[3][: closed.sum()], half[3][closed])
        np.testing.assert_array_equal(full[4][: closed.sum()], half[4][closed])
