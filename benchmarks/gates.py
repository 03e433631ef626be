"""What judging costs: the statistics of 1,000 candidates beside `arch` and a plain PBO, and one whole verdict.

    python benchmarks/gates.py [--verdict] [--peers]

One JSON object goes to stdout. Without options our own statistics on 1,000 streams of 2,500 bars; with `--peers` the
same work by arch 8 (its stationary bootstrap of the mean, its SPA) and by CSCV as it is written down, split by split;
with `--verdict` the judgement of 1,000 random rules on 20 years, all 1,999 resamples, and the PBO of all their streams.

Wall and CPU seconds are both given, the best of three where a work is short: on a busy machine believe the second. The
plain PBO is timed on some of its splits and scaled to all, and arch's SPA and bootstrap on `PEER_REPS` resamples; their
cost grows with the number, which the field `scaled_by` says.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from backtesting.diagnostics import cscv, diagnose
from backtesting.statistics import bootstrap_counts, common_block, hac_ts, max_t

CANDIDATES, BARS, REPS, BLOCK = 1_000, 2_500, 1_000, 10.0
PEER_REPS, PEER_SPLITS, SPLITS = 20, 10, 12_870
YEARS = 20


def timed(work: Callable[[], object], times: int = 3) -> dict[str, float]:
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
    small = np.ascontiguousarray((x / x.std(axis=0)).astype(np.float32))

    def everything() -> None:
        hac_ts(x)
        max_t(x, block=common_block(x), reps=REPS, rng=rng)  # the number of effective trials is part of its answer

    return {
        "bootstrap_means": timed(lambda: bootstrap_counts(BARS, BLOCK, REPS, rng) @ small / BARS),
        "max_t": timed(lambda: max_t(x, block=BLOCK, reps=REPS, rng=rng)),
        "all_gates": timed(everything),
        "cscv_16": timed(lambda: cscv(x), 1),
        "diagnose": timed(lambda: diagnose(x, 0, n_trials=1000, n_effective=1000.0, periods_per_year=252.0), 1),
    }


def peers(x: np.ndarray[Any, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The same by arch, and CSCV in plain loops over splits and candidates; ratios by CPU seconds."""
    from arch.bootstrap import SPA, StationaryBootstrap

    scale = REPS / PEER_REPS
    bootstrap = timed(
        lambda: StationaryBootstrap(BLOCK, x, seed=3).apply(lambda drawn: drawn.mean(axis=0), PEER_REPS), 1
    )

    def spa(reps: int) -> None:
        SPA(np.zeros(BARS), -x, block_size=int(BLOCK), reps=reps, seed=3).compute()

    few, more = timed(lambda: spa(PEER_REPS), 1), timed(lambda: spa(3 * PEER_REPS), 1)
    # What it does once, before its resamples, is counted once.
    spa_seconds = few["cpu_s"] + (more["cpu_s"] - few["cpu_s"]) / (2 * PEER_REPS) * (REPS - PEER_REPS)
    plain = timed(lambda: plain_pbo(x, PEER_SPLITS), 1)
    return {
        "arch_bootstrap_means": {"cpu_s": bootstrap["cpu_s"] * scale, "scaled_by": scale},
        "arch_spa": {"cpu_s": spa_seconds, "scaled_by": scale},
        "plain_pbo": {"cpu_s": plain["cpu_s"] * SPLITS / PEER_SPLITS, "scaled_by": SPLITS / PEER_SPLITS},
        "ratios": {
            "bootstrap": round(bootstrap["cpu_s"] * scale / own["bootstrap_means"]["cpu_s"], 1),
            "spa": round(spa_seconds / own["max_t"]["cpu_s"], 1),
            "pbo": round(plain["cpu_s"] * SPLITS / PEER_SPLITS / own["cscv_16"]["cpu_s"], 1),
        },
    }


def plain_pbo(x: np.ndarray[Any, Any], n_splits: int) -> float:
    """CSCV as the paper says it: split by split the Sharpe ratio of each candidate in each half, one by one."""
    parts = np.array_split(np.arange(len(x)), 16)
    overfitted = 0
    for at, chosen in enumerate(combinations(range(16), 8)):
        if at == n_splits:
            break
        inside = np.concatenate([parts[i] for i in chosen])
        outside = np.concatenate([parts[i] for i in range(16) if i not in chosen])
        first = [x[inside, i].mean() / x[inside, i].std() for i in range(x.shape[1])]
        second = [x[outside, i].mean() / x[outside, i].std() for i in range(x.shape[1])]
        best = int(np.argmax(first))
        rank = sum(value <= second[best] for value in second) / (len(second) + 1)
        overfitted += rank <= 0.5
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
