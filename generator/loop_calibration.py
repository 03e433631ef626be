"""Loop calibration: real rules under every gate, on a market whose truth is known.

`loop-*` families are whole searches, from the first draw to the verdicts. `rules-planted` leaves the search out, which
may or may not find the edge: the rule that trades it is a candidate among rules drawn from the random grammar, so that
power is that of the gate with all its checks: costs doubled, concentration, falls, sub-periods, neighbours.

Each replication is a run of its own in an archive in memory: proposals, evaluation on the open window, parents chosen
by it, open gates, the sealed window opened once. Without an edge every pass is false. With the planted market a pass is
taken as found: what passes there trades the edge that was planted, or something that goes with it.
"""

import asyncio
from dataclasses import replace

import numpy as np

from agents.archive.store import Archive
from agents.data_fetch.data_fetch import fetch_bars
from agents.strategy.expression.evaluate import EvaluationCache
from agents.strategy.spec import Spec, check_for_bars, load_spec
from agents.strategy.spec_error import SpecError
from agents.strategy.strategy import TradingStrategy
from backtesting.bars import FloatArray
from backtesting.calibration import Cell, Outcome
from backtesting.gates import Verdict, judge
from backtesting.nomination import Nomination, Nominee
from backtesting.open_gates import open_gates
from backtesting.splits import LEAD_BARS
from generator.config import RunConfig
from generator.grammar import Grammar
from generator.loop import evolve
from generator.run import Run, open_run

RULES = "rules-planted"
LOOP_FAMILIES = ("loop-random-walk", "loop-garch", "loop-planted", RULES)
# What `synthetic:planted` hides, as a person would write it; the edge of that market is net of costs already.
PLANTED_RULE = {
    "kind": "rules",
    "name": "planted",
    "hypothesis": "a volume surge is followed by a drift",
    "long": {"enter": "volume > 1.5 * sma(volume, 20)", "exit": "not (volume > 1.5 * sma(volume, 20))"},
}


def replicate_loop(cell: Cell, number: int, seed: int, history: FloatArray) -> Outcome:
    """Replication `number` of a cell whose family is one of LOOP_FAMILIES; `history` is not used.

    `loop-planted` plants the cell's Sharpe ratio; the other markets have none, whatever the cell says.
    """
    if cell.family not in LOOP_FAMILIES:
        raise ValueError(f"unknown null market {cell.family!r}; known: {', '.join(LOOP_FAMILIES)}")
    if cell.family == RULES:
        return replicate_rules(cell, number, seed)
    own = int(np.random.SeedSequence([seed, number, *cell.key.encode()]).generate_state(1)[0])
    market = f"synthetic:{cell.family.removeprefix('loop-')}?years={cell.years:g}&seed={own}"
    planted = cell.family == "loop-planted"
    if planted:
        market += f"&edge={cell.sharpe:g}"
    # The first opening of a window may spend this share of alpha; the cell's alpha is what the run is given in all.
    config = RunConfig(market=market, slots=cell.candidates, seed=own, alpha=cell.alpha)
    with Archive.in_memory() as archive:
        run = open_run(config, archive, fetch_bars(market, cache_dir=None), {})
        asyncio.run(evolve(run, None, lambda progress: None))
        passed = any(stored.verdict == "pass" for stored in archive.gate_reports(run.run_id))
    edge = planted and cell.sharpe > 0.0
    return Outcome(false_pass=passed and not edge, true_pass=passed and edge)


def replicate_rules(cell: Cell, number: int, seed: int) -> Outcome:
    """Replication `number` of `rules-planted`: so many rules, one of them planted if the cell has a Sharpe ratio.

    The cell's Sharpe ratio is net of costs, and its alpha is that of the opening.
    """
    own = int(np.random.SeedSequence([seed, number, *cell.key.encode()]).generate_state(1)[0])
    market = f"synthetic:planted?years={cell.years:g}&seed={own}&edge={cell.sharpe:g}"
    rng = np.random.default_rng([own, 1])
    with Archive.in_memory() as archive:
        run = open_run(RunConfig(market=market, slots=1, seed=own), archive, fetch_bars(market, cache_dir=None), {})
        grammar = Grammar(run.open.bars, EvaluationCache(), LEAD_BARS)
        looks: dict[str, Nominee] = {}
        if cell.sharpe > 0.0:
            planted = _nominee(run, load_spec(PLANTED_RULE, origin=""))
            if planted is None:
                raise ValueError(f"the planted rule cannot be traded on {market}")
            looks[planted.spec_id] = planted
        while len(looks) < cell.candidates:
            drawn = _nominee(run, load_spec(grammar.spec(rng, f"random_{len(looks)}"), origin=""))
            if drawn is not None:
                looks.setdefault(drawn.spec_id, drawn)
        nomination = Nomination(
            nominees=tuple(looks.values()),
            incumbents=run.incumbents,
            bars_id=run.bars.bars_id,
            open_bars_id=run.open.bars.bars_id,
            split=run.split,
            costs=run.config.cost_model,
            alpha=cell.alpha,
            seed=own,
            n_trials=len(looks),
            code_version=run.record.engine_version,
        )
        passed = {report.name for report in judge(nomination, run.bars).reports if report.verdict is Verdict.PASS}
    # Where an edge is planted, another rule that passes trades it too, or something that goes with it.
    return Outcome(false_pass=bool(passed) and cell.sharpe == 0.0, true_pass=PLANTED_RULE["name"] in passed)


def _nominee(run: Run, spec: Spec | list[SpecError]) -> Nominee | None:
    """A rule with its open-window evidence and neighbours; None for one that this market cannot evaluate."""
    if isinstance(spec, list) or check_for_bars(spec, run.open.bars, max_warmup=LEAD_BARS):
        return None
    evaluation = run.open.look(spec, run.open.simulate(TradingStrategy(spec)), n_trials=1, seed=1)
    look = run.open.nominee(spec, evaluation.as_dict())
    if not all(gate.passed for gate in open_gates(look)):
        return look
    return replace(look, neighbours_t=tuple(t for _, _, t in run.open.neighbours_t(spec)))
