"""What judging costs: the statistics of 1,000 candidates beside `arch` and a plain PBO, and one whole verdict.

    python benchmarks/gates.py [--verdict] [--peers]

One JSON object goes to stdout. Without options our own statistics on 1,000 streams of 2,500 bars; with `--peers` the
same work by arch 8 (its stationary bootstrap and its SPA) and by CSCV as it is written down, split by split; with
`--verdict` the judgement of 1,000 random rules on 20 years, all 1,999 resamples, and the PBO of all their streams.

What stands beside what:

    bootstrap_sharpes   mean and spread of each of 1,000 resamples of each stream. arch, one stream at a time, as a
                        statistic of one stream has to be given to it; and arch on all streams as one matrix, which it
                        resamples by rows, where only their means are taken
    max_t               the step-down test of all streams, which makes the same resamples. arch's SPA takes the means
                        of all streams as one matrix: one p-value for all of them, and half of the sums
    ..._20              the same in blocks of 20 bars, of which a resample has half as many, instead of 10, the least
                        that the gates take; arch's time is that of bars
    cscv_16             PBO by 12,870 splits. The plain one takes each candidate's Sharpe ratio by itself, `matrix`
                        those of all candidates of a split at once

Wall and CPU seconds are both given, the best of some runs where a work is short, on one thread of BLAS, as the command
`touchstone` has it: on a busy machine believe the second. What a peer is timed on a part of and scaled to all, because
its cost grows with the number, says so in the field `scaled_by`.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command `touchstone` does, before numpy is imported

import numpy as np

from backtesting.diagnostics import cscv, diagnose
from backtesting.resampling import draw_blocks, null_statistics, studentise
from backtesting.statistics import common_block, hac_ts, max_t

CANDIDATES, BARS, REPS, BLOCKS = 1_000, 2_500, 1_000, (10, 20)
PEER_REPS, PEER_CANDIDATES, PEER_SPLITS, SPLITS = 20, 3, 10, 12_870
YEARS = 20


def timed(work: Callable[[], object], times: int = 5) -> dict[str, float]:
    """Wall and CPU seconds of the best of some runs, by CPU."""
    found = []
    for _ in range(times):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu_seconds, wall_seconds = min(found)
    return {"cpu_s": round(cpu_seconds, 4), "wall_s": round(wall_seconds, 4)}


def streams() -> np.ndarray[Any, Any]:
    """1,000 worthless streams with a common part."""
    rng = np.random.default_rng(1)
    x: np.ndarray[Any, Any] = 0.01 * (rng.standard_normal((BARS, CANDIDATES)) + 0.5 * rng.standard_normal((BARS, 1)))
    return x


def ours(x: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Each part, and all gates' statistics together."""
    rng = np.random.default_rng(2)

    def sharpes(block: int) -> None:
        ready = studentise(x, block)
        for blocks in draw_blocks(BARS, block, REPS, rng):
            null_statistics(ready, blocks)

    def everything() -> None:
        hac_ts(x)
        max_t(x, block=common_block(x), reps=REPS, rng=rng)  # the number of effective trials is part of its answer

    found = {"all_gates": timed(everything), "cscv_16": timed(lambda: cscv(x))}
    found["diagnose"] = timed(lambda: diagnose(x, 0, n_trials=1000, n_effective=1000.0, periods_per_year=252.0), 2)
    for block in BLOCKS:
        found[f"bootstrap_sharpes_{block}"] = timed(partial(sharpes, block))
        found[f"max_t_{block}"] = timed(partial(max_t, x, block=block, reps=REPS, rng=rng))
    return found


def peers(x: np.ndarray[Any, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The same by arch, and CSCV in plain loops over splits; ratios by CPU seconds."""
    from arch.bootstrap import SPA, StationaryBootstrap

    def one_by_one(block: int) -> None:
        for stream in x.T[:PEER_CANDIDATES].copy():
            StationaryBootstrap(block, stream, seed=3).apply(lambda drawn: drawn.mean() / drawn.std(), REPS)

    def together(block: int) -> None:
        StationaryBootstrap(block, x, seed=3).apply(lambda drawn: drawn.mean(axis=0), PEER_REPS)

    def spa(block: int) -> None:
        SPA(np.zeros(BARS), -x, block_size=block, reps=REPS, seed=3).compute()

    # Each with how often it is run, what its time is multiplied by, and what of ours stands beside it.
    works: dict[str, tuple[Callable[[], object], int, float, str]] = {
        "plain_pbo": (lambda: plain_pbo(x, PEER_SPLITS, one_sharpe), 1, SPLITS / PEER_SPLITS, "cscv_16"),
        "plain_pbo_matrix": (lambda: plain_pbo(x, PEER_SPLITS, all_sharpes), 3, SPLITS / PEER_SPLITS, "cscv_16"),
    }
    for block in BLOCKS:
        beside = f"bootstrap_sharpes_{block}"
        works[f"arch_sharpes_one_by_one_{block}"] = partial(one_by_one, block), 3, CANDIDATES / PEER_CANDIDATES, beside
        works[f"arch_means_together_{block}"] = partial(together, block), 3, REPS / PEER_REPS, beside
        works[f"arch_spa_{block}"] = partial(spa, block), 1, 1.0, f"max_t_{block}"
    found: dict[str, Any] = {}
    for name, (work, times, scale, beside) in works.items():
        seconds = timed(work, times)["cpu_s"] * scale
        found[name] = {
            "cpu_s": round(seconds, 2),
            "scaled_by": scale,
            f"over_{beside}": round(seconds / own[beside]["cpu_s"]),
        }
    return found


def one_sharpe(x: np.ndarray[Any, Any], bars: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of some bars, candidate by candidate."""
    return np.array([x[bars, i].mean() / x[bars, i].std() for i in range(x.shape[1])])


def all_sharpes(x: np.ndarray[Any, Any], bars: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of some bars, all candidates at once."""
    chosen = x[bars]
    found: np.ndarray[Any, Any] = chosen.mean(axis=0) / chosen.std(axis=0)
    return found


def plain_pbo(
    x: np.ndarray[Any, Any],
    n_splits: int,
    sharpes: Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], np.ndarray[Any, Any]],
) -> float:
    """CSCV as the paper says it: split by split the Sharpe ratio of each candidate in each half."""
    parts = np.array_split(np.arange(len(x)), 16)
    overfitted = 0
    for at, chosen in enumerate(combinations(range(16), 8)):
        if at == n_splits:
            break
        first = sharpes(x, np.concatenate([parts[i] for i in chosen]))
        second = sharpes(x, np.concatenate([parts[i] for i in range(16) if i not in chosen]))
        rank = np.sum(second <= second[first.argmax()]) / (len(second) + 1)
        overfitted += bool(rank <= 0.5)
    return overfitted / n_splits


def verdict() -> dict[str, Any]:
    """1,000 random rules on 20 years, evaluated (not timed), then judged."""
    from agents.archive.store import Archive
    from agents.data_fetch.data_fetch import fetch_bars
    from agents.strategy.expression.evaluate import EvaluationCache
    from agents.strategy.spec import check_for_bars, load_spec
    from agents.strategy.strategy import TradingStrategy
    from backtesting.gates import judge
    from backtesting.nomination import Nomination
    from backtesting.splits import LEAD_BARS
    from generator.config import RunConfig
    from generator.grammar import Grammar
    from generator.run import open_run, seal_of

    market = f"synthetic:garch?years={YEARS}&seed=1"
    with Archive.in_memory() as archive:
        run = open_run(RunConfig(market=market, slots=1), archive, fetch_bars(market), {})
        seal = seal_of(run)
        rng = np.random.default_rng(1)
        grammar = Grammar(run.open.bars, EvaluationCache(), LEAD_BARS)
        looks: dict[str, Any] = {}
        while len(looks) < CANDIDATES:
            spec = load_spec(grammar.spec(rng, f"random_{len(looks)}"), origin="")
            if not isinstance(spec, list) and not check_for_bars(spec, run.open.bars, max_warmup=LEAD_BARS):
                result = run.open.simulate(TradingStrategy(spec))
                evaluation = run.open.look(spec, result, n_trials=len(looks) + 1, seed=1)
                looks.setdefault(spec.spec_id, run.open.nominee(spec, evaluation.as_dict()))
        nomination = Nomination(
            nominees=tuple(looks.values()),
            incumbents=run.incumbents,
            bars_id=run.bars.bars_id,
            open_bars_id=run.open.bars.bars_id,
            split=run.split,
            costs=run.config.cost_model,
            alpha=seal.alpha,
            seed=1,
            n_trials=len(looks),
            code_version="benchmark",
        )
        answers: list[Any] = []
        spent = timed(lambda: answers.append(judge(nomination, run.bars)), 2)
        open_streams = np.column_stack([look.open_evaluation.result.returns for look in looks.values()])
        moving = open_streams[:, open_streams.std(axis=0) > 0.0]
        shown = timed(lambda: diagnose(moving, 0, n_trials=CANDIDATES, n_effective=100.0, periods_per_year=252.0), 1)
        first, second = (json.dumps(answer.as_dict(), sort_keys=True) for answer in answers)
        return {
            "candidates": len(looks),
            "sealed_bars": run.split.sealed.n_bars,
            "judge": spent,
            "diagnostics": shown,
            "together_wall_s": round(spent["wall_s"] + shown["wall_s"], 2),
            "together_cpu_s": round(spent["cpu_s"] + shown["cpu_s"], 2),
            "same_bytes": first == second,
            "n_passed": answers[0].n_passed,
        }


def main() -> None:
    """Print the figures."""
    x = streams()
    own = ours(x)
    result: dict[str, Any] = {"candidates": CANDIDATES, "bars": BARS, "resamples": REPS, "ours": own}
    if "--peers" in sys.argv:
        result["peers"] = peers(x, own)
    if "--verdict" in sys.argv:
        result["verdict"] = verdict()
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
