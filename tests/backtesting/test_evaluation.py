"""Evaluation: the hedge, the paired difference and the score, on hand-made results."""

import json
from dataclasses import replace
from math import isnan

import numpy as np
import pytest

from backtesting.costs import FREE, LIQUID_INDEX
from backtesting.evaluation import evaluate, residual, residual_hedge
from backtesting.result import BacktestResult
from backtesting.splits import Window

N = 1260


def made(returns, name="made", metrics=None):
    returns = np.asarray(returns, dtype=float)
    n = len(returns)
    return BacktestResult(
        name=name,
        bars_id="b2:made",
        source="made",
        window=Window(300, 300 + n),
        costs=LIQUID_INDEX,
        capital=1000.0,
        sessions=np.datetime64("2000-01-01") + np.arange(n),
        equity=1000.0 * np.cumprod(1.0 + returns),
        returns=returns,
        exposure=np.ones(n),
        turnover=np.zeros(n),
        trades=(),
        costs_paid=0.0,
        metrics=metrics or {"sharpe_ratio": 0.5, "hit_rate": float("nan")},
    )


def noise(seed, scale=0.01, n=N):
    return scale * np.random.default_rng(seed).normal(size=n)


def looked_at(candidate, incumbents, **changes):
    arguments = {
        "market": np.zeros(len(candidate.returns)),
        "periods_per_year": 252.0,
        "n_trials": 1,
        "seed": 1,
    } | changes
    return evaluate("candidate", "b2:spec", candidate, incumbents, **arguments)


def test_the_hedge_is_exact_least_squares_and_the_intercept_stays_in_the_residual():
    book = np.column_stack([noise(1), noise(2)])
    candidate = 0.001 + 0.5 * book[:, 0] - 2.0 * book[:, 1]
    betas = residual_hedge(candidate, book)
    assert betas == pytest.approx([0.5, -2.0])
    assert residual(candidate, book, betas) == pytest.approx(np.full(N, 0.001))


def test_a_constant_incumbent_gets_no_share_and_copies_divide_theirs():
    one = noise(3)
    book = np.column_stack([one, np.zeros(N), one, np.full(N, 0.01)])
    # The minimum-norm way to make 0.8 out of two equal columns is 0.4 and 0.4.
    assert residual_hedge(0.8 * one, book) == pytest.approx([0.4, 0.0, 0.4, 0.0])


def test_paired_difference_and_alpha_by_hand():
    incumbent = noise(4)
    own = noise(5, 0.004)
    own -= own.mean() + (own @ (incumbent - incumbent.mean())) / (incumbent.var() * N) * (incumbent - incumbent.mean())
    # 10 bp a day of its own on top of half the incumbent: 0.001 * 252 = 25.2 % a year of residual alpha.
    evaluation = looked_at(made(0.001 + 0.5 * incumbent + own), {"hold": made(incumbent)})
    assert evaluation.betas["hold"] == pytest.approx(0.5)
    assert evaluation.alpha_annual == pytest.approx(0.252)
    (pair,) = evaluation.paired
    # The difference has mean 0.001 - 0.5 * mean(incumbent).
    assert pair.mean_annual == pytest.approx((0.001 - 0.5 * incumbent.mean()) * 252)
    assert pair.low < pair.mean_annual < pair.high
    # 2.4865 standard errors of a mean of about iid differences with deviation sqrt(0.005^2 + 0.004^2) = 0.0064.
    assert pair.mde_annual == pytest.approx(2.4865 * 0.0064 / np.sqrt(N) * 252, rel=0.15)
    # t = 0.001 / (0.004 / sqrt(1260)) = 8.9 if there were no autocorrelation.
    assert evaluation.alpha_t == pytest.approx(8.9, rel=0.15)


def test_a_near_copy_of_an_incumbent_has_no_score():
    incumbent = noise(6)
    evaluation = looked_at(made(1.01 * incumbent + 0.0001 + noise(7, 0.0005)), {"hold": made(incumbent)})
    assert evaluation.residual_share == pytest.approx(0.05, abs=0.005)
    assert isnan(evaluation.alpha_t)
    assert "near-copy" in evaluation.warnings[0]


def test_a_flat_candidate_has_a_defined_evaluation():
    evaluation = looked_at(made(np.zeros(N)), {"hold": made(noise(8))})
    assert isnan(evaluation.alpha_t)
    assert isnan(evaluation.residual_share)
    assert "never held a position" in evaluation.warnings[0]
    assert evaluation.as_dict()["alpha_t"] is None


def test_an_incumbent_compared_with_itself_differs_by_nothing():
    incumbent = made(noise(9))
    evaluation = looked_at(incumbent, {"hold": incumbent, "other": made(noise(10))})
    same = evaluation.paired[0]
    assert (same.incumbent, same.mean_annual) == ("hold", 0.0)
    assert isnan(same.low)
    assert isnan(same.mde_annual)
    assert isnan(evaluation.alpha_t)


def test_luck_is_named_when_the_sharpe_ratio_does_not_beat_it():
    # 5 years, 100 trials: 2.5306 / sqrt(5) = 1.13.
    low = looked_at(made(noise(11), metrics={"sharpe_ratio": 0.5}), {"hold": made(noise(12))}, n_trials=100)
    assert low.expected_max_sharpe == pytest.approx(1.1317, abs=1e-4)
    assert low.warnings == ("its Sharpe ratio 0.50 is not above 1.13, the luck of the best of 100 trials",)
    high = looked_at(made(noise(11), metrics={"sharpe_ratio": 1.5}), {"hold": made(noise(12))}, n_trials=100)
    assert high.warnings == ()


def test_a_short_window_is_warned_about():
    evaluation = looked_at(made(noise(13, n=300)), {"hold": made(noise(14, n=300))})
    assert evaluation.warnings[-1].startswith("the window has 1.2 years")


@pytest.mark.parametrize(
    ("what", "changed"),
    [("bars_id", {"bars_id": "b2:other"}), ("window", {"window": Window(0, N)}), ("costs", {"costs": FREE})],
)
def test_results_of_different_runs_are_not_compared(what, changed):
    other = replace(made(noise(15)), **changed)
    with pytest.raises(ValueError, match=f"candidate and the incumbent hold differ in {what}"):
        looked_at(made(noise(16)), {"hold": other})


def test_a_candidate_needs_an_incumbent():
    with pytest.raises(ValueError, match="no incumbent"):
        looked_at(made(noise(17)), {})


def test_same_inputs_same_bytes_whatever_the_order_of_the_incumbents():
    candidate, book = made(noise(18)), {"b": made(noise(19)), "a": made(noise(20))}
    first = json.dumps(looked_at(candidate, book).as_dict(), allow_nan=False)
    second = json.dumps(looked_at(candidate, dict(reversed(book.items()))).as_dict(), allow_nan=False)
    assert first == second
    assert '"hit_rate": null' in first
