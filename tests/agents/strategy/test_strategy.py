"""Strategies: causal, loadable as the seed loads them, and doing what their spec says."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from agents.strategy.expression.evaluate import EvaluationCache
from agents.strategy.incumbents import shipped_incumbent, shipped_incumbents
from agents.strategy.spec import Spec, load_spec
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import FREE
from backtesting.decisions import Decisions, SignalDecisions, TargetDecisions
from backtesting.errors import DataError, InvalidConfig
from backtesting.splits import Window


def strategy(**config: Any) -> TradingStrategy:
    return TradingStrategy(**{"name": "tried", "hypothesis": "x", **config})


def arrays(decisions: Decisions) -> dict[str, np.ndarray]:
    return {name: value for name, value in vars(decisions).items() if isinstance(value, np.ndarray)}


@pytest.mark.parametrize("spec", shipped_incumbents(), ids=lambda spec: str(spec.name))
def test_no_incumbent_looks_ahead(spec: Spec, bars: Bars) -> None:
    whole = arrays(TradingStrategy(spec).generate_signals(bars).decisions)
    for n_bars in (1, 100, 255, 300, 419):
        part = arrays(TradingStrategy(spec).generate_signals(bars.upto(n_bars)).decisions)
        for name, values in part.items():
            assert values.tobytes() == whole[name][:n_bars].tobytes(), name


@pytest.mark.parametrize("spec", shipped_incumbents(), ids=lambda spec: str(spec.name))
def test_incumbents_say_why_and_who_said_so_and_warm_up_in_time(spec: Spec) -> None:
    assert spec.hypothesis
    assert spec.source
    assert TradingStrategy(spec).warmup_bars <= 300


def test_eight_incumbents_are_shipped() -> None:
    specs = shipped_incumbents()
    assert len(specs) == len({spec.spec_id for spec in specs}) == len({spec.name for spec in specs})
    assert {spec.name for spec in specs} >= {
        "buy_and_hold",
        "golden_cross",
        "time_series_momentum",
        "donchian_breakout",
        "rsi2_reversion",
        "bollinger_reversion",
        "volatility_targeted_trend",
        "macd_trend",
    }
    with pytest.raises(InvalidConfig, match='no shipped incumbent "x"'):
        shipped_incumbent("x")


def test_the_default_strategy_is_the_50_200_cross(whole_bars: Bars) -> None:
    agent = TradingStrategy()
    assert agent.name == "golden_cross"
    assert agent.warmup_bars == 200  # 199 for the average, one for the bar before the cross
    decisions = agent.load_model().load_model().generate_signals(whole_bars).decisions
    assert isinstance(decisions, SignalDecisions)
    close = pd.Series(whole_bars.close[:, 0])
    above = close.rolling(50).mean() > close.rolling(200).mean()
    entered = above & ~above.shift(1, fill_value=False)
    entered[:200] = False
    assert np.nonzero(decisions.enter_long[:, 0])[0].tolist() == np.nonzero(entered.to_numpy())[0].tolist()
    assert not decisions.enter_short.any()
    # All of equity, and the two symbols have half of it each.
    assert (decisions.size == 0.5).all()


def test_a_configuration_makes_a_strategy_and_a_wrong_one_says_all_that_is_wrong() -> None:
    config = shipped_incumbent("macd_trend").config()
    assert TradingStrategy(**config).spec_id == shipped_incumbent("macd_trend").spec_id
    with pytest.raises(InvalidConfig, match=r"name: a name is 3 to 48.*hypothesis: is missing.*give|long"):
        TradingStrategy(kind="rules", name="X", long={"enter": "clos > open"})
    with pytest.raises(InvalidConfig, match="a spec and a configuration"):
        TradingStrategy(shipped_incumbent("macd_trend"), kind="rules")


def test_a_frame_and_bars_give_the_same_signals(whole_bars: Bars) -> None:
    frame = pd.DataFrame(
        {name.title(): getattr(whole_bars, name)[:, 0] for name in ("open", "high", "low", "close", "volume")},
        index=pd.DatetimeIndex(whole_bars.sessions, name="Date"),
    )
    agent = TradingStrategy(shipped_incumbent("donchian_breakout"))
    of_frame, of_bars = (
        arrays(agent.generate_signals(frame).decisions),
        arrays(agent.generate_signals(whole_bars).decisions),
    )
    for name, values in of_frame.items():
        # The frame is one market with the whole account, the bars are two with half of it each.
        share = 0.5 if name == "size" else 1.0
        np.testing.assert_array_equal(share * values[:, 0], of_bars[name][:, 0], err_msg=name)
    with pytest.raises(DataError, match="a pandas DataFrame, not list"):
        agent.generate_signals([1, 2])  # type: ignore[arg-type]


def test_a_shared_cache_changes_nothing(bars: Bars) -> None:
    cache = EvaluationCache()
    for spec in shipped_incumbents():
        alone = arrays(TradingStrategy(spec).generate_signals(bars).decisions)
        shared = arrays(TradingStrategy(spec).generate_signals(bars, cache=cache).decisions)
        for name, values in alone.items():
            assert values.tobytes() == shared[name].tobytes()


# --- sizes and distances by hand; the closes are 100, 110, 99


@pytest.fixture
def three_bars() -> Bars:
    close = np.array([[100.0], [110.0], [99.0]])
    sessions = np.array(["2001-01-01", "2001-01-02", "2001-01-03"], dtype="datetime64[D]")
    return Bars(("x",), sessions, close, close + 1, close - 1, close, close, "three")


def test_volatility_sizing_by_hand(three_bars: Bars) -> None:
    agent = strategy(
        kind="rules", long={"enter": "True"}, sizing={"kind": "volatility", "annual": 0.5, "window": 2, "cap": 2}
    )
    size = agent.generate_signals(three_bars).decisions.size[:, 0]  # type: ignore[union-attr]
    steps = np.log([1.1, 0.9])
    assert np.isnan(size[:2]).all()
    assert size[2] == pytest.approx(0.5 / (np.std(steps, ddof=1) * np.sqrt(252)))
    assert agent.warmup_bars == 2


def test_atr_risk_sizing_and_protection_by_hand(three_bars: Bars) -> None:
    agent = strategy(
        kind="rules",
        long={"enter": "True"},
        protect={"stop_atr": 2, "atr_window": 2, "target_share": 0.1, "max_bars": 7},
        sizing={"kind": "atr_risk", "risk": 0.01, "multiple": 2, "window": 2, "cap": 1},
    )
    decisions = agent.generate_signals(three_bars).decisions
    assert isinstance(decisions, SignalDecisions)
    # true ranges: 111 - 100 = 11 and 110 - 98 = 12, so atr(2) = 11.5 at the third bar
    assert decisions.stop_distance[2, 0] == 23.0
    assert decisions.size[2, 0] == pytest.approx(0.01 * 99 / 23)
    assert decisions.target_distance[2, 0] == pytest.approx(9.9)
    assert np.isnan(decisions.trail_distance).all()
    assert decisions.max_bars == 7


def test_a_position_whose_stop_cannot_be_placed_is_not_entered(three_bars: Bars) -> None:
    agent = strategy(kind="rules", long={"enter": "True"}, protect={"stop_atr": 2, "atr_window": 2})
    decisions = agent.generate_signals(three_bars).decisions
    assert isinstance(decisions, SignalDecisions)
    np.testing.assert_array_equal(decisions.size[:, 0], [np.nan, np.nan, 1.0])


@pytest.mark.parametrize(
    ("position", "direction", "expected"),
    [
        ({"kind": "sign"}, "both", [np.nan, 1.0, -1.0]),
        ({"kind": "sign", "deadband": 0.1}, "both", [np.nan, 0.0, 0.0]),
        ({"kind": "sign"}, "long", [np.nan, 1.0, 0.0]),
        ({"kind": "linear", "scale": 5}, "both", [np.nan, 0.5, -0.5]),
        ({"kind": "linear", "scale": 100}, "short", [np.nan, 0.0, -1.0]),
    ],
)  # the score is roc(close, 1): NaN, 0.1, -0.1
def test_score_to_target_by_hand(three_bars: Bars, position: Any, direction: str, expected: list[float]) -> None:
    agent = strategy(kind="score", score="roc(close, 1) * 0.99999", position=position, direction=direction)
    decisions = agent.generate_signals(three_bars).decisions
    assert isinstance(decisions, TargetDecisions)
    np.testing.assert_allclose(decisions.target[:, 0], expected, rtol=1e-4)
    assert decisions.band == 0.05


def test_a_score_is_looked_at_every_so_many_bars(bars: Bars) -> None:
    agent = strategy(kind="score", score="1", rebalance={"every_bars": 21, "band": 0.0})
    decisions = agent.generate_signals(bars).decisions
    assert isinstance(decisions, TargetDecisions)
    assert np.nonzero(~np.isnan(decisions.target[:, 0]))[0].tolist() == list(range(0, 420, 21))


@pytest.mark.parametrize(("every_bars", "first"), [(1, 1), (21, 3), (250, 43)])
def test_rebalancing_counts_from_the_first_bar_of_the_data_and_not_of_the_window(
    bars: Bars, every_bars: int, first: int
) -> None:
    agent = strategy(kind="score", score="1", rebalance={"every_bars": every_bars, "band": 0.05})
    result = simulate(agent.generate_signals(bars), FREE, window=Window(208, 420))
    # From bar 208 on the first multiple of 21 is 210, and of 250 it is 250; the fill is a bar later.
    assert int(np.flatnonzero(result.exposure)[0]) == first


def test_signals_read_as_words(bars: Bars) -> None:
    words = [str(signal) for signal in TradingStrategy(shipped_incumbent("buy_and_hold")).generate_signals(bars)]
    assert words[0] == "2001-01-01 one: enter long 0.50 of equity"  # two symbols, half of the account each


def test_load_spec_gives_what_the_strategy_shows() -> None:
    spec = load_spec(shipped_incumbent("macd_trend").config(), origin="")
    assert not isinstance(spec, list)
    assert repr(TradingStrategy(spec)) == f"TradingStrategy(macd_trend, {spec.spec_id})"
