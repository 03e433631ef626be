"""MetaAgentManager: evaluates several agents on one history and selects the best, in a few lines.

This is selection on one backtest: whoever tries enough agents this way ends up with the luckiest. It chooses among
agents that are trusted already; a candidate becomes one through the gate and a review (`promote`), never through
`select_best_agent`. An agent that fails is logged, reported in `failures` and skipped; the others go on.

Agents are selected by growth or by growth over risk alone. The other metrics can be led by doing nothing (drawdown,
tails), by one trade (expectancy) or by never closing a loss (hit rate). And one that was hardly in the market, or
whose profit hangs on a single day or short trade, comes after all others: a ratio over next to no risk has no bound.
"""

import logging
import math
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, Protocol

import numpy as np

from agents.archive.records import AgentRecord
from agents.archive.store import Archive
from agents.manager.registry import Registry
from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import Backtest
from backtesting.decisions import Signals
from backtesting.errors import InvalidConfig
from backtesting.metrics import METRICS
from backtesting.open_gates import MIN_EXPOSED_BARS, profit_concentration
from backtesting.result import BacktestResult

logger = logging.getLogger(__name__)

SELECT_BY = ("total_return", "cagr", "sharpe_ratio", "sortino_ratio", "calmar_ratio", "omega_ratio")
"""The metrics of `METRICS` that an agent may be selected by."""


class Agent(Protocol):
    """What the manager asks of an agent; `TradingStrategy` is one. It goes by its `name`, else by its class's."""

    def load_model(self) -> object:
        """Get ready; called before every evaluation."""
        ...

    def generate_signals(self, data: Any, /) -> Signals:
        """Decisions on a price history: `Bars`, or a DataFrame with Open, High, Low, Close, Volume."""
        ...


class MetaAgentManager:
    """Evaluates agents by one metric and selects the best.

    Args:
        agents: the candidates; None for the shipped incumbents.
        metric: one of `SELECT_BY`.
        backtest: costs, capital and window; None for `Backtest()`.

    Attributes:
        agents: the candidates, a list that may be changed.
        selected_agent: the winner of the last selection, or None.
        failures: what went wrong in the last evaluation, a sentence by agent name.
        doubts: why an agent of the last evaluation comes after all without doubts, half a sentence by agent name.
    """

    def __init__(
        self,
        agents: Iterable[Agent] | None = None,
        metric: str = "sharpe_ratio",
        backtest: Backtest | None = None,
    ) -> None:
        _check_metric(metric)
        self.agents: list[Agent] = _shipped() if agents is None else list(agents)
        self.metric = metric
        self.selected_agent: Agent | None = None
        self.failures: dict[str, str] = {}
        self.doubts: dict[str, str] = {}
        self._backtest = Backtest() if backtest is None else backtest

    def evaluate_agents(self, historical_data: Any) -> dict[str, float]:
        """The metric of every agent by unique name, NaN where undefined; agents that failed are in `failures`.

        Args:
            historical_data: `Bars`, or a DataFrame with Open, High, Low, Close, Volume.
        """
        results: dict[str, float] = {}
        self.failures, self.doubts = {}, {}
        for name, agent in self._named():
            try:
                agent.load_model()
                performance = self._backtest.run(agent.generate_signals(historical_data))
                results[name] = float(performance.metrics[self.metric])
                doubt = _doubt(performance)
            except Exception as error:  # An agent is somebody else's code: one that breaks must not stop the others.
                self.failures[name] = f"{type(error).__name__}: {error}"
                logger.error("Agent %s failed and is skipped: %s", name, self.failures[name])
            else:
                logger.info("Agent %s achieved %s: %.2f", name, self.metric, results[name])
                if doubt:
                    self.doubts[name] = doubt
                    logger.info("Agent %s comes after all without doubts: %s", name, doubt)
        return results

    def select_best_agent(self, historical_data: Any) -> Agent | None:
        """The agent with the highest metric, also kept as `selected_agent`.

        The first of equals wins; one with a doubt only where there is no other; an agent without a defined metric never
        does. None, logged, if there is no winner.
        """
        results = self.evaluate_agents(historical_data)
        defined = {name: value for name, value in results.items() if math.isfinite(value)}
        if not defined:
            logger.error("No agent has a defined %s, so none is selected.", self.metric)
            self.selected_agent = None
            return None
        best = max(defined, key=lambda name: (name not in self.doubts, defined[name]))
        self.selected_agent = dict(self._named())[best]
        logger.info("Selected agent: %s", best)
        return self.selected_agent

    def update_agent(self, new_agent: Agent) -> None:
        """Put `new_agent` in the place of the agent with the same name, or add it; a replaced winner is unselected."""
        name = _name_of(new_agent)
        for place, agent in enumerate(self.agents):
            if _name_of(agent) == name:
                self.agents[place] = new_agent
                if self.selected_agent is agent:
                    self.selected_agent = None
                logger.info("Agent %s replaced.", name)
                return
        self.agents.append(new_agent)
        logger.info("New agent %s added.", name)

    @staticmethod
    def promote(archive: Archive, ref: str, *, who: str, code_version: str) -> AgentRecord:
        """The way of a candidate into the registry; see `Registry.promote`. It does not join `agents` by itself."""
        return Registry(archive).promote(ref, who=who, code_version=code_version)

    def _named(self) -> Iterator[tuple[str, Agent]]:
        taken: set[str] = set()
        for agent in self.agents:
            base = _name_of(agent)
            name, number = base, 2
            while name in taken:
                name, number = f"{base}_{number}", number + 1
            taken.add(name)
            yield name, agent


def _name_of(agent: Agent) -> str:
    return str(getattr(agent, "name", "") or type(agent).__name__)


def _shipped() -> list[Agent]:
    return [TradingStrategy(spec) for spec in shipped_incumbents()]


def _doubt(result: BacktestResult) -> str:
    """Why a result is no ground to select by, or empty. A loss is none: the metric says it."""
    exposed = int(np.count_nonzero(result.exposure))
    if exposed < MIN_EXPOSED_BARS:
        return f"it held a position on {exposed} bars, {MIN_EXPOSED_BARS} are needed"
    found = profit_concentration(result)
    if found.share > found.allowed:
        return (
            f"its best day or short trade carries {found.share:.0%} of its profit, at most {found.allowed:.0%} may be"
        )
    return ""


def _check_metric(metric: str) -> None:
    if metric in SELECT_BY:
        return
    if metric in METRICS:
        known = METRICS[metric]
        why = "it can be led without earning anything" if known.higher_is_better else "more of it is not better"
        what = f"agents cannot be selected by {metric!r}: {why}"
    else:
        near = get_close_matches(metric, SELECT_BY, n=1)
        what = f"unknown metric {metric!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    raise InvalidConfig(what, next_step=f"choose one of {', '.join(SELECT_BY)}")
