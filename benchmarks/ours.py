"""Our side. The environment variable THREADS says how many threads a population may use."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import side
import works
from numba import njit

from agents.strategy.accounts import evaluate_accounts
from agents.strategy.expression.evaluate import EvaluationCache
from agents.strategy.population import Population, PopulationCache
from agents.strategy.spec import load_spec
from agents.strategy.strategy import TradingStrategy
from backtesting import sweep
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import CostModel
from backtesting.decisions import Signals
from backtesting.splits import Window

THREADS = int(os.environ.get("THREADS", "1"))
COSTS = CostModel(works.COMMISSION * 1e4, 0.0, works.SLIPPAGE * 1e4, 0.0, 0.0)


def close_bars(close: np.ndarray, name: str) -> Bars:
    opened = works.opens(close)
    return ohlc_bars(opened, np.maximum(opened, close), np.minimum(opened, close), close, name)


def ohlc_bars(opened: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray, name: str) -> Bars:
    days = np.datetime64("1900-01-01") + np.arange(len(close))
    columns = [values.reshape(-1, 1) for values in (opened, high, low, close, np.full(len(close), np.nan))]
    bars = Bars((name,), days, *columns, source=name)
    assert bars.bars_id
    return bars


def mean_of(metrics) -> side.Answer:
    finals = metrics.final_equity[:, 0]
    return {"final_equity": float(finals.mean()), "trades": float(metrics.n_trades.mean()), "finals": finals.tolist()}


def one(bars: Bars, fast: int, slow: int, *, warm: bool = False):
    population = Population.from_configs([works.config_sma(fast, slow)])
    window = Window(0, bars.n_bars)
    kept = PopulationCache() if warm else None

    def run() -> side.Answer:
        found = population.reports([0], bars, window, COSTS, cache=kept)
        final = float(found.final_equity()[0])
        return {"final_equity": final, "trades": float(found.n_trades()[0]), "finals": [final]}

    return run


def one_simulated(bars: Bars, fast: int, slow: int):
    spec = load_spec(works.config_sma(fast, slow), origin="")
    assert not isinstance(spec, list), spec

    def run() -> side.Answer:
        result = simulate(TradingStrategy(spec).generate_signals(bars, cache=EvaluationCache()), COSTS)
        return {"final_equity": float(result.equity[-1]), "trades": float(len(result.trades))}

    return run


def trades_of(bars: Bars, configs: list[dict], *, once: bool = False):
    """Entry and exit bar of every trade, -1 for an exit that has not come; `once`: see `first_entries`."""
    specs = [load_spec(config, origin="") for config in configs]

    def run() -> side.Answer:
        cache, rows = EvaluationCache(), []
        for spec in specs:
            signals = TradingStrategy(spec).generate_signals(bars, cache=cache)
            trades = simulate(first_entries(signals) if once else signals, COSTS).trades
            rows.append([[trade.entry_bar, -1 if trade.reason == "open" else trade.exit_bar] for trade in trades])
        return {"trades": rows}

    return run


def first_entries(signals: Signals) -> Signals:
    """Only the first entry since the last exit signal, as raptorbt takes them."""
    enter, leave = signals.decisions.enter_long[:, 0], signals.decisions.exit_long[:, 0]
    kept, armed = np.zeros_like(enter), True
    for at in range(len(enter)):
        if leave[at]:
            armed = True
        elif enter[at] and armed:
            kept[at], armed = True, False
    return replace(signals, decisions=replace(signals.decisions, enter_long=kept[:, None]))


def many(bars: Bars, configs: list[dict]):
    population = Population.from_configs(configs)
    window = [Window(0, bars.n_bars)]

    def run() -> side.Answer:
        return mean_of(population.evaluate(bars, window, COSTS, threads=THREADS))

    return run


def reports(bars: Bars, configs: list[dict]):
    population = Population.from_configs(configs)
    window = Window(0, bars.n_bars)
    specs = [population.spec(i) for i in range(len(population))]
    population = Population.from_specs(specs)

    def run() -> side.Answer:
        found = population.reports(range(len(specs)), bars, window, COSTS)
        return {"final_equity": float(found.final_equity().mean()), "trades": float(found.n_trades().mean())}

    return run


def panel_bars(close: np.ndarray) -> Bars:
    opened = np.vstack((close[:1], close[:-1]))
    days = np.datetime64("1900-01-01") + np.arange(len(close))
    columns = [opened, np.maximum(opened, close), np.minimum(opened, close), close]
    for column in columns:
        # Handed over: what can still be written to is copied.
        column.setflags(write=False)
    names = tuple(f"S{k}" for k in range(close.shape[1]))
    bars = Bars(names, days, *columns, np.broadcast_to(np.nan, close.shape), source="panel")
    assert bars.bars_id
    return bars


def panel(data: dict[str, np.ndarray]):
    population = Population.from_configs([works.config_sma(*pair) for pair in works.pairs(100)])
    bars = panel_bars(data["panel"])
    window = Window(0, bars.n_bars)

    def run() -> side.Answer:
        found = evaluate_accounts(population, bars, window, COSTS, threads=THREADS)
        return {
            "final_equity": float(found.together.final_equity.mean()),
            "trades": float(found.each.n_trades.mean()),
        }

    return run


def shared_account(data: dict[str, np.ndarray], *, report: bool):
    bars = panel_bars(data["panel"])
    spec = load_spec(works.config_x(126), origin="")
    assert not isinstance(spec, list), spec
    population, window = Population.from_specs([spec]), [Window(0, bars.n_bars)]

    def gates() -> side.Answer:
        found = population.evaluate(bars, window, COSTS)
        return {"final_equity": float(found.final_equity[0, 0]), "trades": float(found.n_trades[0, 0])}

    def run() -> side.Answer:
        result = simulate(TradingStrategy(spec).generate_signals(bars, cache=EvaluationCache()), COSTS)
        return {"final_equity": float(result.equity[-1]), "trades": float(len(result.trades))}

    return run if report else gates


def from_text(bars: Bars, *, warm: bool):
    texts = [json.dumps(config) for config in works.population()]
    windows = [Window(a, b) for a, b in works.folds(bars.n_bars)]
    kept = PopulationCache()

    def run() -> side.Answer:
        # Warm: the numbers and conditions of an earlier generation are there, its metrics are not asked for again.
        cache = kept if warm else PopulationCache()
        if warm:
            cache.forget_metrics()
        population = Population.from_configs(texts, reader=cache.reader)
        return mean_of(population.evaluate(bars, windows, COSTS, threads=THREADS, cache=cache))

    return run


def plan_only(bars: Bars):
    configs = works.population()

    def run() -> side.Answer:
        Population.from_configs(configs)
        return {"configurations": float(len(configs))}

    return run


@njit(nogil=True)
def spin(values: np.ndarray, times: int) -> None:
    for _ in range(times):
        for at in range(len(values)):
            values[at] = 0.5 * values[at] + 1.0


def loop():
    """As much arithmetic in one thread as in two, on numbers that no other thread reads."""

    def run() -> side.Answer:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda _: spin(np.ones(1_024), 200_000 // THREADS), range(THREADS)))
        return {"threads": float(THREADS)}

    return run


def main() -> None:
    data = works.load()
    sweep.warm()
    wti = close_bars(data["wti"], "wti")
    sp500 = ohlc_bars(*(data[f"sp500_{name}"] for name in ("open", "high", "low", "close")), "sp500")
    side.serve(
        {
            "a": lambda: one(wti, 20, 50),
            "a warm": lambda: one(wti, 20, 50, warm=True),
            "a simulate": lambda: one_simulated(wti, 20, 50),
            "b1000": lambda: many(wti, [works.config_sma(*pair) for pair in works.pairs(1_000)]),
            "b1000 reports": lambda: reports(wti, [works.config_sma(*pair) for pair in works.pairs(1_000)]),
            "b10000": lambda: many(wti, [works.config_sma(*pair) for pair in works.pairs(10_000)]),
            "c": lambda: many(sp500, [works.config_c(work) for work in works.sets_c()]),
            "trades a": lambda: trades_of(wti, [works.config_sma(*pair) for pair in works.pairs(1)]),
            "trades b1000": lambda: trades_of(wti, [works.config_sma(*pair) for pair in works.pairs(1_000)]),
            "trades c": lambda: trades_of(sp500, [works.config_c(work) for work in works.sets_c()]),
            "trades c fixed": lambda: trades_of(
                sp500, [works.config_c_fixed(work) for work in works.sets_c()], once=True
            ),
            "d": lambda: one(close_bars(data["minute"], "minute"), 60, 240),
            "e": lambda: panel(data),
            "x": lambda: shared_account(data, report=False),
            "x report": lambda: shared_account(data, report=True),
            "long": lambda: many(
                close_bars(data["minute"][:200_000], "long"), [works.config_sma(*pair) for pair in works.pairs(10_000)]
            ),
            "population": lambda: from_text(wti, warm=False),
            "population warm": lambda: from_text(wti, warm=True),
            "plan": lambda: plan_only(wti),
            "loop": loop,
        }
    )


if __name__ == "__main__":
    main()
