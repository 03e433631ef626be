"""OpenWindow: everything about a market that a run may look at before its end. It holds no sealed bar.

Candidates are evaluated here, beside the incumbents, on the same bars, window and costs. The result is a pure function
of the spec, the bars and the number of trials so far, so a resumed run makes the same evaluation again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from agents.archive.records import Slot, Trial
from agents.strategy.spec import Spec
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import CostModel
from backtesting.evaluation import Evaluation, evaluate
from backtesting.gates import COST_FACTOR, Nominee
from backtesting.result import BacktestResult
from backtesting.splits import Split, Window

OPEN = "open"
"""Purpose of a trial in the open window."""


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

    def look(self, spec: Spec, *, n_trials: int, rng: np.random.Generator) -> Nominee:
        """Evaluate a candidate: one trial."""
        strategy = TradingStrategy(spec)
        evaluation = self._evaluate(spec.name, strategy.spec_id, self.simulate(strategy), n_trials, rng)
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


def open_trial(evaluation: Evaluation, slot: Slot, *, bars_id: str, series: str, stream_id: str) -> Trial:
    """A slot's look at the open window, as the ledger counts it; the same look of the same slot is counted once."""
    result = evaluation.result
    return Trial(
        spec_id=evaluation.spec_id,
        bars_id=bars_id,
        series=series,
        window_start=result.window.start,
        window_stop=result.window.stop,
        first_session=str(result.sessions[0]),
        last_session=str(result.sessions[-1]),
        purpose=OPEN,
        by=slot.arm,
        metrics={name: float(value) if isfinite(value) else None for name, value in result.metrics.items()},
        run_id=slot.run_id,
        slot_id=slot.slot_id,
        stream_id=stream_id,
    )
