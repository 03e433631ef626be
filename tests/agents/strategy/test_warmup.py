"""The warm-up of a rule counts everything that it waits for: expressions, sizing, and the weights of an ensemble."""

from typing import Any

import numpy as np
import pytest

from agents.strategy.spec import Spec, check_for_bars, load_spec, warmup_bars
from agents.strategy.strategy import TradingStrategy
from backtesting.bars import Bars


def loaded(**config: Any) -> Spec:
    spec = load_spec({"name": "one", "hypothesis": "x"} | config, origin="")
    assert not isinstance(spec, list), spec
    return spec


RULE = {"kind": "rules", "long": {"enter": "close > sma(close, 50)"}}
KELLY = RULE | {"sizing": {"kind": "kelly", "window": 250}}
SCORE = {"kind": "score", "score": "roc(close, 20)"}


def member(config: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"name": "one", "hypothesis": "x"} | config}


@pytest.mark.parametrize(
    ("spec", "bars"),
    [
        # sma(close, 50) is first known at bar 49.
        (loaded(**RULE), 49),
        (loaded(**RULE, protect={"stop_atr": 2, "atr_window": 80}), 80),
        (loaded(**RULE, sizing={"kind": "volatility", "window": 100}), 100),
        (loaded(**RULE, orders={"limit_atr": 1, "atr_window": 90}), 90),
        # 20 bars with a position, the first of which earns two closes after it was decided.
        (loaded(**KELLY), 49 + 20 + 2),
        (loaded(kind="ensemble", members=[member(RULE), member(SCORE)]), 49),
        (loaded(kind="ensemble", members=[member(KELLY), member(SCORE)]), 71),
        (loaded(kind="ensemble", members=[member(KELLY), member(SCORE)], weights="inverse_volatility"), 71 + 250),
    ],
)
def test_everything_that_a_rule_waits_for_is_counted(spec: Spec, bars: int) -> None:
    assert warmup_bars(spec) == bars == TradingStrategy(spec).warmup_bars
    market = walk()
    assert check_for_bars(spec, market, max_warmup=bars) == []
    assert [error.rule for error in check_for_bars(spec, market, max_warmup=bars - 1)] == ["warmup"]


def test_the_sentence_says_what_waits() -> None:
    (error,) = check_for_bars(loaded(**KELLY), walk(), max_warmup=60)
    assert str(error) == "sizing: needs 71 bars of warm-up (its sizing included), allowed are 60; use shorter windows"
    slow = loaded(kind="ensemble", members=[member(RULE), member(SCORE)], weights="inverse_volatility")
    (error,) = check_for_bars(slow, walk(), max_warmup=250)
    assert str(error) == "window: needs 299 bars of warm-up (its window included), allowed are 250; use shorter windows"


def walk() -> Bars:
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0.0, 0.01, (400, 1)), axis=0))
    days = np.datetime64("2020-01-01") + np.arange(400)
    return Bars(("x",), days, close, close * 1.01, close * 0.99, close, np.ones(close.shape), source="walk")
