"""OpenWindow: everything about a market that a run may look at before its end. It holds no sealed bar.

Candidates are evaluated here, beside the incumbents, on the same bars, window and costs. The result is a pure function
of the spec, the bars and the number of trials so far, so a resumed run makes the same evaluation again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np

from agents.archive.records import Slot, Trial
from agents.data_fetch.quality import doubtful_bars
from agents.strategy.expression.evaluate import EvaluationCache
from agents.strategy.neighbours import neighbours
from agents.strategy.spec import Spec, check_for_bars
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.bars import Bars, FloatArray
from backtesting.costs import CostModel
from backtesting.evaluation import Evaluation, evaluate, evaluation_of, market_returns, residual, residual_hedge
from backtesting.nomination import COST_FACTOR, Nominee
from backtesting.replacement import Replacement, difference_t, replacement_of
from backtesting.result import BacktestResult
from backtesting.splits import LEAD_BARS, Split, Window
from backtesting.statistics import hac_t
from backtesting.terms import CASH, Terms
from generator.behaviour import Behaviour, behaviour_of

LATER_BARS = 63

KEPT_BYTES = 128 * 1024 * 1024
"""Of values of parts of rules, which most candidates share with their parents and with the same rule at other costs."""

DROPPED_SYMBOLS = 3
"""Of a panel: how many of the symbols that earned most are left out, one at a time."""

OPEN = "open"
"""Purpose of a trial in the open window."""


@dataclass(frozen=True, eq=False)
class OpenWindow:
    """The open part of a market, with the incumbents' results on it.

    Attributes:
        bars: cut at the end of the open window.
        window: the bars that count; the lead before it only warms up.
        costs, terms: the run's cost model, and the conventions of its market.
        incumbents: result by incumbent name.
        values: parts of rules on these bars, kept from candidate to candidate; no result depends on it.
    """

    bars: Bars
    window: Window
    costs: CostModel
    incumbents: Mapping[str, BacktestResult]
    terms: Terms = CASH
    values: EvaluationCache = field(default_factory=lambda: EvaluationCache(KEPT_BYTES), repr=False)

    @classmethod
    def of(
        cls, bars: Bars, split: Split, costs: CostModel, incumbents: Sequence[TradingStrategy], terms: Terms = CASH
    ) -> "OpenWindow":
        """Cut the bars and run the incumbents."""
        cut = bars.upto(split.open.stop)
        bare = cls(cut, split.open, costs, {}, terms)
        results = {strategy.name: bare.simulate(strategy) for strategy in incumbents}
        return replace(bare, incumbents=results)

    def simulate(self, strategy: TradingStrategy, *, cost_factor: float = 1.0) -> BacktestResult:
        """The strategy on the open window, costs multiplied."""
        costs = self.costs if cost_factor == 1.0 else self.costs.times(cost_factor)
        # Positions tell the rules of a panel apart, and nothing reads them of a simulation with other costs.
        keep = self.bars.n_assets > 1 and cost_factor == 1.0
        signals = strategy.generate_signals(self.bars, cache=self.values)
        return simulate(signals, costs, window=self.window, terms=self.terms, keep_positions=keep)

    @cached_property
    def doubtful(self) -> tuple[int, ...]:
        """Numbers of the bars with doubtful prices, by what the open bars alone say."""
        return tuple(np.flatnonzero(doubtful_bars(self.bars)).tolist())

    @cached_property
    def market(self) -> FloatArray:
        """(n,) returns of a constant position in the market, without costs."""
        return market_returns(self.bars, self.window)

    def behaviour(self, spec: Spec, result: BacktestResult) -> Behaviour:
        """How a simulated rule behaves beside the incumbents."""
        return behaviour_of(spec, result, self.incumbents, self.market)

    def look(self, spec: Spec, result: BacktestResult, *, n_trials: int, seed: int) -> Evaluation:
        """Evaluate a candidate that was simulated on this window: one trial.

        The intervals of all candidates that are looked at with one `seed` come from the same resamples.
        """
        return evaluate(
            spec.name,
            spec.spec_id,
            result,
            self.incumbents,
            market=self.market,
            periods_per_year=self.bars.periods_per_year,
            n_trials=n_trials,
            seed=seed,
        )

    def nominee(self, spec: Spec, stored: Mapping[str, Any]) -> Nominee:
        """A candidate as the judgement needs it, from its stored evaluation: simulated again, and no new trial."""
        strategy = TradingStrategy(spec)
        evaluation = evaluation_of(stored, self.simulate(strategy))
        doubled = self.simulate(strategy, cost_factor=COST_FACTOR)
        return Nominee(evaluation, doubled, strategy, doubtful=self.doubtful)

    def replacement(self, look: Nominee, incumbent: TradingStrategy) -> Replacement:
        """What this window says about a candidate in the place of an incumbent, without neighbours; no new trial."""
        doubled = self.simulate(incumbent, cost_factor=COST_FACTOR)
        return replacement_of(
            incumbent.name,
            look.open_evaluation.result.returns,
            self.incumbents[incumbent.name].returns,
            self.market,
            doubled=(look.open_doubled_costs.returns, doubled.returns),
            periods_per_year=self.bars.periods_per_year,
        )

    def replacement_t(self, found: Replacement, result: BacktestResult) -> float:
        """The t-statistic of the difference to the same incumbent, of a neighbour that may begin later."""
        skipped = result.window.start - self.window.start
        other = self.incumbents[found.incumbent].returns[skipped:]
        return difference_t(result.returns, other, self.market[skipped:], found.scale)

    def neighbours_t(self, spec: Spec) -> tuple[tuple[str, BacktestResult, float], ...]:
        """The rule slightly changed: spec id, result and t-statistic of the residual alpha of each neighbour.

        Its neighbours in the language, and the rule itself begun a quarter of a year later (which keeps its id). A
        neighbour that cannot be evaluated, as when its windows outgrow the bars, is left out.
        """
        found = []
        later = Window(min(self.window.start + LATER_BARS, self.window.stop - 1), self.window.stop)
        for other, window in [*((n, self.window) for n in neighbours(spec)), (spec, later)]:
            if check_for_bars(other, self.bars, max_warmup=LEAD_BARS):
                continue
            signals = TradingStrategy(other).generate_signals(self.bars, cache=self.values)
            result = simulate(signals, self.costs, window=window, terms=self.terms)
            found.append((other.spec_id, result, self._alpha_t(result)))
        return tuple(found)

    def dropped_t(self, spec: Spec, own: BacktestResult) -> tuple[tuple[str, Bars, BacktestResult, float], ...]:
        """The rule on the panel without one symbol: that symbol, the bars left, result and t-statistic, for each of
        the symbols that earned most in its `own` result.

        The hedge stays the same, on the whole panel. Nothing on a market of one symbol; left out where the rule cannot
        be evaluated on what is left, as a portfolio on a single asset.
        """
        if self.bars.n_assets == 1:
            return ()
        earned = np.zeros(self.bars.n_assets)
        for trade in own.trades:
            earned[trade.asset] += trade.pnl
        best = [int(at) for at in np.argsort(-earned, kind="stable")[:DROPPED_SYMBOLS] if earned[at] > 0.0]
        found = []
        for symbol in (self.bars.symbols[at] for at in best):
            rest = self.bars.without(symbol)
            if check_for_bars(spec, rest, max_warmup=LEAD_BARS):
                continue
            signals = TradingStrategy(spec).generate_signals(rest)
            left = _without(self.terms, self.bars.symbols.index(symbol))
            result = simulate(signals, self.costs, window=self.window, terms=left)
            found.append((symbol, rest, result, self._alpha_t(result)))
        return tuple(found)

    def _alpha_t(self, result: BacktestResult) -> float:
        """Of the residual alpha of a result that ends with this window and may begin later."""
        skipped = result.window.start - self.window.start
        names = sorted(self.incumbents)
        book = np.column_stack([self.market, *(self.incumbents[name].returns for name in names)])[skipped:]
        return hac_t(residual(result.returns, book, residual_hedge(result.returns, book)))


def _without(terms: Terms, asset: int) -> Terms:
    """The terms of the panel without one of its assets."""

    def left(value: float | tuple[float, ...]) -> float | tuple[float, ...]:
        return (*value[:asset], *value[asset + 1 :]) if isinstance(value, tuple) else value

    return replace(terms, multiplier=left(terms.multiplier), lot=left(terms.lot))


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


def refused_look(
    slot: Slot, spec_id: str, window: OpenWindow, *, bars_id: str, series: str, stream_id: str | None
) -> Trial:
    """A slot's look that came to no evaluation: it broke (no stream), or the rule turned out to be a known one."""
    sessions = window.bars.sessions
    return Trial(
        spec_id=spec_id,
        bars_id=bars_id,
        series=series,
        window_start=window.window.start,
        window_stop=window.window.stop,
        first_session=str(sessions[window.window.start]),
        last_session=str(sessions[window.window.stop - 1]),
        purpose=OPEN,
        by=slot.arm,
        metrics={},
        run_id=slot.run_id,
        slot_id=slot.slot_id,
        stream_id=stream_id,
    )
