"""OpenWindow: everything about a market that a run may look at before its end. It holds no sealed bar.

Candidates are evaluated here, beside the incumbents, on the same bars, window and costs. The result is a pure function
of the spec, the bars and the number of trials so far, so a resumed run makes the same evaluation again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from agents.strategy.spec import Spec
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.bars import Bars, FloatArray
from backtesting.costs import CostModel
from backtesting.evaluation import Evaluation, evaluate
from backtesting.gates import COST_FACTOR, Nominee
from backtesting.result import BacktestResult
from backtesting.splits import Split, Window
from generator.behaviour import Behaviour, behaviour_of, market_returns


@dataclass(frozen=True, eq=False)
class OpenWindow:
    """The open part of a market, with the incumbents' results on it.

    Attributes:
        bars: cut at the end of the open window.
        window: the bars that count; the lead before it only warms up.
        costs: the run's cost model.
        incumbents: result by incumbent name.
    """

    bars: Bars
    window: Window
    costs: CostModel
    incumbents: Mapping[str, BacktestResult]

    @classmethod
    def of(cls, bars: Bars, split: Split, costs: CostModel, incumbents: Sequence[TradingStrategy]) -> "OpenWindow":
        """Cut the bars and run the incumbents."""
        cut = bars.upto(split.open.stop)
        bare = cls(cut, split.open, costs, {})
        results = {strategy.name: bare.simulate(strategy) for strategy in incumbents}
        return cls(cut, split.open, costs, results)

    def simulate(self, strategy: TradingStrategy, *, cost_factor: float = 1.0) -> BacktestResult:
        """The strategy on the open window, costs multiplied."""
        costs = self.costs if cost_factor == 1.0 else self.costs.times(cost_factor)
        return simulate(strategy.generate_signals(self.bars), costs, window=self.window)

    @cached_property
    def market(self) -> FloatArray:
        """(n,) returns of a constant position in the market, without costs."""
        return market_returns(self.bars, self.window)

    def behaviour(self, spec: Spec, result: BacktestResult) -> Behaviour:
        """How a simulated rule behaves beside the incumbents."""
        return behaviour_of(spec, result, self.incumbents, self.market)

    def look(
        self, spec: Spec, *, n_trials: int, rng: np.random.Generator, result: BacktestResult | None = None
    ) -> Nominee:
        """Evaluate a candidate: one trial. `result` is its simulation on this window, where there is one already."""
        strategy = TradingStrategy(spec)
        simulated = self.simulate(strategy) if result is None else result
        evaluation = self._evaluate(spec.name, strategy.spec_id, simulated, n_trials, rng)
        return Nominee(evaluation, self.simulate(strategy, cost_factor=COST_FACTOR), strategy)

    def _evaluate(
        self, name: str, spec_id: str, result: BacktestResult, n_trials: int, rng: np.random.Generator
    ) -> Evaluation:
        return evaluate(
            name,
            spec_id,
            result,
            self.incumbents,
            periods_per_year=self.bars.periods_per_year,
            n_trials=n_trials,
            rng=rng,
        )
