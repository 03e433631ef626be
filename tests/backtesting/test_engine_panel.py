"""Every rule beyond one asset and plain terms, worked out by hand on both engines, and the proof that they are one."""

import math
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtesting import engine as plain
from backtesting import engine_panel as compiled
from backtesting import engine_reference as reference
from backtesting import inputs
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import FREE, CostModel
from backtesting.decisions import SignalDecisions, Signals, TargetDecisions
from backtesting.inputs import Books, Conditions, Market, SignalOrders, TargetOrders
from backtesting.result import REASONS
from backtesting.splits import Window
from backtesting.terms import CASH, Terms

NAN = float("nan")
GONE = (NAN, NAN, NAN, NAN)


@pytest.fixture(params=[compiled, reference], ids=["compiled", "reference"])
def engine(request: pytest.FixtureRequest) -> ModuleType:
    return request.param


def market(*assets: list, volume: float = 1e6, **features: list) -> Bars:
    """One list of bars an asset: (open, high, low, close), or one number for a bar without a range."""
    tables = [[(row,) * 4 if isinstance(row, int | float) else row for row in asset] for asset in assets]
    prices = np.array(tables, dtype=float).transpose(2, 1, 0)
    shape = prices.shape[1:]
    days = np.datetime64("2020-01-01") + np.arange(shape[0])
    series = {name: np.array(values, dtype=float).reshape(shape) for name, values in features.items()}
    names = tuple("ABCDE"[: shape[1]])
    return Bars(names, days, *prices, np.full(shape, volume), source="sample:hand", features=series)


def signals(bars: Bars, *, long=(), out=(), short=(), cover=(), size=1.0, stop=NAN, trail=NAN, target=NAN, **rules):
    """Flags as bars of the first asset, or as (bar, asset); numbers for all, or one list an asset."""
    shape = bars.close.shape

    def flags(where):
        found = np.zeros(shape, dtype=bool)
        for place in where:
            found[place if isinstance(place, tuple) else (place, 0)] = True
        return found

    def numbers(value):
        return np.broadcast_to(np.array(value, dtype=float), shape).copy()

    limit = rules.pop("limit", None)
    decisions = SignalDecisions(
        *(flags(where) for where in (long, out, short, cover)),
        *(numbers(value) for value in (size, stop, trail, target)),
        limit_price=None if limit is None else numbers(limit),
        **rules,
    )
    return Signals("hand", bars, decisions)


def targets(bars: Bars, rows: list, **rules) -> Signals:
    return Signals("hand", bars, TargetDecisions(np.array(rows, dtype=float).reshape(bars.close.shape), **rules))


def run(engine: ModuleType, made: Signals, costs: CostModel = FREE, terms: Terms = CASH, capital: float = 1000.0):
    bars = made.bars
    on = inputs.conditions(bars, costs, terms, Window(0, bars.n_bars), capital, keep_positions=True)
    orders = inputs.orders(made)
    trade = engine.run_signals if isinstance(orders, SignalOrders) else engine.run_targets
    return trade(inputs.market(made, costs, terms), on, orders)


def trades(books: Books) -> list[tuple]:
    """(asset, side, entry bar, exit bar, reason, entry price, exit price) of every trade."""
    return [
        ("ABCDE"[k], side, first, last, REASONS[reason], round(entry, 9), round(leave, 9))
        for (side, first, last, reason, k, _), (entry, leave, *_) in zip(
            books.whole.tolist(), books.real.tolist(), strict=True
        )
    ]


class TestFillAtTheClose:
    def test_an_order_fills_at_the_close_of_the_next_bar(self, engine):
        bars = market([10, (20, 30, 20, 25), (30, 60, 30, 50), (60, 60, 40, 40)])
        books = run(engine, signals(bars, long=[0], out=[1]), terms=Terms(fill="close"))
        # bought 40 units at the close of 25, sold at the close of 50: 2000
        assert trades(books) == [("A", 1, 1, 2, "signal", 25.0, 50.0)]
        assert books.equity.tolist() == [1000.0, 1000.0, 2000.0, 2000.0]

    def test_a_stop_inside_the_bar_comes_before_the_close_and_voids_the_order(self, engine):
        bars = market([10, 10, (10, 12, 8, 12), 12])
        # stop 9 is touched on bar 2; the entry that bar 1 repeats would have filled at its close of 12
        books = run(engine, signals(bars, long=[0, 1], out=[], stop=1.0), terms=Terms(fill="close"))
        assert trades(books) == [("A", 1, 1, 2, "stop", 10.0, 9.0)]

    def test_a_position_entered_at_the_close_is_not_stopped_by_the_bar_before_it(self, engine):
        bars = market([10, (10, 10, 5, 10), (10, 10, 8.5, 10)])
        books = run(engine, signals(bars, long=[0], stop=1.0), terms=Terms(fill="close"))
        assert trades(books) == [("A", 1, 1, 2, "stop", 10.0, 9.0)]

    def test_targets_fill_at_the_close_too(self, engine):
        bars = market([10, (10, 20, 10, 20), (20, 40, 20, 40)])
        books = run(engine, targets(bars, [[0.5], [NAN], [NAN]]), terms=Terms(fill="close"))
        # 500 / 20 = 25 units
        assert books.equity.tolist() == [1000.0, 1000.0, 1500.0]


class TestLimitEntries:
    def test_a_buy_fills_at_its_price_once_the_low_is_below_it_and_pays_no_spread(self, engine):
        bars = market([100, (100, 100, 95, 98), (98, 98, 94, 97)])
        costs = CostModel(0.0, 100.0, 0.0, 0.0, 0.0)  # 1 % half spread
        books = run(engine, signals(bars, long=[0], limit=95.0, limit_bars=2), costs)
        # a low of exactly 95 is a touch; the next bar trades through
        assert trades(books) == [("A", 1, 2, 2, "open", 95.0, 97.0)]
        assert books.costs_paid == 0.0

    def test_an_open_below_the_price_fills_at_the_open_and_never_above_the_price(self, engine):
        bars = market([100, 90])
        costs = CostModel(0.0, 100.0, 0.0, 0.0, 0.0)
        assert trades(run(engine, signals(bars, long=[0], limit=95.0), costs))[0][5] == 90.9  # 90 * 1.01
        assert trades(run(engine, signals(bars, long=[0], limit=90.5), costs))[0][5] == 90.5

    def test_it_is_gone_after_its_bars(self, engine):
        bars = market([100, 100, 100, 90])
        assert len(run(engine, signals(bars, long=[0], limit=95.0, limit_bars=3)).whole) == 1
        assert len(run(engine, signals(bars, long=[0], limit=95.0, limit_bars=2)).whole) == 0

    def test_the_exit_of_its_direction_cancels_it_and_a_new_entry_replaces_it(self, engine):
        bars = market([100, 100, 100, 90])
        assert len(run(engine, signals(bars, long=[0], out=[1], limit=95.0, limit_bars=9)).whole) == 0
        limit = np.array([[95.0], [92.0], [NAN], [NAN]])
        books = run(engine, signals(bars, long=[0, 1], limit=limit, limit_bars=9))
        assert trades(books)[0][5] == 90.0
        market_order = np.array([[95.0], [NAN], [NAN], [NAN]])
        assert trades(run(engine, signals(bars, long=[0, 1], limit=market_order)))[0][2] == 2  # at the next open

    def test_the_stop_counts_on_the_bar_of_the_fill_and_the_target_does_not(self, engine):
        bars = market([100, (100, 110, 93, 96), 96])
        stopped = run(engine, signals(bars, long=[0], limit=95.0, stop=1.0, target=5.0))
        assert trades(stopped) == [("A", 1, 1, 1, "stop", 95.0, 94.0)]
        # the high of 110 may have come before the fall to 95
        lives = run(engine, signals(bars, long=[0], limit=95.0, stop=5.0, target=5.0))
        assert trades(lives) == [("A", 1, 1, 2, "open", 95.0, 96.0)]

    def test_a_sell_mirrors_a_buy(self, engine):
        bars = market([100, (100, 105, 100, 102), (102, 106, 102, 104)])
        books = run(engine, signals(bars, short=[0], limit=105.0, limit_bars=2))
        assert trades(books) == [("A", -1, 2, 2, "open", 105.0, 104.0)]


class TestCosts:
    def test_commission_a_unit_and_the_least_commission(self, engine):
        bars = market([100, 100, 100])
        costs = CostModel(0.0, 0.0, 0.0, 0.0, 0.0, commission_per_unit=1.0, commission_minimum=50.0)
        # 1000 / 101 = 9.90 units would pay 9.90, less than 50: 950 / 100 = 9.5 units, and 50 again on the way out
        books = run(engine, signals(bars, long=[0], out=[1]), costs)
        assert books.equity[-1] == pytest.approx(900.0)
        assert books.costs_paid == pytest.approx(100.0)
        cheap = CostModel(0.0, 0.0, 0.0, 0.0, 0.0, commission_per_unit=1.0)
        assert run(engine, signals(bars, long=[0]), cheap).real[0, 2] == pytest.approx(1000 / 101)

    def test_impact_grows_with_the_root_of_the_share_of_volume(self, engine):
        # returns +10 % and -10 % in turn: mean 0 to one part in 20, volatility about 0.1
        closes = [100.0]
        for t in range(60):
            closes.append(closes[-1] * (1.1 if t % 2 == 0 else 1 / 1.1))
        bars = market(closes, volume=100.0)
        costs = CostModel(0.0, 0.0, 0.0, 0.0, 0.0, impact=1.0)
        books = run(engine, signals(bars, long=[40], size=0.1), costs)
        moves = np.diff(closes[20:41]) / np.array(closes[20:40])
        # decided at 100, filled at 110: 0.1 * 1000 / 110 units of 100 a bar
        units = 100 / closes[41]
        wanted = closes[41] * (1 + moves.std() * math.sqrt(units / 100))
        assert books.real[0, 0] == pytest.approx(wanted)
        assert books.costs_paid == pytest.approx(books.real[0, 2] * (wanted - closes[41]))

    def test_participation_cuts_the_opening_order_and_never_the_closing_one(self, engine):
        bars = market([100.0, 100.0, 101.0, 100.0, 100.0, 100.0], volume=50.0)
        costs = CostModel(0.0, 0.0, 0.0, 0.0, 0.0, participation=0.1)
        books = run(engine, signals(bars, long=[3], out=[4]), costs)
        # 10 units wanted, a tenth of 50 is 5: the other 5 are worth 500
        assert books.real[0, 2] == 5.0
        assert books.unfilled == pytest.approx(500.0)
        assert trades(books)[0][4] == "signal"
        early = run(engine, signals(bars, long=[0]), costs)
        assert len(early.whole) == 0  # the usual volatility is not known yet, so nothing is opened

    def test_a_roll_pays_both_sides_on_the_notional(self, engine):
        bars = market([100, 100, 100, 100], roll=[0, 0, 1, 0])
        costs = CostModel(100.0, 100.0, 0.0, 0.0, 0.0)  # 1 % commission, 1 % spread
        held = run(engine, signals(bars, long=[0], size=0.5), costs)
        rolled = run(engine, signals(bars, long=[0], size=0.5), costs, Terms(roll="roll"))
        units = held.real[0, 2]
        assert held.equity[-1] - rolled.equity[-1] == pytest.approx(units * 100 * 0.04)  # 2 * (1 % + 1 %)
        assert rolled.real[0, 4] == pytest.approx(rolled.costs_paid)
        every = run(engine, signals(bars, long=[0], size=0.5), costs, Terms(roll_every=3))
        assert every.equity.tolist() == rolled.equity.tolist()  # bars 2, 5, 8, ...

    def test_longs_pay_shorts_the_funding(self, engine):
        bars = market([100, 100, 100, 100], funding=[0.5, 0.01, -0.02, NAN])
        long = run(engine, signals(bars, long=[0]), terms=Terms(funding="funding"))
        # 10 units of 100: pays 10 at bar 1, receives 20 at bar 2
        assert long.equity.tolist() == [1000.0, 990.0, 1010.0, 1010.0]
        short = run(engine, signals(bars, short=[0]), terms=Terms(funding="funding"))
        assert short.equity.tolist() == [1000.0, 1010.0, 990.0, 990.0]
        assert short.costs_paid == 10.0


class TestContracts:
    def test_a_point_is_worth_the_multiplier_and_contracts_are_whole(self, engine):
        bars = market([100, 100, 101, 99])
        books = run(engine, signals(bars, long=[0]), terms=Terms(multiplier=2.0, lot=1.0), capital=1100.0)
        # 1100 / 200 = 5.5 contracts, so 5; a point is 10
        assert books.real[0, 2] == 5.0
        assert books.equity.tolist() == [1100.0, 1100.0, 1110.0, 1090.0]
        assert books.turnover[1] == pytest.approx(1000 / 1100)

    def test_less_than_one_contract_is_no_trade(self, engine):
        bars = market([100, 100, 100])
        assert len(run(engine, signals(bars, long=[0]), terms=Terms(multiplier=50.0, lot=1.0)).whole) == 0
        assert len(run(engine, targets(bars, [[1], [1], [1]]), terms=Terms(multiplier=50.0, lot=1.0)).whole) == 0

    def test_targets_are_rounded_towards_no_position(self, engine):
        bars = market([100, 100, 100, 100])
        books = run(engine, targets(bars, [[0.37], [-0.37], [NAN], [NAN]]), terms=Terms(lot=1.0))
        assert books.positions[:, 0].tolist() == [0.0, 0.3, -0.3, -0.3]


class TestRules:
    def test_a_cool_down_forbids_entries_for_its_bars(self, engine):
        bars = market([100] * 7)
        always = signals(bars, long=range(7), out=[1], size=0.5)
        # out at bar 2; without a rule the decision of bar 2 is filled at bar 3
        assert trades(run(engine, always))[1][2] == 3
        cooled = signals(bars, long=range(7), out=[1], size=0.5, cooldown_bars=2)
        # decisions of bars 2 and 3 are not taken, that of bar 4 is
        assert trades(run(engine, cooled))[1][2] == 5

    def test_rearm_asks_for_a_condition_that_was_false_since_the_last_entry(self, engine):
        bars = market([100, 100, (100, 100, 90, 95), 95, 95, 95, 95])
        rule = {"size": 0.5, "stop": 5.0}
        stays = signals(bars, long=[0, 1, 2, 3, 4, 5], rearm=True, **rule)
        assert len(run(engine, stays).whole) == 1
        again = signals(bars, long=[0, 1, 2, 4, 5], rearm=True, **rule)
        # false at bar 3, true again at bar 4, filled at bar 5
        assert [trade[2] for trade in trades(run(engine, again))] == [1, 5]

    def test_a_drawdown_halts_the_account(self, engine):
        bars = market([100, 100, 80, 80, 80, 160, 160])
        held = signals(bars, long=[0, 3, 4, 5], halt_drawdown=0.15)
        # down 20 % at the close of bar 2: out at bar 3, and never in again
        assert trades(run(engine, held)) == [("A", 1, 1, 3, "halt", 100.0, 80.0)]
        again = signals(bars, long=[0, 3, 4, 5], halt_drawdown=0.15, halt_bars=2)
        # decides again at the close of bar 4
        assert [trade[2:5] for trade in trades(run(engine, again))] == [(1, 3, "halt"), (5, 6, "open")]
        exactly = signals(bars, long=[0], halt_drawdown=0.2)
        assert trades(run(engine, exactly))[0][4] == "open"

    def test_targets_are_halted_alike(self, engine):
        bars = market([100, 100, 80, 80, 80, 160, 160])
        made = targets(bars, [[1.0]] * 7, halt_drawdown=0.15, halt_bars=2)
        assert [trade[2:5] for trade in trades(run(engine, made))] == [(1, 3, "halt"), (5, 6, "open")]


class TestSharedCash:
    def test_one_account_pays_for_all(self, engine):
        bars = market([100, 100, 110], [50, 50, 40])
        books = run(engine, targets(bars, [[0.5, 0.25], [NAN, NAN], [NAN, NAN]]))
        # 5 A and 5 B: +50 and -50
        assert books.equity.tolist() == [1000.0, 1000.0, 1000.0]
        assert books.exposure[1] == 0.75
        assert books.positions[2].tolist() == [0.55, 0.2]

    def test_exposure_is_the_sum_and_gross_the_sum_of_sizes(self, engine):
        bars = market([100, 100, 100], [50, 50, 50])
        books = run(engine, targets(bars, [[0.5, -0.25], [NAN, NAN], [NAN, NAN]]))
        assert (books.exposure[1], books.gross[1]) == (0.25, 0.75)

    def test_the_cash_of_one_entry_is_not_there_for_the_next(self, engine):
        bars = market([100, 100], [100, 100], [100, 100])
        size = [0.5, 0.3, 0.7]
        books = run(engine, signals(bars, long=[(0, 0), (0, 1), (0, 2)], size=size))
        # the largest first: 0.7 of C, then 0.3 of A instead of 0.5, and nothing is left for B
        assert books.positions[1].tolist() == pytest.approx([0.3, 0.0, 0.7])
        assert [trade[0] for trade in trades(books)] == ["A", "C"]

    def test_equal_sizes_come_in_the_order_of_the_columns(self, engine):
        bars = market([100, 100], [100, 100], [100, 100])
        books = run(engine, signals(bars, long=[(0, 2), (0, 1)], size=0.2, max_positions=1))
        assert [trade[0] for trade in trades(books)] == ["B"]

    def test_leverage_is_what_is_asked_for(self, engine):
        bars = market([100, 100], [100, 100])
        two = signals(bars, long=[(0, 0), (0, 1)], size=1.0, max_gross=2.0)
        assert run(engine, two).gross[1] == 2.0
        one = signals(bars, long=[(0, 0), (0, 1)], size=1.0)
        assert run(engine, one).gross[1] == 1.0

    def test_an_exit_makes_room_at_the_same_open(self, engine):
        bars = market([100, 100, 100], [100, 100, 100])
        books = run(engine, signals(bars, long=[(0, 0), (1, 1)], out=[(1, 0)], max_positions=1))
        assert [trade[:4] for trade in trades(books)] == [("A", 1, 1, 2), ("B", 1, 2, 2)]

    def test_ruin_takes_all_positions_and_the_trades_sum_to_the_loss(self, engine):
        bars = market([100, 100, 10], [100, 100, 95])
        books = run(engine, targets(bars, [[1.0, 1.0], [NAN, NAN], [NAN, NAN]]))
        # 10 A and 10 B with 1000 borrowed: 100 + 950 - 1000 = 50
        assert books.equity[-1] == pytest.approx(50.0)
        # 15 A and 10 B with 1500 borrowed: 150 + 950 - 1500 = -400
        deep = run(engine, targets(bars, [[1.5, 1.0], [NAN, NAN], [NAN, NAN]]))
        assert deep.equity.tolist() == [1000.0, 1000.0, 0.0]
        assert [trade[4] for trade in trades(deep)] == ["bankrupt", "bankrupt"]
        assert deep.real[:, 3].sum() == pytest.approx(-1000.0)

    def test_financing_is_borne_in_proportion(self, engine):
        bars = market([100, 100], [100, 100])
        costs = CostModel(0.0, 0.0, 0.0, 0.0, financing_annual=0.252)
        books = run(engine, targets(bars, [[1.5, 0.5], [NAN, NAN]]), costs)
        # 1000 borrowed at 0.001 a bar is 1: 0.75 on A and 0.25 on B
        assert books.real[:, 4].tolist() == pytest.approx([0.75, 0.25])


class TestLimitsOfTargets:
    def test_each_asset_is_cut_and_the_sum_is_scaled(self, engine):
        bars = market([100, 100], [100, 100])
        books = run(engine, targets(bars, [[2.0, -0.5], [NAN, NAN]], max_weight=1.0, max_gross=1.0))
        # 1 and -0.5 are 1.5, times 2/3
        assert books.positions[1].tolist() == pytest.approx([2 / 3, -1 / 3])

    def test_positions_that_are_kept_count_towards_the_sum(self, engine):
        bars = market([100] * 3, [100] * 3)
        books = run(engine, targets(bars, [[0.8, NAN], [NAN, 0.5], [NAN, NAN]], max_gross=1.0))
        assert books.positions[2].tolist() == pytest.approx([0.8, 0.2])

    def test_the_heavy_side_gives_way_for_the_net_limit(self, engine):
        bars = market([100, 100], [100, 100], [100, 100])
        books = run(engine, targets(bars, [[0.6, 0.4, -0.5], [NAN] * 3], max_net=0.2))
        # longs of 1 against -0.5: longs may be 0.7
        assert books.positions[1].tolist() == pytest.approx([0.42, 0.28, -0.5])
        short = run(engine, targets(bars, [[-0.6, -0.4, 0.5], [NAN] * 3], max_net=0.2))
        assert short.positions[1].tolist() == pytest.approx([-0.42, -0.28, 0.5])


class TestDelisting:
    def test_a_gone_asset_is_settled_at_its_last_close_less_the_haircut(self, engine):
        bars = market([100, 100, 80, GONE, GONE, GONE], [50] * 6)
        made = targets(bars, [[0.5, 0.0], *[[NAN, NAN]] * 5])
        books = run(engine, made, terms=Terms(delisted_after=2, haircut=0.25))
        # 5 units: 500 + 400 at 80; at the second bar without a price 5 * 60 = 300
        assert books.equity.tolist() == [1000.0, 1000.0, 900.0, 900.0, 800.0, 800.0]
        assert trades(books) == [("A", 1, 1, 4, "delisted", 100.0, 60.0)]
        assert books.costs_paid == pytest.approx(100.0)
        assert books.turnover[4] == 0.0

    def test_the_haircut_is_against_a_short_as_well(self, engine):
        bars = market([100, 100, GONE, GONE])
        books = run(engine, targets(bars, [[-0.5], *[[NAN]] * 3]), terms=Terms(delisted_after=1, haircut=0.1))
        assert books.equity.tolist() == pytest.approx([1000.0, 1000.0, 950.0, 950.0])  # 5 units bought back at 110

    def test_it_is_flat_afterwards_and_may_be_entered_anew(self, engine):
        bars = market([100, 100, GONE, GONE, 100, 100])
        made = signals(bars, long=[0, 1, 4], size=0.5)
        books = run(engine, made, terms=Terms(delisted_after=2))
        # the decision of bar 1 is forgotten; that of bar 4 counts
        assert [trade[2:5] for trade in trades(books)] == [(1, 3, "delisted"), (5, 5, "open")]

    def test_zero_bars_never_delist(self, engine):
        bars = market([100, 100, *[GONE] * 12])
        books = run(engine, signals(bars, long=[0]), terms=Terms(delisted_after=0))
        assert trades(books)[0][2:5] == (1, 13, "open")


class TestExcursions:
    def found(self, engine: ModuleType, made: Signals, **terms) -> list[list[float]]:
        chosen = Terms(**terms)
        books = run(engine, made, terms=chosen)
        module = plain if engine is compiled else reference
        bars = made.bars
        return module.excursions(bars.high, bars.low, books.whole, books.real, chosen.fill == "close").tolist()

    def test_the_worst_and_best_price_while_it_was_held(self, engine):
        bars = market([100, (100, 120, 90, 110), (110, 150, 80, 105), (105, 200, 10, 105)])
        # sold at the open of bar 3, so that bar's range does not count
        assert self.found(engine, signals(bars, long=[0], out=[2])) == [pytest.approx([-0.2, 0.5])]
        assert self.found(engine, signals(bars, short=[0], cover=[2])) == [pytest.approx([-0.5, 0.2])]

    def test_the_bar_of_a_stop_counts_with_its_fill_only(self, engine):
        bars = market([100, 100, (100, 150, 80, 100)])
        assert self.found(engine, signals(bars, long=[0], stop=10.0)) == [pytest.approx([-0.1, 0.0])]

    def test_an_open_trade_counts_to_the_last_close(self, engine):
        bars = market([100, 100, (100, 150, 80, 100)])
        assert self.found(engine, signals(bars, long=[0])) == [pytest.approx([-0.2, 0.5])]

    def test_the_far_side_of_the_bar_of_a_limit_fill_does_not_count(self, engine):
        bars = market([100, (100, 110, 90, 100), (100, 105, 95, 100)])
        # 95: down to 90 after the fill, 105 on the next bar, 110 may have been before
        assert self.found(engine, signals(bars, long=[0], limit=95.0)) == [pytest.approx([90 / 95 - 1, 105 / 95 - 1])]

    def test_at_the_close_the_bar_of_the_exit_counts_and_that_of_the_entry_does_not(self, engine):
        bars = market([100, (100, 200, 10, 100), (100, 130, 90, 100), 100])
        made = signals(bars, long=[0], out=[1])
        assert self.found(engine, made, fill="close") == [pytest.approx([-0.1, 0.3])]


# A case is drawn as a seed and expanded by numpy: thousands of numbers from one draw, and any failure is one integer.
SEEDS = st.integers(0, 2**32 - 1)


def wild_case(seed: int) -> tuple[Market, Conditions, SignalOrders, TargetOrders]:
    """Several assets with gaps, ends, contradictions, ruinous sizes, and every rule and cost switched on at times."""
    rng = np.random.default_rng(seed)
    shape = n_bars, n_assets = int(rng.integers(1, 60)), int(rng.integers(1, 5))
    volatility = float(rng.choice([0, 0.01, 0.05, 0.3]))
    close = 100 * np.exp(np.cumsum(rng.normal(0, volatility, shape), axis=0))
    open_ = np.concatenate((close[:1], close[:-1])) * np.exp(rng.normal(0, volatility * rng.choice([0, 0.5, 2]), shape))
    if rng.random() < 0.4:  # whole prices make exact ties of levels and prices
        open_, close = np.round(open_) + 1, np.round(close) + 1
    high = np.maximum(open_, close) * (1 + np.abs(rng.normal(0, volatility, shape)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, volatility, shape)))
    missing = rng.random(shape) < rng.choice([0, 0.1, 0.5])
    if rng.random() < 0.3:
        missing[n_bars // 2 :, 0] = True
    for values in (open_, high, low, close):
        values[missing] = NAN
    none = np.zeros((0, 0))
    liquid = rng.random() < 0.5
    prices = Market(
        *(inputs.ready(values) for values in (open_, high, low, close)),
        inputs.ready(rng.choice([0, 1e-5, 1e-3], shape) if liquid else none),
        inputs.ready(rng.choice([0, 10, 1e3, np.inf], shape) if liquid else none),
        inputs.ready(rng.normal(0, 1e-3, shape) if rng.random() < 0.4 else none),
        inputs.ready(rng.random(shape) < 0.1 if rng.random() < 0.4 else none, np.bool_),
        inputs.ready(rng.choice([1.0, 1.0, 50.0], n_assets)),
        inputs.ready(np.full(n_assets, rng.choice([0.0, 0.0, 1.0, 10.0]))),
    )
    start = int(rng.integers(0, n_bars))

    def one(*choices: float) -> float:
        return float(rng.choice(choices))

    on = Conditions(
        start,
        int(rng.integers(start + 1, n_bars + 1)),
        1e6,
        one(0, 2e-4, 0.05),
        one(0, 1e-4, 0.02),
        one(0, 0, 0.5),
        one(0, 0, 25),
        one(0, 2e-5, 0.01),
        one(0, 2e-4, 0.01),
        bool(rng.random() < 0.3),
        int(rng.choice([0, 2, 5])),
        one(0, 0.3, 1),
        bool(rng.random() < 0.5),
    )
    busy = rng.choice([0.02, 0.2, 0.6])
    flags = [inputs.ready(rng.random(shape) < busy, np.bool_) for _ in range(4)]
    distances = [
        inputs.ready(np.where(rng.random(shape) < 0.5, NAN, rng.choice([-1, 0, 0.5, 2, 10], shape))) for _ in range(3)
    ]
    halt = (one(0, 0, 0.02, 0.2), int(rng.choice([0, 1, 4])))
    limit = none
    if rng.random() < 0.5:
        limit = np.where(rng.random(shape) < 0.4, NAN, close * np.exp(rng.normal(0, volatility or 0.01, shape)))
        limit = np.round(limit) if rng.random() < 0.5 else limit
    size = inputs.ready(rng.choice([NAN, 0, -1, 0.2, 0.5, 1, 1, 3, np.inf], shape))
    entering = SignalOrders(
        *flags,
        size,
        *distances,
        inputs.ready(limit),
        int(rng.choice([0, 1, 3])),
        int(rng.choice([1, 2, 5])),
        int(rng.choice([0, 0, 1, 3])),
        bool(rng.random() < 0.3),
        int(rng.choice([0, 0, 1, 2])),
        one(1, 1, 0.5, 2),
        *halt,
    )
    aiming = TargetOrders(
        inputs.ready(rng.choice([NAN, 0, 0, 1, -1, 0.5, 1e-5, -2, 3, np.inf], shape)),
        one(0, 0.1),
        one(np.inf, np.inf, 0.5),
        one(np.inf, 1, 1.5),
        one(np.inf, 0.3, 0),
        *halt,
    )
    return prices, on, entering, aiming


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_the_compiled_engine_is_the_reference(seed):
    prices, on, entering, aiming = wild_case(seed)
    for fast, slow in (
        (compiled.run_signals(prices, on, entering), reference.run_signals(prices, on, entering)),
        (compiled.run_targets(prices, on, aiming), reference.run_targets(prices, on, aiming)),
    ):
        for name, ours, theirs in zip(Books._fields, fast, slow, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
        arguments = (prices.high, prices.low, fast.whole, fast.real, on.at_close)
        np.testing.assert_array_equal(plain.excursions(*arguments), reference.excursions(*arguments))


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_the_pnl_of_all_trades_is_the_profit_of_the_account(seed):
    prices, on, entering, aiming = wild_case(seed)
    for books in (compiled.run_signals(prices, on, entering), compiled.run_targets(prices, on, aiming)):
        scale = 1e6 + np.abs(books.real[:, 3]).sum()
        assert abs(books.real[:, 3].sum() - (books.equity[-1] - 1e6)) <= 1e-9 * scale
        assert abs(books.real[:, 4].sum() - books.costs_paid) <= 1e-9 * (1.0 + np.abs(books.real[:, 4]).sum())
        assert (books.equity >= 0).all()
        assert (books.gross + 1e-12 >= np.abs(books.exposure)).all()
        if on.keep_positions:
            np.testing.assert_allclose(books.positions.sum(axis=1), books.exposure, atol=1e-9, rtol=1e-9)
        moves = plain.excursions(prices.high, prices.low, books.whole, books.real, on.at_close)
        assert (moves[:, 0] <= 0).all()
        assert (moves[:, 1] >= 0).all()


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_the_past_does_not_change_when_bars_are_added(seed):
    prices, on, entering, aiming = wild_case(seed)
    cut = on.start + (on.stop - on.start + 1) // 2

    def shorter(made: tuple) -> list:
        n_bars = len(prices.close)
        return [v[:cut] if isinstance(v, np.ndarray) and v.ndim == 2 and len(v) == n_bars else v for v in made]

    past, until = Market(*shorter(prices)), on._replace(stop=cut)
    for trade, orders in ((compiled.run_signals, entering), (compiled.run_targets, aiming)):
        full, half = trade(prices, on, orders), trade(past, until, type(orders)(*shorter(orders)))
        for whole_curve, half_curve in zip(full[:4], half[:4], strict=True):
            np.testing.assert_array_equal(whole_curve[: cut - on.start], half_curve)
        closed = half.whole[:, 3] != REASONS.index("open")
        np.testing.assert_array_equal(full.whole[: closed.sum()], half.whole[closed])
        np.testing.assert_array_equal(full.real[: closed.sum()], half.real[closed])


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_one_asset_on_plain_terms_is_the_plain_engine(seed):
    prices, on, entering, aiming = wild_case(seed)
    none = inputs.ready(np.zeros((0, 0)))
    one = [inputs.ready(values[:, :1]) for values in prices[:4]]
    market_ = Market(
        *one, none, none, none, inputs.ready(none, np.bool_), *map(inputs.ready, (np.ones(1), np.zeros(1)))
    )
    bare = on._replace(per_unit=0.0, minimum=0.0, at_close=False, delisted_after=0, keep_positions=False)
    account = (
        bare.start,
        bare.stop,
        bare.capital,
        bare.adverse,
        bare.commission,
        bare.borrow_rate,
        bare.financing_rate,
    )
    flags = [inputs.ready(values[:, :1], values.dtype) for values in entering[:8]]
    orders = SignalOrders(*flags, none, entering.max_bars, 1, 0, False, 0, 1.0, 0.0, 0)
    fast = plain.simulate_signals(
        *(values[:, 0] for values in one), *(values[:, 0] for values in flags), entering.max_bars, *account
    )
    goals = inputs.ready(aiming.target[:, :1])
    followed = plain.simulate_targets(one[0][:, 0], one[3][:, 0], goals[:, 0], aiming.band, *account)
    aims = TargetOrders(goals, aiming.band, np.inf, np.inf, np.inf, 0.0, 0)
    for ours, books in (
        (fast, compiled.run_signals(market_, bare, orders)),
        (followed, compiled.run_targets(market_, bare, aims)),
    ):
        theirs = (books.equity, books.exposure, books.turnover, books.whole[:, :4], books.real, books.costs_paid)
        for left, right in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(left, right)


def test_each_kernel_is_compiled_once_whatever_comes_in():
    """A second signature would cost every user the compilation again, for a difference that nobody asked for."""
    bars = market([100, 101, 102, 103], [50, 50, 51, 52], rate=[0.0] * 8)
    strided = np.asfortranarray(np.full((4, 2), 0.5))
    for terms in (CASH, Terms(fill="close", multiplier=(2.0, 3.0), lot=1.0, roll_every=2, funding="rate")):
        for costs in (FREE, CostModel(1, 1, 1, 0, 0, commission_minimum=1, impact=1, participation=1)):
            for window in (None, Window(np.int64(0), np.int64(3))):  # type: ignore[arg-type]
                for rules in ({}, {"limit": 99.0, "limit_bars": 2, "max_gross": 2, "halt_drawdown": 0.1, "rearm": 1}):
                    simulate(signals(bars, long=[0, (1, 1)], **rules), costs, terms=terms, window=window)
                simulate(Signals("two", bars, TargetDecisions(strided, max_net=1)), costs, terms=terms, window=window)
    assert len(compiled._run_signals.signatures) == 1
    assert len(compiled._run_targets.signatures) == 1
