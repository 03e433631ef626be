"""Loop calibration: the whole search, from the first draw to the verdicts, on a market whose truth is known.

Each replication is a run of its own in an archive in memory: proposals, evaluation on the open window, parents chosen
by it, open gates, the sealed window opened once. Without an edge every pass is false. With the planted market a pass is
taken as found: what passes there trades the edge that was planted, or something that goes with it.
"""

import asyncio

import numpy as np

from agents.archive.store import Archive
from agents.data_fetch.data_fetch import fetch_bars
from backtesting.bars import FloatArray
from backtesting.calibration import Cell, Outcome
from generator.config import RunConfig
from generator.loop import evolve
from generator.run import open_run

LOOP_FAMILIES = ("loop-random-walk", "loop-garch", "loop-planted")


def replicate_loop(cell: Cell, number: int, seed: int, history: FloatArray) -> Outcome:
    """Replication `number` of a cell whose family is one of LOOP_FAMILIES; `history` is not used.

    `loop-planted` plants the cell's Sharpe ratio; the other markets have none, whatever the cell says.
    """
    if cell.family not in LOOP_FAMILIES:
        raise ValueError(f"unknown null market {cell.family!r}; known: {', '.join(LOOP_FAMILIES)}")
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
