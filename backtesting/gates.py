"""Gates: which candidates of a run may be promoted, decided once for all of them on bars that nobody has seen.

`judge` is the only function of the project that reads `split.sealed`. It answers with one bit a candidate, passed or
not, because an answer that says more can be climbed: whoever sees a sealed number, even a rank, ends up fitting it.
So a report on a candidate that did not pass holds nothing that depends on sealed prices: its verdict, fail or
underpowered, is settled by the open window and by how long the sealed one is. The sealed numbers travel separately.

Every gate runs, even after a failure. The null hypothesis is "no residual alpha after costs": each sealed statistic is
the intercept of a regression on the incumbents and a constant position within the sealed window. Ratios frozen on the
open window would let an exposure that grew since then pass for alpha (docs/decisions/0004-the-gate.md). All nominees of
a run are tested together by the weighted max-t of `blind_test`: more alpha for those that looked better where one could
look, none for those that an open gate refuses, and every one of them in the count that a report states.

Not done yet: the test for replacing an incumbent. A near-copy of one cannot pass here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from math import isfinite
from typing import Any

import numpy as np

from backtesting.backtest import Strategy, simulate
from backtesting.bars import Bars, FloatArray
from backtesting.blind_test import REPS, blind_test
from backtesting.decisions import Signals
from backtesting.drawdown_band import drawdown_band
from backtesting.errors import CheckFailed
from backtesting.evaluation import CONSTANT_POSITION, market_returns, residual, residual_hedge
from backtesting.metrics import sharpe_ratio
from backtesting.nomination import COST_FACTOR, Nomination, Nominee, Route
from backtesting.occam import OccamTest, occam_test
from backtesting.open_gates import MAX_PROFIT_SHARE, GateResult, doubtful_profit, open_gates, profit_concentration
from backtesting.result import log_growth
from backtesting.splits import Window
from backtesting.statistics import minimum_detectable_sharpe, years_needed

POWER = 0.80
EDGE_OF_INTEREST = 1.0


class Verdict(StrEnum):
    """`UNDERPOWERED`: it did not pass, and data of this length could not have shown an edge worth having."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNDERPOWERED = "underpowered"


@dataclass(frozen=True)
class GateReport:
    """Everything that anybody may see about the judgement of one candidate.

    Attributes:
        n_candidates: judged together in this opening of the sealed window.
        n_trials: looks at the open window that led here.
        alpha: family-wise error rate of this opening.
        minimum_detectable_sharpe: annual residual Sharpe ratio that had an 80 % chance to pass (planning value); NaN
            if there was no blind test.
        years_needed: of sealed data for the edge of interest to have that chance; NaN likewise.
    """

    spec_id: str
    name: str
    verdict: Verdict
    results: tuple[GateResult, ...]
    n_candidates: int
    n_trials: int
    alpha: float
    minimum_detectable_sharpe: float
    years_needed: float
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-like; NaN is None."""
        return {
            **asdict(self),
            "verdict": str(self.verdict),
            "results": [asdict(item) for item in self.results],
            "minimum_detectable_sharpe": _number(self.minimum_detectable_sharpe),
            "years_needed": _number(self.years_needed),
        }


@dataclass(frozen=True, eq=False)
class Judgement:
    """What one opening of the sealed window said.

    `reports` and the counts may be shown to anybody. `sealed_numbers`, by spec_id, may be stored but shown to nobody:
    whoever shows one has opened the window for good, and says so in the archive first.
    """

    nomination_id: str
    reports: tuple[GateReport, ...]
    alpha: float
    n_passed: int
    sealed_numbers: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """JSON-like, without the sealed numbers."""
        return {
            "nomination_id": self.nomination_id,
            "alpha": self.alpha,
            "n_passed": self.n_passed,
            "reports": [report.as_dict() for report in self.reports],
        }


def judge(nomination: Nomination, bars: Bars, *, edge_of_interest: float = EDGE_OF_INTEREST) -> Judgement:
    """Open the sealed window once, for all nominees together. Same nomination and bars, same bytes.

    A nominee passes when every open gate holds, its step-down p-value on the sealed window is at most alpha, and the
    economic checks hold on the sealed window too. One whose code breaks there, or that decides otherwise on the open
    window once it is given the sealed one as well, is not confirmed and stays in the count. That it broke is told
    with the sealed numbers only, or a strategy could speak by breaking.

    Args:
        edge_of_interest: annual residual Sharpe ratio worth having. A candidate that did not pass is underpowered, and
            not failed, if the sealed window had less than an 80 % chance to show it.

    Raises:
        CheckFailed: the bars are not the nominated ones, alpha is too small to be resolved, or an incumbent breaks.
    """
    cut = bars.upto(min(nomination.split.open.stop, bars.n_bars))
    if (bars.bars_id, cut.bars_id) != (nomination.bars_id, nomination.open_bars_id):
        raise CheckFailed(
            f"the nomination was made on bars {nomination.bars_id} and their open part {nomination.open_bars_id},"
            f" these are {bars.bars_id} and {cut.bars_id}",
            kept="the sealed window was not opened",
            next_step="judge with the snapshot that the run used",
        )
    blind = any(nominee.route is Route.BLIND for nominee in nomination.nominees)
    if blind and nomination.alpha < 1.0 / (REPS + 1):
        raise CheckFailed(
            f"alpha {nomination.alpha:g} is below {1.0 / (REPS + 1):g}, the smallest p-value of {REPS} resamples",
            kept="the sealed window was not opened",
            next_step="seal a window that has not been asked so often",
        )
    window = nomination.split.sealed
    book = _incumbent_returns(nomination, bars, window)
    looks = [_look(nominee, nomination, bars, window) for nominee in nomination.ordered]
    hedges = np.column_stack([book[name] for name in sorted(book)])
    own = np.column_stack([look.returns for look in looks])
    # All at once: the hedges are the same for every nominee. The stream of one that broke stays NaN throughout.
    streams = residual(own, hedges, residual_hedge(own, hedges))
    opened = [open_gates(nominee) for nominee in nomination.ordered]
    test = blind_test(
        streams,
        np.array([_open_t(nominee, found) for nominee, found in zip(nomination.ordered, opened, strict=True)]),
        open_bars=nomination.split.open.n_bars,
        periods_per_year=bars.periods_per_year,
        edge=edge_of_interest,
        rng=np.random.default_rng(nomination.seed),
    )
    alpha, n = nomination.alpha, len(looks)
    scale = _Scale(
        n_candidates=n,
        years=window.n_bars / bars.periods_per_year,
        detectable=minimum_detectable_sharpe(window.n_bars, bars.periods_per_year, n, alpha, POWER)
        if alpha > 0.0
        else float("nan"),
        edge=edge_of_interest,
        needed=years_needed(edge_of_interest, n, alpha, POWER) if alpha > 0.0 else float("nan"),
    )
    reports = []
    numbers: dict[str, Mapping[str, Any]] = {}
    for at, look in enumerate(looks):
        p_value, statistic, stream = float(test.p_adjusted[at]), float(test.statistic[at]), streams[:, at].copy()
        occam = _occam(look, nomination, bars)
        confirmed = p_value <= nomination.alpha if occam is None else occam.passed
        sealed = _sealed_gates(look, confirmed)
        reports.append(_report(look.nominee, nomination, opened[at], sealed, look.broke, scale, occam))
        numbers[look.nominee.spec_id] = {
            "statistic": _number(statistic),
            "p_adjusted": p_value,
            "occam_p_value": None if occam is None else occam.p_value,
            "critical_value": _number(test.critical_value(nomination.alpha)),
            "n_effective": _number(test.n_effective),
            "alpha_annual": _number(float(np.mean(stream)) * bars.periods_per_year),
            "residual_sharpe": _number(sharpe_ratio(stream, bars.periods_per_year)),
            "doubled_costs_growth": _number(look.doubled_growth),
            "concentration": _number(look.concentration),
            "drawdown_share": _number(look.drawdown_share),
            "gates": {gate.name: gate.passed for gate in sealed},
            "broke": look.broke,
        }
    return Judgement(
        nomination_id=nomination.nomination_id,
        reports=tuple(reports),
        alpha=nomination.alpha,
        n_passed=sum(report.verdict is Verdict.PASS for report in reports),
        sealed_numbers=numbers,
    )


@dataclass(frozen=True, eq=False)
class _Look:
    """One nominee on the sealed window. `broke` is empty, or what went wrong (sealed: it may depend on prices)."""

    nominee: Nominee
    returns: FloatArray
    doubled_growth: float
    concentration: float
    drawdown_share: float
    drawdown_held: bool
    doubtful_held: bool
    broke: str


@dataclass(frozen=True)
class _Scale:
    """What the sealed window could show, known before it is opened."""

    n_candidates: int
    years: float
    detectable: float
    edge: float
    needed: float


def _open_t(nominee: Nominee, opened: Sequence[GateResult]) -> float:
    """Its evidence on the open window; NaN gets no share of alpha: an open gate failed, or another test judges it."""
    eligible = nominee.route is Route.BLIND and all(gate.passed for gate in opened)
    return nominee.open_evaluation.alpha_t if eligible else float("nan")


def _occam(look: "_Look", nomination: Nomination, bars: Bars) -> OccamTest | None:
    """The test on the whole history that holds against any memory; None for nominees of other routes.

    Here the hedge is fitted on the whole history too: nothing about the rule was chosen by it that the length does not
    already pay for.
    """
    if look.nominee.route is not Route.OCCAM:
        return None
    whole = Window(nomination.split.open.start, nomination.split.sealed.stop)
    if look.broke:
        stream = np.full(whole.n_bars, np.nan)
    else:
        book = _incumbent_returns(nomination, bars, whole)
        hedges = np.column_stack([book[name] for name in sorted(book)])
        own = simulate(
            _signals(look.nominee.strategy, bars), nomination.costs, window=whole, terms=nomination.terms
        ).returns
        stream = residual(own, hedges, residual_hedge(own, hedges))
    return occam_test(
        stream, look.nominee.code_bits, alpha=nomination.occam_alpha, periods_per_year=bars.periods_per_year
    )


def _incumbent_returns(nomination: Nomination, bars: Bars, window: Window) -> dict[str, FloatArray]:
    book = {CONSTANT_POSITION: market_returns(bars, window)}
    for incumbent in nomination.incumbents:
        try:
            result = simulate(_signals(incumbent, bars), nomination.costs, window=window, terms=nomination.terms)
        except Exception as error:
            raise CheckFailed(
                f"the incumbent {incumbent.name} broke on the sealed window: {type(error).__name__}",
                kept="no verdict was made and no alpha is spent",
                next_step="repair or retire the incumbent, then judge again",
            ) from error
        book[incumbent.name] = result.returns
    return book


def _signals(strategy: Strategy, bars: Bars) -> Signals:
    signals = strategy.generate_signals(bars)
    if signals.bars.bars_id != bars.bars_id:
        raise ValueError(f"{strategy.name} hands over signals on other bars than it was given")
    return signals


def _look(nominee: Nominee, nomination: Nomination, bars: Bars, window: Window) -> _Look:
    try:
        signals = _signals(nominee.strategy, bars)
        again = simulate(signals, nomination.costs, window=nomination.split.open, terms=nomination.terms)
        # One part in 1e9: a sum over a longer history may round otherwise.
        if not np.allclose(again.returns, nominee.open_evaluation.result.returns, rtol=0.0, atol=1e-9):
            raise ValueError("on the open window it decides otherwise than when it was nominated")
        result = simulate(signals, nomination.costs, window=window, terms=nomination.terms)
        doubled = simulate(signals, nomination.costs.times(COST_FACTOR), window=window, terms=nomination.terms)
    except Exception as error:  # whatever a candidate does, the others are judged and it counts as failed
        nothing = np.full(window.n_bars, np.nan)
        nan = float("nan")
        return _Look(nominee, nothing, nan, nan, nan, False, False, f"{type(error).__name__}: {error}")
    band = drawdown_band(nominee.open_evaluation.result.returns, result.returns, drift=False)
    flagged = doubtful_profit(result, nomination.doubtful)
    return _Look(
        nominee,
        result.returns,
        log_growth(doubled),
        profit_concentration(result),
        band.share,
        band.held,
        flagged is None or flagged.share <= flagged.allowed,  # also false for NaN
        "",
    )


def _sealed_gates(look: _Look, confirmed: bool) -> tuple[GateResult, ...]:
    answers = {
        "sealed-alpha": (confirmed, "its residual alpha holds on the sealed window, all candidates counted"),
        "sealed-doubled-costs": (look.doubled_growth > 0.0, "it earns on the sealed window with costs doubled"),
        "sealed-concentration": (
            look.concentration <= MAX_PROFIT_SHARE,  # also false for NaN
            "its sealed profit does not hang on a single day or trade",
        ),
        "sealed-drawdown": (
            look.drawdown_held,
            "on the sealed window it fell no deeper than its open stream would without an edge",
        ),
        "sealed-doubtful-data": (look.doubtful_held, "its sealed profit does not hang on doubtful prices"),
    }
    return tuple(
        GateResult(name, bool(passed), None, None, None, reason, uses_sealed=True)
        for name, (passed, reason) in answers.items()
    )


def _report(
    nominee: Nominee,
    nomination: Nomination,
    opened: tuple[GateResult, ...],
    sealed: tuple[GateResult, ...],
    broke: str,
    scale: _Scale,
    occam: OccamTest | None,
) -> GateReport:
    """The public report. Apart from the one bit "passed", nothing in it may depend on sealed prices."""
    failed = [gate for gate in opened if not gate.passed]
    passed = not failed and not broke and nominee.route is not Route.FORWARD and all(gate.passed for gate in sealed)
    plural = "" if scale.n_candidates == 1 else "s"
    chance = f"{scale.n_candidates} candidate{plural} on {scale.years:.1f} sealed years"
    if passed:
        verdict = Verdict.PASS
        shown = sealed
        sentence = (
            f"pass: every gate holds, and its residual alpha is confirmed among {chance}"
            f" at a family-wise error rate of {nomination.alpha:.2g}."
            if occam is None
            else f"pass: every gate holds, and its residual alpha on the whole history is more than a rule of"
            f" {occam.bits:.0f} bits may owe to memory or luck."
        )
    else:
        reason = "not confirmed" if not failed else "not said, because a gate on the open window had already failed"
        shown = (GateResult("sealed-window", False, None, None, None, reason, uses_sealed=True),)
        if failed:
            verdict = Verdict.FAIL
            sentence = _failed_open(failed)
        elif nominee.route is Route.FORWARD:
            verdict = Verdict.UNDERPOWERED
            sentence = (
                f"underpowered: {nominee.route_reason}, so no day of this history is clean evidence about it; only"
                " days still to come are."
            )
        elif occam is not None:
            verdict = Verdict.UNDERPOWERED if occam.detectable > scale.edge else Verdict.FAIL
            sentence = (
                f"{verdict}: {nominee.route_reason}, so it has to convince by its length: this rule costs"
                f" {occam.bits:.0f} bits and must show a residual Sharpe of about {occam.detectable:.2f} on the whole"
                " history; it was not confirmed."
            )
        elif scale.detectable > scale.edge:
            verdict = Verdict.UNDERPOWERED
            sentence = (
                f"underpowered: not confirmed, and {chance} can show an edge with 80 % probability only from Sharpe"
                f" {scale.detectable:.2f} on; {scale.edge:.2f} would need {scale.needed:.1f} years."
            )
        else:
            verdict = Verdict.FAIL
            sentence = (
                f"fail: the sealed window did not confirm it; among {chance} an edge of Sharpe"
                f" {scale.detectable:.2f} would have shown with 80 % probability."
            )
    return GateReport(
        spec_id=nominee.spec_id,
        name=nominee.name,
        verdict=verdict,
        results=(*opened, *shown),
        n_candidates=scale.n_candidates,
        n_trials=nomination.n_trials,
        alpha=nomination.alpha,
        minimum_detectable_sharpe=scale.detectable,
        years_needed=scale.needed,
        sentence=sentence,
    )


def _failed_open(failed: Sequence[GateResult]) -> str:
    return f"fail: {'; '.join(gate.reason for gate in failed)}."


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None
