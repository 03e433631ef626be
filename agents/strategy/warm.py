"""Warm: compile every kernel once, or load it from numba's cache, so that nobody waits in the middle of something.

It computes on a few made-up bars and throws the results away. What it calls is what everybody calls: the functions of
the registry, the engines through `simulate`, a population and the gates; so a new kernel behind one is warmed too.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from agents.strategy import kernels
from agents.strategy.accounts import evaluate_accounts
from agents.strategy.expression.evaluate import EvaluationCache, condition, numbers
from agents.strategy.expression.nodes import Node
from agents.strategy.expression.parse import parse
from agents.strategy.expression.types import Dimension
from agents.strategy.indicators import FUNCTIONS
from agents.strategy.population import Population
from agents.strategy.spec import Spec, load_spec
from agents.strategy.strategy import TradingStrategy
from backtesting import sweep
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import FREE
from backtesting.drawdown_band import drawdown_band
from backtesting.splits import Window
from backtesting.statistics import hac_ts, max_t
from backtesting.terms import Terms

_N_BARS = 80


def indicators() -> int:
    """Every function of the language; how many."""
    _compiled_from_now_on()
    bars, cache = _bars(3), EvaluationCache()
    for entry in FUNCTIONS.values():
        node = parse(entry.example)
        if isinstance(node, Node):
            (condition if node.dimension is Dimension.BOOLEAN else numbers)(node, bars, cache)
    kernels.rolling_mean(_bars(kernels.TOGETHER).close, 5)
    return len(FUNCTIONS)


def one_asset() -> int:
    """The engine for one asset and plain terms; how many ways of deciding there are."""
    _compiled_from_now_on()
    bars = _bars(1)
    for spec in (_RULES, _SCORE):
        simulate(TradingStrategy(_spec(spec)).generate_signals(bars), FREE)
    return 2


def panel() -> int:
    """The engines for several assets, and what decides for them; how many ways there are."""
    _compiled_from_now_on()
    bars = _bars(3)
    simulate(TradingStrategy(_spec(_RULES)).generate_signals(bars), FREE)
    chosen = TradingStrategy(_spec(_PORTFOLIO)).generate_signals(bars)
    simulate(chosen, FREE)
    simulate(chosen, FREE, terms=Terms(lot=1.0))
    TradingStrategy(_spec(_ENSEMBLE)).generate_signals(bars)
    return 4


def population() -> int:
    """The simulators of many rules together; how many kernels they have."""
    _compiled_from_now_on()
    compiled, window = sweep.warm(), Window(0, _N_BARS)
    held = {key: value for key, value in _RULES.items() if key != "protect"}
    rules = Population.from_specs([_spec(_RULES), _spec(held)])
    rules.evaluate(_bars(1), [window], FREE)
    rules.reports([0, 1], _bars(1), window, FREE)
    evaluate_accounts(rules, _bars(3), window, FREE)
    return compiled


def gates() -> int:
    """What the gates compute bar by bar; how many kernels."""
    _compiled_from_now_on()
    returns = simulate(TradingStrategy(_spec(_SCORE)).generate_signals(_bars(1)), FREE).returns
    drawdown_band(returns, returns, drift=True)
    streams = np.column_stack([returns, returns[::-1]])
    hac_ts(streams)
    max_t(streams, block=2.0, reps=1, rng=np.random.default_rng(1))
    return 6


WARMED: dict[str, Callable[[], int]] = {
    "indicators": indicators,
    "engine, one asset": one_asset,
    "engine, panel": panel,
    "population": population,
    "gates": gates,
}
"""What is compiled, in words, and what compiles it."""

_RULES: dict[str, Any] = {
    "kind": "rules",
    "name": "rule",
    "hypothesis": "-",
    "long": {"enter": "close > open", "exit": "close < open"},
    "protect": {"stop_atr": 2.0},
}
_SCORE: dict[str, Any] = {"kind": "score", "name": "score", "hypothesis": "-", "score": "roc(close, 5)"}
_PORTFOLIO: dict[str, Any] = {
    "kind": "portfolio",
    "name": "portfolio",
    "hypothesis": "-",
    "score": "roc(close, 5)",
    "select": {"kind": "count", "count": 2},
    "weight": {"kind": "inverse_volatility", "window": 10},
}
_ENSEMBLE: dict[str, Any] = {
    "kind": "ensemble",
    "name": "ensemble",
    "hypothesis": "-",
    "members": [{"spec": _RULES}, {"spec": _SCORE}],
    "weights": "inverse_volatility",
}


def _compiled_from_now_on() -> None:
    # A kernel runs as plain Python in a process that has no use for numba; see backtesting/kernel.py.
    import_module("numba")


def _spec(config: dict[str, Any]) -> Spec:
    spec = load_spec(config, origin="")
    if isinstance(spec, list):
        raise ValueError("; ".join(map(str, spec)))
    return spec


def _bars(n_assets: int) -> Bars:
    t = np.arange(_N_BARS)[:, None]
    close = 100.0 + 5.0 * np.sin(0.7 * t + np.arange(n_assets)[None, :])
    opened = close - np.cos(t)
    return Bars(
        symbols=tuple(f"s{k}" for k in range(n_assets)),
        sessions=np.datetime64("2020-01-01") + np.arange(_N_BARS),
        open=opened,
        high=np.maximum(opened, close) + 0.5,
        low=np.minimum(opened, close) - 0.5,
        close=close,
        volume=np.full(close.shape, 1e6),
        source="warm",
        features={"sector": np.zeros(close.shape)},
    )
