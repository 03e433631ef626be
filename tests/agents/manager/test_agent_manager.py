import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest

from agents.manager.agent_manager import MetaAgentManager
from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import Backtest
from backtesting.costs import FREE
from backtesting.decisions import Signals, TargetDecisions
from backtesting.errors import InvalidConfig


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Three years of a drifting walk, as the data fetcher gives it."""
    rng = np.random.default_rng(11)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0006, 0.01, 756)))
    opened = np.concatenate([[100.0], close[:-1]])
    return pd.DataFrame(
        {
            "Open": opened,
            "High": np.maximum(opened, close) * 1.002,
            "Low": np.minimum(opened, close) * 0.998,
            "Close": close,
            "Volume": rng.integers(1_000, 9_000, 756).astype(float),
        },
        index=pd.bdate_range("2020-01-01", periods=756, name="Date"),
    )


class Holder:
    """Holds a constant share of equity."""

    def __init__(self, share: float, name: str | None = None) -> None:
        if name is not None:
            self.name = name
        self.share = share
        self.loaded = 0

    def load_model(self) -> "Holder":
        self.loaded += 1
        return self

    def generate_signals(self, data: Any) -> Signals:
        signals = TradingStrategy().generate_signals(data)
        target = np.full((signals.bars.n_bars, 1), self.share)
        return Signals("holder", signals.bars, TargetDecisions(target))


class Broken(Holder):
    def generate_signals(self, data: Any) -> Signals:
        raise ZeroDivisionError("no bars today")


def test_the_simple_interface_as_it_is_written(frame: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    manager = MetaAgentManager()
    best_agent = manager.select_best_agent(frame)
    assert best_agent is not None
    assert best_agent is manager.selected_agent
    live_signals = best_agent.generate_signals(frame)
    assert len([str(signal) for signal in live_signals]) == 756
    assert f"Selected agent: {best_agent.name}" in caplog.text  # type: ignore[attr-defined]


def test_without_agents_the_shipped_ones_are_taken(frame: pd.DataFrame) -> None:
    manager = MetaAgentManager()
    results = manager.evaluate_agents(frame)
    assert list(results) == [spec.name for spec in shipped_incumbents()]
    assert manager.failures == {}


def test_the_metric_is_that_of_the_backtest(frame: pd.DataFrame) -> None:
    agent = Holder(0.5, "half")
    expected = Backtest().simulate(agent.generate_signals(frame))
    assert MetaAgentManager([agent]).evaluate_agents(frame) == {"half": expected["sharpe_ratio"]}
    assert MetaAgentManager([agent], metric="cagr").evaluate_agents(frame) == {"half": expected["cagr"]}
    free = MetaAgentManager([agent], backtest=Backtest(FREE)).evaluate_agents(frame)["half"]
    assert free > expected["sharpe_ratio"]


def test_two_agents_of_one_class_do_not_overwrite_each_other(frame: pd.DataFrame) -> None:
    results = MetaAgentManager([Holder(1.0), Holder(-1.0), Holder(0.5)]).evaluate_agents(frame)
    assert list(results) == ["Holder", "Holder_2", "Holder_3"]
    assert results["Holder"] > 0 > results["Holder_2"]


def test_a_suffix_that_is_taken_is_skipped(frame: pd.DataFrame) -> None:
    agents = [Holder(1.0, "a"), Holder(1.0, "a_2"), Holder(1.0, "a")]
    assert list(MetaAgentManager(agents).evaluate_agents(frame)) == ["a", "a_2", "a_3"]


def test_the_highest_metric_wins_wherever_it_stands(frame: pd.DataFrame) -> None:
    short, best, none = Holder(-1.0), Holder(1.0), Holder(0.0)
    for agents in ([short, best, none], [best, none, short], [none, short, best]):
        assert MetaAgentManager(agents).select_best_agent(frame) is best


def test_the_first_of_equals_wins(frame: pd.DataFrame) -> None:
    first, second = Holder(1.0), Holder(1.0)
    assert MetaAgentManager([first, second]).select_best_agent(frame) is first


def test_an_undefined_metric_never_wins(frame: pd.DataFrame) -> None:
    # An agent that never trades has no Sharpe ratio; one that loses has a negative one.
    idle, losing = Holder(0.0), Holder(-1.0)
    manager = MetaAgentManager([idle, losing])
    assert manager.select_best_agent(frame) is losing
    assert np.isnan(manager.evaluate_agents(frame)["Holder"])


def test_without_a_winner_nobody_is_selected(frame: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    manager = MetaAgentManager([Holder(1.0)])
    assert manager.select_best_agent(frame) is not None
    manager.agents = [Holder(0.0), Broken(1.0)]
    assert manager.select_best_agent(frame) is None
    assert manager.selected_agent is None
    assert "No agent has a defined sharpe_ratio, so none is selected." in caplog.text
    assert MetaAgentManager([]).select_best_agent(frame) is None


def test_one_that_breaks_does_not_stop_the_others(frame: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    good = Holder(1.0)
    manager = MetaAgentManager([Broken(1.0), good])
    assert manager.select_best_agent(frame) is good
    assert manager.failures == {"Broken": "ZeroDivisionError: no bars today"}
    assert "Agent Broken failed and is skipped: ZeroDivisionError: no bars today" in caplog.text
    manager.agents = [good]
    manager.evaluate_agents(frame)
    assert manager.failures == {}


def test_data_that_is_none_is_a_failure_of_each_agent() -> None:
    manager = MetaAgentManager([TradingStrategy(), Holder(1.0)])
    assert manager.select_best_agent(None) is None
    assert list(manager.failures) == ["golden_cross", "Holder"]


def test_agents_are_loaded_before_they_are_asked(frame: pd.DataFrame) -> None:
    agent = Holder(1.0)
    MetaAgentManager([agent]).evaluate_agents(frame)
    assert agent.loaded == 1


def test_an_update_replaces_the_agent_of_the_same_name(frame: pd.DataFrame) -> None:
    old, other, new = Holder(1.0, "a"), Holder(1.0, "b"), Holder(0.5, "a")
    manager = MetaAgentManager([old, other])
    manager.select_best_agent(frame)
    assert manager.selected_agent is old
    manager.update_agent(new)
    assert manager.agents == [new, other]
    assert manager.selected_agent is None
    manager.update_agent(Holder(1.0, "c"))
    assert len(manager.agents) == 3


def test_the_list_of_the_caller_is_not_changed() -> None:
    mine = [Holder(1.0, "a")]
    MetaAgentManager(mine).update_agent(Holder(1.0, "b"))
    assert len(mine) == 1


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("sharp_ratio", "unknown metric 'sharp_ratio'; did you mean 'sharpe_ratio'"),
        ("luck", "unknown metric 'luck'; nothing was changed; choose one of total_return, "),
        ("volatility_annual", "agents cannot be selected by 'volatility_annual': more of it is not better"),
        ("max_drawdown", "agents cannot be selected by 'max_drawdown': it can be led without earning anything"),
        ("hit_rate", "choose one of total_return, cagr, sharpe_ratio, sortino_ratio, calmar_ratio, omega_ratio"),
        ("n_trades", "agents cannot be selected by 'n_trades'"),
    ],
)
def test_a_metric_has_to_be_one_to_choose_by(metric: str, sentence: str) -> None:
    with pytest.raises(InvalidConfig, match=sentence):
        MetaAgentManager([], metric=metric)
