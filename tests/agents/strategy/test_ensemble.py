"""Ensembles: what is fused is what the members hold, and a followed member trades as the engine says."""

from typing import Any

import numpy as np
import pytest

from agents.strategy.ensemble import followed
from agents.strategy.incumbents import shipped_incumbent, shipped_incumbents
from agents.strategy.spec import EnsembleSpec, Spec, load_spec, with_members
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import CostModel
from backtesting.decisions import SignalDecisions, TargetDecisions
from backtesting.errors import InvalidConfig

FREE = CostModel(commission_bps=0, half_spread_bps=0, slippage_bps=0, borrow_annual=0, financing_annual=0)


def score(text: str, **parts: Any) -> dict[str, Any]:
    rebalance = {"every_bars": 1, "band": 0.0}
    return {"kind": "score", "name": "member", "hypothesis": "x", "score": text, "rebalance": rebalance, **parts}


def ensemble(*members: dict[str, Any], **parts: Any) -> dict[str, Any]:
    rebalance = {"every_bars": 1, "band": 0.0}
    return {
        "kind": "ensemble", "name": "several", "hypothesis": "x", "members": list(members), "rebalance": rebalance,
        **parts,
    }  # fmt: skip


def loaded(config: dict[str, Any]) -> Spec:
    spec = load_spec(config, origin="")
    assert not isinstance(spec, list), [str(error) for error in spec]
    return spec


def targets(config: dict[str, Any], bars: Bars) -> np.ndarray:
    decisions = TradingStrategy(loaded(config)).generate_signals(bars).decisions
    assert isinstance(decisions, TargetDecisions)
    return decisions.target


def one_asset(close: list[float]) -> Bars:
    values = np.array(close)[:, None]
    sessions = np.busday_offset("2001-01-01", np.arange(len(close)), roll="forward")
    return Bars(("x",), sessions, values, values, values, values, values, "one")


RISING = one_asset([100, 110, 121, 100, 90])  # roc(close, 1) is NaN, +, +, -, -
UP, DOWN, LONG = (
    {"spec": score("roc(close, 1)")},
    {"spec": score("-roc(close, 1)", position={"kind": "linear", "scale": 100})},
    {"spec": score("1")},
)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ensemble(UP, LONG), [0.5, 1, 1, 0, 0]),
        (ensemble(UP, LONG, gross=2), [1, 2, 2, 0, 0]),
        (ensemble(UP | {"weight": 3}, LONG | {"weight": 1}, weights="given"), [0.25, 1, 1, -0.5, -0.5]),
        (ensemble(UP, DOWN, LONG), [1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3]),
        (ensemble(UP, DOWN, LONG, fusion={"kind": "vote", "threshold": 0.33}), [1, 1, 1, 1, 1]),
        (ensemble(UP, DOWN, LONG, fusion={"kind": "vote", "threshold": 0.34}), [0, 0, 0, 0, 0]),
        (ensemble(UP, LONG, fusion={"kind": "vote", "threshold": 1}), [0, 1, 1, 0, 0]),
        (ensemble(UP, LONG, rebalance={"every_bars": 2, "band": 0.1}), [0.5, np.nan, 1, np.nan, 0]),
    ],
)
def test_fusion_by_hand(config: dict[str, Any], expected: list[float]) -> None:
    np.testing.assert_allclose(targets(config, RISING)[:, 0], expected, atol=1e-5)


def test_inverse_volatility_gives_the_calmer_member_more() -> None:
    rng = np.random.default_rng(2)
    bars = one_asset(list(100 * np.exp(np.cumsum(rng.normal(0, 0.01, 80)))))
    half = {"spec": score("1", sizing={"kind": "fraction", "fraction": 0.5})}
    found = targets(ensemble(LONG, half, weights="inverse_volatility", window=20), bars)[:, 0]
    # Always half the position, so always half the volatility: shares 1/3 and 2/3, as soon as there are 20 returns.
    np.testing.assert_allclose(found[22:], 1 / 3 * 1 + 2 / 3 * 0.5)
    np.testing.assert_allclose(found[:19], 0.75)


@pytest.mark.parametrize("spec", [s for s in shipped_incumbents() if s.kind == "rules"], ids=lambda s: str(s.name))
def test_a_followed_member_holds_what_the_engine_holds(spec: Spec, whole_bars: Bars) -> None:
    one = Bars(
        ("x",), whole_bars.sessions, *(getattr(whole_bars, name)[:, :1] for name in ("open", "high", "low", "close")),
        whole_bars.volume[:, :1], "one", features={"sector": np.ones((whole_bars.n_bars, 1))},
    )  # fmt: skip
    signals = TradingStrategy(spec).generate_signals(one)
    assert isinstance(signals.decisions, SignalDecisions)
    wanted = np.sign(followed(signals.decisions, one)[:, 0])
    result = simulate(signals, FREE)
    held = np.sign(result.exposure)
    before = np.concatenate([[0.0], wanted[:-1]])
    stopped = np.zeros(len(held), dtype=bool)
    for trade in result.trades:
        if trade.reason in ("stop", "trail", "target"):
            stopped[trade.exit_bar] = True
    # What was wanted at the close before is held at this close, unless a stop or a target ended it inside the bar.
    np.testing.assert_array_equal(held[~stopped], before[~stopped])
    assert (held[stopped] == 0).all()
    assert held.any()


PROTECTED = {
    "kind": "rules", "name": "protected", "hypothesis": "x",
    "long": {"enter": "roc(close, 2) > 0", "exit": "roc(close, 5) < -0.01"},
    "short": {"enter": "roc(close, 3) < -0.005", "exit": "rsi(close, 3) < 20"},
    "protect": {"stop_atr": 1.0, "trail_atr": 1.5, "target_share": 0.02, "max_bars": 6},
}  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_a_protected_member_is_left_when_the_engine_leaves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 400)))[:, None]
    opened = close * np.exp(rng.normal(0, 0.004, close.shape))
    high, low = np.maximum(opened, close) * 1.004, np.minimum(opened, close) * 0.996
    sessions = np.busday_offset("2001-01-01", np.arange(400), roll="forward")
    bars = Bars(("x",), sessions, opened, high, low, close, close, "one")
    signals = TradingStrategy(loaded(PROTECTED)).generate_signals(bars)
    wanted = np.sign(followed(signals.decisions, bars)[:, 0])
    result = simulate(signals, FREE)
    before = np.concatenate([[0.0], wanted[:-1]])
    stopped = np.zeros(400, dtype=bool)
    for trade in result.trades:
        if trade.reason in ("stop", "trail", "target"):
            stopped[trade.exit_bar] = True
    assert stopped.sum() > 20
    np.testing.assert_array_equal(np.sign(result.exposure)[~stopped], before[~stopped])


def test_no_ensemble_looks_ahead(bars: Bars) -> None:
    members = [{"spec": spec.config()} for spec in shipped_incumbents()]
    for weights in ("equal", "inverse_volatility"):
        config = ensemble(*members, weights=weights, window=20)
        whole = targets(config, bars)
        for n_bars in (1, 3, 200, 302, 419):
            assert targets(config, bars.upto(n_bars)).tobytes() == whole[:n_bars].tobytes()


# --- names and ids


SHIPPED: dict[str, Spec] = {spec.name: spec for spec in shipped_incumbents()}


def test_a_name_becomes_what_it_stands_for() -> None:
    by_name = loaded(ensemble({"agent": "golden_cross"}, LONG))
    written = loaded(ensemble({"spec": shipped_incumbent("golden_cross").config()}, LONG))
    assert by_name.spec_id != written.spec_id
    found = with_members(by_name, SHIPPED)
    assert isinstance(found, EnsembleSpec)
    assert found.spec_id == written.spec_id
    assert with_members(written, SHIPPED) is written
    with pytest.raises(InvalidConfig, match="several names agents that have not been looked up: golden_cross"):
        TradingStrategy(by_name)


def test_a_name_that_nobody_has_and_a_nested_ensemble_are_refused() -> None:
    spec = loaded(ensemble({"agent": "nobody"}, {"agent": "mixture"}))
    mixture = loaded(ensemble(UP, LONG))
    errors = with_members(spec, {"mixture": mixture})
    assert isinstance(errors, list)
    assert [str(error) for error in errors] == [
        'members.0.agent: there is no agent "nobody"',
        'members.1.agent: "mixture" is an ensemble, and an ensemble has no ensembles as members; name its members',
    ]


def test_the_nearest_agent_is_named_for_one_that_is_misspelt() -> None:
    errors = with_members(loaded(ensemble({"agent": "goldn_cross"}, LONG)), SHIPPED)
    assert isinstance(errors, list)
    assert str(errors[0]) == 'members.0.agent: there is no agent "goldn_cross"; did you mean "golden_cross"?'
    assert errors[0].nearest == "golden_cross"


@pytest.mark.parametrize(
    "other",
    [
        ensemble(LONG, UP),
        ensemble({"spec": score("roc(close, 1)", name="another_name")}, LONG, window=300),
        ensemble(UP | {"weight": 2}, LONG | {"weight": 2}, weights="given"),
        ensemble({"spec": score("close / lag(close, 1) * 1 - 1 * 1", source="a book") | {"score": "returns"}}, LONG),
    ],
)
def test_same_ensemble_in_other_words_has_the_same_id_and_the_same_targets(other: dict[str, Any]) -> None:
    assert loaded(other).spec_id == loaded(ensemble(UP, LONG)).spec_id
    assert targets(other, RISING).tobytes() == targets(ensemble(UP, LONG), RISING).tobytes()
