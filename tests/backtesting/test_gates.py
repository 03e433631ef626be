"""Gates: who passes, what a report gives away, and what an opening costs."""

import json
from dataclasses import dataclass, replace
from itertools import product
from math import log, pi

import numpy as np
import pytest

from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import LIQUID_INDEX
from backtesting.decisions import Signals, TargetDecisions
from backtesting.errors import CheckFailed
from backtesting.evaluation import evaluate, market_returns
from backtesting.gates import Verdict, judge
from backtesting.nomination import Nomination, Nominee, Route
from backtesting.open_gates import OPEN_GATES, doubtful_profit, open_gates, profit_concentration
from backtesting.opening_price import EarlierOpening, alpha_for_opening
from backtesting.result import BacktestResult, Trade
from backtesting.splits import Split, Window, plan_split

N_BARS = 5300
DAILY = 0.01


@dataclass(frozen=True)
class Hold:
    """Always fully invested."""

    name: str = "hold"
    warmup_bars: int = 0

    def generate_signals(self, bars):
        return Signals(self.name, bars, TargetDecisions(np.ones((bars.n_bars, 1)), band=0.1))


@dataclass(frozen=True)
class Coin:
    """Long or short by a coin thrown every ten bars; it knows nothing."""

    seed: int
    warmup_bars: int = 0

    @property
    def name(self):
        return f"coin {self.seed}"

    def generate_signals(self, bars):
        throws = np.random.default_rng(self.seed).choice([-1.0, 1.0], size=N_BARS // 10 + 1)
        return Signals(self.name, bars, TargetDecisions(np.repeat(throws, 10)[: bars.n_bars, None], band=0.2))


@dataclass(frozen=True)
class Reader:
    """Follows the feature `hint`."""

    name: str = "reader"
    warmup_bars: int = 0

    def generate_signals(self, bars):
        return Signals(self.name, bars, TargetDecisions(np.array(bars.features["hint"]), band=0.2))


@dataclass(frozen=True)
class Breaks:
    """Works on the open window and raises as soon as there is more."""

    open_bars: int
    name: str = "breaks"
    warmup_bars: int = 0

    def generate_signals(self, bars):
        if bars.n_bars > self.open_bars:
            raise RuntimeError(f"price {bars.close[-1, 0]}")
        return Reader(self.name).generate_signals(bars)


@dataclass(frozen=True)
class Peeks:
    """Decides otherwise as soon as it sees more bars."""

    name: str = "peeks"
    warmup_bars: int = 0

    def generate_signals(self, bars):
        side = np.array(bars.features["hint"])
        side[400:600] = 1.0 if bars.n_bars == N_BARS else -1.0
        return Signals(self.name, bars, TargetDecisions(side, band=0.2))


@dataclass(frozen=True)
class Forges:
    """Hands over signals on prices of its own once the sealed window is there."""

    open_bars: int
    name: str = "forges"
    warmup_bars: int = 0

    def generate_signals(self, bars):
        if bars.n_bars > self.open_bars:
            bars = replace(bars, source="mine", volume=bars.volume + 1.0)
        return Reader(self.name).generate_signals(bars)


def market(sharpe, seed=1, sealed_sharpe=None, sealed_seed=None, changes=None, later=0.0):
    """Prices whose next return follows the feature `hint` so far that following it has the Sharpe ratio given.

    From bar `changes` on it has the Sharpe ratio `later`.
    """
    rng = np.random.default_rng([77, seed])
    hint = np.repeat(rng.choice([-1.0, 1.0], size=N_BARS // 10 + 1), 10)[:N_BARS]
    noise = rng.normal(size=N_BARS)
    edge = np.full(N_BARS, sharpe / np.sqrt(252))
    start = split_of(N_BARS).sealed.start
    if sealed_seed is not None:
        noise[start:] = np.random.default_rng(sealed_seed).normal(size=N_BARS - start)
    if sealed_sharpe is not None:
        edge[start:] = sealed_sharpe / np.sqrt(252)
    if changes is not None:
        edge[changes:] = later / np.sqrt(252)
    returns = DAILY * noise
    returns[1:] += DAILY * (edge * hint)[:-1]
    close = 100.0 * np.exp(np.cumsum(returns))
    opened = np.concatenate([[100.0], close[:-1]])
    column = {
        "open": opened,
        "high": np.maximum(opened, close),
        "low": np.minimum(opened, close),
        "close": close,
        "volume": np.full(N_BARS, 1e6),
    }
    return Bars(
        symbols=("MADE",),
        sessions=np.datetime64("1990-01-01") + np.arange(N_BARS),
        source="made",
        features={"hint": hint[:, None]},
        **{name: values[:, None] for name, values in column.items()},
    )


def split_of(n_bars):
    usable = n_bars - 300 - 21
    cut = 300 + int(usable * 0.3)
    return Split(open=Window(300, cut), sealed=Window(cut + 21, n_bars))


def nominate(bars, strategies, alpha=0.05, seed=7):
    split = plan_split(bars)
    cut = bars.upto(split.open.stop)
    hold = Hold()
    book = {"hold": simulate(hold.generate_signals(cut), LIQUID_INDEX, window=split.open)}
    nominees = []
    for strategy in strategies:
        signals = strategy.generate_signals(cut)
        result = simulate(signals, LIQUID_INDEX, window=split.open)
        doubled = simulate(signals, LIQUID_INDEX.times(2.0), window=split.open)
        evaluation = evaluate(
            strategy.name,
            f"b2:{strategy.name}",
            result,
            book,
            market=market_returns(cut, split.open),
            periods_per_year=252.0,
            n_trials=len(strategies),
            seed=1,
        )
        nominees.append(Nominee(evaluation, doubled, strategy))
    return Nomination(
        nominees=tuple(nominees),
        incumbents=(hold,),
        bars_id=bars.bars_id,
        open_bars_id=cut.bars_id,
        split=split,
        costs=LIQUID_INDEX,
        alpha=alpha,
        seed=seed,
        n_trials=len(strategies),
        code_version="test",
    )


def report_on(judgement, name):
    return next(report for report in judgement.reports if report.name == name)


def text(value):
    return json.dumps(value.as_dict(), allow_nan=False, sort_keys=True)


COINS = tuple(Coin(seed) for seed in range(40))


@pytest.fixture(scope="module")
def planted():
    bars = market(2.0)
    return judge(nominate(bars, (*COINS[:39], Reader())), bars)


# --- Who passes -------------------------------------------------------------------------------------------------


def test_a_planted_edge_passes_among_39_coins_and_no_coin_does(planted):
    assert [report.name for report in planted.reports if report.verdict is Verdict.PASS] == ["reader"]
    assert planted.n_passed == 1
    report = report_on(planted, "reader")
    assert report.sentence == (
        "pass: every gate holds, and its residual alpha is confirmed among 40 candidates on 13.8 sealed years"
        " at a family-wise error rate of 0.05."
    )
    assert [item.name for item in report.results] == [
        *OPEN_GATES,
        "sealed-alpha",
        "sealed-doubled-costs",
        "sealed-concentration",
        "sealed-drawdown",
        "sealed-doubtful-data",
    ]
    assert all(item.passed for item in report.results)


def test_forty_coins_pass_nothing():
    bars = market(0.0, seed=3)
    nomination = nominate(bars, COINS)
    judgement = judge(nomination, bars)
    assert judgement.n_passed == 0
    assert len(judgement.reports) == 40
    assert all(numbers["p_adjusted"] > 0.05 for numbers in judgement.sealed_numbers.values())


def test_an_edge_that_ended_is_underpowered_or_failed_by_the_length_of_the_window_alone():
    bars = market(2.0, sealed_sharpe=0.0)
    alone = judge(nominate(bars, (Reader(),)), bars)
    # 13.8 years, one candidate: 2.4865 / sqrt(13.84) = 0.67.
    assert alone.reports[0].verdict is Verdict.FAIL
    assert alone.reports[0].minimum_detectable_sharpe == pytest.approx(0.668, abs=1e-3)
    assert alone.reports[0].sentence == (
        "fail: the sealed window did not confirm it; among 1 candidate on 13.8 sealed years an edge of Sharpe 0.67"
        " would have shown with 80 % probability."
    )
    crowd = nominate(bars, (*COINS[:39], Reader()))
    report = report_on(judge(crowd, bars), "reader")
    # 40 candidates: z(1 - 0.05/40) = 3.0233; (3.0233 + 0.8416)^2 = 14.94 years for a Sharpe ratio of 1.
    assert report.verdict is Verdict.UNDERPOWERED
    assert report.years_needed == pytest.approx(14.94, abs=0.01)
    assert report.sentence == (
        "underpowered: not confirmed, and 40 candidates on 13.8 sealed years can show an edge with 80 % probability"
        " only from Sharpe 1.04 on; 1.00 would need 14.9 years."
    )
    assert report_on(judge(crowd, bars, edge_of_interest=1.1), "reader").verdict is Verdict.FAIL


def test_every_gate_runs_after_a_failure(planted):
    failed = [report for report in planted.reports if not report.results[2].passed]
    assert failed
    for report in failed:
        assert [item.name for item in report.results] == [*OPEN_GATES, "sealed-window"]
        assert report.verdict is Verdict.FAIL
        assert report.results[2].reason in report.sentence


def test_a_copy_of_the_incumbent_and_a_parked_account_fail():
    @dataclass(frozen=True)
    class Fixed:
        target: float
        name: str
        warmup_bars: int = 0

        def generate_signals(self, bars):
            return Signals(self.name, bars, TargetDecisions(np.full((bars.n_bars, 1), self.target), band=0.05))

    bars = market(0.0, seed=5)
    judgement = judge(nominate(bars, (Fixed(0.9, "copy"), Fixed(0.0, "cash"))), bars)
    assert "of its volatility is its own" in report_on(judgement, "copy").sentence
    assert "it has no residual stream: it never moved" in report_on(judgement, "cash").sentence
    assert "a position on 0 bars, at least 60 are needed" in report_on(judgement, "cash").sentence
    assert [report.verdict for report in judgement.reports] == [Verdict.FAIL, Verdict.FAIL]


# --- Who may know a part of the sealed days ----------------------------------------------------------------------

SEALED = plan_split(market(0.0)).sealed


def after(nomination, bar, names=None):
    """The same nomination, in which these (or all) may know the sealed days before a bar."""
    return replace(
        nomination,
        nominees=tuple(
            replace(nominee, route=Route.AFTER, route_reason="its model may know these days", blind_from=bar)
            if names is None or nominee.name in names
            else nominee
            for nominee in nomination.nominees
        ),
    )


def test_what_was_remembered_is_worth_nothing_on_the_days_after():
    # The edge was there until ten of the fourteen sealed years were over, and whoever proposed the rule knew it.
    changes = SEALED.start + 2520
    bars = market(2.5, changes=changes)
    remembered = nominate(bars, (Reader(), *COINS[:3]))
    assert report_on(judge(remembered, bars), "reader").verdict is Verdict.PASS
    report = report_on(judge(after(remembered, changes), bars), "reader")
    assert report.verdict is Verdict.UNDERPOWERED
    years = (SEALED.stop - changes) / 252
    assert report.judged_years == pytest.approx(years)
    assert report.judged_from == str(bars.sessions[changes])
    assert f"4 candidates on {years:.1f} sealed years from {bars.sessions[changes]} on can show" in report.sentence
    assert (report.route, report.route_reason) == ("after", "its model may know these days")


def test_an_edge_that_is_there_after_the_cutoff_passes_whatever_was_before():
    begins = SEALED.start + 1200
    bars = market(1.0, changes=begins, later=2.5)
    judgement = judge(after(nominate(bars, (Reader(), *COINS[:3])), begins), bars)
    assert report_on(judgement, "reader").verdict is Verdict.PASS
    assert f"on 9.1 sealed years from {bars.sessions[begins]} on" in report_on(judgement, "reader").sentence


def test_two_families_share_alpha_by_their_numbers_and_the_later_one_begins_after_the_last_cutoff():
    bars = market(0.0)
    nomination = after(nominate(bars, COINS[:4]), SEALED.start + 1000, {"coin 0", "coin 1"})
    nomination = after(nomination, SEALED.start + 1500, {"coin 2"})
    judgement = judge(nomination, bars)
    reports = {report.name: report for report in judgement.reports}
    # Three of four are blind later on: 3/4 of 0.05.
    assert [reports[f"coin {i}"].alpha for i in range(4)] == pytest.approx([0.0375] * 3 + [0.0125])
    assert [reports[f"coin {i}"].n_candidates for i in range(4)] == [3, 3, 3, 1]
    late = str(bars.sessions[SEALED.start + 1500])
    first = str(bars.sessions[SEALED.start])
    assert [reports[f"coin {i}"].judged_from for i in range(4)] == [late] * 3 + [first]
    assert judgement.alpha == 0.05
    assert nomination.nomination_id != nominate(bars, COINS[:4]).nomination_id


def test_days_for_a_blind_test_have_to_be_sealed_and_said():
    nomination = nominate(market(0.0), COINS[:1])
    for bar in (SEALED.start - 1, SEALED.stop):
        with pytest.raises(ValueError, match=f"coin 0 is to be judged blindly from bar {bar}, not sealed"):
            after(nomination, bar)
    with pytest.raises(ValueError, match="coin 0 takes the route after with blind_from None"):
        after(nomination, None)


# --- What breaks ------------------------------------------------------------------------------------------------


def test_a_strategy_that_breaks_peeks_or_forges_does_not_pass_and_stays_in_the_count():
    bars = market(2.5)
    stop = plan_split(bars).open.stop
    judgement = judge(nominate(bars, (Breaks(stop), Forges(stop), Peeks(), Reader())), bars)
    assert report_on(judgement, "reader").verdict is Verdict.PASS
    assert report_on(judgement, "reader").n_candidates == 4
    for name, why in (
        ("breaks", "RuntimeError: price"),
        ("forges", "ValueError: forges hands over signals on other bars"),
        ("peeks", "ValueError: on the open window it decides otherwise"),
    ):
        assert report_on(judgement, name).verdict is Verdict.FAIL
        assert judgement.sealed_numbers[f"b2:{name}"]["broke"].startswith(why)
        assert judgement.sealed_numbers[f"b2:{name}"]["p_adjusted"] == 1.0


def test_an_incumbent_that_breaks_stops_the_judgement_with_a_sentence():
    bars = market(0.0)
    nomination = nominate(bars, COINS[:2])
    broken = replace(nomination, incumbents=(Breaks(10, name="hold"),))
    with pytest.raises(CheckFailed, match="the incumbent hold broke on the sealed window: RuntimeError; no verdict"):
        judge(broken, bars)


def test_other_bars_than_the_nominated_ones_are_refused():
    bars, other = market(0.0, seed=1), market(0.0, seed=1, sealed_seed=9)
    with pytest.raises(CheckFailed, match="the sealed window was not opened; judge with the snapshot") as refusal:
        judge(nominate(bars, COINS[:2]), other)
    assert refusal.value.exit_code == 8


def test_an_alpha_that_the_resamples_cannot_resolve_is_refused():
    bars = market(0.0)
    with pytest.raises(CheckFailed, match=r"below 0\.000588235, the smallest p-value of 1999 resamples"):
        judge(nominate(bars, COINS[:1], alpha=0.0004), bars)


def test_a_nomination_refuses_doubles_strangers_and_foreign_evidence():
    bars = market(0.0)
    nomination = nominate(bars, COINS[:2])
    with pytest.raises(ValueError, match="each only once"):
        replace(nomination, nominees=nomination.nominees[:1] * 2)
    with pytest.raises(ValueError, match="at least one nominee"):
        replace(nomination, nominees=())
    with pytest.raises(ValueError, match=r"the incumbents are \['\(constant position\)', 'other'\]"):
        replace(nomination, incumbents=(Hold("other"),))
    with pytest.raises(ValueError, match="evidence from other bars, another window, other costs or other terms"):
        replace(nomination, costs=LIQUID_INDEX.times(3.0))


def test_without_alpha_nobody_is_judged_blindly_and_length_still_judges():
    bars = market(3.0)
    nomination = nominate(bars, (*COINS[:3], Reader()))
    with pytest.raises(CheckFailed, match="alpha 0 is below"):
        judge(replace(nomination, alpha=0.0), bars)
    shown = "the sealed window cannot judge it: its numbers were shown to ann on 2026-01-02"
    graded = tuple(
        replace(nominee, route=Route.OCCAM, route_reason=shown, code_bits=bits)
        for nominee, bits in zip(nomination.nominees, (20.0, 20.0, 20.0, 20.0), strict=True)
    )
    judgement = judge(replace(nomination, nominees=graded, alpha=0.0), bars)
    # Sharpe 3 on 20 years is a t of 13; 20 bits at 5 % ask for 5.3.
    assert report_on(judgement, "reader").verdict is Verdict.PASS
    coin = report_on(judgement, COINS[0].name)
    assert coin.verdict is not Verdict.PASS
    assert coin.as_dict()["minimum_detectable_sharpe"] is None
    assert coin.as_dict()["years_needed"] is None
    json.loads(text(judgement))
    longer = tuple(replace(nominee, code_bits=400.0) for nominee in graded)
    refused = judge(replace(nomination, nominees=longer, alpha=0.0), bars)
    assert refused.n_passed == 0
    assert shown in report_on(refused, "reader").sentence


# --- What a report gives away -----------------------------------------------------------------------------------


def test_reports_that_do_not_pass_do_not_depend_on_sealed_prices():
    strategies = (*COINS[:10], Reader())
    public = []
    for sealed_seed in (None, 21, 22):
        bars = market(2.0, sealed_sharpe=0.0, sealed_seed=sealed_seed)
        judgement = judge(nominate(bars, strategies), bars)
        assert judgement.n_passed == 0
        public.append([text(report) for report in judgement.reports])
    assert public[0] == public[1] == public[2]
    reader = next(report for report in map(json.loads, public[0]) if report["name"] == "reader")
    assert reader["results"][-1] == {
        "margin": None,
        "name": "sealed-window",
        "passed": False,
        "reason": "not confirmed",
        "statistic": None,
        "threshold": None,
        "uses_sealed": True,
    }


def test_a_pass_gives_away_that_it_passed_and_nothing_else():
    public = []
    for sealed_seed in (None, 31):
        bars = market(2.5, sealed_seed=sealed_seed)
        judgement = judge(nominate(bars, (*COINS[:5], Reader())), bars)
        assert judgement.n_passed == 1
        public.append([text(report) for report in judgement.reports])
    assert public[0] == public[1]


def test_sealed_gates_carry_no_numbers(planted):
    for report in planted.reports:
        for item in report.results:
            if item.uses_sealed:
                assert (item.statistic, item.threshold, item.margin) == (None, None, None)
    assert "p_adjusted" not in repr(planted)
    assert "sealed_numbers" not in text(planted)
    assert set(planted.sealed_numbers) == {report.spec_id for report in planted.reports}
    json.dumps(planted.sealed_numbers, allow_nan=False)


# --- Determinism ------------------------------------------------------------------------------------------------


def test_same_nomination_same_bytes_in_any_order():
    bars = market(1.0, seed=4)
    nomination = nominate(bars, (*COINS[:8], Reader()))
    turned = replace(nomination, nominees=nomination.nominees[::-1])
    first, again, other = judge(nomination, bars), judge(nomination, bars), judge(turned, bars)
    assert text(first) == text(again) == text(other)
    assert first.sealed_numbers == again.sealed_numbers == other.sealed_numbers


def test_the_nomination_id_covers_what_the_verdict_depends_on():
    bars = market(0.0)
    nomination = nominate(bars, COINS[:3])
    ids = {
        nomination.nomination_id,
        replace(nomination, alpha=0.04).nomination_id,
        replace(nomination, seed=8).nomination_id,
        replace(nomination, nominees=nomination.nominees[:2]).nomination_id,
        replace(nomination, n_trials=9).nomination_id,
        replace(nomination, code_version="next").nomination_id,
    }
    assert len(ids) == 6


# --- Open gates by hand -----------------------------------------------------------------------------------------


def made(returns, trades=()):
    returns = np.asarray(returns, dtype=float)
    n = len(returns)
    return BacktestResult(
        name="made",
        bars_id="b2:made",
        source="made",
        window=Window(300, 300 + n),
        costs=LIQUID_INDEX,
        capital=1000.0,
        sessions=np.datetime64("2000-01-01") + np.arange(n),
        equity=1000.0 * np.cumprod(1.0 + returns),
        returns=returns,
        exposure=np.zeros(n),
        turnover=np.zeros(n),
        trades=trades,
        costs_paid=0.0,
        metrics={},
    )


def held(first, last):
    return Trade(1, first, last, 1.0, 1.0, 1.0, 0.0, 0.0, "signal")


def test_concentration_is_the_best_day_or_short_trade_over_the_log_growth():
    returns = np.zeros(100)
    returns[[10, 11, 50, 90]] = 0.01, 0.01, 0.02, 0.01
    total = 3 * log(1.01) + log(1.02)
    assert profit_concentration(made(returns)).share == pytest.approx(log(1.02) / total)
    # A trade over bars 310 to 311 holds both days of 1 %: log(1.01^2) > log(1.02).
    assert profit_concentration(made(returns, (held(310, 311),))).share == pytest.approx(2 * log(1.01) / total)
    # 63 bars are a short trade, 64 are judged by their days.
    assert profit_concentration(made(returns, (held(300, 362),))).share == pytest.approx((total - log(1.01)) / total)
    assert profit_concentration(made(returns, (held(300, 363),))).share == pytest.approx(log(1.02) / total)


@pytest.mark.parametrize("returns", [np.zeros(50), np.full(50, -0.001), np.r_[np.zeros(49), -1.0]])
def test_concentration_without_profit_is_not_a_number_and_fails(returns):
    result = made(returns)
    assert np.isnan(profit_concentration(result).share)
    (nominee,) = nominate(market(0.0), COINS[:1]).nominees
    gates = open_gates(Nominee(replace(nominee.open_evaluation, result=result), result, nominee.strategy))
    answers = {gate.name: gate for gate in gates}
    assert not answers["concentration"].passed
    assert answers["concentration"].reason == "it made no profit that could be spread over days"
    assert not answers["doubled-costs"].passed


def test_activity_gates_count_bars_with_a_position_and_bars_with_a_trade():
    (nominee,) = nominate(market(0.0), COINS[:1]).nominees
    result = nominee.open_evaluation.result
    exposure, turnover = np.zeros(len(result.returns)), np.zeros(len(result.returns))
    exposure[:59], turnover[:6] = -0.5, 0.1
    few = replace(nominee.open_evaluation, result=replace(result, exposure=exposure, turnover=turnover))
    answers = {gate.name: gate for gate in open_gates(replace(nominee, open_evaluation=few))}
    assert (answers["exposed-bars"].passed, answers["exposed-bars"].margin) == (False, -1.0)
    assert (answers["trading-bars"].passed, answers["trading-bars"].margin) == (True, 0.0)


def answer(name, nominee):
    return next(gate for gate in open_gates(nominee) if gate.name == name)


def with_returns(returns, trades=(), **changes):
    (nominee,) = nominate(market(0.0), COINS[:1]).nominees
    result = made(np.asarray(returns, dtype=float), trades)
    return replace(nominee, open_evaluation=replace(nominee.open_evaluation, result=result), **changes)


def test_profit_from_bars_with_doubtful_prices_is_counted_with_the_bar_after():
    # Window of 100 bars from bar 300; bars 310 and 311 earn 2 % and 3 %, ten others 0.5 % each.
    returns = np.zeros(100)
    returns[10], returns[11], returns[50:60] = 0.02, 0.03, 0.005
    total = log(1.02) + log(1.03) + 10 * log(1.005)
    found = doubtful_profit(made(returns), (310,))
    assert found.n_bars == 2
    assert found.share == pytest.approx((log(1.02) + log(1.03)) / total)  # half of it
    # Two bars in a hundred are due 2 %; by chance 2.33 sd sqrt(2 * 0.98) / total = 0.137, less than a quarter.
    assert found.allowed == pytest.approx(0.02 + 0.25)
    refused = answer("doubtful-data", with_returns(returns, doubtful=(310,)))
    assert not refused.passed
    assert refused.reason == "2 bars touched by doubtful prices carry 50% of its profit, at most 27% is allowed"
    assert answer("doubtful-data", with_returns(returns, doubtful=(350,))).passed
    assert answer("doubtful-data", with_returns(returns)).reason == "no bar of the open window has a doubtful price"
    assert doubtful_profit(made(returns), (298, 400)) is None  # 299 and 400 are the nearest, both outside
    assert doubtful_profit(made(returns), (299,)).n_bars == 1  # its price is in the return of bar 300


def test_a_source_that_flags_every_bar_is_not_held_against_a_rule():
    returns = np.full(100, 0.001)
    assert answer("doubtful-data", with_returns(returns, doubtful=tuple(range(300, 400)))).passed
    losses = with_returns(-returns, doubtful=(310,))
    assert answer("doubtful-data", losses).reason == "it made no profit that could be held against doubtful prices"


def test_a_result_that_hangs_on_one_symbol_is_refused():
    (nominee,) = nominate(market(0.0), COINS[:1]).nominees
    strong = replace(nominee.open_evaluation, alpha_t=4.0)
    hangs = replace(nominee, open_evaluation=strong, dropped_t=(("A", 0.9), ("B", 3.9), ("C", 4.1)))
    refused = answer("dropped-symbols", hangs)
    assert (refused.passed, refused.threshold) == (False, 1.0)  # a quarter of 4
    assert refused.reason == "without A its residual alpha has t = 0.90, more than 1 is needed"
    assert answer("dropped-symbols", replace(hangs, dropped_t=(("A", 1.1), ("B", 3.9)))).passed
    assert not answer("dropped-symbols", replace(hangs, dropped_t=(("A", float("nan")),))).passed
    assert answer("dropped-symbols", nominee).reason == "there was no symbol to leave out"


def test_losses_in_a_row_are_deeper_than_the_same_days_in_any_order():
    # +1.0 % and -0.8 % in turn, and for 200 days in a row each of them 0.3 % less: pairs of 1.007 * 0.989 = 0.99592.
    in_turn = np.where(np.arange(1500) % 2 == 0, 0.01, -0.008)
    returns = in_turn.copy()
    returns[700:900] -= 0.003
    refused = answer("drawdown-band", with_returns(returns))
    assert not refused.passed
    assert refused.statistic <= 0.01
    # From the first day of the 200 to the last: 1 - 0.99592^100 / 1.007 = 34.0 %.
    assert ", 34.1%; more than 1% must" in refused.reason
    # Every fall of the stream itself is one day of 0.8 %, as that of every resample is or more.
    assert answer("drawdown-band", with_returns(in_turn)).statistic == 1.0


# --- The price of answers ---------------------------------------------------------------------------------------


def test_the_first_opening_may_spend_six_over_pi_squared_of_alpha():
    assert alpha_for_opening(0.05, []) == pytest.approx(0.05 * 0.6079, abs=1e-5)


def test_an_opening_after_empty_answers_pays_nine_tenths_each_and_its_rank():
    empty = EarlierOpening(n_nominees=40, n_passed=0)
    # Third opening: 0.05 * 6 / (pi^2 * 9) * 0.81.
    assert alpha_for_opening(0.05, [empty, empty]) == pytest.approx(0.05 * 6 / (pi**2 * 9) * 0.81)


def test_an_answer_with_passes_costs_a_bit_a_nominee_and_soon_spends_the_window():
    # 0.05 * 6 / (pi^2 * 4) * 0.1 * 2^-0 would be 0.00076; one nominee halves it to 0.00038, below 1/2000.
    with pytest.raises(CheckFailed, match=r"the sealed window is spent: opening 2 would have 0\.00038 of 0\.05 left"):
        alpha_for_opening(0.05, [EarlierOpening(1, 1)])
    assert alpha_for_opening(0.2, [EarlierOpening(1, 1)]) == pytest.approx(0.2 * 6 / (pi**2 * 4) * 0.05)


def test_the_weights_of_all_histories_sum_to_at_most_one():
    # Two openings of two nominees: each answer is a subset that passed; every history's share of alpha is its weight.
    rank = [6 / pi**2, 6 / (pi**2 * 4), 6 / (pi**2 * 9)]
    answers = [EarlierOpening(2, sum(passed)) for passed in product((0, 1), repeat=2)]
    total = 0.0
    for r, share in enumerate(rank):
        histories = list(product(answers, repeat=r))
        # A large alpha keeps every history above the smallest p-value; the formula is linear in alpha.
        weights = [alpha_for_opening(1000.0, history) / 1000.0 for history in histories]
        assert sum(weights) <= share + 1e-12
        total += sum(weights)
    assert total <= 1.0
