"""Kelly sizing, order parts and the halt: from the spec to what the engine does, by hand."""

from typing import Any

import numpy as np
import pytest

from agents.execution.paper import paper_orders
from agents.strategy.code_length import code_bits
from agents.strategy.neighbours import neighbours
from agents.strategy.population import Population
from agents.strategy.sizing import kelly_sizes
from agents.strategy.spec import Spec, load_spec, rule_text, to_yaml
from agents.strategy.strategy import TradingStrategy
from agents.strategy.wire import from_wire, to_wire
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import FREE
from backtesting.decisions import SignalDecisions, TargetDecisions
from backtesting.errors import UsageError
from backtesting.look_ahead import audit_signals
from backtesting.result import BacktestResult
from backtesting.splits import Window


def spec(**config: Any) -> Spec:
    found = load_spec({"name": "a_rule", "hypothesis": "x", **config}, origin="")
    assert not isinstance(found, list), [str(error) for error in found]
    return found


def rules(**more: Any) -> Spec:
    return spec(**{"kind": "rules", "long": {"enter": "close > open", "exit": "close < open"}, **more})


def bars(close: list[float], opened: list[float] | None = None, *, reach: float = 0.0) -> Bars:
    """One asset; highs and lows are the body, widened by `reach`."""
    c = np.array(close)[:, None]
    o = np.array(opened if opened is not None else close)[:, None]
    sessions = np.datetime64("2020-01-06") + np.arange(len(close))
    return Bars(
        ("x",), sessions, o, np.maximum(o, c) + reach, np.minimum(o, c) - reach, c, np.full(c.shape, 1e6), "hand"
    )


def run(wanted: Spec, market: Bars) -> BacktestResult:
    return simulate(TradingStrategy(wanted).generate_signals(market), FREE, capital=1000.0)


# --- Kelly


def test_kelly_is_half_of_mean_over_variance_of_what_the_side_earned() -> None:
    # Always long. From bar 2 on the side earns 2 % and -1 % in turn: 20 returns on bars 2..21.
    steps = [0.0, 0.0] + [0.02, -0.01] * 10
    market = bars((100 * np.cumprod(1 + np.array(steps))).tolist())
    wanted = spec(kind="rules", long={"enter": "True"}, sizing={"kind": "kelly", "share": 0.5, "window": 20, "cap": 2})
    size = TradingStrategy(wanted).generate_signals(market).decisions.size[:, 0]  # type: ignore[union-attr]
    assert np.isnan(size[:21]).all()  # 19 returns are no estimate
    # mean 0.005, mean square (0.0004 + 0.0001) / 2 = 0.00025, variance 0.000225: half of 22.2, cut to the cap.
    assert size[21] == 2.0
    free = kelly_sizes(np.ones((22, 1)), market, window=20, share=0.01, cap=2.0)[21, 0]
    assert free == pytest.approx(0.01 * 0.005 / 0.000225)
    assert TradingStrategy(wanted).warmup_bars == 22
    losing = bars((100 * np.cumprod(1 - np.array(steps))).tolist())
    assert TradingStrategy(wanted).generate_signals(losing).decisions.size[21, 0] == 0.0  # type: ignore[union-attr]


def test_kelly_of_a_score_reads_the_sides_of_the_score() -> None:
    rng = np.random.default_rng(3)
    market = bars((100 * np.exp(np.cumsum(rng.normal(0, 0.01, 300)))).tolist())
    kelly = {"kind": "kelly", "share": 0.3, "window": 60, "cap": 0.8}
    wanted = spec(kind="score", score="roc(close, 5)", sizing=kelly, rebalance={"every_bars": 1, "band": 0.0})
    decisions = TradingStrategy(wanted).generate_signals(market).decisions
    assert isinstance(decisions, TargetDecisions)
    close = market.close[:, 0]
    change = np.full(300, np.nan)
    change[5:] = close[5:] / close[:-5] - 1
    side = np.sign(np.nan_to_num(change))
    t = 250
    earned = [side[s - 2] * (close[s] / close[s - 1] - 1) for s in range(t - 59, t + 1)]
    expected = np.clip(0.3 * np.mean(earned) / np.var(earned), 0, 0.8) * side[t]
    assert decisions.target[t, 0] == pytest.approx(expected)


def test_kelly_is_in_words_on_the_wire_and_in_a_population() -> None:
    wanted = rules(sizing={"kind": "kelly"})
    assert (
        "Size: 0.5 of mean / variance of what it earned on paper over 250 bars, 0 to 1 of equity; no entry"
        in rule_text(wanted)
    )
    again = from_wire(to_wire(wanted))
    assert not isinstance(again, list)
    assert again.spec_id == wanted.spec_id
    rng = np.random.default_rng(4)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 200)))
    market = bars(close.tolist(), (close * np.exp(rng.normal(0, 0.003, 200))).tolist())
    population = Population.from_specs([wanted])
    assert population.n_general == 1
    metrics = population.evaluate(market, [Window(0, 200)], FREE)
    assert metrics.final_equity[0, 0] == simulate(TradingStrategy(wanted).generate_signals(market), FREE).equity[-1]


# --- orders


def test_a_limit_entry_rests_a_share_below_the_close_and_fills_only_when_traded_through() -> None:
    # Decided on bar 0 (close 101 > open 100): a buy at 101 * 0.98 = 98.98 for two bars.
    # (Bar 1 closes where it opens: neither an exit, which would cancel the order, nor a new entry.)
    market = bars([101.0, 100.0, 99.0, 103.0], [100.0, 100.0, 99.5, 99.0])
    result = run(rules(orders={"limit_share": 0.02, "limit_bars": 2}), market)
    assert result.trades == ()  # the lows are 100 and 99: never below 98.98
    lower = bars([101.0, 100.0, 98.0, 103.0], [100.0, 100.0, 99.5, 99.0])
    (trade,) = run(rules(orders={"limit_share": 0.02, "limit_bars": 2}), lower).trades
    assert (trade.entry_bar, trade.entry_price) == (2, pytest.approx(98.98))
    # One bar only: gone before the price came.
    assert run(rules(orders={"limit_share": 0.02}), lower).trades == ()


def test_a_short_limit_rests_above_the_close() -> None:
    wanted = spec(kind="rules", short={"enter": "close < open"}, orders={"limit_share": 0.01, "limit_bars": 3})
    decisions = TradingStrategy(wanted).generate_signals(bars([99.0, 99.0], [100.0, 99.0])).decisions
    assert isinstance(decisions, SignalDecisions)
    assert decisions.limit_price is not None
    assert decisions.limit_price[0, 0] == pytest.approx(99.99)


def test_without_an_atr_there_is_no_limit_and_so_no_entry() -> None:
    decisions = (
        TradingStrategy(rules(orders={"limit_atr": 1.0, "atr_window": 3}))
        .generate_signals(bars([101.0, 102.0, 103.0, 104.0, 105.0], [100.0] * 5))
        .decisions
    )
    assert isinstance(decisions, SignalDecisions)
    known = np.isfinite(decisions.size[:, 0])
    assert known.tolist() == [False, False, False, True, True]  # atr(3) needs three true ranges, the first of bar 1


def test_cooldown_rearm_and_halt_reach_the_engine() -> None:
    orders = {"cooldown_bars": 4, "rearm": True, "max_positions": 2}
    halt = {"drawdown": 0.1, "bars": 30}
    decisions = TradingStrategy(rules(orders=orders, halt=halt)).generate_signals(bars([1.0, 2.0])).decisions
    assert isinstance(decisions, SignalDecisions)
    assert (decisions.cooldown_bars, decisions.rearm, decisions.max_positions) == (4, True, 2)
    assert (decisions.halt_drawdown, decisions.halt_bars) == (0.1, 30)
    # Long from the open of bar 1 at 100; the close of bar 2 is 12 % below the peak: out at the open of bar 3, for ever.
    market = bars([101.0, 100.0, 88.0, 90.0, 95.0, 96.0], [100.0, 100.0, 90.0, 88.0, 90.0, 95.0])
    stays = run(spec(kind="rules", long={"enter": "close > open"}, halt={"drawdown": 0.1}), market)
    assert [(trade.exit_bar, trade.reason) for trade in stays.trades] == [(3, "halt")]


@pytest.mark.parametrize(
    "config",
    [
        {"kind": "score", "score": "roc(close, 1)"},
        {"kind": "portfolio", "score": "roc(close, 1)", "select": {"kind": "count", "count": 1}},
        {
            "kind": "ensemble",
            "members": [
                {"spec": {"kind": "score", "name": "aaa", "hypothesis": "x", "score": "roc(close, 1)"}},
                {"spec": {"kind": "score", "name": "bbb", "hypothesis": "x", "score": "roc(close, 2)"}},
            ],
        },
    ],
)
def test_every_kind_halts(config: dict[str, Any]) -> None:
    plain, halting = spec(**config), spec(**config, halt={"drawdown": 0.2, "bars": 5})
    assert plain.spec_id != halting.spec_id
    decisions = TradingStrategy(halting).generate_signals(bars([1.0, 2.0, 3.0])).decisions
    assert (decisions.halt_drawdown, decisions.halt_bars) == (0.2, 5)
    assert "At a drawdown of more than 20 % it leaves everything, and decides again 5 bars later." in rule_text(halting)
    again = load_spec(to_yaml(halting), origin="")
    assert not isinstance(again, list)
    assert again.spec_id == halting.spec_id


TARGETS: list[dict[str, Any]] = [
    {"kind": "score", "score": "roc(close, 1)"},
    {"kind": "portfolio", "score": "roc(close, 1)", "select": {"kind": "count", "count": 1}},
    {
        "kind": "ensemble",
        "members": [
            {"spec": {"kind": "score", "name": "aaa", "hypothesis": "x", "score": "roc(close, 1)"}},
            {"spec": {"kind": "score", "name": "bbb", "hypothesis": "x", "score": "roc(close, 2)"}},
        ],
    },
]


@pytest.mark.parametrize("config", TARGETS)
def test_limits_of_every_kind_of_targets_reach_the_engine(config: dict[str, Any]) -> None:
    plain, limited = spec(**config), spec(**config, limits={"weight": 0.3, "gross": 1.5, "net": 0})
    assert "limits" not in plain.rule()  # and so the id of a rule without them is what it always was
    assert plain.spec_id != limited.spec_id
    decisions = TradingStrategy(limited).generate_signals(bars([1.0, 2.0, 3.0])).decisions
    assert (decisions.max_weight, decisions.max_gross, decisions.max_net) == (0.3, 1.5, 0.0)
    said = (
        "Whenever it trades: no symbol above 30 %, all sizes together at most 150 %, longs and shorts equal, of equity."
    )
    assert said in rule_text(limited)
    again = load_spec(to_yaml(limited), origin="")
    assert not isinstance(again, list)
    assert again.spec_id == limited.spec_id
    # No grammar of its own: letter by letter, so that no other rule's length changes.
    assert code_bits(limited) > code_bits(plain) + 8 * len('"limits"')


def test_limits_by_hand() -> None:
    # Scores 3, 1 and -1 on three symbols, each on a third of the account: targets 1, 1/3 and -1/3.
    made = np.array([[3.0, 1.0, -1.0]] * 3)
    days = np.datetime64("2020-01-01") + np.arange(3)
    flat = np.full((3, 3), 100.0)
    market = Bars(("a", "b", "c"), days, flat, flat, flat, flat, flat, "hand", features={"made": made})

    def held(**limits: float) -> list[float]:
        config = {"kind": "score", "score": "feature(made)", "position": {"kind": "linear", "scale": 1.0}}
        limited = spec(**config, **({"limits": limits} if limits else {}))
        signals = TradingStrategy(limited).generate_signals(market)
        return simulate(signals, FREE, keep_positions=True).positions[1].tolist()

    third = 1 / 3
    assert held() == pytest.approx([third, third, -third])  # linear is cut to -1..1 before the share
    assert held(weight=0.2) == pytest.approx([0.2, 0.2, -0.2])
    assert held(gross=0.5) == pytest.approx([0.5 / 3, 0.5 / 3, -0.5 / 3])
    assert held(net=0.1) == pytest.approx([(third + 0.1) / 2, (third + 0.1) / 2, -third])  # longs give way
    assert held(net=0) == pytest.approx([third / 2, third / 2, -third])
    assert held(weight=0.2, gross=0.3, net=0) == pytest.approx([0.05, 0.05, -0.1])  # cut, scaled by half, balanced


def test_a_net_that_the_gross_implies_is_no_part_of_the_rule() -> None:
    config = TARGETS[0]
    assert spec(**config, limits={"gross": 1.0, "net": 1.0}).spec_id == spec(**config, limits={"gross": 1.0}).spec_id
    # Not so the weight: it is cut before everything is scaled.
    assert spec(**config, limits={"gross": 1.0, "weight": 1.0}).spec_id != spec(**config, limits={"gross": 1.0}).spec_id


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({}, "limits: limits bound nothing; give weight, gross or net"),
        ({"gros": 1}, 'limits: unknown key "gros"; did you mean "gross"?'),
        ({"net": -0.1}, "limits.net: is -0.1, but should be greater than or equal to 0"),
        ({"weight": 0}, "limits.weight: is 0, but should be greater than or equal to 0.001"),
    ],
)
def test_what_is_wrong_with_limits_is_said(limits: dict[str, Any], sentence: str) -> None:
    config = {"name": "a_score", "hypothesis": "x", "kind": "score", "score": "roc(close, 1)", "limits": limits}
    found = load_spec(config, origin="")
    assert isinstance(found, list)
    assert sentence in "; ".join(map(str, found))


def test_rules_and_members_have_no_limits() -> None:
    rule = {"name": "a_rule", "hypothesis": "x", "kind": "rules", "long": {"enter": "close > open"}}
    found = load_spec({**rule, "limits": {"gross": 1.0}}, origin="")
    assert isinstance(found, list)
    assert 'unknown key "limits"' in str(found[0])
    member = spec(**TARGETS[0], limits={"gross": 1.0}).config()
    ensemble = {"kind": "ensemble", "name": "aaa", "hypothesis": "x"}
    found = load_spec({**ensemble, "members": [{"spec": member}, {"agent": "golden_cross"}]}, origin="")
    assert isinstance(found, list)
    assert "followed on paper, where limits mean nothing" in str(found[0])


def test_parts_that_do_nothing_are_no_part_of_the_rule() -> None:
    assert rules(orders={"limit_bars": 9, "atr_window": 50}).spec_id == rules().spec_id
    assert rules(orders={"rearm": False}).spec_id == rules().spec_id
    with_limit = {"limit_share": 0.01}
    assert rules(orders=with_limit).spec_id == rules(orders={**with_limit, "atr_window": 9}).spec_id


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({"orders": {"limit_atr": 1, "limit_share": 0.1}}, "give limit_atr or limit_share, not both"),
        ({"orders": {"cooldown": 3}}, 'did you mean "cooldown_bars"'),
        ({"halt": {"bars": 3}}, "halt.drawdown: is missing"),
        ({"halt": {"drawdown": 2}}, "less than or equal to 0.9"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(part: dict[str, Any], sentence: str) -> None:
    config = {"name": "a_rule", "hypothesis": "x", "kind": "rules", "long": {"enter": "close > open"}}
    found = load_spec({**config, **part}, origin="")
    assert isinstance(found, list)
    assert sentence in "; ".join(map(str, found))


def test_a_member_of_an_ensemble_has_no_orders_and_no_halt() -> None:
    member = rules(halt={"drawdown": 0.2}).config()
    found = load_spec(
        {
            "kind": "ensemble",
            "name": "aaa",
            "hypothesis": "x",
            "members": [{"spec": member}, {"agent": "golden_cross"}],
        },
        origin="",
    )
    assert isinstance(found, list)
    assert "followed on paper, where halt mean nothing" in str(found[0])


def test_a_rule_may_size_by_the_whole_account_of_a_panel() -> None:
    # Three symbols that all enter at the close of bar 0, at 0.6 of equity: of 1,000 the first gets 600, the second the
    # 400 that are left, the third nothing. On shares of the account each would get 0.6 of a third.
    close = np.full((3, 3), 10.0)
    days = np.datetime64("2020-01-01") + np.arange(3)
    market = Bars(("a", "b", "c"), days, close, close, close, close, close, "hand")
    config: dict[str, Any] = {"kind": "rules", "long": {"enter": "close > 0 * close"}}
    config["sizing"] = {"kind": "fraction", "fraction": 0.6}

    def held(**orders: Any) -> list[float]:
        wanted = spec(**config, **({"orders": orders} if orders else {}))
        signals = TradingStrategy(wanted).generate_signals(market)
        return simulate(signals, FREE, capital=1000.0, keep_positions=True).positions[1].tolist()

    assert held() == pytest.approx([0.2, 0.2, 0.2])
    assert held(whole_account=True) == pytest.approx([0.6, 0.4, 0.0])
    assert held(whole_account=True, max_positions=1) == pytest.approx([0.6, 0.0, 0.0])
    assert spec(**config, orders={"whole_account": False}).spec_id == spec(**config).spec_id
    shared = spec(**config, orders={"whole_account": True})
    assert shared.spec_id != spec(**config).spec_id
    assert "a size is one of the whole account, which they share: the largest first" in rule_text(shared)
    orders = paper_orders(TradingStrategy(shared).generate_signals(market), 1000.0)
    assert [(order.symbol, order.units) for order in orders] == [("a", 60.0), ("b", 40.0)]


def test_a_rule_with_orders_is_longer_than_its_json_and_paper_refuses_it() -> None:
    wanted = rules(orders={"cooldown_bars": 3})
    assert code_bits(wanted) > 500 > code_bits(rules())
    with pytest.raises(UsageError, match="paper orders remember nothing"):
        paper_orders(TradingStrategy(wanted).generate_signals(bars([1.0, 2.0])), 100.0)


def test_neighbours_of_an_ensemble_move_the_windows_of_its_members() -> None:
    members = [
        {"spec": {"kind": "score", "name": "aaa", "hypothesis": "x", "score": "roc(close, 10)"}},
        {"spec": {**rules(long={"enter": "close > sma(close, 50)"}, protect={"max_bars": 10}).config(), "name": "bbb"}},
    ]
    found = neighbours(spec(kind="ensemble", members=members))
    assert [sorted(other.expressions.values()) for other in found] == [
        ["close > sma(close, 40)", "roc(close, 8)"],
        ["close > sma(close, 62)", "roc(close, 12)"],
    ]


# --- on a panel


def panel(n_bars: int = 260, n_assets: int = 5) -> Bars:
    rng = np.random.default_rng(8)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.015, (n_bars, n_assets)), axis=0))
    opened = close * np.exp(rng.normal(0, 0.005, close.shape))
    fields = {"open": opened, "high": np.maximum(opened, close) * 1.004, "low": np.minimum(opened, close) * 0.996}
    fields |= {"close": close, "volume": rng.uniform(1e5, 2e5, close.shape)}
    for values in fields.values():
        values[:40, 4] = np.nan  # listed later
        values[200:, 3] = np.nan  # gone
        values[77, 1] = np.nan
    sessions = np.busday_offset("2010-01-04", np.arange(n_bars), roll="forward")
    sector = np.tile([0.0, 0, 1, 1, 1], (n_bars, 1))
    return Bars(tuple("abcde"), sessions, **fields, source="panel", features={"sector": sector})


RULE = {"long": {"enter": "close > sma(close, 10)", "exit": "close < sma(close, 10)"}}
ON_A_PANEL: dict[str, dict[str, Any]] = {
    "rules": {"kind": "rules", **RULE, "protect": {"stop_atr": 2}, "sizing": {"kind": "kelly", "window": 60}},
    "orders": {"kind": "rules", **RULE, "orders": {"limit_atr": 0.3, "rearm": True, "max_positions": 2}},
    "score": {"kind": "score", "score": "cs_demean(roc(close, 10))", "position": {"kind": "linear", "scale": 20}},
    "portfolio": {
        "kind": "portfolio",
        "score": "roc(close, 20)",
        "universe": "volume > 0.5 * sma(volume, 20)",
        "neutralise": "sector",
        "select": {"kind": "share", "share": 0.4},
        "weight": {"kind": "inverse_volatility", "window": 20},
        "direction": "both",
        "rebalance": {"every_bars": 5},
        "halt": {"drawdown": 0.3, "bars": 20},
    },
    "votes": {
        "kind": "ensemble",
        "members": [
            {"spec": {"kind": "rules", "name": "aaa", "hypothesis": "x", **RULE}},
            {"spec": {"kind": "score", "name": "bbb", "hypothesis": "x", "score": "roc(close, 5)"}},
        ],
        "fusion": {"kind": "vote", "threshold": 0.6},
    },
}


@pytest.mark.parametrize("name", ON_A_PANEL)
def test_no_kind_looks_ahead_on_a_panel_and_no_account_borrows(name: str) -> None:
    strategy, market = TradingStrategy(spec(**ON_A_PANEL[name])), panel()
    assert audit_signals(strategy, market, (60, 78, 150, 201, 230, 259)) == ()
    result = simulate(strategy.generate_signals(market), FREE, keep_positions=True)
    assert result.positions is not None
    assert len(result.trades) > 4
    # One account: the sizes together are about all of it, a little more where prices moved after the last trade.
    assert np.abs(result.positions).sum(axis=1).max() < 1.25
    # Every trade of a symbol is inside its life; the one that is gone is settled.
    assert all(trade.entry_bar >= 40 for trade in result.trades if trade.asset == 4)
    assert all(trade.exit_bar <= 210 for trade in result.trades if trade.asset == 3)


def test_a_rule_on_a_panel_holds_what_it_would_hold_on_each_symbol_with_its_share_of_the_capital() -> None:
    wanted, market = spec(kind="rules", **RULE), panel()
    together = simulate(TradingStrategy(wanted).generate_signals(market), FREE, capital=1000.0, keep_positions=True)
    for k in range(5):
        alone = Bars(
            (market.symbols[k],), market.sessions, source="one",
            **{name: getattr(market, name)[:, [k]] for name in ("open", "high", "low", "close", "volume")},
        )  # fmt: skip
        single = simulate(TradingStrategy(wanted).generate_signals(alone), FREE, capital=200.0)
        mine = [trade for trade in together.trades if trade.asset == k]
        assert [(t.entry_bar, t.exit_bar, t.entry_price) for t in mine] == [
            (t.entry_bar, t.exit_bar, t.entry_price) for t in single.trades
        ]
        # A trade is made with a fifth of what the account is worth at that time.
        assert mine[0].units * mine[0].entry_price == pytest.approx(
            together.equity[mine[0].entry_bar - 1] / 5, rel=0.02
        )


def test_a_vote_is_about_a_share_and_a_band_is_one_of_a_share() -> None:
    signals = TradingStrategy(spec(**ON_A_PANEL["votes"])).generate_signals(panel())
    assert isinstance(signals.decisions, TargetDecisions)
    found = signals.decisions.target[np.isfinite(signals.decisions.target)]
    assert set(np.round(np.unique(found), 9).tolist()) <= {-0.2, 0.0, 0.2}
    assert signals.decisions.band == pytest.approx(0.05 / 5)
