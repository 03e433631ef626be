"""The interface of the first sketch of this project, used as a script uses it: a DataFrame in, an agent out."""

import logging
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

import generator
from agents.data_fetch.data_fetch import fetch_market_data
from agents.manager.agent_manager import MetaAgentManager
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import Backtest
from generator import generate_updated_agent

PLANTED = "synthetic:planted?years=20&seed=1"
SURGE: dict[str, Any] = {
    "kind": "rules",
    "name": "surge_rule",
    "hypothesis": "Buyers are not done on the day of a surge.",
    "long": {"enter": "volume > 1.5 * sma(volume, 20)", "exit": "volume <= 1.5 * sma(volume, 20)"},
    "sizing": {"kind": "fraction", "fraction": 1.0},
}


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    frame = fetch_market_data(days=3650, symbol=PLANTED)
    assert frame is not None
    return frame


def test_market_data_is_a_frame_as_yfinance_users_know_it(history: pd.DataFrame) -> None:
    assert list(history.columns) == ["Open", "High", "Low", "Close", "Volume"]
    assert isinstance(history.index, pd.DatetimeIndex)
    assert (history.index[-1] - history.index[0]).days < 3650
    assert history.notna().all(axis=None)


def test_no_market_data_is_none_and_a_logged_sentence(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert fetch_market_data(days=365, symbol="sample:sp5000") is None
    assert "No market data for sample:sp5000" in caplog.text


def test_the_loop_of_the_sketch(history: pd.DataFrame) -> None:
    manager = MetaAgentManager()
    best = manager.select_best_agent(history)
    assert best is manager.selected_agent
    assert isinstance(best, TradingStrategy)
    results = manager.evaluate_agents(history)
    assert results[best.name] == max(results.values())
    signals = best.generate_signals(history)
    performance = Backtest().simulate(signals)
    assert performance["sharpe_ratio"] == results[best.name]
    assert signals.bars.n_bars == len(history)


def test_signals_can_be_walked_through_one_a_bar(history: pd.DataFrame) -> None:
    signals = TradingStrategy().load_model().generate_signals(history)
    shown = [str(signal) for signal in signals]
    assert len(shown) == len(history)


def test_a_strategy_is_made_from_its_configuration_and_wins_where_it_should(history: pd.DataFrame) -> None:
    manager = MetaAgentManager([TradingStrategy(), TradingStrategy(**SURGE)])
    best = manager.select_best_agent(history)
    assert best is not None
    assert best is manager.agents[1]
    assert TradingStrategy(**SURGE).name == "surge_rule"


def test_two_agents_of_one_class_have_a_result_each(history: pd.DataFrame) -> None:
    results = MetaAgentManager([TradingStrategy(), TradingStrategy(), TradingStrategy(**SURGE)]).evaluate_agents(
        history
    )
    assert list(results) == ["golden_cross", "golden_cross_2", "surge_rule"]
    assert results["golden_cross"] == results["golden_cross_2"]


def test_an_agent_of_ones_own_needs_two_methods(history: pd.DataFrame) -> None:
    class Mine:
        def load_model(self) -> None:
            pass

        def generate_signals(self, data: Any) -> Any:
            return TradingStrategy(**SURGE).generate_signals(data)

    class Broken(Mine):
        def generate_signals(self, data: Any) -> Any:
            raise RuntimeError("no idea")

    manager = MetaAgentManager([Mine(), Broken()])
    assert manager.select_best_agent(history) is manager.agents[0]
    assert manager.failures == {"Broken": "RuntimeError: no idea"}


def test_an_updated_agent_joins_or_replaces_its_namesake(history: pd.DataFrame) -> None:
    manager = MetaAgentManager([TradingStrategy()])
    manager.update_agent(TradingStrategy(**SURGE))
    assert [agent.name for agent in manager.agents if isinstance(agent, TradingStrategy)] == [
        "golden_cross",
        "surge_rule",
    ]
    newer = TradingStrategy(**SURGE | {"sizing": {"kind": "fraction", "fraction": 0.5}})
    manager.update_agent(newer)
    assert manager.agents[1] is newer
    assert len(manager.agents) == 2


def test_a_generated_agent_is_new_legal_and_usable(history: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOUCHSTONE_LLM", raising=False)
    agent = generate_updated_agent(PLANTED)
    manager = MetaAgentManager()
    assert agent.spec_id not in {known.spec_id for known in manager.agents if isinstance(known, TradingStrategy)}
    manager.update_agent(agent)
    results = manager.evaluate_agents(history)
    assert len(results) == 9
    assert agent.name in results
    # The same seed gives the same agent, another seed another one.
    assert generate_updated_agent(PLANTED).spec_id == agent.spec_id
    assert generate_updated_agent(PLANTED, seed=2).spec_id != agent.spec_id


def test_nothing_but_figures_comes_back(history: pd.DataFrame) -> None:
    flat = history.copy()
    flat[["Open", "High", "Low", "Close"]] = 100.0
    for value in Backtest().simulate(TradingStrategy().generate_signals(flat)).values():
        assert isinstance(value, float)
        assert not math.isinf(value)


def test_a_frame_that_is_no_price_history_is_refused_with_a_sentence(history: pd.DataFrame) -> None:
    from backtesting.errors import DataError

    for frame in (
        history.drop(columns="Close"),
        history.iloc[::-1],
        history.assign(Close=np.where(np.arange(len(history)) == 5, -1.0, history["Close"])),
    ):
        with pytest.raises(DataError):
            TradingStrategy().generate_signals(frame)


def test_the_front_door_of_the_generator_is_a_list() -> None:
    assert generator.__all__ == ["generate_updated_agent"]
    assert generator.generate_updated_agent is generate_updated_agent
    with pytest.raises(AttributeError, match="no attribute 'generate'"):
        _ = generator.generate
