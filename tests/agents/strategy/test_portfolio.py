"""Portfolios: who is held and how much, by hand; and nothing looks ahead."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.strategy import kernels_portfolio as kernels
from agents.strategy.population import Population
from agents.strategy.spec import PortfolioSpec, load_spec
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import CostModel
from backtesting.decisions import TargetDecisions
from backtesting.errors import DataError
from backtesting.splits import Window


def panel(close: np.ndarray, **features: np.ndarray) -> Bars:
    n_bars, n_assets = close.shape
    sessions = np.busday_offset("2001-01-01", np.arange(n_bars), roll="forward")
    volume = np.where(np.isnan(close), np.nan, 1000.0)
    names = tuple("abcdefgh"[:n_assets])
    return Bars(names, sessions, close, close, close, close, volume, "panel", features=features)


def targets(bars: Bars, **parts: Any) -> np.ndarray:
    config = {
        "kind": "portfolio", "name": "tried", "hypothesis": "x", "score": "roc(close, 1)",
        "select": {"kind": "count", "count": 1}, "rebalance": {"every_bars": 1, "band": 0.0}, **parts,
    }  # fmt: skip
    spec = load_spec(config, origin="")
    assert isinstance(spec, PortfolioSpec), [str(error) for error in spec]
    decisions = TradingStrategy(spec).generate_signals(bars).decisions
    assert isinstance(decisions, TargetDecisions)
    return decisions.target


# Returns of the second bar: 10 %, -5 %, 30 %, 1 %.
FOUR = panel(np.array([[100.0, 100.0, 100.0, 100.0], [110.0, 95.0, 130.0, 101.0]]))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, [0, 0, 1, 0]),
        ({"direction": "short"}, [0, -1, 0, 0]),
        ({"direction": "both"}, [0, -0.5, 0.5, 0]),
        ({"direction": "both", "gross": 2}, [0, -1, 1, 0]),
        ({"select": {"kind": "count", "count": 2}}, [0.5, 0, 0.5, 0]),
        ({"select": {"kind": "share", "share": 0.5}}, [0.5, 0, 0.5, 0]),
        ({"select": {"kind": "share", "share": 0.1}}, [0, 0, 1, 0]),  # at least one name
        ({"select": {"kind": "count", "count": 9}, "direction": "both"}, [0.25, -0.25, 0.25, -0.25]),  # half a side
        ({"select": {"kind": "count", "count": 9}, "cap": 0.2}, [0.2, 0.2, 0.2, 0.2]),  # the rest stays in cash
        ({"universe": "roc(close, 1) < 0.2"}, [1, 0, 0, 0]),
        # The mean of the scores is 9 %: distances 1 and 21 on the long side, 22 in all.
        (
            {"select": {"kind": "count", "count": 2}, "weight": {"kind": "score"}},
            [1 / 22, 0, 21 / 22, 0],
        ),
        # 21/22 is cut to 0.6; the others of the side get the rest.
        (
            {"select": {"kind": "count", "count": 2}, "weight": {"kind": "score"}, "cap": 0.6},
            [0.4, 0, 0.6, 0],
        ),
    ],
)
def test_who_is_held_by_hand(parts: dict[str, Any], expected: list[float]) -> None:
    found = targets(FOUR, **parts)
    assert np.isnan(found[0]).all()  # no score is known on the first bar: nothing is decided
    np.testing.assert_allclose(found[1], expected, atol=1e-12)


def test_inverse_volatility_by_hand() -> None:
    close = np.array([[100.0, 100.0], [110.0, 105.0], [99.0, 99.75], [108.9, 104.7375]])
    found = targets(
        panel(close), select={"kind": "count", "count": 2}, weight={"kind": "inverse_volatility", "window": 2}
    )
    # log returns of the last two bars: log 0.9 and log 1.1 against log 0.95 and log 1.05
    spread = [np.std(np.log([0.9, 1.1]), ddof=1), np.std(np.log([0.95, 1.05]), ddof=1)]
    weights = 1 / np.array(spread)
    np.testing.assert_allclose(found[3], weights / weights.sum())
    np.testing.assert_array_equal(found[1], [0, 0])  # no volatility is known yet, so nobody is held


def test_neutralise_ranks_within_groups() -> None:
    sector = np.tile([0.0, 0.0, 1.0, 1.0], (2, 1))
    bars = panel(FOUR.close, sector=sector)
    # Less the mean of its group (2.5 % and 15.5 %): 7.5, -7.5, 14.5, -14.5 %
    np.testing.assert_allclose(targets(bars, direction="both", neutralise="sector")[1], [0, 0, 0.5, -0.5])
    with pytest.raises(DataError, match="no feature 'sector' to neutralise by"):
        targets(FOUR, neutralise="sector")


def test_a_missing_price_keeps_what_is_held_and_a_leaver_of_the_universe_is_sold() -> None:
    close = np.array([[100.0, 100.0, 100.0], [110.0, 101.0, 90.0], [np.nan, 100.0, 91.0]])
    found = targets(panel(close), select={"kind": "count", "count": 3}, universe="close > 0.99 * lag(close, 1)")
    np.testing.assert_allclose(found[1], [0.5, 0.5, 0])
    np.testing.assert_array_equal(found[2], [np.nan, 0.5, 0.5])
    found = targets(panel(close), universe="close > 2 * lag(close, 1)")
    np.testing.assert_array_equal(found[1], [0, 0, 0])  # an empty universe is cash


def test_equal_scores_go_to_the_asset_that_stands_first() -> None:
    np.testing.assert_array_equal(targets(FOUR, score="1")[1], [1, 0, 0, 0])
    np.testing.assert_array_equal(targets(FOUR, score="1", direction="both")[1], [0, 0, 0, 0])  # long and short a


def test_it_chooses_every_so_many_bars_and_never_looks_ahead() -> None:
    rng = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (120, 6)), axis=0))
    close[40:55, 2] = np.nan
    bars = panel(close, sector=np.tile([0.0, 0, 0, 1, 1, 1], (120, 1)))
    parts = {
        "score": "roc(close, 10)", "weight": {"kind": "inverse_volatility", "window": 10}, "direction": "both",
        "neutralise": "sector", "select": {"kind": "share", "share": 0.34},
        "rebalance": {"every_bars": 5, "band": 0.01},
    }  # fmt: skip
    whole = targets(bars, **parts)
    assert np.isnan(whole[np.arange(120) % 5 != 0]).all()
    assert (np.nansum(np.abs(whole[20::5]), axis=1) <= 1 + 1e-12).all()
    for n_bars in (1, 44, 96):
        assert targets(bars.upto(n_bars), **parts).tobytes() == whole[:n_bars].tobytes()


def share_out(raw: list[float], gross: float, cap: float) -> np.ndarray:
    weights = np.empty(len(raw))
    kernels._share_out(np.array(raw), len(raw), gross, cap, weights)
    return weights


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=12), st.floats(0.01, 4), st.floats(0.001, 4))
def test_capped_weights_fill_the_gross_and_keep_the_cap(raw: list[float], gross: float, cap: float) -> None:
    weights = share_out(raw, gross, cap)
    held = sum(value > 0 for value in raw)
    assert (weights >= 0).all()
    assert (weights <= cap * (1 + 1e-12)).all()
    assert weights.sum() == pytest.approx(min(gross, held * cap), rel=1e-9, abs=1e-12)


def chosen_by_sorting(
    score: np.ndarray, priced: np.ndarray, admitted: np.ndarray, unsure: np.ndarray, volatility: np.ndarray,
    direction: int, count: int, share: float, weighing: int, gross: float, cap: float,
) -> np.ndarray:  # fmt: skip
    """The same in the obvious way: sort all names of a bar and cut."""
    out = np.full(score.shape, np.nan)
    sides = {kernels.LONG: (1.0,), kernels.SHORT: (-1.0,), kernels.BOTH: (1.0, -1.0)}[direction]
    for t in range(len(score)):
        names = np.flatnonzero(admitted[t] & np.isfinite(score[t]))
        if len(names) == 0 and unsure[t].any():
            continue
        out[t, priced[t]] = 0.0
        n = min(count or max(1, int(share * len(names) + 1e-9)), len(names) // len(sides))
        for side in sides if n else ():
            best = names[np.argsort(-side * score[t, names], kind="stable")[:n]]
            raw = np.ones(n)
            if weighing == kernels.BY_SCORE:
                middle = float(np.add.accumulate(score[t, names])[-1]) / len(names)
                raw = np.maximum(side * (score[t, best] - middle), 0.0)
            elif weighing == kernels.INVERSE:
                raw = np.array([1.0 / v if v > 0 else 0.0 for v in volatility[t, best]])
            out[t, best] += side * share_out(raw.tolist(), gross / len(sides), cap)
    return out


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_kernel_chooses_what_sorting_chooses(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 8)), int(rng.integers(1, 60)))
    score = rng.normal(0, 1, shape)
    if rng.random() < 0.5:  # ties
        score = np.round(score, int(rng.integers(0, 2)))
    score[rng.random(shape) < rng.choice([0, 0.2, 1])] = rng.choice([np.nan, np.inf, -np.inf])
    priced = rng.random(shape) < rng.choice([1, 0.8])
    admitted, unsure = (priced & (rng.random(shape) < rng.choice([1, 0.5, 0])) for _ in range(2))
    volatility = rng.choice([np.nan, 0.0, 0.1, 0.2, 0.3], shape)
    count = int(rng.choice([0, 1, 5, 50]))
    arguments = (
        score, priced, admitted, unsure, volatility, int(rng.choice([-1, 0, 1])), count,
        0.0 if count else float(rng.choice([0.001, 0.1, 0.29, 1.0])), int(rng.integers(0, 3)),
        float(rng.choice([0.5, 1.0, 3.0])), float(rng.choice([0.05, 0.3, 4.0])),
    )  # fmt: skip
    expected = chosen_by_sorting(*arguments)
    with np.errstate(all="ignore"):
        plain = kernels.chosen_rows.loop(*arguments)
    np.testing.assert_array_equal(plain, expected)
    assert kernels.chosen_rows.compiled()(*arguments).tobytes() == plain.tobytes()


def test_a_long_row_in_any_order_chooses_the_same() -> None:
    rng = np.random.default_rng(8)
    score = np.round(rng.normal(0, 1, (60, 700)), 2)
    score[1].sort()
    score[2] = score[1, ::-1]
    score[3] = 0.0
    everywhere = np.ones(score.shape, np.bool_)
    for direction in (kernels.LONG, kernels.SHORT, kernels.BOTH):
        for count in (1, 50, 349, 350, 700):
            arguments = (score, everywhere, everywhere, everywhere, score, direction, count, 0.0, 1, 1.0, 1.0)
            np.testing.assert_array_equal(kernels.chosen_rows.compiled()(*arguments), chosen_by_sorting(*arguments))


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    "parts",
    [
        {"rebalance": {"every_bars": 5, "band": 0.01}},
        {"direction": "both", "gross": 1.5, "weight": {"kind": "score"}, "cap": 0.4},
        {"direction": "short", "gross": 4, "cap": 4},  # ruinous
        {"limits": {"net": 0.1}, "direction": "both"},
        {"halt": {"drawdown": 0.05}},
    ],
)
def test_a_population_judges_a_portfolio_as_the_engine_does(parts: dict[str, Any], gaps: bool) -> None:
    rng = np.random.default_rng(6)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.04, (150, 6)), axis=0))
    if gaps:
        close[60:64, 1] = np.nan
    config = {
        "kind": "portfolio", "name": "tried", "hypothesis": "x", "score": "roc(close, 8)",
        "select": {"kind": "count", "count": 2}, "rebalance": {"every_bars": 3, "band": 0.0}, **parts,
    }  # fmt: skip
    spec = load_spec(config, origin="")
    assert isinstance(spec, PortfolioSpec)
    bars, windows = panel(close), [Window(0, 150), Window(31, 90), Window(149, 150)]
    costs = CostModel(2, 3, 1, 0.03, 0.05)
    found = Population.from_specs([spec]).evaluate(bars, windows, costs, capital=1000.0)
    for i, window in enumerate(windows):
        result = simulate(TradingStrategy(spec).generate_signals(bars), costs, window=window, capital=1000.0)
        assert found.final_equity[0, i] == result.equity[-1]
        assert found.n_trades[0, i] == len(result.trades)
        assert found.mean[0, i] == pytest.approx(result.returns.mean(), rel=1e-12, abs=1e-15)
        for name in ("sharpe_ratio", "max_drawdown"):
            value = getattr(found, name)[0, i]
            assert value == pytest.approx(result.metrics[name], rel=1e-10, abs=1e-12, nan_ok=True)
