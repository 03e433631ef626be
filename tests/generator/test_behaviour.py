"""Behaviour: hand-made streams whose folds, slope and family are known."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.spec import Spec, load_spec
from agents.strategy.strategy import TradingStrategy
from backtesting.costs import COSTS
from backtesting.evaluation import market_returns
from backtesting.splits import Window, plan_split
from backtesting.statistics import hac_t
from generator.behaviour import N_FOLDS, behaviour_of, dominant_family
from generator.open_window import OpenWindow


def a_rule(enter: str, **more: object) -> Spec:
    spec = load_spec({"kind": "rules", "name": "a_rule", "hypothesis": "", "long": {"enter": enter}, **more}, origin="")
    assert not isinstance(spec, list)
    return spec


@pytest.fixture(scope="module")
def window(kit: Any) -> OpenWindow:
    bars = kit.market()
    incumbents = [TradingStrategy(spec) for spec in shipped_incumbents()]
    return OpenWindow.of(bars, plan_split(bars), COSTS["liquid-index"], incumbents)


def test_market_is_a_constant_position_from_the_first_open(kit: Any) -> None:
    bars = kit.market()
    found = market_returns(bars, Window(300, 303))
    close = bars.close[:, 0]
    assert found == pytest.approx(
        [close[300] / bars.open[300, 0] - 1, close[301] / close[300] - 1, close[302] / close[301] - 1]
    )


def test_folds_are_quarters_of_the_residual(window: OpenWindow) -> None:
    spec = a_rule("close > sma(close, 50)")
    rng = np.random.default_rng(1)
    noise = rng.normal(0.0, 0.01, window.window.n_bars)
    noise[: len(noise) // N_FOLDS] += 0.01  # all of the edge is in the first quarter
    result = replace(window.simulate(TradingStrategy(spec)), returns=noise)
    behaviour = behaviour_of(spec, result, {}, window.market)
    left = noise - behaviour.beta * window.market
    assert behaviour.folds == pytest.approx([hac_t(part) for part in np.array_split(left, N_FOLDS)])
    assert behaviour.folds[0] > 4.0 > max(abs(score) for score in behaviour.folds[1:])


def test_beta_is_the_slope_on_the_market(window: OpenWindow) -> None:
    spec = a_rule("close > sma(close, 50)")
    own = 0.3 * window.market + np.random.default_rng(2).normal(0.0, 1e-9, len(window.market))
    result = replace(window.simulate(TradingStrategy(spec)), returns=own)
    assert window.behaviour(spec, result).beta == pytest.approx(0.3)


def test_near_copy_of_an_incumbent_has_no_folds_and_no_signature(window: OpenWindow) -> None:
    spec = shipped_incumbents()[0]
    behaviour = window.behaviour(spec, window.incumbents[spec.name])
    assert np.isnan(behaviour.folds).all()
    assert behaviour.signature is None
    assert behaviour.as_dict()["folds"] == [None] * N_FOLDS
    json.dumps(behaviour.as_dict(), allow_nan=False)


def test_signature_is_the_same_for_the_same_returns(window: OpenWindow) -> None:
    spec = a_rule("rsi(close, 3) < 30", protect={"max_bars": 3})
    result = window.simulate(TradingStrategy(spec))
    first, again = window.behaviour(spec, result), window.behaviour(spec, replace(result, name="other"))
    assert first.signature == again.signature
    assert first.signature is not None


@pytest.mark.parametrize(
    ("enter", "family"),
    [
        ("close > open", "price"),
        ("close > sma(close, 50)", "trend"),
        ("rsi(close, 14) < 30 and rsi(close, 2) < 10 and close > sma(close, 50)", "oscillator"),
        ("rsi(close, 14) < 30 and close > sma(close, 50)", "oscillator"),  # one each: the first by name
    ],
)
def test_family_is_the_one_with_most_calls(enter: str, family: str) -> None:
    assert dominant_family(a_rule(enter)) == family
