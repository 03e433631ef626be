"""Replacement: better than one incumbent on the same days, at no more risk, and not by being in the market longer."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.concentration import Concentration
from backtesting.costs import CostModel
from backtesting.decisions import Signals, TargetDecisions
from backtesting.evaluation import evaluate, market_returns
from backtesting.gates import ADD, REPLACE, Verdict, judge
from backtesting.nomination import Nomination, Nominee, Route
from backtesting.open_gates import replacement_gates
from backtesting.replacement import (
    difference_concentration,
    difference_t,
    differences,
    replacement_of,
    risk_scale,
    with_neighbours,
)
from backtesting.splits import plan_split
from backtesting.statistics import hac_t

N_BARS = 5300
COSTS = CostModel(commission_bps=5.0, half_spread_bps=5.0, slippage_bps=0.0, borrow_annual=0.0, financing_annual=0.0)


@dataclass(frozen=True)
class Follows:
    """Follows the feature `hint`, `late` bars after, at a size that shakes by `shake` every bar."""

    name: str
    late: int = 0
    size: float = 0.5
    shake: float = 0.0
    warmup_bars: int = 0

    def generate_signals(self, bars):
        hint = np.array(bars.features["hint"])
        hint[self.late :] = hint[: len(hint) - self.late].copy()
        sizes = self.size * (1.0 + self.shake * np.where(np.arange(bars.n_bars) % 2, 1.0, -1.0))
        return Signals(self.name, bars, TargetDecisions(hint * sizes[:, None], band=0.0))


@dataclass(frozen=True)
class Holds:
    """The same position always."""

    name: str
    size: float
    warmup_bars: int = 0

    def generate_signals(self, bars):
        return Signals(self.name, bars, TargetDecisions(np.full((bars.n_bars, 1), self.size), band=0.1))


def market(sharpe=2.0, drift=0.0, sealed_sharpe=None, seed=1):
    """Prices that follow `hint`, so that following it has the Sharpe ratio given, on top of a drift."""
    rng = np.random.default_rng([78, seed])
    hint = np.repeat(rng.choice([-1.0, 1.0], size=N_BARS // 10 + 1), 10)[:N_BARS]
    edge = np.full(N_BARS, sharpe / np.sqrt(252))
    if sealed_sharpe is not None:
        edge[1900:] = sealed_sharpe / np.sqrt(252)
    returns = 0.01 * rng.normal(size=N_BARS) + 0.01 * drift / np.sqrt(252)
    returns[1:] += 0.01 * (edge * hint)[:-1]
    close = 100.0 * np.exp(np.cumsum(returns))
    opened = np.concatenate([[100.0], close[:-1]])
    return Bars(
        symbols=("MADE",),
        sessions=np.datetime64("1990-01-01") + np.arange(N_BARS),
        source="made",
        features={"hint": hint[:, None]},
        open=opened[:, None],
        high=np.maximum(opened, close)[:, None],
        low=np.minimum(opened, close)[:, None],
        close=close[:, None],
        volume=np.full((N_BARS, 1), 1e6),
    )


def nominate(bars, candidates, incumbents, replaces, **more):
    split = plan_split(bars)
    cut = bars.upto(split.open.stop)

    def run(strategy, factor=1.0):
        return simulate(strategy.generate_signals(cut), COSTS.times(factor), window=split.open)

    book = {strategy.name: run(strategy) for strategy in incumbents}
    doubled = {strategy.name: run(strategy, 2.0) for strategy in incumbents}
    trade = market_returns(cut, split.open)
    nominees = []
    for strategy in candidates:
        own, dear = run(strategy), run(strategy, 2.0)
        evaluation = evaluate(
            strategy.name,
            f"b2:{strategy.name}",
            own,
            book,
            market=trade,
            periods_per_year=252.0,
            n_trials=len(candidates),
            seed=1,
        )
        claim = replacement_of(
            replaces,
            own.returns,
            book[replaces].returns,
            trade,
            doubled=(dear.returns, doubled[replaces].returns),
            periods_per_year=252.0,
        )
        nominees.append(Nominee(evaluation, dear, strategy, replacement=claim, **more))
    return Nomination(
        nominees=tuple(nominees),
        incumbents=tuple(incumbents),
        bars_id=bars.bars_id,
        open_bars_id=cut.bars_id,
        split=split,
        costs=COSTS,
        alpha=0.05,
        seed=7,
        n_trials=len(candidates),
        code_version="test",
        replaces=replaces,
    )


def claims(judgement, name):
    report = next(report for report in judgement.reports if report.name == name)
    return {claim.claim: claim for claim in report.claims}


# --- The streams ------------------------------------------------------------------------------------------------


def test_who_moves_more_is_scaled_down_and_who_moves_less_is_left():
    calm, wild = np.array([0.01, -0.01] * 50), np.array([0.04, -0.04] * 50)
    assert risk_scale(wild, calm) == pytest.approx(0.25)
    assert risk_scale(calm, wild) == 1.0
    assert risk_scale(calm, np.zeros(100)) == 0.0  # beside one that never moved there is nothing to compare
    assert risk_scale(np.zeros(100), calm) == 1.0


def test_the_incumbent_at_three_times_its_size_is_no_improvement_of_it():
    other = np.random.default_rng(1).normal(0.001, 0.01, 1000)
    plain, rest = differences(3.0 * other, other, np.zeros(1000), risk_scale(3.0 * other, other))
    assert np.abs(plain).max() < 1e-15
    assert np.abs(rest).max() < 1e-15
    assert np.isnan(difference_t(3.0 * other, other, np.zeros(1000), risk_scale(3.0 * other, other)))


def test_a_difference_that_a_constant_position_explains_does_not_count():
    rng = np.random.default_rng(2)
    trade = rng.normal(0.002, 0.01, 2000)
    other = 0.2 * trade + rng.normal(0.0, 0.01, 2000)
    noise = rng.normal(0.0, 0.001, 2000)
    own = other + 0.5 * trade + noise - noise.mean()
    plain, rest = differences(own, other, trade, 1.0)
    assert plain.mean() == pytest.approx(0.5 * trade.mean())
    assert rest.mean() == pytest.approx(0.0, abs=1e-4)
    # As it is, 0.5 * 0.002 a day over 0.5 * 0.01: t = 0.2 * sqrt(2000) = 8.9, give or take.
    assert hac_t(plain) > 6.0
    # The weaker of the two counts.
    assert difference_t(own, other, trade, 1.0) == hac_t(rest)
    assert hac_t(rest) < 2.0


def test_concentration_of_a_difference_is_the_best_days_share_of_its_sum():
    assert difference_concentration(np.array([0.03, -0.01, 0.02])).share == pytest.approx(0.03 / 0.04)
    assert np.isnan(difference_concentration(np.array([0.01, -0.02])).share)


def test_evidence_of_a_small_case_by_hand():
    own, other = np.array([0.02, 0.0, 0.02, 0.0, 0.02] * 20), np.array([0.0, 0.01, 0.0, 0.01, 0.0] * 20)
    found = replacement_of(
        "other", own, other, np.zeros(100), doubled=(own - 0.001, other - 0.002), periods_per_year=100.0
    )
    # sd of own: mean 0.012, 0.6 * 0.008^2 + 0.4 * 0.012^2 = 9.6e-5; of other: mean 0.004, 2.4e-5; ratio 1/2.
    assert found.scale == pytest.approx(0.5)
    # 0.5 * 0.012 - 0.004 = 0.002 a bar; doubled 0.5 * 0.011 - 0.002 = 0.0035.
    assert found.mean_annual == pytest.approx(0.2)
    assert found.doubled_costs_annual == pytest.approx(0.35)
    assert found.fold_means == pytest.approx((0.2, 0.2, 0.2, 0.2))
    # The best bar is 0.01 of 100 * 0.002.
    assert found.concentration.share == pytest.approx(0.05)


# --- The verdict ------------------------------------------------------------------------------------------------


def test_a_near_copy_that_trades_less_replaces_and_does_not_join():
    # The incumbent changes its size every bar and pays for it: 0.1 * 0.1 % a day. All else is the same.
    bars = market()
    shaky, calm = Follows("shaky", shake=0.1), Follows("calm")
    judgement = judge(nominate(bars, (calm, Follows("late", late=3)), (shaky,), "shaky"), bars)
    calm_claims = claims(judgement, "calm")
    assert calm_claims[ADD].verdict is Verdict.FAIL
    assert "of its volatility is its own" in calm_claims[ADD].sentence
    assert calm_claims[REPLACE].verdict is Verdict.PASS
    assert calm_claims[REPLACE].sentence.startswith(
        "pass: every gate holds, and what it earned more than shaky at no more risk is confirmed among 2 candidates and"
        " two claims on each on 13.8 sealed years at a family-wise error rate of 0.05. Detectable was a difference of "
    )
    assert all(gate.passed for gate in calm_claims[REPLACE].results)
    report = next(report for report in judgement.reports if report.name == "calm")
    assert report.verdict is Verdict.PASS
    assert report.sentence.startswith("To add to the book: fail: ")
    assert " In place of shaky: pass: " in report.sentence
    assert judgement.n_passed == 1
    late = claims(judgement, "late")
    assert (late[ADD].verdict, late[REPLACE].verdict) == (Verdict.FAIL, Verdict.FAIL)


def test_a_better_reader_of_the_same_hint_may_do_both():
    bars = market()
    judgement = judge(nominate(bars, (Follows("prompt"),), (Follows("late", late=4),), "late"), bars)
    found = claims(judgement, "prompt")
    assert (found[ADD].verdict, found[REPLACE].verdict) == (Verdict.PASS, Verdict.PASS)


def test_no_difference_passes_by_size_by_staying_in_or_by_one_lucky_stretch():
    bars = market(sharpe=1.0, drift=1.5)
    late = Follows("late", late=4, size=0.3)
    nominees = (Follows("large", late=4, size=0.9), Holds("always", 1.0), Follows("copy", late=4, size=0.3))
    judgement = judge(nominate(bars, nominees, (late, Holds("book", 0.9)), "late"), bars)
    for name in ("large", "always", "copy"):
        assert claims(judgement, name)[REPLACE].verdict is not Verdict.PASS, name
    assert "day by day it does not differ from late" in claims(judgement, "copy")[REPLACE].sentence


def test_a_difference_that_ended_is_underpowered_or_failed_and_says_what_was_detectable():
    bars = market(sealed_sharpe=0.0)
    found = claims(judge(nominate(bars, (Follows("prompt"),), (Follows("late", late=4),), "late"), bars), "prompt")
    claim = found[REPLACE]
    assert claim.verdict is Verdict.FAIL
    # One candidate, two claims, 13.84 years: (z(1 - 0.05/2) + z(0.8)) / sqrt(13.84) = (1.960 + 0.8416) / 3.720 = 0.753.
    assert claim.minimum_detectable_sharpe == pytest.approx(0.753, abs=1e-3)
    assert "an edge of a Sharpe ratio of the difference of 0.75 would have shown" in claim.sentence
    nominee = nominate(bars, (Follows("prompt"),), (Follows("late", late=4),), "late").nominees[0]
    detectable = 0.753 * nominee.replacement.volatility_annual
    assert claim.minimum_detectable_annual == pytest.approx(detectable, rel=1e-3)
    assert claim.sentence.endswith(f"Detectable was a difference of {detectable:.1%} a year.")
    # Nothing sealed is told of what did not pass.
    assert [gate.name for gate in claim.results if gate.uses_sealed] == ["sealed-window"]


def test_the_verdict_on_a_market_without_an_edge_is_no():
    bars = market(sharpe=0.0, seed=5)
    nominees = tuple(Follows(f"late {late}", late=late) for late in range(1, 8))
    judgement = judge(nominate(bars, nominees, (Follows("hint"),), "hint"), bars)
    assert judgement.n_passed == 0


def test_a_rule_whose_proposer_may_know_pays_a_bit_for_the_claim_and_the_incumbents_for_the_name():
    bars = market(sharpe=4.0)
    book = (Follows("late", late=4), Holds("book", 0.9))
    nomination = nominate(
        bars, (Follows("prompt"),), book, "late", route=Route.OCCAM, route_reason="a person may know", code_bits=20.0
    )
    judgement = judge(nomination, bars)
    found = claims(judgement, "prompt")
    # 20 bits and one for which claim; log2(2 incumbents) = 1 more for whose place.
    assert "a rule of 21 bits may owe" in found[ADD].sentence
    assert "a rule of 22 bits may owe" in found[REPLACE].sentence
    assert found[REPLACE].verdict is Verdict.PASS
    longer = replace(nomination, nominees=tuple(replace(n, code_bits=400.0) for n in nomination.nominees))
    refused = claims(judge(longer, bars), "prompt")[REPLACE]
    assert refused.verdict is Verdict.UNDERPOWERED
    assert "402 bits and must show a Sharpe ratio of its difference to late of about" in refused.sentence


# --- What is signed ---------------------------------------------------------------------------------------------


def test_the_claim_and_its_evidence_are_part_of_what_is_signed():
    bars = market()
    shaky = Follows("shaky", shake=0.1)
    nomination = nominate(bars, (Follows("calm"),), (shaky,), "shaky")
    (nominee,) = nomination.nominees
    without = replace(nomination, replaces="", nominees=(replace(nominee, replacement=None),))
    other = with_neighbours(nominee.replacement, (1.0,), ())
    changed = replace(nomination, nominees=(replace(nominee, replacement=other),))
    assert len({nomination.nomination_id, without.nomination_id, changed.nomination_id}) == 3
    assert (nomination.n_hypotheses, without.n_hypotheses) == (2, 1)
    assert judge(without, bars).reports[0].claims == ()


def test_a_nomination_refuses_a_claim_on_the_place_of_nobody_or_of_somebody_else():
    bars = market()
    nomination = nominate(bars, (Follows("calm"),), (Follows("shaky", shake=0.1), Holds("book", 0.9)), "shaky")
    with pytest.raises(ValueError, match="nobody is to be replaced and is none of the incumbents"):
        replace(nomination, replaces="nobody")
    with pytest.raises(ValueError, match="calm claims the place of 'shaky', the nomination 'book'"):
        replace(nomination, replaces="book")


def test_same_nomination_same_bytes():
    bars = market()
    nomination = nominate(bars, (Follows("calm"), Follows("late", late=3)), (Follows("shaky", shake=0.1),), "shaky")
    made = [judge(nomination, bars) for _ in range(2)]
    first, second = (json.dumps([one.as_dict(), dict(one.sealed_numbers)], sort_keys=True) for one in made)
    assert first == second


# --- Its open gates ---------------------------------------------------------------------------------------------


def evidence(**values):
    rng = np.random.default_rng(3)
    other = rng.normal(0.0, 0.01, 1000)
    own = other + rng.normal(0.0005, 0.003, 1000)
    found = replacement_of("other", own, other, np.zeros(1000), doubled=(own, other), periods_per_year=252.0)
    return replace(found, **values)


@pytest.mark.parametrize(
    ("values", "failed", "said"),
    [
        ({"t": -0.1}, "replace-difference", "the difference to other has t = -0.10, more than 0 is needed"),
        (
            {"doubled_costs_annual": -0.01},
            "replace-doubled-costs",
            "with all costs doubled it earns -1.0% a year more than other, more than 0 is needed",
        ),
        (
            {"concentration": Concentration(0.3, 0.25)},
            "replace-concentration",
            "one day carries 30% of the difference, at most 25% is",
        ),
        (
            {"concentration": Concentration(float("nan"), float("nan"))},
            "replace-concentration",
            "it did not earn more than other",
        ),
        (
            {"fold_means": (0.1, -0.1, -0.1, -0.1)},
            "replace-sub-periods",
            "it earned more than other in 1 of 4 parts of the window, at least 2 are needed",
        ),
        ({"t": 4.0, "neighbours_t": (0.2, 0.4, 5.0)}, "replace-neighbours", "has t = 0.40 (median), more than 1 is"),
        (
            {"t": 4.0, "dropped_t": (("A", 3.0), ("B", float("nan")))},
            "replace-dropped-symbols",
            "without B its difference to other has t = 0.00, more than 1 is needed",
        ),
    ],
)
def test_each_open_gate_of_the_claim_can_refuse(values, failed, said):
    assert all(gate.passed for gate in replacement_gates(evidence()))
    refused = [gate for gate in replacement_gates(evidence(**values)) if not gate.passed]
    assert [gate.name for gate in refused] == [failed]
    assert said in refused[0].reason
